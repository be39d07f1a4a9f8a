//! SQLite's write-ahead log as a file: frames and their images.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::vec::Vec;

/// Images of a transaction in the order of its directory.
pub(super) struct FrameImages {
    pub log: Arc<File>,
    pub page_size: usize,
    /// Offsets of the images in the log.
    pub offsets: Vec<u64>,
}

impl FrameImages {
    /// Reads one image after another.
    pub fn reader(&self) -> ImageReader<'_> {
        ImageReader {
            images: self,
            next: 0,
            within: 0,
        }
    }
}

/// Reader over [`FrameImages`].
pub(super) struct ImageReader<'a> {
    images: &'a FrameImages,
    next: usize,
    within: usize,
}

impl Read for ImageReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let Some(&offset) = self.images.offsets.get(self.next) else {
            return Ok(0);
        };
        let left = self.images.page_size - self.within;
        let len = left.min(out.len());
        self.images
            .log
            .read_exact_at(&mut out[..len], offset + self.within as u64)?;
        self.within += len;
        if self.within == self.images.page_size {
            self.within = 0;
            self.next += 1;
        }
        Ok(len)
    }
}

//! A captured block: header and directory in memory, the payload in memory or still in the write-ahead log.

use std::boxed::Box;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::vec::Vec;

use dbmirror_core::message::block::BlockHeader;
use dbmirror_core::message::{Chain, LogEnd};

/// One committed transaction, ready to be appended to the block log.
///
/// The payload of a large transaction is not copied: it is read from the write-ahead log when the block is, so a block must be
/// read before its [`super::Tail`] is asked for a checkpoint.
pub struct Block {
    pub(super) header: BlockHeader,
    pub(super) before: Chain,
    /// Header and directory as stored.
    pub(super) head: Vec<u8>,
    pub(super) payload: Payload,
}

/// Where the page images are.
pub(super) enum Payload {
    /// Here, in the directory's order.
    Memory(Vec<u8>),
    /// Still in the write-ahead log.
    Log(LogImages),
}

impl Block {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The chain that the block follows.
    #[must_use]
    pub fn before(&self) -> Chain {
        self.before
    }

    /// The end of a log whose last block this is.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        LogEnd {
            position: self.header.position,
            chain: self.header.chain,
        }
    }

    /// Bytes of the block as stored.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.header.total_len()
    }

    /// Writes the block's stored bytes.
    ///
    /// # Errors
    /// What `out` answers, and what reading the write-ahead log answers.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        match &self.payload {
            Payload::Memory(bytes) => out.write_all(bytes),
            Payload::Log(images) => io::copy(&mut images.reader(), out).map(drop),
        }
    }

    /// The block's stored bytes.
    ///
    /// # Errors
    /// What reading the write-ahead log answers.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(self.stored_len()).unwrap_or(0));
        self.write_to(&mut out)?;
        Ok(out)
    }

    /// A reader over the stored bytes, as [`super::Applier::apply`] takes them.
    #[must_use]
    pub fn reader(&self) -> Box<dyn Read + Send + '_> {
        match &self.payload {
            Payload::Memory(bytes) => Box::new(self.head.as_slice().chain(bytes.as_slice())),
            Payload::Log(images) => Box::new(self.head.as_slice().chain(images.reader())),
        }
    }
}

/// Images of a transaction in the order of its directory, read when they are asked for.
pub(super) struct LogImages {
    pub log: Arc<File>,
    pub page_size: usize,
    pub images: Vec<Image>,
}

/// Where one image is.
pub(super) enum Image {
    /// At this offset of the log.
    Log(u64),
    /// Here: a page that the transaction added without writing it.
    Memory(Vec<u8>),
}

impl LogImages {
    fn reader(&self) -> ImageReader<'_> {
        ImageReader {
            from: self,
            next: 0,
            within: 0,
        }
    }

    /// Copies image `index` into `out`, from `within` on.
    pub fn read(&self, index: usize, within: usize, out: &mut [u8]) -> io::Result<()> {
        match &self.images[index] {
            Image::Log(offset) => self.log.read_exact_at(out, offset + within as u64),
            Image::Memory(bytes) => {
                out.copy_from_slice(&bytes[within..within + out.len()]);
                Ok(())
            }
        }
    }
}

/// Reader over [`LogImages`].
struct ImageReader<'a> {
    from: &'a LogImages,
    next: usize,
    within: usize,
}

impl Read for ImageReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.next == self.from.images.len() {
            return Ok(0);
        }
        let len = (self.from.page_size - self.within).min(out.len());
        self.from.read(self.next, self.within, &mut out[..len])?;
        self.within += len;
        if self.within == self.from.page_size {
            self.within = 0;
            self.next += 1;
        }
        Ok(len)
    }
}

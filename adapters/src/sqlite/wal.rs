//! SQLite's write-ahead log as a file: its header, its frames, their checksums (<https://sqlite.org/walformat.html> §1).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::vec::Vec;

use super::{Error, Result};

/// Bytes of the log's header.
pub(super) const WAL_HEADER: usize = 32;
/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 24;
/// Magic of a log whose checksums read words little-endian; big-endian has the lowest bit set.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// Bytes that are read from the log at once.
const READ_AHEAD: usize = 512 << 10;

/// One step of SQLite's checksum over a pair of words.
fn step([s0, s1]: [u32; 2], x0: u32, x1: u32) -> [u32; 2] {
    let s0 = s0.wrapping_add(x0).wrapping_add(s1);
    [s0, s1.wrapping_add(x1).wrapping_add(s0)]
}

/// The checksum over words of the machine's own order, as the wal-index uses it.
pub(super) fn checksum_native(words: impl Iterator<Item = u32>) -> [u32; 2] {
    let mut sum = [0, 0];
    let mut first = None;
    for word in words {
        match first.take() {
            None => first = Some(word),
            Some(x0) => sum = step(sum, x0, word),
        }
    }
    sum
}

/// Continues the checksum `sum` over `bytes`, a multiple of eight.
pub(super) fn checksum(mut sum: [u32; 2], bytes: &[u8], big_endian: bool) -> [u32; 2] {
    let (pairs, _) = bytes.as_chunks::<8>();
    if big_endian {
        for [a, b, c, d, e, f, g, h] in pairs {
            sum = step(
                sum,
                u32::from_be_bytes([*a, *b, *c, *d]),
                u32::from_be_bytes([*e, *f, *g, *h]),
            );
        }
    } else {
        for [a, b, c, d, e, f, g, h] in pairs {
            sum = step(
                sum,
                u32::from_le_bytes([*a, *b, *c, *d]),
                u32::from_le_bytes([*e, *f, *g, *h]),
            );
        }
    }
    sum
}

fn be(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// The log's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WalHeader {
    pub big_endian: bool,
    pub page_size: u32,
    /// Counts restarts of the log.
    pub restarts: u32,
    pub salts: [u32; 2],
    /// The checksum that the first frame continues.
    pub checksum: [u32; 2],
}

impl WalHeader {
    /// A header for a log that this machine writes.
    pub fn new(page_size: u32, restarts: u32, salts: [u32; 2]) -> Self {
        let mut header = Self {
            big_endian: cfg!(target_endian = "big"),
            page_size,
            restarts,
            salts,
            checksum: [0, 0],
        };
        let bytes = header.emit();
        header.checksum = checksum([0, 0], &bytes[..24], header.big_endian);
        header
    }

    pub fn emit(&self) -> [u8; WAL_HEADER] {
        let words = [
            MAGIC | u32::from(self.big_endian),
            VERSION,
            self.page_size,
            self.restarts,
            self.salts[0],
            self.salts[1],
            self.checksum[0],
            self.checksum[1],
        ];
        let mut out = [0; WAL_HEADER];
        for (to, word) in out.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    /// Reads the header of `log`; `None` when the log is empty or its header is not valid.
    pub fn read(log: &File) -> Result<Option<Self>> {
        let mut bytes = [0; WAL_HEADER];
        match log.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(Error::io("read the header of the write-ahead log")(e)),
        }
        let magic = be(&bytes, 0);
        let header = Self {
            big_endian: magic & 1 == 1,
            page_size: be(&bytes, 8),
            restarts: be(&bytes, 12),
            salts: [be(&bytes, 16), be(&bytes, 20)],
            checksum: [be(&bytes, 24), be(&bytes, 28)],
        };
        let valid = magic & !1 == MAGIC
            && be(&bytes, 4) == VERSION
            && checksum([0, 0], &bytes[..24], header.big_endian) == header.checksum;
        Ok(valid.then_some(header))
    }
}

/// Offset of frame `frame`, counted from 1.
pub(super) fn frame_offset(frame: u32, page_size: u32) -> u64 {
    WAL_HEADER as u64 + u64::from(frame - 1) * (u64::from(page_size) + FRAME_HEADER as u64)
}

/// Offset of the page image in frame `frame`.
pub(super) fn image_offset(frame: u32, page_size: u32) -> u64 {
    frame_offset(frame, page_size) + FRAME_HEADER as u64
}

/// A frame's header, as far as its reader needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its number, from 1.
    pub number: u32,
    pub page: u32,
    /// Pages of the database after the transaction, in its last frame; 0 in all others.
    pub commit: u32,
    pub checksum: [u32; 2],
}

/// Emits frame `page`'s header in front of its image; returns the checksum that the next frame continues.
pub(super) fn emit_frame(
    out: &mut Vec<u8>,
    log: &WalHeader,
    before: [u32; 2],
    page: u32,
    commit: u32,
    image: &[u8],
) -> [u32; 2] {
    let mut first = [0; 8];
    first[..4].copy_from_slice(&page.to_be_bytes());
    first[4..].copy_from_slice(&commit.to_be_bytes());
    let sum = checksum(checksum(before, &first, log.big_endian), image, log.big_endian);
    out.extend_from_slice(&first);
    for word in [log.salts[0], log.salts[1], sum[0], sum[1]] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(image);
    sum
}

/// Reads published frames one after another and checks that each continues the checksums of those before it.
pub(super) struct FrameReader {
    big_endian: bool,
    page_size: u32,
    salts: [u32; 2],
    checksum: [u32; 2],
    next: u32,
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`.
    at: usize,
}

impl FrameReader {
    /// Reads the log with `header` from the frame after `last` on, whose checksum is `checksum`.
    pub fn new(header: &WalHeader, last: u32, checksum: [u32; 2]) -> Self {
        Self {
            big_endian: header.big_endian,
            page_size: header.page_size,
            salts: header.salts,
            checksum,
            next: last + 1,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// The next frame, of those up to `end`, which are published; `None` behind it.
    pub fn next(&mut self, log: &File, end: u32) -> Result<Option<(Frame, &[u8])>> {
        if self.next > end {
            return Ok(None);
        }
        let size = self.page_size as usize + FRAME_HEADER;
        if self.at == self.buffer.len() {
            let frames = (READ_AHEAD / size).max(1).min((end - self.next + 1) as usize);
            self.buffer.resize(frames * size, 0);
            self.at = 0;
            log.read_exact_at(&mut self.buffer, frame_offset(self.next, self.page_size))
                .map_err(Error::io("read the write-ahead log"))?;
        }
        let bytes = &self.buffer[self.at..self.at + size];
        self.at += size;
        let (head, image) = bytes.split_at(FRAME_HEADER);
        let frame = Frame {
            number: self.next,
            page: be(head, 0),
            commit: be(head, 4),
            checksum: [be(head, 16), be(head, 20)],
        };
        let sum = checksum(self.checksum, &head[..8], self.big_endian);
        let sum = checksum(sum, image, self.big_endian);
        if [be(head, 8), be(head, 12)] != self.salts || sum != frame.checksum || frame.page == 0 {
            return Err(Error::Malformed(
                "a published frame does not continue those before it",
            ));
        }
        self.checksum = sum;
        self.next += 1;
        Ok(Some((frame, image)))
    }
}

/// Header of frame `frame`, unchecked: page, commit size, checksum.
pub(super) fn read_frame(log: &File, header: &WalHeader, frame: u32) -> Result<Frame> {
    let mut head = [0; FRAME_HEADER];
    log.read_exact_at(&mut head, frame_offset(frame, header.page_size))
        .map_err(Error::io("read the write-ahead log"))?;
    if [be(&head, 8), be(&head, 12)] != header.salts {
        return Err(Error::Malformed("a published frame has other salts than the log"));
    }
    Ok(Frame {
        number: frame,
        page: be(&head, 0),
        commit: be(&head, 4),
        checksum: [be(&head, 16), be(&head, 20)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_our_own_reads_back() {
        let log = tempfile::tempfile().unwrap();
        let header = WalHeader::new(512, 3, [0xdead_beef, 0x0bad_cafe]);
        log.write_all_at(&header.emit(), 0).unwrap();
        assert_eq!(WalHeader::read(&log).unwrap(), Some(header));
        let mut bytes = Vec::new();
        let mut sum = header.checksum;
        for page in 1..=3_u32 {
            sum = emit_frame(
                &mut bytes,
                &header,
                sum,
                page,
                u32::from(page == 3) * 9,
                &[page as u8; 512],
            );
        }
        log.write_all_at(&bytes, 32).unwrap();
        let mut reader = FrameReader::new(&header, 0, header.checksum);
        for page in 1..=3 {
            let (frame, image) = reader.next(&log, 3).unwrap().unwrap();
            assert_eq!((frame.number, frame.page, image[0]), (page, page, page as u8));
            assert_eq!(frame.commit, if page == 3 { 9 } else { 0 });
        }
        assert!(reader.next(&log, 3).unwrap().is_none());
        assert_eq!(reader.checksum, sum);
        log.write_all_at(&[9], frame_offset(2, 512) + 100).unwrap();
        let mut reader = FrameReader::new(&header, 0, header.checksum);
        reader.next(&log, 3).unwrap();
        assert!(reader.next(&log, 3).is_err());
    }
}

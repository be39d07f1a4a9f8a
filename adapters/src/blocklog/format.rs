//! The bytes of a segment, as `docs/blocklog.md` tables them. All numbers are little-endian.

use crc::{CRC_32_ISCSI, Crc, Table};

use dbmirror_core::message::{Chain, LogEnd, Position};

use super::LogId;

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 64;
/// Length of an entry's header.
pub(super) const ENTRY_HEADER: usize = 96;
/// Entries begin at multiples of this.
pub(super) const ALIGN: u64 = 8;
/// Most bytes of one entry's body.
pub(super) const BODY_MAX: usize = 1 << 30;

const SEGMENT_MAGIC: &[u8; 8] = b"DBMBLKLG";
const ENTRY_MAGIC: &[u8; 4] = b"DBLE";
/// Version of both headers.
pub(super) const VERSION: u32 = 1;

/// CRC-32C, the checksum of everything in a segment.
pub(super) static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The body is a block that follows the log's end of log.
    Block,
    /// The log starts (anew) after the position, with the chain there. No body.
    Base,
    /// The log's blocks after the position are void: they lie beyond a fork. No body.
    Truncate,
    /// The log is gone. No body.
    Forget,
    /// A batch has become durable: only its durable place counts. No body, and of no log.
    Mark,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Base => 2,
            Self::Truncate => 3,
            Self::Forget => 4,
            Self::Mark => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Block),
            2 => Some(Self::Base),
            3 => Some(Self::Truncate),
            4 => Some(Self::Forget),
            5 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// A place in the whole log. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Segment number.
    pub segment: u32,
    /// Byte offset in the segment.
    pub offset: u32,
}

impl Place {
    fn to_u64(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    fn from_u64(v: u64) -> Self {
        Self {
            segment: (v >> 32) as u32,
            offset: v as u32,
        }
    }
}

/// What lies where an entry may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An entry's header.
    Entry(Entry),
    /// One that is whole, of that kind, and says something that this version does not know.
    Newer(u8),
    /// Nothing that was ever written as a header.
    Nothing,
}

/// An entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: Kind,
    pub body_len: u32,
    pub body_crc: u32,
    pub id: LogId,
    pub position: Position,
    /// Chain before the block.
    pub previous: Chain,
    /// Chain after it.
    pub chain: Chain,
    /// Everything before this place was durable when the entry was written: what is bad there is damage, not a tear.
    pub durable: Place,
    /// The segment that the entry was written into.
    pub segment: u32,
}

impl Entry {
    pub(super) fn emit(&self) -> [u8; ENTRY_HEADER] {
        let mut b = [0; ENTRY_HEADER];
        b[0..4].copy_from_slice(ENTRY_MAGIC);
        b[4] = self.kind.code();
        b[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        b[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        b[16..32].copy_from_slice(&self.id.0);
        b[32..36].copy_from_slice(&self.position.timeline.to_le_bytes());
        b[36..40].copy_from_slice(&self.segment.to_le_bytes());
        b[40..48].copy_from_slice(&self.position.sequence.to_le_bytes());
        b[48..64].copy_from_slice(&self.previous.0);
        b[64..80].copy_from_slice(&self.chain.0);
        b[80..88].copy_from_slice(&self.durable.to_u64().to_le_bytes());
        let crc = CRC32C.checksum(&b[..92]);
        b[92..96].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// What lies at the beginning of `b`, which belongs to `segment`.
    pub(super) fn find(b: &[u8], segment: u32) -> Found {
        let Some(b) = b.first_chunk::<ENTRY_HEADER>() else {
            return Found::Nothing;
        };
        let whole = &b[0..4] == ENTRY_MAGIC && u32_at(b, 92) == CRC32C.checksum(&b[..92]);
        if !whole || u32_at(b, 36) != segment {
            return Found::Nothing;
        }
        let zeros = b[5..8] == [0; 3] && b[88..92] == [0; 4];
        let (Some(kind), true) = (Kind::from_code(b[4]), zeros) else {
            return Found::Newer(b[4]);
        };
        let entry = Self {
            kind,
            body_len: u32_at(b, 8),
            body_crc: u32_at(b, 12),
            id: LogId(array_at(b, 16)),
            position: Position {
                timeline: u32_at(b, 32),
                sequence: u64_at(b, 40),
            },
            previous: Chain(array_at(b, 48)),
            chain: Chain(array_at(b, 64)),
            durable: Place::from_u64(u64_at(b, 80)),
            segment: u32_at(b, 36),
        };
        if entry.body_len as usize <= BODY_MAX {
            Found::Entry(entry)
        } else {
            Found::Newer(b[4])
        }
    }

    /// The block's position and the chain after it.
    pub(super) fn end(&self) -> LogEnd {
        LogEnd {
            position: self.position,
            chain: self.chain,
        }
    }

    /// Bytes that the entry takes, padding included.
    pub(super) fn span(&self) -> u64 {
        (ENTRY_HEADER as u64 + u64::from(self.body_len)).next_multiple_of(ALIGN)
    }
}

/// A segment's header for segment `number`.
pub(super) fn emit_segment_header(number: u32) -> [u8; SEGMENT_HEADER] {
    let mut b = [0; SEGMENT_HEADER];
    b[0..8].copy_from_slice(SEGMENT_MAGIC);
    b[8..12].copy_from_slice(&VERSION.to_le_bytes());
    b[12..16].copy_from_slice(&number.to_le_bytes());
    let crc = CRC32C.checksum(&b[..60]);
    b[60..64].copy_from_slice(&crc.to_le_bytes());
    b
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentHeader {
    /// Segment of this number.
    Ok(u32),
    /// Whole, but written by a newer version.
    Newer(u32),
    /// Not whole.
    Bad,
}

pub(super) fn parse_segment_header(b: &[u8]) -> SegmentHeader {
    let Some(b) = b.get(..SEGMENT_HEADER) else {
        return SegmentHeader::Bad;
    };
    if &b[0..8] != SEGMENT_MAGIC || u32_at(b, 60) != CRC32C.checksum(&b[..60]) {
        return SegmentHeader::Bad;
    }
    match u32_at(b, 8) {
        VERSION => SegmentHeader::Ok(u32_at(b, 12)),
        newer => SegmentHeader::Newer(newer),
    }
}

fn array_at<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&b[at..at + N]);
    out
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(b, at))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(b, at))
}

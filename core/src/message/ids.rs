//! Identities and places: who, which session, where in which history. All are sent and stored little-endian.

/// A place in a database's log: the block with `sequence`, which lies in `timeline`.
///
/// `sequence` counts blocks from 1 and goes on across timelines, so two positions of *one* history are ordered by it
/// alone; which timeline a sequence lies in is the history's to say ([`super::Timelines`]). Sequence 0 is the start of the
/// log: no block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The timeline, from 1; 0 only together with sequence 0.
    pub timeline: u32,
    /// The block's number.
    pub sequence: u64,
}

impl Position {
    /// Before the first block.
    pub const START: Self = Self {
        timeline: 0,
        sequence: 0,
    };

    /// The position as the views show it: timeline × 10^15 + sequence.
    #[must_use]
    pub fn lsn(self) -> u128 {
        u128::from(self.timeline)
            .saturating_mul(1_000_000_000_000_000)
            .saturating_add(u128::from(self.sequence))
    }
}

/// SHA-256, cut to 16 bytes, over the chain before and the bytes of a block: equal chains at a position mean equal
/// histories (`docs/safety.md` I4).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    /// The chain before the first block.
    pub const START: Self = Self([0; 16]);

    /// The first eight bytes, which acknowledgements quote.
    #[must_use]
    pub fn prefix(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// The end of a log: its last block and the chain after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogEnd {
    /// The last block.
    pub position: Position,
    /// The chain after it.
    pub chain: Chain,
}

impl LogEnd {
    /// The end of an empty log.
    pub const START: Self = Self {
        position: Position::START,
        chain: Chain::START,
    };
}

/// XOR of all page hashes of a database file: a fingerprint of its whole content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DatabaseSum(pub u64);

/// An instance: random, made together with its directory, the same for its life.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub [u8; 16]);

/// A mirroring session (`mirroring_guid`): random, drawn anew by each start (`docs/safety.md` R0).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionGuid(pub [u8; 16]);

/// A database and all its copies and backups (`family_guid`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyGuid(pub [u8; 16]);

/// What tells two timelines of one number apart: random, drawn when the timeline starts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ForkId(pub u64);

/// The number of a USE: *boot* is raised at every start of the instance, *n* rises within it (`docs/safety.md` R2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UseNumber {
    /// The durable count of starts.
    pub boot: u64,
    /// The number within this run.
    pub n: u64,
}

impl UseNumber {
    /// Below every number that is sent.
    pub const NONE: Self = Self { boot: 0, n: 0 };
}

macro_rules! shown_as_hex {
    ($($name:ident),*) => {$(
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}
shown_as_hex!(Chain, InstanceId, SessionGuid, FamilyGuid);

impl core::fmt::Display for ForkId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl core::fmt::Debug for ForkId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ForkId({self})")
    }
}

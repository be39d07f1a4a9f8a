//! What the operator's statements ask of a session, as plain values.

use super::storage::DatabaseId;
use crate::message::{Address, DatabaseName, FamilyGuid, LogEnd, Timelines};

/// SET PARTNER on the future mirror: store the address, contact nobody, wait for the principal.
#[derive(Clone, Copy, Debug)]
pub struct WaitAsMirror {
    /// The database, RESTORING.
    pub database: DatabaseId,
    /// Its name, which the principal's START has to name.
    pub name: DatabaseName,
    /// Where its operator says that the principal is.
    pub partner: Address,
    /// What it was restored from; `None` when it has nothing yet and is to be seeded.
    pub copy: Option<MirrorCopy>,
}

/// A restored copy that is to become a mirror.
#[derive(Clone, Copy, Debug)]
pub struct MirrorCopy {
    /// Its family.
    pub family: FamilyGuid,
    /// How far it was rolled forward.
    pub end: LogEnd,
    /// The history up to there.
    pub timelines: Timelines,
}

/// SET PARTNER on the future principal: start the session.
#[derive(Clone, Copy, Debug)]
pub struct StartAsPrincipal {
    /// The database, ONLINE.
    pub database: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// Where its operator says that the mirror is.
    pub partner: Address,
    /// Its family.
    pub family: FamilyGuid,
    /// The end of its log now.
    pub end: LogEnd,
    /// Its history, with the new timeline that this start began (`docs/safety.md` R0) as the last one.
    pub timelines: Timelines,
}

/// SAFETY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Safety {
    /// 1: asynchronous.
    Off,
    /// 2: synchronous, once SYNCHRONIZED.
    #[default]
    Full,
}

impl Safety {
    /// The view's code, which is also what is sent and stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Off => 1,
            Self::Full => 2,
        }
    }

    /// The level with that code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Off,
            2 => Self::Full,
            _ => return None,
        })
    }
}

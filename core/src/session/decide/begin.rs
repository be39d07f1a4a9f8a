//! How a session begins and ends (`docs/safety.md` R0).

use super::super::event::{Reason, SessionError};
use crate::message::{InstanceId, Record, Sync};
use crate::planted::{Bug, planted};
use core::cmp::Ordering;

/// Whether a START's record is one to begin with: (1, the sender, 0, UNSYNC) and not forced (R0).
pub(crate) fn start_record(record: &Record, sender: InstanceId) -> Result<(), SessionError> {
    if *record == Record::first(sender) {
        Ok(())
    } else {
        Err(SessionError::new(1428, Reason::RecordConflict))
    }
}

/// How far a member's session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Principal: START is under way; nothing is persisted.
    Starting,
    /// Mirror: it persisted a START, and has taken neither seed nor block.
    Untouched,
    /// Both hold it.
    Established,
    /// It ended here: a tombstone.
    Ended,
    /// There is nothing of that guid here.
    Absent,
}

/// What answers a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloAnswer {
    /// START again, never `none` (story F55).
    Start,
    /// It is handled (R1, R2).
    Hello,
    /// The tombstone with the record of its writer (stories F41, F56).
    Tombstone,
    /// `none`: this member does not hold the session.
    None,
}

/// What answers a hello for a guid of which this member holds so much.
#[must_use]
pub const fn answer_hello(stage: Stage) -> HelloAnswer {
    match stage {
        Stage::Starting => HelloAnswer::Start,
        Stage::Untouched | Stage::Established => HelloAnswer::Hello,
        Stage::Ended => HelloAnswer::Tombstone,
        Stage::Absent => HelloAnswer::None,
    }
}

/// What `none` does to the member that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardNone {
    /// A mirror in which nothing has happened waits for a START again.
    WaitAgain,
    /// The session stays, DISCONNECTED: `none` never ends one. For a restarted principal the mirror counts as answered (R4).
    Stay,
}

/// What `none` does to the member that hears it.
#[must_use]
pub fn hear_none(stage: Stage, own: &Record, me: InstanceId) -> HeardNone {
    if planted(Bug::NoneEnds) {
        return HeardNone::WaitAgain;
    }
    if stage == Stage::Untouched && own.owner != me && *own == Record::first(own.owner) {
        HeardNone::WaitAgain
    } else {
        HeardNone::Stay
    }
}

/// What PARTNER OFF does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// UNSYNC is recorded and confirmed first: the mirror may take over until then (story F51).
    ConfirmFirst,
    /// Persist the tombstone, then tell it.
    Now,
}

/// What PARTNER OFF does: an owner with a live binding needs a confirmed UNSYNC first; without one it is the operator's word.
#[must_use]
pub fn end(own: &Record, me: InstanceId, partner_bound: bool, confirmed: bool) -> End {
    if own.owner == me && partner_bound && !(own.sync == Sync::Unsync && confirmed) {
        End::ConfirmFirst
    } else {
        End::Now
    }
}

/// What becomes of a member that hears its partner's tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    /// The session is over and the database is this member's.
    Alone,
    /// The session is over, and the database stays a closed mirror copy.
    ClosedMirror,
    /// An incomplete principal is not ended: it stays closed until FORCE or PARTNER OFF (R6).
    StayIncomplete,
}

/// What becomes of a member that hears its partner's tombstone: it goes on alone if the higher of the two records names it (story F56).
#[must_use]
pub fn hear_tombstone(own: &Record, theirs: &Record, me: InstanceId, incomplete: bool) -> AfterEnd {
    let higher = if own.compare(theirs) == Ordering::Less {
        theirs
    } else {
        own
    };
    if higher.owner != me && !planted(Bug::TombstoneAlone) {
        AfterEnd::ClosedMirror
    } else if incomplete {
        AfterEnd::StayIncomplete
    } else {
        AfterEnd::Alone
    }
}

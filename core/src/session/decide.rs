//! Decisions as pure functions: what a member does about what it hears. The model and the machine call these same ones.

use super::event::{Reason, ReseedReason, SessionError};
use super::storage::StorageError;
use crate::message::{Chain, InstanceId, LogEnd, Position, Record, Timelines};

/// Most that another's role_sequence may be ahead (`docs/safety.md` R11).
pub(crate) const ROLE_SEQUENCE_AHEAD_MAX: u32 = 1_000;

/// How the principal's log and its mirror's go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// The mirror's log is a prefix: send what follows.
    Resume,
    /// The mirror holds more in this timeline: take that over first (R7).
    Adopt,
    /// They cannot be joined: seed the mirror anew.
    Seed(ReseedReason),
}

/// One side's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log<'t> {
    /// Its end.
    pub(crate) end: LogEnd,
    /// Its history.
    pub(crate) timelines: &'t Timelines,
}

/// Decides how to go on with a mirror's log. `settled`: the principal has appended since its restart, or may have, so that
/// a tail cannot be adopted any more. `chain_at` asks the principal's storage.
pub(crate) fn join(
    principal: Log<'_>,
    mirror: Log<'_>,
    wants_seed: bool,
    settled: bool,
    mut chain_at: impl FnMut(Position) -> Result<Option<Chain>, StorageError>,
) -> Result<Join, StorageError> {
    let at = mirror.end.position;
    if wants_seed {
        return Ok(Join::Seed(ReseedReason::Asked));
    }
    if principal.end.position == at && principal.end.chain == mirror.end.chain {
        return Ok(Join::Resume);
    }
    let theirs = mirror.timelines.fork_of(at.timeline);
    let same_timeline = principal.timelines.fork_of(at.timeline) == theirs || theirs.is_none();
    if !same_timeline || principal.timelines.locate(at.sequence) != Some(at) {
        return Ok(Join::Seed(ReseedReason::LeftBehind));
    }
    if at.sequence > principal.end.position.sequence {
        // Its own last timeline, and beyond its end. Without a settled log this is the tail of R7.
        let reason = if settled {
            ReseedReason::ChainMismatch
        } else {
            return Ok(Join::Adopt);
        };
        return Ok(Join::Seed(reason));
    }
    Ok(match chain_at(at)? {
        None => Join::Seed(ReseedReason::LogGone),
        Some(chain) if chain == mirror.end.chain => Join::Resume,
        Some(_) => Join::Seed(ReseedReason::ChainMismatch),
    })
}

/// Whether a partner's record, heard in a hello, lets this member go on as it is. The thin session changes no roles, so
/// only an equal record does.
pub(crate) fn heard_record(own: &Record, theirs: &Record) -> Result<(), SessionError> {
    let ahead = own.role_sequence.saturating_add(ROLE_SEQUENCE_AHEAD_MAX);
    if theirs.role_sequence > ahead || own != theirs {
        return Err(SessionError::new(1428, Reason::RecordConflict));
    }
    Ok(())
}

/// Whether a START's record is one to begin with: (1, the sender, 0, UNSYNC) and not forced (R0).
pub(crate) fn start_record(record: &Record, sender: InstanceId) -> Result<(), SessionError> {
    if *record == Record::first(sender) {
        Ok(())
    } else {
        Err(SessionError::new(1428, Reason::RecordConflict))
    }
}

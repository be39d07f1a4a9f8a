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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ForkId, Timeline};

    fn history(forks: &[(u32, u64, u64)]) -> Timelines {
        let list: std::vec::Vec<Timeline> = forks
            .iter()
            .map(|(number, fork, first)| Timeline {
                number: *number,
                fork: ForkId(*fork),
                first: *first,
                chain_before: Chain::START,
            })
            .collect();
        Timelines::new(&list).unwrap()
    }

    fn end(timeline: u32, sequence: u64, chain: u8) -> LogEnd {
        LogEnd {
            position: Position { timeline, sequence },
            chain: Chain([chain; 16]),
        }
    }

    /// The principal's log: blocks 5 to 20; its chain at a sequence is that sequence.
    fn decide(mirror: LogEnd, theirs: &Timelines, wants_seed: bool, settled: bool) -> Join {
        let ours = history(&[(1, 11, 1), (2, 22, 10)]);
        join(
            Log {
                end: end(2, 20, 20),
                timelines: &ours,
            },
            Log {
                end: mirror,
                timelines: theirs,
            },
            wants_seed,
            settled,
            |position| Ok((position.sequence >= 5).then_some(Chain([position.sequence as u8; 16]))),
        )
        .unwrap()
    }

    #[test]
    fn how_two_logs_go_on_together() {
        use ReseedReason::{Asked, ChainMismatch, LeftBehind, LogGone};
        let same = history(&[(1, 11, 1), (2, 22, 10)]);
        let early = history(&[(1, 11, 1)]);
        let other = history(&[(1, 11, 1), (2, 99, 10)]);
        let table = [
            // (mirror's end, its history, wants a seed, settled, what follows)
            (end(2, 20, 20), &same, false, true, Join::Resume),
            (end(2, 15, 15), &same, false, true, Join::Resume),
            (end(1, 9, 9), &early, false, true, Join::Resume),
            (end(2, 15, 77), &same, false, true, Join::Seed(ChainMismatch)),
            (end(2, 20, 77), &same, false, false, Join::Seed(ChainMismatch)),
            (end(1, 4, 4), &early, false, true, Join::Seed(LogGone)),
            (end(1, 12, 12), &early, false, true, Join::Seed(LeftBehind)),
            (end(2, 15, 15), &other, false, true, Join::Seed(LeftBehind)),
            (end(3, 21, 21), &same, false, false, Join::Seed(LeftBehind)),
            (end(2, 23, 23), &same, false, false, Join::Adopt),
            (end(2, 23, 23), &same, false, true, Join::Seed(ChainMismatch)),
            (end(2, 23, 23), &other, false, false, Join::Seed(LeftBehind)),
            (LogEnd::START, &Timelines::EMPTY, true, true, Join::Seed(Asked)),
            // Before the first block every history is one; what decides is whether the log still begins there.
            (LogEnd::START, &Timelines::EMPTY, false, true, Join::Seed(LogGone)),
        ];
        for (mirror, theirs, wants_seed, settled, expected) in table {
            let found = decide(mirror, theirs, wants_seed, settled);
            assert_eq!(found, expected, "{mirror:?} settled {settled}");
        }
    }

    #[test]
    fn only_an_equal_record_lets_a_member_go_on() {
        let own = Record::first(InstanceId([1; 16]));
        assert_eq!(heard_record(&own, &own), Ok(()));
        let others = [
            Record {
                role_sequence: 2,
                ..own
            },
            Record {
                owner: InstanceId([2; 16]),
                ..own
            },
            Record {
                sync_sequence: 1,
                ..own
            },
            Record { forced: true, ..own },
        ];
        for theirs in others {
            assert!(heard_record(&own, &theirs).is_err());
            assert!(start_record(&theirs, InstanceId([1; 16])).is_err());
        }
        assert_eq!(start_record(&own, InstanceId([1; 16])), Ok(()));
        assert!(start_record(&own, InstanceId([2; 16])).is_err());
    }
}

//! One history: how two logs go on together, where they part, and new timelines (`docs/safety.md` R7).

use super::super::event::ReseedReason;
use super::super::storage::StorageError;
use crate::message::{Chain, LogEnd, Position, Timeline, Timelines};
use crate::planted::{Bug, planted};

/// One side's log, as its hello states it.
#[derive(Clone, Copy, Debug)]
pub struct History<'t> {
    /// Its end.
    pub end: LogEnd,
    /// Its timelines.
    pub timelines: &'t Timelines,
}

/// How the principal's log and its mirror's go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// The mirror's log is a prefix: send what follows.
    Resume,
    /// The mirror holds more of the principal's own history: take that over first (R7).
    Adopt,
    /// They cannot be joined: seed the mirror anew.
    Seed(ReseedReason),
}

/// Decides how to go on with a mirror's log. `settled`: the principal has appended since its restart, or may have, so that
/// a tail cannot be adopted any more. `chain_at` asks the principal's storage.
pub(crate) fn join(
    principal: History<'_>,
    mirror: History<'_>,
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
    let same_timeline =
        principal.timelines.fork_of(at.timeline) == theirs || theirs.is_none() || planted(Bug::ForkIgnored);
    if !same_timeline || principal.timelines.locate(at.sequence) != Some(at) {
        return Ok(Join::Seed(ReseedReason::LeftBehind));
    }
    if at.sequence > principal.end.position.sequence {
        // Its own history, and beyond its end. Without a settled log this is the tail of R7.
        if planted(Bug::TailIgnored) {
            return Ok(Join::Resume);
        }
        let reason = if settled {
            ReseedReason::ChainMismatch
        } else {
            return Ok(Join::Adopt);
        };
        return Ok(Join::Seed(reason));
    }
    Ok(match chain_at(at)? {
        None => Join::Seed(ReseedReason::LogGone),
        // The block that follows lies in a timeline that is forgotten by now: it could not be named to the mirror.
        Some(_)
            if principal
                .timelines
                .locate(at.sequence.saturating_add(1))
                .is_none() =>
        {
            Join::Seed(ReseedReason::LogGone)
        }
        Some(chain) if chain == mirror.end.chain || planted(Bug::ChainNotCompared) => Join::Resume,
        Some(_) => Join::Seed(ReseedReason::ChainMismatch),
    })
}

/// Whether the mirror's log goes on in the very timeline in which the principal's next block would lie: a principal that neither adopts
/// that nor has begun a timeline of its own begins one before it appends anything (R7), or two blocks lie at one position.
pub(crate) fn goes_on_elsewhere(principal: History<'_>, mirror: History<'_>) -> bool {
    let end = principal.end.position.sequence;
    let next = end.saturating_add(1);
    if mirror.end.position.sequence <= end || planted(Bug::SameTimeline) {
        return false;
    }
    let (Some(ours), Some(theirs)) = (principal.timelines.locate(next), mirror.timelines.locate(next)) else {
        return true; // One of the two does not remember so far back.
    };
    ours == theirs && principal.timelines.fork_of(ours.timeline) == mirror.timelines.fork_of(ours.timeline)
}

/// Where a mirror's log stands against its principal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The mirror's log is a prefix: the principal sends what follows.
    Send {
        /// The last sequence number that both hold.
        after: u64,
    },
    /// The mirror holds more of the principal's own history. A restarted principal that has begun nothing adopts that while
    /// closed (story F10); one that has appended since is on another history.
    Tail {
        /// The end of the principal's log.
        after: u64,
    },
    /// The mirror's log goes on where a later timeline of the principal does not: the mirror undoes what follows, without
    /// alarm; after forced service only on RESUME (R8).
    Rewind {
        /// The last sequence number that both hold.
        to: u64,
    },
    /// The chains differ inside one timeline: corruption. SUSPENDED, loud, healed by comparing pages.
    Corrupt {
        /// Where.
        at: u64,
    },
}

/// The last sequence number at which both histories are one by their timelines alone, wherever the logs end. `None` where they have none in
/// common.
fn one_history<'a>(one: &'a Timelines, other: &'a Timelines) -> Option<u64> {
    let (one, other) = (one.as_slice(), other.as_slice());
    let none = one.is_empty() && other.is_empty();
    // Either may have forgotten its oldest timelines: what both remember is compared.
    let oldest = |list: &[Timeline]| list.first().map_or(0, |timeline| timeline.number);
    let since = oldest(one).max(oldest(other));
    let remembered = |list: &'a [Timeline]| {
        let forgotten = list.iter().take_while(|timeline| timeline.number < since).count();
        list.get(forgotten..).unwrap_or_default()
    };
    let (one, other) = (remembered(one), remembered(other));
    let common = one
        .iter()
        .zip(other)
        .take_while(|(a, b)| {
            a.number == b.number && (a.fork == b.fork || planted(Bug::ForkIgnored)) && a.first == b.first
        })
        .count();
    if common == 0 && !none {
        return None;
    }
    let left = |list: &[Timeline]| {
        list.get(common)
            .map_or(u64::MAX, |next| next.first.saturating_sub(1))
    };
    Some(left(one).min(left(other)))
}

/// The last sequence number that lies in both logs, as far as their timelines tell.
#[must_use]
pub fn fork_point(one: History<'_>, other: History<'_>) -> u64 {
    let until = one_history(one.timelines, other.timelines).unwrap_or(0);
    ends_at_most(until, one, other)
}

/// `until`, but not beyond the end of either log.
fn ends_at_most(until: u64, one: History<'_>, other: History<'_>) -> u64 {
    until
        .min(one.end.position.sequence)
        .min(other.end.position.sequence)
}

/// Where the mirror's log stands against its principal's (R7). `chain_at` gives the chain of the *principal's* log at a sequence
/// number not after its end, or `None` where the log does not reach back to.
///
/// # Errors
/// What `chain_at` answers.
pub fn meet<E>(
    principal: History<'_>,
    mirror: History<'_>,
    chain_at: impl FnOnce(u64) -> Result<Option<Chain>, E>,
) -> Result<Meeting, E> {
    let one = one_history(principal.timelines, mirror.timelines);
    let until = ends_at_most(one.unwrap_or(0), principal, mirror);
    let (ours, theirs) = (principal.end.position.sequence, mirror.end.position.sequence);
    if theirs > until {
        if planted(Bug::TailIgnored) {
            return Ok(Meeting::Send { after: until });
        }
        // A principal whose log was cut may know of timelines that begin after what the mirror still holds: that is its tail all the same.
        return Ok(if one.is_some_and(|one| theirs <= one) && until == ours {
            Meeting::Tail { after: until }
        } else {
            Meeting::Rewind { to: until }
        });
    }
    Ok(match chain_at(theirs)? {
        Some(chain) if chain != mirror.end.chain && !planted(Bug::ChainNotCompared) => {
            Meeting::Corrupt { at: theirs }
        }
        Some(_) | None => Meeting::Send { after: theirs },
    })
}

/// Whether a principal may adopt what its mirror holds beyond its own log: only while it is closed since its restart and has begun
/// nothing (R7).
#[must_use]
pub const fn may_adopt(meeting: &Meeting, serves: bool, prepared: bool) -> bool {
    matches!(meeting, Meeting::Tail { .. }) && !serves && !prepared
}

/// Whether a block may be appended by a mirror: it follows the own end, in a timeline that the history knows as its newest.
#[must_use]
pub const fn follows(end: u64, block: u64) -> bool {
    end.checked_add(1).is_some() && end.saturating_add(1) == block
}

/// What becomes of a block that was offered and whose commit did not happen (R7, story F10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// It was not offered: forget it.
    Forget,
    /// Append a VOID block, durable in the own log before the error is returned or the next block offered. An offered block is
    /// never withdrawn.
    Void,
}

/// What becomes of a block whose commit did not happen.
#[must_use]
pub const fn undo(offered: bool) -> Undo {
    if offered { Undo::Void } else { Undo::Forget }
}

/// The end from which a new owner's timeline starts: all that it has hardened, decided and applied first (R7, story F33), never only
/// what its predecessor had told to be decided.
#[must_use]
pub const fn timeline_starts_after(hardened: u64, _decided: u64) -> u64 {
    hardened
}

/// The number of a new timeline: above all that were ever begun or seen here.
#[must_use]
pub fn next_timeline(own: &Timelines, highest_seen: u32) -> u32 {
    own.last()
        .map_or(0, |last| last.number)
        .max(highest_seen)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ForkId;

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
            History {
                end: end(2, 20, 20),
                timelines: &ours,
            },
            History {
                end: mirror,
                timelines: theirs,
            },
            wants_seed,
            settled,
            |position| Ok((position.sequence >= 5).then_some(Chain([position.sequence as u8; 16]))),
        )
        .unwrap()
    }

    /// Seed 35 of the simulator: the mirror held nothing, the principal's log still began at the start, but had seen more timelines than are
    /// remembered: nothing could be sent, and no seed either.
    #[test]
    fn who_stands_before_the_oldest_timeline_that_is_remembered_is_seeded() {
        let ours = history(&[(14, 22, 21), (15, 33, 30)]);
        let principal = History {
            end: end(15, 40, 40),
            timelines: &ours,
        };
        let mirror = History {
            end: LogEnd::START,
            timelines: &Timelines::EMPTY,
        };
        let joined = join(principal, mirror, false, true, |_| Ok(Some(Chain::START)));
        assert_eq!(joined, Ok(Join::Seed(ReseedReason::LogGone)));
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

    /// Seed 60138 of the simulator.
    #[test]
    fn a_mirror_that_goes_on_in_the_same_timeline_makes_its_principal_begin_another() {
        let short = history(&[(1, 11, 1), (2, 22, 2)]);
        let long = history(&[(1, 11, 1), (2, 22, 2), (3, 33, 7)]);
        let other = history(&[(1, 11, 1), (2, 99, 2), (3, 33, 7)]);
        let begun = history(&[(1, 11, 1), (2, 22, 2), (3, 44, 4)]);
        let late = history(&[(3, 33, 7)]);
        let table = [
            // (the principal's end and history, the mirror's, whether it has to)
            (3, &short, 9, &long, true),
            (3, &short, 4, &short, true),
            (3, &short, 3, &short, false),
            (3, &short, 2, &short, false),
            (6, &short, 9, &long, false),
            (3, &short, 9, &other, false),
            (3, &begun, 9, &long, false),
            (3, &short, 9, &late, true),
            (9, &late, 8, &long, false),
        ];
        for (ours, timelines, theirs, mirrors, expected) in table {
            let log = |sequence, timelines| History {
                end: end(2, sequence, 0),
                timelines,
            };
            assert_eq!(
                goes_on_elsewhere(log(ours, timelines), log(theirs, mirrors)),
                expected,
                "{ours} {timelines:?}, {theirs} {mirrors:?}"
            );
        }
    }

    fn met(principal: (u64, &Timelines), mirror: (LogEnd, &Timelines)) -> Meeting {
        let number = principal.1.locate(principal.0).unwrap().timeline;
        let ours = History {
            end: end(number, principal.0, principal.0 as u8),
            timelines: principal.1,
        };
        let theirs = History {
            end: mirror.0,
            timelines: mirror.1,
        };
        meet(ours, theirs, |sequence| {
            Ok::<_, ()>(Some(Chain([sequence as u8; 16])))
        })
        .unwrap()
    }

    #[test]
    fn where_a_mirrors_log_stands() {
        let one = history(&[(1, 11, 1)]);
        let two = history(&[(1, 11, 1), (2, 22, 10)]);
        let other_two = history(&[(1, 11, 1), (2, 99, 10)]);
        let late = history(&[(2, 22, 10), (3, 33, 15)]);
        let later = history(&[(2, 22, 10)]);
        let table = [
            ((20, &two), (end(2, 20, 20), &two), Meeting::Send { after: 20 }),
            ((20, &two), (end(1, 5, 5), &one), Meeting::Send { after: 5 }),
            ((20, &two), (end(2, 15, 77), &two), Meeting::Corrupt { at: 15 }),
            ((20, &two), (end(2, 22, 22), &two), Meeting::Tail { after: 20 }),
            ((20, &two), (end(1, 12, 12), &one), Meeting::Rewind { to: 9 }),
            (
                (20, &two),
                (end(2, 22, 22), &other_two),
                Meeting::Rewind { to: 9 },
            ),
            // The principal lost everything back to before its newest timeline, in which nothing lies yet.
            ((9, &two), (end(1, 12, 12), &one), Meeting::Rewind { to: 9 }),
            ((9, &one), (end(1, 12, 12), &one), Meeting::Tail { after: 9 }),
            // Its log was cut, and it knows of a timeline that begins after all that the mirror holds.
            ((5, &two), (end(1, 8, 8), &one), Meeting::Tail { after: 5 }),
            ((5, &two), (end(1, 9, 9), &two), Meeting::Tail { after: 5 }),
            ((5, &two), (end(2, 10, 10), &two), Meeting::Tail { after: 5 }),
            ((5, &two), (end(1, 12, 12), &one), Meeting::Rewind { to: 5 }),
            // Timelines that only one of the two still remembers part nobody.
            ((20, &late), (end(2, 12, 12), &two), Meeting::Send { after: 12 }),
            ((20, &two), (end(2, 12, 12), &later), Meeting::Send { after: 12 }),
            ((20, &late), (end(2, 18, 18), &two), Meeting::Rewind { to: 14 }),
        ];
        for (principal, mirror, expected) in table {
            assert_eq!(met(principal, mirror), expected, "{:?}", mirror.0);
        }
    }

    /// What the principal decides and what the mirror decides of the same two logs go together: else one takes a tail over that the other undoes.
    #[test]
    fn both_sides_decide_alike() {
        let histories = [
            history(&[(1, 11, 1)]),
            history(&[(1, 11, 1), (2, 22, 3)]),
            history(&[(1, 11, 1), (2, 23, 5)]),
            history(&[(1, 11, 1), (2, 24, 5)]),
            history(&[(1, 11, 1), (2, 22, 3), (3, 33, 5)]),
            history(&[(1, 11, 1), (2, 23, 5), (3, 34, 5)]),
            history(&[(1, 11, 1), (3, 44, 4)]),
        ];
        // The same where the oldest are forgotten: what a timeline is remembered as, and what it was.
        let remembered = histories.iter().map(|history| (*history, *history));
        let forgotten = histories
            .iter()
            .filter(|history| history.as_slice().len() > 1)
            .map(|history| {
                let left = Timelines::new(history.as_slice().get(1..).unwrap()).unwrap();
                (left, *history)
            });
        let histories: std::vec::Vec<_> = remembered.chain(forgotten).collect();
        let mut adopted = 0;
        let pairs = histories
            .iter()
            .flat_map(|one| histories.iter().map(move |other| (one, other)));
        for ((ours, own_past), (theirs, their_past)) in pairs {
            for (own, mirrors) in (1..8).flat_map(|own| (1..8).map(move |mirrors| (own, mirrors))) {
                if ours.locate(own).is_none() || theirs.locate(mirrors).is_none() {
                    continue; // It does not remember where its own log ends.
                }
                let at = |sequence: u64, history: &Timelines| {
                    let at = history.locate(sequence).unwrap();
                    let fork = history.fork_of(at.timeline).unwrap();
                    end(at.timeline, sequence, fork.0 as u8 ^ (sequence as u8) << 5)
                };
                let chain_at = |sequence: u64| Some(at(sequence, own_past).chain);
                let principal = History {
                    end: at(own, own_past),
                    timelines: ours,
                };
                let mirror = History {
                    end: at(mirrors, their_past),
                    timelines: theirs,
                };
                let joined = join(principal, mirror, false, false, |position| {
                    Ok(chain_at(position.sequence))
                })
                .unwrap();
                let met = meet(principal, mirror, |sequence| Ok::<_, ()>(chain_at(sequence))).unwrap();
                let alike = match joined {
                    Join::Resume => met == Meeting::Send { after: mirrors },
                    Join::Adopt => met == Meeting::Tail { after: own },
                    // Who stands before all that the principal remembers is seeded, and has nothing to undo for that.
                    Join::Seed(_) => {
                        matches!(met, Meeting::Rewind { .. }) || ours.locate(mirrors.min(own)).is_none()
                    }
                };
                let (ours, theirs) = (ours.as_slice(), theirs.as_slice());
                assert!(
                    alike,
                    "{own} of {ours:?} and {mirrors} of {theirs:?}: {joined:?}, {met:?}"
                );
                adopted += u32::from(joined == Join::Adopt);
            }
        }
        assert!(adopted > 100, "{adopted}");
    }

    #[test]
    fn only_a_closed_principal_that_began_nothing_adopts() {
        let tail = Meeting::Tail { after: 3 };
        assert!(may_adopt(&tail, false, false));
        assert!(!may_adopt(&tail, true, false));
        assert!(!may_adopt(&tail, false, true));
        assert!(!may_adopt(&Meeting::Send { after: 3 }, false, false));
    }

    #[test]
    fn timelines_rise_and_start_after_everything_hardened() {
        assert_eq!(next_timeline(&Timelines::EMPTY, 0), 1);
        assert_eq!(next_timeline(&history(&[(1, 11, 1), (4, 22, 10)]), 3), 5);
        assert_eq!(next_timeline(&history(&[(1, 11, 1)]), 6), 7);
        assert_eq!(timeline_starts_after(7, 6), 7);
        assert_eq!(undo(true), Undo::Void);
        assert_eq!(undo(false), Undo::Forget);
        assert!(follows(3, 4) && !follows(3, 3) && !follows(3, 5) && !follows(u64::MAX, u64::MAX));
    }
}

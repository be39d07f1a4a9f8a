//! The history of a log: which timeline each sequence number lies in (`docs/safety.md` R7).

use super::ids::{Chain, ForkId, Position};

/// Timelines that a history names. Older ones are forgotten: who lies behind them is seeded anew.
pub const TIMELINES_MAX: usize = 16;

/// One timeline: a stretch of log that one principal wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Its number, from 1, rising.
    pub number: u32,
    /// Tells it from another timeline of the same number.
    pub fork: ForkId,
    /// The sequence number of its first block.
    pub first: u64,
    /// The chain before its first block.
    pub chain_before: Chain,
}

/// The timelines of one history, oldest first. Numbers rise strictly; first sequence numbers never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timelines {
    list: [Timeline; TIMELINES_MAX],
    length: u8,
}

/// Why a timeline or a list of them was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimelinesError {
    /// More than [`TIMELINES_MAX`].
    TooMany,
    /// Numbers or first sequence numbers out of order, or a zero among them.
    Order,
}

impl Timelines {
    /// No history: nothing was ever logged or received.
    pub const EMPTY: Self = Self {
        list: [Timeline {
            number: 0,
            fork: ForkId(0),
            first: 0,
            chain_before: Chain::START,
        }; TIMELINES_MAX],
        length: 0,
    };

    /// Takes timelines, oldest first.
    ///
    /// # Errors
    /// [`TimelinesError`] for too many or unordered ones.
    pub fn new(timelines: &[Timeline]) -> Result<Self, TimelinesError> {
        let mut out = Self::EMPTY;
        if timelines.len() > TIMELINES_MAX {
            return Err(TimelinesError::TooMany);
        }
        for timeline in timelines {
            out.push(*timeline)?;
        }
        Ok(out)
    }

    /// Adds the newest timeline; the oldest is forgotten when there is no room.
    ///
    /// # Errors
    /// [`TimelinesError::Order`] when it does not come after the last one.
    pub fn push(&mut self, timeline: Timeline) -> Result<(), TimelinesError> {
        let fits = self
            .last()
            .is_none_or(|last| timeline.number > last.number && timeline.first >= last.first);
        if !fits || timeline.number == 0 || timeline.first == 0 {
            return Err(TimelinesError::Order);
        }
        if usize::from(self.length) == TIMELINES_MAX {
            // Not `rotate_left`, which could panic with another number.
            let [_, newer @ ..] = self.list;
            for (place, next) in self.list.iter_mut().zip(newer) {
                *place = next;
            }
            self.length = self.length.saturating_sub(1);
        }
        if let Some(place) = self.list.get_mut(usize::from(self.length)) {
            *place = timeline;
            self.length = self.length.saturating_add(1);
        }
        Ok(())
    }

    /// Goes on in a new timeline, whose number is above all that were ever begun here. Later timelines in which nothing of
    /// this history lies any more, since the log was lost back to before them, are dropped.
    ///
    /// # Errors
    /// [`TimelinesError::Order`] when its number is not above the last one.
    pub fn fork(&mut self, timeline: Timeline) -> Result<(), TimelinesError> {
        let mut out = *self;
        if self.last().is_some_and(|last| timeline.number <= last.number) {
            return Err(TimelinesError::Order);
        }
        out = out.until(timeline.first);
        out.push(timeline)?;
        *self = out;
        Ok(())
    }

    /// The timelines, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Timeline] {
        self.list.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The newest timeline.
    #[must_use]
    pub fn last(&self) -> Option<Timeline> {
        self.as_slice().last().copied()
    }

    /// Where the block with `sequence` lies. `None` before the oldest known timeline.
    #[must_use]
    pub fn locate(&self, sequence: u64) -> Option<Position> {
        if sequence == 0 {
            return Some(Position::START);
        }
        let timeline = self.as_slice().iter().rev().find(|t| t.first <= sequence)?;
        Some(Position {
            timeline: timeline.number,
            sequence,
        })
    }

    /// Whether `position` lies in this history, and in the timeline with that fork id when `fork` tells it.
    #[must_use]
    pub fn contains(&self, position: Position, fork: Option<ForkId>) -> bool {
        if self.locate(position.sequence) != Some(position) {
            return false;
        }
        match (fork, self.fork_of(position.timeline)) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (Some(_), None) => true,
        }
    }

    /// The fork id of timeline `number`.
    #[must_use]
    pub fn fork_of(&self, number: u32) -> Option<ForkId> {
        self.as_slice()
            .iter()
            .find(|t| t.number == number)
            .map(|t| t.fork)
    }

    /// This history as far as a log that ends at `sequence` has got: timelines that begin later are left out.
    #[must_use]
    pub fn until(&self, sequence: u64) -> Self {
        let mut out = *self;
        while out.last().is_some_and(|t| t.first > sequence) {
            out.length = out.length.saturating_sub(1);
            if let Some(place) = out.list.get_mut(usize::from(out.length)) {
                *place = Timeline::default();
            }
        }
        out
    }
}

impl core::fmt::Display for TimelinesError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many timelines",
            Self::Order => "timelines out of order",
        })
    }
}

impl core::error::Error for TimelinesError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(number: u32, first: u64) -> Timeline {
        Timeline {
            number,
            fork: ForkId(u64::from(number)),
            first,
            chain_before: Chain::START,
        }
    }

    fn at(timeline: u32, sequence: u64) -> Position {
        Position { timeline, sequence }
    }

    #[test]
    fn sequences_are_located_in_their_timelines() {
        let history =
            Timelines::new(&[timeline(1, 1), timeline(3, 10), timeline(4, 10), timeline(5, 20)]).unwrap();
        assert_eq!(history.locate(0), Some(Position::START));
        assert_eq!(history.locate(9), Some(at(1, 9)));
        assert_eq!(
            history.locate(10),
            Some(at(4, 10)),
            "timeline 3 never had a block"
        );
        assert_eq!(history.locate(99), Some(at(5, 99)));
        assert_eq!(history.until(19).last().unwrap().number, 4);
        assert_eq!(history.until(0), Timelines::EMPTY);
        assert!(history.contains(at(4, 12), Some(ForkId(4))));
        assert!(!history.contains(at(4, 12), Some(ForkId(9))));
        assert!(!history.contains(at(3, 12), None));
    }

    #[test]
    fn order_is_kept() {
        let mut history = Timelines::new(&[timeline(2, 10)]).unwrap();
        for wrong in [
            timeline(2, 11),
            timeline(1, 11),
            timeline(3, 9),
            timeline(0, 11),
            timeline(3, 0),
        ] {
            assert_eq!(history.push(wrong), Err(TimelinesError::Order), "{wrong:?}");
        }
        assert_eq!(history.locate(9), None, "before the oldest that is known");
        assert_eq!(
            Timelines::new(&[timeline(1, 1); 17]),
            Err(TimelinesError::TooMany)
        );
    }

    #[test]
    fn a_fork_leaves_what_was_lost_behind() {
        let mut history = Timelines::new(&[timeline(1, 1), timeline(2, 10)]).unwrap();
        assert_eq!(history.fork(timeline(2, 8)), Err(TimelinesError::Order));
        history.fork(timeline(3, 8)).unwrap();
        assert_eq!(history.as_slice(), [timeline(1, 1), timeline(3, 8)]);
        assert_eq!(history.locate(12), Some(at(3, 12)));
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_is_no_room() {
        let mut history = Timelines::EMPTY;
        for number in 1..=17 {
            history.push(timeline(number, u64::from(number))).unwrap();
        }
        assert_eq!(history.as_slice().len(), TIMELINES_MAX);
        assert_eq!(history.locate(1), None);
        assert_eq!(history.locate(2), Some(at(2, 2)));
    }
}

//! The floor of time: what a device without a clock takes for certainly passed (`docs/appliance.md`).
//!
//! Peers that have a clock tell the time. One of them alone, however wrong or false, moves nothing: the floor goes to the *lesser* of what
//! two different logins told, so it never passes the time of an honest one among them. It never goes back, and at most once a day
//! forward, so that nobody wears the memory out.

use dbmirror_core::time::{Duration, Instant, UnixSeconds};

use super::settings::PEERS_MAX;

/// The least step, and the least pause between two.
const DAY: i64 = 86_400;
const PAUSE: Duration = Duration::from_secs(86_400);

/// The floor, and what was told since the start.
#[derive(Clone, Debug)]
pub struct MovingFloor {
    floor: UnixSeconds,
    moved: Option<Instant>,
    /// The last word of each login.
    told: [Option<(u32, UnixSeconds)>; PEERS_MAX as usize],
}

impl MovingFloor {
    /// The floor as stored.
    #[must_use]
    pub const fn new(floor: UnixSeconds) -> Self {
        Self {
            floor,
            moved: None,
            told: [None; PEERS_MAX as usize],
        }
    }

    /// A time that has passed.
    #[must_use]
    pub const fn get(&self) -> UnixSeconds {
        self.floor
    }

    /// Takes what a peer told under `login`. `Some` is the floor to be stored now; [`MovingFloor::moved`] when it is.
    pub fn hear(&mut self, login: u32, unix: UnixSeconds, now: Instant) -> Option<UnixSeconds> {
        let known = self
            .told
            .iter()
            .position(|told| told.is_some_and(|(by, _)| by == login))
            .or_else(|| self.told.iter().position(Option::is_none))?;
        *self.told.get_mut(known)? = Some((login, unix));
        let (mut highest, mut second) = (None, None);
        for (_, told) in self.told.iter().flatten() {
            if highest.is_none_or(|highest| *told > highest) {
                second = highest;
                highest = Some(*told);
            } else if second.is_none_or(|second| *told > second) {
                second = Some(*told);
            }
        }
        let rested = self.moved.is_none_or(|at| now >= at.after(PAUSE));
        second.filter(|to| rested && to.0 >= self.floor.0.saturating_add(DAY))
    }

    /// The floor is stored as `to`.
    pub fn moved(&mut self, to: UnixSeconds, now: Instant) {
        self.floor = self.floor.max(to);
        self.moved = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_900_000_000;

    fn at(days: i64) -> UnixSeconds {
        UnixSeconds(START + days * DAY)
    }

    fn later(days: u64) -> Instant {
        Instant::ZERO.after(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn one_peer_alone_never_moves_it() {
        let mut floor = MovingFloor::new(at(0));
        for day in 1..100 {
            assert_eq!(floor.hear(257, at(day * 365), later(0)), None);
        }
        assert_eq!(floor.get(), at(0));
    }

    #[test]
    fn it_goes_to_the_lesser_of_two() {
        let mut floor = MovingFloor::new(at(0));
        assert_eq!(
            floor.hear(257, at(40_000), later(0)),
            None,
            "one that lies far ahead"
        );
        assert_eq!(floor.hear(258, at(10), later(0)), Some(at(10)));
        assert_eq!(floor.get(), at(0), "it has not been stored yet");
        floor.moved(at(10), later(0));
        assert_eq!(floor.get(), at(10));
        // And one that lies far behind stops it, and moves nothing back.
        assert_eq!(floor.hear(257, at(-5), later(2)), None);
        assert_eq!(floor.hear(258, at(12), later(2)), None);
        assert_eq!(floor.get(), at(10));
    }

    #[test]
    fn it_moves_once_a_day_and_by_a_day_at_least() {
        let mut floor = MovingFloor::new(at(0));
        floor.hear(257, at(1), later(0));
        assert_eq!(
            floor.hear(258, UnixSeconds(at(1).0 - 1), later(0)),
            None,
            "less than a day"
        );
        assert_eq!(floor.hear(258, at(1), later(0)), Some(at(1)));
        floor.moved(at(1), later(0));
        floor.hear(257, at(9), later(0));
        assert_eq!(floor.hear(258, at(9), later(0)), None, "twice in a day");
        assert_eq!(floor.hear(258, at(9), later(1)), Some(at(9)));
    }

    /// Whatever two of three logins say, it stays at or below the greatest time that a third, honest one and one of them told.
    #[test]
    fn it_never_passes_the_second_highest() {
        let mut floor = MovingFloor::new(at(0));
        floor.hear(257, at(40_000), later(0));
        floor.hear(258, at(3), later(0));
        assert_eq!(floor.hear(259, at(2), later(0)), Some(at(3)));
    }

    #[test]
    fn more_logins_than_places_change_nothing() {
        let mut floor = MovingFloor::new(at(0));
        for login in 0..u32::from(PEERS_MAX) {
            floor.hear(login, at(0), later(0));
        }
        assert_eq!(floor.hear(99, at(7), later(0)), None);
        assert_eq!(floor.hear(98, at(7), later(0)), None);
    }
}

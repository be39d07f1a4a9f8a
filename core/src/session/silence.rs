//! Whether a partner or a witness counts as silent (`docs/safety.md` R9).

use crate::time::Instant;

/// Whether somebody was found silent, and until when he had been heard then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Silence {
    since: Option<Instant>,
}

impl Silence {
    /// He is heard of.
    pub(crate) const HEARD: Self = Self { since: None };

    /// Whether he counts as silent.
    pub(crate) const fn is_silent(self) -> bool {
        self.since.is_some()
    }

    /// What he counts as now that he was heard last at `heard` (`None`: nothing links him) and his time is `over` or not. Who was found
    /// silent counts as heard again when he has said something, not when the time-out is raised.
    #[must_use]
    pub(crate) fn judged(self, over: bool, heard: Option<Instant>) -> Self {
        let silent = |heard: &Instant| over || self.since.is_some_and(|since| *heard <= since);
        Self {
            since: heard.filter(silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Option<Instant> {
        Some(Instant::from_micros(seconds * 1_000_000))
    }

    #[test]
    fn silent_is_who_is_not_heard_in_time() {
        let heard = Silence::HEARD;
        assert!(!heard.is_silent());
        assert_eq!(heard.judged(false, at(3)), heard);
        assert!(heard.judged(true, at(3)).is_silent());
        // Whom nothing links is not silent: he is lost.
        assert_eq!(heard.judged(true, at(3)).judged(true, None), heard);
    }

    /// Seed 97254 of the simulator: a witness that had been silent for the time-out counted as heard when that was raised.
    #[test]
    fn a_raised_time_out_does_not_make_anybody_heard() {
        let silent = Silence::HEARD.judged(true, at(3));
        assert!(silent.judged(false, at(3)).is_silent());
        assert!(!silent.judged(false, at(4)).is_silent());
        // What he says is not enough while his storage stands still.
        let stuck = silent.judged(true, at(4));
        assert!(stuck.is_silent() && stuck.judged(false, at(4)).is_silent());
    }
}

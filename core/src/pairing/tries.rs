//! How often a code may be tried.

use crate::time::{Duration, Instant};

/// How long a window stays open at most.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Tries within [`SPAN`].
pub const TRIES_MAX: usize = 5;
/// The span that tries are counted in.
pub const SPAN: Duration = Duration::from_secs(60);

/// The times of the last tries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries([Option<Instant>; TRIES_MAX]);

impl Tries {
    /// Counts a try at `now`; false when there were too many already, and then it is not counted, so that who goes on trying
    /// does not keep others out for longer than the span.
    pub fn allow(&mut self, now: Instant) -> bool {
        let free = self
            .0
            .iter_mut()
            .find(|tried| tried.is_none_or(|at| now.since(at) >= SPAN));
        match free {
            Some(place) => {
                *place = Some(now);
                true
            }
            None => false,
        }
    }
}

//! How often a code may be tried.

use crate::time::{Duration, Instant};

/// How long a window stays open at most.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Tries of one source within [`SPAN`].
pub const TRIES_MAX: usize = 5;
/// Sources that may try within [`SPAN`].
pub const SOURCES_MAX: usize = 16;
/// The span that tries are counted in.
pub const SPAN: Duration = Duration::from_secs(60);

/// The times of the last tries, by where they came from: who guesses at a code must not keep out who knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries([OfSource; SOURCES_MAX]);

/// The last tries of one source.
#[derive(Clone, Copy, Debug, Default)]
struct OfSource {
    source: u64,
    at: [Option<Instant>; TRIES_MAX],
}

impl OfSource {
    fn is_old(&self, now: Instant) -> bool {
        self.at.iter().all(|at| is_free(at, now))
    }
}

fn is_free(tried: &Option<Instant>, now: Instant) -> bool {
    tried.is_none_or(|at| now.since(at) >= SPAN)
}

impl Tries {
    /// Counts a try from `source` at `now`; false when there were too many already, or too many others try. Then it is not
    /// counted, so that who goes on trying keeps nobody out for longer than the span.
    pub fn allow(&mut self, source: u64, now: Instant) -> bool {
        let known = self
            .0
            .iter()
            .position(|of| of.source == source && !of.is_old(now));
        let place = known.or_else(|| self.0.iter().position(|of| of.is_old(now)));
        let Some(of) = place.and_then(|place| self.0.get_mut(place)) else {
            return false;
        };
        of.source = source;
        match of.at.iter_mut().find(|at| is_free(at, now)) {
            Some(free) => {
                *free = Some(now);
                true
            }
            None => false,
        }
    }
}

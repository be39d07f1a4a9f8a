//! The thread that hardens: one `fdatasync` per batch, and the next segment made ahead of need.

use std::io;
use std::string::String;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::format::Place;
use super::{Durability, OnDurable, Shared, State, segment};

/// First pause after a segment could not be prepared; doubles.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
/// Longest pause after a segment could not be prepared.
const AGAIN_LAST: Duration = Duration::from_secs(10);

pub(super) fn spawn(shared: Arc<Shared>, on_durable: OnDurable) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(String::from("blocklog"))
        .spawn(move || run(&shared, &on_durable))
}

fn run(shared: &Shared, on_durable: &OnDurable) {
    let mut state = shared.lock();
    let mut again = Again::default();
    loop {
        if !state.dirty.is_empty() && state.poisoned.is_none() {
            state = harden(shared, state, on_durable);
        } else if wants_next(shared, &state) && again.is_due() {
            let number = state.last_number + 1;
            state.last_number = number;
            drop(state);
            let made = (shared.create)(&shared.dir, number, u64::from(shared.options.segment_size));
            state = shared.lock();
            match made {
                // A large block made a segment of its own meanwhile: the order of segments is that of their numbers.
                Ok(next) if state.current.as_ref().is_some_and(|c| c.number > next.number) => {
                    let _ = std::fs::remove_file(segment::path(&shared.dir, next.number));
                }
                Ok(next) => {
                    again = Again::default();
                    state.next = Some(next);
                }
                // A full disk is the next append's to report. What was appended while the lock was free has notified
                // already: the loop looks at everything again before it waits.
                Err(_) => again.failed(),
            }
        } else if state.closing {
            return;
        } else {
            let limit = wants_next(shared, &state).then(|| again.left()).flatten();
            state = wait(shared, state, limit);
        }
    }
}

/// When a segment that could not be prepared is tried again.
#[derive(Default)]
struct Again {
    at: Option<Instant>,
    pause: Duration,
}

impl Again {
    fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(AGAIN_FIRST, AGAIN_LAST);
        self.at = Some(Instant::now() + self.pause);
    }

    fn is_due(&self) -> bool {
        self.left().is_none_or(|left| left.is_zero())
    }

    /// `None` when nothing failed.
    fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// Waits until there may be something to do, or for `limit`. The caller has just seen, under this lock, that there is nothing.
fn wait<'a>(
    shared: &Shared,
    state: std::sync::MutexGuard<'a, State>,
    limit: Option<Duration>,
) -> std::sync::MutexGuard<'a, State> {
    match limit {
        Some(limit) => {
            shared
                .work
                .wait_timeout(state, limit)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
        None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
    }
}

/// Whether the current segment is half full and nothing is prepared.
fn wants_next(shared: &Shared, state: &State) -> bool {
    let half = u64::from(shared.options.segment_size) / 2;
    !state.closing
        && state.poisoned.is_none()
        && state.next.is_none()
        && state.last_number < u32::MAX
        && state.current.as_ref().is_some_and(|c| c.offset > half)
}

fn harden<'a>(
    shared: &'a Shared,
    mut state: std::sync::MutexGuard<'a, State>,
    on_durable: &OnDurable,
) -> std::sync::MutexGuard<'a, State> {
    let files = core::mem::take(&mut state.dirty);
    let reached = core::mem::take(&mut state.reached);
    let appended = state.appended;
    let begun = Instant::now();
    let upto = state.current.as_ref().map_or(Place::default(), |c| Place {
        segment: c.number,
        offset: c.offset as u32,
    });
    drop(state);
    let outcome = files.iter().try_for_each(|file| file.sync_data());
    let mut state = shared.lock();
    let notice = match outcome {
        Ok(()) => {
            state.synced = appended;
            // What came meanwhile waits at most since this batch began.
            state.waiting_since = (state.appended > appended).then_some(begun);
            state.durable = upto;
            Shared::mark(&mut state);
            Durability::Durable(reached.into_iter().collect())
        }
        Err(e) => Durability::Failed(shared.poison(&mut state, &e)),
    };
    shared.done.notify_all();
    drop(state);
    on_durable(notice);
    shared.lock()
}

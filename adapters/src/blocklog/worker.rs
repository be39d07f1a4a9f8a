//! The thread that hardens: one `fdatasync` per batch, and the next segment made ahead of need.

use std::io;
use std::string::String;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use super::format::Place;
use super::{Durability, OnDurable, Shared, State, segment};

pub(super) fn spawn(shared: Arc<Shared>, on_durable: OnDurable) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(String::from("blocklog"))
        .spawn(move || run(&shared, &on_durable))
}

fn run(shared: &Shared, on_durable: &OnDurable) {
    let mut state = shared.lock();
    loop {
        if !state.dirty.is_empty() && state.poisoned.is_none() {
            state = harden(shared, state, on_durable);
        } else if wants_next(shared, &state) {
            let number = state.last_number + 1;
            state.last_number = number;
            drop(state);
            let made = segment::create(&shared.dir, number, u64::from(shared.options.segment_size));
            state = shared.lock();
            match made {
                // A large block made a segment of its own meanwhile: the order of segments is that of their numbers.
                Ok(next) if state.current.as_ref().is_some_and(|c| c.number > next.number) => {
                    let _ = std::fs::remove_file(segment::path(&shared.dir, next.number));
                }
                Ok(next) => state.next = Some(next),
                // A full disk is the next append's to report: it tries again, and nothing is lost.
                Err(_) => state = wait(shared, state),
            }
        } else if state.closing {
            return;
        } else {
            state = wait(shared, state);
        }
    }
}

fn wait<'a>(shared: &Shared, state: std::sync::MutexGuard<'a, State>) -> std::sync::MutexGuard<'a, State> {
    if state.closing && state.dirty.is_empty() {
        return state;
    }
    shared.work.wait(state).unwrap_or_else(PoisonError::into_inner)
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
    let begun = std::time::Instant::now();
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
            Durability::Durable(reached.into_iter().collect())
        }
        Err(e) => Durability::Failed(shared.poison(&mut state, &e)),
    };
    shared.done.notify_all();
    drop(state);
    on_durable(notice);
    shared.lock()
}

//! The durable half of a session, or of a witness's part in one, and the proof that it is durable.
//!
//! A message that states anything of the record is built from [`Kept::durable`], which answers only while what is in memory
//! is what the storage has confirmed (`docs/safety.md` I5): the borrow is the proof, there is no other way to a record that
//! may be sent.

use super::stored::Stored;
use crate::planted::{Bug, planted};

/// A [`Stored`], or what a witness keeps, and how far it is on its way to the storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<T = Stored> {
    value: T,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Exists in memory only, and is not to be written yet: a start that is not accepted.
    Volatile,
    /// To be written.
    Dirty,
    /// Being written under that ticket; changed again meanwhile or not.
    Writing { ticket: u64, again: bool },
    /// Confirmed.
    Durable,
}

impl<T: Copy + PartialEq> Kept<T> {
    /// A value that the storage does not hold and shall not hold yet.
    pub(crate) const fn volatile(value: T) -> Self {
        Self {
            value,
            state: State::Volatile,
        }
    }

    /// A value that is to be written.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value,
            state: State::Dirty,
        }
    }

    /// A value that was read from the storage.
    pub(crate) const fn read(value: T) -> Self {
        Self {
            value,
            state: State::Durable,
        }
    }

    /// The value as it is in memory: for decisions and views, never for what is sent.
    pub(crate) const fn get(&self) -> &T {
        &self.value
    }

    /// The value, if the storage has confirmed exactly it.
    pub(crate) fn durable(&self) -> Option<&T> {
        if planted(Bug::SaidBeforeDurable) {
            return Some(&self.value);
        }
        match self.state {
            State::Durable => Some(&self.value),
            State::Volatile | State::Dirty | State::Writing { .. } => None,
        }
    }

    /// Changes a value that is not to be written yet.
    pub(crate) fn prepare(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.value);
    }

    /// Changes the value; it is written before anything of it is claimed. Nothing happens when nothing changed and
    /// the value is on its way or there.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut T)) {
        let before = self.value;
        change(&mut self.value);
        let changed = before != self.value;
        self.state = match self.state {
            State::Volatile | State::Dirty => State::Dirty,
            State::Durable if changed => State::Dirty,
            State::Durable => State::Durable,
            State::Writing { ticket, again } => State::Writing {
                ticket,
                again: again || changed,
            },
        };
    }

    /// Whether there is something to write.
    pub(crate) const fn is_dirty(&self) -> bool {
        matches!(self.state, State::Dirty)
    }

    /// Takes note that the value was given out under `ticket`.
    pub(crate) const fn writing(&mut self, ticket: u64) {
        self.state = State::Writing { ticket, again: false };
    }

    /// Whether the value, or an earlier one, was given out under `ticket`.
    pub(crate) const fn was_written(&self, ticket: u64) -> bool {
        matches!(self.state, State::Writing { ticket: mine, .. } if mine == ticket)
    }

    /// The storage has confirmed `ticket`. Whether the value is durable now.
    pub(crate) fn confirmed(&mut self, ticket: u64) -> bool {
        match self.state {
            State::Writing { ticket: mine, again } if mine == ticket => {
                self.state = if again { State::Dirty } else { State::Durable };
                !again
            }
            State::Volatile | State::Dirty | State::Durable | State::Writing { .. } => false,
        }
    }
}

//! Which connection two instances use, and when a session is bound there (`docs/safety.md` R2).

use crate::message::UseNumber;
use crate::planted::{Bug, planted};

/// Whether a USE names the connection from here on: only one above the highest that was seen. It unbinds all older connections for
/// ever (stories F1, F35).
#[must_use]
pub fn takes_use(highest: UseNumber, heard: UseNumber) -> bool {
    heard > highest || planted(Bug::UseNotCompared)
}

/// Whether a session is bound here: the own hello was sent over the used connection, and the other's was handled.
#[must_use]
pub const fn is_bound(said: bool, heard: bool) -> bool {
    said && heard
}

/// What a message about a session is, for the question whether it needs a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// USE, hello, `none`, tombstone, START and its answers.
    Opening,
    /// Everything else.
    Bound,
}

/// Whether a message is looked at: all but the opening ones are dropped while unbound.
#[must_use]
pub fn accepts(kind: Kind, bound: bool) -> bool {
    bound || matches!(kind, Kind::Opening) || planted(Bug::UnboundAccepted)
}

/// Whether the hello may be said: the log that it states is the one after every write that was begun under an older binding (story
/// F49).
#[must_use]
pub fn may_say_hello(writes_under_way: bool) -> bool {
    !writes_under_way || planted(Bug::HelloBeforeWrites)
}

//! Forced service (`docs/safety.md` R8).

use super::record::assign;
use super::takeover::Ask;
use super::witness::Keeping;
use crate::message::{InstanceId, Record};
use crate::planted::{Bug, planted};

/// What FORCE_SERVICE_ALLOW_DATA_LOSS looks at where it is typed.
#[derive(Clone, Copy, Debug)]
pub struct Forcing {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// Its highest ask.
    pub ask: Ask,
    /// It serves already.
    pub serves: bool,
    /// The own hello is out on the connection to the other partner, which may be bound there already; *none* and a mere
    /// connection do not count (docs/decisions/0006).
    pub partner_bound: bool,
    /// Both own one role_sequence (R8, clash).
    pub clash: bool,
    /// The highest role_sequence that either side of a clash has shown; otherwise the own one.
    pub highest: u32,
    /// The witness, if one is set: what it showed over the live binding, or `None` while it is not bound.
    pub witness: Option<Option<Keeping>>,
    /// The witness is named and not registered yet.
    pub witness_pending: bool,
    /// It has lost hardened blocks (R6): an ask that may have been granted is open because it may not use the grant, and the operator's word
    /// takes that ask's place.
    pub incomplete: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Persist the ask, send it to the witness.
    Ask(Ask),
    /// Persist the record, then open.
    Open(Record),
    /// Refused.
    Refused(ForceRefused),
}

/// Why forced service is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceRefused {
    /// It serves, or its partner is bound (1455).
    PartnerConnected,
    /// The witness is not bound, or pending (1431).
    NoWitness,
    /// An earlier ask is not answered yet (1404).
    Busy,
}

/// What FORCE_SERVICE_ALLOW_DATA_LOSS does where it is typed (R8): with a witness it is an ask (story F44); without one the member
/// takes the next role_sequence on its operator's word.
#[must_use]
pub fn force(facts: &Forcing) -> Force {
    if (facts.partner_bound || facts.serves) && !facts.clash && !planted(Bug::ForceWhileBound) {
        return Force::Refused(ForceRefused::PartnerConnected);
    }
    let above = if facts.clash {
        facts.highest.max(facts.own.role_sequence)
    } else {
        facts.own.role_sequence
    };
    match facts.witness {
        None => Force::Open(assign(above.saturating_add(1), facts.me, true)),
        Some(_) if facts.witness_pending => Force::Refused(ForceRefused::NoWitness),
        Some(None) => Force::Refused(ForceRefused::NoWitness),
        Some(Some(_)) if facts.ask.open && (facts.ask.force || !facts.incomplete) => {
            Force::Refused(ForceRefused::Busy)
        }
        Some(Some(_)) => Force::Ask(facts.ask.next(&facts.own, true)),
    }
}

//! The group's machine: moves messages and keeps what members know. What a member does about it is decided by core; a mutant falsifies
//! what core is given or overrules what it answers.

mod connection;
mod from_witness;
mod log;
mod partner;
mod record;
mod role;
mod witness;

pub use log::{next_timeline, prefix};

use crate::bridge::{ask, other};
use crate::mutation::Mutation as M;
use crate::settings::Setting;
use crate::state::{A, B, Kind, Link, Msg, NOBODY, On, PAIRS, Partner, State, V, W};
use dbmirror_core::session::decide::{binding, takeover};

/// What is false, by its number in [`crate::state::Ghost::broken`].
pub const WRONGS: [&str; 9] = [
    "",
    "an acknowledged commit is not in the principal's log",
    "two owners of one role_sequence",
    "two logs differ inside one timeline",
    "a record went back",
    "a member opened under a role_sequence that is superseded",
    "an owner acknowledges alone beside a later one, and its binding is not dead",
    "settled: not exactly one member serves",
    "a copy was undone before RESUME",
];

/// A state on its way to the next one.
pub struct Machine<'a> {
    /// Bounds and rules.
    pub setting: &'a Setting,
    /// The clause that is left out.
    pub mutation: Option<M>,
    /// The state.
    pub s: State,
    /// A message had no room: the step is not taken now.
    pub full: bool,
    /// The witness has heard the owner lately.
    pub owner_heard: bool,
}

/// Pair and whether `from` is its low end.
pub fn pair(setting: &Setting, from: u8, to: u8) -> (usize, bool) {
    let at = PAIRS
        .iter()
        .position(|(x, y)| (*x, *y) == (from, to) || (*y, *x) == (from, to))
        .unwrap_or(0);
    (at, (PAIRS[at].0 == from) != setting.reversed)
}

impl Machine<'_> {
    /// Whether that clause is left out.
    pub fn off(&self, mutation: M) -> bool {
        self.mutation == Some(mutation)
    }

    /// A partner.
    pub fn p(&mut self, x: u8) -> &mut Partner {
        &mut self.s.partners[usize::from(x)]
    }

    /// Whether x has an open ask, as the others see it.
    pub fn asks(&self, x: u8) -> bool {
        let p = self.q(x);
        p.ask_open && !(p.ask_force && self.off(M::ForceNotAsk))
    }

    /// A partner, to look at.
    pub fn q(&self, x: u8) -> &Partner {
        &self.s.partners[usize::from(x)]
    }

    pub(crate) fn link(&self, x: u8, y: u8) -> (&Link, bool) {
        let (at, low) = pair(self.setting, x, y);
        (&self.s.links[at], low)
    }

    /// Whether x's end is on a connection to y.
    pub fn on(&self, x: u8, y: u8) -> bool {
        let (link, low) = self.link(x, y);
        if low {
            link.low_on
        } else {
            link.high_on != On::None
        }
    }

    /// Whether the session is bound at x to y (R2).
    pub fn bound(&self, x: u8, y: u8) -> bool {
        if y == NOBODY {
            return false;
        }
        let (link, low) = self.link(x, y);
        let (said, heard) = if low {
            (link.low_said, link.low_heard)
        } else {
            (link.high_said, link.high_heard)
        };
        self.on(x, y) && binding::is_bound(said, heard)
    }

    /// Whether x has said its hello on its connection to y.
    pub fn said(&self, x: u8, y: u8) -> bool {
        let (link, low) = self.link(x, y);
        self.on(x, y) && if low { link.low_said } else { link.high_said }
    }

    /// Whether x and y are on the same connection, and it is whole.
    pub fn same_connection(&self, x: u8, y: u8) -> bool {
        let (link, _) = self.link(x, y);
        !link.broken && link.low_on && link.high_on == On::Newest
    }

    /// Whether the connection between x and y is the same whole one for both, both are bound there, and nothing is on its way
    /// to x.
    pub fn is_live(&self, x: u8, y: u8) -> bool {
        let (link, low) = self.link(x, y);
        let queue = if low { &link.down } else { &link.up };
        self.same_connection(x, y) && queue.len == 0 && self.bound(x, y) && self.bound(y, x)
    }

    /// x handles what y sent.
    pub fn handle(&mut self, x: u8, y: u8, msg: &Msg) {
        let hello = matches!(msg.kind, Kind::Hello | Kind::HelloAgain | Kind::HelloAnswer);
        let first = msg.kind == Kind::Hello;
        let kind = if first {
            binding::Kind::Opening
        } else {
            binding::Kind::Bound
        };
        if !binding::accepts(kind, self.bound(x, y)) && !self.off(M::StaleSync) {
            return;
        }
        if first {
            let (at, low) = pair(self.setting, x, y);
            let link = &mut self.s.links[at];
            if low {
                link.low_heard = true;
            } else {
                link.high_heard = true;
            }
        }
        match (x <= B, y <= B, hello) {
            (true, true, true) => self.partner_hello(x, y, msg),
            (true, true, false) => self.partner_says(x, y, msg),
            (true, false, _) => {
                let before = *self.q(x);
                if hello {
                    self.witness_hello(x, y, msg);
                } else {
                    self.witness_says(x, y, msg);
                }
                let (now, z) = (*self.q(x), other(x));
                if takeover::closing_says_hello(&ask(&before), &ask(&now), self.said(x, z))
                    && before.rec.role == now.rec.role
                    && !self.off(M::SilentClosing)
                {
                    self.hello_again(x, z);
                }
            }
            (false, ..) => self.told_witness(x, y, msg, hello),
        }
    }
}

/// A member's name.
pub fn name(member: u8) -> &'static str {
    match member {
        A => "A",
        B => "B",
        W => "W",
        V => "V",
        _ => "none",
    }
}

//! Connections: made, named by USE, left; and what is said on them (R2).

use crate::bridge::other;
use crate::machine::{Machine, pair};
use crate::mutation::Mutation as M;
use crate::state::{A, B, Kind, Link, Msg, NO_CHANGE, NOBODY, On, PAIRS, QUEUE_MAX};
use dbmirror_core::session::decide::binding;

impl Machine<'_> {
    /// Sends; what is sent on a dead connection is gone.
    pub(crate) fn send(&mut self, x: u8, y: u8, msg: Msg) {
        let (at, low) = pair(self.setting, x, y);
        let link = &mut self.s.links[at];
        let reaches = if low {
            link.low_on && !link.broken
        } else {
            link.high_on == On::Newest && !link.broken && link.low_on
        };
        if !reaches {
            return;
        }
        let queue = if low { &mut link.up } else { &mut link.down };
        self.full |= !queue.push(msg);
    }

    pub(crate) fn room(&self, x: u8, y: u8) -> bool {
        let (link, low) = self.link(x, y);
        let queue = if low { &link.up } else { &link.down };
        usize::from(queue.len) < QUEUE_MAX
    }

    /// Forgets what x learnt over its binding to y (R2).
    pub(crate) fn unbind(&mut self, x: u8, y: u8) {
        let (at, low) = pair(self.setting, x, y);
        let link = &mut self.s.links[at];
        if low {
            (link.low_said, link.low_heard) = (false, false);
        } else {
            (link.high_said, link.high_heard) = (false, false);
        }
        if x > B {
            return;
        }
        let keeps = self.off(M::KnowledgeOutlivesBinding);
        let p = self.p(x);
        if y <= B {
            p.missing = 0;
            if !keeps {
                (p.by_mirror, p.acked) = (false, 0);
            }
            (p.joined, p.sent, p.mirror_ask, p.mirror_pending) = (false, 0, 0, false);
            (p.mirror_witness, p.again) = (NO_CHANGE, 0);
            p.told = 0;
        } else {
            if y == p.witness {
                if p.target == NOBODY {
                    p.told = 0;
                }
                if !keeps {
                    p.by_witness = false;
                }
                (p.blank, p.again, p.ask_here) = (false, 0, false);
            }
            if y == p.target {
                p.by_target = 0;
            }
        }
    }

    /// x's end leaves its connection to y.
    pub(crate) fn leave(&mut self, x: u8, y: u8) {
        let (at, low) = pair(self.setting, x, y);
        let stale = self.off(M::StaleSync);
        let link = &mut self.s.links[at];
        if low {
            link.low_on = false;
            link.down = Default::default();
        } else {
            if link.high_on == On::Newest {
                link.up = Default::default();
                link.use_due = false;
            }
            link.high_on = On::None;
            if !stale {
                link.old = Default::default();
            }
        }
        if !link.low_on && link.high_on == On::None && !link.use_due && link.old.len == 0 {
            *link = Link::default();
        }
        self.unbind(x, y);
    }

    /// A new connection of that pair; the low end names it.
    pub(crate) fn connect(&mut self, at: usize) -> bool {
        let (low, high) = self.ends(at);
        if (low <= B && !self.q(low).up) || (high <= B && !self.q(high).up) {
            return false;
        }
        let stale = self.off(M::StaleSync);
        let link = &mut self.s.links[at];
        if link.low_on && (link.high_on != On::None || link.use_due) {
            return false;
        }
        if link.high_on == On::Newest {
            link.high_on = On::Old;
            link.old = link.up;
        } else if stale && link.old.len == 0 {
            link.old = link.up;
        }
        link.up = Default::default();
        link.down = Default::default();
        (link.low_on, link.use_due, link.broken) = (true, true, false);
        self.unbind(low, high);
        true
    }

    /// The ends of a pair, low first.
    pub(crate) fn ends(&self, at: usize) -> (u8, u8) {
        let (x, y) = PAIRS[at];
        if self.setting.reversed { (y, x) } else { (x, y) }
    }

    /// USE arrives.
    pub(crate) fn take_use(&mut self, at: usize) -> bool {
        let (low, high) = self.ends(at);
        if !self.s.links[at].use_due || (high <= B && !self.q(high).up) {
            return false;
        }
        let stale = self.off(M::StaleSync);
        let link = &mut self.s.links[at];
        link.use_due = false;
        link.high_on = On::Newest;
        if !stale {
            link.old = Default::default();
        }
        self.unbind(high, low);
        true
    }

    /// What members do at once: say hellos that are due, and send the log.
    pub(crate) fn settle(&mut self) {
        for at in 0..self.setting.pairs() {
            let (low, high) = self.ends(at);
            for (x, y) in [(low, high), (high, low)] {
                let link = &self.s.links[at];
                let due = if x == low {
                    link.low_on && !link.low_said
                } else {
                    link.high_on == On::Newest && !link.high_said
                };
                let writes = x <= B && y <= B && self.q(x).coming != 0 && !self.off(M::HelloBeforeWrites);
                if due && binding::may_say_hello(writes) && self.room(x, y) {
                    let msg = self.hello(x, y, Kind::Hello);
                    self.send(x, y, msg);
                    let link = &mut self.s.links[at];
                    if x == low {
                        link.low_said = true;
                    } else {
                        link.high_said = true;
                    }
                }
            }
        }
        for x in [A, B] {
            let p = *self.q(x);
            let y = other(x);
            if p.up && p.rec.owner == x && p.joined && p.serves && !p.suspended && self.bound(x, y) {
                while self.q(x).sent < self.q(x).log.len() && self.room(x, y) {
                    let p = *self.q(x);
                    let block = Msg {
                        kind: Kind::Block,
                        number: p.rec.role,
                        at: p.sent + 1,
                        what: p.log.0[usize::from(p.sent)],
                        ..Msg::default()
                    };
                    self.send(x, y, block);
                    self.p(x).sent += 1;
                }
            }
        }
    }
}

//! What can happen next, and what follows from it.

mod check;
mod commit;
mod connection;
mod crash;
mod role;
mod witness;

use crate::bridge::other;
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::settings::Setting;
use crate::state::{A, B, Kind, NO_CHANGE, NOBODY, On, PAIRS, State, W};
use dbmirror_core::message::Sync;

/// Which of a pair's queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the low end, on a connection that it has left.
    Old,
    /// From the low end.
    Up,
    /// From the high end.
    Down,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The next message of a queue arrives.
    Deliver(usize, Way),
    /// An ask arrives at a witness that has heard the owner lately.
    Courtesy(usize),
    /// USE arrives.
    Use(usize),
    /// A new connection is made.
    Connect(usize),
    /// The newest connection is cut.
    Cut(usize),
    /// An end finds its connection dead.
    Notice(u8, u8),
    /// A partner crashes.
    Crash(u8),
    /// A partner loses power.
    Power(u8),
    /// A partner starts anew and finds the last hardened block of its log damaged.
    Rot(u8),
    /// It starts again.
    Restart(u8),
    /// A witness loses its storage.
    Lose(u8),
    /// An application commits through the gate.
    Commit(u8),
    /// The local write is synced.
    Synced(u8),
    /// A mirror's write ends.
    Harden(u8),
    /// A commit is acknowledged to its application.
    Acknowledge(u8, u8),
    /// An application is killed while it waits.
    Kill(u8),
    /// A closed owner opens, or prepares to.
    Open(u8),
    /// The owner has lost its mirror and records UNSYNC.
    Unsync(u8),
    /// The owner records SYNC.
    Sync(u8),
    /// SUSPEND, SAFETY OFF, mirror full: UNSYNC with the mirror bound.
    Expose(u8),
    /// The mirror asks.
    Ask(u8),
    /// FAILOVER.
    Failover(u8),
    /// FORCE_SERVICE_ALLOW_DATA_LOSS.
    Force(u8),
    /// RESUME.
    Resume(u8),
    /// The owner's next step towards a blank witness.
    Register(u8),
    /// SET WITNESS.
    SetWitness(u8, u8),
    /// The owner's next step of a change of witness.
    Change(u8),
}

impl Event {
    /// Whether it comes from outside and need not happen: faults, operators, applications.
    pub const fn is_outside(self) -> bool {
        matches!(
            self,
            Self::Cut(_)
                | Self::Courtesy(_)
                | Self::Crash(_)
                | Self::Power(_)
                | Self::Rot(_)
                | Self::Lose(_)
                | Self::Commit(_)
                | Self::Kill(_)
                | Self::Expose(_)
                | Self::Failover(_)
                | Self::Force(_)
                | Self::Resume(_)
                | Self::SetWitness(..)
        )
    }
}

/// Gives everything that may be tried in a setting.
pub fn each(setting: &Setting, mut give: impl FnMut(Event)) {
    for (at, (x, y)) in PAIRS.into_iter().enumerate().take(setting.pairs()) {
        for way in [Way::Old, Way::Up, Way::Down] {
            give(Event::Deliver(at, way));
        }
        if setting.courtesy {
            give(Event::Courtesy(at));
        }
        for event in [
            Event::Use(at),
            Event::Connect(at),
            Event::Cut(at),
            Event::Notice(x, y),
            Event::Notice(y, x),
        ] {
            give(event);
        }
    }
    for x in [A, B] {
        for event in [
            Event::Crash(x),
            Event::Power(x),
            Event::Rot(x),
            Event::Restart(x),
            Event::Commit(x),
            Event::Synced(x),
            Event::Harden(x),
            Event::Kill(x),
            Event::Open(x),
            Event::Unsync(x),
            Event::Sync(x),
            Event::Expose(x),
            Event::Ask(x),
            Event::Failover(x),
            Event::Force(x),
            Event::Resume(x),
            Event::Register(x),
            Event::Change(x),
        ] {
            give(event);
        }
        for n in 1..8 {
            give(Event::Acknowledge(x, n));
        }
        if setting.budget.changes > 0 {
            give(Event::SetWitness(x, NOBODY));
            for w in 0..setting.witnesses {
                give(Event::SetWitness(x, W + w));
            }
        }
    }
    for w in 0..setting.witnesses {
        give(Event::Lose(W + w));
    }
}

pub(crate) fn spend(from: &mut u8) -> bool {
    if *from == 0 {
        return false;
    }
    *from -= 1;
    true
}

impl Machine<'_> {
    /// Whether `event` may be worth trying: a quick look that says no only where nothing would happen.
    pub fn may(&self, event: Event) -> bool {
        let left = &self.s.left;
        match event {
            Event::Deliver(at, way) => {
                let link = &self.s.links[at];
                0 < match way {
                    Way::Old => link.old.len,
                    Way::Up => link.up.len,
                    Way::Down => link.down.len,
                }
            }
            Event::Courtesy(at) => {
                let link = &self.s.links[at];
                let queue = if self.ends(at).0 >= W {
                    &link.down
                } else {
                    &link.up
                };
                queue.list[0].kind == Kind::Ask && !queue.list[0].flag
            }
            Event::Use(at) => self.s.links[at].use_due,
            Event::Connect(at) => {
                let link = &self.s.links[at];
                !link.low_on || (link.high_on == On::None && !link.use_due)
            }
            Event::Cut(_) => left.cuts > 0,
            Event::Notice(x, y) => self.on(x, y),
            Event::Crash(x) => left.crashes > 0 && self.q(x).up,
            Event::Power(x) => left.powers > 0 && self.q(x).up,
            Event::Rot(x) => left.rots > 0 && self.q(x).up && self.may_rot(x),
            Event::Restart(x) => !self.q(x).up,
            Event::Lose(_) => left.losses > 0,
            Event::Commit(x) => left.commits > 0 && self.q(x).serves,
            Event::Synced(x) => self.q(x).hard != self.q(x).log.len(),
            Event::Harden(x) => self.q(x).coming != 0,
            Event::Acknowledge(x, n) => self.q(x).waiting & 1 << n != 0,
            Event::Kill(x) => left.kills > 0 && self.q(x).waiting != 0,
            Event::Open(x) => self.q(x).up && !self.q(x).serves && self.q(x).rec.owner == x,
            Event::Unsync(x) => self.q(x).serves && self.q(x).rec.sync,
            Event::Sync(x) => self.q(x).serves && !self.q(x).rec.sync,
            Event::Expose(x) => left.exposes > 0 && self.q(x).serves,
            Event::Ask(x) => left.asks > 0 && self.q(x).rec.owner != x,
            Event::Failover(x) => left.failovers > 0 && self.q(x).serves,
            Event::Force(_) => left.forces > 0,
            Event::Resume(x) => left.resumes > 0 && self.q(x).suspended,
            Event::Register(x) => self.q(x).blank,
            Event::SetWitness(x, _) => left.changes > 0 && self.q(x).serves,
            Event::Change(x) => self.q(x).serves,
        }
    }

    /// What follows from `event`, or `None` where it cannot happen now.
    pub fn step(&self, event: Event) -> Option<State> {
        let mut next = Machine {
            setting: self.setting,
            mutation: self.mutation,
            s: self.s,
            full: false,
            owner_heard: false,
        };
        if !next.happens(event) || next.full {
            return None;
        }
        next.settle();
        if next.full {
            return None;
        }
        next.check();
        Some(next.s)
    }

    fn happens(&mut self, event: Event) -> bool {
        match event {
            Event::Deliver(at, way) => self.deliver(at, way),
            Event::Courtesy(at) => {
                self.owner_heard = true;
                let way = if self.ends(at).0 >= W { Way::Down } else { Way::Up };
                self.deliver(at, way)
            }
            Event::Use(at) => self.take_use(at),
            Event::Connect(at) => self.connect(at),
            Event::Cut(at) => {
                let link = &mut self.s.links[at];
                let whole = link.low_on && (link.high_on == On::Newest || link.use_due) && !link.broken;
                if !whole || !spend(&mut self.s.left.cuts) {
                    return false;
                }
                link.broken = true;
                true
            }
            Event::Notice(x, y) => self.notice(x, y),
            Event::Crash(x) => self.q(x).up && spend(&mut self.s.left.crashes) && self.crash(x),
            Event::Power(x) => self.q(x).up && spend(&mut self.s.left.powers) && self.power(x),
            Event::Rot(x) => self.q(x).up && self.may_rot(x) && spend(&mut self.s.left.rots) && self.rot(x),
            Event::Restart(x) => {
                let p = self.p(x);
                !std::mem::replace(&mut p.up, true)
            }
            Event::Lose(w) => {
                let keeps = &mut self.s.witnesses[usize::from(w - W)];
                if keeps.keeps == 0 || !spend(&mut self.s.left.losses) {
                    return false;
                }
                *keeps = Default::default();
                self.leave(w, A);
                self.leave(w, B);
                true
            }
            Event::Commit(x) => self.commit(x),
            Event::Synced(x) => {
                let p = self.p(x);
                let len = p.log.len();
                p.up && std::mem::replace(&mut p.hard, len) != len
            }
            Event::Harden(x) => self.q(x).up && self.harden(x),
            Event::Acknowledge(x, n) => self.acknowledge(x, n),
            Event::Kill(x) => self.kill(x),
            Event::Open(x) => self.reopen(x),
            Event::Unsync(x) => {
                let p = *self.q(x);
                let due = p.rec.owner == x && p.serves && p.rec.sync && !self.on(x, other(x));
                due && self.may_raise(x) && {
                    self.raise(x, Sync::Unsync);
                    true
                }
            }
            Event::Sync(x) => self.record_sync(x),
            Event::Expose(x) => {
                let p = *self.q(x);
                let may = p.rec.owner == x && p.serves && p.rec.sync && self.bound(x, other(x));
                may && self.may_raise(x) && spend(&mut self.s.left.exposes) && {
                    self.raise(x, Sync::Unsync);
                    true
                }
            }
            Event::Ask(x) => self.ask_takeover(x),
            Event::Failover(x) => self.failover(x),
            Event::Force(x) => self.force(x),
            Event::Resume(x) => self.resume(x),
            Event::Register(x) => self.register(x),
            Event::SetWitness(x, target) => {
                let p = *self.q(x);
                let may = p.rec.owner == x && p.serves && p.target == NO_CHANGE && p.witness != target;
                if !may || !spend(&mut self.s.left.changes) {
                    return false;
                }
                let isolated = self.off(M::OffIsolated) && target == NOBODY;
                let p = self.p(x);
                if isolated {
                    p.witness = NOBODY;
                    return true;
                }
                (p.target, p.raised, p.told, p.by_target) = (target, false, 0, 0);
                true
            }
            Event::Change(x) => self.change(x),
        }
    }
}

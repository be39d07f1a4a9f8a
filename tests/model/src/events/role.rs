//! A partner opens, records SYNC, asks; operators type FAILOVER and FORCE.

use crate::bridge::{ask, id, keeping, named, other, rec, record};
use crate::events::spend;
use crate::machine::{Machine, next_timeline};
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg, NO_CHANGE, NOBODY, W};
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::{force, record as rule, role, takeover, witness};

impl Machine<'_> {
    pub(crate) fn may_raise(&self, x: u8) -> bool {
        self.q(x).rec.number < self.setting.numbers
    }

    pub(crate) fn reopen(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let y = other(x);
        if !p.up || p.serves || p.clash {
            return false;
        }
        let mirror = if self.bound(x, y) {
            role::Mirror::Bound {
                asks: p.mirror_ask != 0 && !self.off(M::OpenUnderAsk),
                adopted: p.joined,
            }
        } else if self.on(x, y) {
            role::Mirror::Unknown
        } else {
            role::Mirror::Lost
        };
        let facts = role::Reopening {
            me: id(x),
            own: record(p.rec),
            asks: p.ask_open,
            incomplete: p.incomplete,
            mirror,
            prepared: p.prepared,
            alone: self.alone(x),
        };
        let mut decided = role::reopen(&facts);
        if self.off(M::RestartOpens) && p.rec.owner == x {
            decided = role::Reopen::Open;
        }
        if self.off(M::RestartWithoutUnsync)
            && mirror == role::Mirror::Lost
            && p.by_witness
            && decided == role::Reopen::Prepare
        {
            let timeline = next_timeline(&p, x);
            let p = self.p(x);
            p.hard = p.log.len();
            p.timeline = timeline;
            decided = role::Reopen::Open;
        }
        match decided {
            role::Reopen::Open => {
                self.open(x);
                true
            }
            role::Reopen::Prepare if self.may_raise(x) && p.timeline >> 1 < 7 => {
                let old = self.off(M::RestartOldTimeline);
                let timeline = next_timeline(&p, x);
                let p = self.p(x);
                if !old {
                    p.timeline = timeline;
                }
                p.prepared = true;
                p.hard = p.log.len();
                self.raise(x, Sync::Unsync);
                true
            }
            role::Reopen::Prepare | role::Reopen::Closed(_) => false,
        }
    }

    pub(crate) fn record_sync(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let facts = rule::Level {
            me: id(x),
            own: record(p.rec),
            serves: p.serves,
            safety_full: !p.suspended,
            level: (p.joined && p.acked == p.log.len()) || self.off(M::SyncBeforeLevel),
            by_mirror: p.by_mirror,
            one_witness: (p.target == NO_CHANGE
                && p.mirror_witness != NO_CHANGE
                && witness::agree(
                    named(p.witness, p.pending),
                    named(p.mirror_witness, p.mirror_pending),
                ))
                || self.off(M::SyncWithTwoWitnesses),
        };
        if !rule::may_record_sync(&facts) || !self.may_raise(x) {
            return false;
        }
        self.raise(x, Sync::Sync);
        true
    }

    pub(crate) fn ask_takeover(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let mut own = p.rec;
        if self.off(M::AskUnsync) || self.off(M::GrantUnsync) {
            own.sync = true;
        }
        let facts = takeover::Asking {
            me: id(x),
            own: record(own),
            ask: ask(&p),
            owner_lost: !self.on(x, other(x)),
            may_take_over: true,
            witness_bound: self.bound(x, p.witness),
            witness_pending: p.pending && !self.off(M::PendingAsks),
            incomplete: p.incomplete,
        };
        let Some(new) = takeover::ask(&facts) else {
            return false;
        };
        p.up && new.number < 8 && spend(&mut self.s.left.asks) && {
            self.send_ask(x, new);
            true
        }
    }

    pub(crate) fn send_ask(&mut self, x: u8, new: takeover::Ask) {
        let p = self.p(x);
        (p.ask, p.ask_open, p.ask_force, p.ask_here) = (new.number as u8, true, new.force, true);
        let msg = Msg {
            kind: Kind::Ask,
            rec: p.rec,
            number: p.ask,
            flag: new.force,
            ..Msg::default()
        };
        let w = p.witness;
        self.send(x, w, msg);
    }

    pub(crate) fn failover(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let y = other(x);
        let forgets = self.off(M::FailoverNotLevel);
        let facts = role::Failover {
            me: id(x),
            mirror: id(y),
            own: record(p.rec),
            serves: p.serves,
            settled: p.waiting == 0 || forgets,
            level: (p.joined && p.acked == p.log.len()) || forgets,
            by_mirror: p.by_mirror && self.bound(x, y),
            incomplete: p.incomplete,
        };
        let Some(new) = role::failover(&facts) else {
            return false;
        };
        if new.role_sequence > 6 || !spend(&mut self.s.left.failovers) {
            return false;
        }
        let mut new = rec(&new);
        new.sync |= self.off(M::FailoverKeepsSync);
        let propose = Msg {
            kind: Kind::Propose,
            rec: new,
            log: if forgets { Default::default() } else { p.log },
            ..Msg::default()
        };
        if !self.off(M::FailoverTellsFirst) {
            self.set(x, new);
            let p = self.p(x);
            (p.serves, p.prepared, p.waiting, p.joined) = (false, false, 0, false);
            (p.target, p.raised, p.told, p.by_target) = (NO_CHANGE, false, 0, 0);
        }
        self.send(x, y, propose);
        true
    }

    /// RESUME after forced service: the mirror hears it by a hello, undoes what it has alone, and shows its log.
    pub(crate) fn resume(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if !p.up || !p.suspended || p.rec.owner != x || !spend(&mut self.s.left.resumes) {
            return false;
        }
        self.p(x).suspended = false;
        if !self.off(M::ResumeUntold) {
            self.hello_again(x, other(x));
        }
        true
    }

    pub(crate) fn force(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let y = other(x);
        let shown = self
            .bound(x, p.witness)
            .then(|| keeping(&self.s.witnesses[usize::from(p.witness - W)]));
        let facts = force::Forcing {
            me: id(x),
            own: record(p.rec),
            ask: ask(&p),
            serves: p.serves,
            partner_bound: self.said(x, y) && !self.off(M::ForceWhileBound),
            clash: p.clash,
            highest: u32::from(p.rec.role),
            witness: (p.witness != NOBODY).then_some(shown),
            witness_pending: p.pending && !self.off(M::PendingAsks),
            incomplete: p.incomplete,
        };
        if !p.up || self.s.left.forces == 0 {
            return false;
        }
        let done = match force::force(&facts) {
            force::Force::Ask(new) if new.number < 8 => {
                self.send_ask(x, new);
                true
            }
            force::Force::Open(new) => {
                self.take_role(x, rec(&new), x);
                true
            }
            force::Force::Ask(_) | force::Force::Refused(_) => false,
        };
        done && spend(&mut self.s.left.forces)
    }
}

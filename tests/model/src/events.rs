//! What can happen next, and what follows from it.

use crate::bridge::{ask, id, keeping, named, other, rec, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::settings::Setting;
use crate::state::{A, B, Kind, Msg, NO_CHANGE, NOBODY, On, PAIRS, Partner, State, W, id_of, timeline_of};
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::{force, history, incomplete, record as rule, role, takeover, witness};

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
                | Self::Lose(_)
                | Self::Commit(_)
                | Self::Kill(_)
                | Self::Expose(_)
                | Self::Failover(_)
                | Self::Force(_)
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

fn spend(from: &mut u8) -> bool {
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

    fn may_raise(&self, x: u8) -> bool {
        self.q(x).rec.number < self.setting.numbers
    }

    fn deliver(&mut self, at: usize, way: Way) -> bool {
        let (low, high) = self.ends(at);
        let stale = self.off(M::StaleSync);
        let link = &mut self.s.links[at];
        let (to, from, msg) = match way {
            Way::Old if link.high_on == On::Old || stale => (high, low, link.old.pop()),
            Way::Up if link.high_on == On::Newest => (high, low, link.up.pop()),
            Way::Down if link.low_on => (low, high, link.down.pop()),
            _ => return false,
        };
        let Some(msg) = msg else { return false };
        if to <= B && !self.q(to).up {
            return false;
        }
        let waits = msg.kind == Kind::Block || (msg.kind == Kind::Hello && !self.off(M::HelloBeforeWrites));
        if to <= B && from <= B && waits && self.q(to).coming != 0 {
            // One write at a time; the next block waits in the connection, and so does the other's hello, with which the
            // log is compared.
            return false;
        }
        self.handle(to, from, &msg);
        true
    }

    fn notice(&mut self, x: u8, y: u8) -> bool {
        let (at, low) = crate::machine::pair(self.setting, x, y);
        let link = &self.s.links[at];
        let dead = if low {
            link.low_on && (link.broken || (link.high_on != On::Newest && !link.use_due))
        } else {
            match link.high_on {
                On::None => false,
                On::Old => true,
                On::Newest => link.broken || !link.low_on,
            }
        };
        if dead {
            self.leave(x, y);
        }
        dead
    }

    fn crash(&mut self, x: u8) -> bool {
        for at in 0..self.setting.pairs() {
            let (low, high) = self.ends(at);
            if low == x {
                self.leave(x, high);
            } else if high == x {
                self.leave(x, low);
            }
        }
        let forgets = self.off(M::AskNotPersisted);
        let p = *self.q(x);
        *self.p(x) = Partner {
            kept: p.kept,
            ask: if forgets { 0 } else { p.ask },
            ask_open: p.ask_open && !forgets,
            ask_force: p.ask_force && !forgets,
            incomplete: p.incomplete,
            witness: p.witness,
            named_role: p.named_role,
            named_number: p.named_number,
            pending: p.pending,
            log: p.log,
            hard: p.hard,
            timeline: p.timeline,
            rec: p.kept,
            target: NO_CHANGE,
            mirror_witness: NO_CHANGE,
            ..Partner::default()
        };
        true
    }

    fn power(&mut self, x: u8) -> bool {
        self.crash(x);
        let facts = incomplete::Start {
            me: id(x),
            own: record(self.q(x).kept),
            partner_durability: self.setting.partner_durability && !self.off(M::NotIncomplete),
            machine_restarted: true,
            clean_stop: false,
        };
        let p = self.p(x);
        p.log.cut(p.hard);
        p.incomplete |= incomplete::is_incomplete(&facts);
        true
    }

    fn commit(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if !p.serves || !p.up || !spend(&mut self.s.left.commits) {
            return false;
        }
        let synced = self.setting.budget.powers == 0;
        let Some(new) = self.append(x, false) else {
            return false;
        };
        let p = self.p(x);
        p.waiting |= 1 << id_of(new);
        if synced {
            p.hard = p.log.len();
        }
        true
    }

    fn kill(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let len = p.log.len();
        let Some(last) = p.log.0.get(usize::from(len).wrapping_sub(1)) else {
            return false;
        };
        let bit = 1 << id_of(*last);
        if !p.serves || p.waiting & bit == 0 || !spend(&mut self.s.left.kills) {
            return false;
        }
        self.p(x).waiting &= !bit;
        match history::undo(true) {
            history::Undo::Void if !self.off(M::Withdraw) => self.append(x, true).is_some(),
            _ => {
                let p = self.p(x);
                p.log.cut(len - 1);
                p.hard = p.hard.min(len - 1);
                (p.sent, p.acked) = (p.sent.min(len - 1), p.acked.min(len - 1));
                true
            }
        }
    }

    fn acknowledge(&mut self, x: u8, n: u8) -> bool {
        let p = *self.q(x);
        let bit = 1_u8 << n;
        if p.waiting & bit == 0 {
            return false;
        }
        let Some(at) = p.log.0.iter().position(|b| *b != 0 && id_of(*b) == n) else {
            return false;
        };
        let alone = self.alone(x);
        let facts = rule::Commit {
            serves: p.serves,
            durable_here: p.hard as usize > at || self.off(M::AckBeforeLocal),
            partner_durability: self.setting.partner_durability,
            sync: p.rec.sync || self.off(M::UnsyncAckWithoutLocal),
            hardened: p.acked as usize > at || self.off(M::AckWithoutMirror),
            alone,
        };
        if !rule::may_acknowledge(&facts) {
            return false;
        }
        self.p(x).waiting &= !bit;
        let ghost = &mut self.s.ghost;
        if ghost.forced > p.rec.role {
            // Given up by the operator who forced service; but only while this owner cannot know of it.
            if p.witness != NOBODY && facts.alone && p.acked as usize <= at && !self.rests_on_dead(x) {
                self.s.ghost.broken = 6;
            }
        } else {
            ghost.acked |= bit;
            let top = ghost.top;
            if p.rec.role < top {
                // A later owner has opened: it must have this block.
                let later = self
                    .s
                    .partners
                    .iter()
                    .enumerate()
                    .find(|(y, q)| q.kept.role == top && usize::from(q.kept.owner) == *y);
                if later.is_some_and(|(_, q)| q.log.ids() & bit == 0) {
                    self.s.ghost.broken = 1;
                }
            }
        }
        true
    }

    /// Whether x, which was superseded by force, rests on a binding that is dead without x knowing; or on one over which the
    /// witness's word of it is still to come.
    fn rests_on_dead(&self, x: u8) -> bool {
        let (y, p) = (other(x), self.q(x));
        if p.by_mirror && self.bound(x, y) {
            return !(self.same_connection(x, y) && self.bound(y, x) && self.q(y).kept.role > p.rec.role);
        }
        let known = self.s.witnesses[usize::from(p.witness - W)].rec.role > p.rec.role;
        p.by_witness && self.bound(x, p.witness) && !(known && self.is_live(x, p.witness))
    }

    /// Whether x may acknowledge alone (R1).
    pub fn alone(&self, x: u8) -> bool {
        let p = self.q(x);
        rule::alone(&rule::Alone {
            own: record(p.rec),
            witness_set: p.witness != NOBODY,
            by_witness: p.by_witness,
            by_mirror: p.by_mirror,
            opened: true,
        }) || (self.off(M::AloneUnconfirmed) && !p.rec.sync)
    }

    fn reopen(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let y = other(x);
        if !p.up || p.serves {
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
            let timeline = crate::machine::next_timeline(&p, x);
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
                let timeline = crate::machine::next_timeline(&p, x);
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

    fn record_sync(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let facts = rule::Level {
            me: id(x),
            own: record(p.rec),
            serves: p.serves,
            safety_full: true,
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

    fn ask_takeover(&mut self, x: u8) -> bool {
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
        };
        let Some(new) = takeover::ask(&facts) else {
            return false;
        };
        p.up && new.number < 8 && spend(&mut self.s.left.asks) && {
            self.send_ask(x, new);
            true
        }
    }

    fn send_ask(&mut self, x: u8, new: takeover::Ask) {
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

    fn failover(&mut self, x: u8) -> bool {
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

    fn force(&mut self, x: u8) -> bool {
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
            clash: false,
            highest: 0,
            witness: (p.witness != NOBODY).then_some(shown),
            witness_pending: p.pending && !self.off(M::PendingAsks),
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

    fn register(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if p.target != NO_CHANGE || p.witness == NOBODY {
            return false;
        }
        let again = p.again == 2
            || self.off(M::RegisterUnconfirmed)
            || (self.off(M::RegisterOldConfirmation) && p.by_mirror);
        let facts = witness::Registering {
            me: id(x),
            own: record(p.rec),
            serves: p.serves,
            blank: p.blank && self.bound(x, p.witness),
            confirmed_again: again,
        };
        match witness::register(&facts) {
            witness::Registration::Unsync if !self.off(M::BlankAtSync) && self.may_raise(x) => {
                self.raise(x, Sync::Unsync);
                true
            }
            witness::Registration::Confirm if p.again == 0 && self.bound(x, other(x)) => {
                let p = self.p(x);
                p.request = (p.request % 3) + 1;
                p.again = 1;
                let msg = Msg {
                    kind: Kind::ConfirmAgain,
                    number: p.request,
                    ..Msg::default()
                };
                self.send(x, other(x), msg);
                true
            }
            witness::Registration::Register if p.again != 3 => {
                self.p(x).again = 3;
                let msg = Msg {
                    kind: Kind::Register,
                    rec: p.rec,
                    ..Msg::default()
                };
                self.send(x, p.witness, msg);
                true
            }
            _ => false,
        }
    }

    fn change(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let y = other(x);
        if p.target == NO_CHANGE {
            return self.impose(x);
        }
        if p.target == NOBODY && !self.on(x, y) {
            return self.witness_off(x);
        }
        let facts = witness::Changing {
            me: id(x),
            own: record(p.rec),
            serves: p.serves,
            target: (p.target != NOBODY).then(|| id(p.target)),
            raised: p.raised,
            by_mirror: p.by_mirror && self.bound(x, y),
            mirror_pending: p.told == 2 || self.off(M::OwnerNamesFirst),
            by_target: p.by_target == 2
                || (p.target == p.witness && p.by_witness)
                || self.off(M::OwnerNamesFirst),
        };
        let mut next = witness::change(&facts);
        if self.off(M::ChangeWithoutUnsync) && next == witness::Change::Unsync {
            let raised = witness::Changing {
                own: dbmirror_core::message::Record {
                    sync: Sync::Unsync,
                    ..facts.own
                },
                raised: true,
                ..facts
            };
            next = witness::change(&raised);
        }
        match next {
            witness::Change::Unsync if self.may_raise(x) => {
                self.raise(x, Sync::Unsync);
                self.p(x).raised = true;
                true
            }
            witness::Change::TellMirror if p.told == 0 => {
                self.p(x).told = 1;
                let msg = Msg {
                    kind: Kind::Name,
                    rec: p.rec,
                    what: p.target,
                    ..Msg::default()
                };
                self.send(x, y, msg);
                true
            }
            witness::Change::Register if p.by_target == 0 && self.bound(x, p.target) => {
                self.p(x).by_target = 1;
                let msg = Msg {
                    kind: Kind::Register,
                    rec: p.rec,
                    ..Msg::default()
                };
                self.send(x, p.target, msg);
                true
            }
            witness::Change::Adopt => {
                self.adopt_witness(x);
                true
            }
            _ => false,
        }
    }

    fn adopt_witness(&mut self, x: u8) {
        let y = other(x);
        let before = *self.q(x);
        let old = before.witness;
        let p = self.p(x);
        p.witness = p.target;
        (p.named_role, p.named_number, p.pending) = (p.rec.role, p.rec.number, false);
        p.by_witness = before.by_target == 2 || (old == p.target && before.by_witness);
        if old != p.target {
            p.blank = false;
            p.again = 0;
        }
        (p.target, p.raised, p.told, p.by_target) = (NO_CHANGE, false, 0, 0);
        let rec = p.rec;
        let mut tell = Msg {
            kind: Kind::Record,
            rec,
            what: p.witness,
            ..Msg::default()
        };
        if self.bound(x, y) {
            self.send(x, y, tell);
        }
        if old != NOBODY && old != before.target && self.bound(x, old) {
            tell.kind = Kind::Drop;
            self.send(x, old, tell);
        }
    }

    /// The partners name different witnesses: the owner's is imposed by the same steps (R5).
    fn impose(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        let differ = p.mirror_witness != NO_CHANGE
            && !witness::agree(
                named(p.witness, p.pending),
                named(p.mirror_witness, p.mirror_pending),
            );
        if p.rec.owner != x || !p.serves || !differ || !self.bound(x, other(x)) {
            return false;
        }
        let p = self.p(x);
        (p.target, p.raised, p.told, p.by_target) = (p.witness, false, 0, 0);
        true
    }

    /// WITNESS OFF with the mirror away (R5).
    fn witness_off(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if p.rec.owner != x || !p.serves {
            return false;
        }
        if p.rec.sync || !p.raised {
            let may = self.may_raise(x);
            if may {
                self.raise(x, Sync::Unsync);
                self.p(x).raised = true;
            }
            return may;
        }
        if p.told != 0 || !self.bound(x, p.witness) {
            return false;
        }
        self.p(x).told = 1;
        let msg = Msg {
            kind: Kind::Off,
            rec: p.rec,
            ..Msg::default()
        };
        self.send(x, p.witness, msg);
        true
    }

    /// What must never be false.
    fn check(&mut self) {
        let s = &self.s;
        if s.ghost.broken != 0 {
            return;
        }
        for p in &s.partners {
            if p.serves && p.rec.role == s.ghost.top && s.ghost.acked & !p.log.ids() != 0 {
                self.s.ghost.broken = 1;
                return;
            }
        }
        let (a, b) = (&s.partners[0].log.0, &s.partners[1].log.0);
        for at in 0..a.len() {
            let (x, y) = (a[at], b[at]);
            if x != 0 && y != 0 && timeline_of(x) == timeline_of(y) && a[..=at] != b[..=at] {
                self.s.ghost.broken = 3;
                return;
            }
        }
    }
}

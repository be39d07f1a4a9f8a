//! The group's machine: moves messages and keeps what members know. What a member does about it is decided by core; a mutant falsifies
//! what core is given or overrules what it answers.

use crate::bridge::{ask, chain, history, id, keeping, named, other, rec, record};
use crate::mutation::Mutation as M;
use crate::settings::Setting;
use crate::state::{
    A, B, Kind, Link, Log, Msg, NO_CHANGE, NOBODY, On, PAIRS, Partner, Rec, State, V, W, block,
};
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::{
    binding, history as logs, incomplete, record as rule, role, takeover, witness,
};

/// What is false, by its number in [`crate::state::Ghost::broken`].
pub const WRONGS: [&str; 8] = [
    "",
    "an acknowledged commit is not in the principal's log",
    "two owners of one role_sequence",
    "two logs differ inside one timeline",
    "a record went back",
    "a member opened under a role_sequence that is superseded",
    "an owner acknowledges alone beside a later one, and its binding is not dead",
    "settled: not exactly one member serves",
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

    fn link(&self, x: u8, y: u8) -> (&Link, bool) {
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

    /// Sends; what is sent on a dead connection is gone.
    pub fn send(&mut self, x: u8, y: u8, msg: Msg) {
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

    fn room(&self, x: u8, y: u8) -> bool {
        let (link, low) = self.link(x, y);
        let queue = if low { &link.up } else { &link.down };
        usize::from(queue.len) < crate::state::QUEUE_MAX
    }

    /// Forgets what x learnt over its binding to y (R2).
    pub fn unbind(&mut self, x: u8, y: u8) {
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
    pub fn leave(&mut self, x: u8, y: u8) {
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
    pub fn connect(&mut self, at: usize) -> bool {
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
    pub fn ends(&self, at: usize) -> (u8, u8) {
        let (x, y) = PAIRS[at];
        if self.setting.reversed { (y, x) } else { (x, y) }
    }

    /// USE arrives.
    pub fn take_use(&mut self, at: usize) -> bool {
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

    // ---- records ----

    /// x persists a record, and goes by it.
    pub fn set(&mut self, x: u8, new: Rec) {
        let own = record(self.q(x).rec);
        let lenient = self.setting.partner_durability;
        if incomplete::syncs_first(id(x), &own, &record(new), lenient) && !self.off(M::UnsyncBeforeSync) {
            self.p(x).hard = self.q(x).log.len();
        }
        let incomplete = self.off(M::RecordClearsIncomplete);
        let p = self.p(x);
        let before = p.rec;
        if (new.role, new.number) < (p.kept.role, p.kept.number) {
            self.s.ghost.broken = 4;
        }
        let p = self.p(x);
        let changed = !rule::same(&record(before), &record(new));
        p.rec = new;
        p.kept = new;
        if takeover::record_closes(&ask(p), &record(before), &record(new)) {
            (p.ask_open, p.ask_here) = (false, false);
        }
        if changed {
            (p.by_mirror, p.by_witness, p.again) = (false, false, 0);
            if p.told == 2 {
                p.told = 0;
            }
            p.by_target = 0;
        }
        if incomplete {
            p.incomplete = false;
        }
        self.note_owner(new);
    }

    fn note_owner(&mut self, new: Rec) {
        let slot = &mut self.s.ghost.owners[usize::from(new.role & 7)];
        if *slot == 0 {
            *slot = new.owner + 1;
        } else if *slot != new.owner + 1 {
            self.s.ghost.broken = 2;
        }
    }

    /// The owner raises its number, durably, and tells it.
    pub fn raise(&mut self, x: u8, sync: Sync) {
        let p = *self.q(x);
        let new = rec(&rule::raise(&record(p.rec), sync));
        if sync == Sync::Sync && self.off(M::SyncBeforePersist) {
            // In memory only, until the mirror has confirmed it.
            let p = self.p(x);
            p.rec = new;
            (p.by_mirror, p.by_witness, p.again) = (false, false, 0);
        } else {
            self.set(x, new);
        }
        self.tell(x);
    }

    /// Shows x's record to all that are bound.
    fn tell(&mut self, x: u8) {
        let p = *self.q(x);
        for y in [other(x), p.witness] {
            if y != NOBODY && self.said(x, y) {
                let msg = self.shows(x, Kind::Record);
                self.send(x, y, msg);
            }
        }
    }

    /// A message with x's record and the witness it names.
    fn shows(&self, x: u8, kind: Kind) -> Msg {
        let p = self.q(x);
        Msg {
            kind,
            rec: if self.off(M::SyncBeforePersist) {
                p.rec
            } else {
                p.kept
            },
            what: p.witness,
            flag: p.pending,
            ..Msg::default()
        }
    }

    /// x's hello to y.
    fn hello(&self, x: u8, y: u8, kind: Kind) -> Msg {
        if x > B {
            let w = self.s.witnesses[usize::from(x - W)];
            return Msg {
                kind,
                rec: w.rec,
                at: w.keeps,
                ..Msg::default()
            };
        }
        let mut msg = self.shows(x, kind);
        let p = self.q(x);
        if y <= B {
            msg.log = p.log;
            msg.timeline = if p.rec.owner == x { p.timeline } else { 0 };
        }
        msg.number = if self.asks(x) { p.ask } else { 0 };
        msg
    }

    /// Says x's hello to y again, to be answered.
    fn hello_again(&mut self, x: u8, y: u8) {
        if y != NOBODY && self.said(x, y) && !self.off(M::SilentRoleChange) {
            let msg = self.hello(x, y, Kind::HelloAgain);
            self.send(x, y, msg);
        }
    }

    /// Answers y by x's hello.
    fn hello_answer(&mut self, x: u8, y: u8) {
        let msg = self.hello(x, y, Kind::HelloAnswer);
        self.send(x, y, msg);
    }

    // ---- roles ----

    /// x takes the role under `new`, which another member holds too, or which its operator forced.
    pub fn take_role(&mut self, x: u8, new: Rec, by: u8) {
        if new.role > 6 {
            self.full = true;
            return;
        }
        let mut p = *self.q(x);
        let kept_role = p.rec.owner == x && !new.forced;
        if self.off(M::HandBackBeforeAdopt) && p.rec.owner == x && p.incomplete {
            p.incomplete = false;
            self.p(x).incomplete = false;
        }
        if !incomplete::may_persist(id(x), &record(new), p.incomplete) {
            return;
        }
        if self.off(M::OpenBeforePersist) && !kept_role {
            let kept = p.kept;
            self.set(x, new);
            self.p(x).kept = kept;
        } else {
            self.set(x, new);
        }
        let fork_at_decided = self.off(M::ForkAtDecided);
        let old_timeline = self.off(M::RoleOldTimeline);
        let no_log = self.off(M::NoLogAfterRoleChange);
        let p = self.p(x);
        if by == other(x) {
            p.by_mirror = true;
        } else if by == p.witness {
            p.by_witness = true;
        }
        p.mirror_ask = 0;
        if kept_role {
            // Hand-back: the role stays, its number rises, and the log is sent again from what the mirror has.
            p.sent = if no_log { p.log.len() } else { p.acked };
        } else {
            let hardened = p.log.len();
            let decided = hardened.saturating_sub(1);
            let mut after = logs::timeline_starts_after(u64::from(hardened), u64::from(decided)) as u8;
            if fork_at_decided {
                after = decided;
            }
            p.log.cut(after);
            p.hard = after;
            if !old_timeline {
                p.timeline = next_timeline(p, x);
            }
            (p.waiting, p.joined, p.acked, p.sent) = (0, false, 0, 0);
            p.prepared = false;
            p.coming = 0;
            if new.forced {
                p.incomplete = incomplete::stays(incomplete::Since::Forced);
            }
            self.open(x);
        }
        for y in [other(x), self.q(x).witness] {
            self.hello_again_but(x, y, by);
        }
    }

    fn hello_again_but(&mut self, x: u8, y: u8, by: u8) {
        // To the mirror also where the change came by that binding: its answer shows where to send the log from.
        if (y <= B && !self.off(M::NoLogAfterRoleChange)) || y != by {
            self.hello_again(x, y);
        }
    }

    /// x opens to applications.
    pub fn open(&mut self, x: u8) {
        let p = *self.q(x);
        self.p(x).serves = true;
        // A binding that is dead without its end knowing cannot tell better; nothing is acknowledged over it.
        let y = other(x);
        let knows = if self.bound(x, y) {
            self.is_live(x, y)
        } else {
            p.witness != NOBODY && self.is_live(x, p.witness)
        };
        let ghost = &mut self.s.ghost;
        if p.rec.role < ghost.top && knows {
            ghost.broken = 5;
        }
        if p.rec.role > ghost.top {
            ghost.top = p.rec.role;
            if p.rec.forced {
                ghost.forced = p.rec.role;
                ghost.acked &= p.log.ids();
            }
        }
    }

    /// x yields the role, or stays a mirror, under a record of another.
    fn follow_owner(&mut self, x: u8, new: Rec) {
        let before = self.q(x).rec;
        self.set(x, new);
        let p = self.p(x);
        if before.owner == x || new.role > before.role {
            (p.serves, p.prepared, p.waiting, p.joined) = (false, false, 0, false);
            (p.target, p.raised, p.told, p.by_target) = (NO_CHANGE, false, 0, 0);
            (p.blank, p.again) = (false, 0);
        }
    }

    // ---- hearing ----

    /// x hears a record of y. Whether it is answered by `Confirm`.
    fn hear(&mut self, x: u8, y: u8, msg: &Msg, end: Option<u64>) -> rule::Heard {
        let p = *self.q(x);
        let part = if y <= B {
            rule::Sender::Partner
        } else {
            rule::Sender::Witness
        };
        let is_hello = matches!(msg.kind, Kind::Hello | Kind::HelloAgain | Kind::HelloAnswer);
        let sender_asks = is_hello && y <= B && msg.number != 0 && !self.off(M::AskConfirms);
        let mut heard = rule::hear(&rule::Hearing {
            me: id(x),
            own: record(p.rec),
            asks: self.asks(x) && !self.off(M::RecordWhileAsking),
            theirs: record(msg.rec),
            sender: id(y),
            part,
            sender_asks,
        });
        if self.off(M::StaleSync)
            && heard == rule::Heard::Older
            && msg.rec.owner == y
            && msg.kind == Kind::Record
        {
            heard = rule::Heard::Take(record(msg.rec));
        }
        match heard {
            rule::Heard::Confirmed if p.rec.owner == x => {
                let persist_late = self.off(M::SyncBeforePersist);
                let p = self.p(x);
                if y <= B {
                    p.by_mirror = true;
                    if persist_late {
                        p.kept = p.rec;
                    }
                } else if y == p.witness {
                    p.by_witness = true;
                    p.blank = false;
                }
            }
            rule::Heard::Take(new) => {
                let before = p.rec;
                self.follow_owner(x, rec(&new));
                let owner = self.q(x).rec.owner;
                if before.role == new.role_sequence as u8 && y != owner && self.said(x, owner) {
                    // The own hello to the owner showed an older number.
                    let confirm = self.shows(x, Kind::Confirm);
                    self.send(x, owner, confirm);
                }
                if before.role < new.role_sequence as u8 {
                    for z in [other(x), p.witness] {
                        if z != y && msg.kind != Kind::HelloAnswer {
                            self.hello_again(x, z);
                        }
                    }
                }
            }
            rule::Heard::Role(new) if role::may_take_role(u64::from(p.log.len()), end) => {
                self.take_role(x, rec(&new), y);
            }
            _ => {}
        }
        heard
    }

    /// The principal's and the mirror's logs meet: x is the one or the other (R7).
    fn meet(&mut self, x: u8, msg: &Msg) {
        let p = *self.q(x);
        if msg.rec.role == p.rec.role && msg.rec.owner == p.rec.owner {
            self.compare(x, msg, p.rec.owner == x);
        }
    }

    /// An incomplete principal is shown a record that names it: it adopts before it persists that (R6).
    fn adopt_first(&mut self, x: u8, msg: &Msg) {
        if self.q(x).incomplete && msg.rec.owner == x && !self.off(M::HandBackBeforeAdopt) {
            self.compare(x, msg, true);
        }
    }

    fn compare(&mut self, x: u8, msg: &Msg, leads: bool) {
        let p = *self.q(x);
        let mine = history(&p.log, if leads { p.timeline } else { 0 });
        let theirs = history(&msg.log, msg.timeline);
        let (principal, mirror) = if leads { (&mine, &theirs) } else { (&theirs, &mine) };
        let log = if leads { p.log } else { msg.log };
        let Ok(meeting) = logs::meet::<std::convert::Infallible>(
            logs::History {
                end: principal.0,
                timelines: &principal.1,
            },
            logs::History {
                end: mirror.0,
                timelines: &mirror.1,
            },
            |at| Ok(Some(chain(&log, at))),
        );
        if leads {
            self.meet_as_principal(x, msg, &meeting);
        } else if !p.ask_open && p.coming == 0 {
            if let logs::Meeting::Rewind { to } = meeting
                && !self.off(M::NoRewind)
            {
                let p = self.p(x);
                p.log.cut(to as u8);
                p.hard = p.log.len();
            }
            self.p(x).timeline = p.timeline.max(msg.timeline);
        }
    }

    fn meet_as_principal(&mut self, x: u8, msg: &Msg, meeting: &logs::Meeting) {
        let p = *self.q(x);
        let joined = match *meeting {
            logs::Meeting::Send { after } | logs::Meeting::Rewind { to: after } => Some(after as u8),
            logs::Meeting::Tail { after } => {
                if self.off(M::NoAdopt) {
                    Some(after as u8)
                } else if logs::may_adopt(meeting, p.serves, p.prepared) {
                    let p = self.p(x);
                    p.log = msg.log;
                    p.hard = p.log.len();
                    Some(p.hard)
                } else {
                    None
                }
            }
            logs::Meeting::Corrupt { .. } => {
                self.s.ghost.broken = 3;
                None
            }
        };
        if let Some(after) = joined {
            let p = self.p(x);
            (p.joined, p.acked, p.sent) = (true, after, after);
            if p.incomplete && !p.prepared {
                p.incomplete = incomplete::stays(incomplete::Since::Adopted);
            }
        }
    }

    // ---- messages ----

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

    fn follow_witness(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        if p.rec.owner == y && !self.off(M::PendingForEver) {
            let now = witness::follow(named(p.witness, p.pending), named(msg.what, msg.flag));
            self.p(x).pending = now.pending;
        } else if p.rec.owner == x {
            let p = self.p(x);
            (p.mirror_witness, p.mirror_pending) = (msg.what, msg.flag);
        }
    }

    fn partner_hello(&mut self, x: u8, y: u8, msg: &Msg) {
        let before = self.q(x).rec;
        self.adopt_first(x, msg);
        // A hello tells no end that the log must reach: who shows this member's role in it has either given it when both
        // were level, or yielded it with whatever it had not sent.
        let heard = self.hear(x, y, msg, None);
        self.follow_witness(x, y, msg);
        let p = *self.q(x);
        if p.rec.owner == x {
            self.p(x).mirror_ask = if msg.rec.owner == x { msg.number } else { 0 };
        }
        self.meet(x, msg);
        let p = *self.q(x);
        if !self.off(M::NoHandBack)
            && let Some(proposal) = takeover::hand_back(&takeover::HandBack {
                me: id(x),
                own: record(p.rec),
                incomplete: p.incomplete && !self.off(M::HandBackBeforeAdopt),
                asks: p.ask_open,
                theirs: record(msg.rec),
                their_ask: u32::from(msg.number),
            })
        {
            let mut new = rec(&proposal);
            if self.off(M::HandBackAtAsk) {
                new.role -= 1;
            }
            if new.role > 6 {
                self.full = true;
                return;
            }
            let propose = Msg {
                kind: Kind::Propose,
                rec: new,
                ..Msg::default()
            };
            self.send(x, y, propose);
            if self.off(M::OnePhaseHandBack) && new.role > p.rec.role {
                self.take_role(x, new, y);
                self.p(x).by_mirror = false;
            }
        }
        match heard {
            rule::Heard::Take(_) if !matches!(msg.kind, Kind::HelloAgain) => {
                if before.role == self.q(x).rec.role {
                    let confirm = self.shows(x, Kind::Confirm);
                    self.send(x, y, confirm);
                } else {
                    self.hello_answer(x, y);
                }
            }
            rule::Heard::Older if msg.kind == Kind::Hello => {
                // The own hello may have been said before this member's number rose.
                if msg.rec.role < before.role {
                    self.hello_answer(x, y);
                } else if p.rec.owner == x && self.setting.slow_writes {
                    let record = self.shows(x, Kind::Record);
                    self.send(x, y, record);
                }
            }
            _ if msg.kind == Kind::HelloAgain => self.hello_answer(x, y),
            _ => {}
        }
    }

    fn partner_says(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        match msg.kind {
            Kind::Record => match self.hear(x, y, msg, None) {
                rule::Heard::Confirmed | rule::Heard::Take(_) => {
                    self.follow_witness(x, y, msg);
                    let confirm = self.shows(x, Kind::Confirm);
                    self.send(x, y, confirm);
                }
                rule::Heard::Older => self.hello_answer(x, y),
                _ => {}
            },
            Kind::Confirm => {
                let heard = self.hear(x, y, msg, None);
                if self.q(x).rec.owner == x {
                    self.follow_witness(x, y, msg);
                    let own = self.q(x).rec;
                    let p = self.p(x);
                    if msg.number != 0
                        && msg.number == p.request
                        && p.again == 1
                        && heard == rule::Heard::Confirmed
                    {
                        p.again = 2;
                    }
                    if p.told == 1 && msg.rec == own && msg.what == p.target && msg.flag {
                        p.told = 2;
                    }
                }
            }
            Kind::ConfirmAgain if !self.asks(x) || self.off(M::RecordWhileAsking) => {
                let mut confirm = self.shows(x, Kind::Confirm);
                confirm.number = msg.number;
                self.send(x, y, confirm);
            }
            Kind::Block => self.take_block(x, msg),
            Kind::Ack => {
                let current = msg.number == p.rec.role || self.off(M::AnyRoleSequence);
                if p.rec.owner == x
                    && current
                    && p.joined
                    && chain(&msg.log, 4) == chain(&prefix(&p.log, msg.at), 4)
                {
                    self.p(x).acked = p.acked.max(msg.at);
                }
            }
            Kind::Propose if msg.rec.owner == x => {
                self.hear(x, y, msg, Some(u64::from(msg.log.len())));
            }
            Kind::Propose => {
                let mut own = record(p.rec);
                if self.off(M::HandBackAfterGrant) {
                    own.owner = id(y);
                }
                match takeover::proposed(&own, &record(msg.rec), id(y)) {
                    takeover::Proposed::Take(new) => {
                        self.follow_owner(x, rec(&new));
                        let confirm = self.shows(x, Kind::Confirm);
                        self.send(x, y, confirm);
                    }
                    takeover::Proposed::AnswerByHello if !self.off(M::ProposalUnanswered) => {
                        self.hello_answer(x, y);
                    }
                    takeover::Proposed::AnswerByHello => {}
                }
            }
            Kind::Name if rule::same(&record(p.rec), &record(msg.rec)) && !p.ask_open => {
                let pending = !self.off(M::ChangeWithoutPending);
                let p = self.p(x);
                if p.witness != msg.what {
                    (p.by_witness, p.ask_here, p.blank) = (false, false, false);
                }
                (p.witness, p.pending) = (msg.what, pending);
                (p.named_role, p.named_number) = (p.rec.role, p.rec.number);
                let mut confirm = self.shows(x, Kind::Confirm);
                confirm.flag = true;
                self.send(x, y, confirm);
            }
            _ => {}
        }
    }

    fn take_block(&mut self, x: u8, msg: &Msg) {
        let p = *self.q(x);
        let mut asked = ask(&p);
        asked.open = self.asks(x) && !self.off(M::HardenWhileAsking);
        let number = if self.off(M::AnyRoleSequence) {
            p.rec.role
        } else {
            msg.number
        };
        if p.rec.owner == x
            || !takeover::takes_blocks(&record(p.rec), &asked, u32::from(number))
            || p.coming != 0
            || !logs::follows(u64::from(p.log.len()), u64::from(msg.at))
        {
            return;
        }
        self.p(x).coming = msg.what;
        if !self.setting.slow_writes {
            self.harden(x);
        }
    }

    /// x's write of a block ends.
    pub fn harden(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if p.coming == 0 {
            return false;
        }
        let p = self.p(x);
        let pushed = p.log.push(p.coming);
        p.coming = 0;
        p.hard = p.log.len();
        let (log, at, role) = (p.log, p.hard, p.rec.role);
        let y = other(x);
        // Under an open ask nothing is acknowledged for the old owner.
        if pushed && self.bound(x, y) && (!self.asks(x) || self.off(M::HardenWhileAsking)) {
            let ack = Msg {
                kind: Kind::Ack,
                number: role,
                at,
                log,
                ..Msg::default()
            };
            self.send(x, y, ack);
        }
        true
    }

    fn witness_hello(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        let w = crate::state::Witness {
            keeps: msg.at,
            rec: msg.rec,
        };
        let name = record(Rec {
            role: p.named_role,
            number: p.named_number,
            ..p.rec
        });
        let shown = if self.off(M::LowerCounts) {
            (w.keeps == 1).then(|| record(w.rec))
        } else {
            takeover::witness_shows(&keeping(&w), &name)
        };
        if y == p.witness && !p.pending {
            let here = p.ask_here && !self.off(M::AnyHelloCloses);
            if takeover::hello_closes(&ask(&p), here) {
                self.p(x).ask_open = false;
            }
            self.p(x).blank = shown.is_none();
            if let Some(shown) = shown {
                let msg = Msg {
                    rec: rec(&shown),
                    ..*msg
                };
                let heard = self.hear(x, y, &msg, None);
                let p = *self.q(x);
                if heard == rule::Heard::Older && p.rec.owner == x && msg.kind != Kind::Hello {
                    let record = self.shows(x, Kind::Record);
                    self.send(x, y, record);
                }
            }
        }
        if y == p.target && shown.is_some_and(|shown| rule::confirms(&record(self.q(x).rec), &shown, false)) {
            self.p(x).by_target = 2;
        }
        if msg.kind == Kind::HelloAgain {
            self.hello_answer(x, y);
        }
    }

    fn witness_says(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        match msg.kind {
            Kind::Confirm => {
                if y == p.witness && !p.pending {
                    self.hear(x, y, msg, None);
                }
                if y == p.target && rule::confirms(&record(self.q(x).rec), &record(msg.rec), false) {
                    self.p(x).by_target = 2;
                }
            }
            Kind::Grant | Kind::Denial if y == p.witness => {
                let quoted = if self.off(M::AnyAnswerCloses) {
                    p.ask
                } else {
                    msg.number
                };
                if takeover::answer_closes(&ask(&p), u32::from(quoted)) {
                    let p = self.p(x);
                    (p.ask_open, p.ask_here) = (false, false);
                    if msg.kind == Kind::Grant || msg.at == 1 {
                        self.hear(x, y, msg, None);
                    }
                }
            }
            Kind::IsOff if y == p.witness && p.target == NOBODY => {
                let p = self.p(x);
                p.witness = NOBODY;
                (p.named_role, p.named_number, p.pending) = (p.rec.role, p.rec.number, false);
                (p.target, p.raised, p.told) = (NO_CHANGE, false, 0);
                (p.by_witness, p.blank) = (false, false);
            }
            _ => {}
        }
    }

    fn told_witness(&mut self, x: u8, y: u8, msg: &Msg, hello: bool) {
        let at = usize::from(x - W);
        let mut w = self.s.witnesses[at];
        let before = w;
        let mut reply = None;
        let confirm = |rec| Msg {
            kind: Kind::Confirm,
            rec,
            ..Msg::default()
        };
        match msg.kind {
            Kind::Ask => {
                let z = other(y);
                let mut held = w;
                let mut asked = msg.rec;
                if self.off(M::GrantUnsync) {
                    held.rec.sync = true;
                    asked.sync = true;
                }
                if self.off(M::GrantOtherNumber) {
                    held.rec.number = asked.number;
                    asked.sync = held.rec.sync;
                }
                if self.off(M::AskUnsync) {
                    asked = held.rec;
                }
                if self.off(M::BlankGrants) && w.keeps == 0 {
                    held.keeps = 1;
                    held.rec = msg.rec;
                }
                let mut facts = takeover::Asked {
                    asker: id(y),
                    record: record(asked),
                    force: msg.flag,
                    owner_heard: self.owner_heard,
                    other_bound: self.bound(x, z) && !self.off(M::ForceOtherBound),
                };
                if msg.flag && self.off(M::ForceFromWitness) {
                    facts.record.role_sequence = u32::from(w.rec.role);
                }
                if msg.flag && self.off(M::ForceNotLower) {
                    held.rec.role = held.rec.role.min(msg.rec.role);
                }
                reply = Some(match takeover::answer(&keeping(&held), &facts) {
                    takeover::Answer::Grant(new) => {
                        let mut new = rec(&new);
                        new.sync |= self.off(M::GrantKeepsSync);
                        if self.off(M::GrantByAskNumber) && !msg.flag {
                            new.role = msg.number;
                        }
                        if msg.flag
                            && self.off(M::ForceOnOwnerIsTakeover)
                            && rule::same(&record(w.rec), &record(msg.rec))
                        {
                            new.forced = false;
                        }
                        if new.role > 6 {
                            self.full = true;
                        }
                        if !self.off(M::GrantNotPersisted) {
                            w.keeps = 1;
                            w.rec = new;
                        }
                        Msg {
                            kind: Kind::Grant,
                            rec: new,
                            number: msg.number,
                            ..Msg::default()
                        }
                    }
                    takeover::Answer::Denial => Msg {
                        kind: Kind::Denial,
                        rec: w.rec,
                        number: msg.number,
                        at: w.keeps,
                        ..Msg::default()
                    },
                });
            }
            Kind::Register => {
                if witness::takes_registration(&keeping(&w), &record(msg.rec), id(y)) {
                    w.keeps = 1;
                    w.rec = msg.rec;
                    reply = Some(confirm(w.rec));
                } else {
                    reply = Some(self.hello(x, y, Kind::HelloAnswer));
                }
            }
            Kind::Drop => {
                // Only the owner deletes the record.
                if w.keeps == 1
                    && w.rec.owner == y
                    && (w.rec.role, w.rec.number) <= (msg.rec.role, msg.rec.number)
                {
                    w.keeps = 0;
                    w.rec = Rec::default();
                }
            }
            Kind::Off => {
                let decided = if self.off(M::OffWithoutDrop) {
                    witness::Drop::Again
                } else {
                    witness::drop_witness(&keeping(&w), &record(msg.rec), id(y))
                };
                match decided {
                    witness::Drop::Mark(_) => {
                        w.keeps = if self.off(M::OffWithoutMark) { 0 } else { 2 };
                        w.rec = Rec {
                            owner: y,
                            ..Rec::default()
                        };
                        if self.off(M::OffWithoutMark) {
                            w.rec = Rec::default();
                        }
                        reply = Some(Msg {
                            kind: Kind::IsOff,
                            ..Msg::default()
                        });
                    }
                    witness::Drop::Again => {
                        reply = Some(Msg {
                            kind: Kind::IsOff,
                            ..Msg::default()
                        });
                    }
                    witness::Drop::Refuse => {}
                }
            }
            _ => {
                // A record, in a hello or by itself.
                let mut held = w;
                if self.off(M::BlankBelieves) && w.keeps != 1 {
                    held.keeps = 1;
                    held.rec = Rec {
                        number: 0,
                        role: 0,
                        ..msg.rec
                    };
                }
                let mut noted = witness::note(&keeping(&held), &record(msg.rec), id(y));
                if self.off(M::StaleSync)
                    && w.keeps == 1
                    && msg.kind == Kind::Record
                    && msg.rec.owner == w.rec.owner
                {
                    noted = witness::Noted::Take(record(msg.rec));
                }
                match noted {
                    witness::Noted::Take(new) => {
                        w.keeps = 1;
                        w.rec = rec(&new);
                        reply = Some(confirm(w.rec));
                    }
                    witness::Noted::Confirmed if !hello => reply = Some(confirm(w.rec)),
                    witness::Noted::Confirmed => {}
                    witness::Noted::Nothing
                        if !hello || (msg.rec.role < w.rec.role && msg.kind != Kind::HelloAnswer) =>
                    {
                        reply = Some(self.hello(x, y, Kind::HelloAnswer));
                    }
                    witness::Noted::Nothing => {}
                }
            }
        }
        let back = (w.rec.role, w.rec.number) < (before.rec.role, before.rec.number);
        if before.keeps == 1 && w.keeps == 1 && back && !self.off(M::StaleSync) {
            self.s.ghost.broken = 4;
        }
        self.s.witnesses[at] = w;
        if w.keeps == 1 && w != before {
            self.note_owner(w.rec);
        }
        if w.keeps == 1 && before.keeps == 1 && w.rec.role > before.rec.role {
            self.hello_again(x, other(y));
        }
        match reply {
            Some(reply) => self.send(x, y, reply),
            None if msg.kind == Kind::HelloAgain => self.hello_answer(x, y),
            None => {}
        }
    }

    // ---- after every step ----

    /// What members do at once: say hellos that are due, and send the log.
    pub fn settle(&mut self) {
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
            if p.up && p.rec.owner == x && p.joined && p.serves && self.bound(x, y) {
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

    /// A new block in x's log.
    pub fn append(&mut self, x: u8, void: bool) -> Option<u8> {
        let drawn = self.s.ghost.drawn + 1;
        if drawn > 7 {
            return None;
        }
        let p = self.p(x);
        let new = block(drawn, p.timeline, void);
        if !p.log.push(new) {
            return None;
        }
        if void {
            p.hard = p.log.len();
        }
        self.s.ghost.drawn = drawn;
        Some(new)
    }
}

/// The first blocks of a log.
pub fn prefix(log: &Log, len: u8) -> Log {
    let mut out = *log;
    out.cut(len);
    out
}

/// The next timeline begun by x: number × 2 + x.
pub fn next_timeline(p: &Partner, x: u8) -> u8 {
    let (_, timelines) = history(&p.log, p.timeline);
    let number = logs::next_timeline(&timelines, u32::from(p.timeline >> 1)) as u8;
    (number.min(7) << 1) | x
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

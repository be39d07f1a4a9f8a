//! A partner's record, and the hellos and messages that show it (R1, R2).

use crate::bridge::{ask, id, other, rec, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{B, Kind, Msg, NOBODY, Rec, W};
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::{incomplete, record as rule, role, takeover};

impl Machine<'_> {
    /// x persists a record, and goes by it.
    pub(crate) fn set(&mut self, x: u8, new: Rec) {
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
        p.clash &= new.role == before.role;
        // Without a witness each operator's word makes an owner (R8).
        if !(new.forced && p.witness == NOBODY) {
            self.note_owner(new);
        }
    }

    pub(crate) fn note_owner(&mut self, new: Rec) {
        let slot = &mut self.s.ghost.owners[usize::from(new.role & 7)];
        if *slot == 0 {
            *slot = new.owner + 1;
        } else if *slot != new.owner + 1 {
            self.s.ghost.broken = 2;
        }
    }

    /// The owner raises its number, durably, and tells it.
    pub(crate) fn raise(&mut self, x: u8, sync: Sync) {
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
    pub(crate) fn tell(&mut self, x: u8) {
        let p = *self.q(x);
        for y in [other(x), p.witness] {
            if y != NOBODY && self.said(x, y) {
                let msg = self.shows(x, Kind::Record);
                self.send(x, y, msg);
            }
        }
    }

    /// A message with x's record and the witness it names.
    pub(crate) fn shows(&self, x: u8, kind: Kind) -> Msg {
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
    pub(crate) fn hello(&self, x: u8, y: u8, kind: Kind) -> Msg {
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
            msg.at = u8::from(p.suspended);
        }
        msg.number = if self.asks(x) { p.ask } else { 0 };
        msg
    }

    /// Says x's hello to y again, to be answered.
    pub(crate) fn hello_again(&mut self, x: u8, y: u8) {
        if y != NOBODY && self.said(x, y) && !self.off(M::SilentRoleChange) {
            let msg = self.hello(x, y, Kind::HelloAgain);
            self.send(x, y, msg);
        }
    }

    /// Answers y by x's hello.
    pub(crate) fn hello_answer(&mut self, x: u8, y: u8) {
        let msg = self.hello(x, y, Kind::HelloAnswer);
        self.send(x, y, msg);
    }

    /// x hears a record of y. Whether it is answered by `Confirm`.
    pub(crate) fn hear(&mut self, x: u8, y: u8, msg: &Msg, end: Option<u64>) -> rule::Heard {
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
            rule::Heard::Clash if msg.rec.owner != p.rec.owner && !self.off(M::ClashServes) => {
                let p = self.p(x);
                (p.clash, p.serves, p.waiting) = (true, false, 0);
            }
            _ => {}
        }
        heard
    }
}

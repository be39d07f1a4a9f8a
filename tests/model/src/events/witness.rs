//! Steps towards a blank witness, and of a change of witness.

use crate::bridge::{id, named, other, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg, NO_CHANGE, NOBODY};
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::witness;

impl Machine<'_> {
    pub(crate) fn register(&mut self, x: u8) -> bool {
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

    pub(crate) fn change(&mut self, x: u8) -> bool {
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

    pub(crate) fn adopt_witness(&mut self, x: u8) {
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
    pub(crate) fn impose(&mut self, x: u8) -> bool {
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
    pub(crate) fn witness_off(&mut self, x: u8) -> bool {
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
}

//! What a witness hears.

use crate::bridge::{id, keeping, other, rec, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg, Rec, W};
use dbmirror_core::session::decide::{record as rule, takeover, witness};

impl Machine<'_> {
    pub(crate) fn told_witness(&mut self, x: u8, y: u8, msg: &Msg, hello: bool) {
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
                if witness::forgets(&keeping(&w), &record(msg.rec), id(y)) {
                    w = Default::default();
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
}

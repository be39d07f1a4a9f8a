//! What a partner hears from a witness.

use crate::bridge::{ask, id, keeping, rec, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg, NO_CHANGE, NOBODY, Rec, Witness};
use dbmirror_core::message::Record;
use dbmirror_core::session::decide::{incomplete, record as rule, takeover};

impl Machine<'_> {
    pub(crate) fn witness_hello(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        let w = Witness {
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
            self.p(x).blank = shown.is_none();
            let shown = shown.map(|shown| self.as_taken(x, shown));
            let keeps = shown.is_some_and(|shown| self.keeps_ask(x, &shown));
            if takeover::hello_closes(&ask(&p), here) && !keeps {
                self.p(x).ask_open = false;
            }
            if let Some(shown) = shown.filter(|_| !keeps) {
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

    /// What the witness shows, as x would persist it.
    fn as_taken(&mut self, x: u8, shown: Record) -> Record {
        if self.off(M::IncompleteForceIsTakeover) && self.q(x).ask_force {
            self.p(x).incomplete = false;
        }
        let p = self.q(x);
        incomplete::taken(id(x), &shown, p.incomplete, &ask(p))
    }

    fn keeps_ask(&self, x: u8, shown: &Record) -> bool {
        let p = self.q(x);
        let incomplete = p.incomplete && !self.off(M::GrantClosesIncomplete);
        incomplete::keeps_ask(id(x), &record(p.rec), shown, incomplete, &ask(p))
    }

    pub(crate) fn witness_says(&mut self, x: u8, y: u8, msg: &Msg) {
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
                let names = msg.kind == Kind::Grant || msg.at == 1;
                let shown = self.as_taken(x, record(msg.rec));
                let keeps = names && self.keeps_ask(x, &shown);
                if takeover::answer_closes(&ask(&p), u32::from(quoted)) && !keeps {
                    let p = self.p(x);
                    (p.ask_open, p.ask_here) = (false, false);
                    if names {
                        let msg = Msg {
                            rec: rec(&shown),
                            ..*msg
                        };
                        self.hear(x, y, &msg, None);
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
}

//! What a partner hears from a witness.

use crate::bridge::{ask, keeping, rec, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg, NO_CHANGE, NOBODY, Rec, Witness};
use dbmirror_core::session::decide::{record as rule, takeover};

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
}

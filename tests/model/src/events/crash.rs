//! A partner crashes, or loses power.

use crate::bridge::{id, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{NO_CHANGE, Partner};
use dbmirror_core::session::decide::incomplete;

impl Machine<'_> {
    pub(crate) fn crash(&mut self, x: u8) -> bool {
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
            clash: p.clash,
            suspended: p.suspended,
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

    pub(crate) fn power(&mut self, x: u8) -> bool {
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
}

//! A partner crashes, or loses power.

use crate::bridge::{id, other, record};
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
            lost: p.lost,
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
            lost: false,
        };
        let p = self.p(x);
        p.log.cut(p.hard);
        p.incomplete |= incomplete::is_incomplete(&facts);
        true
    }

    /// Whether the last hardened block of x may be lost: only where the other has it too: no rule brings back what lay on one medium.
    pub(crate) fn may_rot(&self, x: u8) -> bool {
        let (p, q) = (self.q(x), self.q(other(x)));
        let Some(at) = usize::from(p.hard).checked_sub(1) else {
            return false;
        };
        let owner = p.kept.owner == x;
        (!owner || self.setting.owner_rots) && usize::from(q.hard) > at && p.log.0[at] == q.log.0[at]
    }

    pub(crate) fn rot(&mut self, x: u8) -> bool {
        self.crash(x);
        if self.q(x).kept.owner == x {
            // Its commits are in its file as well: only where it yields are they gone.
            self.p(x).lost = true;
            return true;
        }
        let facts = incomplete::Start {
            me: id(x),
            own: record(self.q(x).kept),
            partner_durability: self.setting.partner_durability,
            machine_restarted: false,
            clean_stop: false,
            lost: !self.off(M::LossUnnoticed),
        };
        let p = self.p(x);
        p.hard -= 1;
        p.log.cut(p.hard);
        p.incomplete |= incomplete::is_incomplete(&facts);
        true
    }
}

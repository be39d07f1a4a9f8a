//! Applications: commits, their acknowledgement, and a kill.

use crate::bridge::{other, record};
use crate::events::spend;
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{NOBODY, W, id_of};
use dbmirror_core::session::decide::{history, record as rule};

impl Machine<'_> {
    pub(crate) fn commit(&mut self, x: u8) -> bool {
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

    pub(crate) fn kill(&mut self, x: u8) -> bool {
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

    pub(crate) fn acknowledge(&mut self, x: u8, n: u8) -> bool {
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
        if self.rival(x) {
            return true;
        }
        let ghost = &mut self.s.ghost;
        if ghost.forced > p.rec.role {
            // Given up by the operator who forced service; but only while this owner cannot know of it.
            // Where service was forced without a witness there is no bound (R8).
            let unbounded = self.q(other(x)).witness == NOBODY;
            if !unbounded && facts.alone && p.acked as usize <= at && !self.rests_on_dead(x) {
                self.s.ghost.broken = 6;
            }
        } else {
            ghost.acked |= bit;
            let top = ghost.top;
            if p.rec.role < top {
                // A later owner has opened: it must have this block, or know that it lost it.
                let later = self
                    .s
                    .partners
                    .iter()
                    .enumerate()
                    .find(|(y, q)| q.kept.role == top && usize::from(q.kept.owner) == *y);
                if later.is_some_and(|(_, q)| !q.incomplete && q.log.ids() & bit == 0) {
                    self.s.ghost.broken = 1;
                }
            }
        }
        true
    }

    /// Whether x, which was superseded by force, rests on a binding that is dead without x knowing; or on one over which the
    /// witness's word of it is still to come.
    pub(crate) fn rests_on_dead(&self, x: u8) -> bool {
        let (y, p) = (other(x), self.q(x));
        if p.by_mirror && self.bound(x, y) {
            return !(self.same_connection(x, y) && self.bound(y, x) && self.q(y).kept.role > p.rec.role);
        }
        if p.witness == NOBODY {
            return false;
        }
        let known = self.s.witnesses[usize::from(p.witness - W)].rec.role > p.rec.role;
        p.by_witness && self.bound(x, p.witness) && !(known && self.is_live(x, p.witness))
    }

    /// Whether x may acknowledge alone (R1).
    pub(crate) fn alone(&self, x: u8) -> bool {
        let p = self.q(x);
        rule::alone(&rule::Alone {
            own: record(p.rec),
            witness_set: p.witness != NOBODY,
            by_witness: p.by_witness,
            by_mirror: p.by_mirror,
            opened: true,
        }) || (self.off(M::AloneUnconfirmed) && !p.rec.sync)
    }
}

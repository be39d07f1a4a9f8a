//! A partner takes the role, opens, or yields (R3, R4).

use crate::bridge::{id, other, record};
use crate::machine::{Machine, next_timeline};
use crate::mutation::Mutation as M;
use crate::state::{B, NO_CHANGE, NOBODY, Rec};
use dbmirror_core::session::decide::{history as logs, incomplete};

impl Machine<'_> {
    /// x takes the role under `new`, which another member holds too, or which its operator forced.
    pub(crate) fn take_role(&mut self, x: u8, new: Rec, by: u8) {
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
        let suspends = self.setting.suspends;
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
            p.suspended = new.forced && suspends;
            if new.forced {
                p.incomplete = incomplete::stays(incomplete::Since::Forced);
            }
            self.open(x);
        }
        for y in [other(x), self.q(x).witness] {
            self.hello_again_but(x, y, by);
        }
    }

    pub(crate) fn hello_again_but(&mut self, x: u8, y: u8, by: u8) {
        // To the mirror also where the change came by that binding: its answer shows where to send the log from.
        if (y <= B && !self.off(M::NoLogAfterRoleChange)) || y != by {
            self.hello_again(x, y);
        }
    }

    /// x opens to applications.
    pub(crate) fn open(&mut self, x: u8) {
        let p = *self.q(x);
        self.p(x).serves = true;
        self.p(x).lost = false;
        // A binding that is dead without its end knowing cannot tell better; nothing is acknowledged over it.
        let y = other(x);
        let knows = if self.bound(x, y) {
            self.is_live(x, y)
        } else {
            p.witness != NOBODY && self.is_live(x, p.witness)
        };
        let rival = self.rival(x);
        let ghost = &mut self.s.ghost;
        if rival && p.rec.role == ghost.top {
            ghost.acked &= p.log.ids();
        }
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

    /// Whether both were forced under one role_sequence: what either has, the other need not have.
    pub(crate) fn rival(&self, x: u8) -> bool {
        let (own, theirs) = (self.q(x).kept, self.q(other(x)).kept);
        own.forced && own.role == theirs.role && own.owner != theirs.owner
    }

    /// x yields the role, or stays a mirror, under a record of another.
    pub(crate) fn follow_owner(&mut self, x: u8, new: Rec) {
        let before = self.q(x).rec;
        self.set(x, new);
        let unnoticed = self.off(M::YieldLosesLog);
        let p = self.p(x);
        if p.lost {
            p.lost = false;
            p.hard = p.hard.min(p.log.len()).saturating_sub(1);
            p.log.cut(p.hard);
            p.incomplete |= incomplete::yields_incomplete(!unnoticed);
        }
        if before.owner == x || new.role > before.role {
            (p.serves, p.prepared, p.waiting, p.joined) = (false, false, 0, false);
            (p.target, p.raised, p.told, p.by_target) = (NO_CHANGE, false, 0, 0);
            (p.blank, p.again, p.suspended) = (false, 0, false);
        }
    }
}

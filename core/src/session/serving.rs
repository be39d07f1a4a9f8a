//! What a session does by itself when something has changed: open, record SYNC and UNSYNC, ask, stop (`docs/safety.md` R1, R3, R4).
//! Called after every step; each decision is one of [`super::decide`].

use super::decide::{record, role, witness};
use super::event::{Fence, Reason, SessionError, SessionEvent};
use super::machine::{Ctx, Session, Side};
use super::view::Role;
use crate::message::Sync;
use crate::time::Instant;

impl Session {
    /// Does what follows from how things stand now.
    pub(crate) fn drive(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_established() {
            return;
        }
        self.tell_role(ctx);
        if self.owns(ctx.own) {
            self.drive_owner(ctx);
        } else {
            self.drive_mirror(ctx);
        }
        self.tell_witness_changed(ctx);
        self.tell_witness_state(ctx);
        self.tell_acknowledged(ctx);
    }

    /// Tells a change of role once it is durable.
    fn tell_role(&mut self, ctx: &mut Ctx<'_>) {
        if self.kept.durable().is_none() {
            return;
        }
        if let Some(why) = self.q.told_role.take() {
            (ctx.events)(SessionEvent::RoleChanged {
                role: self.role(),
                role_sequence: self.role_sequence(),
                why,
                at: self.kept.get().failover,
            });
            if self.role() == Role::Principal && self.q.taking && !self.q.timeline_asked {
                self.q.timeline_asked = true;
                (ctx.events)(SessionEvent::MayCapture { new_timeline: true });
            }
        }
    }

    fn tell_witness_state(&mut self, ctx: &mut Ctx<'_>) {
        let state = self.tie.state();
        if state != self.witness_shown {
            self.witness_shown = state;
            (ctx.events)(SessionEvent::Witness(state));
        }
    }

    fn drive_mirror(&mut self, ctx: &mut Ctx<'_>) {
        self.ask_rewind(ctx);
        self.judge_whole(ctx);
        self.drive_ask(ctx);
    }

    fn drive_owner(&mut self, ctx: &mut Ctx<'_>) {
        if self.kept.get().clash {
            return;
        }
        self.settle_now(ctx);
        if !self.q.serves {
            self.reopen(ctx);
        }
        if !self.q.serves {
            return;
        }
        self.drive_failover(ctx);
        if !self.owns(ctx.own) {
            return;
        }
        if self.must_unsync(ctx.now) {
            self.raise(ctx.own, Sync::Unsync);
        }
        self.drive_registration(ctx);
        self.drive_change(ctx);
        if record::may_record_sync(&self.level_facts(ctx)) {
            self.raise(ctx.own, Sync::Sync);
        }
        self.drive_end(ctx);
        self.judge_quorum(ctx);
    }

    /// What ends waiting for the mirror (R1): it is lost or cannot follow, the session is suspended, SAFETY is OFF, a block has stayed
    /// unhardened for the time-out, the session is about to end.
    fn must_unsync(&self, now: Instant) -> bool {
        let Side::Principal(side) = &self.side else {
            return false;
        };
        let properties = &self.kept.get().properties;
        let stuck = self.in_step() && self.binding.is_some_and(|binding| binding.joined) && !side.streaming;
        self.record().sync == Sync::Sync
            && (self.partner_lost(now)
                || stuck
                || !side.synced && side.streaming
                || properties.suspended
                || !properties.safety_full
                || self.q.ending)
    }

    fn level_facts(&self, ctx: &Ctx<'_>) -> record::Level {
        let properties = &self.kept.get().properties;
        let level = match &self.side {
            Side::Principal(side) => side.level() && side.acked == self.end.position,
            Side::Mirror(_) => false,
        };
        record::Level {
            me: ctx.own,
            own: self.record(),
            serves: self.q.serves && self.kept.durable().is_some(),
            safety_full: properties.safety_full && !properties.suspended && !self.q.ending,
            level: level && self.in_step() && !self.silence.is_silent(),
            by_mirror: self.q.by_mirror,
            one_witness: self.change.is_none()
                && !(self.tie.is_blank() && self.has_witness())
                && self
                    .q
                    .mirror_names
                    .is_some_and(|mirrors| witness::agree(self.names(), mirrors)),
        }
    }

    /// A principal that has restarted, or has just taken the role, opens when it may (R4).
    fn reopen(&mut self, ctx: &mut Ctx<'_>) {
        if self.q.taking {
            // The role is this member's, durably here and at another; what is missing is the timeline.
            if self.q.prepared && self.kept.durable().is_some() {
                self.q.taking = false;
                self.open(ctx);
            }
            return;
        }
        let facts = role::Reopening {
            me: ctx.own,
            own: self.record(),
            asks: self.ask().open,
            incomplete: self.kept.get().incomplete,
            mirror: self.mirror_seen(ctx.now),
            prepared: self.q.prepared,
            alone: self.is_alone(),
        };
        match role::reopen(&facts) {
            role::Reopen::Open => {
                if self.q.timeline_asked && !self.q.prepared {
                    return; // The host begins one already: first that.
                }
                if self.kept.durable().is_some() {
                    self.open(ctx);
                }
            }
            role::Reopen::Prepare => self.prepare(ctx),
            role::Reopen::Closed(_) => {}
        }
    }

    /// UNSYNC first, then, once somebody has confirmed it, a new timeline (R4, R7).
    fn prepare(&mut self, ctx: &mut Ctx<'_>) {
        if !self.q.unsynced {
            self.q.unsynced = true;
            self.raise(ctx.own, Sync::Unsync);
        } else if !self.q.timeline_asked && self.is_alone() {
            self.q.timeline_asked = true;
            self.settle(ctx, true);
        }
    }

    /// Opens to applications.
    fn open(&mut self, ctx: &mut Ctx<'_>) {
        self.q.serves = true;
        self.q.fence = None;
        self.settle(ctx, false);
        let role_sequence = self.role_sequence();
        (ctx.events)(SessionEvent::Serving { role_sequence });
    }

    /// A principal that nobody confirms any more refuses writes (I3), and goes on when somebody does. So does one that has given up
    /// FAILOVER: its writers were shut out for as long as a take-over needs, so being connected to a witness says nothing yet (R4).
    fn judge_quorum(&mut self, ctx: &mut Ctx<'_>) {
        if self.failing.is_some() || (!self.has_witness() && self.q.fence.is_none()) {
            return;
        }
        let witness = self.tie.is_bound() && !self.tie.silence.is_silent();
        let alone = self.is_alone();
        let bound = self.in_step() && !self.silence.is_silent() && self.q.mirror_ask == 0;
        // A connection that may still come back keeps it open, or its writers waiting; it opens again only when a member really confirms it.
        let hope = !self.partner_lost(ctx.now) || witness || alone;
        match self.q.fence {
            None if !hope => self.refuse_writes(ctx),
            Some(Fence::NoQuorum) if bound || witness || alone => self.let_writers_in(ctx),
            Some(Fence::Failover) if (bound && self.q.by_mirror) || alone || !self.has_witness() => {
                self.let_writers_in(ctx);
            }
            Some(Fence::Failover) if !hope => self.refuse_writes(ctx),
            _ => {}
        }
    }

    fn refuse_writes(&mut self, ctx: &mut Ctx<'_>) {
        self.q.fence = Some(Fence::NoQuorum);
        (ctx.events)(SessionEvent::Fence(Fence::NoQuorum));
    }

    fn let_writers_in(&mut self, ctx: &mut Ctx<'_>) {
        self.q.fence = None;
        let role_sequence = self.role_sequence();
        (ctx.events)(SessionEvent::Serving { role_sequence });
    }

    /// PARTNER OFF of an owner goes on when UNSYNC is confirmed (R0, story F51).
    fn drive_end(&mut self, ctx: &mut Ctx<'_>) {
        use super::decide::begin::{End, end};
        if self.q.ending && end(&self.record(), ctx.own, self.in_step(), self.is_alone()) == End::Now {
            self.finish(ctx, super::EndedBy::Operator);
        }
    }

    /// When [`Session::drive`] has something to do because of time.
    pub(crate) fn drive_wake(&self, now: Instant) -> Option<Instant> {
        if !self.is_established() {
            return None;
        }
        let lost = self.q.lost_at.filter(|at| *at > now && self.link().is_none());
        let again = (self.ask_wanted() && self.q.ask_after > now).then_some(self.q.ask_after);
        let serves = self.q.serves;
        let failing = self.failing.filter(|_| serves).map(|failing| failing.deadline);
        let change = self.change.filter(|change| change.by_operator && serves);
        [lost, again, failing, change.map(|change| change.deadline)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Refusals of commands that only an owner in a quiet moment takes.
pub(super) const BUSY: SessionError = SessionError::new(1404, Reason::RoleChanging);

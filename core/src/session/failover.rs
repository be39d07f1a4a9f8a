//! FAILOVER (`docs/safety.md` R4): writers are shut out and everything is settled under the old number; then the role is given away,
//! durably, before the mirror is told.

use super::decide::role;
use super::event::{Fence, Reason, RoleChange, SessionError, SessionEvent, SessionState};
use super::machine::{Ctx, Session, Side};
use crate::message::Sync;
use crate::time::Instant;

/// A FAILOVER that has not given the role away yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    /// When it is given up.
    pub(crate) deadline: Instant,
    /// The host has shut every writer out, and told the log up to its end.
    pub(crate) fenced: bool,
}

impl Session {
    /// FAILOVER.
    pub(crate) fn failover(&mut self, ctx: &mut Ctx<'_>) -> Result<(), SessionError> {
        self.as_owner()?;
        if !self.kept.get().properties.safety_full {
            return Err(SessionError::new(1477, Reason::SafetyOff));
        }
        if self.failing.is_some() || self.change.is_some() || self.q.taking || self.q.ending {
            return Err(super::serving::BUSY);
        }
        if !self.in_step() || self.silence.is_silent() {
            return Err(SessionError::new(1447, Reason::NotConnected));
        }
        if self.kept.get().incomplete {
            return Err(SessionError::new(1455, Reason::Incomplete));
        }
        let synchronized = self.state() == SessionState::Synchronized && self.record().sync == Sync::Sync;
        if !synchronized || !self.q.serves {
            return Err(SessionError::new(1422, Reason::NotSynchronized));
        }
        self.failing = Some(Failing {
            deadline: ctx.now.after(self.timeout()),
            fenced: false,
        });
        (ctx.events)(SessionEvent::Fence(Fence::Failover));
        Ok(())
    }

    /// The host has shut writers out.
    pub(crate) fn fenced(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(failing) = &mut self.failing {
            failing.fenced = true;
        }
        if self.q.fencing {
            self.q.fencing = false;
            // What was still captured is part of the log that this mirror states.
            self.flow_anew();
            if let Side::Mirror(side) = &mut self.side {
                side.inflow.restart(self.end.position);
            }
            self.ask_rewind(ctx);
        }
    }

    /// Gives the role away when everything is settled, or gives up.
    pub(super) fn drive_failover(&mut self, ctx: &mut Ctx<'_>) {
        let Some(failing) = self.failing else { return };
        let lost = self.partner_lost(ctx.now) || self.record().sync != Sync::Sync;
        if failing.deadline <= ctx.now || lost {
            self.failing = None;
            let why = if lost {
                SessionError::new(1447, Reason::NotConnected)
            } else if failing.fenced {
                SessionError::new(1422, Reason::NotSynchronized)
            } else {
                SessionError::new(1404, Reason::WritersStay)
            };
            (ctx.events)(SessionEvent::FailoverFailed(why));
            // Its writers are shut out, and come back when it is known that it may still serve. The mirror may have taken over meanwhile: what it
            // confirmed before says nothing now, however alive its connection looks, so it is shown the record again.
            self.q.fence = Some(Fence::Failover);
            self.q.by_mirror = false;
            self.due.record = self.link().is_some();
            return;
        }
        let Side::Principal(side) = &self.side else { return };
        let level = side.streaming && side.acked == self.end.position && self.in_step();
        let facts = role::Failover {
            me: ctx.own,
            mirror: self.partner().instance,
            own: self.record(),
            serves: self.q.serves && self.kept.durable().is_some(),
            settled: failing.fenced && self.q.acknowledged == self.end.position,
            level,
            by_mirror: self.q.by_mirror,
            incomplete: self.kept.get().incomplete,
        };
        if let Some(record) = role::failover(&facts) {
            let end = self.end;
            self.set_record(ctx.own, record);
            self.yield_role(ctx, RoleChange::Failover);
            self.due.propose = Some((record, end));
        }
    }
}

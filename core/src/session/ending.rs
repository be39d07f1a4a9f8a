//! How a session ends (`docs/safety.md` R0): a durable tombstone, told to the partner when it can be; only a tombstone ends the
//! other side.

use super::decide::begin;
use super::event::{EndedBy, Fence, Reason, RoleChange, SessionError, SessionEvent};
use super::machine::{Ctx, Session};
use super::stored::StoredPhase;
use super::view::Role;
use crate::message::codec::Tombstone;

/// An end under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Over {
    by: EndedBy,
    /// The tombstone is durable.
    pub(crate) durable: bool,
    /// The partner is still to be told over the binding.
    pub(crate) tell: bool,
    /// So is the witness.
    pub(crate) tell_witness: bool,
}

impl Over {
    /// Whether the tombstone may be said to the witness.
    pub(crate) const fn may_tell_witness(&self) -> bool {
        self.durable && self.tell_witness
    }

    /// Whether the tombstone may be said.
    pub(crate) const fn may_tell(&self) -> bool {
        self.durable && self.tell
    }
}

impl Session {
    /// PARTNER OFF here.
    ///
    /// # Errors
    /// 1416 when it is over already.
    pub(crate) fn end(&mut self, ctx: &mut Ctx<'_>) -> Result<(), SessionError> {
        if self.over.is_some() || self.done {
            return Err(SessionError::new(1416, Reason::NotMirrored));
        }
        if self.starting.is_some_and(|starting| !starting.accepted) {
            self.start_failed(ctx, SessionError::new(1413, Reason::Ended));
            return Ok(());
        }
        let live = self.in_step() && !self.silence.is_silent() && self.q.serves && !self.kept.get().clash;
        if begin::end(&self.record(), ctx.own, live, self.is_alone()) == begin::End::ConfirmFirst {
            self.q.ending = true; // `drive_end` goes on: the mirror may take over until UNSYNC is confirmed (story F51).
            return Ok(());
        }
        self.finish(ctx, EndedBy::Operator);
        Ok(())
    }

    /// The partner's operator ended it. Who the higher of the two records names goes on alone, the other stays a closed mirror; an
    /// incomplete principal is not ended (R0, R6).
    pub(crate) fn heard_tombstone(&mut self, ctx: &mut Ctx<'_>, tombstone: &Tombstone) {
        if self.over.is_some() || self.done {
            return;
        }
        let role = match self.after_tombstone(ctx.own, &tombstone.record) {
            begin::AfterEnd::StayIncomplete => return,
            begin::AfterEnd::Alone => Role::Principal,
            begin::AfterEnd::ClosedMirror => Role::Mirror,
        };
        if role != self.role() {
            if role == Role::Mirror {
                (ctx.events)(SessionEvent::Fence(Fence::Yielded));
            }
            self.kept.change(|stored| stored.role = role);
            (ctx.events)(SessionEvent::RoleChanged {
                role,
                role_sequence: self.role_sequence().max(tombstone.record.role_sequence),
                why: RoleChange::Yielded,
                at: self.end.position,
            });
        }
        self.finish(ctx, EndedBy::Partner);
    }

    pub(super) fn finish(&mut self, ctx: &mut Ctx<'_>, by: EndedBy) {
        let tell = by == EndedBy::Operator && self.binding.is_some();
        self.over = Some(Over {
            by,
            durable: false,
            tell,
            tell_witness: self.tie.is_bound(),
        });
        self.starting = None;
        self.answering = None;
        self.accept_on = None;
        let database = self.database();
        ctx.storage.seed_close(database);
        ctx.storage.seed_abort(database);
        self.kept.change(|stored| stored.phase = StoredPhase::Ended);
        // An owner that learned from the end that it had yielded has a closed copy: nothing is captured there.
        if self.role() == Role::Principal {
            self.settle(ctx, false);
        }
    }

    /// The tombstone is durable.
    pub(crate) fn end_persisted(&mut self, ctx: &mut Ctx<'_>) {
        let Some(over) = &mut self.over else { return };
        if !over.durable {
            over.durable = true;
            (ctx.events)(SessionEvent::Ended { by: over.by });
        }
        self.done = !over.tell && !over.tell_witness;
    }

    /// The tombstone was said to the partner, or to the witness. When nobody is left to hear it, nothing is left to do.
    pub(crate) const fn told(&mut self, partner: bool, witness: bool) {
        let Some(over) = &mut self.over else { return };
        over.tell &= !partner;
        over.tell_witness &= !witness;
        self.done = !over.tell && !over.tell_witness;
    }

    /// The binding broke: the partner learns of the end when it says hello again.
    pub(super) const fn partner_untold(&mut self) {
        if let Some(over) = &mut self.over {
            over.tell = false;
            self.done |= over.durable && !over.tell_witness;
        }
    }

    /// The connection to the witness is gone: it hears of the end from whoever says so next.
    pub(super) const fn witness_untold(&mut self) {
        if let Some(over) = &mut self.over {
            over.tell_witness = false;
            self.done |= over.durable && !over.tell;
        }
    }
}

//! How a session ends (`docs/safety.md` R0): a durable tombstone, told to the partner when it can be; only a tombstone ends the
//! other side.

use super::event::{EndedBy, Reason, SessionError, SessionEvent};
use super::machine::{Ctx, Session};
use super::stored::StoredPhase;
use crate::message::codec::Tombstone;

/// An end under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Over {
    by: EndedBy,
    /// The tombstone is durable.
    durable: bool,
    /// The partner is still to be told over the binding.
    pub(crate) tell: bool,
}

impl Over {
    /// The binding broke: the partner learns of the end when it says hello again.
    pub(crate) const fn unbound(&mut self) {
        self.tell = false;
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
        self.finish(ctx, EndedBy::Operator);
        Ok(())
    }

    /// The partner's operator ended it. A principal goes on alone: the record names it, here and there, since no role has
    /// changed; a mirror stays closed.
    pub(crate) fn heard_tombstone(&mut self, ctx: &mut Ctx<'_>, _tombstone: &Tombstone) {
        if self.over.is_none() && !self.done {
            self.finish(ctx, EndedBy::Partner);
        }
    }

    fn finish(&mut self, ctx: &mut Ctx<'_>, by: EndedBy) {
        let tell = by == EndedBy::Operator && self.binding.is_some();
        self.over = Some(Over {
            by,
            durable: false,
            tell,
        });
        self.starting = None;
        self.answering = None;
        self.accept_on = None;
        let database = self.database();
        ctx.storage.seed_close(database);
        ctx.storage.seed_abort(database);
        self.kept.change(|stored| stored.phase = StoredPhase::Ended);
        self.settle(ctx, false);
    }

    /// The tombstone is durable.
    pub(crate) fn end_persisted(&mut self, ctx: &mut Ctx<'_>) {
        let Some(over) = &mut self.over else { return };
        if !over.durable {
            over.durable = true;
            (ctx.events)(SessionEvent::Ended { by: over.by });
        }
        self.done = !over.tell;
    }

    /// The tombstone was said; nothing is left to do.
    pub(crate) fn told(&mut self) {
        self.done = true;
    }
}

//! The mirror asks for the role, and an operator forces it (`docs/safety.md` R3, R8).

use super::decide::force::{self, ForceRefused, Forcing};
use super::decide::takeover::{self, Asking};
use super::decide::witness::Keeping;
use super::event::{Reason, RoleChange, SessionError, SessionEvent};
use super::machine::{Ctx, Session, Side};
use super::view::Role;
use crate::message::Sync;
use crate::message::codec::Ask as AskMessage;
use crate::time::Instant;

impl Session {
    fn asking(&self, me: crate::message::InstanceId, now: Instant) -> Asking {
        Asking {
            me,
            own: self.record(),
            ask: self.ask(),
            owner_lost: self.partner_lost(now),
            may_take_over: self.q.may_take_over,
            witness_bound: self.tie.is_bound() && !self.tie.silence.is_silent(),
            witness_pending: self.kept.get().witness_pending,
            incomplete: self.kept.get().incomplete,
        }
    }

    /// Whether a later ask is only a matter of time.
    pub(super) fn ask_wanted(&self) -> bool {
        self.role() == Role::Mirror
            && self.record().sync == Sync::Sync
            && self.q.may_take_over
            && self.tie.is_bound()
            && !self.ask().open
    }

    /// A mirror whose owner is lost asks the witness, if it may.
    pub(super) fn drive_ask(&mut self, ctx: &mut Ctx<'_>) {
        if self.q.ask_after > ctx.now || self.kept.durable().is_none() || self.kept.get().clash {
            return;
        }
        if let Some(ask) = takeover::ask(&self.asking(ctx.own, ctx.now)) {
            self.open_ask(ask);
        }
    }

    /// Persists an ask; it is sent when it is durable.
    fn open_ask(&mut self, ask: takeover::Ask) {
        self.kept.change(|stored| {
            stored.ask = ask.number;
            stored.ask_open = ask.open;
            stored.ask_force = ask.force;
        });
        self.q.ask_here = true;
        self.tie.ask_due = true;
    }

    /// The ask as it is sent, while it is open and durable.
    pub(super) fn ask_message(&self) -> Option<AskMessage> {
        let stored = self.kept.durable()?;
        stored.ask_open.then(|| AskMessage {
            guid: stored.guid,
            number: stored.ask,
            record: stored.record,
            timeout: u32::from(stored.properties.timeout).saturating_mul(1_000),
            force: stored.ask_force,
        })
    }

    /// The ask is answered, or cannot be any more. While it was open nothing was taken from the owner, whose hello showed it: the log is
    /// taken up anew by a hello that shows none.
    pub(super) fn close_ask(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.ask();
        self.kept.change(|stored| stored.ask_open = false);
        self.q.ask_here = false;
        self.q.ask_after = ctx.now.after(super::quorum::ASK_AGAIN);
        let said = self.binding.is_some_and(|binding| binding.hello_sent);
        if !takeover::closing_says_hello(&before, &self.ask(), said) {
            return;
        }
        if matches!(self.side, Side::Mirror(_)) {
            self.take_up_anew();
        } else {
            self.hello_again(true);
        }
    }

    /// FORCE_SERVICE_ALLOW_DATA_LOSS.
    pub(crate) fn force_service(&mut self, ctx: &mut Ctx<'_>) -> Result<(), SessionError> {
        if !self.is_established() {
            return Err(SessionError::new(1416, Reason::NotMirrored));
        }
        if self.q.taking || self.kept.durable().is_none() {
            return Err(super::serving::BUSY);
        }
        let shown = match self.tie.heard {
            Some(Some(record)) if self.tie.is_bound() => Some(Keeping::Record(record)),
            _ => None,
        };
        let facts = Forcing {
            me: ctx.own,
            own: self.record(),
            ask: self.ask(),
            serves: self.q.serves && self.owns(ctx.own),
            partner_bound: self.binding.is_some_and(|binding| binding.hello_sent)
                && !self.silence.is_silent(),
            clash: self.kept.get().clash,
            highest: self.q.highest,
            witness: self.has_witness().then_some(shown),
            witness_pending: self.kept.get().witness_pending,
            incomplete: self.kept.get().incomplete,
        };
        match force::force(&facts) {
            force::Force::Ask(ask) => {
                self.q.forcing = true;
                self.open_ask(ask);
                Ok(())
            }
            force::Force::Open(record) => {
                self.take_role(ctx, record, None, RoleChange::Forced);
                Ok(())
            }
            force::Force::Refused(why) => Err(match why {
                ForceRefused::PartnerConnected => SessionError::new(1455, Reason::PartnerConnected),
                ForceRefused::NoWitness => SessionError::new(1431, Reason::NoQuorum),
                ForceRefused::Busy => SessionError::new(1404, Reason::Busy),
            }),
        }
    }

    /// The binding to the witness died with a forced ask under way: it stays open, and its outcome is told by the witness's next hello.
    pub(super) fn force_interrupted(&mut self, ctx: &mut Ctx<'_>) {
        if core::mem::take(&mut self.q.forcing) {
            (ctx.events)(SessionEvent::ForceRefused(SessionError::new(
                1431,
                Reason::NoQuorum,
            )));
        }
    }
}

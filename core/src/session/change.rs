//! The witness is registered, changed, removed (`docs/safety.md` R5). Every step is repeated on the next binding; which one is
//! next is [`super::decide::witness`]'s to say.

use super::decide::witness::{self, Registration};
use super::event::{Reason, SessionError, SessionEvent, SessionState};
use super::machine::{Ctx, Session};
use super::tie::Tie;
use crate::message::{Address, InstanceId, Sync};
use crate::time::Instant;

/// Numbers of a record.
type Numbers = (u32, u64);

/// A change of witness that the owner is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// What it leads to; none for OFF.
    pub(crate) target: Tie,
    /// An operator asked for it, and hears how it ends.
    pub(crate) by_operator: bool,
    /// When an operator's is given up while the target does not answer.
    pub(crate) deadline: Instant,
    /// This change has recorded its UNSYNC.
    raised: bool,
    /// The mirror was told, over this binding, at these numbers.
    told_at: Option<Numbers>,
    /// The mirror names the target as pending at these numbers.
    pub(crate) mirror_pending_at: Option<Numbers>,
    /// REGISTER was sent to the target, over its binding, at these numbers.
    pub(crate) registered_at: Option<Numbers>,
    /// The target has shown the own record with these numbers.
    pub(crate) by_target_at: Option<Numbers>,
    /// WITNESS OFF with the mirror away: the request that the old witness has.
    pub(crate) drop_request: Option<u64>,
}

impl Change {
    pub(super) fn to(target: Tie, by_operator: bool, deadline: Instant) -> Self {
        Self {
            target,
            by_operator,
            deadline,
            raised: false,
            told_at: None,
            mirror_pending_at: None,
            registered_at: None,
            by_target_at: None,
            drop_request: None,
        }
    }

    pub(crate) fn target_instance(&self) -> Option<InstanceId> {
        (!self.target.is_none()).then_some(self.target.instance)
    }
}

/// A blank witness is registered by who is confirmed *again* by its mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ShownAgain {
    /// Not asked for yet.
    #[default]
    No,
    /// The mirror was asked, under that request.
    Asked(u64),
    /// It has shown the record.
    Confirmed,
    /// REGISTER was sent, under that request.
    Registered(u64),
}

impl ShownAgain {
    pub(crate) fn forget(&mut self) {
        *self = Self::No;
    }

    pub(crate) fn confirmed(&mut self, request: u64) {
        if *self == Self::Asked(request) {
            *self = Self::Confirmed;
        }
    }

    pub(crate) fn is_registered(self, request: u64) -> bool {
        self == Self::Registered(request)
    }
}

impl Session {
    fn numbers(&self) -> Numbers {
        let own = self.record();
        (own.role_sequence, own.sync_sequence)
    }

    fn next_request(&mut self) -> u64 {
        self.requests = self.requests.saturating_add(1);
        self.requests
    }

    fn may_change_witness(&self) -> Result<(), SessionError> {
        self.as_owner()?;
        if self.change.is_some() || self.failing.is_some() || self.q.taking {
            return Err(SessionError::new(1404, Reason::RoleChanging));
        }
        if !self.q.serves {
            return Err(SessionError::new(1428, Reason::WrongState));
        }
        Ok(())
    }

    /// SET WITNESS.
    pub(crate) fn set_witness(&mut self, ctx: &mut Ctx<'_>, address: Address) -> Result<(), SessionError> {
        self.may_change_witness()?;
        if address.is_empty() {
            return Err(SessionError::new(1449, Reason::BadAddress));
        }
        if address == self.kept.get().partner {
            return Err(SessionError::new(1429, Reason::WitnessIsPartner));
        }
        if self.has_witness() && address == self.tie.address {
            return Err(SessionError::new(1446, Reason::WitnessSame));
        }
        let level = matches!(
            self.state(),
            SessionState::Synchronized | SessionState::Synchronizing
        );
        if !level || !self.in_step() {
            return Err(SessionError::new(1426, Reason::NotSynchronized));
        }
        let deadline = ctx.now.after(self.timeout());
        let target = Tie::new(address, 0, InstanceId::default());
        self.change = Some(Change::to(target, true, deadline));
        Ok(())
    }

    /// SET WITNESS OFF.
    pub(crate) fn witness_off(&mut self, ctx: &mut Ctx<'_>) -> Result<(), SessionError> {
        self.may_change_witness()?;
        if !self.has_witness() {
            return Err(SessionError::new(1439, Reason::WitnessNone));
        }
        if !(self.in_step() || self.tie.is_bound() || self.tie.is_blank()) {
            return Err(SessionError::new(1431, Reason::NoQuorum));
        }
        let deadline = ctx.now.after(self.timeout());
        self.change = Some(Change::to(Tie::default(), true, deadline));
        Ok(())
    }

    /// Drives a change of witness on by a step, or finds that one is needed.
    pub(super) fn drive_change(&mut self, ctx: &mut Ctx<'_>) {
        let Some(change) = self.change else {
            self.impose(ctx);
            return;
        };
        if change.by_operator && change.deadline <= ctx.now {
            // The owner's present witness is imposed again, if the mirror had gone ahead.
            self.change = None;
            let late = if change.target.is_none() {
                SessionError::new(1431, Reason::NoQuorum)
            } else if change.target.login == 0 {
                SessionError::new(1456, Reason::Unreachable)
            } else {
                SessionError::new(1426, Reason::NoAnswer)
            };
            (ctx.events)(SessionEvent::WitnessRefused(late));
            return;
        }
        if !change.target.is_none() && change.target.login == 0 {
            return; // Not met yet.
        }
        if change.target.is_none() && self.link().is_none() {
            self.drop_alone(ctx);
            return;
        }
        let now = self.numbers();
        let same = change.target_instance() == self.names().witness;
        let next = witness::change(&witness::Changing {
            me: ctx.own,
            own: self.record(),
            serves: self.q.serves,
            target: change.target_instance(),
            raised: change.raised,
            by_mirror: self.q.by_mirror && self.in_step(),
            mirror_pending: change.mirror_pending_at == Some(now),
            by_target: change.by_target_at == Some(now) || (same && self.q.by_witness),
        });
        match next {
            witness::Change::Unsync => {
                self.raise(ctx.own, Sync::Unsync);
                if let Some(change) = &mut self.change {
                    change.raised = true;
                }
            }
            witness::Change::TellMirror if change.told_at != Some(now) => {
                if let Some(change) = &mut self.change {
                    change.told_at = Some(now);
                }
                self.due.name = Some(true);
            }
            witness::Change::Register if change.registered_at != Some(now) => {
                let request = self.next_request();
                if let Some(change) = &mut self.change
                    && change.target.link.is_some()
                {
                    change.registered_at = Some(now);
                    change.target.register_due = Some(request);
                }
            }
            witness::Change::Adopt => self.adopt_witness(ctx),
            witness::Change::TellMirror | witness::Change::Register | witness::Change::Wait => {}
        }
    }

    /// The target, or the witness itself while it is imposed, has shown a record.
    pub(super) fn target_showed(&mut self, shown: &crate::message::Record) {
        let (own, now) = (self.record(), self.numbers());
        if super::decide::record::confirms(&own, shown, false)
            && let Some(change) = &mut self.change
        {
            change.by_target_at = Some(now);
        }
    }

    fn adopt_witness(&mut self, ctx: &mut Ctx<'_>) {
        let Some(change) = self.change.take() else { return };
        let (old, own) = (self.tie, self.record());
        let target = change.target;
        let same = target.instance == old.instance && !target.is_none();
        self.kept.change(|stored| {
            stored.witness = target.instance;
            stored.witness_address = target.address;
            stored.witness_login = target.login;
            stored.witness_pending = false;
            stored.witness_role_sequence = own.role_sequence;
            stored.witness_sync_sequence = own.sync_sequence;
        });
        if same {
            self.tie.address = target.address;
        } else {
            self.tie = target;
            self.q.by_witness = change.by_target_at == Some((own.role_sequence, own.sync_sequence));
            self.shown_again.forget();
            if !old.is_none() && old.link.is_some() {
                self.retired = Some(Tie {
                    drop_due: Some(0),
                    ..old
                });
            }
        }
        self.due.name = Some(false);
        // What the mirror names is known again from its answer; before that nothing is imposed, and no SYNC recorded.
        self.q.mirror_names = None;
        if change.by_operator {
            self.witness_told = true;
        }
        self.tell_witness_changed(ctx);
    }

    /// The partners name different witnesses: the owner's is imposed by the same steps (R5).
    fn impose(&mut self, ctx: &mut Ctx<'_>) {
        let Some(mirrors) = self.q.mirror_names else {
            return;
        };
        if !self.in_step() || !self.q.serves || witness::agree(self.names(), mirrors) {
            return;
        }
        let deadline = ctx.now;
        self.change = Some(Change::to(self.tie, false, deadline));
    }

    /// WITNESS OFF with the mirror away.
    fn drop_alone(&mut self, ctx: &mut Ctx<'_>) {
        let Some(change) = self.change else { return };
        if self.record().sync == Sync::Sync || !change.raised {
            self.raise(ctx.own, Sync::Unsync);
            if let Some(change) = &mut self.change {
                change.raised = true;
            }
        } else if change.drop_request.is_none() && self.tie.link.is_some() && self.kept.durable().is_some() {
            let request = self.next_request();
            self.tie.drop_due = Some(request);
            if let Some(change) = &mut self.change {
                change.drop_request = Some(request);
            }
        }
    }

    /// The old witness has the *dropped* mark: this owner has none from here on.
    pub(super) fn witness_dropped(&mut self, ctx: &mut Ctx<'_>) {
        let own = self.record();
        let by_operator = self.change.take().is_some_and(|change| change.by_operator);
        self.kept.change(|stored| {
            stored.witness = InstanceId::default();
            stored.witness_address = Address::EMPTY;
            stored.witness_login = 0;
            stored.witness_pending = false;
            stored.witness_role_sequence = own.role_sequence;
            stored.witness_sync_sequence = own.sync_sequence;
        });
        self.tie = Tie::default();
        self.q.by_witness = false;
        self.witness_told |= by_operator;
        self.tell_witness_changed(ctx);
    }

    /// Tells a change of witness once it is durable.
    pub(super) fn tell_witness_changed(&mut self, ctx: &mut Ctx<'_>) {
        if self.witness_told && self.kept.durable().is_some() {
            self.witness_told = false;
            (ctx.events)(SessionEvent::WitnessChanged);
        }
    }

    /// Drives the registration at a witness that has no record on by a step.
    pub(super) fn drive_registration(&mut self, ctx: &mut Ctx<'_>) {
        if self.change.is_some() || !self.has_witness() {
            return;
        }
        let next = witness::register(&witness::Registering {
            me: ctx.own,
            own: self.record(),
            serves: self.q.serves,
            blank: self.tie.is_blank(),
            confirmed_again: matches!(
                self.shown_again,
                ShownAgain::Confirmed | ShownAgain::Registered(_)
            ),
        });
        match next {
            Registration::Unsync => self.raise(ctx.own, Sync::Unsync),
            Registration::Confirm if self.shown_again == ShownAgain::No && self.in_step() => {
                let request = self.next_request();
                self.shown_again = ShownAgain::Asked(request);
                self.due.show = Some(request);
            }
            Registration::Register if self.shown_again == ShownAgain::Confirmed => {
                let request = self.next_request();
                self.shown_again = ShownAgain::Registered(request);
                self.tie.register_due = Some(request);
            }
            Registration::No | Registration::Confirm | Registration::Register => {}
        }
    }

    /// The binding to the partner is gone: what it has shown of a change is to be shown again.
    pub(super) fn change_unbound(&mut self) {
        if let Some(change) = &mut self.change {
            change.told_at = None;
            change.mirror_pending_at = None;
        }
        self.shown_again.forget();
    }
}

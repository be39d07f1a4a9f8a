//! SAFETY, time-out and suspension: versioned, and the owner's value wins (`docs/safety.md` R10).

use super::command::Safety;
use super::event::{Reason, SessionError, SessionEvent};
use super::machine::{Ctx, Session};
use super::view::Role;
use crate::message::codec::{AskSuspend, Properties};

/// The least partner time-out that an operator may set, in seconds; less is raised to it.
pub(crate) const TIMEOUT_MIN: u16 = 5;
/// The most (1476).
pub(crate) const TIMEOUT_MAX: u16 = 32_767;

impl Session {
    pub(super) fn as_owner(&self) -> Result<(), SessionError> {
        if !self.is_established() {
            return Err(SessionError::new(1416, Reason::NotMirrored));
        }
        if self.role() != Role::Principal {
            return Err(SessionError::new(1470, Reason::OnlyPrincipal));
        }
        Ok(())
    }

    fn change_properties(&mut self, ctx: &mut Ctx<'_>, change: impl FnOnce(&mut Properties)) {
        self.kept.change(|stored| change(&mut stored.properties));
        if let Some(side) = self.principal() {
            side.properties_due = true;
            side.status_due = true;
        }
        (ctx.events)(SessionEvent::PropertiesChanged);
    }

    /// SET PARTNER SAFETY.
    pub(crate) fn set_safety(&mut self, ctx: &mut Ctx<'_>, safety: Safety) -> Result<(), SessionError> {
        self.as_owner()?;
        if self.kept.get().safety() != safety {
            self.change_properties(ctx, |properties| {
                properties.safety_full = safety == Safety::Full;
                properties.safety_sequence = properties.safety_sequence.saturating_add(1);
            });
        }
        Ok(())
    }

    /// SET PARTNER TIMEOUT.
    pub(crate) fn set_timeout(&mut self, ctx: &mut Ctx<'_>, seconds: u16) -> Result<(), SessionError> {
        self.as_owner()?;
        if seconds > TIMEOUT_MAX {
            return Err(SessionError::new(1476, Reason::BadValue));
        }
        let seconds = seconds.max(TIMEOUT_MIN);
        if self.kept.get().properties.timeout != seconds {
            self.change_properties(ctx, |properties| {
                properties.timeout = seconds;
                properties.timeout_sequence = properties.timeout_sequence.saturating_add(1);
            });
        }
        Ok(())
    }

    /// SET PARTNER SUSPEND or RESUME. On the mirror the principal is asked.
    pub(crate) fn set_suspended(&mut self, ctx: &mut Ctx<'_>, suspend: bool) -> Result<(), SessionError> {
        if !self.is_established() {
            return Err(SessionError::new(1416, Reason::NotMirrored));
        }
        if !(self.is_bound() || suspend && self.role() == Role::Principal) {
            return Err(SessionError::new(1447, Reason::NotConnected));
        }
        if !suspend {
            self.may_resume()?;
        }
        if self.kept.get().properties.suspended == suspend {
            return if suspend {
                Ok(())
            } else {
                Err(SessionError::new(1447, Reason::NotSuspended))
            };
        }
        if let Some(side) = self.mirror() {
            side.ask_suspend = Some(suspend);
            return Ok(());
        }
        self.apply_suspended(ctx, suspend);
        Ok(())
    }

    /// A principal's file is refused, which suspends the session, or is not any more, which resumes nothing.
    pub(crate) fn file_refused(&mut self, ctx: &mut Ctx<'_>, refused: bool) {
        let suspended = self.kept.get().properties.suspended;
        let Some(side) = self.principal() else { return };
        side.file_refused = refused;
        if refused && !suspended && self.is_established() {
            self.apply_suspended(ctx, true);
        }
    }

    fn may_resume(&mut self) -> Result<(), SessionError> {
        match self.principal() {
            Some(side) if side.file_refused => Err(SessionError::new(5173, Reason::FileRefused)),
            _ => Ok(()),
        }
    }

    /// A principal's session goes on that its own side had suspended because of its file, which its operator has accepted by now:
    /// also while the mirror is away, which hears of it in the next hello.
    pub(crate) fn lift_suspension(&mut self, ctx: &mut Ctx<'_>) {
        let suspended = self.kept.get().properties.suspended;
        let Some(side) = self.principal() else { return };
        side.file_refused = false;
        if self.is_established() && suspended {
            self.apply_suspended(ctx, false);
        }
    }

    fn apply_suspended(&mut self, ctx: &mut Ctx<'_>, suspend: bool) {
        self.change_properties(ctx, |properties| {
            properties.suspended = suspend;
            properties.suspended_sequence = properties.suspended_sequence.saturating_add(1);
        });
        let now = ctx.now;
        if let Some(side) = self.principal() {
            side.synced = false;
            if side.left_behind {
                side.left_behind_from(now);
            }
        }
        self.open_seed(ctx);
    }

    /// The mirror's operator asks to suspend or resume; void if the numbers have moved since.
    ///
    /// # Errors
    /// What the mirror is answered.
    pub(crate) fn suspend_asked(&mut self, ctx: &mut Ctx<'_>, ask: &AskSuspend) -> Result<(), SessionError> {
        let properties = self.kept.get().properties;
        if ask.suspended_sequence != properties.suspended_sequence {
            return Err(SessionError::new(1424, Reason::Newer));
        }
        if !ask.suspend
            && let Err(error) = self.may_resume()
        {
            (ctx.events)(SessionEvent::ResumeRefused);
            return Err(error);
        }
        if properties.suspended != ask.suspend {
            self.apply_suspended(ctx, ask.suspend);
        }
        Ok(())
    }

    /// The partner's values came, by hello or by themselves. A mirror takes the principal's; a principal whose mirror knows
    /// others sends its own.
    pub(crate) fn properties_heard(&mut self, ctx: &mut Ctx<'_>, role_sequence: u32, theirs: &Properties) {
        let own = self.kept.get().properties;
        if role_sequence != self.role_sequence() || own == *theirs {
            return;
        }
        if let Some(side) = self.principal() {
            side.properties_due = true;
            return;
        }
        // Under one role_sequence the owner's value is the value, also where its number is lower than one that an earlier owner's had
        // (story F23).
        if (1..=TIMEOUT_MAX).contains(&theirs.timeout) {
            self.kept.change(|stored| stored.properties = *theirs);
            (ctx.events)(SessionEvent::PropertiesChanged);
        }
    }
}

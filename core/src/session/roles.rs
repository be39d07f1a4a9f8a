//! Changes of role and of witness (`docs/safety.md` R3 to R5, R8): what operators ask for and how it goes on.

use super::event::{Reason, SessionError};
use super::machine::{Ctx, Session};
use crate::message::{Address, LogEnd, Position};

const NOT_YET: SessionError = SessionError::new(1428, Reason::NotSupported);

impl Session {
    /// SET WITNESS.
    pub(crate) fn set_witness(&mut self, _: &mut Ctx<'_>, _: Address) -> Result<(), SessionError> {
        Err(NOT_YET)
    }

    /// SET WITNESS OFF.
    pub(crate) fn witness_off(&mut self, _: &mut Ctx<'_>) -> Result<(), SessionError> {
        Err(NOT_YET)
    }

    /// FAILOVER.
    pub(crate) fn failover(&mut self, _: &mut Ctx<'_>) -> Result<(), SessionError> {
        Err(NOT_YET)
    }

    /// FORCE_SERVICE_ALLOW_DATA_LOSS.
    pub(crate) fn force_service(&mut self, _: &mut Ctx<'_>) -> Result<(), SessionError> {
        Err(NOT_YET)
    }

    /// The host has shut writers out.
    pub(crate) fn fenced(&mut self, _: &mut Ctx<'_>) {}

    /// The host has undone what the fork left behind.
    pub(crate) fn rewound(&mut self, _: &mut Ctx<'_>, _: LogEnd) {}

    /// The host cannot undo it.
    pub(crate) fn cannot_rewind(&mut self, _: &mut Ctx<'_>) {}

    /// Up to where waiting applications may be told *committed*.
    pub(crate) fn acknowledged_to(&self) -> Position {
        Position::START
    }
}

//! The principal's side of a seed: a snapshot is opened, read piece by piece, and acknowledged by the mirror as a whole. One that fails
//! is tried again, later each time.

use super::event::{Reason, ReseedReason, SessionError, SessionEvent};
use super::machine::{Ctx, Session};
use super::storage::{SeedInfo, SeedOpen, StorageError};
use crate::message::{DatabaseSum, Position};

/// A seed being sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SeedOut {
    /// The storage prepares the snapshot.
    Opening,
    /// Pieces go out from `offset` on.
    Sending {
        info: SeedInfo,
        begun: bool,
        offset: u64,
        /// The storage has nothing at the moment.
        pending: bool,
    },
    /// Everything was read; the end is to be said, or was.
    Ended {
        info: SeedInfo,
        sum: DatabaseSum,
        said: bool,
    },
}

impl Session {
    /// The mirror's copy cannot go on from where it is: a seed takes its place.
    pub(crate) fn reseed(&mut self, ctx: &mut Ctx<'_>, why: ReseedReason, at: Position) {
        let database = self.database();
        let Some(side) = self.principal() else { return };
        side.streaming = false;
        side.compared = true;
        side.left_behind = false;
        side.synced = false;
        side.adopt = None;
        if side.seed.take().is_some() {
            ctx.storage.seed_close(database);
        }
        side.seed_due = Some((ctx.now, why));
        (ctx.events)(SessionEvent::Reseed { why, at });
        // Where the mirror holds another continuation of this timeline, ours must not be mistaken for it.
        if matches!(why, ReseedReason::CannotAdopt | ReseedReason::ChainMismatch) {
            self.fork_off(ctx);
        }
        self.open_seed(ctx);
    }

    /// The mirror asks for a seed by a message of its own.
    pub(crate) fn seed_asked(&mut self, ctx: &mut Ctx<'_>) {
        let at = self.principal().map_or(Position::START, |side| side.acked);
        if self
            .principal()
            .is_some_and(|side| side.seed.is_none() && side.seed_due.is_none())
        {
            self.reseed(ctx, ReseedReason::Asked, at);
        }
    }

    /// Opens the snapshot when that is due.
    pub(crate) fn open_seed(&mut self, ctx: &mut Ctx<'_>) {
        self.open_or_ask_seed(ctx, false);
    }

    /// The same; with `ask` also asks again whether a snapshot that is being prepared is there.
    fn open_or_ask_seed(&mut self, ctx: &mut Ctx<'_>, ask: bool) {
        let (database, timelines) = (self.database(), self.kept.get().timelines);
        let suspended = self.kept.get().properties.suspended;
        let in_step = self.in_step();
        let Some(side) = self.principal() else { return };
        let opening = ask && matches!(side.seed, Some(SeedOut::Opening));
        let due = side.seed.is_none() && side.seed_due.is_some_and(|(at, _)| at <= ctx.now);
        if !in_step || suspended || !(opening || due) {
            return;
        }
        match ctx.storage.seed_open(database) {
            Ok(SeedOpen::Pending) => side.seed = Some(SeedOut::Opening),
            Ok(SeedOpen::Ready(info)) => {
                let info = SeedInfo {
                    timelines: timelines.until(info.at.position.sequence),
                    ..info
                };
                side.seed = Some(SeedOut::Sending {
                    info,
                    begun: false,
                    offset: 0,
                    pending: false,
                });
                (ctx.events)(SessionEvent::SeedStarted {
                    at: info.at.position,
                    bytes: info.bytes,
                });
            }
            Err(error) => self.seed_failed(ctx, SessionError::new(1454, Reason::Storage), Some(error)),
        }
    }

    /// The seed on its way has failed; it is tried again later.
    pub(crate) fn seed_failed(
        &mut self,
        ctx: &mut Ctx<'_>,
        error: SessionError,
        storage: Option<StorageError>,
    ) {
        let database = self.database();
        let Some(side) = self.principal() else { return };
        let why = side.seed_due.map_or(ReseedReason::Asked, |(_, why)| why);
        side.seed = None;
        let at = side.retry(ctx.now);
        side.seed_due = Some((at, why));
        ctx.storage.seed_close(database);
        if let Some(storage) = storage {
            (ctx.events)(SessionEvent::StorageFailed(storage));
        }
        (ctx.events)(SessionEvent::SeedFailed(error));
    }

    /// The storage has bytes of the snapshot again, or the snapshot itself.
    pub(crate) fn seed_ready(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(side) = self.principal()
            && let Some(SeedOut::Sending { pending, .. }) = &mut side.seed
        {
            *pending = false;
        }
        self.open_or_ask_seed(ctx, true);
    }
}

//! The mirror's side: takes the log and hands it to the storage, says what is hardened, takes seeds, gives its tail to a
//! restarted principal.

use super::decide;
use super::event::{Reason, SessionError, SessionEvent, SessionState};
use super::flow::{Inflow, Outflow};
use super::machine::{Ctx, Session, Side};
use super::storage::{BlockChunk, DatabaseId, SeedInfo, StorageError};
use crate::message::codec::{Block, Seed, SeedBegin, SeedEnd, Status, TailRequest};
use crate::message::{LogEnd, Position};
use crate::time::{Duration, Instant};

/// How long a mirror waits after its storage refused before it takes up the log again.
const RETRY: Duration = Duration::from_secs(1);

/// What only a mirror holds, all of it volatile.
#[derive(Debug)]
pub(crate) struct MirrorSide {
    pub(crate) inflow: Inflow,
    pub(crate) out: Outflow,
    /// What the principal said of the session.
    principal_state: SessionState,
    pub(crate) ack_due: bool,
    pub(crate) seed: Option<SeedIn>,
    pub(crate) tail: Option<TailOut>,
    pub(crate) refusal: Option<(u16, SessionError)>,
    /// The storage refused: when the log is taken up again by another hello.
    pub(crate) start_over: Option<Instant>,
    /// The operator asks the principal to suspend or resume.
    pub(crate) ask_suspend: Option<bool>,
}

/// A seed being taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeedIn {
    pub(crate) info: SeedInfo,
    pub(crate) offset: u64,
    written: u64,
    finishing: bool,
    /// Another began while this one was being put in the database's place, and nobody kept it.
    missed: bool,
}

/// A tail being given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailOut {
    pub(crate) to: u64,
}

impl MirrorSide {
    pub(crate) fn new(end: LogEnd) -> Self {
        Self {
            inflow: Inflow::new(end.position, 0),
            out: Outflow::default(),
            principal_state: SessionState::Synchronizing,
            ack_due: false,
            seed: None,
            tail: None,
            refusal: None,
            start_over: None,
            ask_suspend: None,
        }
    }

    pub(crate) fn level(&self) -> bool {
        self.principal_state == SessionState::Synchronized && self.seed.is_none()
    }

    /// Whether a complete seed is being put in the database's place.
    pub(crate) fn installs(&self) -> bool {
        self.seed.is_some_and(|seed| seed.finishing)
    }

    pub(crate) fn unbound(&mut self, ctx: &mut Ctx<'_>, database: DatabaseId) {
        if self.seed.is_some_and(|seed| !seed.finishing) {
            self.seed = None;
            ctx.storage.seed_abort(database);
        }
        self.tail = None;
        self.ack_due = false;
        self.refusal = None;
        self.start_over = None;
        self.principal_state = SessionState::Synchronizing;
        self.out = Outflow::default();
    }
}

impl Session {
    pub(crate) fn mirror(&mut self) -> Option<&mut MirrorSide> {
        match &mut self.side {
            Side::Mirror(side) => Some(side),
            Side::Principal(_) => None,
        }
    }

    /// A piece of a block.
    ///
    /// # Errors
    /// When the partner breaks the protocol.
    pub(crate) fn block_piece(&mut self, ctx: &mut Ctx<'_>, piece: &Block<'_>) -> Result<(), ()> {
        let database = self.database();
        let Some(heard) = self.binding.and_then(|binding| binding.heard) else {
            return Ok(());
        };
        let takes = decide::takeover::takes_blocks(&self.record(), &self.ask(), piece.role_sequence)
            && self.rewinding.is_none();
        let Some(side) = self.mirror() else { return Err(()) };
        if side.start_over.is_some() || !takes {
            // Under way since before the storage refused: not kept, and nothing is owed for it.
            side.inflow.take(piece.bytes.len()).map_err(|_| ())?;
            side.inflow
                .written(u64::try_from(piece.bytes.len()).map_err(|_| ())?);
            return Ok(());
        }
        let accepted = side.inflow.received;
        if side.seed.is_some() || heard.timelines.locate(piece.position.sequence) != Some(piece.position) {
            return Err(());
        }
        side.inflow
            .block(piece.position, piece.offset, piece.total, piece.bytes.len())
            .map_err(|_| ())?;
        side.tail = None;
        // A timeline of that number that was begun here, under a role that was given up before a block lay in it, is another.
        let fork = heard.timelines.fork_of(piece.position.timeline);
        self.kept.change(|stored| {
            stored.touched = true;
            if !stored.timelines.contains(piece.position, fork) {
                stored.timelines = heard.timelines.until(piece.position.sequence);
            }
        });
        let at = BlockChunk {
            position: piece.position,
            offset: piece.offset,
            total: piece.total,
            decided: piece.decided,
        };
        match ctx.storage.write_block(database, at, piece.bytes) {
            Ok(()) => {
                if at.ends_with(piece.bytes.len()) {
                    ctx.storage.decided(database, piece.decided);
                }
            }
            Err(error) => self.log_refused(ctx, error, accepted),
        }
        Ok(())
    }

    /// The storage refused a block: says so, and takes up the log again later.
    fn log_refused(&mut self, ctx: &mut Ctx<'_>, error: StorageError, accepted: Position) {
        // Doubt about the own log (R3).
        self.q.may_take_over = false;
        let Some(side) = self.mirror() else { return };
        let reason = match error {
            StorageError::Chain | StorageError::Corrupt => Reason::Chain,
            _ => Reason::Storage,
        };
        let refusal = SessionError::new(1454, reason);
        side.refusal = Some((Block::<'static>::KIND, refusal));
        if reason == Reason::Chain {
            // The principal answers by a seed; what is under way is not to be taken.
            side.start_over = Some(Instant::from_micros(u64::MAX));
        } else {
            side.start_over = Some(ctx.now.after(RETRY));
        }
        // What was taken whole before may still harden; the refused block is dropped.
        side.inflow.restart(accepted);
        self.trouble = Some(refusal);
        (ctx.events)(SessionEvent::StorageFailed(error));
    }

    /// The storage has hardened the log up to `end`.
    pub(crate) fn hardened(&mut self, end: LogEnd) {
        if end.position.sequence < self.end.position.sequence {
            return;
        }
        self.end = end;
        if let Some(side) = self.mirror() {
            side.inflow.hardened(end.position.sequence);
            side.ack_due = true;
        }
    }

    /// What the principal says of the session's state.
    pub(crate) fn status(&mut self, ctx: &mut Ctx<'_>, status: &Status) {
        let (database, bound) = (self.database(), self.is_bound());
        let Some(side) = self.mirror() else { return };
        if !bound {
            return;
        }
        if let Some(state) = SessionState::from_code(status.state) {
            side.principal_state = state;
        }
        ctx.storage.decided(database, status.decided);
    }

    /// A seed begins.
    pub(crate) fn seed_begin(&mut self, ctx: &mut Ctx<'_>, begin: &SeedBegin) {
        let database = self.database();
        let bound = self.is_bound();
        let Some(side) = self.mirror() else { return };
        if !bound {
            return;
        }
        if let Some(seed) = side.seed.as_mut().filter(|seed| seed.finishing) {
            // Two cannot be put in one place: the logs are compared again when this one is there.
            seed.missed = true;
            return;
        }
        let info = SeedInfo {
            at: begin.at,
            timelines: begin.timelines,
            page_size: begin.page_size,
            bytes: begin.bytes,
        };
        side.start_over = None;
        side.tail = None;
        side.seed = None;
        self.q.may_take_over = false;
        let Some(side) = self.mirror() else { return };
        match ctx.storage.seed_begin(database, info) {
            Ok(()) => {
                side.seed = Some(SeedIn {
                    info,
                    offset: 0,
                    written: 0,
                    finishing: false,
                    missed: false,
                });
                // Only a seed that has begun takes the place of undoing: else the host goes on with that.
                self.rewinding = None;
                (ctx.events)(SessionEvent::SeedStarted {
                    at: info.at.position,
                    bytes: info.bytes,
                });
            }
            Err(error) => self.seed_refused(ctx, SeedBegin::KIND, error),
        }
    }

    /// A piece of a seed.
    ///
    /// # Errors
    /// When the partner breaks the protocol.
    pub(crate) fn seed_piece(&mut self, ctx: &mut Ctx<'_>, piece: &Seed<'_>) -> Result<(), ()> {
        let database = self.database();
        let Some(side) = self.mirror() else { return Err(()) };
        side.inflow.take(piece.bytes.len()).map_err(|_| ())?;
        let len = u64::try_from(piece.bytes.len()).map_err(|_| ())?;
        let Some(seed) = &mut side.seed else {
            // Of a seed that was refused: nothing is kept, and nothing is owed for it.
            side.inflow.written(len);
            return Ok(());
        };
        if seed.missed {
            side.inflow.written(len);
            return Ok(());
        }
        let next = seed.offset.checked_add(len).ok_or(())?;
        if seed.finishing || piece.offset != seed.offset || len == 0 || next > seed.info.bytes {
            return Err(());
        }
        seed.offset = next;
        if let Err(error) = ctx.storage.seed_write(database, piece.offset, piece.bytes) {
            self.seed_refused(ctx, Seed::<'static>::KIND, error);
        }
        Ok(())
    }

    /// All pieces are here.
    ///
    /// # Errors
    /// When the partner breaks the protocol.
    pub(crate) fn seed_end(&mut self, ctx: &mut Ctx<'_>, end: &SeedEnd) -> Result<(), ()> {
        let database = self.database();
        let Some(side) = self.mirror() else { return Err(()) };
        let Some(seed) = side.seed.as_mut().filter(|seed| !seed.missed) else {
            return Ok(());
        };
        if seed.finishing || seed.offset != seed.info.bytes || end.bytes != seed.info.bytes {
            return Err(());
        }
        seed.finishing = true;
        let info = seed.info;
        if let Err(error) = ctx.storage.seed_finish(database, info, end.sum) {
            self.seed_refused(ctx, SeedEnd::KIND, error);
        }
        Ok(())
    }

    /// The storage refused a seed, at once or later.
    pub(crate) fn seed_refused(&mut self, ctx: &mut Ctx<'_>, kind: u16, error: StorageError) {
        let database = self.database();
        let Some(side) = self.mirror() else { return };
        if let Some(seed) = side.seed.take() {
            side.inflow.written(seed.offset.saturating_sub(seed.written));
        }
        let refusal = SessionError::new(1454, Reason::Storage);
        side.refusal = Some((kind, refusal));
        ctx.storage.seed_abort(database);
        (ctx.events)(SessionEvent::StorageFailed(error));
        (ctx.events)(SessionEvent::SeedFailed(refusal));
    }

    /// Something that the storage had taken over failed later.
    pub(crate) fn storage_failed(&mut self, ctx: &mut Ctx<'_>, error: StorageError) {
        let end = self.end.position;
        match &self.side {
            Side::Mirror(side) if side.seed.is_some() => self.seed_refused(ctx, SeedEnd::KIND, error),
            Side::Mirror(_) => {
                if matches!(error, StorageError::Chain | StorageError::Corrupt) {
                    self.copy_damaged(ctx);
                }
                self.log_refused(ctx, error, end);
            }
            Side::Principal(side) if side.adopt.is_some() || side.adopting_awaits(end) => {
                self.adoption_failed(ctx, error, end);
            }
            Side::Principal(side) if side.seed.is_some() => {
                let failed = SessionError::new(1458, Reason::Storage);
                self.seed_failed(ctx, failed, Some(error));
            }
            Side::Principal(_) => (ctx.events)(SessionEvent::StorageFailed(error)),
        }
    }

    /// What was hardened cannot be redone. While a seed is under way that says nothing about the seed, which takes the place of that copy; but
    /// should the seed fail, only another makes the copy whole.
    pub(crate) fn redo_failed(&mut self, ctx: &mut Ctx<'_>, error: StorageError) {
        match &self.side {
            Side::Mirror(side) if side.seed.is_some() => {
                if matches!(error, StorageError::Chain | StorageError::Corrupt) {
                    self.copy_damaged(ctx);
                }
            }
            Side::Mirror(_) | Side::Principal(_) => self.storage_failed(ctx, error),
        }
    }

    /// What was hardened cannot be brought into the file: it is as good as gone, and only a seed makes this copy whole again (R6).
    fn copy_damaged(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_established() {
            return;
        }
        if !self.kept.get().incomplete {
            (ctx.events)(SessionEvent::LogLost { end: self.end });
        }
        self.kept.change(|stored| {
            stored.incomplete = true;
            stored.wants_seed = true;
        });
    }

    /// The storage has taken the seed up to `offset`.
    pub(crate) fn seed_written(&mut self, offset: u64) {
        if let Some(side) = self.mirror()
            && let Some(seed) = &mut side.seed
        {
            let more = offset.min(seed.offset).saturating_sub(seed.written);
            seed.written = seed.written.saturating_add(more);
            side.inflow.written(more);
        }
    }

    /// The seed is in the database's place, durably, and its log begins at `end`.
    pub(crate) fn seed_installed(&mut self, ctx: &mut Ctx<'_>, end: LogEnd) {
        let Some(side) = self.mirror() else { return };
        let Some(seed) = side.seed.filter(|seed| seed.finishing) else {
            return;
        };
        side.seed = None;
        side.inflow.restart(end.position);
        side.inflow.written(seed.offset.saturating_sub(seed.written));
        side.ack_due = true;
        self.end = end;
        self.trouble = None;
        self.kept.change(|stored| {
            stored.wants_seed = false;
            stored.touched = true;
            stored.timelines = seed.info.timelines;
        });
        self.whole_again(ctx);
        (ctx.events)(SessionEvent::SeedDone { at: end });
        if seed.missed {
            self.take_up_anew();
        }
    }

    /// A restarted principal asks for what lies beyond its log.
    pub(crate) fn tail_asked(&mut self, ctx: &mut Ctx<'_>, request: &TailRequest) {
        let (database, end, bound) = (self.database(), self.end, self.is_bound());
        let Some(side) = self.mirror() else { return };
        if !bound || request.to != end.position {
            return;
        }
        let here = match ctx.storage.chain_at(database, request.from.position) {
            Ok(chain) => chain == Some(request.from.chain),
            Err(error) => {
                (ctx.events)(SessionEvent::StorageFailed(error));
                false
            }
        };
        if here {
            side.out.seek(request.from.position.sequence);
            side.tail = Some(TailOut {
                to: end.position.sequence,
            });
        } else {
            side.refusal = Some((TailRequest::KIND, SessionError::new(1454, Reason::Chain)));
        }
    }

    /// What a mirror does when time has passed.
    pub(crate) fn mirror_tick(&mut self, ctx: &mut Ctx<'_>) {
        let awaits = match &self.side {
            Side::Mirror(side) => side.inflow.awaits(self.end.position),
            Side::Principal(_) => return,
        };
        let now = ctx.now;
        let Some(side) = self.mirror() else { return };
        if side.start_over.is_some_and(|at| at <= now) && !awaits {
            side.start_over = None;
            if let Some(binding) = &mut self.binding {
                binding.hello_sent = false;
                binding.joined = false;
            }
        }
    }

    /// When [`Session::mirror_tick`] has something to do.
    pub(crate) fn mirror_wake(&self) -> Option<Instant> {
        let Side::Mirror(side) = &self.side else {
            return None;
        };
        // While writes are under way it is their end that counts, and pings wake often enough to see it.
        let awaits = side.inflow.awaits(self.end.position);
        side.start_over
            .filter(|at| !awaits && *at != Instant::from_micros(u64::MAX))
    }
}

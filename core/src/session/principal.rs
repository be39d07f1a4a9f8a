//! The principal's side: sends its log, counts what the mirror has hardened, seeds it, takes over its tail after a restart.

use super::binding::Heard;
use super::decide::{self, Join};
use super::event::{Reason, ReseedReason, SessionError, SessionEvent};
use super::flow::{Inflow, Outflow};
use super::machine::{Ctx, Session, Side};
use super::seeding::SeedOut;
use super::storage::{BlockChunk, DatabaseId, StorageError};
use super::view::SeedProgress;
use crate::message::codec::{Ack, Block, Seed, Tail, TailRequest};
use crate::message::{LogEnd, Position, Timeline, Timelines};
use crate::planted::{Bug, planted};
use crate::time::{Duration, Instant};

/// First pause after the storage refused; doubles.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// How long a mirror has to undo what lies on a fork before it is seeded. A seed takes longer than undoing.
const REWIND: Duration = Duration::from_secs(600);
/// Longest pause after the storage refused.
const RETRY_LAST: Duration = Duration::from_secs(30);

/// What only a principal holds, all of it volatile.
#[derive(Debug)]
pub(crate) struct PrincipalSide {
    /// Hardened by the mirror: learnt over the binding.
    pub(crate) acked: Position,
    pub(crate) out: Outflow,
    pub(crate) inflow: Inflow,
    /// The mirror's log is a prefix of ours, and what follows is being sent.
    pub(crate) streaming: bool,
    /// The logs were compared over this binding, and no tail of the mirror is left to be adopted.
    pub(crate) compared: bool,
    /// The mirror's log lies on a fork: it undoes that, and says hello again.
    pub(crate) left_behind: bool,
    pub(crate) seed: Option<SeedOut>,
    /// Why the mirror has to be seeded, and from when on that may be tried.
    pub(crate) seed_due: Option<(Instant, ReseedReason)>,
    pub(crate) adopt: Option<Adopt>,
    /// The log has gone on since the restart, or may.
    pub(crate) settled: bool,
    /// It may go on, in a new timeline or not, as soon as blocks of a tail that were taken are durable.
    pub(crate) settle_due: Option<bool>,
    /// When it goes on without the mirror.
    pub(crate) settle_by: Instant,
    /// The log covered every commit of the file at this position; `None` while nobody knows what the file holds beyond the
    /// log. Without it an end of log that both share is not the end of what applications were told is committed.
    caught_up: Option<Position>,
    /// Blocks that were durable are gone. What they brought is in the file, and in the log again once that covers the file.
    pub(crate) lost: bool,
    /// The file is refused: nothing resumes the session until it is right or accepted.
    pub(crate) file_refused: bool,
    /// The mirror was level, and no block has stayed unhardened for the time-out since (R1).
    pub(crate) synced: bool,
    /// A block that is not hardened yet, and since when that is known.
    behind: Option<(u64, Instant)>,
    pub(crate) status_due: bool,
    /// The end of log that the mirror was told last.
    pub(crate) told_end: Position,
    pub(crate) properties_due: bool,
    /// The version of what is kept beside the database that the mirror was told over the binding.
    pub(crate) attachment_told: u64,
    /// The storage refused a read: when it is tried again.
    pub(crate) read_again: Option<Instant>,
    pause: Duration,
}

/// A tail being taken over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adopt {
    /// The own end before.
    pub(crate) from: Position,
    /// The mirror's end.
    pub(crate) to: LogEnd,
    pub(crate) asked: bool,
}

impl PrincipalSide {
    /// `settled`: the log may go on at once, since this is no restart.
    pub(crate) fn new(settled: bool) -> Self {
        Self {
            acked: Position::START,
            out: Outflow::default(),
            inflow: Inflow::default(),
            streaming: false,
            compared: false,
            left_behind: false,
            seed: None,
            seed_due: None,
            adopt: None,
            settled,
            settle_due: None,
            settle_by: Instant::ZERO,
            caught_up: None,
            lost: false,
            file_refused: false,
            synced: false,
            behind: None,
            status_due: false,
            told_end: Position::START,
            properties_due: false,
            attachment_told: 0,
            read_again: None,
            pause: Duration::ZERO,
        }
    }

    /// Whether the mirror counts as level with a log that ends at `end`.
    pub(crate) const fn level(&self) -> bool {
        self.streaming && self.synced
    }

    /// Whether the log covers every commit of the file.
    fn covers(&self, end: Position) -> bool {
        self.caught_up.is_some_and(|at| at.sequence <= end.sequence)
    }

    /// Whether blocks of the tail were taken that are not durable yet.
    pub(crate) const fn adopting_awaits(&self, end: Position) -> bool {
        self.inflow.awaits(end)
    }

    pub(crate) fn seed_progress(&self) -> Option<SeedProgress> {
        let (info, done) = match self.seed? {
            SeedOut::Opening => return None,
            SeedOut::Sending { info, offset, .. } => (info, offset),
            SeedOut::Ended { info, .. } => (info, info.bytes),
        };
        Some(SeedProgress {
            at: info.at.position,
            done,
            total: info.bytes,
        })
    }

    pub(crate) fn unbound(&mut self, ctx: &mut Ctx<'_>, database: DatabaseId) {
        if self.seed.take().is_some() {
            ctx.storage.seed_close(database);
        }
        self.adopt = None;
        self.seed_due = None;
        self.streaming = false;
        self.compared = false;
        self.left_behind = false;
        self.acked = Position::START;
        self.synced = false;
        self.behind = None;
        self.out = Outflow::default();
        self.read_again = None;
        self.told_end = Position::START;
        self.attachment_told = 0;
    }

    /// The mirror may begin to undo what lies on its fork now.
    pub(super) fn left_behind_from(&mut self, now: Instant) {
        self.seed_due = Some((now.after(REWIND), ReseedReason::LeftBehind));
    }

    pub(super) fn retry(&mut self, now: Instant) -> Instant {
        let doubled = Duration::from_micros(self.pause.as_micros().saturating_mul(2));
        self.pause = doubled.clamp(RETRY_FIRST, RETRY_LAST);
        now.after(self.pause)
    }

    /// Judges whether the mirror is level with `end`.
    fn weigh(&mut self, now: Instant, end: Position, timeout: Duration) {
        let covers = self.covers(end);
        self.lost &= !covers;
        if self.streaming && self.seed.is_none() && self.acked == end && covers {
            self.synced = true;
            self.behind = None;
            return;
        }
        match self.behind {
            Some((sequence, since)) if self.acked.sequence < sequence => {
                if now.since(since) >= timeout {
                    self.synced = false;
                }
            }
            Some(_) | None => self.behind = Some((end.sequence, now)),
        }
    }

    /// When an unhardened block has been so for the time-out.
    fn late_at(&self, timeout: Duration) -> Option<Instant> {
        let (_, since) = self.behind.filter(|_| self.synced && self.streaming)?;
        Some(since.after(timeout))
    }
}

/// Whether a mirror that says this in its hello finds by itself that its log lies on a fork.
fn undoes(end: LogEnd, timelines: &Timelines, heard: &Heard) -> bool {
    let meeting = decide::history::meet::<core::convert::Infallible>(
        decide::history::History { end, timelines },
        decide::history::History {
            end: heard.end,
            timelines: &heard.timelines,
        },
        |_| Ok(None),
    );
    matches!(meeting, Ok(decide::history::Meeting::Rewind { .. }))
}

impl Session {
    pub(crate) fn principal(&mut self) -> Option<&mut PrincipalSide> {
        match &mut self.side {
            Side::Principal(side) => Some(side),
            Side::Mirror(_) => None,
        }
    }

    /// Compares the two logs and begins what follows.
    pub(crate) fn join(&mut self, ctx: &mut Ctx<'_>) {
        let Some(heard) = self.binding.and_then(|binding| binding.heard) else {
            return;
        };
        let (database, timelines, end) = (self.database(), self.kept.get().timelines, self.end);
        let Some(side) = self.principal() else { return };
        if side.seed.take().is_some() {
            ctx.storage.seed_close(database);
        }
        side.streaming = false;
        side.compared = false;
        side.seed_due = None;
        side.out.seek(heard.end.position.sequence);
        let own = decide::history::History {
            end,
            timelines: &timelines,
        };
        let mirrors = decide::history::History {
            end: heard.end,
            timelines: &heard.timelines,
        };
        let joined = decide::join(own, mirrors, heard.wants_seed, side.settled, |position| {
            ctx.storage.chain_at(database, position)
        });
        if matches!(joined, Ok(Join::Seed(_))) && decide::history::goes_on_elsewhere(own, mirrors) {
            self.fork_off(ctx);
        }
        let Some(side) = self.principal() else { return };
        match joined {
            Ok(Join::Resume) => self.resume(ctx, heard.end.position),
            Ok(Join::Adopt) => {
                side.inflow.restart(end.position);
                side.adopt = Some(Adopt {
                    from: end.position,
                    to: heard.end,
                    asked: false,
                });
            }
            Ok(Join::Seed(ReseedReason::LeftBehind))
                if !side.left_behind && undoes(end, &timelines, &heard) =>
            {
                // The mirror sees the same, undoes what lies on the fork and says hello again. One that does not is seeded.
                side.left_behind = true;
                side.compared = true;
                side.left_behind_from(ctx.now);
            }
            Ok(Join::Seed(ReseedReason::Asked)) if side.left_behind => {
                self.reseed(ctx, ReseedReason::LeftBehind, heard.end.position);
            }
            Ok(Join::Seed(why)) => self.reseed(ctx, why, heard.end.position),
            Err(error) => {
                side.read_again = Some(side.retry(ctx.now));
                (ctx.events)(SessionEvent::StorageFailed(error));
            }
        }
    }

    /// Sends what follows `position`, which the mirror has hardened.
    fn resume(&mut self, ctx: &mut Ctx<'_>, position: Position) {
        let (end, timeout) = (self.end.position, self.timeout());
        if let Some(side) = self.principal() {
            side.acked = position;
            side.out.seek(position.sequence);
            side.streaming = true;
            side.compared = true;
            side.left_behind = false;
            side.status_due = true;
            side.weigh(ctx.now, end, timeout);
        }
    }

    /// The log may go on after a restart: said once.
    pub(crate) fn settle(&mut self, ctx: &mut Ctx<'_>, new_timeline: bool) {
        let end = self.end.position;
        let Some(side) = self.principal() else { return };
        if side.settled {
            return;
        }
        if side.adopting_awaits(end) {
            // Blocks of a tail that are still on their way into log and file come first.
            side.settle_due = Some(new_timeline || side.settle_due == Some(true));
            return;
        }
        side.settled = true;
        let new_timeline = new_timeline && !planted(Bug::SameTimeline);
        (ctx.events)(SessionEvent::MayCapture { new_timeline });
    }

    /// The mirror holds another continuation of this timeline, which is not adopted: the own log goes on in a new one, if it has not gone on
    /// in this run (R7). An incomplete member begins nothing (R6).
    pub(super) fn fork_off(&mut self, ctx: &mut Ctx<'_>) {
        let goes_on = self.principal().is_none_or(|side| side.settled);
        if goes_on || self.q.timeline_asked || self.kept.get().incomplete {
            return;
        }
        self.q.timeline_asked = true;
        self.settle(ctx, true);
    }

    /// The same, where it had to wait.
    pub(super) fn settle_now(&mut self, ctx: &mut Ctx<'_>) {
        let due = self.principal().and_then(|side| side.settle_due.take());
        if let Some(new_timeline) = due {
            self.settle(ctx, new_timeline);
        }
    }

    /// The own log has grown.
    pub(crate) fn log_grew(&mut self, ctx: &mut Ctx<'_>, end: LogEnd) {
        let timeout = self.timeout();
        if end.position.sequence <= self.end.position.sequence {
            return;
        }
        self.end = end;
        if let Some(side) = self.mirror() {
            // Captured before the writers of a role that was yielded were shut out.
            side.inflow.restart(end.position);
        }
        if let Some(side) = self.principal() {
            side.settled = true;
            side.weigh(ctx.now, end.position, timeout);
        }
    }

    /// The log will cover every commit of the file once it has grown to `at`, or (`None`) that is not known any more.
    pub(crate) fn caught_up(&mut self, ctx: &mut Ctx<'_>, at: Option<Position>) {
        let (end, timeout) = (self.end.position, self.timeout());
        if let Some(side) = self.principal() {
            side.caught_up = at;
            if at.is_none() {
                side.synced = false;
            }
            side.weigh(ctx.now, end, timeout);
        }
    }

    /// Whether a member that has yielded may still capture: its host has not shut the writers out yet, or was not told of the change of role, since
    /// that is not durable yet. Nothing of the log was said under the new role before.
    pub(crate) const fn captures_yet(&self) -> bool {
        matches!(self.side, Side::Mirror(_)) && (self.q.fencing || self.q.told_role.is_some())
    }

    /// The own log goes on in a new timeline. `gap`: it does not follow from what came before. A member that has yielded takes it until its host has
    /// stopped the capture: its log lies on that fork then.
    pub(crate) fn new_timeline(
        &mut self,
        ctx: &mut Ctx<'_>,
        timeline: Timeline,
        gap: bool,
    ) -> Result<(), SessionError> {
        if matches!(self.side, Side::Mirror(_)) && !self.captures_yet() {
            return Err(SessionError::new(1416, Reason::NotMirrored));
        }
        let mut timelines = self.kept.get().timelines;
        timelines
            .fork(timeline)
            .map_err(|_| SessionError::new(1425, Reason::BadValue))?;
        if self.starting.is_some_and(|starting| !starting.accepted) {
            self.kept.prepare(|stored| stored.timelines = timelines);
        } else {
            self.kept.change(|stored| stored.timelines = timelines);
        }
        if matches!(self.side, Side::Mirror(_)) {
            self.take_up_anew();
            return Ok(());
        }
        if self.due.hello.is_none()
            && let Some(binding) = &mut self.binding
        {
            // The mirror learns of it by another hello, which goes before any block of it.
            binding.hello_sent = false;
        }
        let bound = self.binding.is_some_and(|binding| binding.joined);
        let end = self.end.position;
        self.q.prepared = true;
        if let Some(side) = self.principal() {
            side.settled = true;
            if gap && bound {
                self.reseed(ctx, ReseedReason::Gap, end);
            }
        }
        Ok(())
    }

    /// The mirror says that it has hardened everything up to a position.
    pub(crate) fn acknowledged(&mut self, ctx: &mut Ctx<'_>, ack: &Ack) {
        let (database, end, timelines, timeout) = (
            self.database(),
            self.end,
            self.kept.get().timelines,
            self.timeout(),
        );
        let Some(side) = self.principal() else { return };
        match side.seed {
            Some(SeedOut::Ended { info, said: true, .. }) if info.at.position == ack.position => {
                if info.at.chain.prefix() != ack.chain_prefix {
                    self.reseed(ctx, ReseedReason::ChainMismatch, ack.position);
                    return;
                }
                side.seed = None;
                side.seed_due = None;
                side.pause = Duration::ZERO;
                ctx.storage.seed_close(database);
                (ctx.events)(SessionEvent::SeedDone { at: info.at });
                self.resume(ctx, info.at.position);
                return;
            }
            Some(_) => return,
            None => {}
        }
        let expected = timelines.locate(ack.position.sequence) == Some(ack.position)
            && ack.position.sequence <= side.out.sent;
        if !side.streaming || ack.position.sequence < side.acked.sequence || !expected {
            return;
        }
        let chain = if ack.position == end.position {
            Ok(Some(end.chain))
        } else {
            ctx.storage.chain_at(database, ack.position)
        };
        match chain {
            Ok(Some(chain)) if chain.prefix() == ack.chain_prefix => {
                side.acked = ack.position;
                side.weigh(ctx.now, end.position, timeout);
            }
            Ok(Some(_)) => self.reseed(ctx, ReseedReason::ChainMismatch, ack.position),
            // Not to be compared at the moment: not counted either; a later acknowledgement covers it.
            Ok(None) => {}
            Err(error) => (ctx.events)(SessionEvent::StorageFailed(error)),
        }
    }

    /// The mirror refused something that this principal sent.
    pub(crate) fn refused_by_mirror(&mut self, ctx: &mut Ctx<'_>, kind: u16, error: SessionError) {
        let end = self.end.position;
        (ctx.events)(SessionEvent::PartnerRefused(error));
        let Some(side) = self.principal() else { return };
        match kind {
            Block::<'static>::KIND if error.reason == Reason::Chain => {
                let at = side.acked;
                self.reseed(ctx, ReseedReason::ChainMismatch, at);
            }
            // It says hello again when it can go on.
            Block::<'static>::KIND => {
                side.streaming = false;
                side.synced = false;
            }
            crate::message::codec::SeedBegin::KIND
            | Seed::<'static>::KIND
            | crate::message::codec::SeedEnd::KIND => self.seed_failed(ctx, error, None),
            TailRequest::KIND => {
                self.reseed(ctx, ReseedReason::ChainMismatch, end);
            }
            _ => {}
        }
    }

    /// A piece of the mirror's tail.
    ///
    /// # Errors
    /// When the partner breaks the protocol.
    pub(crate) fn tail_piece(&mut self, ctx: &mut Ctx<'_>, piece: &Tail<'_>) -> Result<(), ()> {
        let (database, timelines) = (self.database(), self.kept.get().timelines);
        let Some(side) = self.principal() else {
            return Err(());
        };
        let Some(adopt) = side.adopt else { return Ok(()) };
        if timelines.locate(piece.position.sequence) != Some(piece.position)
            || piece.position.sequence > adopt.to.position.sequence
        {
            return Err(());
        }
        let accepted = side.inflow.received;
        side.inflow
            .block(piece.position, piece.offset, piece.total, piece.bytes.len())
            .map_err(|_| ())?;
        let at = BlockChunk {
            position: piece.position,
            offset: piece.offset,
            total: piece.total,
            decided: piece.position,
        };
        if let Err(error) = ctx.storage.adopt_block(database, at, piece.bytes) {
            self.adoption_failed(ctx, error, accepted);
        }
        Ok(())
    }

    /// The tail cannot be taken over beyond `accepted`, which may still become durable: the mirror's copy gives way instead.
    pub(crate) fn adoption_failed(&mut self, ctx: &mut Ctx<'_>, error: StorageError, accepted: Position) {
        let end = self.end.position;
        (ctx.events)(SessionEvent::StorageFailed(error));
        let Some(side) = self.principal() else { return };
        side.inflow.restart(accepted);
        if side.adopt.is_none() {
            return; // The binding it came by has gone; the logs are compared again on the next.
        }
        let why = match error {
            StorageError::Chain | StorageError::Corrupt => ReseedReason::ChainMismatch,
            _ => ReseedReason::CannotAdopt,
        };
        self.reseed(ctx, why, end);
    }

    /// The tail is durable in log and file up to `end`.
    pub(crate) fn adopted(&mut self, ctx: &mut Ctx<'_>, end: LogEnd) {
        if end.position.sequence <= self.end.position.sequence {
            return;
        }
        self.end = end;
        let Some(side) = self.principal() else { return };
        side.inflow.hardened(end.position.sequence);
        let Some(adopt) = side.adopt else { return };
        if end.position.sequence < adopt.to.position.sequence {
            return;
        }
        side.adopt = None;
        if end == adopt.to {
            (ctx.events)(SessionEvent::TailAdopted {
                from: adopt.from,
                to: end,
            });
            self.resume(ctx, end.position);
        } else {
            self.reseed(ctx, ReseedReason::ChainMismatch, end.position);
        }
    }

    /// What a principal does when time has passed.
    pub(crate) fn principal_tick(&mut self, ctx: &mut Ctx<'_>) {
        let (end, timeout) = (self.end.position, self.timeout());
        self.open_seed(ctx);
        let Some(side) = self.principal() else { return };
        if side.streaming {
            side.weigh(ctx.now, end, timeout);
        }
        if side.read_again.is_some_and(|at| at <= ctx.now) {
            side.read_again = None;
            if !side.streaming && side.seed_due.is_none() {
                self.join(ctx);
            }
        }
    }

    /// When [`Session::principal_tick`] has something to do.
    pub(crate) fn principal_wake(&self, now: Instant) -> Option<Instant> {
        let Side::Principal(side) = &self.side else {
            return None;
        };
        let settle =
            (self.is_established() && !self.q.serves && side.settle_by > now).then_some(side.settle_by);
        let seed = side
            .seed_due
            .filter(|_| side.seed.is_none() && self.in_step() && !self.kept.get().properties.suspended)
            .map(|(at, _)| at);
        [settle, seed, side.read_again, side.late_at(self.timeout())]
            .into_iter()
            .flatten()
            .min()
    }

    /// A read for the other partner failed.
    pub(crate) fn read_failed(&mut self, ctx: &mut Ctx<'_>, error: StorageError) {
        if let Some(side) = self.mirror() {
            // A tail that cannot be given is refused, or its principal would wait for it for ever.
            side.tail = None;
            side.refusal = Some((TailRequest::KIND, SessionError::new(1454, Reason::Storage)));
            (ctx.events)(SessionEvent::StorageFailed(error));
            return;
        }
        let acked = self.principal().map_or(Position::START, |side| side.acked);
        // What is damaged here stays so: a restart would end the log before it, a seed leaves it behind.
        if matches!(error, StorageError::Gone | StorageError::Corrupt) {
            self.reseed(ctx, ReseedReason::LogGone, acked);
            return;
        }
        if let Some(side) = self.principal() {
            let at = side.retry(ctx.now);
            side.read_again = Some(at);
        }
        (ctx.events)(SessionEvent::StorageFailed(error));
    }
}

//! What operators ask, and what the storage confirms.

use super::output::Ticket;
use super::slot::SessionSlot;
use super::{Endpoint, Env, Role as EndpointRole};
use crate::crypto::Provider;
use crate::message::{Address, LogEnd, Position, SessionGuid, Timeline, Timelines};
use crate::session::{
    DatabaseId, Fence, FoundLog, Reason, Role, Safety, Session, SessionError, SessionEvent, StartAsPrincipal,
    StorageError, Stored, StoredPhase, WaitAsMirror,
};

impl<P: Provider> Endpoint<'_, P> {
    // ---- operators ----

    /// Takes up a session that was stored, at the start of the instance, with the database's log as its storage found it.
    ///
    /// # Errors
    /// 1459 for a damaged record, 1438 when there is no place, 1405 when the database has a session already.
    pub fn restore(
        &mut self,
        env: &mut Env<'_, P>,
        record: &[u8],
        log: FoundLog,
    ) -> Result<DatabaseId, SessionError> {
        self.present(env);
        let bad = SessionError::new(1459, Reason::BadRecord);
        let stored = Stored::decode(record).map_err(|_| bad)?;
        if stored.phase == StoredPhase::Ended {
            return Err(bad);
        }
        let session = Session::restore(self.config.instance, stored, log, self.now);
        let incomplete = session.kept.get().incomplete;
        self.place(stored.database, session)?;
        if incomplete {
            self.events.push(super::Event::Session {
                database: stored.database,
                event: SessionEvent::LogLost { end: log.end },
            });
        }
        if stored.role == Role::Principal && stored.phase == StoredPhase::Established {
            self.events.push(super::Event::Session {
                database: stored.database,
                event: SessionEvent::Fence(Fence::Restarted),
            });
        }
        Ok(stored.database)
    }

    /// SET PARTNER on the future mirror. `SessionEvent::Waiting` says when it is stored.
    ///
    /// # Errors
    /// 1405 when the database has a session already, 1449 for an empty address, 1438 when there is no place, 1486 on an endpoint that is
    /// a witness only.
    pub fn wait_as_mirror(
        &mut self,
        env: &mut Env<'_, P>,
        command: &WaitAsMirror,
    ) -> Result<(), SessionError> {
        self.present(env);
        self.may_be_partner()?;
        self.place(command.database, Session::wait(command)?)
    }

    /// SET PARTNER on the future principal. `SessionEvent::StartedAsPrincipal` or `SessionEvent::StartFailed` says how it ended.
    ///
    /// # Errors
    /// 1405 when the database has a session already, 1449 for an empty address, 1438 when there is no place or no entropy, 1418
    /// when the endpoint is stopped, 1486 when it is a witness only.
    pub fn start_as_principal(
        &mut self,
        env: &mut Env<'_, P>,
        command: &StartAsPrincipal,
    ) -> Result<SessionGuid, SessionError> {
        self.present(env);
        self.may_be_partner()?;
        if !self.running {
            return Err(SessionError::new(1418, Reason::Unreachable));
        }
        let mut guid = SessionGuid::default();
        env.entropy
            .fill_public(&mut guid.0)
            .map_err(|_| SessionError::new(1438, Reason::NoRoom))?;
        let deadline = self.now.after(self.config.limits.start);
        let session = Session::start(command, guid, self.config.instance, deadline)?;
        self.place(command.database, session)?;
        // An own outbound connection that stands tells who answers at that address; else it is dialed.
        let known = self
            .connections
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.live.as_ref()?)))
            .filter(|(_, c)| !c.accepted && c.is_online() && c.address == command.partner)
            .max_by_key(|(_, c)| c.order)
            .and_then(|(index, c)| Some((index, c.peer()?)));
        if let Some((index, peer)) = known
            && let Some(at) = self.of(command.database)
        {
            let link = self.id(index).as_u64();
            self.with_session(env, at, |session, ctx| session.met(ctx, peer, link));
            self.arbitrate(env, peer);
        }
        Ok(guid)
    }

    /// SET PARTNER OFF. `SessionEvent::Ended` says when it is durable.
    ///
    /// # Errors
    /// 1416 when the database has no session.
    pub fn partner_off(&mut self, env: &mut Env<'_, P>, database: DatabaseId) -> Result<(), SessionError> {
        self.on(env, database, Session::end)
    }

    /// SET PARTNER SAFETY.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror.
    pub fn set_safety(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        safety: Safety,
    ) -> Result<(), SessionError> {
        self.on(env, database, |session, ctx| session.set_safety(ctx, safety))
    }

    /// SET PARTNER TIMEOUT, in seconds; less than 5 is raised to 5.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1476 above 32,767.
    pub fn set_timeout(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        seconds: u16,
    ) -> Result<(), SessionError> {
        self.on(env, database, |session, ctx| session.set_timeout(ctx, seconds))
    }

    /// SET PARTNER SUSPEND (`true`) or RESUME. On the mirror the principal is asked, and `SessionEvent::PropertiesChanged` says
    /// when it has.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1447 when the partner is not connected or there is nothing to resume, 5173 to resume
    /// while the file is refused.
    pub fn set_suspended(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        suspend: bool,
    ) -> Result<(), SessionError> {
        self.on(env, database, |session, ctx| session.set_suspended(ctx, suspend))
    }

    /// SET WITNESS on the principal. `SessionEvent::WitnessChanged` or `SessionEvent::WitnessRefused` says how it ended.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1449 for an empty address, 1446 for the one that is set, 1404 while
    /// a change of role or witness is under way, 1426 when the mirror is not connected.
    pub fn set_witness(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        witness: Address,
    ) -> Result<(), SessionError> {
        self.on(env, database, |session, ctx| session.set_witness(ctx, witness))
    }

    /// SET WITNESS OFF on the principal. `SessionEvent::WitnessChanged` or `SessionEvent::WitnessRefused` says how it ended.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1439 when none is set, 1404 while a change of role or witness is
    /// under way, 1431 when neither mirror nor witness is connected.
    pub fn witness_off(&mut self, env: &mut Env<'_, P>, database: DatabaseId) -> Result<(), SessionError> {
        self.on(env, database, Session::witness_off)
    }

    /// FAILOVER on the principal. `SessionEvent::RoleChanged` or `SessionEvent::FailoverFailed` says how it ended.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1477 when SAFETY is not FULL, 1447 when the mirror is not
    /// connected, 1422 when it is not SYNCHRONIZED, 1404 while a change of role or witness is under way.
    pub fn failover(&mut self, env: &mut Env<'_, P>, database: DatabaseId) -> Result<(), SessionError> {
        self.on(env, database, Session::failover)
    }

    /// FORCE_SERVICE_ALLOW_DATA_LOSS, on the mirror, or on a principal that does not serve. `SessionEvent::RoleChanged` or
    /// `SessionEvent::ForceRefused` says how it ended.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1455 while it serves or the partner is connected, 1431 when a witness is set and not
    /// connected or pending, 1404 while an ask is not answered.
    pub fn force_service(&mut self, env: &mut Env<'_, P>, database: DatabaseId) -> Result<(), SessionError> {
        self.on(env, database, Session::force_service)
    }

    // ---- the host's answers to changes of role ----

    /// What [`crate::session::SessionEvent::Fence`] asked for is done: no writer is left, and every commit that was offered is told as
    /// grown log.
    pub fn fenced(&mut self, env: &mut Env<'_, P>, database: DatabaseId) {
        self.present(env);
        if let Some(at) = self.of(database) {
            self.with_session(env, at, Session::fenced);
        }
    }

    /// Mirror: [`crate::session::SessionEvent::Rewind`] is done, durably, and the log ends at `end`.
    pub fn rewound(&mut self, env: &mut Env<'_, P>, database: DatabaseId, end: LogEnd) {
        self.told(env, database, Role::Mirror, |session, ctx| {
            session.rewound(ctx, end)
        });
    }

    /// Mirror: [`crate::session::SessionEvent::Rewind`] cannot be done; a seed takes the copy's place.
    pub fn cannot_rewind(&mut self, env: &mut Env<'_, P>, database: DatabaseId) {
        self.told(env, database, Role::Mirror, Session::cannot_rewind);
    }

    /// Principal: up to where waiting applications may be told *committed* (I1). [`Position::START`] where nothing may be.
    #[must_use]
    pub fn acknowledged_to(&self, database: DatabaseId) -> Position {
        self.of(database)
            .and_then(|at| self.session(at))
            .map_or(Position::START, Session::acknowledged_to)
    }

    /// The history of the database's log as the session has it. A timeline that is begun after a change of role has a number above all
    /// of these ([`crate::session::decide::history::next_timeline`]), and its predecessors are these up to the end of the log.
    #[must_use]
    pub fn timelines(&self, database: DatabaseId) -> Option<Timelines> {
        let session = self.session(self.of(database)?)?;
        Some(session.kept.get().timelines)
    }

    /// Principal: its file is refused as no continuation of what was captured. That suspends the session, and neither operator's
    /// RESUME lifts it. With `false` the right file is there again: a RESUME is possible, and still needed.
    pub fn file_refused(&mut self, env: &mut Env<'_, P>, database: DatabaseId, refused: bool) {
        self.told(env, database, Role::Principal, |session, ctx| {
            session.file_refused(ctx, refused);
        });
    }

    /// The operator has accepted a principal's file that was refused: the session goes on, unlike with
    /// [`Endpoint::set_suspended`] also while the mirror is away. Nothing happens where there is nothing to resume.
    pub fn lift_suspension(&mut self, env: &mut Env<'_, P>, database: DatabaseId) {
        // Without a session there is none to go on.
        let _ = self.on(env, database, |session, ctx| {
            session.lift_suspension(ctx);
            Ok(())
        });
    }

    // ---- the storage ----

    /// The write that was asked for with `ticket` is durable.
    pub fn handle_persisted(&mut self, env: &mut Env<'_, P>, ticket: Ticket) {
        self.present(env);
        self.witnessed_persisted(ticket);
        for at in 0..self.session_count() {
            let before = self.session(at).map(Session::partner);
            self.with_session(env, at, |session, ctx| session.persisted(ctx, ticket.0));
            // A mirror that has just begun a session has a partner from here on.
            if let Some(peer) = self.session(at).map(Session::partner).or(before)
                && self
                    .session(at)
                    .is_some_and(|session| session.link().is_none() && !session.is_waiting())
            {
                self.arbitrate(env, peer);
            }
        }
    }

    /// Principal: its log has grown to `end`; every block up to there can be read, and is decided. A member that has just yielded still
    /// says it, as long as [`Self::new_timeline`] is taken of it.
    pub fn log_grew(&mut self, env: &mut Env<'_, P>, database: DatabaseId, end: LogEnd) {
        self.present(env);
        if let Some(at) = self.of(database)
            && self
                .session(at)
                .is_some_and(|session| session.role() == Role::Principal || session.captures_yet())
        {
            self.with_session(env, at, |session, ctx| session.log_grew(ctx, end));
        }
    }

    /// Principal: once its log has grown to `at` it covers every commit that was found in the file; with `None` the capture has
    /// stopped, and what the file holds beyond the log is not known. A session that was started or restored is in the second state,
    /// whatever was said before: it is SYNCHRONIZING until this is said, however equal the two logs are.
    pub fn caught_up(&mut self, env: &mut Env<'_, P>, database: DatabaseId, at: Option<Position>) {
        self.told(env, database, Role::Principal, |session, ctx| {
            session.caught_up(ctx, at);
        });
    }

    /// Principal: its log goes on in a new timeline, as `SessionEvent::MayCapture` asked, or, with `gap`, because changes were
    /// lost before they reached it: then positions before the timeline are gone, and the mirror is seeded anew. A member that has just
    /// yielded still says it, as long as it has not answered the fence (`fenced`) and heard of the change of role: its log has gone on so.
    ///
    /// # Errors
    /// 1416 when the database has no session as principal, 1425 for a timeline that does not come after the last.
    pub fn new_timeline(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        timeline: Timeline,
        gap: bool,
    ) -> Result<(), SessionError> {
        self.on(env, database, |session, ctx| {
            session.new_timeline(ctx, timeline, gap)
        })
    }

    /// Principal: a snapshot or bytes of one that were *pending* are there.
    pub fn seed_ready(&mut self, env: &mut Env<'_, P>, database: DatabaseId) {
        self.told(env, database, Role::Principal, Session::seed_ready);
    }

    /// Principal: the mirror's tail is durable, in log and file, up to `end`.
    pub fn adopted(&mut self, env: &mut Env<'_, P>, database: DatabaseId, end: LogEnd) {
        self.told(env, database, Role::Principal, |session, ctx| {
            session.adopted(ctx, end);
        });
    }

    /// Mirror: the log is durable up to `end`. Also what was on its way when it became the principal, up to its new timeline.
    pub fn hardened(&mut self, env: &mut Env<'_, P>, database: DatabaseId, end: LogEnd) {
        self.present(env);
        if let Some(at) = self.of(database)
            && self
                .session(at)
                .is_some_and(|session| session.role() == Role::Mirror || session.q.taking)
        {
            self.with_session(env, at, |session, _| session.hardened(end));
        }
    }

    /// Mirror: the storage has taken the seed's bytes up to `offset`; they need not be durable.
    pub fn seed_written(&mut self, env: &mut Env<'_, P>, database: DatabaseId, offset: u64) {
        self.told(env, database, Role::Mirror, |session, _| {
            session.seed_written(offset);
        });
    }

    /// Mirror: the seed is in the database's place, durably, and the log begins after `end`.
    pub fn seed_installed(&mut self, env: &mut Env<'_, P>, database: DatabaseId, end: LogEnd) {
        self.told(env, database, Role::Mirror, |session, ctx| {
            session.seed_installed(ctx, end);
        });
    }

    /// Mirror: a hardened block cannot be brought into the file. Told apart from [`Self::storage_failed`], since it may be about the copy
    /// that a seed under way replaces.
    pub fn redo_failed(&mut self, env: &mut Env<'_, P>, database: DatabaseId, error: StorageError) {
        self.present(env);
        if let Some(at) = self.of(database) {
            self.with_session(env, at, |session, ctx| session.redo_failed(ctx, error));
        }
    }

    /// Something that the storage had taken over failed later: the seed, if one is under way, else the log.
    pub fn storage_failed(&mut self, env: &mut Env<'_, P>, database: DatabaseId, error: StorageError) {
        self.present(env);
        if let Some(at) = self.of(database) {
            self.with_session(env, at, |session, ctx| session.storage_failed(ctx, error));
        }
    }

    // ---- shared ----

    /// Refuses on an endpoint that is a witness only.
    fn may_be_partner(&self) -> Result<(), SessionError> {
        if self.role == EndpointRole::Witness {
            return Err(SessionError::new(1486, Reason::EndpointRole));
        }
        Ok(())
    }

    fn place(&mut self, database: DatabaseId, session: Session) -> Result<(), SessionError> {
        if self.of(database).is_some() {
            return Err(SessionError::new(1405, Reason::AlreadyMirrored));
        }
        let (_, slot) = self
            .sessions
            .free()
            .ok_or(SessionError::new(1438, Reason::NoRoom))?;
        *slot = SessionSlot(Some(session));
        Ok(())
    }

    fn of(&self, database: DatabaseId) -> Option<usize> {
        self.sessions.iter().position(|slot| {
            slot.0
                .as_ref()
                .is_some_and(|session| session.database() == database && session.over.is_none())
        })
    }

    fn on<R>(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        step: impl FnOnce(&mut Session, &mut crate::session::Ctx<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        self.present(env);
        let none = SessionError::new(1416, Reason::NotMirrored);
        let at = self.of(database).ok_or(none)?;
        self.with_session(env, at, step).unwrap_or(Err(none))
    }

    fn told(
        &mut self,
        env: &mut Env<'_, P>,
        database: DatabaseId,
        role: Role,
        step: impl FnOnce(&mut Session, &mut crate::session::Ctx<'_>),
    ) {
        self.present(env);
        if let Some(at) = self.of(database)
            && self.session(at).is_some_and(|session| session.role() == role)
        {
            self.with_session(env, at, step);
        }
    }
}

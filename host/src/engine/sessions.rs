//! What the handle's calls about databases and their sessions do.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dbmirror_adapters::address::ServerAddress;
use dbmirror_adapters::blocklog::LogId;
use dbmirror_core::message::{DatabaseName, FamilyGuid, LogEnd, Position, Timelines};
use dbmirror_core::session::{
    self, DatabaseId, FoundLog, MirrorCopy, Phase, Reason, Role, Safety, SessionError, StartAsPrincipal,
    WaitAsMirror,
};

use super::run::{Handle, Instance};
use super::statements::{not_started, parse_address, test_connection};
use super::storage::Database;
use super::worker::{Command, Subject, Worker, continuity};
use super::{
    Checkpoint, DatabaseConfig, DatabaseState, EngineError, Lsn, MirroringRole, MirroringState,
    STATEMENT_TIMEOUT, SafetyLevel, SeedingMode, SessionView, SetPartner,
};

/// How long a principal waits for its mirror to start the session; core gives up earlier.
const START: Duration = Duration::from_secs(40);

pub(super) const fn core_id(database_id: i32) -> DatabaseId {
    DatabaseId(database_id.cast_unsigned())
}

pub(super) fn unknown(database_id: i32) -> EngineError {
    EngineError::new(911, format!("Database {database_id} is not known to the engine."))
}

/// Takes a database in, and waits until its capture runs or is refused.
pub(super) fn attach_database(handle: &Handle, config: DatabaseConfig) -> Result<(), EngineError> {
    let id = core_id(config.database_id);
    let to_loop = handle.clone();
    let running = handle.ask(move |i: &mut Instance<'_>| i.attach_database(config, to_loop))??;
    let Some((running, new)) = running else {
        return Ok(());
    };
    match running.recv_timeout(STATEMENT_TIMEOUT) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) if !new => Err(e),
        Ok(Err(e)) => {
            // Refused: it is as if it had never been asked for.
            let gone = handle.ask(move |i: &mut Instance<'_>| i.remove_database(id))?;
            drop(gone);
            Err(e)
        }
        // It goes on; a large file takes its time to be read once.
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err(EngineError::new(
            1415,
            "The operation failed: the database's thread has ended; see the error log.",
        )),
    }
}

/// Opens a restored copy: its log goes on in a new timeline, and applications may write.
pub(super) fn recover_database(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    let id = core_id(database_id);
    // All that the log holds goes into the file first, also what a mirror hardened and was never told to be decided: its
    // principal may have counted on it.
    let end = handle.ask(move |i: &mut Instance<'_>| {
        i.restoring(id)?;
        let d = i.database(id)?;
        let end = i.world.logs.log.extent(d.log_id).map_or(LogEnd::START, |e| e.end);
        d.worker.send(Command::Apply {
            upto: end.position,
            adopt: false,
        });
        Ok(end.position)
    })??;
    let reached = checkpoint(handle, database_id)?.lsn;
    if reached != Lsn::new(end.timeline, end.sequence) {
        return Err(EngineError::new(
            5120,
            format!(
                "The file is at {reached} and its log ends at {}: what lies between could not be written into it; see the error log.",
                end.lsn()
            ),
        ));
    }
    let running = handle.ask(move |i: &mut Instance<'_>| {
        i.restoring(id)?;
        let Some(config) = i.world.names.get_mut(&id) else {
            return Err(unknown(database_id));
        };
        config.state = DatabaseState::Online;
        let name = config.name.clone();
        i.world.catalog.set_refusal(&name, Reason::NotRestoring);
        let (sender, running) = sync_channel(1);
        i.world.captures.insert(id, sender);
        i.capture(id, true);
        Ok(running)
    })??;
    let running = running.recv_timeout(STATEMENT_TIMEOUT).unwrap_or(Ok(()));
    if running.is_err() {
        // It stays what it is in the catalog too: a copy that the statement may be repeated on.
        handle.run(move |i| i.close_again(id));
    }
    running
}

type Running = std::sync::mpsc::Receiver<Result<(), EngineError>>;

pub(super) fn detach_database(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    let log_id = release_database(handle, database_id)?;
    forget_database(handle, database_id, Some(log_id))
}

/// Lets go of a database's file; log and record stay.
pub(super) fn release_database(handle: &Handle, database_id: i32) -> Result<LogId, EngineError> {
    let id = core_id(database_id);
    let gone = handle.ask(move |i: &mut Instance<'_>| {
        if i.endpoint.sessions().any(|s| s.database == id) {
            let name = i.world.name(id);
            return Err(EngineError::new(
                3743,
                format!("The database '{name}' is mirrored: ALTER DATABASE … SET PARTNER OFF first."),
            ));
        }
        i.remove_database(id).ok_or_else(|| unknown(database_id))
    })??;
    // Waits for the thread, so that nothing uses the file when this returns.
    let log_id = gone.log_id;
    drop(gone);
    Ok(log_id)
}

/// Forgets log and record of a database that was let go of; without its log's id the record tells that.
pub(super) fn forget_database(
    handle: &Handle,
    database_id: i32,
    log_id: Option<LogId>,
) -> Result<(), EngineError> {
    let id = core_id(database_id);
    handle.ask(move |i: &mut Instance<'_>| {
        let log_id = match log_id {
            Some(log_id) => Some(log_id),
            None => i.world.records().database(id)?.map(|row| row.log),
        };
        if let Some(log_id) = log_id {
            let _ = i.world.logs.log.forget(log_id);
        }
        i.world.records().forget_database(id)
    })?
}

/// Forgets log, record and session of every database that is not in `catalog`, and every log that is nobody's.
pub(super) fn forget_databases_but(handle: &Handle, catalog: Vec<i32>) -> Result<(), EngineError> {
    handle.ask(move |i: &mut Instance<'_>| {
        let catalog: Vec<DatabaseId> = catalog.into_iter().map(core_id).collect();
        let known = i.world.records().known()?;
        for id in known.into_iter().filter(|id| !catalog.contains(id)) {
            if i.world.logs.databases.contains_key(&id) {
                continue;
            }
            i.forget_stale(id)?;
        }
        let owned = i.world.records().logs()?;
        for log in i.world.logs.log.logs() {
            let used = i.world.logs.databases.values().any(|d| d.log_id == log);
            if !used && !owned.contains(&log) {
                let _ = i.world.logs.log.forget(log);
            }
        }
        Ok(())
    })?
}

/// Makes sure that nothing is known of a database that begins to be.
pub(super) fn begin_database(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    match release_database(handle, database_id) {
        // As it should be.
        Err(e) if e.number == 911 => {}
        other => drop(other?),
    }
    let id = core_id(database_id);
    handle.ask(move |i: &mut Instance<'_>| {
        if i.world.records().known()?.contains(&id) {
            i.forget_stale(id)?;
        }
        Ok(())
    })?
}

/// Takes a file as it is that was refused as no continuation of what was captured, and waits until its capture runs. `false` where
/// it was not refused.
pub(super) fn accept_file(handle: &Handle, database_id: i32) -> Result<bool, EngineError> {
    let id = core_id(database_id);
    let (accepted, running) = handle.ask(move |i: &mut Instance<'_>| {
        if !i.accept_file(id)? {
            return Ok((false, None));
        }
        let Some(d) = i.world.logs.databases.get_mut(&id) else {
            return Ok((true, None));
        };
        d.refused = None;
        let (sender, running) = sync_channel(1);
        i.world.captures.insert(id, sender);
        i.capture(id, false);
        let now = i.now();
        i.endpoint.lift_suspension(&mut i.world.env_at(now), id);
        i.settle();
        Ok::<_, EngineError>((true, Some(running)))
    })??;
    if let Some(running) = running {
        running.recv_timeout(STATEMENT_TIMEOUT).unwrap_or(Ok(()))?;
    }
    Ok(accepted)
}

/// Between two looks whether a principal that has just started is served.
const SERVED_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn checkpoint(handle: &Handle, database_id: i32) -> Result<Checkpoint, EngineError> {
    let id = core_id(database_id);
    wait_until_served(handle, id)?;
    let (reply, folded) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        let d = i.database(id)?;
        d.worker.send(Command::Fold(reply));
        Ok(())
    })??;
    folded
        .recv_timeout(STATEMENT_TIMEOUT)
        .map_err(|_| EngineError::new(5120, "The file of the database was busy for too long."))?
}

/// A principal that has just started does not know yet whether it is the principal still (`docs/safety.md` R4): until its partner
/// or its witness has said so, its file is neither captured nor a mirror's, and what stands in it is not compared with the log.
pub(super) fn wait_until_served(handle: &Handle, id: DatabaseId) -> Result<(), EngineError> {
    let deadline = Instant::now() + STATEMENT_TIMEOUT;
    loop {
        let waits = handle.ask(move |i: &mut Instance<'_>| {
            let capturing = i.database(id)?.capturing;
            let principal = i
                .endpoint
                .sessions()
                .any(|s| s.database == id && s.role == Role::Principal);
            Ok::<_, EngineError>(
                (principal && !capturing).then(|| i.world.names.get(&id).map(|c| c.name.clone())),
            )
        })??;
        let Some(name) = waits else { return Ok(()) };
        if Instant::now() >= deadline {
            let text = format!(
                "Database '{}' lacks a quorum of its mirroring session and stays closed: this instance has not heard from its partner or \
                 its witness whether it is the principal still. Start one of them, or see which connection fails in \
                 sys.dm_db_mirroring_connections.",
                name.unwrap_or_default()
            );
            return Err(EngineError::new(955, text));
        }
        std::thread::sleep(SERVED_AGAIN);
    }
}

pub(super) fn set_partner(handle: &Handle, request: SetPartner) -> Result<(), EngineError> {
    let address = parse_address(&request.address)?;
    let id = core_id(request.database.database_id);
    let name = request.database.name.clone();
    let text = request.address.clone();
    handle.ask(move |i: &mut Instance<'_>| i.may_set_partner(id, &name, &text))??;
    match request.database.state {
        DatabaseState::Restoring => {
            let config = request.database.clone();
            let seeded = request.seeding == SeedingMode::Automatic;
            let to_loop = handle.clone();
            handle.ask(move |i: &mut Instance<'_>| i.wait_as_mirror(config, address, seeded, to_loop))?
        }
        DatabaseState::Online => {
            // Walking the steps of a connection first tells which one fails, before anything is begun.
            test_connection(handle, &request.address, Duration::ZERO, &mut |_| {})?;
            start_as_principal(handle, &request, address)
        }
    }
}

fn start_as_principal(
    handle: &Handle,
    request: &SetPartner,
    partner: dbmirror_core::message::Address,
) -> Result<(), EngineError> {
    let id = core_id(request.database.database_id);
    let name = DatabaseName::new(&request.database.name)
        .map_err(|_| EngineError::new(1499, "The name of the database is too long."))?;
    let (reply, begun) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        let d = i.database(id)?;
        d.worker.send(Command::NewTimeline(reply));
        Ok(())
    })??;
    let (timelines, end): (Timelines, LogEnd) = begun.recv_timeout(STATEMENT_TIMEOUT).map_err(|_| {
        EngineError::new(1413, "The database's capture does not answer; see the error log.")
    })??;
    let (sender, started) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        let d = i.database(id)?;
        let family = d.family;
        // What was captured meanwhile may be durable already.
        let end = if d.hardened.position.sequence > end.position.sequence {
            d.hardened
        } else {
            end
        };
        let now = i.now();
        let command = StartAsPrincipal {
            database: id,
            name,
            partner,
            family,
            end,
            timelines,
        };
        let outcome = i.endpoint.start_as_principal(&mut i.world.env_at(now), &command);
        outcome.map_err(|e| i.session_error(id, e))?;
        i.world.starts.insert(id, sender);
        Ok(())
    })??;
    started.recv_timeout(START).unwrap_or_else(|_| {
        Err(EngineError::new(
            1421,
            format!(
                "'{}' did not complete the start of the session in time. See the error logs on both sides.",
                request.address
            ),
        ))
    })
}

impl Instance<'_> {
    /// The database that a statement names by its number.
    ///
    /// # Errors
    /// 911 when the engine holds none of that number.
    pub(super) fn database(&self, id: DatabaseId) -> Result<&Database, EngineError> {
        self.world
            .logs
            .databases
            .get(&id)
            .ok_or_else(|| unknown(id.0.cast_signed()))
    }

    fn attach_database(
        &mut self,
        config: DatabaseConfig,
        handle: Handle,
    ) -> Result<Option<(Running, bool)>, EngineError> {
        let id = core_id(config.database_id);
        if self.world.logs.databases.contains_key(&id) {
            let mirrored = self.endpoint.sessions().any(|s| s.database == id);
            if mirrored || self.refusal(id)?.is_none() {
                return Ok(None);
            }
            // Its file is looked at again.
            return Ok(Some((self.capture_and_tell(id), false)));
        }
        self.add_database(&config, handle)?;
        let record = self.world.records().session(id)?;
        if let Some(record) = record {
            self.restore_session(id, &record)?;
            return Ok(None);
        }
        if config.state == DatabaseState::Restoring {
            return Ok(None);
        }
        Ok(Some((self.capture_and_tell(id), true)))
    }

    fn capture_and_tell(&mut self, id: DatabaseId) -> Running {
        let (sender, running) = sync_channel(1);
        self.world.captures.insert(id, sender);
        self.capture(id, false);
        running
    }

    /// A copy whose opening failed is a copy again, and nobody captures it.
    fn close_again(&mut self, id: DatabaseId) {
        let Some(config) = self.world.names.get_mut(&id) else {
            return;
        };
        config.state = DatabaseState::Restoring;
        let name = config.name.clone();
        self.world.catalog.set_refusal(&name, Reason::NotWaiting);
        if let Some(d) = self.world.logs.databases.get_mut(&id) {
            d.capturing = false;
            d.worker.send(Command::StopCapture);
        }
    }

    /// Forgets what is left of a database that never came to be: the instance ended after the engine had written its record and
    /// before the catalog had the database, and the catalog gives the same id to the next one.
    fn forget_stale(&mut self, id: DatabaseId) -> Result<(), EngineError> {
        let log = self.world.records().forget_all(id)?;
        if let Some(log) = log {
            let _ = self.world.logs.log.forget(log);
        }
        self.world.log_own(
            10,
            format!(
                "What was left of a database {id} that the catalog does not hold was forgotten.",
                id = id.0
            ),
        );
        Ok(())
    }

    /// What is dropped waits for the database's thread, so drop it outside of the loop.
    fn remove_database(&mut self, id: DatabaseId) -> Option<Database> {
        if let Some(config) = self.world.names.remove(&id) {
            self.world.catalog.forget_name(&config.name);
        }
        self.world.logs.attachments.remove(&id);
        self.world.logs.databases.remove(&id)
    }

    /// Starts the database's thread and knows its name.
    pub(super) fn add_database(
        &mut self,
        config: &DatabaseConfig,
        handle: Handle,
    ) -> Result<(), EngineError> {
        let id = core_id(config.database_id);
        let row = self.world.records().database(id)?;
        let (log_id, family) = match &row {
            Some(row) => (row.log, row.family),
            None => {
                let mut log_id = [0; 16];
                getrandom::fill(&mut log_id)
                    .map_err(|_| EngineError::new(1499, "The operating system gave no randomness."))?;
                (LogId(log_id), FamilyGuid(config.family_guid))
            }
        };
        let redone = Arc::new(Mutex::new(None));
        let subject = Subject {
            database: id,
            name: config.name.clone(),
            path: config.path.clone(),
            log_id,
            family,
            log: Arc::clone(&self.world.logs.log),
            records: Arc::clone(&self.world.logs.records),
            handle,
            redone: Arc::clone(&redone),
        };
        let worker = Worker::spawn(subject)
            .map_err(|e| EngineError::new(1450, format!("No thread for database '{}': {e}.", config.name)))?;
        let hardened = self
            .world
            .logs
            .log
            .extent(log_id)
            .map_or(LogEnd::START, |e| e.end);
        self.world
            .logs
            .databases
            .insert(id, Database::new(log_id, family, worker, redone, hardened));
        self.world.catalog.set_refusal(
            &config.name,
            match config.state {
                DatabaseState::Online => Reason::NotRestoring,
                DatabaseState::Restoring => Reason::NotWaiting,
            },
        );
        self.world.names.insert(id, config.clone());
        Ok(())
    }

    fn restore_session(&mut self, id: DatabaseId, record: &[u8]) -> Result<(), EngineError> {
        let logs = &self.world.logs;
        let log = logs
            .databases
            .get(&id)
            .map_or_else(FoundLog::default, |d| FoundLog {
                end: d.hardened,
                lost: logs.lost.contains(&d.log_id),
            });
        let end = log.end;
        let now = self.now();
        let restored = self.endpoint.restore(&mut self.world.env_at(now), record, log);
        restored.map_err(|e| self.session_error(id, e))?;
        self.learn_family(id);
        if self.refusal(id)?.is_some() {
            let now = self.now();
            self.endpoint.file_refused(&mut self.world.env_at(now), id, true);
        }
        // A timeline that was begun just before the instance stopped may have missed the session's record.
        let row = self.world.records().database(id)?;
        for timeline in row.iter().flat_map(|row| row.timelines.as_slice()) {
            let gap = timeline.first == end.position.sequence && timeline.number == end.position.timeline;
            let now = self.now();
            if self
                .endpoint
                .new_timeline(&mut self.world.env_at(now), id, *timeline, gap)
                .is_ok()
            {
                self.capture(id, false);
            }
        }
        let name = self.world.name(id);
        let role = self
            .endpoint
            .sessions()
            .find(|s| s.database == id)
            .map(|s| s.role);
        // The catalog follows a change of role a little later than the session's own record.
        self.set_state(
            id,
            if role == Some(Role::Principal) {
                DatabaseState::Online
            } else {
                DatabaseState::Restoring
            },
        );
        let (number, role) = match role {
            Some(Role::Principal) => (1440, "principal"),
            _ => (1441, "mirror"),
        };
        let text = format!("Database mirroring is active with database '{name}' as the {role} copy.");
        self.world.log(number, 10, text, vec![("database", name)]);
        if role == "mirror"
            && let Some(d) = self.world.logs.databases.get(&id)
        {
            // Readers find the copy where it was left.
            d.worker.send(Command::Apply {
                upto: Position::START,
                adopt: false,
            });
        }
        Ok(())
    }

    /// The checks that need nobody else, in the documented order.
    fn may_set_partner(&self, id: DatabaseId, name: &str, address: &str) -> Result<(), EngineError> {
        if self.endpoint.sessions().any(|s| s.database == id) {
            return Err(EngineError::new(
                1405,
                format!(
                    "The database '{name}' already takes part in a mirroring session here: SET PARTNER OFF first."
                ),
            ));
        }
        let own = self.world.address.ok_or_else(not_started)?;
        let target = ServerAddress::parse(address).ok().and_then(|a| a.numeric());
        if target == Some(own) {
            return Err(EngineError::new(
                1452,
                format!("The partner address '{address}' is this instance's own. Name the other server."),
            ));
        }
        Ok(())
    }

    fn wait_as_mirror(
        &mut self,
        config: DatabaseConfig,
        partner: dbmirror_core::message::Address,
        seeded: bool,
        handle: Handle,
    ) -> Result<(), EngineError> {
        let id = core_id(config.database_id);
        let known = self.world.logs.databases.contains_key(&id);
        if !known {
            self.add_database(&config, handle)?;
        }
        let row = self.world.records().database(id)?;
        let copy = match (seeded, row, self.world.logs.databases.get(&id)) {
            (true, ..) => None,
            (false, Some(row), Some(d)) => Some(MirrorCopy {
                family: row.family,
                end: d.hardened,
                timelines: row.timelines,
            }),
            _ => {
                return Err(EngineError::new(
                    1464,
                    format!(
                        "The database '{}' holds nothing yet: restore a full backup and the log backups WITH NORECOVERY, or use WITH \
                         (SEEDING_MODE = AUTOMATIC).",
                        config.name
                    ),
                ));
            }
        };
        let name = DatabaseName::new(&config.name)
            .map_err(|_| EngineError::new(1499, "The name of the database is too long."))?;
        let now = self.now();
        let command = WaitAsMirror {
            database: id,
            name,
            partner,
            copy,
        };
        let outcome = self
            .endpoint
            .wait_as_mirror(&mut self.world.env_at(now), &command);
        outcome.map_err(|e| self.session_error(id, e))?;
        // The statement returns when this is on disk.
        self.settle();
        Ok(())
    }

    pub(super) fn partner_off(&mut self, database_id: i32) -> Result<(), EngineError> {
        let id = core_id(database_id);
        let now = self.now();
        let outcome = self.endpoint.partner_off(&mut self.world.env_at(now), id);
        outcome.map_err(|e| self.refused(id, e))?;
        self.settle();
        Ok(())
    }

    pub(super) fn set_safety(&mut self, database_id: i32, safety: SafetyLevel) -> Result<(), EngineError> {
        let id = core_id(database_id);
        let safety = match safety {
            SafetyLevel::Off => Safety::Off,
            SafetyLevel::Full => Safety::Full,
        };
        let now = self.now();
        let outcome = self.endpoint.set_safety(&mut self.world.env_at(now), id, safety);
        outcome.map_err(|e| self.refused(id, e))?;
        self.settle();
        Ok(())
    }

    pub(super) fn set_suspended(&mut self, database_id: i32, suspend: bool) -> Result<(), EngineError> {
        let id = core_id(database_id);
        // To go on is not to accept another file: that has a word of its own.
        if !suspend && let Some(refusal) = self.refusal(id)? {
            return Err(refusal);
        }
        let now = self.now();
        let outcome = self
            .endpoint
            .set_suspended(&mut self.world.env_at(now), id, suspend);
        outcome.map_err(|e| self.refused(id, e))?;
        self.settle();
        Ok(())
    }

    /// 5173 where the file of a database is refused.
    fn refusal(&self, id: DatabaseId) -> Result<Option<EngineError>, EngineError> {
        let why = self.world.records().database(id)?.and_then(|row| row.refused);
        Ok(why
            .zip(self.world.names.get(&id))
            .map(|(why, config)| continuity::refusal(&config.name, &config.path, &why)))
    }

    /// Takes the operator's word that the file is right as it is. `false` where it was not refused.
    fn accept_file(&mut self, id: DatabaseId) -> Result<bool, EngineError> {
        let Some(mut row) = self.world.records().database(id)? else {
            return Ok(false);
        };
        let Some(why) = row.refused.take() else {
            return Ok(false);
        };
        row.identity = None;
        self.world.records().set_database(id, &row)?;
        let name = self.world.name(id);
        self.world.log(
            1499,
            10,
            format!("The file of database '{name}' is accepted as it is by an operator, although {why}."),
            vec![("database", name)],
        );
        Ok(true)
    }

    pub(super) fn set_timeout(&mut self, database_id: i32, seconds: u16) -> Result<(), EngineError> {
        let id = core_id(database_id);
        let now = self.now();
        let outcome = self
            .endpoint
            .set_timeout(&mut self.world.env_at(now), id, seconds);
        outcome.map_err(|e| self.refused(id, e))?;
        self.settle();
        Ok(())
    }

    fn refused(&self, id: DatabaseId, e: SessionError) -> EngineError {
        self.session_error(id, e)
    }

    pub(super) fn session_views(&self) -> Vec<SessionView> {
        let views: Vec<session::SessionView> = self.endpoint.sessions().collect();
        views.into_iter().map(|v| self.session_view(&v)).collect()
    }

    fn session_view(&self, v: &session::SessionView) -> SessionView {
        let lsn = |p: Position| (p != Position::START).then(|| Lsn::new(p.timeline, p.sequence));
        let database = self.world.logs.databases.get(&v.database);
        let refused = database.and_then(|d| d.refused.clone());
        let redone = database
            .and_then(|d| *d.redone.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
            .and_then(lsn);
        let state = match v.state {
            session::SessionState::Suspended => MirroringState::Suspended,
            session::SessionState::Disconnected => MirroringState::Disconnected,
            session::SessionState::Synchronizing => MirroringState::Synchronizing,
            session::SessionState::PendingFailover => MirroringState::PendingFailover,
            session::SessionState::Synchronized => MirroringState::Synchronized,
        };
        SessionView {
            database_id: v.database.0.cast_signed(),
            mirroring_guid: v.guid.map(|g| g.0),
            state: (v.phase != Phase::Waiting).then_some(if refused.is_some() {
                MirroringState::Suspended
            } else {
                state
            }),
            role: match v.role {
                Role::Principal => MirroringRole::Principal,
                Role::Mirror => MirroringRole::Mirror,
            },
            role_sequence: v.record.role_sequence,
            safety: match v.safety {
                Safety::Off => SafetyLevel::Off,
                Safety::Full => SafetyLevel::Full,
            },
            safety_sequence: v.safety_sequence,
            partner_name: v.partner.as_str().to_owned(),
            partner_instance: Some(v.partner_instance_name.as_str().to_owned()).filter(|n| !n.is_empty()),
            partner_login_id: v.partner_login.map(u32::cast_signed),
            failover_lsn: lsn(v.hardened_on_both),
            end_of_log_lsn: lsn(v.end.position),
            redone_lsn: redone,
            connection_timeout: u32::from(v.timeout),
            witness_name: v.witness.map(|w| w.address.as_str().to_owned()),
            witness_state: v.witness.map(|w| w.state.code()),
            serves: v.serves,
            seeding_percent: v.seed.map(|s| percent(s.done, s.total)),
            reason: refused.or_else(|| v.trouble.map(|e| self.session_error(v.database, e).text)),
            // There is no gate yet: every block is one.
            ungated_blocks: match v.role {
                Role::Principal => v.end.position.sequence,
                Role::Mirror => 0,
            },
        }
    }
}

fn percent(done: u64, total: u64) -> u8 {
    u8::try_from(u128::from(done) * 100 / u128::from(total.max(1)))
        .unwrap_or(100)
        .min(100)
}

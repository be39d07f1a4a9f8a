//! The engine's one loop: a thread that owns the endpoint, its sockets and what it knows of the databases.
//!
//! Everybody else hands it jobs. A job runs between two turns of the driver; after it, [`Instance::settle`] does what the
//! endpoint asks until it waits, and makes its records durable in batches.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use dbmirror_adapters::blocklog::Durability;
use dbmirror_adapters::tcp::Driver;
use dbmirror_core::endpoint::{
    Config, ConnectionSlot, Endpoint, Event, FragmentPlace, PairingPlace, SessionSlot,
};
use dbmirror_core::message::{FamilyGuid, LogEnd, Position, Timeline};
use dbmirror_core::session::{DatabaseId, StorageError};
use dbmirror_core::time::Instant;
use dbmirror_core::witness::WitnessSlot;
use mio::Waker;

use super::worker::{Command, SeedReader};
use super::world::Site;
use super::{DatabaseChange, EngineError, STATEMENT_TIMEOUT};
use crate::provider::ChannelCrypto;

/// Places for connections and sessions.
const CONNECTIONS: usize = 256;
const SESSIONS: usize = 4096;
/// Places for sessions that this instance is the witness of.
const WITNESSED: usize = 4096;
const EVENTS: usize = 1024;

/// Something to be done in the loop.
pub(super) type Job = Box<dyn for<'a> FnOnce(&mut Instance<'a>) + Send>;

/// Hands jobs to the loop from any thread.
#[derive(Clone)]
pub(super) struct Handle {
    jobs: Sender<Job>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Has `job` run in the loop, some time.
    pub(super) fn run(&self, job: impl for<'a> FnOnce(&mut Instance<'a>) + Send + 'static) {
        // A loop that has ended needs no jobs.
        if self.jobs.send(Box::new(job)).is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// Has `job` run in the loop and waits for what it returns.
    ///
    /// # Errors
    /// 1415 when the engine has ended or does not answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        job: impl for<'a> FnOnce(&mut Instance<'a>) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = sync_channel(1);
        self.run(move |instance| {
            let _ = reply.send(job(instance));
        });
        answer.recv_timeout(STATEMENT_TIMEOUT).map_err(|e| {
            let why = match e {
                RecvTimeoutError::Timeout => "does not answer",
                RecvTimeoutError::Disconnected => "has ended",
            };
            EngineError::new(
                1415,
                format!("The operation failed: the instance's engine {why}; see the error log."),
            )
        })
    }
}

/// What the loop owns.
pub(super) struct Instance<'a> {
    pub endpoint: Endpoint<'a, ChannelCrypto>,
    pub driver: Driver,
    pub world: Site,
    pub stopping: bool,
}

/// Starts the loop's thread.
pub(super) fn spawn(
    config: Config,
    make_site: impl FnOnce(Handle) -> Result<Site, EngineError>,
) -> Result<(Handle, JoinHandle<()>), EngineError> {
    let failed =
        |e: std::io::Error| EngineError::new(1401, format!("The endpoint's loop could not start: {e}."));
    let driver = Driver::new().map_err(failed)?;
    let (jobs, inbox) = channel();
    let handle = Handle {
        jobs,
        waker: driver.waker(),
    };
    let site = make_site(handle.clone())?;
    let thread = std::thread::Builder::new()
        .name("endpoint".into())
        .spawn(move || run(config, driver, site, &inbox))
        .map_err(failed)?;
    Ok((handle, thread))
}

fn run(config: Config, driver: Driver, world: Site, inbox: &Receiver<Job>) {
    let mut connections: Vec<ConnectionSlot<ChannelCrypto>> = Vec::new();
    connections.resize_with(CONNECTIONS, Default::default);
    let mut sessions: Vec<SessionSlot> = Vec::new();
    sessions.resize_with(SESSIONS, Default::default);
    let mut events: Vec<Option<Event>> = vec![None; EVENTS];
    let mut witnessed: Vec<WitnessSlot> = Vec::new();
    witnessed.resize_with(WITNESSED, Default::default);
    let mut pairing = PairingPlace::default();
    let mut fragments: Vec<FragmentPlace> = Vec::new();
    fragments.resize_with(CONNECTIONS, Default::default);
    let endpoint = Endpoint::new(config, &mut connections, &mut sessions, &mut events)
        .with_pairing(&mut pairing)
        .with_witness(&mut witnessed)
        .with_clock()
        .with_fragments(&mut fragments);
    let mut instance = Instance {
        endpoint,
        driver,
        world,
        stopping: false,
    };
    instance.restore_witnessed();
    while !instance.stopping {
        let Instance {
            endpoint,
            driver,
            world,
            ..
        } = &mut instance;
        if let Err(e) = driver.turn(endpoint, world, None) {
            instance
                .world
                .log_own(16, format!("The endpoint's loop failed and stops: {e}."));
            return;
        }
        instance.settle();
        while let Ok(job) = inbox.try_recv() {
            job(&mut instance);
            instance.settle();
        }
    }
}

impl Instance<'_> {
    /// The present.
    pub(super) fn now(&self) -> Instant {
        self.driver.now()
    }

    /// Calendar time of an instant of the loop's clock.
    pub(super) fn system_time(&self, at: Instant) -> SystemTime {
        SystemTime::now() - Duration::from_micros(self.now().since(at).as_micros())
    }

    /// Does what the endpoint asks until it waits: bytes, records, events.
    pub(super) fn settle(&mut self) {
        loop {
            self.driver.drain(&mut self.endpoint, &mut self.world);
            self.pass_on_certificates();
            let tickets = self.world.persist_batch();
            let events = self.world.take_events();
            if tickets.is_empty() && events.is_empty() {
                return;
            }
            let now = self.now();
            for ticket in tickets {
                self.endpoint
                    .handle_persisted(&mut self.world.env_at(now), ticket);
            }
            for event in events {
                self.react(event);
            }
        }
    }

    /// The block log's worker has finished a batch.
    pub(super) fn durable(&mut self, batch: Durability) {
        match batch {
            Durability::Durable(ends) => {
                for (id, end) in ends {
                    self.log_hardened(id, end);
                }
                self.prune_if_due();
            }
            Durability::Failed(why) => self.world.log_own(
                24,
                format!(
                    "The disk of the block log failed: {why}. Nothing more is claimed to be on it. Repair it and restart the \
                     instance, which reads it again."
                ),
            ),
        }
    }

    fn log_hardened(&mut self, id: dbmirror_adapters::blocklog::LogId, end: LogEnd) {
        let now = self.now();
        let found = self.world.logs.databases.iter_mut().find(|(_, d)| d.log_id == id);
        let Some((&database, d)) = found else { return };
        if d.seeding {
            return;
        }
        d.hardened = end;
        if d.capturing {
            self.endpoint.log_grew(&mut self.world.env_at(now), database, end);
        } else {
            d.redo();
            // Adoption is told when the file has it too.
            if !d.adopting {
                self.endpoint.hardened(&mut self.world.env_at(now), database, end);
            }
        }
    }

    /// A database's thread captures. `begun`: its log goes on in a new timeline; `gap`: and does not follow what it held.
    pub(super) fn capture_running(&mut self, database: DatabaseId, begun: Option<Timeline>, gap: bool) {
        if let Some(waiting) = self.world.captures.remove(&database) {
            let _ = waiting.send(Ok(()));
        }
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.refused = None;
        }
        let now = self.now();
        self.endpoint
            .file_refused(&mut self.world.env_at(now), database, false);
        if let Some(timeline) = begun {
            // Without a session there is nobody to tell.
            let _ = self
                .endpoint
                .new_timeline(&mut self.world.env_at(now), database, timeline, gap);
        }
        let Some(d) = self.world.logs.databases.get_mut(&database) else {
            return;
        };
        if let Some(extent) = self.world.logs.log.extent(d.log_id)
            && gap
        {
            d.hardened = extent.end;
            self.endpoint
                .log_grew(&mut self.world.env_at(now), database, extent.end);
        }
    }

    /// A database's thread has captured all that its file held (the log then ends at `at`), or has stopped capturing.
    pub(super) fn caught_up(&mut self, database: DatabaseId, at: Option<Position>) {
        let now = self.now();
        self.endpoint.caught_up(&mut self.world.env_at(now), database, at);
    }

    /// A database's thread can not capture; it goes on trying.
    pub(super) fn capture_failed(&mut self, database: DatabaseId, e: &EngineError) {
        match self.world.captures.remove(&database) {
            Some(waiting) => {
                let _ = waiting.send(Err(e.clone()));
            }
            None => {
                let name = self.world.name(database);
                self.world.note_trouble(&name, "capture", e.number, &e.text);
            }
        }
    }

    /// A database's file is not what was captured: it waits for an operator, and so does its session.
    pub(super) fn capture_refused(&mut self, database: DatabaseId, e: &EngineError) {
        let told = self.world.logs.databases.get_mut(&database).is_some_and(|d| {
            let told = d.refused.as_ref() == Some(&e.text);
            d.refused = Some(e.text.clone());
            told
        });
        if !told || self.world.captures.contains_key(&database) {
            self.capture_failed(database, e);
        }
        let now = self.now();
        self.endpoint
            .file_refused(&mut self.world.env_at(now), database, true);
    }

    /// The tail of the mirror is in log and file.
    pub(super) fn adopted(&mut self, database: DatabaseId, end: LogEnd) {
        let now = self.now();
        self.endpoint.adopted(&mut self.world.env_at(now), database, end);
    }

    /// What is hardened cannot be brought into the file.
    pub(super) fn redo_failed(&mut self, database: DatabaseId, error: StorageError) {
        let now = self.now();
        self.endpoint
            .redo_failed(&mut self.world.env_at(now), database, error);
    }

    pub(super) fn storage_failed(&mut self, database: DatabaseId, error: StorageError) {
        let now = self.now();
        self.endpoint
            .storage_failed(&mut self.world.env_at(now), database, error);
    }

    pub(super) fn seed_opened(&mut self, database: DatabaseId, opened: Result<SeedReader, StorageError>) {
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.seed_opened(opened);
        }
        self.seed_ready(database);
    }

    pub(super) fn seed_ready(&mut self, database: DatabaseId) {
        let now = self.now();
        self.endpoint.seed_ready(&mut self.world.env_at(now), database);
    }

    pub(super) fn seed_written(&mut self, database: DatabaseId, upto: u64) {
        let now = self.now();
        self.endpoint
            .seed_written(&mut self.world.env_at(now), database, upto);
    }

    pub(super) fn seed_installed(&mut self, database: DatabaseId, family: FamilyGuid, at: LogEnd) {
        let now = self.now();
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.seeding = false;
            d.family = family;
            d.hardened = at;
            d.decided = at.position;
        }
        let change = DatabaseChange::Seeded {
            family_guid: family.0,
        };
        self.world
            .notices
            .database_changed(database.0.cast_signed(), change);
        self.endpoint
            .seed_installed(&mut self.world.env_at(now), database, at);
    }

    /// Starts the capture of a principal's file.
    pub(super) fn capture(&mut self, database: DatabaseId, restart: bool) {
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.adopting = false;
            d.capturing = true;
            d.worker.send(Command::Capture { restart });
        }
    }
}

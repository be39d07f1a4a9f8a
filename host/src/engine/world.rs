//! What the loop knows beside the endpoint: catalog, logs, records to persist, errors, who waits for what.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::world::World;
use dbmirror_core::endpoint::{ConnectionId, ConnectionView, Endpoint, Env, Event, RecordWrite, Ticket};
use dbmirror_core::session::DatabaseId;
use dbmirror_core::time::{Instant, UnixSeconds};

use super::directory::Catalog;
use super::pairing::Waiting;
use super::records::{Records, Write};
use super::run::Handle;
use super::storage::Logs;
use super::upkeep::Pruning;
use super::{DatabaseConfig, EngineError, ErrorRow, Guid, LogLine, Notices, TestStep};
use crate::provider::ChannelCrypto;

/// Rows of `sys.dm_dbmirror_errors`.
const ERRORS: usize = 256;
/// The same failure of the same peer is told again after this.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// How often within that time a failure of somebody who comes from outside is told, since each may be another one.
const TOLD_INBOUND: u32 = 20;
/// Kinds of failures that are remembered as told.
const TOLD_MAX: usize = 4096;

/// The records, to oneself. Each use of them is whole, so one that panicked leaves nothing behind.
pub(super) fn locked(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event with what was known of its connection when it happened.
pub(super) struct Told {
    pub event: Event,
    pub peer: Option<SocketAddr>,
    pub view: Option<ConnectionView>,
}

/// What a test of a connection is told.
pub(super) enum Probe {
    Step(TestStep),
    /// It is online; its `close` ends it.
    Online,
    /// It has ended.
    Failed(EngineError),
}

/// The world of one instance.
pub(super) struct Site {
    pub catalog: Catalog,
    pub logs: Logs,
    pub notices: Arc<dyn Notices>,
    pub names: HashMap<DatabaseId, DatabaseConfig>,
    pub errors: VecDeque<ErrorRow>,
    /// Statements that wait for the start of a session.
    pub starts: HashMap<DatabaseId, SyncSender<Result<(), EngineError>>>,
    /// Statements that wait for a change of role or of witness.
    pub changes: HashMap<DatabaseId, SyncSender<Result<(), EngineError>>>,
    /// Statements that wait for the capture of a database to run.
    pub captures: HashMap<DatabaseId, SyncSender<Result<(), EngineError>>>,
    pub probes: HashMap<ConnectionId, Sender<Probe>>,
    /// `connection_id` and `transport_stream_id`.
    pub guids: HashMap<ConnectionId, (Guid, Guid)>,
    pub address: Option<SocketAddr>,
    pub handle: Handle,
    pub pruning: Pruning,
    pub pairing: Waiting,
    entropy: OsEntropy,
    pending: Vec<(Ticket, Write)>,
    /// The records could not be written: nothing is confirmed any more.
    broken: bool,
    events: Vec<Told>,
    /// When a failure was first told, and how often it has happened since.
    told: HashMap<(String, i32), (Clock, u32)>,
}

impl Site {
    pub(super) fn new(logs: Logs, notices: Arc<dyn Notices>, handle: Handle) -> Self {
        Self {
            catalog: Catalog::default(),
            logs,
            notices,
            names: HashMap::new(),
            errors: VecDeque::new(),
            starts: HashMap::new(),
            changes: HashMap::new(),
            captures: HashMap::new(),
            probes: HashMap::new(),
            guids: HashMap::new(),
            address: None,
            handle,
            pruning: Pruning::default(),
            pairing: Waiting::default(),
            entropy: OsEntropy,
            pending: Vec::new(),
            broken: false,
            events: Vec::new(),
            told: HashMap::new(),
        }
    }

    /// What a call of the endpoint is lent.
    pub(super) fn env_at(&mut self, now: Instant) -> Env<'_, ChannelCrypto> {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        Env {
            now,
            unix: UnixSeconds(i64::try_from(unix).unwrap_or(i64::MAX)),
            entropy: &mut self.entropy,
            directory: &self.catalog,
            storage: &mut self.logs,
        }
    }

    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        locked(&self.logs.records)
    }

    /// Makes what is to be persisted durable, in one transaction, and returns what may be confirmed.
    pub(super) fn persist_batch(&mut self) -> Vec<Ticket> {
        if self.pending.is_empty() || self.broken {
            return Vec::new();
        }
        let (tickets, writes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending).into_iter().unzip();
        let written = self.records().write(&writes);
        match written {
            Ok(()) => tickets,
            Err(e) => {
                self.broken = true;
                self.log_own(
                    24,
                    format!("{} No session goes on until the instance is restarted.", e.text),
                );
                Vec::new()
            }
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.events)
    }

    /// A line of our own for the error log.
    pub(super) fn log_own(&self, severity: u8, text: String) {
        self.log(1499, severity, text, Vec::new());
    }

    pub(super) fn log(&self, number: i32, severity: u8, text: String, fields: Vec<(&'static str, String)>) {
        self.notices.log(LogLine {
            number,
            severity,
            state: 1,
            text,
            fields,
        });
    }

    /// A row of `sys.dm_dbmirror_errors`, and a line in the error log. What failed in the same way a moment ago is not said
    /// again: a partner that is away is dialled every few seconds.
    pub(super) fn note_error(
        &mut self,
        peer: &str,
        direction: &'static str,
        step: &str,
        number: i32,
        reason: &str,
        log_number: i32,
    ) {
        let now = Clock::now();
        self.told
            .retain(|_, (at, _)| now.duration_since(*at) < TOLD_AGAIN);
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        // Who comes from outside chooses a port anew each time: he is known by his host.
        let known_by = peer
            .rsplit_once(':')
            .filter(|_| direction == "inbound")
            .map_or(peer, |(host, _)| host);
        let known_by = known_by.to_owned();
        // What fails here is tried again every second, and each cause of it is told.
        let cause = if direction == "local" { reason } else { "" };
        let (_, times) = self
            .told
            .entry((format!("{direction} {known_by} {step} {cause}"), number))
            .and_modify(|(_, times)| *times = times.saturating_add(1))
            .or_insert((now, 1));
        match (direction, *times) {
            ("outbound" | "local", 2..) => return,
            ("inbound", times) if times > TOLD_INBOUND + 1 => return,
            ("inbound", times) if times > TOLD_INBOUND => {
                self.log_own(
                    10,
                    format!(
                        "More of number {number} from {known_by} at step {step} is not told for a minute."
                    ),
                );
                return;
            }
            _ => {}
        }
        if self.errors.len() == ERRORS {
            self.errors.pop_front();
        }
        self.errors.push_back(ErrorRow {
            time: SystemTime::now(),
            peer: peer.into(),
            direction,
            step: step.into(),
            number,
            reason: reason.into(),
        });
        let fields = vec![
            ("peer", peer.into()),
            ("direction", direction.into()),
            ("step", step.into()),
            ("number", number.to_string()),
        ];
        self.log(log_number, 16, reason.into(), fields);
    }

    /// What went wrong with a database's file or log.
    pub(super) fn note_trouble(&mut self, name: &str, step: &'static str, number: i32, text: &str) {
        self.note_error(name, "local", step, number, text, number);
    }

    /// A database's name, for people.
    pub(super) fn name(&self, database: DatabaseId) -> String {
        self.names
            .get(&database)
            .map_or_else(|| database.0.to_string(), |d| d.name.clone())
    }

    /// The guids of a connection, drawn when they are first asked for.
    pub(super) fn guids_of(&mut self, id: ConnectionId) -> (Guid, Guid) {
        *self.guids.entry(id).or_insert_with(|| {
            let mut both = [0; 32];
            // Names only: without randomness they are all zero, and the connection works.
            let _ = getrandom::fill(&mut both);
            let (mut a, mut b) = ([0; 16], [0; 16]);
            a.copy_from_slice(&both[..16]);
            b.copy_from_slice(&both[16..]);
            (a, b)
        })
    }

    /// Tells the test that waits for a connection.
    pub(super) fn tell_probe(&mut self, id: ConnectionId, probe: Probe) {
        let ends = matches!(probe, Probe::Failed(_));
        if let Some(sender) = self.probes.get(&id) {
            let _ = sender.send(probe);
        }
        if ends {
            self.probes.remove(&id);
        }
    }
}

impl World<ChannelCrypto> for Site {
    fn env(&mut self, now: Instant) -> Env<'_, ChannelCrypto> {
        self.env_at(now)
    }

    fn persist(&mut self, ticket: Ticket, write: RecordWrite<'_>) {
        let write = match write {
            RecordWrite::Live { database, record } => Write::Live {
                database,
                record: record.to_vec(),
            },
            RecordWrite::Ended {
                database,
                guid,
                record,
            } => Write::Ended {
                database,
                guid,
                record: record.to_vec(),
            },
            RecordWrite::Removed { database } => Write::Removed { database },
            RecordWrite::Witness {
                guid,
                record,
                replaces,
            } => Write::Witness {
                guid,
                record: record.to_vec(),
                replaces,
            },
            RecordWrite::WitnessRemoved { guid } => Write::WitnessRemoved { guid },
        };
        self.pending.push((ticket, write));
    }

    fn event(&mut self, endpoint: &Endpoint<'_, ChannelCrypto>, event: Event, peer: Option<SocketAddr>) {
        let view = match &event {
            Event::Connection { connection, .. }
            | Event::Refused { connection, .. }
            | Event::Pairing { connection, .. } => endpoint.connection(*connection),
            _ => None,
        };
        self.events.push(Told { event, peer, view });
    }
}

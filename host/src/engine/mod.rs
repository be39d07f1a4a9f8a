//! The engine: everything of an instance that runs while nobody types a statement. Endpoint, connections, sessions,
//! capture, apply.
//!
//! [`Engine`] is the handle that the executor holds: it can be cloned and sent to any thread, and its calls block until
//! the engine has answered. The engine never changes the catalog; what the catalog has to follow comes through
//! [`Notices`].
//!
//! Order of calls at a start of the instance: [`Engine::start`], [`Engine::set_directory`], then
//! [`Engine::attach_database`] for each database, then [`Engine::start_endpoint`] when the endpoint is STARTED. Sessions
//! that were set before resume by themselves once their database is attached and the endpoint runs.
//!
//! | module | what it is |
//! | --- | --- |
//! | `run` | the one loop, which owns the endpoint and its sockets |
//! | `world`, `react` | what the loop knows; what it does about events |
//! | `storage` | core's storage trait over the block log and the databases' threads |
//! | `worker` | a thread per database: capture, redo, seeds |
//! | `records` | `engine.db`: session records, histories, anchors |
//! | `upkeep` | how long the log is kept |
//! | `directory`, `explain` | the catalog as handshakes ask it; failures in words |
//! | `succession` | certificates that are replaced over connections that stand |
//! | `roles` | what happens to file and log when a role changes |
//! | `witness` | sessions that this instance is the witness of |
//! | `pairing` | windows and attempts of pairing |
//! | `statements`, `sessions`, `backup` | what the handle's calls do |

mod backup;
mod directory;
mod explain;
mod incoming;
mod pairing;
mod react;
mod records;
mod roles;
mod run;
mod sessions;
mod statements;
mod storage;
mod succession;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;
mod witness;
mod worker;
mod world;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use backup::RestoredFile;
pub use dbmirror_core::channel::Encryption;
pub use dbmirror_core::endpoint::PairingSecret;
pub use pairing::{Pairing, PairingId, PairingNews, ProvedPeer};
pub use succession::{
    CertificateEvent, Notice, NoticeWhat, PeerCertificate, PeerCertificateWhat, PeerId, Recipients,
    SessionPeer, Succession,
};
pub use types::*;

use run::Handle;

/// Handle to an instance's engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all handles share.
struct Shared {
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the engine of an instance: opens the block log and the durable records under `config.dir`.
    ///
    /// # Errors
    /// 1401 when the block log cannot be opened, 1451 when the records cannot be, or are of a newer version; with the reason.
    pub fn start(config: EngineConfig, notices: Arc<dyn Notices>) -> Result<Self, EngineError> {
        let (handle, thread) = statements::start(&config, notices)?;
        Ok(Self {
            shared: Arc::new(Shared {
                handle,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Ends captures, sessions and the endpoint in order, and waits until the log is on disk. Later calls are refused.
    pub fn shutdown(&self) {
        self.shared.handle.run(|i| i.stop());
        let thread = self
            .shared
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Starts the endpoint: listens, and begins to dial the partners of stored sessions. A running endpoint is stopped
    /// first.
    ///
    /// # Errors
    /// 9692 when the port is taken, 9693 when the address cannot be listened on for another reason, 28036 / 28037 when the
    /// certificate or key is not usable.
    pub fn start_endpoint(&self, config: EndpointConfig) -> Result<SocketAddr, EngineError> {
        self.shared.handle.ask(move |i| i.start_endpoint(&config))?
    }

    /// Stops the endpoint: closes all connections; sessions become DISCONNECTED.
    ///
    /// # Errors
    /// 9666 when it was not started.
    pub fn stop_endpoint(&self) -> Result<(), EngineError> {
        self.shared.handle.ask(|i| i.stop_endpoint())?
    }

    /// Where the endpoint listens.
    #[must_use]
    pub fn endpoint_address(&self) -> Option<SocketAddr> {
        self.shared.handle.ask(|i| i.world.address).ok().flatten()
    }

    /// From now on new connections are made with `identity`; those that stand, and handshakes under way, go on.
    ///
    /// # Errors
    /// 9666 when the endpoint was not started, 28036 / 28037 when certificate or key is not usable.
    pub fn set_identity(&self, identity: EndpointIdentity) -> Result<(), EngineError> {
        self.shared.handle.ask(move |i| i.set_identity(&identity))?
    }

    /// From now on the endpoint may be to others what `role` says.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn set_role(&self, role: EndpointRole) -> Result<(), EngineError> {
        self.shared.handle.ask(move |i| i.set_role(role.into()))
    }

    /// From now on new connections are made with `encryption`. Those that stand go on, but for those that it does not allow:
    /// they are closed, and dialled anew. Returns how many.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn set_encryption(&self, encryption: Encryption) -> Result<usize, EngineError> {
        self.shared.handle.ask(move |i| i.set_encryption(encryption))
    }

    /// Replaces what matters beside the endpoint's certificate, and what peers are told.
    ///
    /// # Errors
    /// 28037 when a key is not usable.
    pub fn set_succession(&self, succession: Succession) -> Result<(), EngineError> {
        self.shared
            .handle
            .ask(move |i| i.world.catalog.set_succession(succession))?
    }

    /// Answers what a peer told about one of its certificates ([`CertificateEvent::Told`]).
    pub fn answer_certificate(&self, connection: u64, number: u64, answer: Result<(), Refusal>) {
        self.shared
            .handle
            .run(move |i| i.answer_certificate(connection, number, answer));
    }

    /// Makes a short connection to `address` that shows the endpoint's certificate there and carries nothing.
    ///
    /// # Errors
    /// 1449 for an address that does not parse, 9666 when the endpoint is not started.
    pub fn show_certificate(&self, address: &str) -> Result<(), EngineError> {
        let address = address.to_owned();
        self.shared.handle.ask(move |i| i.show_certificate(&address))?
    }

    /// Whether the connection that a [`PeerCertificate`] was told on still stands. Who asks while it holds what every end of a
    /// connection on an operator's word waits for, asks of now.
    #[must_use]
    pub fn connection_stands(&self, connection: u64) -> bool {
        self.shared
            .handle
            .ask(move |i| i.stands(connection))
            .unwrap_or(false)
    }

    /// The partners of all sessions.
    ///
    /// # Errors
    /// When they are not all known: the engine has ended, or a record cannot be read. Nobody is to be taken for absent then.
    pub fn session_peers(&self) -> Result<Vec<SessionPeer>, EngineError> {
        self.shared.handle.ask(|i| i.session_peers())?
    }

    /// Replaces all pins: certificates, their logins, and CONNECT. Acts on the next handshake; it closes nothing.
    pub fn set_directory(&self, pins: Vec<Pin>) {
        // An engine that has ended lets nobody in anyway.
        let _ = self.shared.handle.ask(move |i| i.world.catalog.set_pins(pins));
    }

    /// Closes the live connections of a login or certificate and returns how many there were.
    #[must_use]
    pub fn close_connections_of(&self, peer: PeerSelector) -> usize {
        self.shared
            .handle
            .ask(move |i| i.close_connections_of(peer))
            .unwrap_or(0)
    }

    /// Dials `address` (`TCP://host:port`), authenticates, and reports each step as it happens; then keeps the
    /// connection open for `hold`.
    ///
    /// # Errors
    /// 1449 for an address that does not parse, 9666 when the endpoint is not started, 1418 with the reason of the step
    /// that failed.
    pub fn test_connection(
        &self,
        address: &str,
        hold: Duration,
        report: &mut dyn FnMut(TestStep),
    ) -> Result<(), EngineError> {
        statements::test_connection(&self.shared.handle, address, hold, report)
    }

    /// Opens the window in which another instance may pair with this one, for at most ten minutes.
    ///
    /// # Errors
    /// 9666 when the endpoint is not started, 50126 when a window is open.
    pub fn open_pairing(&self, secret: PairingSecret, span: Duration) -> Result<Pairing, EngineError> {
        pairing::open(&self.shared.handle, secret, span)
    }

    /// Dials `address` (`TCP://host:port`), where a window is open, to pair.
    ///
    /// # Errors
    /// 1449 for an address that does not parse, 9666 when the endpoint is not started, 50126 when an attempt is under way.
    pub fn pair_with(&self, address: &str, secret: PairingSecret) -> Result<Pairing, EngineError> {
        pairing::dial(&self.shared.handle, address, secret)
    }

    /// The rows of `sys.dm_db_mirroring_connections`.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionView> {
        self.shared
            .handle
            .ask(|i| i.connection_views())
            .unwrap_or_default()
    }

    /// The rows of `sys.dm_dbmirror_errors`, oldest first.
    #[must_use]
    pub fn errors(&self) -> Vec<ErrorRow> {
        self.shared
            .handle
            .ask(|i| i.world.errors.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The rows of `sys.database_mirroring` that are not all NULL.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        self.shared.handle.ask(|i| i.session_views()).unwrap_or_default()
    }

    /// The rows of `sys.database_mirroring_witnesses`.
    #[must_use]
    pub fn witnesses(&self) -> Vec<WitnessRow> {
        self.shared.handle.ask(|i| i.witness_rows()).unwrap_or_default()
    }

    /// Forgets a session of which this instance is the witness, whose partners are gone or use another one. An owner that still uses it
    /// registers it again.
    ///
    /// # Errors
    /// 1402 when there is none of that guid.
    pub fn forget_witnessed(&self, guid: Guid) -> Result<(), EngineError> {
        self.shared.handle.ask(move |i| i.forget_witnessed(guid))?
    }

    /// Takes a database in: capture starts when it is ONLINE. Of one that is there and not mirrored a refused file is looked at
    /// again. A new family starts its log at LSN 1·10^15.
    ///
    /// # Errors
    /// 5120-class refusals of the file with the reason: not SQLite, not in WAL mode (naming the PRAGMA), not writable; 5173 when
    /// it does not continue what was captured of the database ([`Engine::accept_file`]).
    pub fn attach_database(&self, database: DatabaseConfig) -> Result<(), EngineError> {
        sessions::attach_database(&self.shared.handle, database)
    }

    /// At the start, before any database is attached: forgets what is left of databases that are not in the catalog, which are
    /// `database_ids`. An instance may have ended between the engine's record of a new database and the catalog's.
    ///
    /// # Errors
    /// 1451 when the records cannot be read or written.
    pub fn forget_databases_but(&self, database_ids: Vec<i32>) -> Result<(), EngineError> {
        sessions::forget_databases_but(&self.shared.handle, database_ids)
    }

    /// The catalog has just given this id to a new database: whatever is still known under it is another one's, which never came
    /// to be, and is forgotten.
    ///
    /// # Errors
    /// 3743 while a session is set on it, 1451 when the records cannot be written.
    pub fn begin_database(&self, database_id: i32) -> Result<(), EngineError> {
        sessions::begin_database(&self.shared.handle, database_id)
    }

    /// Lets a database go: ends its capture, forgets its log. The file stays.
    ///
    /// # Errors
    /// 3743 while a session is set on it, 911 when it is not attached.
    pub fn detach_database(&self, database_id: i32) -> Result<(), EngineError> {
        sessions::detach_database(&self.shared.handle, database_id)
    }

    /// What a mirror of the database is told of its master key from now on (`catalog::traveling`); empty: that there is none.
    pub fn set_master_key(&self, database_id: i32, bytes: Vec<u8>) {
        let database = dbmirror_core::session::DatabaseId(database_id.cast_unsigned());
        self.shared
            .handle
            .run(move |i| i.world.logs.attach(database, bytes));
    }

    /// ALTER DATABASE … SET PARTNER. On a RESTORING database (the mirror) it stores the address and waits; on an ONLINE
    /// one (the principal) it starts the session with the checks of `docs/operations.md`.
    ///
    /// # Errors
    /// 1405, 1449, 1452, 1418 with its reason, and what the remote instance refuses: 1407, 1408, 1410, 1412, 1419, 1438, 1448,
    /// 1460, 1464 …
    pub fn set_partner(&self, request: SetPartner) -> Result<(), EngineError> {
        sessions::set_partner(&self.shared.handle, request)
    }

    /// ALTER DATABASE … SET PARTNER OFF.
    ///
    /// # Errors
    /// 1416 when the database has no session.
    pub fn partner_off(&self, database_id: i32) -> Result<(), EngineError> {
        self.shared.handle.ask(move |i| i.partner_off(database_id))?
    }

    /// ALTER DATABASE … SET PARTNER SAFETY.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror.
    pub fn set_safety(&self, database_id: i32, safety: SafetyLevel) -> Result<(), EngineError> {
        self.shared
            .handle
            .ask(move |i| i.set_safety(database_id, safety))?
    }

    /// ALTER DATABASE … SET PARTNER SUSPEND (`true`) or RESUME.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1447 when the partner is not connected or there is nothing to resume, 5173 to resume
    /// while the file is refused ([`Engine::accept_file`]).
    pub fn set_suspended(&self, database_id: i32, suspend: bool) -> Result<(), EngineError> {
        self.shared
            .handle
            .ask(move |i| i.set_suspended(database_id, suspend))?
    }

    /// ALTER DATABASE … SET WITNESS = 'address', on the principal. Returns when the witness takes part.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1449 for an address that does not parse, 1418 with the reason when it is
    /// not reached, 1426 when the mirror is not connected or has not caught up, 1427 for an instance that cannot be a witness, 1429 for
    /// a partner, 1446 for the one that is set, 1404 while another change is under way.
    pub fn set_witness(&self, database_id: i32, address: &str) -> Result<(), EngineError> {
        roles::set_witness(&self.shared.handle, database_id, address)
    }

    /// ALTER DATABASE … SET WITNESS OFF, on the principal.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1439 when none is set, 1431 when neither mirror nor witness agrees.
    pub fn witness_off(&self, database_id: i32) -> Result<(), EngineError> {
        roles::witness_off(&self.shared.handle, database_id)
    }

    /// ALTER DATABASE … SET PARTNER FAILOVER, on the principal. Returns when the role is given away.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1477 when SAFETY is not FULL, 1447 when the mirror is not connected, 1422
    /// when it is not SYNCHRONIZED, 1404 when writers cannot be shut out in time.
    pub fn failover(&self, database_id: i32) -> Result<(), EngineError> {
        roles::failover(&self.shared.handle, database_id)
    }

    /// ALTER DATABASE … SET PARTNER FORCE_SERVICE_ALLOW_DATA_LOSS, on the mirror, or on a principal that does not serve.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1455 while the partner is connected or the witness refuses, 1431 when the witness that is set is
    /// not connected.
    pub fn force_service(&self, database_id: i32) -> Result<(), EngineError> {
        roles::force_service(&self.shared.handle, database_id)
    }

    /// `sp_dbmirror_accept_file`: takes the file of a database as it is, whose capture had refused it as no continuation of
    /// what was captured before; its log begins anew, a mirror is seeded from it, and the session goes on. `false`, and nothing
    /// happens, where it was not refused.
    ///
    /// # Errors
    /// What the capture answers, as [`Engine::attach_database`]; 1451 when the records cannot be written.
    pub fn accept_file(&self, database_id: i32) -> Result<bool, EngineError> {
        sessions::accept_file(&self.shared.handle, database_id)
    }

    /// ALTER DATABASE … SET PARTNER TIMEOUT, in seconds; less than 5 is raised to 5.
    ///
    /// # Errors
    /// 1416 when the database has no session, 1470 on the mirror, 1476 above 32,767.
    pub fn set_timeout(&self, database_id: i32, seconds: u16) -> Result<(), EngineError> {
        self.shared
            .handle
            .ask(move |i| i.set_timeout(database_id, seconds))?
    }

    /// `sp_dbmirror_checkpoint`: folds the whole log of the file into it, in either role.
    ///
    /// # Errors
    /// 911 when the database is not attached; 5120 with SQLite's reason when the file is busy for too long.
    pub fn checkpoint(&self, database_id: i32) -> Result<Checkpoint, EngineError> {
        sessions::checkpoint(&self.shared.handle, database_id)
    }

    /// The end of a database's log here, and its sum.
    ///
    /// # Errors
    /// 911 when the database is not attached.
    pub fn end_of_log(&self, database_id: i32) -> Result<(Lsn, u64), EngineError> {
        backup::end_of_log(&self.shared.handle, database_id)
    }

    /// BACKUP DATABASE: writes the pages of the file at one LSN to `out` and returns that LSN.
    ///
    /// # Errors
    /// 911 when the database is not attached, 954 on a mirror, 3013 with the reason when reading or writing fails.
    pub fn backup_database(&self, database_id: i32, out: &mut dyn Write) -> Result<Lsn, EngineError> {
        backup::backup_database(&self.shared.handle, database_id, out)
    }

    /// BACKUP LOG: writes the blocks after `after` to `out` and returns the last LSN written.
    ///
    /// # Errors
    /// As [`Engine::backup_database`]; 4214 when the log does not reach back to `after`.
    pub fn backup_log(&self, database_id: i32, after: Lsn, out: &mut dyn Write) -> Result<Lsn, EngineError> {
        backup::backup_log(&self.shared.handle, database_id, after, out)
    }

    /// Lets go of a database's file and keeps its log: [`Engine::attach_database`] goes on where it was, and
    /// [`Engine::forget_database`] ends it.
    ///
    /// # Errors
    /// As [`Engine::detach_database`].
    pub fn release_database(&self, database_id: i32) -> Result<(), EngineError> {
        sessions::release_database(&self.shared.handle, database_id).map(drop)
    }

    /// Forgets the log of a database that was let go of.
    ///
    /// # Errors
    /// 1451 when the records cannot be written.
    pub fn forget_database(&self, database_id: i32) -> Result<(), EngineError> {
        sessions::forget_database(&self.shared.handle, database_id, None)
    }

    /// RESTORE DATABASE, the long part of it: reads what [`Engine::backup_database`] wrote into a file beside `path`, whole,
    /// proved and on disk. What lies at `path` is not touched.
    ///
    /// # Errors
    /// 3241 for a stream that is not ours or is damaged; 3013 and 5120 with the reason when reading or writing fails.
    pub fn read_backup(
        &self,
        name: &str,
        path: &Path,
        input: &mut dyn Read,
    ) -> Result<RestoredFile, EngineError> {
        backup::read_backup(name, path, input)
    }

    /// RESTORE DATABASE … WITH NORECOVERY: attaches the database RESTORING and puts `file` in its place; with `replace` over an
    /// older file there, which nobody may have open. After an error nothing of it is left, and the older file is as it was.
    ///
    /// # Errors
    /// 5170 when a file is there without `replace`, 3101 when the older file cannot be replaced now, 3013 and 5120 with the reason when writing fails.
    pub fn restore_database(
        &self,
        database: &DatabaseConfig,
        file: RestoredFile,
        replace: bool,
    ) -> Result<Lsn, EngineError> {
        backup::restore_database(&self.shared.handle, database, file, replace)
    }

    /// RESTORE LOG … WITH NORECOVERY: applies what [`Engine::backup_log`] wrote.
    ///
    /// # Errors
    /// 4305 when blocks are missing before it, 4326 when it ends before the database, 3117 when the database is not
    /// RESTORING, 3241 as above.
    pub fn restore_log(&self, database_id: i32, input: &mut dyn Read) -> Result<Lsn, EngineError> {
        backup::restore_log(&self.shared.handle, database_id, input)
    }

    /// RESTORE … WITH RECOVERY: opens a RESTORING database; its log goes on with a new timeline.
    ///
    /// # Errors
    /// 3104 while a session is set on it, 911 when it is not attached.
    pub fn recover_database(&self, database_id: i32) -> Result<(), EngineError> {
        sessions::recover_database(&self.shared.handle, database_id)
    }
}

//! What the executor and the engine tell each other: plain owned values, no handles, no borrowed data.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dbmirror_core::channel::Encryption;
use dbmirror_core::secret::Secret;

/// A database or session guid as its 16 bytes, in the order in which they are stored and sent.
pub type Guid = [u8; 16];

/// What an instance is, fixed for its life.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The instance's directory (0700). The engine owns `blocks/` and `engine.db` in it.
    pub dir: PathBuf,
    /// The random id that was made with the directory; authenticated peers learn it (`docs/safety.md` R11).
    pub instance_id: Guid,
    /// The instance's name, shown to partners.
    pub instance_name: String,
}

/// `STATE`, `LISTENER_PORT`, `ROLE`, `ENCRYPTION` and `AUTHENTICATION` of the one mirroring endpoint, to start it with.
pub struct EndpointConfig {
    /// The address to listen on: LISTENER_IP, or what ALL means for this instance.
    pub bind: IpAddr,
    /// LISTENER_PORT.
    pub port: u16,
    /// ROLE.
    pub role: EndpointRole,
    /// What ENCRYPTION and ALGORITHM come to.
    pub encryption: Encryption,
    /// The certificate that AUTHENTICATION = CERTIFICATE names, with its private key.
    pub identity: EndpointIdentity,
}

/// The endpoint's own certificate and private key.
pub struct EndpointIdentity {
    /// `sys.certificates.certificate_id`.
    pub certificate_id: i32,
    /// The certificate as stored.
    pub certificate_der: Vec<u8>,
    /// The private scalar, big-endian.
    pub signing_key: Secret<32>,
}

/// `sys.database_mirroring_endpoints.role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// 1: may be principal or mirror.
    Partner,
    /// 2: may be witness only.
    Witness,
    /// 3: both.
    All,
}

/// One row of `sys.database_mirroring_witnesses`. What was not told yet, or is gone since the session was dropped, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessRow {
    /// `mirroring_guid`.
    pub guid: Guid,
    /// `family_guid`.
    pub family_guid: Option<Guid>,
    /// `database_name`.
    pub database_name: Option<String>,
    /// `principal_server_name`: the name that the instance gives itself, or its id until it was met.
    pub principal: String,
    /// Whether it talks with this witness about the session.
    pub principal_connected: bool,
    /// `mirror_server_name`.
    pub mirror: String,
    /// Whether it talks with this witness about the session.
    pub mirror_connected: bool,
    /// `safety_level`.
    pub safety: Option<SafetyLevel>,
    /// `safety_sequence_number`.
    pub safety_sequence: Option<u32>,
    /// `role_sequence_number`.
    pub role_sequence: Option<u32>,
    /// `is_suspended`.
    pub is_suspended: Option<bool>,
    /// `is_suspended_sequence_number`.
    pub suspended_sequence: Option<u32>,
    /// `partner_sync_state`.
    pub sync: Option<PartnerSync>,
}

/// `sys.database_mirroring_witnesses.partner_sync_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerSync {
    /// 5: the mirror may take over.
    Synchronized,
    /// 6: it may not.
    Unsynchronized,
}

/// One certificate of `master` as the endpoint sees it when a peer shows it.
#[derive(Clone, Debug)]
pub struct Pin {
    /// `sys.certificates.certificate_id`.
    pub certificate_id: i32,
    /// The certificate's bytes: a peer's must be equal to them.
    pub der: Vec<u8>,
    /// Its public key as an uncompressed P-256 point.
    pub point: [u8; 65],
    /// START_DATE in seconds since 1970.
    pub not_before: i64,
    /// EXPIRY_DATE in seconds since 1970.
    pub not_after: i64,
    /// `sys.server_principals.principal_id` of the login that the certificate's owner maps to.
    pub login_id: Option<i32>,
    /// That login's name; for a certificate without a login the name of its owner, for the log.
    pub login_name: String,
    /// CONNECT of that login on the endpoint.
    pub connect: Connect,
    /// The certificate has a private key here: such a one is never a peer.
    pub own: bool,
}

/// A login's CONNECT permission on the endpoint. Ownership and sysadmin never count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// Granted by GRANT CONNECT.
    Granted,
    /// Denied by DENY CONNECT.
    Denied,
    /// Neither.
    None,
}

/// Whose connections are to be closed at once (DENY, DROP LOGIN, DROP CERTIFICATE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSelector {
    /// Those of a login.
    Login(i32),
    /// Those authenticated by a certificate.
    Certificate(i32),
}

/// One step of `test-connection`, in the order resolve, connect, tls, certificate, login, ready, hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestStep {
    /// The step's name, one lower-case word.
    pub step: String,
    /// Whether it succeeded; a failed step is the last one.
    pub ok: bool,
    /// What was found or what failed, for people.
    pub text: String,
}

/// `sys.dm_db_mirroring_connections.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// 1: accepted, nothing exchanged.
    New,
    /// 2: being connected or in the handshake.
    Connecting,
    /// 3: transport connected, not authenticated.
    Connected,
    /// 4: authenticated.
    LoggedIn,
    /// 5: closed.
    Closed,
}

impl ConnectionState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::New => 1,
            Self::Connecting => 2,
            Self::Connected => 3,
            Self::LoggedIn => 4,
            Self::Closed => 5,
        }
    }

    /// The view's text.
    #[must_use]
    pub const fn desc(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::LoggedIn => "LOGGED_IN",
            Self::Closed => "CLOSED",
        }
    }
}

/// `sys.dm_db_mirroring_connections.login_state`; those of the states that this transport passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginState {
    /// 0.
    Initial,
    /// 1.
    WaitLoginNegotiate,
    /// 10.
    WaitValidation,
    /// 11.
    WaitArbitration,
    /// 12.
    Online,
    /// 13.
    Error,
}

impl LoginState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Initial => 0,
            Self::WaitLoginNegotiate => 1,
            Self::WaitValidation => 10,
            Self::WaitArbitration => 11,
            Self::Online => 12,
            Self::Error => 13,
        }
    }

    /// The view's text.
    #[must_use]
    pub const fn desc(self) -> &'static str {
        match self {
            Self::Initial => "INITIAL",
            Self::WaitLoginNegotiate => "WAIT LOGIN NEGOTIATE",
            Self::WaitValidation => "WAIT VALIDATION",
            Self::WaitArbitration => "WAIT ARBITRATION",
            Self::Online => "ONLINE",
            Self::Error => "ERROR",
        }
    }
}

/// One row of `sys.dm_db_mirroring_connections`; columns that cannot differ here (method, algorithm) are the view's.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Random per connection.
    pub connection_id: Guid,
    /// Random per connection: the transport's own id.
    pub transport_stream_id: Guid,
    /// How far the connection is.
    pub state: ConnectionState,
    /// How far the login is.
    pub login_state: LoginState,
    /// When it was accepted or dialled.
    pub connect_time: SystemTime,
    /// When the peer was authenticated.
    pub login_time: Option<SystemTime>,
    /// When bytes last went either way.
    pub last_activity_time: SystemTime,
    /// Accepted here (true) or opened from here.
    pub is_accept: bool,
    /// The address of the other end.
    pub peer_address: SocketAddr,
    /// The login that was permission-checked.
    pub principal_name: Option<String>,
    /// Its `principal_id`.
    pub login_id: Option<i32>,
    /// The local id of the peer's certificate.
    pub peer_certificate_id: Option<i32>,
    /// Once keys are agreed: 2 (AES), or 0 (NONE) where records are authenticated and not encrypted.
    pub encryption_algorithm: Option<i64>,
    /// The peer's instance id once it has said it.
    pub peer_arbitration_id: Option<Guid>,
    /// Sending waits for the network.
    pub is_send_flow_controlled: bool,
    /// Receiving waits for this instance.
    pub is_receive_flow_controlled: bool,
    /// Bytes on the wire.
    pub total_bytes_sent: u64,
    /// Bytes on the wire.
    pub total_bytes_received: u64,
    /// Calls to the network.
    pub total_sends: u64,
    /// Calls to the network.
    pub total_receives: u64,
}

/// One row of `sys.dm_dbmirror_errors`; the newest 256 are kept.
#[derive(Clone, Debug)]
pub struct ErrorRow {
    /// When.
    pub time: SystemTime,
    /// The other end's address, as dialled or as accepted.
    pub peer: String,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// Where it failed: `listen`, `resolve`, `connect`, `tls`, `certificate`, `login`, `session`, `capture`, `apply` …
    pub step: String,
    /// The message number.
    pub number: i32,
    /// What happened, the likely cause, what to do.
    pub reason: String,
}

/// A line for the error log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Message number; 0 for lines of our own.
    pub number: i32,
    /// 10 and below is information, above it an error.
    pub severity: u8,
    /// State.
    pub state: u8,
    /// The text.
    pub text: String,
    /// `key=value` details in order.
    pub fields: Vec<(&'static str, String)>,
}

/// What the engine tells the instance unasked, from its own threads. Implementations return quickly and never call back
/// into the engine.
pub trait Notices: Send + Sync {
    /// A line for the error log.
    fn log(&self, line: LogLine);
    /// A mirror copy has been seeded or a database of a session has changed: the catalog is to store `change`.
    fn database_changed(&self, database_id: i32, change: DatabaseChange);
    /// Something about certificates that are replaced.
    fn certificate(&self, event: super::CertificateEvent) {
        let _ = event;
    }
}

/// A refusal between instances: its message number and the reason behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The message number.
    pub number: u32,
    /// Why.
    pub reason: dbmirror_core::session::Reason,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.number, self.reason.text())
    }
}

/// What the catalog has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseChange {
    /// The database on the mirror now is a copy of the family `family_guid` (automatic seeding).
    Seeded {
        /// The family it now belongs to.
        family_guid: Guid,
    },
    /// The database has another role in its session: open for applications, or a mirror's copy.
    State(DatabaseState),
    /// The principal tells its master key (`catalog::traveling`); empty without one. It comes again with every connection.
    MasterKey {
        /// As told.
        bytes: Vec<u8>,
    },
}

/// `sys.databases.state` as far as the engine must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// ONLINE: applications write it, capture runs.
    Online,
    /// RESTORING: a copy that may become a mirror.
    Restoring,
}

/// A database that the instance holds.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `sys.databases.database_id`.
    pub database_id: i32,
    /// Its name, which names the remote copy too.
    pub name: String,
    /// The family it belongs to: all copies and backups of one database share it.
    pub family_guid: Guid,
    /// The SQLite file.
    pub path: PathBuf,
    /// Whether it is open or a copy being restored.
    pub state: DatabaseState,
}

/// `WITH (SEEDING_MODE = …)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedingMode {
    /// The copy comes from backups.
    Manual,
    /// The copy comes over the session.
    Automatic,
}

/// SAFETY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafetyLevel {
    /// 1 OFF.
    Off,
    /// 2 FULL.
    Full,
}

/// `sys.database_mirroring.mirroring_role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirroringRole {
    /// 1.
    Principal,
    /// 2.
    Mirror,
}

/// `sys.database_mirroring.mirroring_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirroringState {
    /// 0.
    Suspended,
    /// 1.
    Disconnected,
    /// 2.
    Synchronizing,
    /// 3.
    PendingFailover,
    /// 4.
    Synchronized,
}

impl MirroringState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Suspended => 0,
            Self::Disconnected => 1,
            Self::Synchronizing => 2,
            Self::PendingFailover => 3,
            Self::Synchronized => 4,
        }
    }

    /// The view's text.
    #[must_use]
    pub const fn desc(self) -> &'static str {
        match self {
            Self::Suspended => "SUSPENDED",
            Self::Disconnected => "DISCONNECTED",
            Self::Synchronizing => "SYNCHRONIZING",
            Self::PendingFailover => "PENDING_FAILOVER",
            Self::Synchronized => "SYNCHRONIZED",
        }
    }
}

/// A position in a database's log as it is shown: timeline × 10^15 + sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u128);

impl Lsn {
    /// The LSN of a position.
    #[must_use]
    pub const fn new(timeline: u32, sequence: u64) -> Self {
        Self(timeline as u128 * 1_000_000_000_000_000 + sequence as u128)
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The columns of `sys.database_mirroring` for one mirrored database, plus what `dbmirror status` shows.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// `database_id`.
    pub database_id: i32,
    /// Identity of the session; all zero on a mirror that still waits for its principal.
    pub mirroring_guid: Option<Guid>,
    /// `mirroring_state`; `None` on a mirror that waits for its principal.
    pub state: Option<MirroringState>,
    /// `mirroring_role`.
    pub role: MirroringRole,
    /// `mirroring_role_sequence`.
    pub role_sequence: u32,
    /// `mirroring_safety_level`.
    pub safety: SafetyLevel,
    /// `mirroring_safety_sequence`.
    pub safety_sequence: u32,
    /// `mirroring_partner_name`: the address as given.
    pub partner_name: String,
    /// `mirroring_partner_instance`: the partner's instance name once it has said it.
    pub partner_instance: Option<String>,
    /// The `principal_id` of the login that the session knows its partner by; `None` until the partner was met.
    pub partner_login_id: Option<i32>,
    /// `mirroring_failover_lsn`: hardened on both.
    pub failover_lsn: Option<Lsn>,
    /// `mirroring_end_of_log_lsn`: hardened here.
    pub end_of_log_lsn: Option<Lsn>,
    /// On the mirror: applied to the file.
    pub redone_lsn: Option<Lsn>,
    /// `mirroring_connection_timeout` in seconds.
    pub connection_timeout: u32,
    /// `mirroring_witness_name`: the address as given; `None` where none is set.
    pub witness_name: Option<String>,
    /// `mirroring_witness_state`: 0 unknown, 1 connected, 2 disconnected.
    pub witness_state: Option<u8>,
    /// On a principal: applications may write. Not before it is known after a restart that the role is still its own, nor without quorum.
    pub serves: bool,
    /// Percent of a seed in progress.
    pub seeding_percent: Option<u8>,
    /// Why it is SUSPENDED or DISCONNECTED, for people.
    pub reason: Option<String>,
    /// Blocks captured without a gate, never called acknowledged.
    pub ungated_blocks: u64,
}

/// ALTER DATABASE … SET PARTNER = 'address'.
#[derive(Clone, Debug)]
pub struct SetPartner {
    /// The database; for automatic seeding the catalog has made it first, RESTORING, with the path its file will have.
    pub database: DatabaseConfig,
    /// `TCP://host:port` as given.
    pub address: String,
    /// WITH (SEEDING_MODE = …).
    pub seeding: SeedingMode,
}

/// What `sp_dbmirror_checkpoint` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The database's file, whole after this.
    pub path: PathBuf,
    /// Up to which commit.
    pub lsn: Lsn,
    /// The database sum of the file at that LSN.
    pub sum: u64,
}

/// An operator's error: message number, severity, state, and the text that goes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError {
    /// The documented message number.
    pub number: i32,
    /// Severity.
    pub severity: u8,
    /// State.
    pub state: u8,
    /// What happened, the likely cause, what to do.
    pub text: String,
}

impl EngineError {
    /// An error of severity 16, state 1.
    #[must_use]
    pub fn new(number: i32, text: impl Into<String>) -> Self {
        Self {
            number,
            severity: 16,
            state: 1,
            text: text.into(),
        }
    }
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Msg {}, Level {}, State {}: {}",
            self.number, self.severity, self.state, self.text
        )
    }
}

impl std::error::Error for EngineError {}

/// How long a statement waits for the engine's thread before it gives up.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

//! The typed syntax tree of every statement that is understood. Grammar and meaning: `docs/tsql.md`.
//!
//! The tree says what was written, not whether it makes sense: defaults are `None`, numbers are as given, and
//! names are not looked up. Passwords are kept apart from other strings so that they can neither be printed nor
//! outlive the statement.

use zeroize::Zeroizing;

use super::span::Span;

/// A parsed batch.
#[derive(Debug)]
pub struct Batch {
    /// Its statements, in the order in which they run.
    pub statements: Vec<Statement>,
}

/// One statement and where it is written. `span.line` is the line that errors of the statement name.
#[derive(Debug)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// From its first token to its last.
    pub span: Span,
}

/// An identifier as written, without its brackets or quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// 1…128 characters.
    pub value: String,
    /// Where.
    pub span: Span,
}

/// A string constant, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What is between the quotes.
    pub value: String,
    /// Where, with the quotes.
    pub span: Span,
}

/// A binary constant (`0x…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The bytes; an odd number of digits has a zero in front.
    pub value: Vec<u8>,
    /// Where, with the prefix.
    pub span: Span,
}

/// A password. It is wiped when dropped, and its `Debug` form says nothing.
pub struct Password {
    value: Zeroizing<String>,
    /// Where, with the quotes.
    pub span: Span,
}

impl Password {
    /// A password taken from a batch.
    #[must_use]
    pub fn new(value: Zeroizing<String>, span: Span) -> Self {
        Self { value, span }
    }

    /// The password itself: never to be stored, logged or put into a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl core::fmt::Debug for Password {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Every statement.
#[derive(Debug)]
#[non_exhaustive]
pub enum StatementKind {
    /// `CREATE MASTER KEY [ENCRYPTION BY PASSWORD = '…']`
    CreateMasterKey {
        /// The password; a server refuses a key without one.
        password: Option<Password>,
    },
    /// `ALTER MASTER KEY …`
    AlterMasterKey(AlterMasterKey),
    /// `OPEN MASTER KEY DECRYPTION BY PASSWORD = '…'`
    OpenMasterKey {
        /// The password.
        password: Password,
    },
    /// `CLOSE MASTER KEY`
    CloseMasterKey,
    /// `DROP MASTER KEY`
    DropMasterKey,

    /// `CREATE CERTIFICATE …`
    CreateCertificate(CreateCertificate),
    /// `ALTER CERTIFICATE …`
    AlterCertificate {
        /// Which.
        name: Name,
        /// The change.
        change: CertificateChange,
    },
    /// `BACKUP CERTIFICATE …`
    BackupCertificate(BackupCertificate),
    /// `DROP CERTIFICATE name`
    DropCertificate {
        /// Which.
        name: Name,
    },

    /// `CREATE ENDPOINT …`
    CreateEndpoint(CreateEndpoint),
    /// `ALTER ENDPOINT …`
    AlterEndpoint(AlterEndpoint),
    /// `DROP ENDPOINT name`
    DropEndpoint {
        /// Which.
        name: Name,
    },

    /// `CREATE LOGIN …`
    CreateLogin {
        /// Its name.
        name: Name,
        /// How it is authenticated.
        source: LoginSource,
    },
    /// `DROP LOGIN name`
    DropLogin {
        /// Which.
        name: Name,
    },
    /// `CREATE USER …`
    CreateUser(CreateUser),
    /// `DROP USER [IF EXISTS] name`
    DropUser {
        /// Which.
        name: Name,
        /// IF EXISTS was written.
        if_exists: bool,
    },
    /// `GRANT`, `DENY` or `REVOKE` on an endpoint.
    EndpointPermission(EndpointPermission),

    /// `USE database`
    Use {
        /// Which.
        database: Name,
    },
    /// `CREATE DATABASE …`
    CreateDatabase(CreateDatabase),
    /// `DROP DATABASE [IF EXISTS] name, …`
    DropDatabase {
        /// Which, at least one.
        databases: Vec<Name>,
        /// IF EXISTS was written.
        if_exists: bool,
    },
    /// `ALTER DATABASE name | CURRENT SET …`
    AlterDatabase {
        /// Which; `None` is CURRENT.
        database: Option<Name>,
        /// The one option that is set.
        option: DatabaseOption,
    },
    /// `BACKUP DATABASE | LOG …`
    Backup(Backup),
    /// `RESTORE DATABASE | LOG …`
    Restore(Restore),

    /// `EXEC procedure …`
    Execute(Execute),
    /// `PRINT expression`
    Print {
        /// One row, one column: the text to print.
        expression: Query,
    },
    /// `SELECT …`
    Select(Query),
}

/// A query over the catalog views, already translated into the SQL of SQLite (`docs/tsql.md`, "SELECT").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Exactly one SELECT statement, made of nothing but what the translation lets through. Functions that it may
    /// call and that SQLite does not have are listed in `tsql::functions`.
    pub sqlite: String,
    /// Where the original is written.
    pub span: Span,
}

/// The change of an ALTER MASTER KEY.
#[derive(Debug)]
pub enum AlterMasterKey {
    /// `[FORCE] REGENERATE WITH ENCRYPTION BY PASSWORD = '…'`
    Regenerate {
        /// FORCE was written.
        force: bool,
        /// The password of the new key.
        password: Password,
    },
    /// `ADD ENCRYPTION BY …`
    AddEncryption(KeyProtector),
    /// `DROP ENCRYPTION BY …`
    DropEncryption(KeyProtector),
}

/// What protects a master key.
#[derive(Debug)]
pub enum KeyProtector {
    /// `SERVICE MASTER KEY`
    ServiceMasterKey,
    /// `PASSWORD = '…'`
    Password(Password),
}

/// `CREATE CERTIFICATE name …`
#[derive(Debug)]
pub struct CreateCertificate {
    /// Its name.
    pub name: Name,
    /// AUTHORIZATION: the owning user.
    pub authorization: Option<Name>,
    /// Generated or imported.
    pub source: CertificateSource,
    /// ACTIVE FOR BEGIN_DIALOG, when written.
    pub active_for_begin_dialog: Option<bool>,
}

/// Where a certificate comes from.
#[derive(Debug)]
pub enum CertificateSource {
    /// `[ENCRYPTION BY PASSWORD = '…'] WITH SUBJECT = '…' [, START_DATE = '…'] [, EXPIRY_DATE = '…']`
    Generate {
        /// Protects the private key instead of the master key.
        password: Option<Password>,
        /// X.509 subject.
        subject: Text,
        /// First moment of validity, UTC.
        start_date: Option<Text>,
        /// Last moment of validity, UTC.
        expiry_date: Option<Text>,
    },
    /// `FROM FILE = '…' | FROM BINARY = 0x… [WITH [FORMAT = 'PFX',] PRIVATE KEY (…)]`
    Import {
        /// The certificate, or with `pfx` certificate and key in one.
        certificate: Blob,
        /// FORMAT = 'PFX' was written.
        pfx: bool,
        /// PRIVATE KEY (…), when written.
        private_key: Option<PrivateKeyOptions>,
    },
}

/// Bytes in a file of the server, or written in the statement.
#[derive(Debug)]
pub enum Blob {
    /// `FILE = '…'`
    File(Text),
    /// `BINARY = 0x…`
    Binary(Binary),
}

/// `PRIVATE KEY ( … )`: every part at most once, in any order, at least one.
#[derive(Debug, Default)]
pub struct PrivateKeyOptions {
    /// FILE or BINARY.
    pub source: Option<Blob>,
    /// DECRYPTION BY PASSWORD.
    pub decryption: Option<Password>,
    /// ENCRYPTION BY PASSWORD.
    pub encryption: Option<Password>,
    /// ALGORITHM = '…' (BACKUP … FORMAT = 'PFX' only).
    pub algorithm: Option<Text>,
}

/// The change of an ALTER CERTIFICATE.
#[derive(Debug)]
pub enum CertificateChange {
    /// `REMOVE PRIVATE KEY`
    RemovePrivateKey,
    /// `WITH PRIVATE KEY (…)`
    PrivateKey(PrivateKeyOptions),
    /// `WITH ACTIVE FOR BEGIN_DIALOG = ON | OFF`
    ActiveForBeginDialog(bool),
}

/// `BACKUP CERTIFICATE name TO FILE = '…' …`
#[derive(Debug)]
pub struct BackupCertificate {
    /// Which.
    pub name: Name,
    /// Where the certificate is written.
    pub file: Text,
    /// FORMAT = 'PFX' was written.
    pub pfx: bool,
    /// WITH PRIVATE KEY (…), when written.
    pub private_key: Option<PrivateKeyOptions>,
}

/// `CREATE ENDPOINT name …`
#[derive(Debug)]
pub struct CreateEndpoint {
    /// Its name.
    pub name: Name,
    /// AUTHORIZATION: the owning login.
    pub authorization: Option<Name>,
    /// STATE; STOPPED when absent.
    pub state: Option<EndpointState>,
    /// AS TCP (…); LISTENER_PORT is there and in range.
    pub tcp: TcpOptions,
    /// FOR DATABASE_MIRRORING (…); ROLE is there.
    pub mirroring: MirroringOptions,
}

/// `ALTER ENDPOINT name …`: only what is written changes.
#[derive(Debug)]
pub struct AlterEndpoint {
    /// Which.
    pub name: Name,
    /// STATE.
    pub state: Option<EndpointState>,
    /// AS TCP (…).
    pub tcp: TcpOptions,
    /// FOR DATABASE_MIRRORING (…).
    pub mirroring: MirroringOptions,
}

/// `STATE = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Bound and listening.
    Started,
    /// Not listening.
    Stopped,
    /// Listening, and refusing everybody.
    Disabled,
}

/// `AS TCP ( … )`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// LISTENER_PORT, 1024…65535.
    pub listener_port: Option<u16>,
    /// LISTENER_IP.
    pub listener_ip: Option<ListenerIp>,
}

/// `LISTENER_IP = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerIp {
    /// `ALL`: whatever this instance was told to bind.
    All,
    /// `(10.0.75.1)` or `('::1')`.
    Address(core::net::IpAddr),
}

/// `FOR DATABASE_MIRRORING ( … )`
#[derive(Debug, Default)]
pub struct MirroringOptions {
    /// AUTHENTICATION; WINDOWS NEGOTIATE when absent.
    pub authentication: Option<Authentication>,
    /// ENCRYPTION; REQUIRED ALGORITHM AES when absent.
    pub encryption: Option<Encryption>,
    /// ROLE.
    pub role: Option<EndpointRole>,
}

/// `AUTHENTICATION = …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `WINDOWS [NTLM | KERBEROS | NEGOTIATE]`
    Windows(WindowsMethod),
    /// `CERTIFICATE name`
    Certificate(Name),
    /// `WINDOWS … CERTIFICATE name`
    WindowsThenCertificate(WindowsMethod, Name),
    /// `CERTIFICATE name WINDOWS …`
    CertificateThenWindows(Name, WindowsMethod),
}

/// The kind of Windows authentication; NEGOTIATE when not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowsMethod {
    /// NTLM
    Ntlm,
    /// KERBEROS
    Kerberos,
    /// NEGOTIATE
    Negotiate,
}

/// `ENCRYPTION = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `DISABLED`
    Disabled,
    /// `SUPPORTED [ALGORITHM …]`
    Supported(Option<Algorithm>),
    /// `REQUIRED [ALGORITHM …]`
    Required(Option<Algorithm>),
}

/// `ALGORITHM …`, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES
    Aes,
    /// RC4
    Rc4,
    /// AES RC4
    AesRc4,
    /// RC4 AES
    Rc4Aes,
}

/// `ROLE = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// PARTNER
    Partner,
    /// WITNESS
    Witness,
    /// ALL
    All,
}

/// How a new login is authenticated.
#[derive(Debug)]
pub enum LoginSource {
    /// `WITH PASSWORD = …`
    Password(PasswordLogin),
    /// `FROM WINDOWS [WITH …]`
    Windows {
        /// DEFAULT_DATABASE
        default_database: Option<Name>,
        /// DEFAULT_LANGUAGE
        default_language: Option<Name>,
    },
    /// `FROM CERTIFICATE name`: for signed code, cannot connect.
    Certificate(Name),
}

/// `WITH PASSWORD = '…' [MUST_CHANGE], …`
#[derive(Debug)]
pub struct PasswordLogin {
    /// The password, or its hash.
    pub password: LoginPassword,
    /// MUST_CHANGE was written.
    pub must_change: bool,
    /// SID = 0x…
    pub sid: Option<Binary>,
    /// DEFAULT_DATABASE
    pub default_database: Option<Name>,
    /// DEFAULT_LANGUAGE
    pub default_language: Option<Name>,
    /// CHECK_EXPIRATION
    pub check_expiration: Option<bool>,
    /// CHECK_POLICY
    pub check_policy: Option<bool>,
}

/// The password of a new login.
#[derive(Debug)]
pub enum LoginPassword {
    /// `'…'`
    Clear(Password),
    /// `0x… HASHED`
    Hashed(Binary),
}

/// `CREATE USER name …`
#[derive(Debug)]
pub struct CreateUser {
    /// Its name.
    pub name: Name,
    /// What it stands for.
    pub source: UserSource,
    /// DEFAULT_SCHEMA
    pub default_schema: Option<Name>,
}

/// What a database user stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSource {
    /// Nothing written: the login of the same name.
    SameLogin,
    /// `FOR | FROM LOGIN name`
    Login(Name),
    /// `WITHOUT LOGIN`
    WithoutLogin,
    /// `FOR | FROM CERTIFICATE name`
    Certificate(Name),
}

/// `GRANT | DENY | REVOKE permission, … ON ENDPOINT::name TO | FROM login, …`
#[derive(Debug)]
pub struct EndpointPermission {
    /// Which of the three.
    pub action: PermissionAction,
    /// What, at least one.
    pub permissions: Vec<Permission>,
    /// On which endpoint.
    pub endpoint: Name,
    /// To or from whom, at least one.
    pub logins: Vec<Name>,
    /// AS login
    pub grantor: Option<Name>,
}

/// The verb, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionAction {
    /// GRANT
    Grant {
        /// WITH GRANT OPTION was written.
        with_grant_option: bool,
    },
    /// DENY
    Deny {
        /// CASCADE was written.
        cascade: bool,
    },
    /// REVOKE
    Revoke {
        /// GRANT OPTION FOR was written: only the right to pass it on is taken away.
        grant_option_for: bool,
        /// CASCADE was written.
        cascade: bool,
    },
}

/// A permission on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// ALTER
    Alter,
    /// CONNECT
    Connect,
    /// CONTROL
    Control,
    /// TAKE OWNERSHIP
    TakeOwnership,
    /// VIEW DEFINITION
    ViewDefinition,
}

/// `CREATE DATABASE name [ON (…), …] [LOG ON (…), …] [FOR ATTACH]`
#[derive(Debug)]
pub struct CreateDatabase {
    /// Its name.
    pub name: Name,
    /// ON: data files.
    pub files: Vec<FileSpec>,
    /// LOG ON: log files.
    pub log_files: Vec<FileSpec>,
    /// FOR ATTACH was written; there is at least one file then.
    pub attach: bool,
}

/// `( [NAME = logical,] FILENAME = '…' )`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// NAME
    pub name: Option<Name>,
    /// FILENAME
    pub filename: Text,
}

/// What ALTER DATABASE sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseOption {
    /// `RECOVERY …`
    Recovery(RecoveryModel),
    /// `PARTNER …`
    Partner(PartnerOption),
    /// `WITNESS …`
    Witness(WitnessOption),
}

/// `RECOVERY FULL | BULK_LOGGED | SIMPLE`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryModel {
    /// FULL
    Full,
    /// BULK_LOGGED
    BulkLogged,
    /// SIMPLE
    Simple,
}

/// `SET PARTNER …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerOption {
    /// `= 'TCP://host:port' [WITH (SEEDING_MODE = …)]`
    Address {
        /// As written.
        address: Text,
        /// Our extension; MANUAL when absent.
        seeding_mode: Option<SeedingMode>,
    },
    /// `OFF`
    Off,
    /// `FAILOVER`
    Failover,
    /// `FORCE_SERVICE_ALLOW_DATA_LOSS`
    ForceServiceAllowDataLoss,
    /// `SUSPEND`
    Suspend,
    /// `RESUME`
    Resume,
    /// `SAFETY FULL | OFF`
    Safety(SafetyLevel),
    /// `TIMEOUT n`: seconds as written, saturated.
    Timeout(u32),
    /// `REDO_QUEUE UNLIMITED | n [KB | MB | GB]`
    RedoQueue(RedoQueue),
}

/// `SEEDING_MODE = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedingMode {
    /// The mirror is created and filled over the session.
    Automatic,
    /// The mirror was restored from backups.
    Manual,
}

/// `SAFETY …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafetyLevel {
    /// FULL
    Full,
    /// OFF
    Off,
}

/// `REDO_QUEUE …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedoQueue {
    /// UNLIMITED
    Unlimited,
    /// A limit in KiB, saturated; a bare number is in MiB, as the view shows it.
    KiB(u64),
}

/// `SET WITNESS …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessOption {
    /// `= 'TCP://host:port'`
    Address(Text),
    /// `OFF`
    Off,
}

/// Whole database or its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind {
    /// DATABASE
    Database,
    /// LOG
    Log,
}

/// `BACKUP DATABASE | LOG name TO DISK = '…' [WITH …]`: every option at most once.
#[derive(Debug)]
pub struct Backup {
    /// DATABASE or LOG.
    pub kind: BackupKind,
    /// Which.
    pub database: Name,
    /// The backup file.
    pub disk: Text,
    /// WITH …
    pub options: BackupOptions,
}

/// Options of BACKUP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// FORMAT: a new media set; `Some(false)` is NOFORMAT.
    pub format: Option<bool>,
    /// INIT: overwrite; `Some(false)` is NOINIT.
    pub init: Option<bool>,
    /// DIFFERENTIAL
    pub differential: bool,
    /// COPY_ONLY
    pub copy_only: bool,
    /// NORECOVERY (LOG only): leave the database RESTORING.
    pub norecovery: bool,
    /// NO_TRUNCATE (LOG only)
    pub no_truncate: bool,
    /// COMPRESSION; `Some(false)` is NO_COMPRESSION.
    pub compression: Option<bool>,
    /// CHECKSUM; `Some(false)` is NO_CHECKSUM.
    pub checksum: Option<bool>,
    /// STATS [= n]; 10 when no number is written.
    pub stats: Option<u32>,
    /// NAME
    pub name: Option<Text>,
    /// DESCRIPTION
    pub description: Option<Text>,
}

/// `RESTORE DATABASE | LOG name [FROM DISK = '…'] [WITH …]`: every option but MOVE at most once.
#[derive(Debug)]
pub struct Restore {
    /// DATABASE or LOG.
    pub kind: BackupKind,
    /// Which.
    pub database: Name,
    /// The backup file; `None` only recovers what was restored before.
    pub disk: Option<Text>,
    /// WITH …
    pub options: RestoreOptions,
}

/// Options of RESTORE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// RECOVERY (also when nothing is written), NORECOVERY or STANDBY.
    pub recovery: RestoreRecovery,
    /// REPLACE
    pub replace: bool,
    /// FILE = n: the backup set, from 1.
    pub file: Option<u32>,
    /// MOVE 'logical' TO 'path'
    pub moves: Vec<(Text, Text)>,
    /// STOPAT = '…'
    pub stop_at: Option<Text>,
    /// CHECKSUM; `Some(false)` is NO_CHECKSUM.
    pub checksum: Option<bool>,
    /// STATS [= n]; 10 when no number is written.
    pub stats: Option<u32>,
}

/// What state RESTORE leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RestoreRecovery {
    /// RECOVERY, the default: open.
    #[default]
    Recovery,
    /// NORECOVERY: takes further log.
    Norecovery,
    /// STANDBY = '…'
    Standby(Text),
}

/// `EXEC [schema.]procedure [[@name =] value, …]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// The parts of its name, 1…3: `[database, schema, procedure]`, `[schema, procedure]` or `[procedure]`.
    pub procedure: Vec<Name>,
    /// Positional ones first.
    pub arguments: Vec<Argument>,
}

impl Execute {
    /// The last part of the procedure's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.procedure.last().map_or("", |part| part.value.as_str())
    }
}

/// One argument of EXEC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// `@name`, without the `@`, when written.
    pub name: Option<Name>,
    /// Its value.
    pub value: Literal,
    /// Where the value is.
    pub span: Span,
}

/// A constant. EXEC also takes a bare word as a string, as Transact-SQL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// NULL
    Null,
    /// DEFAULT
    Default,
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent, as written.
    Decimal(String),
    /// A string, or a bare word.
    Text(String),
    /// `0x…`
    Binary(Vec<u8>),
}

//! Databases, sessions, backups.

use super::{Name, Text};

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
    /// `ONLINE`
    Online,
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

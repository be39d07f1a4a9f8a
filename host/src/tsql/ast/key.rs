//! Master keys and certificates.

use super::{Binary, Name, Password, Text};

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

/// Which master key a BACKUP or RESTORE is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKeyKind {
    /// `MASTER KEY`: the current database's.
    Database,
    /// `SERVICE MASTER KEY`: the instance's.
    Service,
}

/// `BACKUP [SERVICE] MASTER KEY TO FILE = '…' ENCRYPTION BY PASSWORD = '…'`
#[derive(Debug)]
pub struct BackupMasterKey {
    /// Which.
    pub kind: MasterKeyKind,
    /// Where to.
    pub file: Text,
    /// Protects the file.
    pub password: Password,
}

/// `RESTORE [SERVICE] MASTER KEY FROM FILE = '…' DECRYPTION BY PASSWORD = '…' …`
#[derive(Debug)]
pub struct RestoreMasterKey {
    /// Which.
    pub kind: MasterKeyKind,
    /// Where from.
    pub file: Text,
    /// Protects the file.
    pub decryption: Password,
    /// `ENCRYPTION BY PASSWORD = '…'`: protects the key from now on; a service master key has none.
    pub encryption: Option<Password>,
    /// FORCE was written.
    pub force: bool,
}

/// The change of an ALTER SERVICE MASTER KEY.
#[derive(Debug)]
pub enum AlterServiceMasterKey {
    /// `[FORCE] REGENERATE`
    Regenerate {
        /// FORCE was written.
        force: bool,
    },
    /// `WITH OLD_ACCOUNT | NEW_ACCOUNT = '…', …`: of a system that has service accounts with keys of their own.
    Account,
    /// `ADD | DROP ENCRYPTION BY MACHINE KEY`
    MachineKey {
        /// ADD.
        add: bool,
    },
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

//! The database master keys at rest, and how they are opened.

use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::keys::{
    DatabaseMasterKey, Iterations, KeyError, PrivateKey, ServiceMasterKey, WrappedKey,
};
use rusqlite::{Connection, params};

use super::{dates, first};
use crate::messages::{M15466, M15507, M15508, Raised};

/// The provider behind everything the catalog computes.
pub type Crypto = RustCrypto;
/// SHA-256 of that provider.
pub type Sha256 = <Crypto as Provider>::Sha256;

/// What each guess of a password costs: the host's default (`docs/keys.md`).
pub const PASSWORD_ITERATIONS: u32 = 600_000;

/// The host's iteration count.
///
/// # Errors
/// None in practice.
pub fn iterations() -> Result<Iterations, Raised> {
    Iterations::new(PASSWORD_ITERATIONS).map_err(failed)
}

/// A key operation that failed for a reason that no password explains.
#[must_use]
pub fn failed(error: KeyError) -> Raised {
    match error {
        KeyError::Rejected => M15466.refuse(&[
            &"the key above it does not open it; was smk.key or master.db put back from another instance?",
        ]),
        KeyError::Entropy => M15508.refuse(&[&error]),
        _ => M15507.refuse(&[&error]),
    }
}

/// A master key at rest.
#[derive(Clone, Debug)]
pub struct MasterKeyRow {
    /// Drawn with the key.
    pub guid: [u8; 16],
    /// Wrapped by its password.
    pub by_password: Vec<u8>,
    /// Wrapped by the service master key; absent when it does not open by itself.
    pub by_service_master_key: Option<Vec<u8>>,
}

/// The master key of a database.
///
/// # Errors
/// SQLite's.
pub fn row(master: &Connection, database_id: i32) -> rusqlite::Result<Option<MasterKeyRow>> {
    first(
        master,
        "SELECT by_password, by_service_master_key, key_guid FROM master_key WHERE database_id = ?1",
        [database_id],
        |row| {
            Ok(MasterKeyRow {
                by_password: row.get(0)?,
                by_service_master_key: row.get(1)?,
                guid: row.get(2)?,
            })
        },
    )
}

/// Stores a new or changed master key.
///
/// # Errors
/// SQLite's.
pub fn store(master: &Connection, database_id: i32, key: &MasterKeyRow) -> rusqlite::Result<()> {
    master
        .execute(
            "INSERT INTO master_key (database_id, key_guid, by_password, by_service_master_key, create_date, modify_date)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT (database_id) DO UPDATE SET key_guid = excluded.key_guid, by_password = excluded.by_password,
               by_service_master_key = excluded.by_service_master_key, modify_date = excluded.modify_date",
            params![database_id, key.guid, key.by_password, key.by_service_master_key, dates::now()],
        )
        .map(drop)
}

impl MasterKeyRow {
    /// Both wrappings of `key`.
    ///
    /// # Errors
    /// [`failed`].
    pub fn wrap(
        key: &DatabaseMasterKey,
        password: &str,
        above: Option<&ServiceMasterKey>,
    ) -> Result<Self, Raised> {
        let mut entropy = dbmirror_adapters::entropy::OsEntropy;
        let by_password = key
            .wrap_by_password(password.as_bytes(), iterations()?, &mut entropy)
            .and_then(|wrapped| wrapped.to_der())
            .map_err(failed)?;
        let by_service_master_key = above
            .map(|above| {
                key.wrap_by_service_master_key(above)
                    .and_then(|wrapped| wrapped.to_der())
                    .map(|der| der.to_vec())
            })
            .transpose()
            .map_err(failed)?;
        Ok(Self {
            guid: crate::instance::random()?,
            by_password: by_password.to_vec(),
            by_service_master_key,
        })
    }

    /// Opens it without a password; nothing when it does not open by itself.
    ///
    /// # Errors
    /// [`failed`].
    pub fn open(&self, above: &ServiceMasterKey) -> Result<Option<DatabaseMasterKey>, Raised> {
        let Some(der) = &self.by_service_master_key else {
            return Ok(None);
        };
        WrappedKey::from_der(der)
            .and_then(|wrapped| DatabaseMasterKey::unwrap_by_service_master_key(&wrapped, above))
            .map(Some)
            .map_err(failed)
    }

    /// Opens it with a password.
    ///
    /// # Errors
    /// The key's own: [`KeyError::Rejected`] for a wrong password.
    pub fn open_by_password(&self, password: &str) -> Result<DatabaseMasterKey, KeyError> {
        DatabaseMasterKey::unwrap_by_password(&WrappedKey::from_der(&self.by_password)?, password.as_bytes())
    }
}

/// Opens a certificate's private key that is under the master key.
///
/// # Errors
/// The key's own.
pub fn open_private_key(wrapped: &[u8], above: &DatabaseMasterKey) -> Result<PrivateKey, KeyError> {
    PrivateKey::unwrap_by_database_master_key::<Crypto>(&WrappedKey::from_der(wrapped)?, above)
}

//! The database master keys at rest, and how they are opened.

use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::keys::{
    DatabaseMasterKey, Iterations, KeyError, PrivateKey, ServiceMasterKey, WrappedKey,
};
use rusqlite::{Connection, params};

use super::{all, dates, first};
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
    /// Wrapped by each of its passwords.
    pub by_passwords: Vec<Vec<u8>>,
    /// Wrapped by a service master key; absent when every session has to open it.
    pub by_service_master_key: Option<ByServiceMasterKey>,
}

/// A master key wrapped by a service master key.
#[derive(Clone, Debug)]
pub struct ByServiceMasterKey {
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// Which service master key that is.
    pub guid: Option<[u8; 16]>,
}

impl ByServiceMasterKey {
    /// Wraps `key` by `above`.
    ///
    /// # Errors
    /// [`failed`].
    pub fn wrap(key: &DatabaseMasterKey, above: &ServiceMasterKey) -> Result<Self, Raised> {
        let wrapped = key
            .wrap_by_service_master_key(above)
            .and_then(|wrapped| wrapped.to_der())
            .map_err(failed)?;
        Ok(Self {
            wrapped: wrapped.to_vec(),
            guid: Some(above.guid::<Sha256>()),
        })
    }

    /// Opens it by `above`, whatever is said about which key that should be.
    ///
    /// # Errors
    /// The key's own.
    pub fn open(&self, above: &ServiceMasterKey) -> Result<DatabaseMasterKey, KeyError> {
        DatabaseMasterKey::unwrap_by_service_master_key(&WrappedKey::from_der(&self.wrapped)?, above)
    }
}

/// The master key of a database.
///
/// # Errors
/// SQLite's.
pub fn row(master: &Connection, database_id: i32) -> rusqlite::Result<Option<MasterKeyRow>> {
    let found = first(
        master,
        "SELECT key_guid, by_service_master_key, service_master_key_guid FROM master_key WHERE database_id = ?1",
        [database_id],
        |row| {
            let wrapped: Option<Vec<u8>> = row.get(1)?;
            let guid = row.get(2)?;
            Ok((
                row.get(0)?,
                wrapped.map(|wrapped| ByServiceMasterKey { wrapped, guid }),
            ))
        },
    )?;
    let Some((guid, by_service_master_key)) = found else {
        return Ok(None);
    };
    Ok(Some(MasterKeyRow {
        guid,
        by_passwords: all(
            master,
            "SELECT wrapped FROM master_key_password WHERE database_id = ?1 ORDER BY master_key_password_id",
            [database_id],
            |row| row.get(0),
        )?,
        by_service_master_key,
    }))
}

/// The databases that have a master key.
///
/// # Errors
/// SQLite's.
pub fn databases(master: &Connection) -> rusqlite::Result<Vec<(i32, String)>> {
    all(
        master,
        "SELECT k.database_id, name FROM master_key k JOIN database d ON d.database_id = k.database_id ORDER BY 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Stores a new or changed master key.
///
/// # Errors
/// SQLite's.
pub fn store(master: &Connection, database_id: i32, key: &MasterKeyRow) -> rusqlite::Result<()> {
    let above = key.by_service_master_key.as_ref();
    master.execute(
        "INSERT INTO master_key (database_id, key_guid, by_service_master_key, service_master_key_guid, create_date, modify_date)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (database_id) DO UPDATE SET key_guid = excluded.key_guid,
           by_service_master_key = excluded.by_service_master_key,
           service_master_key_guid = excluded.service_master_key_guid, modify_date = excluded.modify_date",
        params![
            database_id,
            key.guid,
            above.map(|above| &above.wrapped),
            above.and_then(|above| above.guid),
            dates::now()
        ],
    )?;
    master.execute(
        "DELETE FROM master_key_password WHERE database_id = ?1",
        [database_id],
    )?;
    for wrapped in &key.by_passwords {
        master.execute(
            "INSERT INTO master_key_password (database_id, wrapped) VALUES (?1, ?2)",
            params![database_id, wrapped],
        )?;
    }
    Ok(())
}

/// A certificate whose private key lies under the master key of that database.
///
/// # Errors
/// SQLite's.
pub fn dependant(master: &Connection, database_id: i32) -> rusqlite::Result<Option<String>> {
    first(
        master,
        "SELECT name FROM certificate WHERE database_id = ?1 AND private_key_protection = 'MK' ORDER BY certificate_id LIMIT 1",
        [database_id],
        |row| row.get(0),
    )
}

/// Forgets the master key of a database.
///
/// # Errors
/// SQLite's.
pub fn delete(master: &Connection, database_id: i32) -> rusqlite::Result<()> {
    for table in ["master_key", "master_key_password"] {
        master.execute(
            &format!("DELETE FROM {table} WHERE database_id = ?1"),
            [database_id],
        )?;
    }
    Ok(())
}

/// `key` wrapped by a password.
///
/// # Errors
/// [`failed`].
pub fn wrap_by_password(key: &DatabaseMasterKey, password: &str) -> Result<Vec<u8>, Raised> {
    let mut entropy = dbmirror_adapters::entropy::OsEntropy;
    let wrapped = key
        .wrap_by_password(password.as_bytes(), iterations()?, &mut entropy)
        .and_then(|wrapped| wrapped.to_der())
        .map_err(failed)?;
    Ok(wrapped.to_vec())
}

impl MasterKeyRow {
    /// `key`, new, under a password.
    ///
    /// # Errors
    /// [`failed`].
    pub fn wrap(key: &DatabaseMasterKey, password: &str) -> Result<Self, Raised> {
        Ok(Self {
            guid: crate::instance::random()?,
            by_passwords: vec![wrap_by_password(key, password)?],
            by_service_master_key: None,
        })
    }

    /// Why it does not open by itself; nothing when it does.
    #[must_use]
    pub fn closed_because(&self, above: &ServiceMasterKey) -> Option<&'static str> {
        match &self.by_service_master_key {
            None => Some(
                "it is not encrypted by the service master key. OPEN MASTER KEY with its password, then ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY",
            ),
            Some(by) if by.guid != Some(above.guid::<Sha256>()) => Some(
                "it is encrypted by another service master key than this instance has now. Put back the smk.key that belongs to this master.db, or RESTORE SERVICE MASTER KEY, or OPEN MASTER KEY with its password and ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY",
            ),
            Some(_) => None,
        }
    }

    /// Opens it without a password; nothing when it does not open by itself ([`MasterKeyRow::closed_because`]).
    ///
    /// # Errors
    /// [`failed`].
    pub fn open(&self, above: &ServiceMasterKey) -> Result<Option<DatabaseMasterKey>, Raised> {
        match &self.by_service_master_key {
            Some(by) if self.closed_because(above).is_none() => by.open(above).map(Some).map_err(failed),
            _ => Ok(None),
        }
    }

    /// Opens it with a password; tells also which of its passwords that is.
    ///
    /// # Errors
    /// The key's own: [`KeyError::Rejected`] for a wrong password.
    pub fn open_by_password(&self, password: &[u8]) -> Result<(usize, DatabaseMasterKey), KeyError> {
        let mut refusal = KeyError::Rejected;
        for (at, wrapped) in self.by_passwords.iter().enumerate() {
            let opened = WrappedKey::from_der(wrapped)
                .and_then(|wrapped| DatabaseMasterKey::unwrap_by_password(&wrapped, password));
            match opened {
                Ok(key) => return Ok((at, key)),
                Err(KeyError::Rejected) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

/// A password that was kept for the master keys of a family of databases.
#[derive(Clone, Debug)]
pub struct Credential {
    /// `credential_id`.
    pub id: i32,
    /// The family.
    pub family_guid: [u8; 16],
    /// The stored password.
    pub password: Vec<u8>,
}

/// The kept passwords, of one family or of all.
///
/// # Errors
/// SQLite's.
pub fn credentials(master: &Connection, family: Option<&[u8; 16]>) -> rusqlite::Result<Vec<Credential>> {
    all(
        master,
        "SELECT credential_id, family_guid, password FROM master_key_credential
          WHERE ?1 IS NULL OR family_guid = ?1 ORDER BY credential_id",
        [family],
        |row| {
            Ok(Credential {
                id: row.get(0)?,
                family_guid: row.get(1)?,
                password: row.get(2)?,
            })
        },
    )
}

/// What the catalog says of the service master key that it is wrapped by; nothing when it does not know yet.
///
/// # Errors
/// SQLite's.
pub fn service_master_key_guid(master: &Connection) -> rusqlite::Result<Option<[u8; 16]>> {
    let guid: Option<[u8; 16]> = first(
        master,
        "SELECT service_master_key_guid FROM instance",
        [],
        |row| row.get(0),
    )?;
    Ok(guid.filter(|guid| *guid != [0; 16]))
}

/// Notes which service master key the instance has now. What an earlier version wrapped is tried once, to know by which.
///
/// # Errors
/// SQLite's.
pub fn set_service_master_key(master: &Connection, key: &ServiceMasterKey) -> rusqlite::Result<()> {
    let guid = key.guid::<Sha256>();
    master.execute("UPDATE instance SET service_master_key_guid = ?1", [guid])?;
    for (database_id, _) in databases(master)? {
        let Some(MasterKeyRow {
            by_service_master_key: Some(by),
            ..
        }) = row(master, database_id)?
        else {
            continue;
        };
        if by.guid.is_none() && by.open(key).is_ok() {
            master.execute(
                "UPDATE master_key SET service_master_key_guid = ?2 WHERE database_id = ?1",
                params![database_id, guid],
            )?;
        }
    }
    Ok(())
}

/// Opens a certificate's private key that is under the master key.
///
/// # Errors
/// The key's own.
pub fn open_private_key(wrapped: &[u8], above: &DatabaseMasterKey) -> Result<PrivateKey, KeyError> {
    PrivateKey::unwrap_by_database_master_key::<Crypto>(&WrappedKey::from_der(wrapped)?, above)
}

//! Which keys a session can use now: those that open by themselves, and those that it has opened.

use std::sync::Arc;

use dbmirror_core::keys::{DatabaseMasterKey, KeyError, PrivateKey, WrappedKey};
use rusqlite::Connection;

use super::{SqlSession, Stop};
use crate::catalog::certificates::Certificate;
use crate::catalog::keys::{self, Crypto, failed, open_private_key};
use crate::instance::Instance;
use crate::messages::{M15147, M15246, M15334, M15465, M15581};

/// A master key that OPEN MASTER KEY has opened.
pub(super) struct Opened {
    /// Which one: another session may drop or regenerate it.
    pub guid: [u8; 16],
    pub key: DatabaseMasterKey,
}

/// A master key that may be used now.
pub(super) enum KeyInUse {
    /// Opened by OPEN MASTER KEY.
    Session(Arc<Opened>),
    /// Opened by the service master key.
    ByItself(DatabaseMasterKey),
}

impl KeyInUse {
    pub(super) fn get(&self) -> &DatabaseMasterKey {
        match self {
            Self::Session(opened) => &opened.key,
            Self::ByItself(key) => key,
        }
    }
}

/// A session's keys in its current database.
pub(super) struct KeyRing {
    pub instance: Arc<Instance>,
    pub database_id: i32,
    database: String,
    opened: Option<Arc<Opened>>,
}

impl SqlSession {
    pub(super) fn key_ring(&self) -> KeyRing {
        KeyRing {
            instance: Arc::clone(&self.instance),
            database_id: self.database_id,
            database: self.database.clone(),
            opened: self.opened.get(&self.database_id).cloned(),
        }
    }

    /// The master key of the current database, opened in this session or by itself.
    pub(super) fn master_key(&self, catalog: &Connection) -> Result<KeyInUse, Stop> {
        self.key_ring().master_key(catalog)
    }
}

impl KeyRing {
    /// Lets the passwords that were kept for the database open its master key, if nothing else does. To be called before
    /// [`KeyRing::master_key`] while the catalog is not held: each guess takes a while.
    pub(super) fn try_kept(&self) -> Result<(), Stop> {
        if let Some(opened) = &self.opened {
            let row = keys::row(&self.instance.master(), self.database_id)?;
            if row.is_some_and(|row| row.guid == opened.guid) {
                return Ok(());
            }
        }
        Ok(self.instance.open_by_kept_password(self.database_id)?)
    }

    /// The master key, opened in this session or by itself.
    pub(super) fn master_key(&self, catalog: &Connection) -> Result<KeyInUse, Stop> {
        let closed = || Stop::from(M15581.refuse(&[&self.database]));
        let row = keys::row(catalog, self.database_id)?.ok_or_else(closed)?;
        if let Some(opened) = self.opened.as_ref().filter(|opened| opened.guid == row.guid) {
            return Ok(KeyInUse::Session(Arc::clone(opened)));
        }
        let opened = row.open(&self.instance.service_master_key())?;
        opened.map(KeyInUse::ByItself).ok_or_else(closed)
    }

    /// Opens the private key of a certificate of the database.
    pub(super) fn private_key(
        &self,
        certificate: &Certificate,
        password: Option<&str>,
    ) -> Result<PrivateKey, Stop> {
        let name = &certificate.name;
        let Some(wrapped) = &certificate.private_key else {
            return Err(M15246.refuse(&[name]).into());
        };
        if certificate.protection == "MK" {
            if password.is_some() {
                return Err(M15147.refuse(&[name]).into());
            }
            self.try_kept()?;
            let master = self.instance.master();
            return Ok(open_private_key(wrapped, self.master_key(&master)?.get()).map_err(failed)?);
        }
        let Some(password) = password else {
            return Err(M15334.refuse(&[name]).into());
        };
        let opened = WrappedKey::from_der(wrapped)
            .and_then(|wrapped| PrivateKey::unwrap_by_password::<Crypto>(&wrapped, password.as_bytes()));
        Ok(opened.map_err(|error| match error {
            KeyError::Rejected => M15465.refuse(&[&"its password is wrong"]),
            other => failed(other),
        })?)
    }
}

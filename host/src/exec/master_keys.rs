//! CREATE, OPEN, CLOSE and DROP MASTER KEY.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{DatabaseMasterKey, KeyError};

use rusqlite::{Connection, params};

use super::{Done, Opened, Out, SqlSession, Stop, passwords};
use crate::catalog::keys::{self, MasterKeyRow};
use crate::catalog::{certificates, first};
use crate::messages::{
    M7801, M15151, M15313, M15315, M15320, M15329, M15558, M15578, M15579, M15580, M15581, M15585, M40510,
};
use crate::tsql::ast::{AlterMasterKey, KeyProtector, Password};

impl SqlSession {
    /// CREATE MASTER KEY: random, wrapped by the password and by the service master key.
    pub(super) fn create_master_key(&mut self, password: Option<&Password>) -> Done {
        let Some(password) = password else {
            return Err(M7801.refuse(&[&"ENCRYPTION BY PASSWORD"]).into());
        };
        if keys::row(&self.instance.master(), self.database_id)?.is_some() {
            return Err(M15578.refuse(&[&self.database]).into());
        }
        passwords::check_policy(password.expose(), None)?;
        // The password costs a while: the catalog is not held meanwhile.
        let key = DatabaseMasterKey::generate(&mut OsEntropy).map_err(keys::failed)?;
        let row = MasterKeyRow::wrap(&key, password.expose(), Some(self.instance.service_master_key()))?;
        self.change(|catalog| {
            if keys::row(catalog, self.database_id)?.is_some() {
                return Err(M15578.refuse(&[&self.database]).into());
            }
            Ok(keys::store(catalog, self.database_id, &row)?)
        })
    }

    /// OPEN MASTER KEY: for this session.
    pub(super) fn open_master_key(&mut self, password: &Password) -> Done {
        let row = keys::row(&self.instance.master(), self.database_id)?;
        let row = row.ok_or_else(|| M15581.refuse(&[&self.database]))?;
        let key = row
            .open_by_password(password.expose())
            .map_err(|error| match error {
                KeyError::Rejected => M15313.refuse(&[]),
                other => keys::failed(other),
            })?;
        self.opened
            .insert(self.database_id, Opened { guid: row.guid, key });
        Ok(())
    }

    /// CLOSE MASTER KEY: undoes OPEN.
    pub(super) fn close_master_key(&mut self) -> Done {
        if self.opened.remove(&self.database_id).is_some() {
            return Ok(());
        }
        match keys::row(&self.instance.master(), self.database_id)? {
            Some(_) => Err(M15315.refuse(&[&"##MS_DatabaseMasterKey##"]).into()),
            None => Err(M15581.refuse(&[&self.database]).into()),
        }
    }

    pub(super) fn alter_master_key(&mut self, change: &AlterMasterKey, out: &mut Out<'_>) -> Done {
        match change {
            AlterMasterKey::Regenerate { force, password } => {
                for lost in self.regenerate_master_key(*force, password)? {
                    out.message(&M15585.inform(&[&lost]))?;
                }
                Ok(())
            }
            AlterMasterKey::AddEncryption(KeyProtector::ServiceMasterKey) => self.change(|catalog| {
                let mut row = self.master_key_row(catalog)?;
                if row.by_service_master_key.is_some() {
                    return Err(M15579.refuse(&[&self.database]).into());
                }
                let wrapped = self
                    .master_key(catalog)?
                    .get()
                    .wrap_by_service_master_key(self.instance.service_master_key())
                    .and_then(|wrapped| wrapped.to_der())
                    .map_err(keys::failed)?;
                row.by_service_master_key = Some(wrapped.to_vec());
                Ok(keys::store(catalog, self.database_id, &row)?)
            }),
            AlterMasterKey::DropEncryption(KeyProtector::ServiceMasterKey) => self.change(|catalog| {
                let mut row = self.master_key_row(catalog)?;
                if row.by_service_master_key.take().is_none() {
                    return Err(M15558.refuse(&[&self.database]).into());
                }
                Ok(keys::store(catalog, self.database_id, &row)?)
            }),
            AlterMasterKey::AddEncryption(KeyProtector::Password(_))
            | AlterMasterKey::DropEncryption(KeyProtector::Password(_)) => Err(M40510
                .refuse(&[
                    &"ALTER MASTER KEY … ENCRYPTION BY PASSWORD",
                    &"a master key has one password; REGENERATE sets another",
                ])
                .into()),
        }
    }

    fn master_key_row(&self, catalog: &Connection) -> Result<MasterKeyRow, Stop> {
        Ok(keys::row(catalog, self.database_id)?.ok_or_else(|| M15581.refuse(&[&self.database]))?)
    }

    /// A new master key; every private key under the old one is put under it. With `force` the ones that do not open are
    /// given up, and returned by name.
    fn regenerate_master_key(&mut self, force: bool, password: &Password) -> Result<Vec<String>, Stop> {
        passwords::check_policy(password.expose(), None)?;
        let database_id = self.database_id;
        let above = self
            .master_key_row(&self.instance.master())?
            .by_service_master_key
            .is_some();
        let new = DatabaseMasterKey::generate(&mut OsEntropy).map_err(keys::failed)?;
        let above = above.then(|| self.instance.service_master_key());
        let row = MasterKeyRow::wrap(&new, password.expose(), above)?;
        let lost = self.change(|catalog| {
            let old = match self.master_key(catalog) {
                Ok(old) => Some(old),
                Err(_) if force => None,
                Err(_) => return Err(M15329.refuse(&[&"open it first, or FORCE gives up what it protects"]).into()),
            };
            let mut lost = Vec::new();
            for certificate in certificates::every(catalog, database_id)? {
                let (Some(wrapped), "MK") = (&certificate.private_key, certificate.protection.as_str()) else { continue };
                let opened = old.as_ref().and_then(|old| keys::open_private_key(wrapped, old.get()).ok());
                let (wrapped, protection) = match opened {
                    Some(private) => {
                        let wrapped = private
                            .wrap_by_database_master_key(&new)
                            .and_then(|wrapped| wrapped.to_der())
                            .map_err(keys::failed)?;
                        (Some(wrapped.to_vec()), "MK")
                    }
                    None if force => {
                        lost.push(certificate.name.clone());
                        (None, "NA")
                    }
                    None => return Err(M15320.refuse(&[&certificate.name]).into()),
                };
                catalog.execute(
                    "UPDATE certificate SET private_key = ?2, private_key_protection = ?3 WHERE certificate_id = ?1",
                    params![certificate.id, wrapped, protection],
                )?;
            }
            keys::store(catalog, database_id, &row)?;
            Ok(lost)
        })?;
        self.opened.remove(&database_id);
        if !lost.is_empty() {
            self.refresh_pins()?;
        }
        Ok(lost)
    }

    /// DROP MASTER KEY: not while a private key is under it.
    pub(super) fn drop_master_key(&mut self) -> Done {
        let database_id = self.database_id;
        self.change(|catalog| {
            if keys::row(catalog, database_id)?.is_none() {
                return Err(M15151
                    .refuse(&[&"drop", &"symmetric key", &"##MS_DatabaseMasterKey##"])
                    .into());
            }
            let dependent: Option<String> = first(
                catalog,
                "SELECT name FROM certificate WHERE database_id = ?1 AND private_key_protection = 'MK' LIMIT 1",
                [database_id],
                |row| row.get(0),
            )?;
            if let Some(name) = dependent {
                return Err(M15580.refuse(&[&name]).into());
            }
            catalog.execute("DELETE FROM master_key WHERE database_id = ?1", [database_id])?;
            Ok(())
        })?;
        self.opened.remove(&database_id);
        Ok(())
    }
}

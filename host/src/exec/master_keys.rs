//! CREATE, OPEN, CLOSE and DROP MASTER KEY.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{DatabaseMasterKey, KeyError};

use super::{Done, SqlSession, passwords};
use crate::catalog::first;
use crate::catalog::keys::{self, MasterKeyRow};
use crate::instance::random;
use crate::messages::{M7801, M15151, M15313, M15315, M15578, M15580, M15581};
use crate::tsql::ast::Password;

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
        let guid = random()?;
        self.change(|catalog| {
            if keys::row(catalog, self.database_id)?.is_some() {
                return Err(M15578.refuse(&[&self.database]).into());
            }
            Ok(keys::store(catalog, self.database_id, &guid, &row)?)
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
        self.opened.insert(self.database_id, key);
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

//! What the functions of a query ask about the session.

use std::sync::Arc;

use super::key_ring::KeyRing;
use super::{SqlSession, Stop, private_keys};
use crate::catalog::{SA_ID, certificates, databases, first, principals};
use crate::instance::Instance;
use crate::provider::CHANNEL_CRYPTO;
use crate::tsql::{Value, functions};

/// The session as one query sees it.
struct QueryContext {
    instance: Arc<Instance>,
    session_id: i32,
    database_id: i32,
    database: String,
    keys: KeyRing,
    login: String,
    login_id: Option<i32>,
    user: String,
    sysadmin: bool,
    /// Certificates and keys of the current database are shown to its owner only.
    owner: bool,
}

impl SqlSession {
    /// Registers the functions of Transact-SQL on the connection that runs a query.
    pub(super) fn register_functions(&self, memory: &rusqlite::Connection) -> rusqlite::Result<()> {
        let (user, owner) = {
            let master = self.instance.master();
            (
                self.user_name(&master)?,
                self.is_owner(&master, self.database_id)?,
            )
        };
        let context = QueryContext {
            instance: Arc::clone(&self.instance),
            session_id: self.id,
            database_id: self.database_id,
            database: self.database.clone(),
            keys: self.key_ring(),
            login: self.login_name(),
            login_id: self.login_id(),
            user,
            sysadmin: self.is_sysadmin(),
            owner,
        };
        functions::register(memory, Arc::new(context))
    }
}

impl functions::Context for QueryContext {
    fn server_name(&self) -> String {
        self.instance.name().to_owned()
    }

    fn version(&self) -> String {
        format!(
            "dbmirror {} (SQLite {}, channel {})",
            env!("CARGO_PKG_VERSION"),
            rusqlite::version(),
            CHANNEL_CRYPTO
        )
    }

    fn session_id(&self) -> i64 {
        self.session_id.into()
    }

    fn database_name(&self, id: Option<i64>) -> Option<String> {
        match id {
            None => Some(self.database.clone()),
            Some(id) => {
                let id = i32::try_from(id).ok()?;
                databases::by_id(&self.instance.master(), id)
                    .ok()?
                    .map(|database| database.name)
            }
        }
    }

    fn database_id(&self, name: Option<&str>) -> Option<i64> {
        match name {
            None => Some(self.database_id.into()),
            Some(name) => databases::by_name(&self.instance.master(), name)
                .ok()?
                .map(|database| database.id.into()),
        }
    }

    fn server_property(&self, name: &str) -> Option<Value> {
        Some(match name.to_ascii_lowercase().as_str() {
            "servername" | "instancename" | "machinename" => Value::from(self.instance.name()),
            "productversion" => Value::from(env!("CARGO_PKG_VERSION")),
            "edition" => Value::from("dbmirror"),
            "channelprovider" => Value::from(CHANNEL_CRYPTO),
            "processid" => Value::Int(std::process::id().into()),
            "instancedefaultdatapath" => {
                Value::Text(self.instance.dir().root().join("data").display().to_string())
            }
            "instancedefaultbackuppath" => {
                Value::Text(self.instance.dir().root().join("backup").display().to_string())
            }
            "errorlogfilename" => Value::Text(self.instance.dir().error_log().display().to_string()),
            _ => return None,
        })
    }

    fn login_name(&self) -> String {
        self.login.clone()
    }

    fn original_login(&self) -> String {
        "sa".to_owned()
    }

    fn login_of_id(&self, id: i64) -> Option<String> {
        first(
            &self.instance.master(),
            "SELECT name FROM server_principal WHERE principal_id = ?1 AND type <> 'R'",
            [id],
            |row| row.get(0),
        )
        .ok()?
    }

    fn login_id(&self, name: Option<&str>) -> Option<i64> {
        match name {
            None => self.login_id.map(i64::from),
            Some(name) => principals::login(&self.instance.master(), name)
                .ok()?
                .map(|login| login.id.into()),
        }
    }

    fn user_of_id(&self, id: i64) -> Option<String> {
        first(
            &self.instance.master(),
            "SELECT name FROM database_principal WHERE database_id = ?1 AND principal_id = ?2",
            [i64::from(self.database_id), id],
            |row| row.get(0),
        )
        .ok()?
    }

    /// The roles are `sysadmin`, whose one member is `sa`, and `public`, which everybody is in.
    fn is_role_member(&self, role: &str, login: Option<&str>) -> Option<bool> {
        let sysadmin = match login {
            None => self.sysadmin,
            Some(name) => principals::login(&self.instance.master(), name).ok()??.id == SA_ID,
        };
        match role.to_ascii_lowercase().as_str() {
            "sysadmin" => Some(sysadmin),
            "public" => Some(true),
            _ => None,
        }
    }

    fn login_of(&self, sid: &[u8]) -> Option<String> {
        principals::login_of_sid(&self.instance.master(), sid)
            .ok()?
            .map(|login| login.name)
    }

    fn certificate_id(&self, name: &str) -> Option<i64> {
        self.owner.then_some(())?;
        certificates::by_name(&self.instance.master(), self.database_id, name)
            .ok()?
            .map(|certificate| certificate.id.into())
    }

    fn certificate_der(&self, id: i64) -> Option<Vec<u8>> {
        self.owner.then_some(())?;
        let id = i32::try_from(id).ok()?;
        certificates::in_database(&self.instance.master(), self.database_id, id)
            .ok()?
            .map(|certificate| certificate.der)
    }

    fn certificate_property(&self, id: i64, name: &str) -> Option<Value> {
        self.owner.then_some(())?;
        let id = i32::try_from(id).ok()?;
        certificates::property(&self.instance.master(), self.database_id, id, name).ok()?
    }

    fn certificate_private_key(
        &self,
        id: i64,
        encryption: &str,
        decryption: Option<&str>,
    ) -> Result<Option<Vec<u8>>, (u32, String)> {
        if !self.owner {
            return Ok(None);
        }
        let Ok(id) = i32::try_from(id) else {
            return Ok(None);
        };
        private_keys::certificate_private_key(&self.keys, id, encryption, decryption).map_err(|stop| {
            match stop {
                Stop::Refused(messages) => messages.into_iter().next().map_or_else(
                    || (15465, String::new()),
                    |message| (message.number, message.text),
                ),
                Stop::Cancelled => (15465, String::new()),
            }
        })
    }

    fn user_name(&self) -> String {
        self.user.clone()
    }
}

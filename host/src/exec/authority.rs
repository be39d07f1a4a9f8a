//! Who a session acts as (EXECUTE AS, REVERT), and what each statement asks of him.
//!
//! A session begins as `sa`, who may do everything. Acting as another login it may do what that login was granted, what
//! it owns, and nothing else: [`SqlSession::permitted`] is asked before every statement, and a statement that it does not know
//! needs CONTROL SERVER. `docs/tsql.md`, "Permissions", is the same table for people.

use rusqlite::Connection;

use super::{Done, SqlSession, Stop, procedures};
use crate::catalog::endpoints::{self, CLASS_ENDPOINT, Endpoint};
use crate::catalog::principals::{self, CLASS_LOGIN, CLASS_SERVER, Login};
use crate::catalog::views::Rows;
use crate::catalog::{SA_ID, SA_SID, databases};
use crate::messages::{
    M229, M262, M300, M916, M3013, M3110, M3701, M4613, M5011, M5069, M15151, M15196, M15199, M15247, M15406,
    M15517, M50150, M50151, M50152, Raised,
};
use crate::tsql::Value;
use crate::tsql::ast::{
    BackupKind, BackupMasterKey, ExecuteAs, MasterKeyKind, PermissionAction, PrincipalKind, RestoreMasterKey,
    StatementKind,
};

/// The role that everybody is in.
const PUBLIC_ID: i32 = 2;
/// The user that a database's owner is in it.
const DBO_ID: i32 = 1;
/// Deepest nesting of EXECUTE AS.
const DEPTH_MAX: usize = 32;

/// Whom a session acts as since an EXECUTE AS.
pub(super) struct Acting {
    kind: PrincipalKind,
    name: String,
    /// The login, or the one that the user stands for.
    login: Option<Login>,
    /// Where EXECUTE AS was said.
    database_id: i32,
    database: String,
    no_revert: bool,
}

impl SqlSession {
    pub(super) fn execute_as(&mut self, statement: &ExecuteAs) -> Done {
        let name = &statement.name.value;
        let refused = || match statement.kind {
            PrincipalKind::Login => M15406.refuse(&[name]),
            PrincipalKind::User => M15517.refuse(&[name]),
        };
        if self.acting.len() >= DEPTH_MAX {
            return Err(refused().and("EXECUTE AS is nested too deeply.").into());
        }
        let login = {
            let master = self.instance.master();
            match statement.kind {
                PrincipalKind::Login => {
                    let login = principals::login(&master, name)?
                        .filter(|login| login.kind == "S")
                        .ok_or_else(refused)?;
                    if !self.may_impersonate(&master, &login)? {
                        return Err(refused().into());
                    }
                    Some(login)
                }
                PrincipalKind::User => {
                    let user = principals::user(&master, self.database_id, name)?
                        .filter(|user| user.kind == "S" && !matches!(user.id, 2..=4))
                        .ok_or_else(refused)?;
                    let login = match user.sid {
                        Some(sid) => principals::login_of_sid(&master, &sid)?,
                        None => None,
                    };
                    // CONTROL SERVER makes users, but is neither the owner himself nor `sa`.
                    let himself = user.id == DBO_ID || login.as_ref().is_some_and(|login| login.id == SA_ID);
                    let allowed = if himself {
                        self.is_dbo(&master, self.database_id)?
                    } else {
                        self.is_owner(&master, self.database_id)?
                    };
                    if !allowed {
                        return Err(refused().into());
                    }
                    login
                }
            }
        };
        let (kind, name) = match statement.kind {
            PrincipalKind::Login => ("login", login.as_ref().map_or(name, |login| &login.name)),
            PrincipalKind::User => ("user", name),
        };
        log(&M50150.inform(&[&self.id, &self.login_name(), &kind, &name]));
        self.acting.push(Acting {
            kind: statement.kind,
            name: name.clone(),
            login,
            database_id: self.database_id,
            database: self.database.clone(),
            no_revert: statement.no_revert,
        });
        Ok(())
    }

    pub(super) fn revert(&mut self) -> Done {
        let Some(acting) = self.acting.last() else {
            return Ok(());
        };
        if acting.no_revert {
            return Err(M15196.refuse(&[]).into());
        }
        if acting.database_id != self.database_id {
            return Err(M15199.refuse(&[&acting.database]).into());
        }
        let was = acting.name.clone();
        self.acting.pop();
        log(&M50151.inform(&[&self.id, &was, &self.login_name()]));
        Ok(())
    }

    // ---- who ----

    /// The login that the session acts as; a user without one is nobody.
    pub(super) fn login_name(&self) -> String {
        match self.acting.last() {
            None => "sa".to_owned(),
            Some(acting) => acting
                .login
                .as_ref()
                .map_or_else(String::new, |login| login.name.clone()),
        }
    }

    /// The SID of who owns what the session creates in the server: its login's.
    pub(super) fn owner_sid(&self) -> Vec<u8> {
        match self.acting.last() {
            Some(Acting {
                kind: PrincipalKind::Login,
                login: Some(login),
                ..
            }) => login.sid.clone(),
            _ => SA_SID.to_vec(),
        }
    }

    /// Its id, to be shown. What may be done is asked with [`Self::acting_login_id`].
    pub(super) fn login_id(&self) -> Option<i32> {
        match self.acting.last() {
            None => Some(SA_ID),
            Some(acting) => acting.login.as_ref().map(|login| login.id),
        }
    }

    /// The login whose rights the session has. Acting as a user it has none: the login behind the user is not acted as.
    pub(super) fn acting_login_id(&self) -> Option<i32> {
        match self.acting.last() {
            Some(acting) if acting.kind == PrincipalKind::User => None,
            _ => self.login_id(),
        }
    }

    /// The user that the session is in the current database.
    pub(super) fn user_name(&self, master: &Connection) -> rusqlite::Result<String> {
        let Some(acting) = self.acting.last() else {
            return Ok("dbo".to_owned());
        };
        if acting.kind == PrincipalKind::User {
            let here = acting.database_id == self.database_id;
            return Ok(if here {
                acting.name.clone()
            } else {
                "guest".to_owned()
            });
        }
        if self.is_sysadmin() {
            return Ok("dbo".to_owned());
        }
        let Some(login) = &acting.login else {
            return Ok("guest".to_owned());
        };
        if databases::by_id(master, self.database_id)?.is_some_and(|database| database.owner_sid == login.sid)
        {
            return Ok("dbo".to_owned());
        }
        let user = principals::user_of_sid(master, self.database_id, &login.sid)?;
        Ok(user.map_or_else(|| "guest".to_owned(), |user| user.name))
    }

    /// `sa`, himself or impersonated. Acting as a user never makes one: that is a matter of one database.
    pub(super) fn is_sysadmin(&self) -> bool {
        self.acting_login_id() == Some(SA_ID)
    }

    // ---- what ----

    /// The states in which `codes` are granted or denied to the session's login, or to everybody.
    pub(super) fn states(
        &self,
        master: &Connection,
        class: i32,
        major_id: i32,
        codes: &[&str],
    ) -> rusqlite::Result<Vec<String>> {
        let Some(login_id) = self.acting_login_id() else {
            return Ok(Vec::new());
        };
        let rows = crate::catalog::all(
            master,
            "SELECT type, state FROM server_permission WHERE class = ?1 AND major_id = ?2 AND grantee IN (?3, ?4)",
            [class, major_id, login_id, PUBLIC_ID],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .filter(|(code, _)| codes.contains(&code.as_str()))
            .map(|(_, state)| state)
            .collect())
    }

    /// Whether one of `codes` on the server is granted and none denied; CONTROL SERVER is all of them.
    pub(super) fn on_server(&self, master: &Connection, codes: &[&str]) -> rusqlite::Result<bool> {
        if self.is_sysadmin() {
            return Ok(true);
        }
        let mut states = self.states(master, CLASS_SERVER, 0, codes)?;
        states.extend(self.states(master, CLASS_SERVER, 0, &["CL"])?);
        Ok(granted(&states))
    }

    /// The same on an endpoint; its owner has all.
    pub(super) fn on_endpoint(
        &self,
        master: &Connection,
        endpoint: &Endpoint,
        codes: &[&str],
        server: &[&str],
    ) -> rusqlite::Result<bool> {
        if self.is_sysadmin() || self.acting_login_id() == Some(endpoint.principal_id) {
            return Ok(true);
        }
        let mut states = self.states(master, CLASS_ENDPOINT, endpoint.id, codes)?;
        states.extend(self.states(master, CLASS_ENDPOINT, endpoint.id, &["CL"])?);
        Ok(granted(&states) || !states.iter().any(|state| state == "D") && self.on_server(master, server)?)
    }

    fn may_impersonate(&self, master: &Connection, login: &Login) -> rusqlite::Result<bool> {
        if self.is_sysadmin() || self.acting_login_id() == Some(login.id) {
            return Ok(true);
        }
        let states = self.states(master, CLASS_LOGIN, login.id, &["IM", "CL"])?;
        if states.iter().any(|state| state == "D") {
            return Ok(false);
        }
        // Who has CONTROL SERVER may be anybody but `sa`: that would be more than was granted.
        Ok(granted(&states) || login.id != SA_ID && self.on_server(master, &[])?)
    }

    /// Whether the session may do everything in that database.
    pub(super) fn is_owner(&self, master: &Connection, database_id: i32) -> rusqlite::Result<bool> {
        Ok(self.on_server(master, &[])? || self.is_dbo(master, database_id)?)
    }

    /// Whether the session is that database's owner: `sa`, its login, or its user `dbo`.
    fn is_dbo(&self, master: &Connection, database_id: i32) -> rusqlite::Result<bool> {
        if self.is_sysadmin() {
            return Ok(true);
        }
        let Some(acting) = self.acting.last() else {
            return Ok(true);
        };
        if acting.kind == PrincipalKind::User {
            return Ok(acting.database_id == database_id && acting.name.eq_ignore_ascii_case("dbo"));
        }
        let owner = databases::by_id(master, database_id)?.map(|database| database.owner_sid);
        Ok(acting
            .login
            .as_ref()
            .is_some_and(|login| owner.as_ref() == Some(&login.sid)))
    }

    /// Refuses what the session may not do. A refusal is logged.
    pub(super) fn permitted(&self, statement: &StatementKind) -> Done {
        if self.is_sysadmin() {
            return Ok(());
        }
        let refused = {
            let master = self.instance.master();
            self.refusal(&master, statement)?
        };
        match refused {
            None => Ok(()),
            Some(messages) => {
                if let Some(first) = messages.first() {
                    log(&M50152.inform(&[&self.id, &self.login_name(), &first.number, &first.text]));
                }
                Err(Stop::Refused(messages))
            }
        }
    }

    fn refusal(&self, master: &Connection, statement: &StatementKind) -> Result<Option<Vec<Raised>>, Stop> {
        let here = |permission: &str| M262.refuse(&[&permission, &self.database]);
        let owner = self.is_owner(master, self.database_id)?;
        let find = |verb: &str, kind: &str, name: &str| M15151.refuse(&[&verb, &kind, &name]);
        let endpoint = |name: &str| endpoints::by_name(master, name);
        // `None` where it is allowed.
        let unless = |allowed: bool, refusal: Raised| (!allowed).then(|| vec![refusal]);
        Ok(match statement {
            StatementKind::Print { .. }
            | StatementKind::Select(_)
            | StatementKind::ExecuteAs(_)
            | StatementKind::Revert
            | StatementKind::CloseMasterKey => None,
            StatementKind::Use { database } => self.may_use(master, &database.value)?,
            StatementKind::CreateMasterKey { .. } => {
                unless(owner, M15247.refuse(&[&"create a master key in this database"]))
            }
            StatementKind::AlterMasterKey(_)
            | StatementKind::OpenMasterKey { .. }
            | StatementKind::DropMasterKey => unless(owner, find("find", "symmetric key", "master key")),
            StatementKind::BackupMasterKey(BackupMasterKey { kind, .. })
            | StatementKind::RestoreMasterKey(RestoreMasterKey { kind, .. }) => match kind {
                MasterKeyKind::Database => unless(owner, find("find", "symmetric key", "master key")),
                MasterKeyKind::Service => unless(
                    self.on_server(master, &[])?,
                    M15247.refuse(&[&"handle the service master key"]),
                ),
            },
            StatementKind::AlterServiceMasterKey(_) => unless(
                self.on_server(master, &[])?,
                M15247.refuse(&[&"handle the service master key"]),
            ),
            StatementKind::CertificateAuthorization { name, .. } => {
                unless(owner, find("find", "certificate", &name.value))
            }
            StatementKind::DatabaseAuthorization { name, .. } => unless(
                self.on_server(master, &[])?,
                find("find", "database", &name.value),
            ),
            StatementKind::CreateCertificate(_) => {
                unless(owner, M15247.refuse(&[&"create a certificate in this database"]))
            }
            StatementKind::AlterCertificate { name, .. } => {
                unless(owner, find("alter", "certificate", &name.value))
            }
            StatementKind::DropCertificate { name } => {
                unless(owner, find("drop", "certificate", &name.value))
            }
            StatementKind::BackupCertificate(backup) => {
                unless(owner, find("find", "certificate", &backup.name.value))
            }
            StatementKind::CreateUser(_) => {
                unless(owner, M15247.refuse(&[&"create a user in this database"]))
            }
            StatementKind::DropUser { name, .. } => unless(owner, find("drop", "user", &name.value)),
            StatementKind::CreateEndpoint(create) => {
                let allowed = self.on_server(master, &["CRHE", "ALHE"])?
                    && (create.authorization.is_none() || self.on_server(master, &[])?);
                unless(allowed, M15247.refuse(&[&"create an endpoint"]))
            }
            StatementKind::AlterEndpoint(alter) => {
                let allowed = match endpoint(&alter.name.value)? {
                    Some(found) => self.on_endpoint(master, &found, &["AL"], &["ALHE"])?,
                    None => false,
                };
                unless(allowed, find("alter", "endpoint", &alter.name.value))
            }
            StatementKind::DropEndpoint { name } => {
                let allowed = match endpoint(&name.value)? {
                    Some(found) => self.on_endpoint(master, &found, &[], &[])?,
                    None => false,
                };
                unless(allowed, find("drop", "endpoint", &name.value))
            }
            StatementKind::CreateLogin { .. } => unless(
                self.on_server(master, &["ALLG"])?,
                M15247.refuse(&[&"create a login"]),
            ),
            StatementKind::DropLogin { name } => unless(
                self.may_drop(master, &name.value)?,
                find("drop", "login", &name.value),
            ),
            StatementKind::EndpointPermission(permission) => {
                let allowed = match endpoint(&permission.endpoint.value)? {
                    Some(found) => self.may_grant_on_endpoint(master, &found, permission)?,
                    None => false,
                };
                let verb = match permission.action {
                    PermissionAction::Grant { .. } => "grant",
                    PermissionAction::Deny { .. } => "deny",
                    PermissionAction::Revoke { .. } => "revoke",
                };
                unless(allowed, find(verb, "endpoint", &permission.endpoint.value))
            }
            StatementKind::ServerPermission(permission) => {
                unless(self.may_grant(master, permission)?, M4613.refuse(&[]))
            }
            StatementKind::CreateDatabase(create) => {
                // An attached file lies where the statement says: that is the daemon's reach, not the login's.
                let codes: &[&str] = if create.attach { &[] } else { &["CRDB", "ALDB"] };
                let what = if create.attach {
                    "CREATE DATABASE … FOR ATTACH"
                } else {
                    "CREATE DATABASE"
                };
                unless(self.on_server(master, codes)?, here(what))
            }
            StatementKind::DropDatabase { databases: named, .. } => {
                let mut refusal = None;
                for name in named {
                    if !self.on_database(master, &name.value, &["ALDB"])? {
                        refusal = Some(vec![M3701.refuse(&[&"database", &name.value])]);
                    }
                }
                refusal
            }
            StatementKind::AlterDatabase { database, .. } => {
                let name = database
                    .as_ref()
                    .map_or(&self.database, |database| &database.value);
                (!self.on_database(master, name, &["ALDB"])?)
                    .then(|| vec![M5011.refuse(&[name]), M5069.refuse(&[])])
            }
            StatementKind::Backup(backup) => {
                let verb = verb("BACKUP", backup.kind);
                (!self.on_database(master, &backup.database.value, &[])?).then(|| {
                    vec![
                        M262.refuse(&[&verb, &backup.database.value]),
                        M3013.refuse(&[&verb]),
                    ]
                })
            }
            StatementKind::Restore(restore) => {
                let verb = verb("RESTORE", restore.kind);
                let name = &restore.database.value;
                let allowed = match databases::by_name(master, name)? {
                    Some(_) => self.on_database(master, name, &[])?,
                    None => self.on_server(master, &["CRDB", "ALDB"])?,
                };
                (!allowed).then(|| vec![M3110.refuse(&[name]), M3013.refuse(&[&verb])])
            }
            StatementKind::Execute(execute) => {
                let name = execute.name().to_ascii_lowercase();
                let allowed = match name.as_str() {
                    "sp_dbmirror_fingerprint" => self.on_server(master, &["VWAD"])?,
                    "sp_dbmirror_test_connection" => self.on_server(master, &["ALHE"])?,
                    "sp_control_dbmasterkey_password" => match procedures::database_name(execute) {
                        // What is kept is the family's: another owner's copy of it is not this one's to open or to close.
                        Some(name) if !databases::family_is_shared(master, name)? => {
                            self.on_database(master, name, &[])?
                        }
                        _ => self.on_server(master, &[])?,
                    },
                    _ => self.on_server(master, &[])?,
                };
                unless(allowed, M229.refuse(&[&"EXECUTE", &name]))
            }
            // Whatever comes later and is not listed here.
            #[expect(unreachable_patterns, reason = "every statement of today has its arm")]
            _ => unless(
                self.on_server(master, &[])?,
                M15247.refuse(&[&"run this statement"]),
            ),
        })
    }

    fn may_use(&self, master: &Connection, name: &str) -> Result<Option<Vec<Raised>>, Stop> {
        let Some(database) = databases::by_name(master, name)? else {
            return Ok(None); // The statement says so itself.
        };
        // Everybody is a guest of master.
        let allowed = database.id == crate::catalog::MASTER_ID
            || self.is_owner(master, database.id)?
            || match self.acting.last() {
                Some(acting) if acting.kind == PrincipalKind::User => acting.database_id == database.id,
                Some(Acting {
                    login: Some(login), ..
                }) => principals::user_of_sid(master, database.id, &login.sid)?.is_some(),
                _ => false,
            };
        Ok((!allowed).then(|| vec![M916.refuse(&[&self.login_name(), &database.name])]))
    }

    fn on_database(&self, master: &Connection, name: &str, codes: &[&str]) -> Result<bool, Stop> {
        if !codes.is_empty() && self.on_server(master, codes)? {
            return Ok(true);
        }
        match databases::by_name(master, name)? {
            Some(database) => Ok(self.is_owner(master, database.id)?),
            None => Ok(self.on_server(master, &[])?),
        }
    }

    /// ALTER ANY LOGIN drops logins; those that hold CONTROL SERVER only who holds it too.
    fn may_drop(&self, master: &Connection, name: &str) -> Result<bool, Stop> {
        let Some(login) = principals::login(master, name)? else {
            return Ok(self.on_server(master, &["ALLG"])?);
        };
        let strong: Option<i32> = crate::catalog::first(
            master,
            "SELECT grantee FROM server_permission WHERE class = ?1 AND grantee = ?2 AND type = 'CL' AND state <> 'D'",
            [CLASS_SERVER, login.id],
            |row| row.get(0),
        )?;
        let codes: &[&str] = if strong.is_some() || login.id == SA_ID {
            &[]
        } else {
            &["ALLG"]
        };
        Ok(self.on_server(master, codes)?)
    }

    // ---- what a query shows ----

    /// Refuses a query over views that need VIEW SERVER STATE.
    pub(super) fn may_read(&self, view: &str) -> Done {
        if self.is_sysadmin() || !view.to_ascii_lowercase().starts_with("dm_") {
            return Ok(());
        }
        let allowed = self.on_server(&self.instance.master(), &["VWSS", "ALSS"])?;
        if allowed {
            return Ok(());
        }
        let refusal = M300.refuse(&[&"VIEW SERVER STATE", &"server"]);
        log(&M50152.inform(&[&self.id, &self.login_name(), &refusal.number, &refusal.text]));
        Err(refusal.into())
    }

    /// The rows of a view that the session may see.
    pub(super) fn visible(&self, master: &Connection, view: &str, rows: Rows) -> Result<Rows, Stop> {
        if self.is_sysadmin() || self.on_server(master, &["VWAD"])? {
            return Ok(rows);
        }
        let number = |row: &[Value], at: usize| match row.get(at) {
            Some(Value::Int(number)) => i32::try_from(*number).ok(),
            _ => None,
        };
        let own = self.acting_login_id();
        let keep = |rows: Rows, seen: &dyn Fn(&[Value]) -> bool| {
            rows.into_iter().filter(|row| seen(row)).collect::<Rows>()
        };
        Ok(match view {
            "databases"
            | "database_mirroring"
            | "database_mirroring_witnesses"
            | "database_recovery_status"
            | "messages" => rows,
            "server_principals" if self.on_server(master, &["ALLG"])? => rows,
            "server_principals" => keep(rows, &|row| {
                let id = number(row, 1);
                own.is_some() && id == own || id == Some(SA_ID) || row.get(3) == Some(&Value::from("R"))
            }),
            "server_permissions" => keep(rows, &|row| {
                let grantee = number(row, 4);
                own.is_some() && grantee == own || grantee == Some(PUBLIC_ID)
            }),
            "endpoints" | "tcp_endpoints" | "database_mirroring_endpoints" => {
                let any = ["AL", "CO", "CL", "TO", "VW"];
                match endpoints::mirroring(master)? {
                    Some(endpoint) if self.on_endpoint(master, &endpoint, &any, &["ALHE"])? => rows,
                    _ => Rows::new(),
                }
            }
            _ if view.starts_with("dm_") => rows,
            _ if self.is_owner(master, self.database_id)? => match view {
                "certificates"
                | "symmetric_keys"
                | "key_encryptions"
                | "database_principals"
                | "sysusers" => rows,
                _ => Rows::new(),
            },
            "database_principals" => {
                let user = self.user_name(master)?;
                keep(rows, &|row| {
                    number(row, 1).is_some_and(|id| !(5..16384).contains(&id))
                        || matches!(row.first(), Some(Value::Text(name)) if name.eq_ignore_ascii_case(&user))
                })
            }
            _ => Rows::new(),
        })
    }
}

/// Whether states of permissions allow: something is granted and nothing denied.
fn granted(states: &[String]) -> bool {
    !states.is_empty() && states.iter().all(|state| state != "D")
}

const fn verb(verb: &str, kind: BackupKind) -> &'static str {
    match (verb.as_bytes().first(), kind) {
        (Some(b'B'), BackupKind::Database) => "BACKUP DATABASE",
        (Some(b'B'), BackupKind::Log) => "BACKUP LOG",
        (_, BackupKind::Database) => "RESTORE DATABASE",
        (_, BackupKind::Log) => "RESTORE LOG",
    }
}

fn log(message: &Raised) {
    let (msg, level, state) = (message.number, message.severity, message.state);
    tracing::info!(msg, level, state, "{}", message.text);
}

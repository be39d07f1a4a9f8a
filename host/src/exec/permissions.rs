//! GRANT, DENY and REVOKE on the endpoint, the server and logins.

use rusqlite::{Connection, params};

use super::{Done, Out, SqlSession};
use crate::catalog::endpoints::{self, CLASS_ENDPOINT};
use crate::catalog::principals::{self, CLASS_LOGIN, CLASS_SERVER, Login};
use crate::catalog::{MASTER_ID, SA_ID, first};
use crate::engine::PeerSelector;
use crate::messages::{M4611, M4621, M15151, M50103, M50104};
use crate::tsql::ast::{EndpointPermission, Name, Permission, PermissionAction, ServerPermission};

const fn code(permission: Permission) -> &'static str {
    match permission {
        Permission::Alter => "AL",
        Permission::Connect => "CO",
        Permission::Control => "CL",
        Permission::TakeOwnership => "TO",
        Permission::ViewDefinition => "VW",
    }
}

impl SqlSession {
    pub(super) fn endpoint_permission(&mut self, statement: &EndpointPermission, out: &mut Out<'_>) -> Done {
        let (verb, lost) = verb(statement.action);
        if self.database_id != MASTER_ID {
            return Err(M4621.refuse(&[]).into());
        }
        let own = self.login_id();
        let logins = self.change(|catalog| {
            let endpoint = endpoints::by_name(catalog, &statement.endpoint.value)?
                .ok_or_else(|| M15151.refuse(&[&verb, &"endpoint", &statement.endpoint.value]))?;
            let change = Change {
                class: CLASS_ENDPOINT,
                major_id: endpoint.id,
                codes: statement.permissions.iter().map(|p| code(*p)).collect(),
                action: statement.action,
                own,
            };
            change.apply(catalog, &statement.logins, statement.grantor.as_ref())
        })?;
        self.refresh_pins()?;
        let connect = statement
            .permissions
            .iter()
            .any(|permission| matches!(permission, Permission::Connect | Permission::Control));
        if lost && connect {
            let denied = matches!(statement.action, PermissionAction::Deny { .. });
            for login in &logins {
                self.lost_connect(login, denied, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn server_permission(&mut self, statement: &ServerPermission) -> Done {
        let (verb, _) = verb(statement.action);
        if self.database_id != MASTER_ID {
            return Err(M4621.refuse(&[]).into());
        }
        let own = self.login_id();
        self.change(|catalog| {
            let (class, major_id) = match &statement.on_login {
                None => (CLASS_SERVER, 0),
                Some(name) => {
                    let login = principals::login(catalog, &name.value)?
                        .ok_or_else(|| M15151.refuse(&[&verb, &"login", &name.value]))?;
                    (CLASS_LOGIN, login.id)
                }
            };
            let change = Change {
                class,
                major_id,
                codes: statement.permissions.iter().map(|right| right.code).collect(),
                action: statement.action,
                own,
            };
            change.apply(catalog, &statement.logins, statement.grantor.as_ref())
        })?;
        Ok(())
    }

    /// DENY closes the live connections of a login; REVOKE acts at the next handshake, so those that live on are named.
    fn lost_connect(&self, login: &Login, denied: bool, out: &mut Out<'_>) -> Done {
        let engine = self.instance.engine();
        if denied {
            let closed = engine.close_connections_of(PeerSelector::Login(login.id));
            if closed > 0 {
                out.message(&M50104.inform(&[&closed, &format!("login '{}'", login.name)]))?;
            }
            return Ok(());
        }
        let live: Vec<String> = engine
            .connections()
            .iter()
            .filter(|connection| connection.login_id == Some(login.id))
            .map(|connection| connection.peer_address.to_string())
            .collect();
        if !live.is_empty() {
            out.message(&M50103.inform(&[&live.len(), &login.name, &live.join(", ")]))?;
        }
        Ok(())
    }
}

/// The verb of a statement, and whether it takes something away.
const fn verb(action: PermissionAction) -> (&'static str, bool) {
    match action {
        PermissionAction::Grant { .. } => ("grant", false),
        PermissionAction::Deny { .. } => ("deny", true),
        PermissionAction::Revoke { .. } => ("revoke", true),
    }
}

/// One statement over one securable.
struct Change {
    class: i32,
    major_id: i32,
    codes: Vec<&'static str>,
    action: PermissionAction,
    /// Who runs it.
    own: Option<i32>,
}

impl Change {
    /// Changes every permission of every login, and returns the logins.
    fn apply(
        &self,
        catalog: &Connection,
        names: &[Name],
        grantor: Option<&Name>,
    ) -> Result<Vec<Login>, super::Stop> {
        let (verb, _) = verb(self.action);
        let find = |name: &str| -> Result<Login, super::Stop> {
            let found = principals::principal(catalog, name)?
                // A peer is let in by a grant of its own only: nothing on the endpoint is everybody's.
                .filter(|found| {
                    let everybody = found.name == "public" && self.class != CLASS_ENDPOINT;
                    found.id != SA_ID && (found.kind != "R" || everybody)
                });
            Ok(found.ok_or_else(|| M15151.refuse(&[&verb, &"login", &name]))?)
        };
        let grantor = match grantor {
            None => self.own.unwrap_or(SA_ID),
            Some(name) => find(&name.value)?.id,
        };
        let logins = names
            .iter()
            .map(|name| find(&name.value))
            .collect::<Result<Vec<_>, _>>()?;
        for login in &logins {
            for code in &self.codes {
                self.one(catalog, login, code, grantor)?;
            }
        }
        Ok(logins)
    }

    fn one(&self, catalog: &Connection, login: &Login, code: &str, grantor: i32) -> Done {
        let key = params![self.class, self.major_id, login.id, code];
        const WHERE: &str = "WHERE class = ?1 AND major_id = ?2 AND grantee = ?3 AND type = ?4";
        let state = match self.action {
            PermissionAction::Grant {
                with_grant_option: true,
            } => "W",
            PermissionAction::Grant {
                with_grant_option: false,
            } => "G",
            PermissionAction::Deny { .. } => "D",
            PermissionAction::Revoke {
                grant_option_for,
                cascade,
            } => {
                let passed_on: Option<i32> = first(
                    catalog,
                    "SELECT grantee FROM server_permission
                      WHERE class = ?1 AND major_id = ?2 AND grantor = ?3 AND type = ?4 LIMIT 1",
                    key,
                    |row| row.get(0),
                )?;
                if passed_on.is_some() {
                    if !cascade {
                        return Err(M4611.refuse(&[&login.name]).into());
                    }
                    catalog.execute(
                        "DELETE FROM server_permission
                          WHERE class = ?1 AND major_id = ?2 AND grantor = ?3 AND type = ?4",
                        key,
                    )?;
                }
                // What was not granted is revoked in silence.
                if grant_option_for {
                    let sql = format!("UPDATE server_permission SET state = 'G' {WHERE} AND state = 'W'");
                    catalog.execute(&sql, key)?;
                } else {
                    catalog.execute(&format!("DELETE FROM server_permission {WHERE}"), key)?;
                }
                return Ok(());
            }
        };
        principals::put_permission(catalog, self.class, self.major_id, login.id, code, grantor, state)?;
        Ok(())
    }
}

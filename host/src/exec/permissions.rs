//! GRANT, DENY and REVOKE on the endpoint.

use rusqlite::params;

use super::{Done, Out, SqlSession};
use crate::catalog::endpoints::{self, CLASS_ENDPOINT};
use crate::catalog::principals::{self, Login};
use crate::catalog::{MASTER_ID, SA_ID, first};
use crate::engine::PeerSelector;
use crate::messages::{M4611, M4621, M15151, M50103, M50104};
use crate::tsql::ast::{EndpointPermission, Permission, PermissionAction};

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
        let (verb, lost) = match statement.action {
            PermissionAction::Grant { .. } => ("grant", false),
            PermissionAction::Deny { .. } => ("deny", true),
            PermissionAction::Revoke { .. } => ("revoke", true),
        };
        if self.database_id != MASTER_ID {
            return Err(M4621.refuse(&[]).into());
        }
        let logins = self.change(|catalog| {
            let endpoint = endpoints::by_name(catalog, &statement.endpoint.value)?
                .ok_or_else(|| M15151.refuse(&[&verb, &"endpoint", &statement.endpoint.value]))?;
            let find = |name: &str| -> Result<Login, super::Stop> {
                let found = principals::login(catalog, name)?.filter(|login| login.id != SA_ID);
                Ok(found.ok_or_else(|| M15151.refuse(&[&verb, &"login", &name]))?)
            };
            let grantor = match &statement.grantor {
                None => SA_ID,
                Some(name) => find(&name.value)?.id,
            };
            let logins = statement
                .logins
                .iter()
                .map(|name| find(&name.value))
                .collect::<Result<Vec<_>, _>>()?;
            for login in &logins {
                for permission in &statement.permissions {
                    let key = params![CLASS_ENDPOINT, endpoint.id, login.id, code(*permission)];
                    const WHERE: &str = "WHERE class = ?1 AND major_id = ?2 AND grantee = ?3 AND type = ?4";
                    let state = match statement.action {
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
                                let sql = format!(
                                    "UPDATE server_permission SET state = 'G' {WHERE} AND state = 'W'"
                                );
                                catalog.execute(&sql, key)?;
                            } else {
                                catalog.execute(&format!("DELETE FROM server_permission {WHERE}"), key)?;
                            }
                            continue;
                        }
                    };
                    principals::put_permission(
                        catalog,
                        CLASS_ENDPOINT,
                        endpoint.id,
                        login.id,
                        code(*permission),
                        grantor,
                        state,
                    )?;
                }
            }
            Ok(logins)
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

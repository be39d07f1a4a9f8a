//! GRANT, DENY and REVOKE on the endpoint, the server and logins.

use rusqlite::{Connection, params};

use super::{Done, Out, SqlSession};
use crate::catalog::endpoints::{self, CLASS_ENDPOINT, Endpoint};
use crate::catalog::principals::{self, CLASS_LOGIN, CLASS_SERVER, Login};
use crate::catalog::{MASTER_ID, SA_ID, all, first};
use crate::engine::PeerSelector;
use crate::messages::{M4611, M4613, M4621, M15151, M50103, M50104};
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
    /// Whether the session may run a statement over permissions on that endpoint: with CONTROL of it or ALTER ANY ENDPOINT, or
    /// with the grant option where nobody else's word is touched. AS is `sa`'s.
    pub(super) fn may_grant_on_endpoint(
        &self,
        master: &Connection,
        endpoint: &Endpoint,
        statement: &EndpointPermission,
    ) -> Result<bool, super::Stop> {
        if self.is_sysadmin() {
            return Ok(true);
        }
        if statement.grantor.is_some() {
            return Ok(false);
        }
        if self.on_endpoint(master, endpoint, &[], &["ALHE"])? {
            return Ok(true);
        }
        let codes: Vec<_> = statement.permissions.iter().map(|p| code(*p)).collect();
        let on = (CLASS_ENDPOINT, endpoint.id);
        self.passes_on(master, on, &codes, statement.action, &statement.logins)
    }

    /// The same of permissions on the server and on logins: with CONTROL SERVER, or with the grant option. What is said on `sa`
    /// is `sa`'s alone, whatever else the statement says: it would be more than CONTROL SERVER.
    pub(super) fn may_grant(
        &self,
        master: &Connection,
        statement: &ServerPermission,
    ) -> Result<bool, super::Stop> {
        if self.is_sysadmin() {
            return Ok(true);
        }
        let on = match &statement.on_login {
            None => (CLASS_SERVER, 0),
            Some(name) => match principals::login(master, &name.value)? {
                Some(login) if login.id != SA_ID => (CLASS_LOGIN, login.id),
                Some(_) => return Ok(false),
                None => return Ok(self.on_server(master, &[])?), // The statement says that there is none.
            },
        };
        if self.on_server(master, &[])? {
            return Ok(true);
        }
        if statement.grantor.is_some() {
            return Ok(false);
        }
        let codes: Vec<_> = statement.permissions.iter().map(|right| right.code).collect();
        self.passes_on(master, on, &codes, statement.action, &statement.logins)
    }

    /// What the grant option alone allows: GRANT and REVOKE of what the session holds with it, where nothing is granted or denied yet
    /// or what is there was granted by the same login. DENY, and CASCADE over what others have granted, is not part of it.
    fn passes_on(
        &self,
        master: &Connection,
        (class, major_id): (i32, i32),
        codes: &[&str],
        action: PermissionAction,
        names: &[Name],
    ) -> Result<bool, super::Stop> {
        let cascade = match action {
            PermissionAction::Grant { .. } => false,
            PermissionAction::Deny { .. } => return Ok(false),
            PermissionAction::Revoke { cascade, .. } => cascade,
        };
        let Some(own) = self.acting_login_id() else {
            return Ok(false);
        };
        let denied = |states: &[String]| states.iter().any(|state| state == "D");
        if codes.is_empty() || denied(&self.states(master, class, major_id, &["CL"])?) {
            return Ok(false);
        }
        for code in codes {
            let states = self.states(master, class, major_id, &[code])?;
            if denied(&states) || !states.iter().any(|state| state == "W") {
                return Ok(false);
            }
            for name in names {
                // The statement itself says which name there is not.
                let Some(login) = principals::principal(master, &name.value)? else {
                    continue;
                };
                let of_others: Option<i32> = first(
                    master,
                    "SELECT grantor FROM server_permission
                      WHERE class = ?1 AND major_id = ?2 AND type = ?4 AND grantor <> ?5
                        AND (grantee = ?3 OR ?6 AND grantor = ?3) LIMIT 1",
                    params![class, major_id, login.id, code, own, cascade],
                    |row| row.get(0),
                )?;
                if of_others.is_some() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(super) fn endpoint_permission(&mut self, statement: &EndpointPermission, out: &mut Out<'_>) -> Done {
        let (verb, lost) = verb(statement.action);
        if self.database_id != MASTER_ID {
            return Err(M4621.refuse(&[]).into());
        }
        let own = self.acting_login_id();
        let (logins, taken) = self.change(|catalog| {
            let endpoint = endpoints::by_name(catalog, &statement.endpoint.value)?
                .ok_or_else(|| M15151.refuse(&[&verb, &"endpoint", &statement.endpoint.value]))?;
            // Asked again, of what is there now: another session may have denied in between.
            if !self.may_grant_on_endpoint(catalog, &endpoint, statement)? {
                return Err(M15151
                    .refuse(&[&verb, &"endpoint", &statement.endpoint.value])
                    .into());
            }
            let change = Change {
                class: CLASS_ENDPOINT,
                major_id: endpoint.id,
                codes: statement.permissions.iter().map(|p| code(*p)).collect(),
                action: statement.action,
                own: own.ok_or_else(|| M15151.refuse(&[&verb, &"endpoint", &statement.endpoint.value]))?,
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
            // What CASCADE took from others is taken as by REVOKE.
            for login in &taken {
                self.lost_connect(login, false, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn server_permission(&mut self, statement: &ServerPermission) -> Done {
        let (verb, _) = verb(statement.action);
        if self.database_id != MASTER_ID {
            return Err(M4621.refuse(&[]).into());
        }
        let own = self.acting_login_id();
        self.change(|catalog| {
            if !self.may_grant(catalog, statement)? {
                return Err(M4613.refuse(&[]).into());
            }
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
                own: own.ok_or_else(|| M4613.refuse(&[]))?,
            };
            change.apply(catalog, &statement.logins, statement.grantor.as_ref())
        })
        .map(drop)
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
    own: i32,
}

impl Change {
    /// Changes every permission of every login. Returns the logins, and those that lost a right that they had got from them.
    fn apply(
        &self,
        catalog: &Connection,
        names: &[Name],
        grantor: Option<&Name>,
    ) -> Result<(Vec<Login>, Vec<Login>), super::Stop> {
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
            None => self.own,
            Some(name) => find(&name.value)?.id,
        };
        let logins = names
            .iter()
            .map(|name| find(&name.value))
            .collect::<Result<Vec<_>, _>>()?;
        let mut taken = Vec::new();
        for login in &logins {
            for code in &self.codes {
                taken.extend(self.one(catalog, login, code, grantor)?);
            }
        }
        taken.sort_by_key(|login| login.id);
        taken.dedup();
        Ok((logins, taken))
    }

    /// Takes back what `login` has passed on of a permission, and what was passed on by those that it came to.
    ///
    /// A DENY is nothing that was passed on, nor is what a login said of itself.
    fn take_back(&self, catalog: &Connection, login: i32, code: &str) -> rusqlite::Result<Vec<Login>> {
        let (mut from, mut taken) = (vec![login], Vec::new());
        while let Some(grantor) = from.pop() {
            for (grantee, state) in self.passed_on(catalog, grantor, code)? {
                catalog.execute(
                    "DELETE FROM server_permission WHERE class = ?1 AND major_id = ?2 AND grantee = ?3 AND type = ?4",
                    params![self.class, self.major_id, grantee.id, code],
                )?;
                if state == "W" {
                    from.push(grantee.id);
                }
                taken.push(grantee);
            }
        }
        Ok(taken)
    }

    /// To whom `grantor` has granted a permission, and in which state they have it.
    fn passed_on(
        &self,
        catalog: &Connection,
        grantor: i32,
        code: &str,
    ) -> rusqlite::Result<Vec<(Login, String)>> {
        all(
            catalog,
            "SELECT principal_id, name, sid, p.type, s.state FROM server_permission s
               JOIN server_principal p ON p.principal_id = s.grantee
              WHERE class = ?1 AND major_id = ?2 AND grantor = ?3 AND s.type = ?4 AND grantee <> ?3 AND s.state <> 'D'
              ORDER BY principal_id",
            params![self.class, self.major_id, grantor, code],
            |row| Ok((principals::login_row(row)?, row.get(4)?)),
        )
    }

    /// One permission of one login. Returns who lost it because it came from that login.
    fn one(
        &self,
        catalog: &Connection,
        login: &Login,
        code: &str,
        grantor: i32,
    ) -> Result<Vec<Login>, super::Stop> {
        let key = params![self.class, self.major_id, login.id, code];
        const WHERE: &str = "WHERE class = ?1 AND major_id = ?2 AND grantee = ?3 AND type = ?4";
        let put = |state: &str| {
            principals::put_permission(catalog, self.class, self.major_id, login.id, code, grantor, state)
        };
        let state: Option<String> = first(
            catalog,
            &format!("SELECT state FROM server_permission {WHERE}"),
            key,
            |row| row.get(0),
        )?;
        let may_pass_on = state.as_deref() == Some("W");
        let (cascade, refused) = match self.action {
            PermissionAction::Grant { with_grant_option } => {
                // The grant option goes by REVOKE, not by a second GRANT that does not name it.
                put(if with_grant_option || may_pass_on {
                    "W"
                } else {
                    "G"
                })?;
                return Ok(Vec::new());
            }
            // Whether or not it was passed on yet.
            PermissionAction::Deny { cascade } => (cascade, may_pass_on),
            PermissionAction::Revoke { cascade, .. } => {
                (cascade, !self.passed_on(catalog, login.id, code)?.is_empty())
            }
        };
        if refused && !cascade {
            return Err(M4611.refuse(&[&login.name]).into());
        }
        let taken = if cascade {
            self.take_back(catalog, login.id, code)?
        } else {
            Vec::new()
        };
        // What was not granted is revoked in silence.
        match self.action {
            PermissionAction::Revoke {
                grant_option_for: true,
                ..
            } => {
                let sql = format!("UPDATE server_permission SET state = 'G' {WHERE} AND state = 'W'");
                catalog.execute(&sql, key)?;
            }
            PermissionAction::Revoke { .. } => {
                catalog.execute(&format!("DELETE FROM server_permission {WHERE}"), key)?;
            }
            _ => put("D")?,
        }
        Ok(taken)
    }
}

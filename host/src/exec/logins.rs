//! CREATE and DROP LOGIN.

use sha1::Digest as _;

use super::{Done, Out, SqlSession, passwords};
use crate::catalog::principals;
use crate::catalog::{MASTER_ID, SA_ID, certificates, databases, first};
use crate::engine::PeerSelector;
use crate::instance::random;
use crate::messages::{
    M911, M15006, M15025, M15099, M15122, M15141, M15150, M15151, M15173, M15174, M15419, M15433, M15434,
    M33020, M40510, M50104,
};
use crate::tsql::ast::{LoginPassword, LoginSource, Name, PasswordLogin};

/// What a new login is made of.
struct New<'a> {
    kind: &'static str,
    sid: Vec<u8>,
    password: Option<passwords::Hashed>,
    options: Option<&'a PasswordLogin>,
}

impl SqlSession {
    pub(super) fn create_login(&mut self, name: &Name, source: &LoginSource) -> Done {
        let name = &name.value;
        if principals::principal(&self.instance.master(), name)?.is_some() {
            return Err(M15025.refuse(&[name]).into());
        }
        let new = match source {
            LoginSource::Password(login) => {
                if name.contains(['\\', '\0']) {
                    return Err(M15006.refuse(&[name]).into());
                }
                self.password_login(name, login)?
            }
            LoginSource::Windows { .. } => {
                return Err(M40510
                    .refuse(&[&"CREATE LOGIN … FROM WINDOWS", &"there are no Windows accounts here; a mirroring partner is known by its certificate"])
                    .into());
            }
            LoginSource::Certificate(certificate) => {
                let found = certificates::by_name(&self.instance.master(), MASTER_ID, &certificate.value)?
                    .ok_or_else(|| M15151.refuse(&[&"find", &"certificate", &certificate.value]))?;
                let mut sid = vec![1, 6, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0];
                sid.extend_from_slice(&sha1::Sha1::digest(&found.der));
                New {
                    kind: "C",
                    sid,
                    password: None,
                    options: None,
                }
            }
        };
        self.change(|catalog| {
            if principals::principal(catalog, name)?.is_some() {
                return Err(M15025.refuse(&[name]).into());
            }
            if principals::login_of_sid(catalog, &new.sid)?.is_some() {
                return Err(M15433.refuse(&[]).into());
            }
            let options = new.options;
            let default_database = match options.and_then(|options| options.default_database.as_ref()) {
                None => "master".to_owned(),
                Some(database) => {
                    databases::by_name(catalog, &database.value)?
                        .ok_or_else(|| M911.refuse(&[&database.value]))?
                        .name
                }
            };
            let language = options.and_then(|options| options.default_language.as_ref());
            principals::insert_login(
                catalog,
                &principals::NewLogin {
                    name,
                    sid: &new.sid,
                    kind: new.kind,
                    default_database: &default_database,
                    default_language: language.map_or("us_english", |language| language.value.as_str()),
                    check_policy: options.and_then(|options| options.check_policy).unwrap_or(true),
                    check_expiration: options
                        .and_then(|options| options.check_expiration)
                        .unwrap_or(false),
                    must_change: options.is_some_and(|options| options.must_change),
                    password: new
                        .password
                        .as_ref()
                        .map(|hashed| (hashed.salt, hashed.iterations, hashed.hash)),
                },
            )?;
            Ok(())
        })
    }

    fn password_login<'a>(&self, name: &str, login: &'a PasswordLogin) -> Result<New<'a>, super::Stop> {
        let policy = login.check_policy.unwrap_or(true);
        let expiration = login.check_expiration.unwrap_or(false);
        if expiration && !policy {
            return Err(M15122.refuse(&[]).into());
        }
        if login.must_change && !(policy && expiration) {
            return Err(M15099.refuse(&[]).into());
        }
        let password = match &login.password {
            LoginPassword::Clear(password) => password,
            LoginPassword::Hashed(_) if policy => return Err(M33020.refuse(&[]).into()),
            LoginPassword::Hashed(_) => {
                return Err(M40510
                    .refuse(&[
                        &"PASSWORD = 0x… HASHED",
                        &"hashes of other servers cannot be checked here",
                    ])
                    .into());
            }
        };
        if policy {
            passwords::check_policy(password.expose(), Some(name))?;
        }
        let sid = match &login.sid {
            Some(sid) if sid.value.len() == 16 => sid.value.clone(),
            Some(_) => return Err(M15419.refuse(&[]).into()),
            None => random::<16>()?.to_vec(),
        };
        Ok(New {
            kind: "S",
            sid,
            password: Some(passwords::hash(password.expose())?),
            options: Some(login),
        })
    }

    pub(super) fn drop_login(&mut self, name: &Name, out: &mut Out<'_>) -> Done {
        let name = &name.value;
        let partner_of: Vec<(i32, i32)> = self
            .instance
            .engine()
            .sessions()
            .iter()
            .filter_map(|session| Some((session.partner_login_id?, session.database_id)))
            .collect();
        let login = self.change(|catalog| {
            let login =
                principals::login(catalog, name)?.ok_or_else(|| M15151.refuse(&[&"drop", &"login", name]))?;
            if login.id == SA_ID {
                return Err(M15150.refuse(&[&"login", name]).into());
            }
            let one = |sql: &str| -> rusqlite::Result<Option<String>> {
                first(catalog, sql, [login.id], |row| row.get(0))
            };
            if let Some(endpoint) = one("SELECT name FROM endpoint WHERE principal_id = ?1")? {
                return Err(M15141.refuse(&[name, &"endpoint", &endpoint]).into());
            }
            if one("SELECT type FROM server_permission WHERE grantor = ?1 LIMIT 1")?.is_some() {
                return Err(M15173.refuse(&[name]).into());
            }
            let owned: Option<String> = first(
                catalog,
                "SELECT name FROM database WHERE owner_sid = ?1 LIMIT 1",
                [&login.sid],
                |row| row.get(0),
            )?;
            if let Some(database) = owned {
                return Err(M15174.refuse(&[name, &database]).into());
            }
            // A login of the same name that is created later has another id, and the session would not know its partner any more.
            if let Some((_, mirrored)) = partner_of.iter().find(|(partner, _)| *partner == login.id) {
                let database = databases::by_id(catalog, *mirrored)?
                    .map_or_else(|| mirrored.to_string(), |database| database.name);
                let why = format!(
                    "the mirroring session of database '{database}' knows its partner by it. ALTER DATABASE {database} SET PARTNER OFF \
                     comes first; DENY CONNECT ON ENDPOINT::… TO {name} keeps the partner out at once"
                );
                return Err(M15434.refuse(&[name, &why]).into());
            }
            catalog.execute("DELETE FROM server_permission WHERE grantee = ?1", [login.id])?;
            catalog.execute("DELETE FROM server_principal WHERE principal_id = ?1", [login.id])?;
            Ok(login)
        })?;
        self.refresh_pins()?;
        let closed = self
            .instance
            .engine()
            .close_connections_of(PeerSelector::Login(login.id));
        if closed > 0 {
            out.message(&M50104.inform(&[&closed, &format!("login '{name}'")]))?;
        }
        Ok(())
    }
}

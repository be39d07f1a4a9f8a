//! CREATE and DROP USER.

use rusqlite::{Connection, params};

use super::{Done, SqlSession};
use crate::catalog::certificates;
use crate::catalog::principals;
use crate::instance::random;
use crate::messages::{M15007, M15023, M15063, M15138, M15150, M15151, Raised};
use crate::tsql::ast::{CreateUser, Name, UserSource};

impl SqlSession {
    pub(super) fn create_user(&mut self, create: &CreateUser) -> Done {
        let name = &create.name.value;
        let database_id = self.database_id;
        self.change(|catalog| {
            if principals::user(catalog, database_id, name)?.is_some() {
                return Err(M15023.refuse(&[name]).into());
            }
            let (kind, sid, authentication, certificate) = match &create.source {
                UserSource::SameLogin => ("S", login_sid(catalog, database_id, name)?, 1, None),
                UserSource::Login(login) => ("S", login_sid(catalog, database_id, &login.value)?, 1, None),
                UserSource::WithoutLogin => {
                    // The form of such a SID: S-1-9-3 and four random numbers.
                    let mut sid = vec![1, 5, 0, 0, 0, 0, 0, 9, 3, 0, 0, 0];
                    sid.extend_from_slice(&random::<16>()?);
                    ("S", sid, 0, None)
                }
                UserSource::Certificate(certificate) => {
                    let found = certificates::by_name(catalog, database_id, &certificate.value)?
                        .ok_or_else(|| M15151.refuse(&[&"find", &"certificate", &certificate.value]))?;
                    let mut sid = vec![1, 6, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0];
                    sid.extend_from_slice(&<sha1::Sha1 as sha1::Digest>::digest(&found.der));
                    ("C", sid, 0, Some(found.id))
                }
            };
            let schema = create
                .default_schema
                .as_ref()
                .map_or("dbo", |schema| schema.value.as_str());
            principals::insert_user(
                catalog,
                &principals::NewUser {
                    database_id,
                    name,
                    kind,
                    sid: &sid,
                    authentication,
                    default_schema: schema,
                    certificate_id: certificate,
                },
            )?;
            Ok(())
        })?;
        self.refresh_pins()
    }

    pub(super) fn drop_user(&mut self, name: &Name, if_exists: bool) -> Done {
        let name = &name.value;
        let database_id = self.database_id;
        self.change(|catalog| {
            let user = match principals::user(catalog, database_id, name)? {
                Some(user) => user,
                None if if_exists => return Ok(()),
                None => return Err(M15151.refuse(&[&"drop", &"user", name]).into()),
            };
            if user.built_in {
                return Err(M15150.refuse(&[&"user", name]).into());
            }
            if let Some(certificate) = principals::owned_certificates(catalog, database_id, user.id)?.first()
            {
                return Err(M15138.refuse(&[name, &"certificate", certificate]).into());
            }
            catalog.execute(
                "DELETE FROM database_principal WHERE database_id = ?1 AND principal_id = ?2",
                params![database_id, user.id],
            )?;
            Ok(())
        })?;
        self.refresh_pins()
    }
}

/// The SID of the login that a user is to stand for.
fn login_sid(catalog: &Connection, database_id: i32, login: &str) -> Result<Vec<u8>, super::Stop> {
    let login = principals::login(catalog, login)?.ok_or_else(|| M15007.refuse(&[&login]))?;
    let taken: Option<Raised> = principals::user_of_sid(catalog, database_id, &login.sid)?
        .map(|user| M15063.refuse(&[&login.name, &user.name]));
    match taken {
        Some(refusal) => Err(refusal.into()),
        None => Ok(login.sid),
    }
}

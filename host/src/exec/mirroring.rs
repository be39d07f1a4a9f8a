//! ALTER DATABASE: recovery model, partner, safety, online.

use super::{Done, Out, SqlSession, Stop};
use crate::catalog::MASTER_ID;
use crate::catalog::databases::{self, Database, New, State};
use crate::catalog::endpoints;
use crate::engine::{self, MirroringRole, SetPartner};
use crate::instance::random;
use crate::messages::{M927, M1416, M1465, M1468, M1470, M1476, M1486, M5011, M5058, M5069, M40510};
use crate::tsql::ast::{
    DatabaseOption, Name, PartnerOption, RecoveryModel, SafetyLevel, SeedingMode, Text, WitnessOption,
};

/// `recovery_model` FULL.
const FULL: i32 = 1;
/// The longest mirroring time-out.
const TIMEOUT_MAX: u32 = 32767;

impl SqlSession {
    pub(super) fn alter_database(
        &mut self,
        database: Option<&Name>,
        option: &DatabaseOption,
        out: &mut Out<'_>,
    ) -> Done {
        let name = database.map_or_else(|| self.database.clone(), |name| name.value.clone());
        self.alter(&name, option, out)
            .map_err(|stop| stop.followed_by(M5069.refuse(&[])))
    }

    fn alter(&mut self, name: &str, option: &DatabaseOption, _out: &mut Out<'_>) -> Done {
        let found = databases::by_name(&self.instance.master(), name)?;
        let seed = matches!(
            option,
            DatabaseOption::Partner(PartnerOption::Address {
                seeding_mode: Some(SeedingMode::Automatic),
                ..
            })
        );
        let database = match found {
            Some(database) if database.id == MASTER_ID => {
                let option = match option {
                    DatabaseOption::Recovery(_) => "RECOVERY",
                    DatabaseOption::Partner(_) => "PARTNER",
                    DatabaseOption::Witness(_) => "WITNESS",
                    DatabaseOption::Online => "ONLINE",
                };
                return Err(M5058.refuse(&[&option, &database.name]).into());
            }
            Some(database) => database,
            None if seed => return self.seeded_partner(name, option),
            None => return Err(M5011.refuse(&[&name]).into()),
        };
        match option {
            DatabaseOption::Recovery(model) => self.set_recovery(&database, *model),
            DatabaseOption::Partner(partner) => self.set_partner(&database, partner),
            DatabaseOption::Online => self.set_online(&database),
            DatabaseOption::Witness(witness) => self.set_witness(&database, witness),
        }
    }

    fn set_recovery(&self, database: &Database, model: RecoveryModel) -> Done {
        let model = match model {
            RecoveryModel::Full => FULL,
            RecoveryModel::BulkLogged => 2,
            RecoveryModel::Simple => 3,
        };
        if model != database.recovery_model && self.mirrored(database.id) {
            return Err(M1468
                .refuse(&[&database.name, &"Changing the recovery model"])
                .into());
        }
        self.usable(database)?;
        self.change(|catalog| Ok(databases::set_recovery_model(catalog, database.id, model)?))
    }

    /// SET ONLINE: tries again to take the file in. One that was refused as no continuation of what was captured is looked at again,
    /// and not accepted.
    fn set_online(&self, database: &Database) -> Done {
        if self.mirrored(database.id) {
            return Err(M1468
                .refuse(&[
                    &database.name,
                    &"SET ONLINE (a file that was put back is found by itself; EXEC sp_dbmirror_accept_file accepts another one)",
                ])
                .into());
        }
        if database.state == State::Restoring {
            return Err(M927.refuse(&[&database.name]).into());
        }
        let engine = self.instance.engine();
        engine.attach_database(database.config())?;
        self.change(|catalog| Ok(databases::set_state(catalog, database.id, State::Online)?))
    }

    fn set_partner(&self, database: &Database, option: &PartnerOption) -> Done {
        let engine = self.instance.engine();
        match option {
            PartnerOption::Address {
                address,
                seeding_mode,
            } => {
                if database.recovery_model != FULL {
                    return Err(M1465.refuse(&[&database.name]).into());
                }
                self.start_session(database, address, *seeding_mode)
            }
            PartnerOption::Off => {
                self.session_of(database)?;
                Ok(engine.partner_off(database.id)?)
            }
            PartnerOption::Safety(level) => {
                self.principal_of(database)?;
                let level = match level {
                    SafetyLevel::Full => engine::SafetyLevel::Full,
                    SafetyLevel::Off => engine::SafetyLevel::Off,
                };
                Ok(engine.set_safety(database.id, level)?)
            }
            PartnerOption::Timeout(seconds) => {
                if *seconds > TIMEOUT_MAX {
                    return Err(M1476.refuse(&[]).into());
                }
                self.principal_of(database)?;
                Ok(engine.set_timeout(database.id, u16::try_from(*seconds).unwrap_or(u16::MAX))?)
            }
            PartnerOption::Failover => {
                self.principal_of(database)?;
                Ok(engine.failover(database.id)?)
            }
            PartnerOption::ForceServiceAllowDataLoss => {
                self.session_of(database)?;
                Ok(engine.force_service(database.id)?)
            }
            PartnerOption::Suspend => {
                self.session_of(database)?;
                Ok(engine.set_suspended(database.id, true)?)
            }
            PartnerOption::Resume => {
                self.session_of(database)?;
                Ok(engine.set_suspended(database.id, false)?)
            }
            PartnerOption::RedoQueue(_) => self
                .session_of(database)
                .and_then(|_| Err(later("SET PARTNER REDO_QUEUE"))),
        }
    }

    fn set_witness(&self, database: &Database, option: &WitnessOption) -> Done {
        self.principal_of(database)?;
        let engine = self.instance.engine();
        // The catalog is not held: the others may take their time.
        match option {
            WitnessOption::Address(address) => Ok(engine.set_witness(database.id, &address.value)?),
            WitnessOption::Off => Ok(engine.witness_off(database.id)?),
        }
    }

    /// The role of this instance in the session of `database`, or 1416.
    fn session_of(&self, database: &Database) -> Result<MirroringRole, Stop> {
        let sessions = self.instance.engine().sessions();
        let session = sessions.iter().find(|session| session.database_id == database.id);
        Ok(session.ok_or_else(|| M1416.refuse(&[&database.name]))?.role)
    }

    /// 1416 without a session, 1470 on the mirror.
    fn principal_of(&self, database: &Database) -> Done {
        match self.session_of(database)? {
            MirroringRole::Principal => Ok(()),
            MirroringRole::Mirror => Err(M1470.refuse(&[&database.name]).into()),
        }
    }

    /// SET PARTNER = '…' WITH (SEEDING_MODE = AUTOMATIC) where there is no such database: it is made RESTORING, and its
    /// file comes over the session.
    fn seeded_partner(&self, name: &str, option: &DatabaseOption) -> Done {
        let DatabaseOption::Partner(PartnerOption::Address {
            address,
            seeding_mode,
        }) = option
        else {
            return Err(M5011.refuse(&[&name]).into());
        };
        self.partner_endpoint()?;
        let path = self.instance.dir().database_file(name);
        let owner = self.owner_sid();
        let database = self.change(|catalog| {
            let added = databases::insert(
                catalog,
                &New {
                    name,
                    path: &path,
                    attached: false,
                    database_guid: random()?,
                    family_guid: random()?,
                    state: State::Restoring,
                    owner_sid: &owner,
                },
            )?;
            let database = added.ok_or_else(|| M5011.refuse(&[&name]))?;
            self.instance.engine().begin_database(database.id)?;
            Ok(database)
        })?;
        self.start_session(&database, address, *seeding_mode)
            .inspect_err(|_| {
                let _ = self.change(|catalog| Ok(databases::delete(catalog, database.id)?));
            })
    }

    fn start_session(&self, database: &Database, address: &Text, seeding: Option<SeedingMode>) -> Done {
        self.partner_endpoint()?;
        // The catalog is not held: the partner may take its time.
        Ok(self.instance.engine().set_partner(SetPartner {
            database: database.config(),
            address: address.value.clone(),
            seeding: match seeding {
                Some(SeedingMode::Automatic) => engine::SeedingMode::Automatic,
                _ => engine::SeedingMode::Manual,
            },
        })?)
    }

    /// 1486 unless the endpoint runs with a role that a partner has.
    fn partner_endpoint(&self) -> Done {
        let endpoint = endpoints::mirroring(&self.instance.master())?;
        let partner = endpoint.is_some_and(|endpoint| endpoint.role != 2);
        if partner && self.instance.engine().endpoint_address().is_some() {
            Ok(())
        } else {
            Err(M1486.refuse(&[]).into())
        }
    }
}

fn later(what: &str) -> Stop {
    M40510
        .refuse(&[&what, &"it comes with the release after this one"])
        .into()
}

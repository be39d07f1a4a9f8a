//! Runs the statements of Transact-SQL against an instance.
//!
//! Each statement is one transaction of the catalog: it is done whole, or refused with nothing changed. After a refused statement
//! the batch goes on with the next one, as operators are used to; only a USE that fails ends it, since what follows would run in
//! another database than the script means.

mod authority;
mod backup;
mod certificates;
mod context;
mod databases;
mod endpoints;
mod key_ring;
mod logins;
mod master_keys;
mod mirroring;
mod pairing;
mod passwords;
mod pem;
mod permissions;
mod private_keys;
mod procedures;
mod rotation;
mod select;
mod service_master_key;
#[cfg(test)]
mod tests;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::{Transaction, TransactionBehavior};

use self::key_ring::Opened;
use crate::admin::{Cancelled, Message, Session, Sink};
use crate::catalog::MASTER_ID;
use crate::instance::Instance;
use crate::messages::{M5701, M40510, Raised};
use crate::tsql::ast::{MasterKeyKind, Statement, StatementKind};
use crate::tsql::{Column, Value};

/// The next session's number; those below belong to the system.
static NEXT_ID: AtomicI32 = AtomicI32::new(51);

/// One client's session.
pub struct SqlSession {
    /// `@@SPID`.
    id: i32,
    instance: Arc<Instance>,
    /// The current database.
    database_id: i32,
    database: String,
    /// Whom it acts as, the innermost EXECUTE AS last.
    acting: Vec<authority::Acting>,
    /// Master keys opened by OPEN MASTER KEY, by database.
    opened: BTreeMap<i32, Arc<Opened>>,
}

/// Why a statement did not run to its end.
enum Stop {
    /// Refused; nothing has changed.
    Refused(Vec<Raised>),
    /// The client has gone.
    Cancelled,
}

impl From<Raised> for Stop {
    fn from(message: Raised) -> Self {
        Self::Refused(vec![message])
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::from(Raised::from(error))
    }
}

impl From<crate::engine::EngineError> for Stop {
    fn from(error: crate::engine::EngineError) -> Self {
        Self::from(Raised::from(error))
    }
}

impl From<Cancelled> for Stop {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl Stop {
    /// The same with `more` reported behind it, as the statement's own failure.
    fn followed_by(self, more: Raised) -> Self {
        match self {
            Self::Refused(mut messages) => {
                messages.push(more);
                Self::Refused(messages)
            }
            Self::Cancelled => Self::Cancelled,
        }
    }
}

/// What a statement ends with.
type Done = Result<(), Stop>;

/// Where one statement reports to.
struct Out<'a> {
    sink: &'a mut dyn Sink,
    line: u32,
}

impl Out<'_> {
    /// Sends a message, with the statement's line.
    fn message(&mut self, raised: &Raised) -> Result<(), Cancelled> {
        self.sink.message(&Message {
            number: raised.number,
            severity: raised.severity,
            state: raised.state,
            line: self.line,
            procedure: None,
            text: raised.text.clone(),
        })
    }

    /// Sends a whole result set.
    fn result(&mut self, columns: &[Column], rows: &[Vec<Value>]) -> Result<(), Cancelled> {
        self.sink.columns(columns)?;
        for row in rows {
            self.sink.row(row)?;
        }
        self.sink
            .rows_affected(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }
}

impl SqlSession {
    /// A session of `instance`, in `master`.
    #[must_use]
    pub fn new(instance: Arc<Instance>) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            instance,
            database_id: MASTER_ID,
            database: "master".to_owned(),
            acting: Vec::new(),
            opened: BTreeMap::new(),
        }
    }

    /// Runs `change` as one transaction of the catalog.
    fn change<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        let mut master = self.instance.master();
        let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    }

    /// The pins after a change of certificates, users, logins or permissions.
    fn refresh_pins(&self) -> Done {
        let master = self.instance.master();
        Ok(crate::instance::endpoint::refresh_pins(&self.instance, &master)?)
    }

    fn run(&mut self, statement: &Statement, out: &mut Out<'_>) -> Done {
        self.permitted(&statement.kind)?;
        self.dispatch(statement, out)?;
        if matches!(
            statement.kind,
            StatementKind::CreateMasterKey { .. }
                | StatementKind::AlterMasterKey(_)
                | StatementKind::RestoreMasterKey(_)
                | StatementKind::DropMasterKey
        ) {
            let master = self.instance.master();
            self.instance.publish_master_key(&master, self.database_id)?;
        }
        Ok(())
    }

    fn dispatch(&mut self, statement: &Statement, out: &mut Out<'_>) -> Done {
        match &statement.kind {
            StatementKind::CreateMasterKey { password } => self.create_master_key(password.as_ref()),
            StatementKind::AlterMasterKey(change) => self.alter_master_key(change, out),
            StatementKind::OpenMasterKey { password } => self.open_master_key(password),
            StatementKind::CloseMasterKey => self.close_master_key(),
            StatementKind::DropMasterKey => self.drop_master_key(),
            StatementKind::BackupMasterKey(backup) => match backup.kind {
                MasterKeyKind::Database => self.backup_master_key(backup),
                MasterKeyKind::Service => self.backup_service_master_key(backup),
            },
            StatementKind::RestoreMasterKey(restore) => match restore.kind {
                MasterKeyKind::Database => self.restore_master_key(restore, out),
                MasterKeyKind::Service => self.restore_service_master_key(restore, out),
            },
            StatementKind::AlterServiceMasterKey(change) => self.alter_service_master_key(change, out),
            StatementKind::CreateCertificate(create) => self.create_certificate(create, out),
            StatementKind::AlterCertificate { name, change } => self.alter_certificate(name, change),
            StatementKind::DropCertificate { name } => self.drop_certificate(name, out),
            StatementKind::BackupCertificate(backup) => self.backup_certificate(backup),
            StatementKind::CertificateAuthorization { name, owner } => {
                self.alter_certificate_owner(name, owner, out)
            }
            StatementKind::DatabaseAuthorization { name, owner } => self.alter_database_owner(name, owner),
            StatementKind::CreateEndpoint(create) => self.create_endpoint(create, out),
            StatementKind::AlterEndpoint(alter) => self.alter_endpoint(alter, out),
            StatementKind::DropEndpoint { name } => self.drop_endpoint(name),
            StatementKind::CreateLogin { name, source } => self.create_login(name, source),
            StatementKind::DropLogin { name } => self.drop_login(name, out),
            StatementKind::CreateUser(create) => self.create_user(create),
            StatementKind::DropUser { name, if_exists } => self.drop_user(name, *if_exists),
            StatementKind::EndpointPermission(permission) => self.endpoint_permission(permission, out),
            StatementKind::ServerPermission(permission) => self.server_permission(permission),
            StatementKind::ExecuteAs(statement) => self.execute_as(statement),
            StatementKind::Revert => self.revert(),
            StatementKind::Use { database } => self.use_database(&database.value, out),
            StatementKind::CreateDatabase(create) => self.create_database(create),
            StatementKind::DropDatabase { databases, if_exists } => self.drop_database(databases, *if_exists),
            StatementKind::AlterDatabase { database, option } => {
                self.alter_database(database.as_ref(), option, out)
            }
            StatementKind::Backup(backup) => self.backup(backup, out),
            StatementKind::Restore(restore) => self.restore(restore, out),
            StatementKind::Execute(execute) => self.execute(execute, out),
            StatementKind::Print { expression } => self.print(expression, out),
            StatementKind::Select(query) => self.select(query, out),
            // `StatementKind` may grow before what runs it does.
            #[expect(unreachable_patterns, reason = "every statement of today has its arm")]
            _ => Err(M40510
                .refuse(&[&"This statement", &"it is planned for a later release"])
                .into()),
        }
    }

    fn use_database(&mut self, name: &str, out: &mut Out<'_>) -> Done {
        let database = {
            let master = self.instance.master();
            databases::find(&master, name)?
        };
        self.usable(&database)?;
        self.database_id = database.id;
        self.database.clone_from(&database.name);
        out.sink.database_changed(&self.database)?;
        Ok(out.message(&M5701.inform(&[&self.database]))?)
    }
}

impl Session for SqlSession {
    fn batch(&mut self, text: &str, sink: &mut dyn Sink) {
        let batch = match crate::tsql::parse(text) {
            Ok(batch) => batch,
            Err(error) => {
                let _ = sink.message(&Message {
                    number: error.number,
                    severity: error.severity,
                    state: error.state,
                    line: error.line,
                    procedure: None,
                    text: error.text,
                });
                return;
            }
        };
        for statement in &batch.statements {
            let mut out = Out {
                sink: &mut *sink,
                line: statement.span.line,
            };
            match self.run(statement, &mut out) {
                Ok(()) => {}
                Err(Stop::Cancelled) => return,
                Err(Stop::Refused(messages)) => {
                    for message in &messages {
                        if out.message(message).is_err() {
                            return;
                        }
                    }
                    if matches!(statement.kind, StatementKind::Use { .. }) {
                        return;
                    }
                }
            }
        }
    }

    fn database(&self) -> &str {
        &self.database
    }
}

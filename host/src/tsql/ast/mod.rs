//! The typed syntax tree of every statement that is understood. Grammar and meaning: `docs/tsql.md`.
//!
//! The tree says what was written, not whether it makes sense: defaults are `None`, numbers are as given, and
//! names are not looked up. Passwords are kept apart from other strings so that they can neither be printed nor
//! outlive the statement.

mod database;
mod endpoint;
mod key;
mod principal;

pub use database::*;
pub use endpoint::*;
pub use key::*;
pub use principal::*;

use zeroize::Zeroizing;

use super::span::Span;

/// A parsed batch.
#[derive(Debug)]
pub struct Batch {
    /// Its statements, in the order in which they run.
    pub statements: Vec<Statement>,
}

/// One statement and where it is written. `span.line` is the line that errors of the statement name.
#[derive(Debug)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// From its first token to its last.
    pub span: Span,
}

/// An identifier as written, without its brackets or quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// 1…128 characters.
    pub value: String,
    /// Where.
    pub span: Span,
}

/// A string constant, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What is between the quotes.
    pub value: String,
    /// Where, with the quotes.
    pub span: Span,
}

/// A binary constant (`0x…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The bytes; an odd number of digits has a zero in front.
    pub value: Vec<u8>,
    /// Where, with the prefix.
    pub span: Span,
}

/// A password. It is wiped when dropped, and its `Debug` form says nothing.
pub struct Password {
    value: Zeroizing<String>,
    /// Where, with the quotes.
    pub span: Span,
}

impl Password {
    /// A password taken from a batch.
    #[must_use]
    pub fn new(value: Zeroizing<String>, span: Span) -> Self {
        Self { value, span }
    }

    /// The password itself: never to be stored, logged or put into a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl core::fmt::Debug for Password {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Every statement.
#[derive(Debug)]
#[non_exhaustive]
pub enum StatementKind {
    /// `CREATE MASTER KEY [ENCRYPTION BY PASSWORD = '…']`
    CreateMasterKey {
        /// The password; a server refuses a key without one.
        password: Option<Password>,
    },
    /// `ALTER MASTER KEY …`
    AlterMasterKey(AlterMasterKey),
    /// `OPEN MASTER KEY DECRYPTION BY PASSWORD = '…'`
    OpenMasterKey {
        /// The password.
        password: Password,
    },
    /// `CLOSE MASTER KEY`
    CloseMasterKey,
    /// `DROP MASTER KEY`
    DropMasterKey,
    /// `BACKUP [SERVICE] MASTER KEY …`
    BackupMasterKey(BackupMasterKey),
    /// `RESTORE [SERVICE] MASTER KEY …`
    RestoreMasterKey(RestoreMasterKey),
    /// `ALTER SERVICE MASTER KEY …`
    AlterServiceMasterKey(AlterServiceMasterKey),

    /// `CREATE CERTIFICATE …`
    CreateCertificate(CreateCertificate),
    /// `ALTER CERTIFICATE …`
    AlterCertificate {
        /// Which.
        name: Name,
        /// The change.
        change: CertificateChange,
    },
    /// `BACKUP CERTIFICATE …`
    BackupCertificate(BackupCertificate),
    /// `ALTER AUTHORIZATION ON CERTIFICATE::name TO user`
    CertificateAuthorization {
        /// Which.
        name: Name,
        /// The new owner.
        owner: Name,
    },
    /// `ALTER AUTHORIZATION ON DATABASE::name TO login`
    DatabaseAuthorization {
        /// Which.
        name: Name,
        /// The new owner.
        owner: Name,
    },
    /// `DROP CERTIFICATE name`
    DropCertificate {
        /// Which.
        name: Name,
    },

    /// `CREATE ENDPOINT …`
    CreateEndpoint(CreateEndpoint),
    /// `ALTER ENDPOINT …`
    AlterEndpoint(AlterEndpoint),
    /// `DROP ENDPOINT name`
    DropEndpoint {
        /// Which.
        name: Name,
    },

    /// `CREATE LOGIN …`
    CreateLogin {
        /// Its name.
        name: Name,
        /// How it is authenticated.
        source: LoginSource,
    },
    /// `DROP LOGIN name`
    DropLogin {
        /// Which.
        name: Name,
    },
    /// `CREATE USER …`
    CreateUser(CreateUser),
    /// `DROP USER [IF EXISTS] name`
    DropUser {
        /// Which.
        name: Name,
        /// IF EXISTS was written.
        if_exists: bool,
    },
    /// `GRANT`, `DENY` or `REVOKE` on an endpoint.
    EndpointPermission(EndpointPermission),
    /// `GRANT`, `DENY` or `REVOKE` on the server or on a login.
    ServerPermission(ServerPermission),
    /// `EXECUTE AS LOGIN | USER = 'name' [WITH NO REVERT]`
    ExecuteAs(ExecuteAs),
    /// `REVERT`
    Revert,

    /// `USE database`
    Use {
        /// Which.
        database: Name,
    },
    /// `CREATE DATABASE …`
    CreateDatabase(CreateDatabase),
    /// `DROP DATABASE [IF EXISTS] name, …`
    DropDatabase {
        /// Which, at least one.
        databases: Vec<Name>,
        /// IF EXISTS was written.
        if_exists: bool,
    },
    /// `ALTER DATABASE name | CURRENT SET …`
    AlterDatabase {
        /// Which; `None` is CURRENT.
        database: Option<Name>,
        /// The one option that is set.
        option: DatabaseOption,
    },
    /// `BACKUP DATABASE | LOG …`
    Backup(Backup),
    /// `RESTORE DATABASE | LOG …`
    Restore(Restore),

    /// `EXEC procedure …`
    Execute(Execute),
    /// `PRINT expression`
    Print {
        /// One row, one column: the text to print.
        expression: Query,
    },
    /// `SELECT …`
    Select(Query),
}

/// A query over the catalog views, already translated into the SQL of SQLite (`docs/tsql.md`, "SELECT").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Exactly one SELECT statement, made of nothing but what the translation lets through. Functions that it may
    /// call and that SQLite does not have are listed in `tsql::functions`.
    pub sqlite: String,
    /// Where the original is written.
    pub span: Span,
}

/// `EXEC [schema.]procedure [[@name =] value, …]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// The parts of its name, 1…3: `[database, schema, procedure]`, `[schema, procedure]` or `[procedure]`.
    pub procedure: Vec<Name>,
    /// Positional ones first.
    pub arguments: Vec<Argument>,
}

impl Execute {
    /// The last part of the procedure's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.procedure.last().map_or("", |part| part.value.as_str())
    }
}

/// One argument of EXEC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// `@name`, without the `@`, when written.
    pub name: Option<Name>,
    /// Its value.
    pub value: Literal,
    /// Where the value is.
    pub span: Span,
}

impl Drop for Argument {
    /// It may be a password.
    fn drop(&mut self) {
        if let Literal::Text(text) = &mut self.value {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// A constant. EXEC also takes a bare word as a string, as Transact-SQL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// NULL
    Null,
    /// DEFAULT
    Default,
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent, as written.
    Decimal(String),
    /// A string, or a bare word.
    Text(String),
    /// `0x…`
    Binary(Vec<u8>),
}

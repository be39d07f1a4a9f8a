//! Logins, users, permissions.

use super::{Binary, Name, Password, Text};

/// How a new login is authenticated.
#[derive(Debug)]
pub enum LoginSource {
    /// `WITH PASSWORD = …`
    Password(PasswordLogin),
    /// `FROM WINDOWS [WITH …]`
    Windows {
        /// DEFAULT_DATABASE
        default_database: Option<Name>,
        /// DEFAULT_LANGUAGE
        default_language: Option<Name>,
    },
    /// `FROM CERTIFICATE name`: for signed code, cannot connect.
    Certificate(Name),
}

/// `WITH PASSWORD = '…' [MUST_CHANGE], …`
#[derive(Debug)]
pub struct PasswordLogin {
    /// The password, or its hash.
    pub password: LoginPassword,
    /// MUST_CHANGE was written.
    pub must_change: bool,
    /// SID = 0x…
    pub sid: Option<Binary>,
    /// DEFAULT_DATABASE
    pub default_database: Option<Name>,
    /// DEFAULT_LANGUAGE
    pub default_language: Option<Name>,
    /// CHECK_EXPIRATION
    pub check_expiration: Option<bool>,
    /// CHECK_POLICY
    pub check_policy: Option<bool>,
}

/// The password of a new login.
#[derive(Debug)]
pub enum LoginPassword {
    /// `'…'`
    Clear(Password),
    /// `0x… HASHED`
    Hashed(Binary),
}

/// `CREATE USER name …`
#[derive(Debug)]
pub struct CreateUser {
    /// Its name.
    pub name: Name,
    /// What it stands for.
    pub source: UserSource,
    /// DEFAULT_SCHEMA
    pub default_schema: Option<Name>,
}

/// What a database user stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSource {
    /// Nothing written: the login of the same name.
    SameLogin,
    /// `FOR | FROM LOGIN name`
    Login(Name),
    /// `WITHOUT LOGIN`
    WithoutLogin,
    /// `FOR | FROM CERTIFICATE name`
    Certificate(Name),
}

/// `GRANT | DENY | REVOKE permission, … ON ENDPOINT::name TO | FROM login, …`
#[derive(Debug)]
pub struct EndpointPermission {
    /// Which of the three.
    pub action: PermissionAction,
    /// What, at least one.
    pub permissions: Vec<Permission>,
    /// On which endpoint.
    pub endpoint: Name,
    /// To or from whom, at least one.
    pub logins: Vec<Name>,
    /// AS login
    pub grantor: Option<Name>,
}

/// The verb, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionAction {
    /// GRANT
    Grant {
        /// WITH GRANT OPTION was written.
        with_grant_option: bool,
    },
    /// DENY
    Deny {
        /// CASCADE was written.
        cascade: bool,
    },
    /// REVOKE
    Revoke {
        /// GRANT OPTION FOR was written: only the right to pass it on is taken away.
        grant_option_for: bool,
        /// CASCADE was written.
        cascade: bool,
    },
}

/// A permission on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// ALTER
    Alter,
    /// CONNECT
    Connect,
    /// CONTROL
    Control,
    /// TAKE OWNERSHIP
    TakeOwnership,
    /// VIEW DEFINITION
    ViewDefinition,
}

/// `GRANT | DENY | REVOKE permission, … [ON LOGIN::name] TO | FROM login, …`
#[derive(Debug)]
pub struct ServerPermission {
    /// Which of the three.
    pub action: PermissionAction,
    /// What, at least one.
    pub permissions: Vec<ServerRight>,
    /// On which login; `None` is the server.
    pub on_login: Option<Name>,
    /// To or from whom, at least one.
    pub logins: Vec<Name>,
    /// AS login
    pub grantor: Option<Name>,
}

/// A permission on the server or on a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRight {
    /// Its words.
    pub name: &'static str,
    /// `sys.server_permissions.type`.
    pub code: &'static str,
}

/// `EXECUTE AS …`
#[derive(Debug)]
pub struct ExecuteAs {
    /// A login, or a user of the current database.
    pub kind: PrincipalKind,
    /// Which.
    pub name: Text,
    /// WITH NO REVERT was written.
    pub no_revert: bool,
}

/// Whom a session may act as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// LOGIN
    Login,
    /// USER
    User,
}

//! Logins, users and permissions.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    CreateUser, EndpointPermission, ExecuteAs, LoginPassword, LoginSource, Name, PasswordLogin, Permission,
    PermissionAction, PrincipalKind, ServerPermission, ServerRight, StatementKind, UserSource,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};

impl Parser<'_> {
    pub(super) fn create_login(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of the login")?;
        let source = if self.accept("WITH") {
            LoginSource::Password(self.password_login()?)
        } else if self.accept("FROM") {
            self.login_from()?
        } else {
            return Err(self.unexpected("WITH PASSWORD or FROM"));
        };
        Ok(StatementKind::CreateLogin { name, source })
    }

    fn password_login(&mut self) -> Parsed<PasswordLogin> {
        self.expect("PASSWORD")?;
        self.equal()?;
        let password = if self.peek().kind == Kind::Binary {
            let hash = self.binary()?;
            self.expect("HASHED")?;
            LoginPassword::Hashed(hash)
        } else {
            LoginPassword::Clear(self.password()?)
        };
        let mut login = PasswordLogin {
            password,
            must_change: self.accept("MUST_CHANGE"),
            sid: None,
            default_database: None,
            default_language: None,
            check_expiration: None,
            check_policy: None,
        };
        while self.accept_symbol(Symbol::Comma) {
            let line = self.line();
            if self.accept("SID") {
                self.equal()?;
                let sid = self.binary()?;
                self.once(&mut login.sid, sid, "SID", line)?;
            } else if self.accept("DEFAULT_DATABASE") {
                let database = self.equal_name("the name of a database")?;
                self.once(&mut login.default_database, database, "DEFAULT_DATABASE", line)?;
            } else if self.accept("DEFAULT_LANGUAGE") {
                let language = self.equal_name("the name of a language")?;
                self.once(&mut login.default_language, language, "DEFAULT_LANGUAGE", line)?;
            } else if self.accept("CHECK_EXPIRATION") {
                self.equal()?;
                let on = self.on_off()?;
                self.once(&mut login.check_expiration, on, "CHECK_EXPIRATION", line)?;
            } else if self.accept("CHECK_POLICY") {
                self.equal()?;
                let on = self.on_off()?;
                self.once(&mut login.check_policy, on, "CHECK_POLICY", line)?;
            } else if self.is("CREDENTIAL") {
                return Err(SyntaxError::not_supported(line, "CREDENTIAL", ""));
            } else {
                return Err(self.unexpected("SID, DEFAULT_DATABASE, CHECK_EXPIRATION or CHECK_POLICY"));
            }
        }
        Ok(login)
    }

    fn equal_name(&mut self, what: &str) -> Parsed<Name> {
        self.equal()?;
        self.name(what)
    }

    fn login_from(&mut self) -> Parsed<LoginSource> {
        let line = self.line();
        if self.accept("CERTIFICATE") {
            return Ok(LoginSource::Certificate(self.name("the name of a certificate")?));
        }
        if self.accept("ASYMMETRIC") {
            return Err(SyntaxError::not_supported(
                line,
                "CREATE LOGIN FROM ASYMMETRIC KEY",
                "",
            ));
        }
        if !self.accept("WINDOWS") {
            return Err(self.unexpected("WINDOWS or CERTIFICATE"));
        }
        let (mut default_database, mut default_language) = (None, None);
        if self.accept("WITH") {
            loop {
                let line = self.line();
                if self.accept("DEFAULT_DATABASE") {
                    let database = self.equal_name("the name of a database")?;
                    self.once(&mut default_database, database, "DEFAULT_DATABASE", line)?;
                } else if self.accept("DEFAULT_LANGUAGE") {
                    let language = self.equal_name("the name of a language")?;
                    self.once(&mut default_language, language, "DEFAULT_LANGUAGE", line)?;
                } else {
                    return Err(self.unexpected("DEFAULT_DATABASE or DEFAULT_LANGUAGE"));
                }
                if !self.accept_symbol(Symbol::Comma) {
                    break;
                }
            }
        }
        Ok(LoginSource::Windows {
            default_database,
            default_language,
        })
    }

    pub(super) fn create_user(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of the user")?;
        let line = self.line();
        let source = if self.accept("WITHOUT") {
            self.expect("LOGIN")?;
            UserSource::WithoutLogin
        } else if self.accept("FOR") || self.accept("FROM") {
            if self.accept("LOGIN") {
                UserSource::Login(self.name("the name of a login")?)
            } else if self.accept("CERTIFICATE") {
                UserSource::Certificate(self.name("the name of a certificate")?)
            } else if self.accept("ASYMMETRIC") {
                return Err(SyntaxError::not_supported(
                    line,
                    "CREATE USER FOR ASYMMETRIC KEY",
                    "",
                ));
            } else {
                return Err(self.unexpected("LOGIN or CERTIFICATE"));
            }
        } else {
            UserSource::SameLogin
        };
        let mut default_schema = None;
        if self.accept("WITH") {
            loop {
                let line = self.line();
                if self.is("PASSWORD") {
                    let what = "CREATE USER WITH PASSWORD (contained databases)";
                    return Err(SyntaxError::not_supported(
                        line,
                        what,
                        "Use CREATE LOGIN and CREATE USER FOR LOGIN.",
                    ));
                }
                self.expect("DEFAULT_SCHEMA")?;
                let schema = self.equal_name("the name of a schema")?;
                self.once(&mut default_schema, schema, "DEFAULT_SCHEMA", line)?;
                if !self.accept_symbol(Symbol::Comma) {
                    break;
                }
            }
        }
        Ok(StatementKind::CreateUser(CreateUser {
            name,
            source,
            default_schema,
        }))
    }

    pub(super) fn permission_statement(&mut self) -> Parsed<StatementKind> {
        let line = self.line();
        let verb = self.choice(&[
            ("GRANT", Verb::Grant),
            ("DENY", Verb::Deny),
            ("REVOKE", Verb::Revoke),
        ])?;
        let grant_option_for = verb == Verb::Revoke && self.accept_all(&["GRANT", "OPTION", "FOR"]);
        let elsewhere = || {
            let what = "A permission on anything but the server, a login or an endpoint";
            SyntaxError::not_supported(line, what, "GRANT CONNECT ON ENDPOINT::name TO login is.")
        };
        // SELECT, EXECUTE, roles and the like: permissions of other objects.
        let rights = self.list(|parser| parser.right()?.ok_or_else(elsewhere))?;
        let on = if !self.accept("ON") {
            None
        } else if self.accept("ENDPOINT") {
            self.expect_symbol(Symbol::Scope, "::")?;
            Some((true, self.name("the name of an endpoint")?))
        } else if self.accept("LOGIN") {
            self.expect_symbol(Symbol::Scope, "::")?;
            Some((false, self.name("the name of a login")?))
        } else {
            return Err(elsewhere());
        };
        if !(verb == Verb::Revoke && self.accept("FROM")) {
            self.expect("TO")?;
        }
        let logins = self.list(|parser| parser.login())?;
        let action = match verb {
            Verb::Grant => {
                let with_grant_option = self.is("WITH");
                if with_grant_option {
                    self.expect_all(&["WITH", "GRANT", "OPTION"])?;
                }
                PermissionAction::Grant { with_grant_option }
            }
            Verb::Deny => PermissionAction::Deny {
                cascade: self.accept("CASCADE"),
            },
            Verb::Revoke => PermissionAction::Revoke {
                grant_option_for,
                cascade: self.accept("CASCADE"),
            },
        };
        let grantor = if self.accept("AS") {
            Some(self.login()?)
        } else {
            None
        };
        if let Some((true, endpoint)) = on {
            let permissions = rights
                .into_iter()
                .map(|right| right.on_endpoint().ok_or_else(elsewhere))
                .collect::<Parsed<_>>()?;
            return Ok(StatementKind::EndpointPermission(EndpointPermission {
                action,
                permissions,
                endpoint,
                logins,
                grantor,
            }));
        }
        let on_login = on.map(|(_, login)| login);
        let permissions = rights
            .into_iter()
            .map(|right| {
                let found = if on_login.is_some() {
                    right.on_login()
                } else {
                    right.on_server()
                };
                found.ok_or_else(elsewhere)
            })
            .collect::<Parsed<_>>()?;
        Ok(StatementKind::ServerPermission(ServerPermission {
            action,
            permissions,
            on_login,
            logins,
            grantor,
        }))
    }

    /// A permission that is known, or `None` for one of another object.
    fn right(&mut self) -> Parsed<Option<Right>> {
        for right in SERVER_RIGHTS {
            let words: Vec<&str> = right.name.split(' ').collect();
            if self.accept_all(&words) {
                return Ok(Some(Right::Server(*right)));
            }
        }
        let simple = [
            (
                &["TAKE", "OWNERSHIP"][..],
                Right::Endpoint(Permission::TakeOwnership),
            ),
            (
                &["VIEW", "DEFINITION"],
                Right::Endpoint(Permission::ViewDefinition),
            ),
            (&["ALTER"], Right::Endpoint(Permission::Alter)),
            (&["CONNECT"], Right::Endpoint(Permission::Connect)),
            (&["CONTROL"], Right::Endpoint(Permission::Control)),
            (&["IMPERSONATE"], Right::Impersonate),
        ];
        for (words, right) in simple {
            if self.accept_all(words) {
                return Ok(Some(right));
            }
        }
        if self.peek().kind == Kind::Word {
            Ok(None)
        } else {
            Err(self.unexpected("a permission"))
        }
    }

    /// Behind EXECUTE AS.
    pub(super) fn execute_as(&mut self, line: u32) -> Parsed<StatementKind> {
        self.expect("AS")?;
        let kind = self.choice(&[("LOGIN", PrincipalKind::Login), ("USER", PrincipalKind::User)])?;
        self.equal()?;
        let name = self.string("the name of a login or user in quotes")?;
        let mut no_revert = false;
        if self.accept("WITH") {
            if self.is("COOKIE") {
                return Err(SyntaxError::not_supported(line, "EXECUTE AS … WITH COOKIE", ""));
            }
            self.expect_all(&["NO", "REVERT"])?;
            no_revert = true;
        }
        Ok(StatementKind::ExecuteAs(ExecuteAs {
            kind,
            name,
            no_revert,
        }))
    }

    /// A login; `public` is one too, reserved though the word is.
    fn login(&mut self) -> Parsed<Name> {
        if self.is("PUBLIC") {
            let span = self.advance().span;
            return Ok(Name {
                value: "public".to_owned(),
                span,
            });
        }
        self.name("the name of a login")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Grant,
    Deny,
    Revoke,
}

/// The permissions on the server.
const SERVER_RIGHTS: &[ServerRight] = &[
    server_right("CONTROL SERVER", "CL"),
    server_right("CONNECT SQL", "COSQ"),
    server_right("CREATE ENDPOINT", "CRHE"),
    server_right("CREATE ANY DATABASE", "CRDB"),
    server_right("ALTER ANY ENDPOINT", "ALHE"),
    server_right("ALTER ANY LOGIN", "ALLG"),
    server_right("ALTER ANY DATABASE", "ALDB"),
    server_right("ALTER SERVER STATE", "ALSS"),
    server_right("VIEW SERVER STATE", "VWSS"),
    server_right("VIEW ANY DEFINITION", "VWAD"),
    server_right("VIEW ANY DATABASE", "VWDB"),
];

const fn server_right(name: &'static str, code: &'static str) -> ServerRight {
    ServerRight { name, code }
}

/// A permission before it is known what it is on.
#[derive(Clone, Copy)]
enum Right {
    /// Of an endpoint; some are a login's too.
    Endpoint(Permission),
    Server(ServerRight),
    Impersonate,
}

impl Right {
    const fn on_endpoint(self) -> Option<Permission> {
        match self {
            Self::Endpoint(permission) => Some(permission),
            Self::Server(_) | Self::Impersonate => None,
        }
    }

    const fn on_server(self) -> Option<ServerRight> {
        match self {
            Self::Server(right) => Some(right),
            Self::Endpoint(_) | Self::Impersonate => None,
        }
    }

    const fn on_login(self) -> Option<ServerRight> {
        match self {
            Self::Impersonate => Some(server_right("IMPERSONATE", "IM")),
            Self::Endpoint(Permission::Alter) => Some(server_right("ALTER", "AL")),
            Self::Endpoint(Permission::Control) => Some(server_right("CONTROL", "CL")),
            Self::Endpoint(Permission::ViewDefinition) => Some(server_right("VIEW DEFINITION", "VW")),
            Self::Endpoint(Permission::Connect | Permission::TakeOwnership) | Self::Server(_) => None,
        }
    }
}

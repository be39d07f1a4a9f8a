//! Logins, users and permissions.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    CreateUser, EndpointPermission, LoginPassword, LoginSource, Name, PasswordLogin, Permission,
    PermissionAction, StatementKind, UserSource,
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

    pub(super) fn endpoint_permission(&mut self) -> Parsed<StatementKind> {
        let line = self.line();
        let verb = self.choice(&[
            ("GRANT", Verb::Grant),
            ("DENY", Verb::Deny),
            ("REVOKE", Verb::Revoke),
        ])?;
        let grant_option_for = verb == Verb::Revoke && self.accept_all(&["GRANT", "OPTION", "FOR"]);
        let elsewhere = || {
            let what = "A permission on anything but an endpoint";
            SyntaxError::not_supported(line, what, "GRANT CONNECT ON ENDPOINT::name TO login is.")
        };
        // SELECT, EXECUTE, VIEW SERVER STATE, roles and the like: permissions of other objects.
        let permissions = self.list(|parser| parser.permission()?.ok_or_else(elsewhere))?;
        if self.is("TO") || self.is("FROM") || self.is("ON") && !self.is_at(1, "ENDPOINT") {
            return Err(elsewhere());
        }
        self.expect_all(&["ON", "ENDPOINT"])?;
        self.expect_symbol(Symbol::Scope, "::")?;
        let endpoint = self.name("the name of an endpoint")?;
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
        let permission = EndpointPermission {
            action,
            permissions,
            endpoint,
            logins,
            grantor,
        };
        Ok(StatementKind::EndpointPermission(permission))
    }

    /// A permission of an endpoint, or `None` for one of another object.
    fn permission(&mut self) -> Parsed<Option<Permission>> {
        if self.are(&["CONNECT", "SQL"]) || self.are(&["ALTER", "ANY"]) || self.are(&["CONTROL", "SERVER"]) {
            return Ok(None);
        }
        if self.accept_all(&["TAKE", "OWNERSHIP"]) {
            return Ok(Some(Permission::TakeOwnership));
        }
        if self.accept_all(&["VIEW", "DEFINITION"]) {
            return Ok(Some(Permission::ViewDefinition));
        }
        let simple = [
            ("ALTER", Permission::Alter),
            ("CONNECT", Permission::Connect),
            ("CONTROL", Permission::Control),
        ];
        for (word, permission) in simple {
            if self.accept(word) {
                return Ok(Some(permission));
            }
        }
        if self.peek().kind == Kind::Word {
            Ok(None)
        } else {
            Err(self.unexpected("a permission"))
        }
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

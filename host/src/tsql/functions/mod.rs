//! The functions that a translated SELECT calls and that SQLite does not have.
//!
//! They are registered on the connection that runs the queries. What they refuse carries a message number
//! through SQLite's error text; [`failure`] gets it back.

mod convert;
mod dates;
mod pattern;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rusqlite::functions::{Context as Call, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result};

/// What the functions ask about the session whose query it is.
pub trait Context: Send + Sync {
    /// @@SERVERNAME
    fn server_name(&self) -> String;
    /// @@VERSION
    fn version(&self) -> String;
    /// @@SPID
    fn session_id(&self) -> i64;
    /// DB_NAME: the name of database `id`, or of the current one.
    fn database_name(&self, id: Option<i64>) -> Option<String>;
    /// DB_ID: the id of database `name`, or of the current one.
    fn database_id(&self, name: Option<&str>) -> Option<i64>;
    /// SERVERPROPERTY; `None` for a property that does not exist.
    fn server_property(&self, name: &str) -> Option<crate::tsql::Value>;
    /// SUSER_SNAME(), SYSTEM_USER: the login that the session acts as.
    fn login_name(&self) -> String;
    /// ORIGINAL_LOGIN(): the login that the session began with.
    fn original_login(&self) -> String;
    /// SUSER_NAME(id)
    fn login_of_id(&self, id: i64) -> Option<String>;
    /// SUSER_ID(name), and of the session's own login without a name.
    fn login_id(&self, name: Option<&str>) -> Option<i64>;
    /// USER_NAME(id) in the current database.
    fn user_of_id(&self, id: i64) -> Option<String>;
    /// IS_SRVROLEMEMBER: whether `login`, or the one that the session acts as, is a member of `role`; `None` for what does not
    /// exist.
    fn is_role_member(&self, role: &str, login: Option<&str>) -> Option<bool>;
    /// SUSER_SNAME(sid)
    fn login_of(&self, sid: &[u8]) -> Option<String>;
    /// CERT_ID: a certificate of the current database.
    fn certificate_id(&self, name: &str) -> Option<i64>;
    /// CERTENCODED: its DER.
    fn certificate_der(&self, id: i64) -> Option<Vec<u8>>;
    /// CERTPROPERTY
    fn certificate_property(&self, id: i64, name: &str) -> Option<crate::tsql::Value>;
    /// CERTPRIVATEKEY: its private key under the first password.
    ///
    /// # Errors
    /// Number and text of the message that refuses it.
    fn certificate_private_key(
        &self,
        id: i64,
        encryption: &str,
        decryption: Option<&str>,
    ) -> core::result::Result<Option<Vec<u8>>, (u32, String)>;
    /// USER_NAME(), CURRENT_USER: the session's user in the current database.
    fn user_name(&self) -> String;
}

/// Registers every function.
///
/// # Errors
/// SQLite's.
pub fn register(connection: &Connection, context: Arc<dyn Context>) -> Result<()> {
    pure(connection)?;
    session(connection, context)
}

/// If a query failed in one of these functions: the message number and the text.
#[must_use]
pub fn failure(error: &Error) -> Option<(u32, &str)> {
    let Error::SqliteFailure(_, Some(text)) = error else {
        return None;
    };
    let (number, text) = text.strip_prefix(MARK)?.split_once(' ')?;
    Some((number.parse().ok()?, text))
}

/// Begins the text of an error of ours.
const MARK: &str = "tsql:";

fn refuse(number: u32, text: &str) -> Error {
    Error::UserFunctionError(format!("{MARK}{number} {text}").into())
}

fn flags(deterministic: bool) -> FunctionFlags {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    if deterministic {
        flags | FunctionFlags::SQLITE_DETERMINISTIC
    } else {
        flags
    }
}

fn pure(connection: &Connection) -> Result<()> {
    let pure = flags(true);
    connection.create_scalar_function("tsql_add", 2, pure, |call: &Call<'_>| {
        add(call.get_raw(0), call.get_raw(1))
    })?;
    for arguments in [2, 3] {
        connection.create_scalar_function("tsql_like", arguments, pure, |call: &Call<'_>| {
            let (Some(text), Some(pattern)) = (text(call.get_raw(0)), text(call.get_raw(1))) else {
                return Ok(None);
            };
            let escape = if call.len() == 3 {
                let Some(escape) = self::text(call.get_raw(2)) else {
                    return Ok(None);
                };
                let mut characters = escape.chars();
                let (Some(escape), None) = (characters.next(), characters.next()) else {
                    return Err(refuse(506, "ESCAPE of LIKE must be one character."));
                };
                Some(escape)
            } else {
                None
            };
            pattern::matches(&text, &pattern, escape).map(Some)
        })?;
    }
    connection.create_scalar_function("tsql_len", 1, pure, |call: &Call<'_>| {
        Ok(text(call.get_raw(0)).map(|text| count(text.trim_end_matches(' '))))
    })?;
    connection.create_scalar_function("tsql_datalength", 1, pure, |call: &Call<'_>| {
        Ok(match call.get_raw(0) {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(if i32::try_from(number).is_ok() { 4 } else { 8 }),
            ValueRef::Real(_) => Some(8),
            ValueRef::Blob(bytes) => i64::try_from(bytes.len()).ok(),
            // Characters are two bytes, as in nvarchar.
            value @ ValueRef::Text(_) => {
                text(value).and_then(|text| i64::try_from(text.encode_utf16().count() * 2).ok())
            }
        })
    })?;
    connection.create_scalar_function("tsql_left", 2, pure, |call: &Call<'_>| {
        part(call, "LEFT", |text, n| text.chars().take(n).collect())
    })?;
    connection.create_scalar_function("tsql_right", 2, pure, |call: &Call<'_>| {
        part(call, "RIGHT", |text, n| {
            text.chars()
                .skip(text.chars().count().saturating_sub(n))
                .collect()
        })
    })?;
    connection.create_scalar_function("tsql_convert", 5, pure, convert::convert)?;
    connection.create_scalar_function("tsql_try_convert", 5, pure, |call: &Call<'_>| {
        Ok(convert::convert(call).unwrap_or(Value::Null))
    })?;
    connection.create_scalar_function("tsql_datediff", 3, pure, dates::difference)?;
    connection.create_scalar_function("tsql_dateadd", 3, pure, dates::add)?;
    connection.create_scalar_function("tsql_now", 0, flags(false), |_: &Call<'_>| Ok(dates::now()))
}

fn session(connection: &Connection, context: Arc<dyn Context>) -> Result<()> {
    let flags = flags(false);
    let c = Arc::clone(&context);
    connection.create_scalar_function("tsql_servername", 0, flags, move |_: &Call<'_>| {
        Ok(c.server_name())
    })?;
    let c = Arc::clone(&context);
    connection.create_scalar_function("tsql_version", 0, flags, move |_: &Call<'_>| Ok(c.version()))?;
    let c = Arc::clone(&context);
    connection.create_scalar_function("tsql_spid", 0, flags, move |_: &Call<'_>| Ok(c.session_id()))?;
    let c = Arc::clone(&context);
    connection.create_scalar_function(
        "tsql_login_name",
        0,
        flags,
        move |_: &Call<'_>| Ok(c.login_name()),
    )?;
    let c = Arc::clone(&context);
    connection.create_scalar_function("tsql_original_login", 0, flags, move |_: &Call<'_>| {
        Ok(c.original_login())
    })?;
    let c = Arc::clone(&context);
    connection.create_scalar_function("tsql_serverproperty", 1, flags, move |call: &Call<'_>| {
        let value = text(call.get_raw(0)).and_then(|name| c.server_property(&name));
        Ok(value.map_or(Value::Null, own))
    })?;
    certificates(connection, &context, flags)?;
    for arguments in [0, 1] {
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_db_name", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(c.database_name(None));
            }
            Ok(call
                .get::<Option<i64>>(0)?
                .and_then(|id| c.database_name(Some(id))))
        })?;
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_db_id", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(c.database_id(None));
            }
            Ok(text(call.get_raw(0)).and_then(|name| c.database_id(Some(&name))))
        })?;
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_user_name", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(Some(c.user_name()));
            }
            Ok(call.get::<Option<i64>>(0)?.and_then(|id| c.user_of_id(id)))
        })?;
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_suser_name", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(Some(c.login_name()));
            }
            Ok(call.get::<Option<i64>>(0)?.and_then(|id| c.login_of_id(id)))
        })?;
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_suser_id", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(c.login_id(None));
            }
            Ok(text(call.get_raw(0)).and_then(|name| c.login_id(Some(&name))))
        })?;
        let c = Arc::clone(&context);
        connection.create_scalar_function(
            "tsql_is_srvrolemember",
            arguments + 1,
            flags,
            move |call: &Call<'_>| {
                let login = if call.len() == 2 {
                    Some(text(call.get_raw(1)).unwrap_or_default())
                } else {
                    None
                };
                Ok(text(call.get_raw(0)).and_then(|role| c.is_role_member(&role, login.as_deref())))
            },
        )?;
        let c = Arc::clone(&context);
        connection.create_scalar_function("tsql_suser_sname", arguments, flags, move |call: &Call<'_>| {
            if call.is_empty() {
                return Ok(Some(c.login_name()));
            }
            Ok(call.get::<Option<Vec<u8>>>(0)?.and_then(|sid| c.login_of(&sid)))
        })?;
    }
    Ok(())
}

/// The certificates of the current database.
fn certificates(connection: &Connection, context: &Arc<dyn Context>, flags: FunctionFlags) -> Result<()> {
    let c = Arc::clone(context);
    connection.create_scalar_function("tsql_cert_id", 1, flags, move |call: &Call<'_>| {
        Ok(text(call.get_raw(0)).and_then(|name| c.certificate_id(&name)))
    })?;
    let c = Arc::clone(context);
    connection.create_scalar_function("tsql_certencoded", 1, flags, move |call: &Call<'_>| {
        Ok(call.get::<Option<i64>>(0)?.and_then(|id| c.certificate_der(id)))
    })?;
    let c = Arc::clone(context);
    connection.create_scalar_function("tsql_certproperty", 2, flags, move |call: &Call<'_>| {
        let (Some(id), Some(name)) = (call.get::<Option<i64>>(0)?, text(call.get_raw(1))) else {
            return Ok(Value::Null);
        };
        Ok(c.certificate_property(id, &name).map_or(Value::Null, own))
    })?;
    for arguments in [2, 3] {
        let c = Arc::clone(context);
        connection.create_scalar_function(
            "tsql_certprivatekey",
            arguments,
            flags,
            move |call: &Call<'_>| {
                let password = |at| text(call.get_raw(at)).map(zeroize::Zeroizing::new);
                let (Some(id), Some(encryption)) = (call.get::<Option<i64>>(0)?, password(1)) else {
                    return Ok(None);
                };
                let decryption = if call.len() > 2 { password(2) } else { None };
                c.certificate_private_key(id, &encryption, decryption.as_ref().map(|text| text.as_str()))
                    .map_err(|(number, text)| refuse(number, &text))
            },
        )?;
    }
    Ok(())
}

/// `+`: joins two texts, adds two numbers; a text beside a number is read as a number.
fn add(left: ValueRef<'_>, right: ValueRef<'_>) -> Result<Value> {
    Ok(match (left, right) {
        (ValueRef::Null, _) | (_, ValueRef::Null) => Value::Null,
        (ValueRef::Text(_), ValueRef::Text(_)) => {
            let (left, right) = (text(left).unwrap_or_default(), text(right).unwrap_or_default());
            Value::Text(left + &right)
        }
        (ValueRef::Blob(left), ValueRef::Blob(right)) => Value::Blob([left, right].concat()),
        _ => match (number(left)?, number(right)?) {
            (Value::Integer(left), Value::Integer(right)) => Value::Integer(
                left.checked_add(right)
                    .ok_or_else(|| convert::overflow("bigint"))?,
            ),
            (left, right) => Value::Real(real(&left) + real(&right)),
        },
    })
}

fn number(value: ValueRef<'_>) -> Result<Value> {
    match value {
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Real(number) => Ok(Value::Real(number)),
        ValueRef::Text(_) => {
            let text = text(value).unwrap_or_default();
            let trimmed = text.trim();
            let integer = trimmed.parse().map(Value::Integer);
            integer
                .or_else(|_| trimmed.parse().map(Value::Real))
                .map_err(|_| convert::failed(&text, "int"))
        }
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Blob(_) => Err(refuse(402, "Binary values and numbers cannot be added.")),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an integer beside a float becomes a float, as documented for float"
)]
fn real(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        _ => 0.0,
    }
}

/// A value as text; NULL has none.
fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn count(text: &str) -> i64 {
    i64::try_from(text.encode_utf16().count()).unwrap_or(i64::MAX)
}

/// LEFT and RIGHT.
fn part(call: &Call<'_>, name: &str, take: fn(&str, usize) -> String) -> Result<Option<String>> {
    let (Some(text), Some(length)) = (text(call.get_raw(0)), call.get::<Option<i64>>(1)?) else {
        return Ok(None);
    };
    let length = usize::try_from(length)
        .map_err(|_| refuse(536, &format!("The length given to {name} is negative.")))?;
    Ok(Some(take(&text, length)))
}

fn own(value: crate::tsql::Value) -> Value {
    match value {
        crate::tsql::Value::Null => Value::Null,
        crate::tsql::Value::Int(number) => Value::Integer(number),
        crate::tsql::Value::Float(number) => Value::Real(number),
        crate::tsql::Value::Text(text) => Value::Text(text),
        crate::tsql::Value::Binary(bytes) => Value::Blob(bytes),
    }
}

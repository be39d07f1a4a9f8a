//! Columns and values as they travel from the executor to whoever asked: the admin protocol, `dbmirror sql`, and
//! any other front end.

use core::fmt;

/// The SQL type of a result column.
///
/// Lengths are those of the declaration: characters for the character types, bytes for the binary ones. `None` is
/// `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// `bit`: 0 or 1, carried as [`Value::Int`].
    Bit,
    /// `tinyint`: 0…255.
    TinyInt,
    /// `smallint`.
    SmallInt,
    /// `int`.
    Int,
    /// `bigint`.
    BigInt,
    /// `numeric(precision, scale)`: carried as [`Value::Int`] when the scale is 0, else as [`Value::Text`].
    Numeric(u8, u8),
    /// `float`.
    Float,
    /// `char(n)`.
    Char(u16),
    /// `varchar(n)`.
    VarChar(Option<u16>),
    /// `nchar(n)`.
    NChar(u16),
    /// `nvarchar(n)`.
    NVarChar(Option<u16>),
    /// `sysname`, that is `nvarchar(128)`.
    SysName,
    /// `datetime`, UTC, carried as [`Value::Text`] in the form `YYYY-MM-DD hh:mm:ss.mmm`.
    DateTime,
    /// `uniqueidentifier`, carried as [`Value::Text`] in the form `XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX`.
    UniqueIdentifier,
    /// `varbinary(n)`.
    VarBinary(Option<u16>),
    /// `sql_variant`: any of the above.
    SqlVariant,
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_length = |f: &mut fmt::Formatter<'_>, name: &str, length: Option<u16>| match length {
            Some(n) => write!(f, "{name}({n})"),
            None => write!(f, "{name}(max)"),
        };
        match *self {
            SqlType::Bit => f.write_str("bit"),
            SqlType::TinyInt => f.write_str("tinyint"),
            SqlType::SmallInt => f.write_str("smallint"),
            SqlType::Int => f.write_str("int"),
            SqlType::BigInt => f.write_str("bigint"),
            SqlType::Numeric(p, s) => write!(f, "numeric({p},{s})"),
            SqlType::Float => f.write_str("float"),
            SqlType::Char(n) => with_length(f, "char", Some(n)),
            SqlType::VarChar(n) => with_length(f, "varchar", n),
            SqlType::NChar(n) => with_length(f, "nchar", Some(n)),
            SqlType::NVarChar(n) => with_length(f, "nvarchar", n),
            SqlType::SysName => f.write_str("sysname"),
            SqlType::DateTime => f.write_str("datetime"),
            SqlType::UniqueIdentifier => f.write_str("uniqueidentifier"),
            SqlType::VarBinary(n) => with_length(f, "varbinary", n),
            SqlType::SqlVariant => f.write_str("sql_variant"),
        }
    }
}

/// A result column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name; empty for an expression without an alias.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
}

impl Column {
    /// A column of that name and type.
    #[must_use]
    pub fn new(name: impl Into<String>, sql_type: SqlType) -> Self {
        Self {
            name: name.into(),
            sql_type,
        }
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// All whole numbers, and `bit`.
    Int(i64),
    /// `float`.
    Float(f64),
    /// Characters, and the types that are carried as text (see [`SqlType`]).
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

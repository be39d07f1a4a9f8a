//! Results for programs: one JSON object a line (`docs/tsql.md`, "JSON output").

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::{Value as Json, json};

use super::table;
use crate::admin::Message;
use crate::tsql::value::{Column, SqlType, Value};

/// Version of the lines. A new kind of line or a new member does not change it; anything else does.
const VERSION: u32 = 1;

/// Writes one object, its members in the order given: people read these lines too.
fn line(out: &mut dyn Write, kind: &str, members: &[(&str, Json)]) -> io::Result<()> {
    write!(out, "{{\"kind\":{}", Json::from(kind))?;
    for (key, value) in members {
        write!(out, ",{}:{value}", Json::from(*key))?;
    }
    writeln!(out, "}}")
}

/// The first line.
pub(super) fn begin(out: &mut dyn Write, instance: &str, database: &str) -> io::Result<()> {
    line(
        out,
        "begin",
        &[
            ("version", VERSION.into()),
            ("instance", instance.into()),
            ("database", database.into()),
        ],
    )
}

/// The last line.
pub(super) fn end(out: &mut dyn Write, status: u8) -> io::Result<()> {
    line(out, "end", &[("status", status.into())])
}

/// A result set: its columns, each with the member of the rows that holds it.
pub(super) fn columns(out: &mut dyn Write, columns: &[Column], keys: &[String]) -> io::Result<()> {
    let columns: Vec<Json> = columns
        .iter()
        .zip(keys)
        .map(|(column, key)| json!({ "key": key, "name": column.name, "type": column.sql_type.to_string() }))
        .collect();
    line(out, "columns", &[("columns", columns.into())])
}

/// The members of a row: the names of the columns; one without a name, or with another's, is called by its number.
pub(super) fn keys(columns: &[Column]) -> Vec<String> {
    let mut taken = HashSet::new();
    columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let mut key = column.name.clone();
            while key.is_empty() || taken.contains(&key) {
                key = format!("{key}#{}", index + 1);
            }
            taken.insert(key.clone());
            key
        })
        .collect()
}

pub(super) fn row(
    out: &mut dyn Write,
    columns: &[Column],
    keys: &[String],
    values: &[Value],
) -> io::Result<()> {
    write!(out, "{{\"kind\":\"row\",\"row\":{{")?;
    for (index, ((column, key), value)) in columns.iter().zip(keys).zip(values).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(
            out,
            "{comma}{}:{}",
            Json::from(key.as_str()),
            member(column.sql_type, value)
        )?;
    }
    writeln!(out, "}}}}")
}

/// Numbers are numbers, `bit` is a truth value, binary is text `0x…`.
fn member(sql_type: SqlType, value: &Value) -> Json {
    match (sql_type, value) {
        (_, Value::Null) => Json::Null,
        (SqlType::Bit, Value::Int(number)) => Json::Bool(*number != 0),
        (_, Value::Int(number)) => Json::from(*number),
        (_, Value::Float(number)) => Json::from(*number),
        (_, Value::Text(text)) => Json::from(text.as_str()),
        (_, value @ Value::Binary(_)) => Json::from(table::shown(sql_type, value)),
    }
}

pub(super) fn rows_affected(out: &mut dyn Write, rows: u64) -> io::Result<()> {
    line(out, "rows_affected", &[("rows", rows.into())])
}

pub(super) fn message(out: &mut dyn Write, message: &Message) -> io::Result<()> {
    let kind = if message.is_error() { "error" } else { "message" };
    let members = [
        ("number", message.number.into()),
        ("severity", message.severity.into()),
        ("state", message.state.into()),
        ("line", message.line.into()),
        ("procedure", message.procedure.clone().into()),
        ("text", message.text.as_str().into()),
    ];
    line(out, kind, &members)
}

pub(super) fn database(out: &mut dyn Write, name: &str) -> io::Result<()> {
    line(out, "database", &[("name", name.into())])
}

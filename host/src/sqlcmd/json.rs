//! Results for programs: one JSON object a line (`docs/tsql.md`, "JSON output").

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};

use super::table;
use crate::admin::Message;
use crate::tsql::value::{Column, SqlType, Value};

/// Version of the lines. A new kind of line or a new member does not change it; anything else does.
const VERSION: u32 = 1;

pub(super) fn line(out: &mut dyn Write, object: &Json) -> io::Result<()> {
    writeln!(out, "{object}")
}

/// The first line.
pub(super) fn begin(out: &mut dyn Write, instance: &str, database: &str) -> io::Result<()> {
    line(
        out,
        &json!({ "kind": "begin", "version": VERSION, "instance": instance, "database": database }),
    )
}

/// The last line.
pub(super) fn end(out: &mut dyn Write, status: u8) -> io::Result<()> {
    line(out, &json!({ "kind": "end", "status": status }))
}

/// A result set: its columns, each with the member of the rows that holds it.
pub(super) fn columns(out: &mut dyn Write, columns: &[Column], keys: &[String]) -> io::Result<()> {
    let columns: Vec<Json> = columns
        .iter()
        .zip(keys)
        .map(|(column, key)| json!({ "key": key, "name": column.name, "type": column.sql_type.to_string() }))
        .collect();
    line(out, &json!({ "kind": "columns", "columns": columns }))
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
    let members: Map<String, Json> = columns
        .iter()
        .zip(keys)
        .zip(values)
        .map(|((column, key), value)| (key.clone(), member(column.sql_type, value)))
        .collect();
    line(out, &json!({ "kind": "row", "row": members }))
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
    line(out, &json!({ "kind": "rows_affected", "rows": rows }))
}

pub(super) fn message(out: &mut dyn Write, message: &Message) -> io::Result<()> {
    line(
        out,
        &json!({
            "kind": if message.is_error() { "error" } else { "message" },
            "number": message.number,
            "severity": message.severity,
            "state": message.state,
            "line": message.line,
            "procedure": message.procedure,
            "text": message.text,
        }),
    )
}

pub(super) fn database(out: &mut dyn Write, name: &str) -> io::Result<()> {
    line(out, &json!({ "kind": "database", "name": name }))
}

//! SELECT and PRINT: run by SQLite itself, on a connection in memory that holds nothing but the views.
//!
//! Each query gets a fresh connection with the views as empty tables in schema `sys`. Preparing the statement tells, by way
//! of the authorizer, which of them it reads; just those are filled, all at one moment, and then the statement runs. So a query can
//! reach nothing else: no file, no `master.db`, no PRAGMA, no ATTACH.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::{Done, Out, SqlSession, Stop};
use crate::catalog::columns::{self, VIEWS};
use crate::catalog::views::{self, Scope};
use crate::catalog::{MASTER_ID, databases};
use crate::messages::{M207, M208, M8632, M8645, Raised};
use crate::tsql::ast::Query;
use crate::tsql::{Column, SqlType, Value};

/// The most rows of one result.
const ROWS_MAX: usize = 100_000;
/// The longest that one query runs.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Instructions of SQLite's machine between two looks at the clock.
const PROGRESS: i32 = 10_000;

/// A result before it is sent.
struct Found {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

impl SqlSession {
    pub(super) fn select(&self, query: &Query, out: &mut Out<'_>) -> Done {
        let found = self.query(query)?;
        Ok(out.result(&found.columns, &found.rows)?)
    }

    pub(super) fn print(&self, query: &Query, out: &mut Out<'_>) -> Done {
        let found = self.query(query)?;
        let text = match found.rows.into_iter().flatten().next() {
            None | Some(Value::Null) => String::new(),
            Some(Value::Int(number)) => number.to_string(),
            Some(Value::Float(number)) => number.to_string(),
            Some(Value::Text(text)) => text,
            Some(Value::Binary(bytes)) => bytes
                .iter()
                .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02X}")),
        };
        Ok(out.message(&Raised::print(text))?)
    }

    fn query(&self, query: &Query) -> Result<Found, Stop> {
        let mut memory = empty_views()?;
        self.register_functions(&memory)?;
        memory.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        let read = Arc::new(Mutex::new(BTreeSet::new()));
        let guard = |memory: &mut Connection| {
            let read = Arc::clone(&read);
            memory.authorizer(Some(move |context: AuthContext<'_>| authorize(&context, &read)))
        };
        guard(&mut memory)?;
        memory
            .prepare(&query.sqlite)
            .map(drop)
            .map_err(|error| self.explain(&error))?;
        let wanted = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
        memory.authorizer::<fn(AuthContext<'_>) -> Authorization>(None)?;
        self.fill(&memory, &wanted)?;
        guard(&mut memory)?;
        let deadline = Instant::now() + TIME_MAX;
        memory.progress_handler(PROGRESS, Some(move || Instant::now() > deadline))?;
        let mut statement = memory
            .prepare(&query.sqlite)
            .map_err(|error| self.explain(&error))?;
        let declared: Vec<(String, Option<SqlType>)> = statement
            .columns()
            .map(|column| {
                (
                    column.name().to_owned(),
                    column.decl_type().and_then(columns::of_declaration),
                )
            })
            .collect();
        let mut rows = Vec::new();
        let mut found = statement.query([]).map_err(|error| self.explain(&error))?;
        while let Some(row) = found.next().map_err(|error| self.explain(&error))? {
            if rows.len() == ROWS_MAX {
                return Err(M8632.refuse(&[&ROWS_MAX]).into());
            }
            let values: rusqlite::Result<Vec<Value>> = (0..declared.len())
                .map(|at| row.get_ref(at).map(views::value))
                .collect();
            rows.push(values?);
        }
        let columns = declared
            .into_iter()
            .enumerate()
            .map(|(at, (name, sql_type))| Column::new(name, sql_type.unwrap_or_else(|| type_of(&rows, at))))
            .collect();
        Ok(Found { columns, rows })
    }

    /// Fills the views that a query reads, all at one moment of the catalog: it is held from the first of them to the last.
    fn fill(&self, memory: &Connection, wanted: &BTreeSet<String>) -> Result<(), Stop> {
        let scope = Scope {
            database_id: self.database_id,
        };
        let wanted: Vec<_> = wanted.iter().filter_map(|name| columns::view(name)).collect();
        for view in &wanted {
            self.may_read(view.name)?;
        }
        let mut filled = Vec::with_capacity(wanted.len());
        {
            let master = self.instance.master();
            for view in &wanted {
                let rows = views::rows(&master, self.instance.engine(), scope, view.name)?;
                filled.push(self.visible(&master, view.name, rows)?);
            }
        }
        for (view, rows) in wanted.iter().zip(filled) {
            let places = vec!["?"; view.columns.len()].join(", ");
            let mut insert = memory.prepare(&format!("INSERT INTO sys.{} VALUES ({places})", view.name))?;
            for row in rows {
                insert.execute(rusqlite::params_from_iter(row.iter().map(Bound)))?;
            }
        }
        Ok(())
    }

    /// SQLite's complaint as a message that an operator knows.
    fn explain(&self, error: &rusqlite::Error) -> Stop {
        if let Some((number, text)) = crate::tsql::functions::failure(error) {
            return Raised::refusal(number, text).into();
        }
        let text = match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        if let Some((_, name)) = text.split_once("no such table: ") {
            let refusal = M208.refuse(&[&name]);
            if self.database_id == MASTER_ID {
                return refusal.into();
            }
            let file = databases::by_id(&self.instance.master(), self.database_id)
                .ok()
                .flatten()
                .map_or_else(String::new, |database| database.path.display().to_string());
            return refusal
                .and(&format!(
                    "Tables of '{}' are not read through this instance: open its SQLite file {file}.",
                    self.database
                ))
                .into();
        }
        if let Some((_, name)) = text.split_once("no such column: ") {
            return M207.refuse(&[&name]).into();
        }
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => M8645.refuse(&[&TIME_MAX.as_secs()]).into(),
            _ => Raised::refusal(102, format!("The query cannot be run: {text}.")).into(),
        }
    }
}

/// A connection in memory with every view as an empty table in schema `sys`.
fn empty_views() -> rusqlite::Result<Connection> {
    let memory = Connection::open_in_memory()?;
    memory.execute_batch("ATTACH ':memory:' AS sys")?;
    for view in VIEWS {
        let columns: Vec<String> = view
            .columns
            .iter()
            .map(|(name, sql_type)| format!("\"{name}\" {}", columns::declaration(*sql_type)))
            .collect();
        memory.execute_batch(&format!(
            "CREATE TABLE sys.\"{}\" ({})",
            view.name,
            columns.join(", ")
        ))?;
    }
    Ok(memory)
}

/// What a query may do: read the views and call functions. The views that it reads are noted.
fn authorize(context: &AuthContext<'_>, read: &Mutex<BTreeSet<String>>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Allow
        }
        AuthAction::Read { table_name, .. } => {
            if context.database_name == Some("sys") && columns::view(table_name).is_some() {
                read.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(table_name.to_owned());
                Authorization::Allow
            } else if columns::view(table_name).is_none()
                && !table_name.to_ascii_lowercase().starts_with("sqlite_")
            {
                // A subquery or a common table expression by its name: it holds nothing that was not allowed before.
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }
        _ => Authorization::Deny,
    }
}

/// The type of a computed column, after its values.
fn type_of(rows: &[Vec<Value>], at: usize) -> SqlType {
    let first = rows
        .iter()
        .filter_map(|row| row.get(at))
        .find(|value| **value != Value::Null);
    match first {
        Some(Value::Int(number)) if i32::try_from(*number).is_ok() => SqlType::Int,
        Some(Value::Int(_)) => SqlType::BigInt,
        Some(Value::Float(_)) => SqlType::Float,
        Some(Value::Binary(_)) => SqlType::VarBinary(None),
        Some(Value::Text(_) | Value::Null) | None => SqlType::NVarChar(None),
    }
}

/// A value on its way into SQLite.
struct Bound<'a>(&'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Float(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Binary(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

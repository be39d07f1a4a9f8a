//! Results as sqlcmd prints them: columns under headings, as wide as their types.

use std::io::{self, Write};

use crate::tsql::value::{Column, SqlType, Value};

/// Widest column of a type whose length can vary; a longer value is not cut.
const WIDTH_MAX: usize = 256;

/// How tables look.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Rows between headings: 0 once, -1 never.
    pub headers: i32,
    /// No padding.
    pub trim: bool,
    /// Between columns.
    pub separator: String,
}

/// The result set that is being printed.
pub(super) struct Table {
    columns: Vec<(Column, usize)>,
    rows: u64,
}

impl Table {
    /// Begins a result set.
    pub(super) fn begin(layout: &Layout, columns: &[Column], out: &mut dyn Write) -> io::Result<Self> {
        let columns = columns
            .iter()
            .map(|column| (column.clone(), width(column)))
            .collect();
        let table = Self { columns, rows: 0 };
        if layout.headers >= 0 {
            table.heading(layout, out)?;
        }
        Ok(table)
    }

    fn heading(&self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        let names = self.columns.iter().map(|(column, width)| {
            let name = plain(&column.name);
            if layout.trim {
                name
            } else {
                padded(&name, *width, false)
            }
        });
        line(layout, names, out)?;
        let dashes = self.columns.iter().map(|(column, width)| {
            "-".repeat(if layout.trim {
                column.name.chars().count()
            } else {
                *width
            })
        });
        line(layout, dashes, out)
    }

    pub(super) fn row(&mut self, layout: &Layout, values: &[Value], out: &mut dyn Write) -> io::Result<()> {
        let again = u64::try_from(layout.headers)
            .is_ok_and(|every| every > 0 && self.rows > 0 && self.rows.is_multiple_of(every));
        if again {
            writeln!(out)?;
            self.heading(layout, out)?;
        }
        self.rows += 1;
        let cells = self.columns.iter().zip(values).map(|((column, width), value)| {
            let shown = plain(&shown(column.sql_type, value));
            if layout.trim {
                shown.trim_end_matches(' ').to_owned()
            } else {
                padded(&shown, *width, is_number(column.sql_type))
            }
        });
        line(layout, cells, out)
    }
}

/// Cells with the separator between them; a line does not end in blanks.
fn line(layout: &Layout, cells: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    let cells: Vec<String> = cells.collect();
    writeln!(out, "{}", cells.join(&layout.separator).trim_end_matches(' '))
}

fn padded(text: &str, width: usize, right: bool) -> String {
    if right {
        format!("{text:>width$}")
    } else {
        format!("{text:<width$}")
    }
}

fn is_number(sql_type: SqlType) -> bool {
    matches!(
        sql_type,
        SqlType::TinyInt
            | SqlType::SmallInt
            | SqlType::Int
            | SqlType::BigInt
            | SqlType::Numeric(..)
            | SqlType::Float
            | SqlType::Bit
    )
}

/// How wide a column is printed.
fn width(column: &Column) -> usize {
    let of_type = match column.sql_type {
        SqlType::Bit => 1,
        SqlType::TinyInt => 3,
        SqlType::SmallInt => 6,
        SqlType::Int => 11,
        SqlType::BigInt => 20,
        SqlType::Numeric(precision, _) => usize::from(precision) + 2,
        SqlType::Float => 24,
        SqlType::DateTime => 23,
        SqlType::UniqueIdentifier => 36,
        SqlType::SysName => 128,
        SqlType::Char(n) | SqlType::NChar(n) | SqlType::VarChar(Some(n)) | SqlType::NVarChar(Some(n)) => {
            usize::from(n).min(WIDTH_MAX)
        }
        SqlType::VarBinary(Some(n)) => (2 * usize::from(n) + 2).min(WIDTH_MAX),
        SqlType::VarChar(None) | SqlType::NVarChar(None) | SqlType::VarBinary(None) => WIDTH_MAX,
        SqlType::SqlVariant => 128,
    };
    // NULL has four letters.
    of_type.max(column.name.chars().count()).max(4)
}

/// A value as text.
pub(super) fn shown(sql_type: SqlType, value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Binary(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            debug_assert!(sql_type != SqlType::Bit);
            format!("0x{digits}")
        }
    }
}

/// Text without control characters but line ends and tabs, which a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

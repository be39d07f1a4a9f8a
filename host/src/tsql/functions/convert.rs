//! CAST and CONVERT: `tsql_convert(value, type, size, scale, style)`.

use rusqlite::functions::Context as Call;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Error, Result};

use super::{dates, refuse, text};

/// Characters of `CAST(x AS varchar)` without a length.
const DEFAULT_LENGTH: usize = 30;

pub(super) fn failed(value: &str, to: &str) -> Error {
    let shown: String = value.chars().take(64).collect();
    refuse(245, &format!("The text '{shown}' cannot be converted to {to}."))
}

pub(super) fn overflow(to: &str) -> Error {
    refuse(
        8115,
        &format!("Arithmetic overflow: the value does not fit into {to}."),
    )
}

pub(super) fn convert(call: &Call<'_>) -> Result<Value> {
    let value = call.get_raw(0);
    if value == ValueRef::Null {
        return Ok(Value::Null);
    }
    let to: String = call.get(1)?;
    let (size, scale, style): (Option<i64>, Option<i64>, Option<i64>) =
        (call.get(2)?, call.get(3)?, call.get(4)?);
    let lower = to.to_ascii_lowercase();
    match lower.as_str() {
        "bit" => {
            integer(value, "bit", i64::MIN, i64::MAX).map(|number| Value::Integer(i64::from(number != 0)))
        }
        "tinyint" => integer(value, "tinyint", 0, 255).map(Value::Integer),
        "smallint" => integer(value, "smallint", -32_768, 32_767).map(Value::Integer),
        "int" | "integer" => integer(value, "int", -2_147_483_648, 2_147_483_647).map(Value::Integer),
        "bigint" => integer(value, "bigint", i64::MIN, i64::MAX).map(Value::Integer),
        "decimal" | "numeric" => match scale.unwrap_or(0) {
            0 => integer(value, "numeric", i64::MIN, i64::MAX).map(Value::Integer),
            scale => {
                let digits = usize::try_from(scale).ok().filter(|digits| *digits <= 38);
                let digits = digits.ok_or_else(|| overflow("numeric"))?;
                Ok(Value::Text(format!("{:.digits$}", real(value)?)))
            }
        },
        "float" | "real" => real(value).map(Value::Real),
        "char" | "nchar" | "varchar" | "nvarchar" | "sysname" => characters(value, &lower, size, style),
        "binary" | "varbinary" => bytes(value, &lower, size, style),
        "date" => Ok(Value::Text(moment(value)?.strftime("%Y-%m-%d").to_string())),
        "time" => Ok(Value::Text(moment(value)?.strftime("%H:%M:%S.%3f").to_string())),
        "datetime" | "datetime2" | "smalldatetime" => Ok(Value::Text(dates::show(moment(value)?))),
        "uniqueidentifier" => guid(value),
        _ => Value::try_from(value)
            .map_err(|error| Error::FromSqlConversionFailure(0, value.data_type(), error.into())),
    }
}

fn integer(value: ValueRef<'_>, to: &str, low: i64, high: i64) -> Result<i64> {
    let number = match value {
        ValueRef::Integer(number) => number,
        ValueRef::Real(number) => truncate(number).ok_or_else(|| overflow(to))?,
        ValueRef::Blob(bytes) => {
            let last = bytes.get(bytes.len().saturating_sub(8)..).unwrap_or(bytes);
            last.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
        }
        _ => {
            let text = text(value).unwrap_or_default();
            let trimmed = text.trim();
            // An empty text is zero.
            if trimmed.is_empty() {
                0
            } else {
                trimmed.parse().map_err(|_| failed(&text, to))?
            }
        }
    };
    if (low..=high).contains(&number) {
        Ok(number)
    } else {
        Err(overflow(to))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked first, and the fraction is to be cut"
)]
fn truncate(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}

fn real(value: ValueRef<'_>) -> Result<f64> {
    let text = text(value).unwrap_or_default();
    text.trim().parse().map_err(|_| failed(&text, "float"))
}

fn moment(value: ValueRef<'_>) -> Result<jiff::civil::DateTime> {
    let text = text(value).unwrap_or_default();
    dates::read(&text).ok_or_else(|| {
        refuse(
            241,
            "This text is not a date and time: write YYYY-MM-DD hh:mm:ss.",
        )
    })
}

/// How many characters or bytes the type holds; `None` is max.
fn length(to: &str, size: Option<i64>) -> Option<usize> {
    match size {
        None if to == "sysname" => Some(128),
        None => Some(DEFAULT_LENGTH),
        Some(size) => usize::try_from(size).ok(),
    }
}

fn characters(value: ValueRef<'_>, to: &str, size: Option<i64>, style: Option<i64>) -> Result<Value> {
    let shown = match (value, style) {
        (ValueRef::Blob(bytes), Some(1)) => format!("0x{}", hex(bytes)),
        (ValueRef::Blob(bytes), Some(2)) => hex(bytes),
        (_, None | Some(0)) => text(value).unwrap_or_default(),
        (ValueRef::Text(_), Some(style)) => {
            let written = text(value).unwrap_or_default();
            let format = match style {
                20 | 120 => "%Y-%m-%d %H:%M:%S",
                21 | 25 | 121 => "%Y-%m-%d %H:%M:%S.%3f",
                23 => "%Y-%m-%d",
                101 => "%m/%d/%Y",
                103 => "%d/%m/%Y",
                104 => "%d.%m.%Y",
                8 | 108 => "%H:%M:%S",
                112 => "%Y%m%d",
                126 => "%Y-%m-%dT%H:%M:%S.%3f",
                127 => "%Y-%m-%dT%H:%M:%S.%3fZ",
                _ => {
                    return Err(refuse(
                        281,
                        &format!("{style} is not a style that this server knows."),
                    ));
                }
            };
            // A style says something about dates only.
            dates::read(&written).map_or(written, |moment| moment.strftime(format).to_string())
        }
        _ => text(value).unwrap_or_default(),
    };
    let limit = length(to, size);
    let mut cut: String = limit.map_or_else(|| shown.clone(), |limit| shown.chars().take(limit).collect());
    if let (ValueRef::Integer(_), true) = (value, cut.len() < shown.len()) {
        // A number is not cut: it becomes a star.
        cut = "*".to_owned();
    }
    if let ("char" | "nchar", Some(limit)) = (to, limit) {
        let missing = limit.saturating_sub(cut.chars().count());
        cut.extend(std::iter::repeat_n(' ', missing));
    }
    Ok(Value::Text(cut))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn bytes(value: ValueRef<'_>, to: &str, size: Option<i64>, style: Option<i64>) -> Result<Value> {
    let mut bytes = match (value, style) {
        (ValueRef::Text(_), Some(style @ (1 | 2))) => {
            let written = text(value).unwrap_or_default();
            let digits = if style == 1 {
                written.strip_prefix("0x")
            } else {
                Some(written.as_str())
            };
            digits
                .and_then(unhex)
                .ok_or_else(|| failed(&written, "varbinary"))?
        }
        (ValueRef::Text(bytes) | ValueRef::Blob(bytes), _) => bytes.to_vec(),
        (ValueRef::Integer(number), _) => match i32::try_from(number) {
            Ok(number) => number.to_be_bytes().to_vec(),
            Err(_) => number.to_be_bytes().to_vec(),
        },
        (ValueRef::Real(number), _) => number.to_be_bytes().to_vec(),
        (ValueRef::Null, _) => return Ok(Value::Null),
    };
    if let Some(limit) = length(to, size) {
        bytes.truncate(limit);
        if to == "binary" {
            bytes.resize(limit, 0);
        }
    }
    Ok(Value::Blob(bytes))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            core::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect()
}

fn guid(value: ValueRef<'_>) -> Result<Value> {
    let written = text(value).unwrap_or_default();
    let bare = written.trim().trim_start_matches('{').trim_end_matches('}');
    let fits = bare.len() == 36
        && bare.bytes().enumerate().all(|(at, byte)| {
            if matches!(at, 8 | 13 | 18 | 23) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    if !fits {
        return Err(refuse(8169, "This text is not a uniqueidentifier."));
    }
    Ok(Value::Text(bare.to_ascii_uppercase()))
}

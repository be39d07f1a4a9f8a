//! What is inside the frames. Numbers are little-endian, a text is its length (`u32`) and its UTF-8.

use zeroize::Zeroizing;

use super::frame::{FRAME_LENGTH_MAX, Frame};
use super::session::Message;
use crate::tsql::value::{Column, SqlType, Value};

/// Version of this protocol. A client and an instance of different versions refuse each other, naming both.
pub(super) const VERSION: u16 = 1;

/// Begins the first frame of a client.
const MAGIC: [u8; 4] = *b"DBMA";

/// Longest first frame of a client.
pub(super) const HELLO_LENGTH_MAX: usize = 16;

/// Longest frame of a client.
pub(super) const REQUEST_LENGTH_MAX: usize = crate::tsql::BATCH_LENGTH_MAX + 1;

/// Most columns of a result.
const COLUMNS_MAX: usize = 4_096;

/// Why a frame means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// From a client.
pub(super) enum Request {
    /// The first frame: the version that the client speaks.
    Hello { version: u16 },
    /// A batch.
    Batch { text: Zeroizing<String> },
}

impl Request {
    const HELLO: u8 = 1;
    const BATCH: u8 = 2;

    pub(super) fn encode(&self) -> (u8, Zeroizing<Vec<u8>>) {
        match self {
            Request::Hello { version } => {
                let mut payload = MAGIC.to_vec();
                payload.extend(version.to_le_bytes());
                (Self::HELLO, Zeroizing::new(payload))
            }
            Request::Batch { text } => (Self::BATCH, Zeroizing::new(text.as_bytes().to_vec())),
        }
    }

    pub(super) fn decode(frame: Frame) -> Result<Self, Malformed> {
        match frame.kind {
            Self::HELLO => {
                let mut input = Input(&frame.payload);
                if input.array::<4>()? != MAGIC {
                    return Err(Malformed("this is no admin client"));
                }
                let version = input.u16()?;
                // A later version may say more; what it says first must stay readable.
                Ok(Request::Hello { version })
            }
            Self::BATCH => {
                let text =
                    core::str::from_utf8(&frame.payload).map_err(|_| Malformed("the batch is not UTF-8"))?;
                Ok(Request::Batch {
                    text: Zeroizing::new(text.to_owned()),
                })
            }
            _ => Err(Malformed("an unknown kind of request")),
        }
    }
}

/// From an instance.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// The answer to a hello.
    Welcome {
        version: u16,
        instance: String,
        database: String,
    },
    /// The connection ends, and why.
    Refused { text: String },
    /// A result set begins.
    Columns(Vec<Column>),
    /// A row of it.
    Row(Vec<Value>),
    /// A result set is complete.
    RowsAffected(u64),
    /// Information or an error.
    Message(Message),
    /// The current database.
    Database(String),
    /// The batch has ended.
    Done,
}

impl Reply {
    const WELCOME: u8 = 0x81;
    const REFUSED: u8 = 0x82;
    const COLUMNS: u8 = 0x83;
    const ROW: u8 = 0x84;
    const ROWS_AFFECTED: u8 = 0x85;
    const MESSAGE: u8 = 0x86;
    const DATABASE: u8 = 0x87;
    const DONE: u8 = 0x88;

    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        let kind = match self {
            Reply::Welcome {
                version,
                instance,
                database,
            } => {
                out.extend(version.to_le_bytes());
                put_text(&mut out, instance);
                put_text(&mut out, database);
                Self::WELCOME
            }
            Reply::Refused { text } => {
                put_text(&mut out, text);
                Self::REFUSED
            }
            Reply::Columns(columns) => {
                put_columns(&mut out, columns);
                Self::COLUMNS
            }
            Reply::Row(values) => {
                put_row(&mut out, values);
                Self::ROW
            }
            Reply::RowsAffected(rows) => {
                out.extend(rows.to_le_bytes());
                Self::ROWS_AFFECTED
            }
            Reply::Message(message) => {
                put_message(&mut out, message);
                Self::MESSAGE
            }
            Reply::Database(name) => {
                put_text(&mut out, name);
                Self::DATABASE
            }
            Reply::Done => Self::DONE,
        };
        (kind, out)
    }

    pub(super) fn decode(frame: &Frame) -> Result<Self, Malformed> {
        let mut input = Input(&frame.payload);
        let reply = match frame.kind {
            Self::WELCOME => Reply::Welcome {
                version: input.u16()?,
                instance: input.text()?,
                database: input.text()?,
            },
            Self::REFUSED => Reply::Refused { text: input.text()? },
            Self::COLUMNS => Reply::Columns(columns(&mut input)?),
            Self::ROW => Reply::Row(row(&mut input)?),
            Self::ROWS_AFFECTED => Reply::RowsAffected(u64::from_le_bytes(input.array()?)),
            Self::MESSAGE => Reply::Message(message(&mut input)?),
            Self::DATABASE => Reply::Database(input.text()?),
            Self::DONE => Reply::Done,
            _ => return Err(Malformed("an unknown kind of reply")),
        };
        if input.0.is_empty() {
            Ok(reply)
        } else {
            Err(Malformed("bytes behind the end of a reply"))
        }
    }
}

// -- writing

fn put_length(out: &mut Vec<u8>, length: usize) {
    // What is written is far below the limit of a frame, which is far below that of u32.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_columns(out: &mut Vec<u8>, columns: &[Column]) {
    put_length(out, columns.len());
    for column in columns {
        put_text(out, &column.name);
        let (tag, first, second) = type_code(column.sql_type);
        out.push(tag);
        out.extend(first.to_le_bytes());
        out.push(second);
    }
}

fn put_row(out: &mut Vec<u8>, values: &[Value]) {
    put_length(out, values.len());
    for value in values {
        match value {
            Value::Null => out.push(0),
            Value::Int(number) => {
                out.push(1);
                out.extend(number.to_le_bytes());
            }
            Value::Float(number) => {
                out.push(2);
                out.extend(number.to_bits().to_le_bytes());
            }
            Value::Text(text) => {
                out.push(3);
                put_text(out, text);
            }
            Value::Binary(bytes) => {
                out.push(4);
                put_bytes(out, bytes);
            }
        }
    }
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    out.extend(message.number.to_le_bytes());
    out.push(message.severity);
    out.push(message.state);
    out.extend(message.line.to_le_bytes());
    put_text(out, message.procedure.as_deref().unwrap_or(""));
    put_text(out, &message.text);
}

/// Tag, length or precision, scale. A length of 0 is max.
fn type_code(sql_type: SqlType) -> (u8, u16, u8) {
    match sql_type {
        SqlType::Bit => (1, 0, 0),
        SqlType::TinyInt => (2, 0, 0),
        SqlType::SmallInt => (3, 0, 0),
        SqlType::Int => (4, 0, 0),
        SqlType::BigInt => (5, 0, 0),
        SqlType::Numeric(precision, scale) => (6, precision.into(), scale),
        SqlType::Float => (7, 0, 0),
        SqlType::Char(n) => (8, n, 0),
        SqlType::VarChar(n) => (9, n.unwrap_or(0), 0),
        SqlType::NChar(n) => (10, n, 0),
        SqlType::NVarChar(n) => (11, n.unwrap_or(0), 0),
        SqlType::SysName => (12, 0, 0),
        SqlType::DateTime => (13, 0, 0),
        SqlType::UniqueIdentifier => (14, 0, 0),
        SqlType::VarBinary(n) => (15, n.unwrap_or(0), 0),
        SqlType::SqlVariant => (16, 0, 0),
    }
}

fn sql_type(tag: u8, first: u16, second: u8) -> Result<SqlType, Malformed> {
    let length = (first != 0).then_some(first);
    Ok(match tag {
        1 => SqlType::Bit,
        2 => SqlType::TinyInt,
        3 => SqlType::SmallInt,
        4 => SqlType::Int,
        5 => SqlType::BigInt,
        6 => SqlType::Numeric(
            u8::try_from(first).map_err(|_| Malformed("an impossible precision"))?,
            second,
        ),
        7 => SqlType::Float,
        8 => SqlType::Char(first),
        9 => SqlType::VarChar(length),
        10 => SqlType::NChar(first),
        11 => SqlType::NVarChar(length),
        12 => SqlType::SysName,
        13 => SqlType::DateTime,
        14 => SqlType::UniqueIdentifier,
        15 => SqlType::VarBinary(length),
        16 => SqlType::SqlVariant,
        _ => return Err(Malformed("an unknown type")),
    })
}

/// A row that fits into a frame: values that are too long are cut, longest first. Says whether it had to.
pub(super) fn fitting(values: &[Value]) -> (Vec<Value>, bool) {
    const ROOM: usize = FRAME_LENGTH_MAX / 2;
    let length = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Binary(bytes) => bytes.len(),
        _ => 8,
    };
    let mut values = values.to_vec();
    let mut cut = false;
    while values.iter().map(length).sum::<usize>() > ROOM {
        let Some(longest) = values.iter_mut().max_by_key(|value| length(value)) else {
            break;
        };
        match longest {
            Value::Text(text) => {
                let mut end = text.len() / 2;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
            }
            Value::Binary(bytes) => bytes.truncate(bytes.len() / 2),
            _ => break,
        }
        cut = true;
    }
    (values, cut)
}

// -- reading

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a field ends behind its frame"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| Malformed("an impossible length"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        core::str::from_utf8(self.bytes()?)
            .map(str::to_owned)
            .map_err(|_| Malformed("a text that is not UTF-8"))
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.length()?;
        if count > COLUMNS_MAX {
            Err(Malformed("too many columns"))
        } else {
            Ok(count)
        }
    }
}

fn columns(input: &mut Input<'_>) -> Result<Vec<Column>, Malformed> {
    let count = input.count()?;
    (0..count)
        .map(|_| {
            let name = input.text()?;
            let sql_type = sql_type(input.u8()?, input.u16()?, input.u8()?)?;
            Ok(Column { name, sql_type })
        })
        .collect()
}

fn row(input: &mut Input<'_>) -> Result<Vec<Value>, Malformed> {
    let count = input.count()?;
    (0..count)
        .map(|_| {
            Ok(match input.u8()? {
                0 => Value::Null,
                1 => Value::Int(i64::from_le_bytes(input.array()?)),
                2 => Value::Float(f64::from_bits(u64::from_le_bytes(input.array()?))),
                3 => Value::Text(input.text()?),
                4 => Value::Binary(input.bytes()?.to_vec()),
                _ => return Err(Malformed("an unknown kind of value")),
            })
        })
        .collect()
}

fn message(input: &mut Input<'_>) -> Result<Message, Malformed> {
    Ok(Message {
        number: input.u32()?,
        severity: input.u8()?,
        state: input.u8()?,
        line: input.u32()?,
        procedure: Some(input.text()?).filter(|procedure| !procedure.is_empty()),
        text: input.text()?,
    })
}

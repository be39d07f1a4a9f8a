//! Transact-SQL: from the text of a batch to a typed syntax tree (`docs/tsql.md`).
//!
//! A batch is parsed as a whole before any of it runs: either every statement is understood, or nothing happens
//! and the first thing that was not understood is reported with its number and line.

pub mod ast;
pub mod error;
pub mod functions;
mod keywords;
mod lexer;
mod parser;
mod select;
pub mod span;
pub mod value;

pub use error::SyntaxError;
pub use keywords::is_reserved;
pub use lexer::IDENTIFIER_LENGTH_MAX;
pub use parser::parse;
pub use span::Span;
pub use value::{Column, SqlType, Value};

/// Longest batch, in bytes.
pub const BATCH_LENGTH_MAX: usize = 1 << 20;

//! Transact-SQL: from the text of a batch to a typed syntax tree (`docs/tsql.md`).
//!
//! A batch is parsed as a whole before any of it runs: either every statement is understood, or nothing happens
//! and the first thing that was not understood is reported with its number and line.

pub mod ast;
pub mod span;
pub mod value;

pub use span::Span;
pub use value::{Column, SqlType, Value};

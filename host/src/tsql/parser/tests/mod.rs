mod databases;
mod robustness;
mod security;

use super::parse;
use crate::tsql::ast::StatementKind;

pub(super) fn one(text: &str) -> StatementKind {
    let mut batch = parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(batch.statements.len(), 1, "{text}");
    batch.statements.remove(0).kind
}

/// Number, severity and line of the refusal.
pub(super) fn refused(text: &str) -> (u32, u8, u32) {
    match parse(text) {
        Err(error) => (error.number, error.severity, error.line),
        Ok(batch) => panic!("{text}\n{batch:?}"),
    }
}

fn text_of(error_in: &str) -> String {
    parse(error_in).unwrap_err().text
}

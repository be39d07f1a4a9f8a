//! `dbmirror test-connection`: the instance dials, authenticates and reports each step; this prints them.

use crate::cli::{Format, TestConnectionArgs};
use crate::steps;
use crate::tsql::Value;

/// Runs the test; returns the exit code: 6 when a step failed.
#[must_use]
pub fn run(args: &TestConnectionArgs) -> u8 {
    let batch = format!(
        "EXEC sp_dbmirror_test_connection {}, {}",
        steps::literal(&args.address),
        args.hold
    );
    steps::run(&args.server, &batch, args.format, line)
}

fn line(format: Format, row: &[Value]) -> Option<String> {
    let [Value::Text(step), Value::Int(ok), Value::Text(detail)] = row else {
        return None;
    };
    Some(match format {
        Format::Json => serde_json::json!({"step": step, "ok": *ok != 0, "detail": detail}).to_string(),
        Format::Table => format!("{:<4} {step:<12} {detail}", if *ok != 0 { "ok" } else { "FAIL" }),
    })
}

//! One line per check, and a verdict.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a line. Whether somebody still reads (`| head`) changes nothing about what is done, so `println!`, which would panic, is not for this.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The checks made so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    what: String,
    passed: bool,
    detail: String,
}

impl Report {
    /// Adds a check: what should hold, whether it does, and what was seen.
    pub(super) fn check(&mut self, what: &str, passed: bool, detail: String) {
        self.checks.push(Check {
            what: what.to_owned(),
            passed,
            detail,
        });
    }

    /// Prints every line and the verdict; `true` when all passed.
    pub(super) fn print(&self) -> bool {
        let passed = !self.checks.is_empty() && self.checks.iter().all(|check| check.passed);
        say("");
        for check in &self.checks {
            let mark = if check.passed { "ok  " } else { "FAIL" };
            say(format_args!("{mark} {}: {}", check.what, check.detail));
        }
        say(format_args!(
            "quickstart: {}",
            if passed { "PASS" } else { "FAIL" }
        ));
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_run_and_none_is_no_pass() {
        let mut report = Report::default();
        assert!(!report.print(), "nothing checked is not a pass");
        report.check("a", true, String::new());
        assert!(report.print());
        report.check("b", false, String::new());
        assert!(!report.print());
    }
}

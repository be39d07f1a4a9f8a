//! One line per check, and a verdict.

use super::{Failure, say};

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
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print(&self) -> Result<bool, Failure> {
        let passed = !self.checks.is_empty() && self.checks.iter().all(|check| check.passed);
        say("")?;
        for check in &self.checks {
            let mark = if check.passed { "ok  " } else { "FAIL" };
            say(format_args!("{mark} {}: {}", check.what, check.detail))?;
        }
        say(format_args!(
            "quickstart: {}",
            if passed { "PASS" } else { "FAIL" }
        ))?;
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_run_and_none_is_no_pass() {
        let mut report = Report::default();
        assert!(!report.print().unwrap(), "nothing checked is not a pass");
        report.check("a", true, String::new());
        assert!(report.print().unwrap());
        report.check("b", false, String::new());
        assert!(!report.print().unwrap());
    }
}

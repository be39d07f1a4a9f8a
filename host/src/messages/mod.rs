//! The messages that the instance can raise: number, severity, text.
//!
//! Numbers and severities are those that operators of database mirroring know; the texts are our own and say what happened, the
//! likely cause and what to do. `docs/operations.md` tells how they reach the client and the error log.

mod table;

pub use table::*;

use std::fmt;

/// One line of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// The message number.
    pub number: u32,
    /// The severity as listed: 0–10 informs, 11–16 refuses a statement, 17–25 tells of a failure of the instance.
    pub severity: u8,
    /// The text, with `{0}`, `{1}` … where parameters go.
    pub text: &'static str,
}

/// A message on its way to a client or to the error log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The message number.
    pub number: u32,
    /// The severity (`Level` in the client's print).
    pub severity: u8,
    /// Tells apart places that raise the same number.
    pub state: u8,
    /// The text with its parameters filled in.
    pub text: String,
}

/// The severity from which on a message refuses the statement.
pub const SEVERITY_ERROR: u8 = 11;

impl Entry {
    const fn new(number: u32, severity: u8, text: &'static str) -> Self {
        Self {
            number,
            severity,
            text,
        }
    }

    /// The message as the refusal of a statement: a severity that is listed below 11 is raised at 16.
    #[must_use]
    pub fn refuse(&self, parameters: &[&dyn fmt::Display]) -> Raised {
        let severity = if self.severity < SEVERITY_ERROR {
            16
        } else {
            self.severity
        };
        Raised {
            number: self.number,
            severity,
            state: 1,
            text: fill(self.text, parameters),
        }
    }

    /// The message as information: the statement goes on.
    #[must_use]
    pub fn inform(&self, parameters: &[&dyn fmt::Display]) -> Raised {
        Raised {
            number: self.number,
            severity: self.severity.min(10),
            state: 1,
            text: fill(self.text, parameters),
        }
    }
}

impl Raised {
    /// A message in words of the moment; the severity is that of the catalogue, or 16, and never below 11.
    #[must_use]
    pub fn refusal(number: u32, text: impl Into<String>) -> Self {
        let listed = lookup(number).map_or(16, |entry| entry.severity);
        Self {
            number,
            severity: if listed < SEVERITY_ERROR { 16 } else { listed },
            state: 1,
            text: text.into(),
        }
    }

    /// Plain text for the client: what PRINT sends.
    #[must_use]
    pub fn print(text: impl Into<String>) -> Self {
        Self {
            number: 0,
            severity: 0,
            state: 1,
            text: text.into(),
        }
    }

    /// The same message with another state.
    #[must_use]
    pub fn with_state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }

    /// The same message with `more` said at its end.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.text.push(' ');
        self.text.push_str(more);
        self
    }

    /// Whether it refuses the statement.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.severity >= SEVERITY_ERROR
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Msg {}, Level {}, State {}: {}",
            self.number, self.severity, self.state, self.text
        )
    }
}

impl std::error::Error for Raised {}

impl From<rusqlite::Error> for Raised {
    /// A failure of `master.db` itself: nothing that a statement could have done better.
    fn from(error: rusqlite::Error) -> Self {
        M50109.refuse(&[&error])
    }
}

impl From<crate::engine::EngineError> for Raised {
    fn from(error: crate::engine::EngineError) -> Self {
        let number = u32::try_from(error.number).unwrap_or(0);
        Self {
            state: error.state,
            ..Self::refusal(number, error.text)
        }
    }
}

/// The entry of `number`.
#[must_use]
pub fn lookup(number: u32) -> Option<&'static Entry> {
    ALL.iter().copied().find(|entry| entry.number == number)
}

/// Puts `parameters` in the places of `{0}` … `{9}`; a parameter is never searched for places.
fn fill(template: &str, parameters: &[&dyn fmt::Display]) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let bytes = tail.as_bytes();
        match (bytes.get(1), bytes.get(2)) {
            (Some(digit @ b'0'..=b'9'), Some(b'}')) => {
                if let Some(value) = parameters.get(usize::from(digit - b'0')) {
                    let _ = write!(out, "{value}");
                }
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push('{');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_fill_their_places_and_are_not_searched() {
        assert_eq!(fill("a {0} b {1} {", &[&"{1}", &7]), "a {1} b 7 {");
    }

    #[test]
    fn numbers_are_unique_and_texts_end_as_sentences() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in ALL {
            assert!(seen.insert(entry.number), "{} twice", entry.number);
            assert!(entry.severity <= 25, "{}", entry.number);
            assert!(entry.text.ends_with(['.', '}']), "{}", entry.number);
        }
    }

    /// The lines of all sources outside of tests that are no comments, but for those of the catalogue itself.
    fn sources() -> String {
        fn gather(dir: &std::path::Path, out: &mut String) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() {
                    if name != "tests" {
                        gather(&path, out);
                    }
                } else if name.ends_with(".rs") && name != "tests.rs" && !path.ends_with("messages/table.rs")
                {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                        out.push_str(line.trim());
                        out.push('\n');
                    }
                }
            }
        }
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut out = String::new();
        gather(&here.join("src"), &mut out);
        gather(&here.join("../core/src"), &mut out);
        out
    }

    /// `sys.messages` is what an instance can raise: each number of it stands somewhere in the code, as a number or as its constant.
    #[test]
    fn every_message_of_the_catalogue_can_be_raised() {
        let sources = sources();
        let words: std::collections::BTreeSet<&str> = sources
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        for entry in ALL {
            let number = entry.number.to_string();
            let name = format!("M{number}");
            assert!(
                words.contains(number.as_str()) || words.contains(name.as_str()),
                "nothing raises {number}"
            );
        }
    }

    /// And a number that the code refuses something with stands in it.
    #[test]
    fn every_number_that_refuses_is_in_the_catalogue() {
        let sources = sources();
        let mut seen = 0;
        for raises in [
            "SessionError::new(",
            "EngineError::new(",
            "SyntaxError::new(",
            "Raised::refusal(",
            "refuse(",
            "Self::new(",
        ] {
            for (at, found) in sources.match_indices(raises) {
                let behind = sources[at + found.len()..].trim_start();
                let (number, rest) = behind.split_at(behind.find(|c: char| !c.is_ascii_digit()).unwrap());
                if number.len() < 3 || !rest.starts_with(',') {
                    continue;
                }
                seen += 1;
                assert!(
                    lookup(number.parse().unwrap()).is_some(),
                    "{number} is not in the catalogue"
                );
            }
        }
        assert!(seen > 150, "{seen}");
        // Why connections end.
        let closes = include_str!("../../../core/src/endpoint/close.rs");
        let numbers: Vec<u32> = closes
            .split("=> ")
            .filter_map(|arm| arm.split(',').next()?.parse().ok())
            .filter(|number| *number > 0)
            .collect();
        assert!(numbers.len() > 20, "{numbers:?}");
        for number in numbers {
            assert!(lookup(number).is_some(), "{number} is not in the catalogue");
        }
    }

    #[test]
    fn a_refusal_never_stays_below_eleven() {
        assert_eq!(M9666.severity, 10);
        assert_eq!(M9666.refuse(&[]).severity, 16);
        assert_eq!(M15214.inform(&[&"x"]).severity, 10);
    }
}

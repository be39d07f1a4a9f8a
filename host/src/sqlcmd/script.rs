//! From a script's lines to batches: `GO`, scripting variables, and the few commands that begin with a colon.
//!
//! A line is looked at as a command only where a statement could begin: inside a comment, a string or a quoted
//! name, `GO` is text.

use std::collections::HashMap;
use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use crate::cli::{is_variable_character, is_variable_name};

/// Longest batch that is gathered; the instance takes less and says so.
const BATCH_LENGTH_MAX: usize = 16 << 20;

/// Most repetitions of a batch.
const REPEAT_MAX: u32 = 100_000;

/// What a line of a script brings about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch is complete: run it so many times.
    Run { batch: Zeroizing<String>, times: u32 },
    /// `:on error exit` (true) or `:on error ignore` (false).
    OnError(bool),
    /// `QUIT` or `EXIT`: what was not run is forgotten.
    Quit,
}

/// A script that cannot be understood; nothing more of it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptError {
    /// Line of the script, from 1.
    pub line: u32,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Where in the text the scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    /// Inside a string or quoted name that ends with this character. A doubled one ends and begins again.
    Quoted(char),
    /// Inside so many block comments.
    Comment(u32),
}

/// Gathers lines into batches.
pub(crate) struct Splitter {
    variables: HashMap<String, String>,
    batch: Zeroizing<String>,
    state: State,
    line: u32,
}

impl Splitter {
    /// At the beginning of a script. Variables keep their values from one script to the next.
    pub(crate) fn new(variables: &[(String, String)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        Self {
            variables,
            batch: Zeroizing::default(),
            state: State::Plain,
            line: 0,
        }
    }

    /// Another script begins: its lines are counted from 1.
    pub(crate) fn next_script(&mut self) {
        self.line = 0;
    }

    /// How many lines the batch has so far.
    pub(crate) fn lines_pending(&self) -> usize {
        self.batch.matches('\n').count()
    }

    /// Takes one line, without its end.
    pub(crate) fn line(&mut self, line: &str) -> Result<Option<Step>, ScriptError> {
        self.line += 1;
        if self.state == State::Plain
            && let Some(command) = self.command(line)?
        {
            return Ok(command.step);
        }
        self.append(line)?;
        if self.batch.len() > BATCH_LENGTH_MAX {
            return Err(self.error("the batch is too long; split it with GO"));
        }
        Ok(None)
    }

    /// The end of a script: what is left is a batch.
    pub(crate) fn finish(&mut self) -> Option<Step> {
        self.state = State::Plain;
        self.take(1)
    }

    fn error(&self, text: impl Into<String>) -> ScriptError {
        ScriptError {
            line: self.line,
            text: text.into(),
        }
    }

    fn take(&mut self, times: u32) -> Option<Step> {
        let batch = std::mem::take(&mut self.batch);
        (!batch.trim().is_empty()).then_some(Step::Run { batch, times })
    }

    /// If the line is a command, what it does.
    fn command(&mut self, line: &str) -> Result<Option<Command>, ScriptError> {
        let line = line.trim_matches(is_blank);
        if let Some(command) = line.strip_prefix(':') {
            return self.colon(command).map(|step| Some(Command { step }));
        }
        let (word, rest) = line.split_once(is_blank).unwrap_or((line, ""));
        if word.eq_ignore_ascii_case("GO") {
            let times = self.repetitions(rest)?;
            return Ok(Some(Command {
                step: self.take(times),
            }));
        }
        if line.eq_ignore_ascii_case("QUIT") || line.eq_ignore_ascii_case("EXIT") {
            return Ok(Some(Command {
                step: Some(Step::Quit),
            }));
        }
        Ok(None)
    }

    /// Behind GO: nothing or a number, and perhaps a comment.
    fn repetitions(&self, rest: &str) -> Result<u32, ScriptError> {
        let count = rest
            .split_once("--")
            .map_or(rest, |(count, _)| count)
            .trim_matches(is_blank);
        if count.is_empty() {
            return Ok(1);
        }
        let number = count.parse().ok().filter(|n| (1..=REPEAT_MAX).contains(n));
        number.ok_or_else(|| {
            self.error(format!(
                "only a number of repetitions (1 to {REPEAT_MAX}) can follow GO"
            ))
        })
    }

    fn colon(&mut self, command: &str) -> Result<Option<Step>, ScriptError> {
        let mut words = command.split_whitespace();
        let word = words.next().unwrap_or("").to_ascii_lowercase();
        match word.as_str() {
            "setvar" => {
                let name = words.next().unwrap_or("");
                if !is_variable_name(name) {
                    return Err(self.error(":setvar needs a name of letters, digits, '_' and '-'"));
                }
                let value = command.split_once(name).map_or("", |(_, value)| value.trim());
                let bare = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .unwrap_or(value);
                if value.is_empty() {
                    self.variables.remove(&name.to_lowercase());
                } else {
                    self.variables.insert(name.to_lowercase(), bare.to_owned());
                }
                Ok(None)
            }
            "on" => {
                let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
                match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    ["error", "exit"] => Ok(Some(Step::OnError(true))),
                    ["error", "ignore"] => Ok(Some(Step::OnError(false))),
                    _ => Err(self.error("expected ':on error exit' or ':on error ignore'")),
                }
            }
            "quit" | "exit" => Ok(Some(Step::Quit)),
            "reset" => {
                self.batch.zeroize();
                Ok(None)
            }
            _ => Err(self.error(format!("the command ':{word}' is not known"))),
        }
    }

    /// Adds a line to the batch, with its variables replaced, and follows quotes and comments through it.
    fn append(&mut self, line: &str) -> Result<(), ScriptError> {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let mut length = c.len_utf8();
            match self.state {
                State::Plain if rest.starts_with("--") => length = rest.len(),
                State::Plain | State::Comment(_) if rest.starts_with("/*") => {
                    length = 2;
                    self.state = match self.state {
                        State::Comment(depth) => State::Comment(depth.saturating_add(1)),
                        _ => State::Comment(1),
                    };
                }
                State::Comment(depth) if rest.starts_with("*/") => {
                    length = 2;
                    self.state = if depth > 1 {
                        State::Comment(depth - 1)
                    } else {
                        State::Plain
                    };
                }
                State::Comment(_) => {}
                State::Plain | State::Quoted(_) if rest.starts_with("$(") => {
                    if let Some(name) = reference(rest) {
                        let Some(value) = self.variables.get(&name.to_lowercase()).cloned() else {
                            return Err(self.error(format!("the scripting variable '{name}' is not defined")));
                        };
                        self.follow(&value);
                        self.batch.push_str(&value);
                        rest = rest.get(name.len() + 3..).unwrap_or("");
                        continue;
                    }
                }
                State::Plain | State::Quoted(_) => self.follow_character(c),
            }
            self.batch.push_str(rest.get(..length).unwrap_or(""));
            rest = rest.get(length..).unwrap_or("");
        }
        self.batch.push('\n');
        Ok(())
    }

    /// Quotes in a variable's value open and close like those of the script.
    fn follow(&mut self, value: &str) {
        for c in value.chars() {
            self.follow_character(c);
        }
    }

    fn follow_character(&mut self, c: char) {
        self.state = match (self.state, c) {
            (State::Plain, '\'' | '"') => State::Quoted(c),
            (State::Plain, '[') => State::Quoted(']'),
            (State::Quoted(end), c) if c == end => State::Plain,
            (state, _) => state,
        };
    }
}

/// A line that was a command, with what it brings about, if anything.
struct Command {
    step: Option<Step>,
}

/// `$(name)` at the beginning: the name.
fn reference(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("$(")?;
    let name = rest.get(..rest.find(|c| !is_variable_character(c))?)?;
    (is_variable_name(name) && rest.get(name.len()..)?.starts_with(')')).then_some(name)
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

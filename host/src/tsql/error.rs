//! What a batch that cannot be parsed is refused with.

use core::fmt;

/// The first thing in a batch that was not understood. Numbers and severities are the documented ones
/// (`docs/tsql.md`, "Errors of the parser"). The text never repeats a string constant, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Message number.
    pub number: u32,
    /// Severity: 15 for syntax, 16 for what is understood and not available.
    pub severity: u8,
    /// State.
    pub state: u8,
    /// Line within the batch, from 1.
    pub line: u32,
    /// What happened and what was expected.
    pub text: String,
}

impl SyntaxError {
    pub(super) fn new(number: u32, severity: u8, line: u32, text: impl Into<String>) -> Self {
        Self {
            number,
            severity,
            state: 1,
            line,
            text: text.into(),
        }
    }

    const fn with_state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }

    /// 102: something that does not belong here.
    pub(super) fn near(line: u32, what: &str, expected: &str) -> Self {
        let hint = if expected.is_empty() {
            String::new()
        } else {
            format!(" Expected: {expected}.")
        };
        Self::new(102, 15, line, format!("Incorrect syntax near {what}.{hint}"))
    }

    /// 103: an identifier of more than 128 characters.
    pub(super) fn identifier_too_long(line: u32, beginning: &str) -> Self {
        let text =
            format!("The identifier that begins with '{beginning}' is too long; 128 characters are allowed.");
        Self::new(103, 15, line, text).with_state(4)
    }

    /// 105: a quote or bracket without its end.
    pub(super) fn unclosed_quote(line: u32, quote: char) -> Self {
        Self::new(
            105,
            15,
            line,
            format!("Unclosed quotation mark: the {quote} that opens on this line has no end."),
        )
    }

    /// 113: a comment without its end.
    pub(super) fn unclosed_comment(line: u32) -> Self {
        Self::new(
            113,
            15,
            line,
            "The comment that begins on this line has no end mark '*/'.",
        )
    }

    /// 137: a variable.
    pub(super) fn undeclared_variable(line: u32, name: &str) -> Self {
        let text = format!("The scalar variable \"{name}\" is not declared; this server has no variables.");
        Self::new(137, 15, line, text).with_state(2)
    }

    /// 156: a reserved word that does not belong here.
    pub(super) fn near_keyword(line: u32, keyword: &str, expected: &str) -> Self {
        let hint = if expected.is_empty() {
            String::new()
        } else {
            format!(" Expected: {expected}.")
        };
        Self::new(
            156,
            15,
            line,
            format!("Incorrect syntax near the keyword '{keyword}'.{hint}"),
        )
    }

    /// 191: nested too deeply.
    pub(super) fn too_deep(line: u32) -> Self {
        Self::new(
            191,
            15,
            line,
            "This statement is nested too deeply. Write it with fewer parentheses and subqueries.",
        )
    }

    /// 195: a function that does not exist here.
    pub(super) fn unknown_function(line: u32, name: &str) -> Self {
        Self::new(
            195,
            15,
            line,
            format!("'{name}' is not a function that this server knows."),
        )
        .with_state(10)
    }

    /// 243: a type that does not exist here.
    pub(super) fn unknown_type(line: u32, name: &str) -> Self {
        Self::new(
            243,
            16,
            line,
            format!("Type '{name}' is not a type that this server knows."),
        )
    }

    /// 319: WITH behind a statement that was not ended.
    pub(super) fn with_needs_semicolon(line: u32) -> Self {
        let text = "Incorrect syntax near the keyword 'with'. Where it begins a common table expression, the \
                    statement before it must end with a semicolon.";
        Self::new(319, 15, line, text)
    }

    /// 1038: an empty name.
    pub(super) fn empty_name(line: u32) -> Self {
        Self::new(
            1038,
            15,
            line,
            "A name is missing or empty: [] and \"\" name nothing.",
        )
        .with_state(4)
    }

    /// 7801: a parameter that has no default is missing.
    pub(super) fn missing_parameter(line: u32, name: &str, statement: &str) -> Self {
        Self::new(
            7801,
            15,
            line,
            format!("{statement} needs the parameter {name}, which has no default."),
        )
    }

    /// 7803: a clause that the statement does not take.
    pub(super) fn clause_not_allowed(line: u32, clause: &str, statement: &str) -> Self {
        Self::new(
            7803,
            15,
            line,
            format!("The clause {clause} cannot be used in {statement}."),
        )
    }

    /// 7810: a parameter's value is out of range.
    pub(super) fn out_of_range(line: u32, name: &str, range: &str) -> Self {
        Self::new(
            7810,
            15,
            line,
            format!("The value of {name} is out of range: {range}."),
        )
    }

    /// 7816: a parameter given twice.
    pub(super) fn duplicate_parameter(line: u32, name: &str) -> Self {
        Self::new(
            7816,
            15,
            line,
            format!("The parameter {name} is given more than once."),
        )
    }

    /// 7888: an address that is none.
    pub(super) fn bad_address(line: u32) -> Self {
        let text = "The address of LISTENER_IP is not recognized. Write ALL, (10.0.75.1) or ('::1').";
        Self::new(7888, 20, line, text)
    }

    /// 40510: understood, and not available in this version.
    pub(super) fn not_supported(line: u32, what: &str, instead: &str) -> Self {
        let gap = if instead.is_empty() { "" } else { " " };
        Self::new(
            40510,
            16,
            line,
            format!("{what} is not supported by this server.{gap}{instead}"),
        )
    }

    /// 50001: longer than a batch may be.
    pub(super) fn batch_too_long(length: usize) -> Self {
        let text = format!(
            "The batch has {length} bytes; {} are allowed. Split it with GO.",
            super::BATCH_LENGTH_MAX
        );
        Self::new(50001, 16, 1, text)
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Msg {}, Level {}, State {}, Line {}: ",
            self.number, self.severity, self.state, self.line
        )?;
        f.write_str(&self.text)
    }
}

impl std::error::Error for SyntaxError {}

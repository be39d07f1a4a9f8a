//! The contract between whoever runs Transact-SQL and whoever carries it.

use crate::tsql::SyntaxError;
use crate::tsql::value::{Column, Value};

/// One client's session: it has a current database, opened keys and whatever else lives as long as the client
/// stays connected. It is made when the client connects and dropped when it goes.
pub trait Session: Send {
    /// Parses and runs one batch, reporting everything to `sink`, and returns when the batch has ended.
    ///
    /// Errors of statements are messages, not results. When `sink` says [`Cancelled`] the client is gone: what is
    /// not committed is undone and the call returns.
    fn batch(&mut self, text: &str, sink: &mut dyn Sink);

    /// Name of the current database.
    fn database(&self) -> &str;
}

/// Where a batch reports to. Order matters: a result set is `columns`, then any number of `row`, then
/// `rows_affected`; messages may come between.
pub trait Sink {
    /// A result set begins.
    ///
    /// # Errors
    /// The client is gone.
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled>;

    /// A row of the current result set, one value for each of its columns.
    ///
    /// # Errors
    /// The client is gone.
    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled>;

    /// The current result set is complete, or a statement without one has changed so many rows.
    ///
    /// # Errors
    /// The client is gone.
    fn rows_affected(&mut self, rows: u64) -> Result<(), Cancelled>;

    /// Information (severity up to 10; PRINT is number 0, severity 0) or an error.
    ///
    /// # Errors
    /// The client is gone.
    fn message(&mut self, message: &Message) -> Result<(), Cancelled>;

    /// The current database has changed.
    ///
    /// # Errors
    /// The client is gone.
    fn database_changed(&mut self, name: &str) -> Result<(), Cancelled>;

    /// Whether the client is still there. A statement that waits without reporting asks this every now and then.
    ///
    /// # Errors
    /// The client is gone.
    fn check(&mut self) -> Result<(), Cancelled>;
}

/// The client has gone away, or the instance is being stopped: stop working for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// A message of a batch: an error when its severity is above 10, otherwise information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Message number; 0 for PRINT.
    pub number: u32,
    /// Severity, 0…25.
    pub severity: u8,
    /// State, 0…255: tells apart the places that raise the same number.
    pub state: u8,
    /// Line within the batch, from 1; 0 when it belongs to none.
    pub line: u32,
    /// The procedure that raised it.
    pub procedure: Option<String>,
    /// What happened, why probably, and what to do.
    pub text: String,
}

impl Message {
    /// What PRINT says.
    #[must_use]
    pub fn print(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// The refusal of a batch that cannot be parsed.
    #[must_use]
    pub fn syntax(error: &SyntaxError) -> Self {
        Self {
            number: error.number,
            severity: error.severity,
            state: error.state,
            line: error.line,
            procedure: None,
            text: error.text.clone(),
        }
    }

    /// Whether it makes a batch fail.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.severity > 10
    }
}

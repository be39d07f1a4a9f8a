//! The admin connection: how `dbmirror sql` and the other commands talk to a running instance.
//!
//! `session` is what the two sides agree on: batches of Transact-SQL in, rows and messages out. The wire and the
//! listener carry it over `DIR/admin.sock` (`docs/operations.md`, "The admin socket").

pub mod session;

pub use session::{Cancelled, Message, Session, Sink};

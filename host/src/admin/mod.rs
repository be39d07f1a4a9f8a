//! The admin connection: how `dbmirror sql` and the other commands talk to a running instance.
//!
//! [`Session`] and [`Sink`] are what the two sides agree on: batches of Transact-SQL in, rows and messages out.
//! [`Listener`] carries them over `DIR/admin.sock`, [`Client`] is the other end. Bytes: `docs/tsql.md`, "The admin
//! connection".

mod client;
mod connection;
mod frame;
mod listener;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{Client, ClientError, ConnectError};
pub use connection::Peer;
pub use listener::{Listener, Stop};
pub use session::{Cancelled, Message, Session, Sink};

/// The socket's name inside the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

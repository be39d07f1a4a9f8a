//! What an endpoint is told about itself, and its limits.

use crate::message::{InstanceId, InstanceName};
use crate::time::Duration;

/// Fixed for the life of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This instance.
    pub instance: InstanceId,
    /// Its name, shown to partners.
    pub name: InstanceName,
    /// The durable count of this instance's starts, raised before this one (`docs/safety.md` R2).
    pub boot: u64,
    /// Limits and spans.
    pub limits: Limits,
}

/// What an endpoint may be to others: the ROLE of `CREATE ENDPOINT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A partner, and no witness (1427).
    Partner,
    /// A witness, and no partner (1486).
    Witness,
    /// Both.
    #[default]
    All,
}

/// Limits and spans, with defaults for a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Accepted connections that are not authenticated; one more evicts one of the host that holds most.
    pub unauthenticated: u16,
    /// Authenticated connections of one login.
    pub of_one_login: u16,
    /// From the transport's connection to the peer's HELLO.
    pub handshake: Duration,
    /// An authenticated peer that says nothing for so long is closed.
    pub idle: Duration,
    /// Between pings.
    pub ping: Duration,
    /// First pause before an address is dialed again; doubles.
    pub redial_first: Duration,
    /// Longest pause before an address is dialed again.
    pub redial_last: Duration,
    /// A START that is not answered for so long has failed.
    pub start: Duration,
    /// Bytes that a session lets its partner send ahead of what its storage has confirmed.
    pub credit: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated: 64,
            of_one_login: 16,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            ping: Duration::from_secs(1),
            redial_first: Duration::from_millis(200),
            redial_last: Duration::from_secs(5),
            start: Duration::from_secs(20),
            credit: 4 * 1024 * 1024,
        }
    }
}

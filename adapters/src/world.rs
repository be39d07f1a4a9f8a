//! What a driver needs of the instance that it runs the endpoint of.

use core::net::SocketAddr;

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{Endpoint, Env, Event, RecordWrite, Ticket};
use dbmirror_core::time::Instant;

/// The instance behind an endpoint.
pub trait World<P: Provider> {
    /// What each call of the endpoint is lent, at the time `now`.
    fn env(&mut self, now: Instant) -> Env<'_, P>;

    /// Takes a record to be made durable; `Endpoint::handle_persisted` is the caller's to call.
    fn persist(&mut self, ticket: Ticket, write: RecordWrite<'_>);

    /// Something happened. `peer` is the other end's address where it is known.
    fn event(&mut self, endpoint: &Endpoint<'_, P>, event: Event, peer: Option<SocketAddr>);
}

//! Database mirroring endpoints: every protocol and every decision, and nothing of the world around them.
//!
//! No std, no allocation, no I/O, no unsafe code. Time and entropy are arguments, buffers are the caller's, and
//! nothing that a peer, a disk or an operator can supply makes this crate panic.
//!
//! The rooms, each of which may use only those before it (`ARCHITECTURE.md` tells the walk through them):
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`time`], [`secret`], [`entropy`] | what the caller lends: the present, a place for secrets, randomness |
//! | [`wire`] | cursors that read and write bytes and cannot fail badly |
//! | [`crypto`] | the provider seam and its default provider, RustCrypto |
//! | [`keys`], [`cert`] | key hierarchy at rest; self-signed certificates and pins |
//! | [`channel`] | the strict profile of TLS 1.3 (`docs/channel.md`) |
//! | [`message`] | the mirroring messages and the log block (`docs/protocol.md`) |
//! | [`pairing`] | two instances that exchange certificates under a one-time code (`docs/pairing.md`) |
//! | [`session`] | records, bindings, the mirroring session (`docs/safety.md`) |
//! | [`witness`] | what an instance keeps of sessions in which it holds no copy (`docs/safety.md` R5) |
//! | [`endpoint`] | composes channel, message, session and witness: what a driver drives |
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::disallowed_methods,
        clippy::std_instead_of_core,
        clippy::alloc_instead_of_core,
        clippy::panic_in_result_fn,
        clippy::unreachable,
        clippy::string_slice,
        clippy::get_unwrap,
        reason = "tests state facts; a panic is how they fail"
    )
)]
#[cfg(test)]
extern crate std;

/// Whether this is a build for the simulator, with bugs that can be planted and a provider that protects nothing. No program that ships
/// may have it: the server refuses to be built so.
pub const SIMULATION: bool = cfg!(feature = "simulation");

/// Whether this build has the roles of principal and mirror, and pairing: the feature `partner`. Without them an endpoint is a witness and
/// nothing else, whatever places it is lent for sessions and pairings; what a witness decides is the same code.
pub const PARTNER: bool = cfg!(feature = "partner");

mod asn1;
pub mod cert;
pub mod channel;
pub mod crypto;
pub mod endpoint;
pub mod entropy;
pub mod keys;
pub mod message;
pub mod pairing;
mod places;
#[cfg(feature = "simulation")]
pub mod planted;
#[cfg(not(feature = "simulation"))]
mod planted;
pub mod secret;
pub mod session;
pub mod time;
pub mod wire;
pub mod witness;

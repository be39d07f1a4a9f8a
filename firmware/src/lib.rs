//! The appliance without its board: reads what it is from its memory, answers and dials its peers, keeps what it has promised.
//!
//! One loop over sans-IO machines, without an executor and without an allocator. A board gives a network device
//! (`smoltcp::phy::Device`), a memory (`NorFlash`), time, a device key and somewhere to log; everything else is here, and
//! runs on a host in the tests. `docs/appliance.md` says what such a device is and is not.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`memory`] | every buffer, in one value that a board places in its RAM |
//! | [`directory`] | who the device is, and whom it lets in |
//! | [`appliance`] | the loop |
//! | `succession` | how certificates are replaced over connections, the peers' and the own |
//! | [`note`] | what is worth a line in the log |
#![no_std]
#[cfg(test)]
extern crate std;

pub mod appliance;
pub mod directory;
pub mod memory;
pub mod note;
mod succession;
mod world;

pub use appliance::{Appliance, Refusal};
pub use memory::Memory;
pub use note::{Log, Note, Rotation};
pub use world::Tally;

/// The provider of this image.
pub type Crypto = dbmirror_core::crypto::rustcrypto::RustCrypto;
/// Its hash.
pub type Sha256 = <Crypto as dbmirror_core::crypto::Provider>::Sha256;

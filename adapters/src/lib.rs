//! The worlds that `dbmirror-core` is plugged into, one feature each, none of them default.
//!
//! | feature | module | what it is |
//! | --- | --- | --- |
//! | `std` | `tcp`, `entropy`, `blocklog`, `beside` | sockets, randomness and the block log of a server, files beside a file |
//! | `smoltcp` | `device` | the TCP/IP of an appliance |
//! | `embedded-io` | `stream` | any byte stream of an embedded stack |
//! | `nvm` | `nvm` | a device's non-volatile memory: settings, seed, records |
//! | `aws-lc` | `aws_lc` | AWS-LC as the crypto provider of a server |
//! | always | `world`, `address` | what a driver needs of its instance; addresses as operators type them |
//! | `sqlite` | `sqlite` | log capture from, and the mirror writer into, SQLite files |
#![no_std]
#[cfg(feature = "std")]
extern crate std;

pub mod address;
#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "std")]
pub mod beside;
#[cfg(feature = "std")]
pub mod blocklog;
#[cfg(feature = "smoltcp")]
pub mod device;
#[cfg(feature = "std")]
pub mod entropy;
#[cfg(feature = "nvm")]
pub mod nvm;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "embedded-io")]
pub mod stream;
#[cfg(feature = "std")]
pub mod tcp;
pub mod world;

//! The worlds that `dbmirror-core` is plugged into, one feature each, none of them default.
//!
//! | feature | module | what it is |
//! | --- | --- | --- |
//! | `std` | `tcp`, `entropy`, `blocklog` | sockets, randomness and the block log of a server |
//! | `smoltcp` | `device` | the TCP/IP of an appliance |
//! | `aws-lc` | `aws_lc` | AWS-LC as the crypto provider of a server |
//! | `sqlite` | `sqlite` | log capture from, and the mirror writer into, SQLite files |
#![no_std]
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "std")]
pub mod blocklog;
#[cfg(feature = "std")]
pub mod entropy;
#[cfg(feature = "sqlite")]
pub mod sqlite;

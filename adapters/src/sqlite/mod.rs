//! SQLite files as source and target of mirroring (`docs/capture.md`).
//!
//! | what | does |
//! | --- | --- |
//! | [`Tail`] | captures every committed transaction of an ordinary application as a [`Block`], without a gap and without writing into its schema |
//! | [`Applier`] | writes blocks into a mirror's file as a WAL writer, so that the copy is a readable database at every moment |
//! | [`SeedSource`], [`SeedSink`] | a whole database at one position: out of a running one, into a new file |
//! | [`WriteLock`] | keeps a file from being written while nobody here uses it |
//! | [`Anchor`] | where a file stands in its log: what a restart goes on from |
//! | [`Identity`] | which file it is and what SQLite counts in it: what a file is judged by that does not continue its log |
//!
//! Everything here blocks and belongs on threads of its own, one per database. All types are `Send`.
//!
//! **One rule for the whole process**: closing *any* descriptor of a database file drops every lock that SQLite's connections
//! of this process hold on it (POSIX). So nothing in the process may open a file that a [`Tail`] or [`Applier`] holds but
//! through SQLite, not to copy and not to compare it; and a connection of the process that outlives them has lost its locks.

mod anchor;
mod apply;
mod block;
mod error;
mod files;
mod identity;
mod install;
mod seed;
mod shm;
mod sys;
mod table;
mod tail;
mod transaction;
mod wal;
mod write_lock;

pub use anchor::{ANCHOR_LEN, Anchor};
pub use apply::{Applied, Applier, ApplierOptions};
pub use block::Block;
pub use error::{Error, GapReason, Result};
pub use identity::{Discontinuity, FileId, Head, IDENTITY_LEN, Identity};
pub use install::{CompleteSeed, Installed};
pub use seed::{SeedSink, SeedSource, create_database, database_sum};
pub use tail::{BlockSink, Checkpointed, Folded, Tail, TailOptions};
pub use write_lock::WriteLock;

/// Hash of a page's image: xxh3-64 seeded with the page number (`docs/block.md`).
#[must_use]
pub fn page_hash(page: u32, image: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(image, u64::from(page))
}

#[cfg(test)]
mod tests;

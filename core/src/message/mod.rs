//! The mirroring messages and the log block (`docs/protocol.md`).
//!
//! [`Position`], [`Chain`] and the ids are what all rooms above speak of.

pub mod block;
pub mod codec;
mod crc;
mod field;
mod ids;
mod messages;
mod record;
mod signature;
mod text;
mod timeline;

pub use ids::{Chain, DatabaseSum, FamilyGuid, ForkId, InstanceId, LogEnd, Position, SessionGuid, UseNumber};
pub use record::{Record, Sync};
pub use signature::Signature;
pub use text::{Address, DatabaseName, InstanceName, Text, TextTooLong};
pub use timeline::{TIMELINES_MAX, Timeline, Timelines, TimelinesError};

pub(crate) use crc::crc32c;
pub(crate) use field::Field;

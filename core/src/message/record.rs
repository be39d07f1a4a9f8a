//! The record: what a member durably knows of who owns a role_sequence, and whether commits may go on alone
//! (`docs/safety.md` R1).

use super::ids::InstanceId;
use core::cmp::Ordering;

/// Whether the owner waits for the mirror at every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The owner may acknowledge alone once this is confirmed.
    #[default]
    Unsync,
    /// The mirror was level, and the owner waits for it.
    Sync,
}

/// A member's durable record of a session, ordered by (`role_sequence`, `sync_sequence`); it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Number of the role assignment, from 1. A role_sequence has one owner.
    pub role_sequence: u32,
    /// The principal under that number.
    pub owner: InstanceId,
    /// Raised by the owner only, within its role_sequence.
    pub sync_sequence: u64,
    /// What the owner says under these numbers.
    pub sync: Sync,
    /// The role was taken by forced service.
    pub forced: bool,
}

impl Record {
    /// The record with which a session starts.
    #[must_use]
    pub const fn first(owner: InstanceId) -> Self {
        Self {
            role_sequence: 1,
            owner,
            sync_sequence: 0,
            sync: Sync::Unsync,
            forced: false,
        }
    }

    /// Which of two records is higher.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        (self.role_sequence, self.sync_sequence).cmp(&(other.role_sequence, other.sync_sequence))
    }
}

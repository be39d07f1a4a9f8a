//! Decisions as pure functions: what a member does about what it knows and hears. They see records, asks and what a hello says,
//! take no time but what is passed, and change nothing. The exhaustive model (`tests/model`) and the session machine call
//! these same ones; the rules are those of `docs/safety.md`.
//!
//! | file | rules |
//! | --- | --- |
//! | [`begin`] | R0: START, `none`, tombstone |
//! | [`record`] | R1, R2: order, hearing, confirming, acknowledging, SYNC and UNSYNC |
//! | [`binding`] | R2: which connection, when a session is bound |
//! | [`takeover`] | R3: ask, answer, closing, hand-back |
//! | [`role`] | R4: failover, opening after a restart |
//! | [`witness`] | R5: registration, change, removal |
//! | [`incomplete`] | R6 |
//! | [`history`] | R7: joining two logs, timelines, VOID |
//! | [`force`] | R8 |

pub mod begin;
pub mod binding;
pub mod force;
pub mod history;
pub mod incomplete;
pub mod record;
pub mod role;
pub mod takeover;
pub mod witness;

pub(crate) use begin::start_record;
pub(crate) use history::{Join, join};

#[cfg(test)]
mod tests;

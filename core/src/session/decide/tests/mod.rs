//! The decisions by their tables, a file a rule. R7 is tested where it is decided.

use crate::message::{InstanceId, Record, Sync};

mod begin;
mod binding;
mod force;
mod incomplete;
mod record;
mod role;
mod takeover;
mod witness;

const A: InstanceId = InstanceId([1; 16]);
const B: InstanceId = InstanceId([2; 16]);
const W: InstanceId = InstanceId([3; 16]);

fn rec(role_sequence: u32, owner: InstanceId, sync_sequence: u64, sync: Sync) -> Record {
    Record {
        role_sequence,
        owner,
        sync_sequence,
        sync,
        forced: false,
    }
}

//! The principal that may have lost what it acknowledged (`docs/safety.md` R6).

use crate::message::{InstanceId, Record, Sync};

/// What a member looks at when it starts, before anything else.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// Durability on the partner was allowed: acknowledgements did not wait for the own storage.
    pub partner_durability: bool,
    /// The machine has started anew since (its boot id is another).
    pub machine_restarted: bool,
    /// The instance had stopped in order, with its log synced.
    pub clean_stop: bool,
}

/// Whether the durable mark *incomplete* is set at this start: acknowledged commits may exist on the mirror only.
#[must_use]
pub fn is_incomplete(start: &Start) -> bool {
    start.own.owner == start.me
        && start.own.sync == Sync::Sync
        && start.partner_durability
        && start.machine_restarted
        && !start.clean_stop
}

/// What has happened to an incomplete principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing yet, or only that the witness confirmed, a time-out passed, another record was heard.
    Nothing,
    /// It adopted the mirror's tail, durably.
    Adopted,
    /// It is level as a mirror.
    LevelAsMirror,
    /// FORCE_SERVICE was typed here and granted.
    Forced,
}

/// Whether the mark stays. A record that is heard does not clear it (stories F50, F57).
#[must_use]
pub const fn stays(since: Since) -> bool {
    matches!(since, Since::Nothing)
}

/// Whether a member may persist a record that names itself owner: not before it has adopted. Yielding is always allowed.
#[must_use]
pub fn may_persist(me: InstanceId, record: &Record, incomplete: bool) -> bool {
    record.owner != me || !incomplete || record.forced
}

/// Whether a member syncs its log before it persists `new`: with durability on the partner its own SYNC record is what would tell, after a
/// power cut, that it is incomplete. *Any* record that replaces it must find the log synced: UNSYNC, a hand-back, and also one that gives the role
/// away, since the role can come back without another SYNC (docs/decisions/0006).
#[must_use]
pub fn syncs_first(me: InstanceId, own: &Record, new: &Record, partner_durability: bool) -> bool {
    let replaced = new.owner != me || new.sync == Sync::Unsync || new.role_sequence != own.role_sequence;
    partner_durability && own.owner == me && own.sync == Sync::Sync && replaced
}

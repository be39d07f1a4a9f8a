//! Change of role: manual failover, and how a restarted principal opens again (`docs/safety.md` R4).

use super::record::assign;
use crate::message::{InstanceId, Record, Sync};
use crate::planted::{Bug, planted};

/// What a principal looks at at FAILOVER.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// This member.
    pub me: InstanceId,
    /// The mirror.
    pub mirror: InstanceId,
    /// The own record.
    pub own: Record,
    /// It serves.
    pub serves: bool,
    /// Writers are fenced and every commit is settled: acknowledged, or undone by a VOID block.
    pub settled: bool,
    /// The mirror has hardened everything, VOID blocks too.
    pub level: bool,
    /// The mirror is bound and has shown the own record.
    pub by_mirror: bool,
    /// The principal is incomplete (R6).
    pub incomplete: bool,
}

/// The record that a principal persists at FAILOVER, before it tells the mirror; from then on it never serves, records or asks under
/// the old number (R4, story F6). `None`: not SYNCHRONIZED, or not settled yet.
#[must_use]
pub fn failover(facts: &Failover) -> Option<Record> {
    let may = facts.own.owner == facts.me
        && facts.own.sync == Sync::Sync
        && facts.serves
        && (facts.settled && facts.level || planted(Bug::FailoverUnsettled))
        && facts.by_mirror
        && !facts.incomplete;
    may.then(|| assign(facts.own.role_sequence.saturating_add(1), facts.mirror, false))
}

/// Whether a member that was given the role by its partner (a [`super::record::Heard::Role`]) may persist that and open: its log has
/// reached the end that FAILOVER told (R4). The witness's grant tells no end, and neither does a hello: who shows this member's role there
/// either gave it when both were level, or has yielded it with blocks that it never sent (docs/decisions/0006).
#[must_use]
pub fn may_take_role(own_end: u64, told_end: Option<u64>) -> bool {
    match told_end {
        Some(end) => own_end >= end || planted(Bug::RoleBehind),
        None => true,
    }
}

/// How a restarted principal sees its mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// Nothing is known yet.
    Unknown,
    /// Bound, without a higher record.
    Bound {
        /// Its hello carries an open ask.
        asks: bool,
        /// What it holds beyond the own log in this timeline has been adopted, durably (R7).
        adopted: bool,
    },
    /// Lost (R9); where no witness is set: the reconnect was refused, or a partner time-out passed without its hello.
    Lost,
    /// It answered that it does not hold the session.
    HasNone,
}

/// What a restarted principal looks at before it opens to gated applications.
#[derive(Clone, Copy, Debug)]
pub struct Reopening {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// Its own ask is open (R8).
    pub asks: bool,
    /// It is incomplete (R6).
    pub incomplete: bool,
    /// The mirror.
    pub mirror: Mirror,
    /// UNSYNC was recorded and a new timeline begun in this run.
    pub prepared: bool,
    /// [`super::record::alone`], with its own storage believed if no witness is set.
    pub alone: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopen {
    /// Open.
    Open,
    /// Record UNSYNC and begin a new timeline, durably; then decide again (R4, R7).
    Prepare,
    /// Stay closed.
    Closed(Closed),
}

/// Why a principal stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is not the owner.
    NotOwner,
    /// An ask is open here or at the mirror (R2, story F45).
    Ask,
    /// It must adopt the mirror's tail first (R6, R7).
    Adopt,
    /// It has not heard the mirror and does not know it lost (story F38).
    Waiting,
    /// Nobody has confirmed its UNSYNC.
    Quorum,
}

/// Whether a restarted principal opens (R4).
#[must_use]
pub fn reopen(facts: &Reopening) -> Reopen {
    if facts.own.owner != facts.me {
        return Reopen::Closed(Closed::NotOwner);
    }
    if facts.asks {
        return Reopen::Closed(Closed::Ask);
    }
    match facts.mirror {
        Mirror::Bound { asks: true, .. } => Reopen::Closed(Closed::Ask),
        Mirror::Bound { adopted, .. } if (!adopted && !planted(Bug::OpenWithoutTail)) || facts.incomplete => {
            Reopen::Closed(Closed::Adopt)
        }
        Mirror::Bound { .. } => Reopen::Open,
        _ if facts.incomplete => Reopen::Closed(Closed::Adopt),
        Mirror::Unknown if planted(Bug::OpenUnheard) => Reopen::Open,
        Mirror::Unknown => Reopen::Closed(Closed::Waiting),
        Mirror::Lost | Mirror::HasNone
            if (!facts.prepared || facts.own.sync == Sync::Sync) && !planted(Bug::OpenUnprepared) =>
        {
            Reopen::Prepare
        }
        Mirror::Lost | Mirror::HasNone if facts.alone => Reopen::Open,
        Mirror::Lost | Mirror::HasNone => Reopen::Closed(Closed::Quorum),
    }
}

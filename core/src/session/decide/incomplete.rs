//! The member that may have lost what was acknowledged on its word (`docs/safety.md` R6): a principal by a power cut with durability on the
//! partner, and any member whose storage has lost blocks that were hardened.

use super::record::assign;
use super::takeover::Ask;
use crate::message::{Chain, InstanceId, LogEnd, Record, Sync};
use crate::planted::{Bug, planted};

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
    /// Its storage has lost, or may have lost, blocks of this log that were hardened, and nothing else here holds what they brought.
    pub lost: bool,
}

/// Whether the durable mark *incomplete* is set at this start: acknowledged commits may exist on the other partner only.
#[must_use]
pub fn is_incomplete(start: &Start) -> bool {
    if start.lost && !planted(Bug::LossUnnoticed) {
        return true;
    }
    start.own.owner == start.me
        && start.own.sync == Sync::Sync
        && start.partner_durability
        && start.machine_restarted
        && !start.clean_stop
}

/// Whether a principal that yields is incomplete from then on: `lost` says that its log lacks blocks that were durable and that it has not made
/// anew yet. What they brought is in its file, but as a mirror its log is all that counts.
#[must_use]
pub fn yields_incomplete(lost: bool) -> bool {
    lost && !planted(Bug::LossUnnoticed)
}

/// What has happened to an incomplete member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing yet, or only that the witness confirmed, a time-out passed, another record was heard.
    Nothing,
    /// It adopted the other partner's tail, durably.
    Adopted,
    /// It is level as a mirror ([`is_level`]).
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
    record.owner != me || !incomplete || record.forced || planted(Bug::IncompleteOpens)
}

/// The record as it is persisted: what an incomplete member takes on its operator's FORCE is forced, though to the witness, which cannot know of
/// the loss, it looks like a take-over that loses nothing.
#[must_use]
pub fn taken(me: InstanceId, shown: &Record, incomplete: bool, ask: &Ask) -> Record {
    Record {
        forced: shown.forced || (incomplete && shown.owner == me && ask.open && ask.force),
        ..*shown
    }
}

/// Whether an ask stays open though the witness's answer or hello would close it: it was granted, and the asker may not persist that. What
/// keeps it deaf to the old owner, which does not know of the grant, is the open ask; it is closed by hand-back, or when the
/// role is taken back ([`take_back`]).
#[must_use]
pub fn keeps_ask(me: InstanceId, own: &Record, shown: &Record, incomplete: bool, ask: &Ask) -> bool {
    let granted = shown.owner == me && shown.role_sequence > own.role_sequence;
    granted && incomplete && ask.open && !ask.force
}

/// Whether a mirror is level, so that nothing is missing that its owner's log held when that said hello: `here` is the chain of the
/// mirror's durable log at that end. An equal SYNC record is not enough: that stands though the mirror's log was cut.
#[must_use]
pub fn is_level(owners: &LogEnd, here: Option<Chain>) -> bool {
    here == Some(owners.chain)
}

/// What a partner that gave its role away, or yielded it to a grant, looks at when the other declines it.
#[derive(Clone, Copy, Debug)]
pub struct Declined {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It is incomplete itself.
    pub incomplete: bool,
    /// Its own ask is open: forced service is under way here.
    pub asks: bool,
    /// Who declines.
    pub partner: InstanceId,
    /// The record that the other goes by.
    pub theirs: Record,
    /// The number of the other's open ask; 0 when none is open.
    pub their_ask: u32,
}

/// Whether a member that may not persist a record which names it tells its partner so: the role is declined.
#[must_use]
pub fn declines(me: InstanceId, own: &Record, shown: &Record, incomplete: bool) -> bool {
    shown.owner == me
        && own.owner != me
        && shown.role_sequence > own.role_sequence
        && !may_persist(me, shown, incomplete)
}

/// The record by which it takes the role back, proposed as in hand-back: above both numbers and above whatever an ask may have been
/// granted. The other persists it first, which it does only if it has not persisted the role after all, and only when it shows it may this
/// member persist and use it (R3, R4).
#[must_use]
pub fn take_back(facts: &Declined) -> Option<Record> {
    let gave = facts.own.owner == facts.partner && facts.theirs.owner == facts.me;
    let above = facts.own.role_sequence.max(facts.their_ask);
    let may = gave && !facts.incomplete && !facts.asks;
    may.then(|| assign(above.saturating_add(1), facts.me, facts.own.forced))
}

/// Whether a member syncs its log before it persists `new`: with durability on the partner its own SYNC record is what would tell, after a
/// power cut, that it is incomplete. *Any* record that replaces it must find the log synced: UNSYNC, a hand-back, and also one that gives the role
/// away, since the role can come back without another SYNC (docs/decisions/0006).
#[must_use]
pub fn syncs_first(me: InstanceId, own: &Record, new: &Record, partner_durability: bool) -> bool {
    let replaced = new.owner != me || new.sync == Sync::Unsync || new.role_sequence != own.role_sequence;
    partner_durability && own.owner == me && own.sync == Sync::Sync && replaced
}

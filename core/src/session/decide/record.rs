//! The record: its order, what hearing one means, when a commit may be acknowledged, SYNC and UNSYNC
//! (`docs/safety.md` R1, R2).

use crate::message::{InstanceId, Record, Sync};
use crate::planted::{Bug, planted};
use core::cmp::Ordering;

/// Most that another's role_sequence may be ahead (`docs/safety.md` R11).
pub const ROLE_SEQUENCE_AHEAD_MAX: u32 = 1_000;

/// The owner's next record under its role_sequence. It is persisted before it is sent (R1).
#[must_use]
pub const fn raise(own: &Record, sync: Sync) -> Record {
    Record {
        sync_sequence: own.sync_sequence.saturating_add(1),
        sync,
        ..*own
    }
}

/// The first record of a role_sequence: UNSYNC, so that nothing may be taken over under it before its owner and its mirror
/// have been level (R3, story F3).
#[must_use]
pub const fn assign(role_sequence: u32, owner: InstanceId, forced: bool) -> Record {
    Record {
        role_sequence,
        owner,
        sync_sequence: 0,
        sync: Sync::Unsync,
        forced,
    }
}

/// Whether two records say the same. *forced* is how a role was taken, not what the record says, and is left out.
#[must_use]
pub fn same(one: &Record, other: &Record) -> bool {
    one.compare(other) == Ordering::Equal && one.owner == other.owner && one.sync == other.sync
}

/// Whether what a member shows over a live binding confirms one's own record: the same record, and no open ask in the hello
/// that shows it (R1, R2, stories F4, F45). An answer and a grant show no ask.
#[must_use]
pub fn confirms(own: &Record, shown: &Record, ask_open: bool) -> bool {
    (!ask_open || planted(Bug::AskConfirms)) && same(own, shown)
}

/// Who showed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The other partner.
    Partner,
    /// The witness.
    Witness,
}

/// A record that a partner is shown over a live binding.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It has an open ask.
    pub asks: bool,
    /// What is shown.
    pub theirs: Record,
    /// Who shows it.
    pub sender: InstanceId,
    /// In which part.
    pub part: Sender,
    /// It is shown by a hello with an open ask.
    pub sender_asks: bool,
}

/// What a partner does about a record that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Equal, and a confirmation.
    Confirmed,
    /// It changes nothing: equal but under an open ask, or from an owner whose role this member has asked for.
    Nothing,
    /// Lower: it is answered by the own hello, or by the owner's record.
    Older,
    /// Persist it. Who held the role under a lower role_sequence yields now (I3).
    Take(Record),
    /// Persist it: it gives this member the role, which another member holds durably too (R4).
    Role(Record),
    /// Two owners of one role_sequence: both refuse writes until an operator forces one (R8).
    Clash,
    /// More than [`ROLE_SEQUENCE_AHEAD_MAX`] ahead: refused (R11).
    TooFar,
}

/// What a partner does about a record that it is shown (R1, R2, R3).
///
/// A mirror with an open ask records nothing for the old owner; a *higher* role_sequence it does take, which closes the ask. A
/// witness's word moves a mirror within a role_sequence only to UNSYNC: SYNC comes from the owner.
#[must_use]
pub fn hear(hearing: &Hearing) -> Heard {
    let Hearing {
        me,
        own,
        theirs,
        part,
        ..
    } = *hearing;
    if theirs.role_sequence > own.role_sequence.saturating_add(ROLE_SEQUENCE_AHEAD_MAX) {
        return Heard::TooFar;
    }
    if theirs.role_sequence == own.role_sequence && theirs.owner != own.owner {
        return Heard::Clash;
    }
    match theirs.compare(&own) {
        Ordering::Less
            if planted(Bug::UnboundAccepted)
                && theirs.owner == hearing.sender
                && theirs.role_sequence == own.role_sequence =>
        {
            Heard::Take(theirs)
        }
        Ordering::Less => Heard::Older,
        Ordering::Equal if hearing.sender_asks => Heard::Nothing,
        Ordering::Equal if theirs.sync == own.sync => Heard::Confirmed,
        Ordering::Equal => Heard::Clash,
        Ordering::Greater if theirs.role_sequence == own.role_sequence => {
            let by_owner = part == Sender::Partner && theirs.owner == hearing.sender;
            let unsync_by_witness = part == Sender::Witness && theirs.sync == Sync::Unsync;
            if theirs.owner == me || (hearing.asks && !planted(Bug::RecordWhileAsking)) {
                // Only the owner raises within its role_sequence; and an asker is deaf for the owner that it replaces.
                Heard::Nothing
            } else if by_owner || unsync_by_witness {
                Heard::Take(theirs)
            } else {
                Heard::Nothing
            }
        }
        Ordering::Greater if planted(Bug::NoYield) && own.owner == me => Heard::Nothing,
        Ordering::Greater if theirs.owner != me => Heard::Take(theirs),
        Ordering::Greater if hearing.sender_asks => Heard::Nothing,
        Ordering::Greater => Heard::Role(theirs),
    }
}

/// What the acknowledgement of one commit rests on.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// This member holds the role and has opened.
    pub serves: bool,
    /// The block is durable here (R6).
    pub durable_here: bool,
    /// Durability on the partner is allowed: at SYNC the mirror's hardening alone is enough (R6). At UNSYNC it is not, since
    /// nothing would tell after a power cut that this principal is incomplete.
    pub partner_durability: bool,
    /// The own record says SYNC.
    pub sync: bool,
    /// The mirror has hardened the block and said so over the live binding.
    pub hardened: bool,
    /// [`alone`] holds.
    pub alone: bool,
}

/// Whether a gated commit may be acknowledged to its application (I1, R1, R6).
#[must_use]
pub fn may_acknowledge(commit: &Commit) -> bool {
    (commit.serves || planted(Bug::AckWhileClosed))
        && (commit.hardened || commit.alone || planted(Bug::AckWithoutMirror))
        && (commit.durable_here || (commit.partner_durability && commit.sync && commit.hardened))
}

/// What allows an owner to acknowledge without the mirror.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    /// The own record.
    pub own: Record,
    /// A witness is set.
    pub witness_set: bool,
    /// The witness has confirmed the own record over the live binding.
    pub by_witness: bool,
    /// The mirror has.
    pub by_mirror: bool,
    /// The owner has opened in this run (R4): before that its own storage confirms nothing.
    pub opened: bool,
}

/// Whether UNSYNC at the owner's current number is confirmed (R1): by the witness or the mirror, and where no witness is set by
/// the owner's own storage.
#[must_use]
pub fn alone(facts: &Alone) -> bool {
    facts.own.sync == Sync::Unsync
        && (facts.by_mirror
            || planted(Bug::AloneUnconfirmed)
            || if facts.witness_set {
                facts.by_witness
            } else {
                facts.opened
            })
}

/// What the owner looks at before it records SYNC.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It serves.
    pub serves: bool,
    /// SAFETY is FULL and the session is not suspended (R10).
    pub safety_full: bool,
    /// The mirror has hardened everything that was offered, and said so over the live binding.
    pub level: bool,
    /// The mirror holds the own record.
    pub by_mirror: bool,
    /// Both partners name the same witness, and neither has a change under way (R5).
    pub one_witness: bool,
}

/// Whether the owner may begin to wait at every commit and persist SYNC (R1).
#[must_use]
pub fn may_record_sync(facts: &Level) -> bool {
    facts.own.owner == facts.me
        && facts.own.sync == Sync::Unsync
        && facts.serves
        && (facts.safety_full || planted(Bug::SyncWhileOff))
        && (facts.level || planted(Bug::SyncNotLevel))
        && facts.by_mirror
        && facts.one_witness
}

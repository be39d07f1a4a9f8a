//! What a witness keeps, and how it is registered, changed and removed (`docs/safety.md` R5).

use super::record::ROLE_SEQUENCE_AHEAD_MAX;
use crate::message::{InstanceId, Record, Sync};
use crate::planted::{Bug, planted};
use core::cmp::Ordering;

/// What a witness durably holds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing: it was never registered, or lost its storage. It confirms nothing and grants nothing.
    Blank,
    /// A record.
    Record(Record),
    /// WITNESS OFF while the mirror was away: it grants and confirms nothing, and answers only this owner's repeated
    /// request. A registration replaces the mark.
    Dropped {
        /// Who dropped it.
        owner: InstanceId,
    },
}

impl Keeping {
    /// How it is stored in the place of a record: without one under role_sequence 0, which no record has, and a dropped mark under its
    /// owner (`docs/protocol.md`).
    #[must_use]
    pub fn stored(&self) -> Record {
        match self {
            Self::Blank => Record::default(),
            Self::Record(record) => *record,
            Self::Dropped { owner } => Record {
                owner: *owner,
                ..Record::default()
            },
        }
    }

    /// How it is told in the place of a record: all zero where there is none.
    #[must_use]
    pub fn shown(&self) -> Record {
        match self {
            Self::Record(record) => *record,
            Self::Blank | Self::Dropped { .. } => Record::default(),
        }
    }

    /// What a record that was stored by [`Keeping::stored`] says.
    #[must_use]
    pub fn read(record: &Record) -> Self {
        if record.role_sequence != 0 {
            Self::Record(*record)
        } else if record.owner == InstanceId::default() {
            Self::Blank
        } else {
            Self::Dropped { owner: record.owner }
        }
    }
}

/// What a witness does about a record that a partner shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Equal: the answer confirms it.
    Confirmed,
    /// It changes nothing, and is answered by the witness's hello.
    Nothing,
    /// Persist it, then confirm.
    Take(Record),
}

/// What a witness does about a partner's record (R1, R5): it takes a higher one from the member that it names as owner, and nothing
/// while it is blank.
#[must_use]
pub fn note(held: &Keeping, theirs: &Record, sender: InstanceId) -> Noted {
    let Keeping::Record(own) = held else {
        if planted(Bug::BlankBelieves) && theirs.owner == sender {
            return Noted::Take(*theirs);
        }
        return Noted::Nothing;
    };
    if theirs.owner != sender
        || theirs.role_sequence > own.role_sequence.saturating_add(ROLE_SEQUENCE_AHEAD_MAX)
        || (theirs.role_sequence == own.role_sequence && theirs.owner != own.owner)
    {
        return Noted::Nothing;
    }
    match theirs.compare(own) {
        Ordering::Less => Noted::Nothing,
        Ordering::Equal if theirs.sync == own.sync => Noted::Confirmed,
        Ordering::Equal => Noted::Nothing,
        Ordering::Greater => Noted::Take(*theirs),
    }
}

/// Whether a witness's record counts for a member that named it at `named`: one that is lower counts as none (story F48).
#[must_use]
pub fn counts(held: &Record, named: &Record) -> bool {
    held.compare(named) != Ordering::Less
}

/// What an owner looks at before it registers at a witness that has no record.
#[derive(Clone, Copy, Debug)]
pub struct Registering {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It serves.
    pub serves: bool,
    /// The witness is bound and was found without a record over this binding.
    pub blank: bool,
    /// The mirror has shown the own record in an answer to a request that was made after that, over a live binding (story F47).
    pub confirmed_again: bool,
}

/// The next step of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Nothing to do, or not the owner.
    No,
    /// Record UNSYNC first (story F59).
    Unsync,
    /// Ask the mirror to confirm again.
    Confirm,
    /// Register the own record.
    Register,
}

/// The owner's next step towards a blank witness (R5). Nobody but an owner registers, and only what its mirror holds too: a witness that
/// has forgotten a grant must not hear from the member that the grant had replaced (story F8).
#[must_use]
pub fn register(facts: &Registering) -> Registration {
    if facts.own.owner != facts.me || !facts.serves || !facts.blank {
        Registration::No
    } else if facts.own.sync == Sync::Sync {
        Registration::Unsync
    } else if !facts.confirmed_again {
        Registration::Confirm
    } else {
        Registration::Register
    }
}

/// Whether a witness takes a registration: it is blank or carries a dropped mark, or holds nothing higher, and the sender owns
/// what it registers.
#[must_use]
pub fn takes_registration(held: &Keeping, record: &Record, sender: InstanceId) -> bool {
    if record.owner != sender || record.sync != Sync::Unsync {
        return false;
    }
    match held {
        Keeping::Blank | Keeping::Dropped { .. } => true,
        Keeping::Record(own) => match record.role_sequence.cmp(&own.role_sequence) {
            Ordering::Less => false,
            Ordering::Equal => own.owner == sender && record.compare(own) != Ordering::Less,
            Ordering::Greater => true,
        },
    }
}

/// The witness as one partner names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Who, or that none is set.
    pub witness: Option<InstanceId>,
    /// It is named and not registered yet.
    pub pending: bool,
}

/// How far the owner's change of witness to another, or to none, has come. Everything is repeated on the next binding. With the
/// owner's own witness as the target the same steps impose that one on a mirror which names another.
#[derive(Clone, Copy, Debug)]
pub struct Changing {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It serves.
    pub serves: bool,
    /// What the change leads to.
    pub target: Option<InstanceId>,
    /// This change has recorded an UNSYNC of its own.
    pub raised: bool,
    /// The mirror is bound and has shown the own record.
    pub by_mirror: bool,
    /// The mirror has shown, over the live binding, that it names the target as pending at the number of the own record.
    pub mirror_pending: bool,
    /// The target has shown the own record over a live binding.
    pub by_target: bool,
}

/// The next step of a change of witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing can be done now.
    Wait,
    /// Record a new UNSYNC.
    Unsync,
    /// Tell the mirror to name the target as pending, at the number of the own record.
    TellMirror,
    /// Register at the target, while the old witness is still in use.
    Register,
    /// Persist the target as the witness; then tell the mirror that it is no longer pending, and the old witness that it is
    /// dropped.
    Adopt,
}

/// The owner's next step of a change of witness with the mirror bound (R5).
#[must_use]
pub fn change(facts: &Changing) -> Change {
    if facts.own.owner != facts.me || !facts.serves {
        Change::Wait
    } else if !facts.raised || facts.own.sync == Sync::Sync {
        Change::Unsync
    } else if !facts.by_mirror {
        Change::Wait
    } else if !facts.mirror_pending {
        Change::TellMirror
    } else if facts.target.is_some() && !facts.by_target {
        Change::Register
    } else {
        Change::Adopt
    }
}

/// What a mirror does about the witness that its owner names in hello or record (R5).
#[must_use]
pub fn follow(own: Named, owners: Named) -> Named {
    if own.pending && own.witness == owners.witness {
        Named {
            pending: false,
            ..own
        }
    } else {
        own
    }
}

/// Whether both partners name the same registered witness; before that no SYNC is recorded, and the owner imposes its own (R5).
#[must_use]
pub fn agree(own: Named, mirrors: Named) -> bool {
    !own.pending && !mirrors.pending && own.witness == mirrors.witness
}

/// What a witness does about WITNESS OFF by an owner whose mirror is away (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Replace the record by this, durably, then answer.
    Mark(Keeping),
    /// The mark is there already (its answer was lost): answer (story F53).
    Again,
    /// Blank without a mark, a higher record or another's: 1431.
    Refuse,
}

/// What a witness does about WITNESS OFF by an owner whose mirror is away (R5).
#[must_use]
pub fn drop_witness(held: &Keeping, owners: &Record, sender: InstanceId) -> Drop {
    match held {
        Keeping::Record(own)
            if own.owner == sender && owners.owner == sender && own.compare(owners) != Ordering::Greater =>
        {
            Drop::Mark(Keeping::Dropped { owner: sender })
        }
        Keeping::Dropped { owner } if *owner == sender => Drop::Again,
        Keeping::Record(_) | Keeping::Dropped { .. } | Keeping::Blank => Drop::Refuse,
    }
}

/// Whether a witness forgets the session because a partner no longer needs it: it uses another witness, durably on both sides, or has
/// ended the session. Only the owner of what is held says so, and only at what is not lower (R5, story F26); after that the witness is blank.
#[must_use]
pub fn forgets(held: &Keeping, theirs: &Record, sender: InstanceId) -> bool {
    match held {
        Keeping::Record(own) => {
            own.owner == sender && theirs.owner == sender && own.compare(theirs) != Ordering::Greater
        }
        Keeping::Dropped { owner } => *owner == sender && theirs.owner == sender,
        Keeping::Blank => false,
    }
}

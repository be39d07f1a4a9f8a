//! Take-over: the ask, the witness's answer, how an ask is closed, hand-back (`docs/safety.md` R3).

use super::record::{assign, same};
use super::witness::{Keeping, counts};
use crate::message::{InstanceId, Record, Sync};
use crate::planted::{Bug, planted};

/// A partner's highest ask. It is persisted before it is sent; `Ask::NONE` before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Its number, above every one this member ever persisted.
    pub number: u32,
    /// It is not answered yet.
    pub open: bool,
    /// By FORCE_SERVICE_ALLOW_DATA_LOSS (R8).
    pub force: bool,
}

impl Ask {
    /// This member never asked.
    pub const NONE: Self = Self {
        number: 0,
        open: false,
        force: false,
    };

    /// The next ask: above every earlier one, and above the own role_sequence, so that a hand-back, which is numbered
    /// above the ask, is higher than whatever a witness may have granted for it.
    #[must_use]
    pub const fn next(self, own: &Record, force: bool) -> Self {
        let above = if self.number > own.role_sequence {
            self.number
        } else {
            own.role_sequence
        };
        Self {
            number: above.saturating_add(1),
            open: true,
            force,
        }
    }

    /// The same ask, closed.
    #[must_use]
    pub const fn closed(self) -> Self {
        Self { open: false, ..self }
    }
}

/// What a mirror looks at before it asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// Its highest ask.
    pub ask: Ask,
    /// The owner is lost (R9).
    pub owner_lost: bool,
    /// The volatile flag of R3: bound to the owner in this run, level, both records SYNC, no doubt about the own log since.
    pub may_take_over: bool,
    /// The witness is bound.
    pub witness_bound: bool,
    /// The witness is named but not registered yet (R5).
    pub witness_pending: bool,
    /// It has lost hardened blocks (R6).
    pub incomplete: bool,
}

/// The ask that a mirror persists and sends, if it may ask (R3).
#[must_use]
pub fn ask(facts: &Asking) -> Option<Ask> {
    let may = facts.own.owner != facts.me
        && (facts.own.sync == Sync::Sync || planted(Bug::AskUnsync))
        && facts.owner_lost
        && (facts.may_take_over || planted(Bug::AskNotLevel))
        && facts.witness_bound
        && !facts.witness_pending
        && !facts.incomplete
        && !facts.ask.open;
    may.then(|| facts.ask.next(&facts.own, false))
}

/// An ask as the witness gets it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Who asks.
    pub asker: InstanceId,
    /// Its record.
    pub record: Record,
    /// By FORCE_SERVICE_ALLOW_DATA_LOSS.
    pub force: bool,
    /// The witness has heard the owner within the partner time-out that the ask carries: courtesy, not safety.
    pub owner_heard: bool,
    /// The asker's partner is bound to the witness.
    pub other_bound: bool,
}

/// The witness's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Persist this record, then answer with it, quoting the ask.
    Grant(Record),
    /// Answer with what the witness holds, quoting the ask.
    Denial,
}

/// How a witness answers an ask (R3; by force R8).
///
/// A take-over needs the record of the ask, SYNC. Its number is the *record's* role_sequence + 1 and never the ask's (story F54),
/// and it is UNSYNC (story F3). A forced one is numbered by the asker's record (story F43), which the witness's must be lower than, and is
/// refused while the other partner is bound. A forced ask with equal SYNC records by who is not the owner is an ordinary take-over:
/// nothing is lost by it. A witness without a record answers no to everything.
#[must_use]
pub fn answer(held: &Keeping, asked: &Asked) -> Answer {
    let Keeping::Record(own) = held else {
        return Answer::Denial;
    };
    let next = asked.record.role_sequence.saturating_add(1);
    let equal = same(own, &asked.record) && own.sync == Sync::Sync && own.owner != asked.asker;
    if planted(Bug::GrantTwice) && !asked.force && own.role_sequence == next {
        return Answer::Grant(assign(next, asked.asker, false));
    }
    if asked.force {
        if asked.other_bound || (own.role_sequence >= next && !planted(Bug::ForceNotLower)) {
            return Answer::Denial;
        }
        return Answer::Grant(assign(next, asked.asker, !equal));
    }
    let equal = equal || (planted(Bug::GrantUnequal) && own.owner != asked.asker);
    if equal && (!asked.owner_heard || planted(Bug::GrantWhileHeard)) {
        let granted = assign(own.role_sequence.saturating_add(1), asked.asker, false);
        if planted(Bug::GrantSync) {
            return Answer::Grant(Record {
                sync: Sync::Sync,
                ..granted
            });
        }
        return Answer::Grant(granted);
    }
    Answer::Denial
}

/// Whether an answer closes the ask: only one that quotes it (R3, story F4).
#[must_use]
pub fn answer_closes(ask: &Ask, quoted: u32) -> bool {
    ask.open && (ask.number == quoted || planted(Bug::AnyAnswerCloses))
}

/// Whether the witness's hello closes the ask: only on a later binding than the one that the ask was sent over, where an
/// answer to it cannot come any more (R3, story F4). Then the hello's record shows whether it was granted.
#[must_use]
pub fn hello_closes(ask: &Ask, sent_over_this_binding: bool) -> bool {
    ask.open && (!sent_over_this_binding || planted(Bug::AnyHelloCloses))
}

/// Whether a record that was persisted closes the ask: one of a higher role_sequence (R3).
#[must_use]
pub const fn record_closes(ask: &Ask, before: &Record, now: &Record) -> bool {
    ask.open && now.role_sequence > before.role_sequence
}

/// Whether a member says hello to its partner again, to be answered, after something that it heard: its ask was closed by that, and its
/// own hello is out there. That hello told of the ask, so it gave the partner no role and confirmed nothing (R2), and nothing else
/// would say it again (docs/decisions/0006). A change of role_sequence is told to the partner anyway.
#[must_use]
pub const fn closing_says_hello(before: &Ask, now: &Ask, said: bool) -> bool {
    before.open && !now.open && said
}

/// What an owner sees of a mirror whose hello carries an open ask.
#[derive(Clone, Copy, Debug)]
pub struct HandBack {
    /// This member.
    pub me: InstanceId,
    /// Its record.
    pub own: Record,
    /// It is incomplete and has not adopted the mirror's tail (R6).
    pub incomplete: bool,
    /// It has an open ask itself: forced service is under way here.
    pub asks: bool,
    /// The mirror's record.
    pub theirs: Record,
    /// The number of the mirror's open ask; 0 when none is open.
    pub their_ask: u32,
}

/// The record that the old owner proposes: above whatever the ask may have been granted (R3). The mirror persists it first, and
/// only when it shows it may the owner persist and use it.
#[must_use]
pub fn hand_back(facts: &HandBack) -> Option<Record> {
    let mine = facts.own.owner == facts.me && facts.theirs.owner == facts.me;
    let may = mine && facts.their_ask != 0 && !facts.incomplete && !facts.asks;
    // A record that was forced stays forced: the loss is not over before the operator's RESUME (R8).
    may.then(|| assign(facts.their_ask.saturating_add(1), facts.me, facts.own.forced))
}

/// What a mirror does about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// Persist it, drop the ask, show it.
    Take(Record),
    /// Not to be taken: answered by the own hello (story F32).
    AnswerByHello,
}

/// What a mirror does about its owner's proposal to keep the role (R3): a higher one from its owner is taken, with its ask open or
/// closed meanwhile. After a grant the owner is another, and it answers by its hello.
#[must_use]
pub fn proposed(own: &Record, proposal: &Record, sender: InstanceId) -> Proposed {
    let higher = proposal.role_sequence > own.role_sequence;
    if higher && proposal.owner == sender && (own.owner == sender || planted(Bug::HandBackAfterGrant)) {
        Proposed::Take(*proposal)
    } else {
        Proposed::AnswerByHello
    }
}

/// Whether a mirror takes blocks, hardens, acknowledges and confirms for its owner: not while an ask is open, and only what
/// comes under the number of its record (R2, R3).
#[must_use]
pub fn takes_blocks(own: &Record, ask: &Ask, role_sequence: u32) -> bool {
    (!ask.open || planted(Bug::HardenWhileAsking))
        && (own.role_sequence == role_sequence || planted(Bug::OldBlocks))
}

/// Whether the record that the witness shows counts for a member that named it at `named` (R5).
#[must_use]
pub fn witness_shows(held: &Keeping, named: &Record) -> Option<Record> {
    match held {
        Keeping::Record(record) if counts(record, named) => Some(*record),
        Keeping::Record(_) | Keeping::Blank | Keeping::Dropped { .. } => None,
    }
}

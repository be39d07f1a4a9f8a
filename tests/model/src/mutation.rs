//! Clauses of the rules that can be left out, one at a time. The switch is here and never in core: a mutant falsifies what a decision is
//! given, or overrules what it answers (docs/decisions/0005).

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident: $rule:literal,)*) => {
        /// A clause that is left out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name, for the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The rule and the story it belongs to.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)* }
            }

            /// What is left out.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)* }
            }
        }
    };
}

mutations! {
    /// Records are taken without their order, and from connections that a USE has unbound.
    StaleSync: "R1, R2: F1",
    /// The owner sends SYNC before it has persisted it.
    SyncBeforePersist: "R1: F2",
    /// An owner at UNSYNC acknowledges alone before anybody confirmed that.
    AloneUnconfirmed: "R1",
    /// An owner acknowledges at once, whatever its record.
    AckWithoutMirror: "R1, I1",
    /// SYNC is recorded while the mirror is behind.
    SyncBeforeLevel: "R1",
    /// SYNC is recorded though the partners name different witnesses.
    SyncWithTwoWitnesses: "R5",
    /// What was learnt over a binding outlives it.
    KnowledgeOutlivesBinding: "R2",
    /// A hello with an open ask confirms like any other.
    AskConfirms: "R2: F45",
    /// The hello states the log while a write of an older binding is under way.
    HelloBeforeWrites: "R2: F49",
    /// Who changes its role_sequence tells nobody over a binding that stands.
    SilentRoleChange: "R2: F32",
    /// Who closes an ask that its hello told of says nothing.
    SilentClosing: "R2 (0006, 11)",
    /// After hand-back on a standing binding the log is not sent.
    NoLogAfterRoleChange: "R2: F59",
    /// What a member says under another role_sequence counts.
    AnyRoleSequence: "R2",
    /// The witness looks at its own record only, and the mirror asks whatever its own says.
    AskUnsync: "R3: F5",
    /// The witness grants though its record says UNSYNC.
    GrantUnsync: "R3",
    /// The witness compares no numbers.
    GrantOtherNumber: "R3, R1",
    /// A grant keeps SYNC.
    GrantKeepsSync: "R3: F3",
    /// A grant takes the ask's number.
    GrantByAskNumber: "R3: F54",
    /// The asker opens before it has persisted the grant.
    OpenBeforePersist: "R3: F7",
    /// The witness answers before it has persisted the grant, and then forgets it.
    GrantNotPersisted: "R3, I5",
    /// A mirror with an open ask goes on hardening and acknowledging for the old owner.
    HardenWhileAsking: "R3: F4",
    /// A mirror with an open ask goes on recording and confirming for the old owner.
    RecordWhileAsking: "R3: F4",
    /// Any hello of the witness closes the ask.
    AnyHelloCloses: "R3: F4",
    /// Any denial closes the ask, whatever it quotes.
    AnyAnswerCloses: "R3: F4",
    /// An ask is forgotten in a crash.
    AskNotPersisted: "R3",
    /// The old owner persists the hand-back before the mirror has.
    OnePhaseHandBack: "R3: F4",
    /// Hand-back takes the ask's own number.
    HandBackAtAsk: "R3",
    /// A mirror takes a hand-back after it has persisted a grant.
    HandBackAfterGrant: "R3",
    /// The old owner makes no proposal.
    NoHandBack: "R3",
    /// A proposal that cannot be taken is not answered.
    ProposalUnanswered: "R2: F32",
    /// FAILOVER: the old principal goes on under its number until the mirror has answered.
    FailoverTellsFirst: "R4: F6",
    /// FAILOVER with a mirror that is behind.
    FailoverNotLevel: "R4",
    /// FAILOVER without UNSYNC: the new record keeps SYNC.
    FailoverKeepsSync: "R4, R1: F3",
    /// A restarted principal opens at once.
    RestartOpens: "R4: F2, I2",
    /// A restarted principal opens on the witness's word without recording UNSYNC.
    RestartWithoutUnsync: "R4",
    /// A restarted principal that has not heard its mirror appends in the old timeline.
    RestartOldTimeline: "R7",
    /// A restarted principal opens though its mirror's hello carries an open ask.
    OpenUnderAsk: "R2, R4",
    /// A witness without a record takes whatever record an owner shows it.
    BlankBelieves: "R5: F8",
    /// A witness without a record grants.
    BlankGrants: "R5",
    /// A registration goes without the mirror's confirmation.
    RegisterUnconfirmed: "R5: F8",
    /// For a registration an old confirmation of the mirror is enough.
    RegisterOldConfirmation: "R5: F47",
    /// An owner at SYNC does not record UNSYNC for a blank witness.
    BlankAtSync: "R5: F59",
    /// A change of witness records no UNSYNC first.
    ChangeWithoutUnsync: "R5 (known survivor)",
    /// The mirror names the new witness at once, not pending.
    ChangeWithoutPending: "R5",
    /// The owner names the new witness before it is registered there.
    OwnerNamesFirst: "R5: F36",
    /// A witness's record that is lower than the number it was named at counts.
    LowerCounts: "R5: F48",
    /// A mirror asks a pending witness.
    PendingAsks: "R5",
    /// A mirror keeps *pending* though its owner shows that witness as its own.
    PendingForEver: "R5",
    /// WITNESS OFF is typed on an owner that reaches neither its witness nor its mirror.
    OffIsolated: "R5: F8",
    /// WITNESS OFF with the mirror away leaves the witness's record as it is.
    OffWithoutDrop: "R5: F8",
    /// WITNESS OFF with the mirror away blanks the witness instead of leaving a mark.
    OffWithoutMark: "R5: F53",
    /// An acknowledgement does not wait for the principal's own storage.
    AckBeforeLocal: "R6: F9",
    /// Durability on the partner: nothing is marked incomplete.
    NotIncomplete: "R6: F9",
    /// A member that finds hardened blocks of its log lost sets no mark.
    LossUnnoticed: "R6 (0006, 12)",
    /// A principal that yields while its log lacks hardened blocks sets none.
    YieldLosesLog: "R6 (0006, 13)",
    /// Its ask is closed by a grant that it may not persist.
    GrantClosesIncomplete: "R6 (0006, 12)",
    /// An equal SYNC record makes an incomplete mirror whole again.
    SyncMakesWhole: "R6 (0006, 12)",
    /// What an incomplete member takes on FORCE with equal SYNC records counts as a take-over that loses nothing.
    IncompleteForceIsTakeover: "R6, R8 (0006, 12)",
    /// Who gave the role away does not take it back from a mirror that declines it.
    NoTakeBack: "R6 (0006, 12)",
    /// A heard record clears the mark.
    RecordClearsIncomplete: "R6: F57",
    /// An incomplete principal hands back before it has adopted, and the mark is gone.
    HandBackBeforeAdopt: "R6: F50",
    /// Durability on the partner is enough at UNSYNC too.
    UnsyncAckWithoutLocal: "R6",
    /// Such a principal records UNSYNC before it has synced its log.
    UnsyncBeforeSync: "R6",
    /// The block of a killed application is withdrawn.
    Withdraw: "R7: F10",
    /// A restarted principal does not adopt its mirror's tail.
    NoAdopt: "R7: F10",
    /// Who takes the role forks at what it was told to be decided.
    ForkAtDecided: "R7: F33",
    /// Who takes the role goes on in the old timeline.
    RoleOldTimeline: "R7",
    /// An old principal does not rewind.
    NoRewind: "R7",
    /// FORCE is not refused while the partner is bound.
    ForceWhileBound: "R8",
    /// FORCE is no ask: nothing is kept open.
    ForceNotAsk: "R8: F44",
    /// The witness numbers a forced grant by its own record.
    ForceFromWitness: "R8: F43",
    /// The witness grants force though its record is not lower.
    ForceNotLower: "R8",
    /// The witness grants force while the other partner is bound to it.
    ForceOtherBound: "R8: F51",
    /// After forced service the old copy is undone before RESUME.
    RewindBeforeResume: "R8",
    /// RESUME is not told to the mirror.
    ResumeUntold: "R8",
    /// Two owners of one role_sequence meet and go on.
    ClashServes: "R8, clash",
    /// FORCE on the owner with equal SYNC records counts as a take-over that loses nothing.
    ForceOnOwnerIsTakeover: "R8: F46",
}

impl Mutation {
    /// The setting that catches it, as far as is known; without one all are searched.
    pub const fn setting(self) -> Option<&'static str> {
        Some(match self {
            Self::AskUnsync
            | Self::GrantUnsync
            | Self::RecordWhileAsking
            | Self::AnyHelloCloses
            | Self::OnePhaseHandBack
            | Self::HandBackAtAsk
            | Self::HandBackAfterGrant
            | Self::NoHandBack
            | Self::ProposalUnanswered
            | Self::SilentRoleChange
            | Self::NoLogAfterRoleChange
            | Self::RoleOldTimeline
            | Self::AnyRoleSequence
            | Self::GrantOtherNumber
            | Self::HardenWhileAsking => "takeover-small",
            Self::SyncBeforeLevel => "slow-ask",
            Self::GrantKeepsSync | Self::GrantByAskNumber | Self::AnyAnswerCloses => "asks",
            Self::NoRewind => "rewind",
            Self::ClashServes => "clash",
            Self::RewindBeforeResume | Self::ResumeUntold => "resume",
            Self::AskNotPersisted => "ask-crash",
            Self::OpenBeforePersist => "persist",
            Self::FailoverTellsFirst | Self::FailoverNotLevel | Self::ForkAtDecided => "failover-small",
            Self::FailoverKeepsSync => "failover-ask",
            Self::RestartOpens | Self::RestartOldTimeline => "power-small",
            Self::RestartWithoutUnsync | Self::OpenUnderAsk => "crash-small",
            Self::BlankBelieves | Self::BlankGrants | Self::RegisterUnconfirmed | Self::BlankAtSync => {
                "blank-small"
            }
            Self::RegisterOldConfirmation => "blank-cuts",
            Self::ChangeWithoutUnsync | Self::OwnerNamesFirst | Self::PendingForEver => "change-small",
            Self::SyncWithTwoWitnesses => "change-small",
            Self::ChangeWithoutPending | Self::PendingAsks | Self::LowerCounts => "stale",
            Self::OffIsolated | Self::OffWithoutMark => "off",
            Self::OffWithoutDrop => "off-force",
            Self::AckBeforeLocal => "power-small",
            Self::UnsyncBeforeSync => "partner-durability-small",
            Self::NotIncomplete | Self::UnsyncAckWithoutLocal => "partner-durability-small",
            Self::LossUnnoticed | Self::NoTakeBack => "rot-tiny",
            Self::YieldLosesLog => "rot-owner",
            Self::SyncMakesWhole | Self::GrantClosesIncomplete => "rot-ask",
            Self::IncompleteForceIsTakeover => "rot-force",
            Self::RecordClearsIncomplete | Self::HandBackBeforeAdopt => "ask-power",
            Self::Withdraw => "alone-small",
            Self::NoAdopt => "power-small",
            Self::HelloBeforeWrites => "slow-power",
            Self::ForceWhileBound
            | Self::ForceNotAsk
            | Self::ForceOtherBound
            | Self::KnowledgeOutlivesBinding => "force-small",
            Self::AskConfirms => "force-failover",
            Self::ForceFromWitness | Self::ForceNotLower | Self::SilentClosing => "force-ask",
            Self::ForceOnOwnerIsTakeover => "force-power",
            _ => return None,
        })
    }

    /// Nothing is lost without it, but a group can get stuck.
    pub const fn stalls(self) -> bool {
        matches!(
            self,
            Self::SilentRoleChange
                | Self::SilentClosing
                | Self::NoLogAfterRoleChange
                | Self::NoHandBack
                | Self::ProposalUnanswered
                | Self::BlankAtSync
                | Self::NoRewind
                | Self::ClashServes
                | Self::ResumeUntold
                | Self::PendingForEver
                | Self::OffWithoutMark
                | Self::NoTakeBack
        )
    }

    /// Why nothing catches it, where that is understood.
    pub const fn survives(self) -> Option<&'static str> {
        Some(match self {
            Self::GrantOtherNumber => {
                "SYNC above the mirror's needs the mirror's own UNSYNC before it, so unequal SYNC records never lack a commit"
            }
            Self::AnyRoleSequence => {
                "a binding keeps the order of messages, so the hello that tells the new number comes first; quoting detects"
            }
            Self::ChangeWithoutUnsync => "the registration at the new witness is UNSYNC by itself",
            Self::HardenWhileAsking => {
                "what it hardens for the old owner is in its log when it opens; recording and confirming is what must not be"
            }
            Self::ProposalUnanswered => {
                "who was given a role says hello to the other partner by itself; the answer only comes sooner"
            }
            Self::FailoverNotLevel => {
                "at SYNC whatever was acknowledged is on the mirror; the clause spares commits that nobody was told of"
            }
            Self::GrantKeepsSync | Self::FailoverKeepsSync => {
                "an owner at SYNC acknowledges nothing without its mirror, and the old owner keeps its log (R6); it would matter \
                 where one comes back without its log, which the model does not have"
            }
            Self::GrantByAskNumber => {
                "an ask is made only when the connection is gone over which an older hand-back could come"
            }
            Self::AnyAnswerCloses => {
                "the answer to an older ask would come over a binding that ended before the newer one was made; quoting detects"
            }
            Self::AnyHelloCloses => {
                "a witness says a second hello over a binding only where its number is above the asker's, which it then refuses"
            }
            Self::RestartWithoutUnsync => {
                "an owner at SYNC acknowledges nothing alone, and records UNSYNC once its mirror is lost"
            }
            Self::OpenUnderAsk => {
                "neither the mirror nor the witness confirms an UNSYNC of such an owner: it serves reads; the clause spares those"
            }
            Self::OwnerNamesFirst => {
                "with the mirror there registration heals it; the time without service while it is away is not searched"
            }
            Self::PendingForEver => {
                "the owner imposes its witness again and again: numbers rise without end, and the search stops at their bound"
            }
            Self::OffWithoutMark => {
                "with the mirror back the usual steps go on; that nobody gets further until then is not searched"
            }
            Self::ForceOtherBound => {
                "the witness's hello leaves to the old owner with the grant, so they overlap for one message; the clause spares a \
                 healthy owner"
            }
            Self::SyncWithTwoWitnesses => {
                "the witness that only the mirror names is pending there, and is not asked"
            }
            _ => return None,
        })
    }
}

//! What has happened at least once, over all seeds: every fault, every kind of message, and the rows of the state table, of the quorum table and
//! of the table of losses (docs/simulator.md). A zero in a row that the product can reach is a failure, and so is a count in one that is
//! listed as out of reach: then the list is old.

use dbmirror_core::message::codec::Message;

macro_rules! rows {
    ($($name:ident = $reach:ident, $text:literal;)*) => {
        /// Something that can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the text of each is beside it, and printed")]
        pub enum Row { $($name,)* }

        impl Row {
            /// All of them, as they are printed.
            pub const ALL: &'static [(Self, Reach, &'static str)] = &[$((Self::$name, Reach::$reach, $text),)*];
        }
    };
}

/// Whether a run can come to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes: a zero is a failure.
    Now,
    /// The product cannot do that yet: anything but zero is a failure.
    NotYet,
    /// In seeds about one thing only.
    Focused,
}

rows! {
    // The state table.
    WaitingForPartner = Now, "state 1: SET PARTNER on the mirror, which waits";
    Started = Now, "state 2: SET PARTNER on the principal: SYNCHRONIZING";
    BecameSynchronized = Now, "state 3: SYNCHRONIZING to SYNCHRONIZED";
    LostWhenSynchronized = Now, "state 4: the link is lost at SYNCHRONIZED";
    LostWhenSynchronizing = Now, "state 5: the link is lost at SYNCHRONIZING";
    LinkRestored = Now, "state 6: the link is back under the same role_sequence";
    YieldedToHigher = Now, "state 7: the partner comes back with a higher role_sequence";
    Suspended = Now, "state 8: SUSPEND";
    Resumed = Now, "state 9: RESUME";
    MirrorStorageRefused = Now, "state 10: the mirror's storage refuses";
    PrincipalReadFailed = Now, "state 11: the principal cannot read what it is to send";
    FailoverBegun = Now, "state 12: FAILOVER: PENDING_FAILOVER";
    FailoverDone = Now, "state 13: the mirror has taken over, the principal is a mirror";
    AutomaticFailover = Now, "state 14: mirror and witness lose the principal: the mirror takes over";
    ForcedService = Now, "state 15: FORCE_SERVICE_ALLOW_DATA_LOSS on the mirror";
    ForcedAndReturned = Now, "state 16: the old principal returns after forced service: SUSPENDED";
    PartnerOff = Now, "state 17: PARTNER OFF";
    LostQuorum = Now, "state 18: the principal loses all quorum";
    RegainedQuorum = Now, "state 19: the principal regains quorum and serves";
    SafetyChanged = Now, "state 20: SAFETY FULL or OFF";
    SuspendedAcrossRestart = Now, "state 21: a member restarts while SUSPENDED";
    MirrorRestarted = Now, "state 22: the mirror restarts";
    PrincipalRestarted = Now, "state 23: the principal restarts, and waits to hear its mirror";
    // The quorum table: links principal-mirror, principal-witness, mirror-witness.
    Quorum111 = Now, "quorum 1 1 1: full";
    Quorum110 = Now, "quorum 1 1 0: the mirror has lost the witness";
    Quorum101 = Now, "quorum 1 0 1: the principal has lost the witness";
    Quorum100 = Now, "quorum 1 0 0: partner to partner";
    Quorum011 = Now, "quorum 0 1 1: exposed, the witness says that the principal lives";
    Quorum010 = Now, "quorum 0 1 0: exposed, the mirror is isolated";
    Quorum001 = Now, "quorum 0 0 1: the mirror takes over";
    Quorum000 = Now, "quorum 0 0 0: nobody serves";
    RecoveryPrincipalFirst = Now, "quorum: from nothing, principal and another meet first";
    RecoveryMirrorWitnessFirst = Now, "quorum: from nothing, mirror and witness meet first";
    // The table of losses.
    PrincipalLosesMirrorAlone = Now, "loss: the principal loses the mirror, no witness";
    PrincipalLosesMirror = Now, "loss: the principal loses the mirror, witness there";
    PrincipalLosesWitness = Now, "loss: the principal loses the witness";
    PrincipalLosesBoth = Now, "loss: the principal loses both";
    MirrorLosesPrincipalAlone = Now, "loss: the mirror loses the principal, no witness";
    MirrorLosesPrincipal = Now, "loss: the mirror loses the principal, witness there";
    MirrorLosesWitness = Now, "loss: the mirror loses the witness";
    MirrorLosesBoth = Now, "loss: the mirror loses both";
    WitnessLosesAnyone = Now, "loss: the witness loses anyone";
    // What a session goes through.
    TailAdopted = Now, "session: a restarted principal adopts its mirror's tail";
    WentOnAlone = Now, "session: a restarted principal goes on without its mirror, in a new timeline";
    Rewound = Now, "session: a mirror undoes a fork";
    Acknowledged = Now, "session: a commit is acknowledged";
    SeedFinished = Now, "session: a seed is complete";
    SeedFailed = Now, "session: a seed fails";
    ReseedMismatch = Now, "session: reseeded, the chains differ";
    ReseedLeftBehind = Now, "session: reseeded, the mirror stands on a timeline that was left";
    ReseedGap = Now, "session: reseeded, changes never reached the log";
    ReseedCannotAdopt = Now, "session: reseeded, the tail cannot be adopted";
    PartnerSilent = Now, "session: the partner is silent for its time-out";
    LogLost = Now, "session: a mirror finds at its start that hardened blocks are gone";
    LogWhole = Now, "session: such a mirror is level again";
    RoleDeclined = Now, "session: such a mirror declines a role, and it is taken back";
    StartFailed = Now, "session: a start fails";
    EndedByPartner = Now, "session: ended by the partner's tombstone";
    // Faults.
    FaultLoss = Now, "fault: loss";
    FaultDelay = Now, "fault: delay";
    FaultNarrow = Now, "fault: a narrow link";
    FaultOneWay = Now, "fault: one-way partition";
    FaultTwoWay = Now, "fault: two-way partition";
    FaultIsolated = Now, "fault: an instance is isolated";
    FaultReset = Now, "fault: one injected reset";
    FaultResetAll = Now, "fault: all connections of an instance are reset";
    FaultSlowMember = Now, "fault: a slow member";
    FaultHungMember = Now, "fault: a hung member";
    FaultKill = Now, "fault: the process is killed";
    FaultPower = Now, "fault: the machine loses its power, and writes that were not synced";
    FaultTorn = Now, "fault: a torn write at the end of a log";
    FaultPowerAll = Now, "fault: all machines lose their power at once";
    FaultCrashInStep = Now, "fault: a crash right after a step, before anything else";
    FaultSyncFails = Now, "fault: a sync fails";
    FaultHungDisk = Now, "fault: a hung disk under a live loop";
    FaultSlowDisk = Now, "fault: a slow disk";
    FaultFullDisk = Now, "fault: the disk refuses";
    FaultRot = Now, "fault: a bit rots in a stored log";
    FaultStalledRedo = Now, "fault: redo stands still";
    FaultClock = Now, "fault: the clock jumps";
    FaultGap = Now, "fault: commits that nobody can capture any more";
    FaultLostWitnessRecord = Now, "fault: the witness restarts without its record";
    FaultUnneededConnection = Now, "fault: a connection that nobody needs, for a test";
    FaultStraggler = Focused, "fault: the last bytes of a dead connection come when a newer one stands";
    FaultMoment = Focused, "fault: something at the very moment of a message, a record or a role";
    FaultEndpointStopped = Now, "fault: the endpoint is stopped and started";
}

/// Kinds of messages that this simulator does not make happen, and why.
pub const KINDS_APART: &[(u16, &str)] = &[
    (0x0006, "rotation of certificates has tests of its own"),
    (0x0007, "rotation of certificates has tests of its own"),
    (0x0008, "rotation of certificates has tests of its own"),
    (0x0030, "a mirror asks by its hello"),
    (
        0x8009,
        "no instance tells the time here: nothing but an appliance's floor follows from it, which has tests of its own",
    ),
    (0x8042, "no instance keeps anything beside a database here"),
];

/// Counts.
#[derive(Clone, Debug)]
pub struct Coverage {
    rows: Vec<u64>,
    kinds: Vec<u64>,
    /// Commits that applications made.
    pub commits: u64,
    /// Faults and operators' commands.
    pub faults: u64,
    /// Virtual time in microseconds.
    pub micros: u64,
    /// Events of the world.
    pub events: u64,
    /// Seeds.
    pub seeds: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            rows: vec![0; Row::ALL.len()],
            kinds: vec![0; Message::KINDS.len()],
            commits: 0,
            faults: 0,
            micros: 0,
            events: 0,
            seeds: 0,
        }
    }
}

impl Coverage {
    /// It happened.
    pub fn hit(&mut self, row: Row) {
        self.rows[row as usize] += 1;
    }

    /// A message of that kind was sent.
    pub fn message(&mut self, kind: u16) {
        if let Some(index) = Message::KINDS.iter().position(|known| *known == kind) {
            self.kinds[index] += 1;
        }
    }

    /// Adds what another run has seen.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.rows.iter_mut().zip(&other.rows) {
            *mine += theirs;
        }
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            *mine += theirs;
        }
        self.commits += other.commits;
        self.faults += other.faults;
        self.micros += other.micros;
        self.events += other.events;
        self.seeds += other.seeds;
    }

    /// The table, and what is wrong with it.
    #[must_use]
    pub fn table(&self) -> (String, Vec<String>) {
        let mut out = String::new();
        let mut wrong = Vec::new();
        for ((_, reach, text), count) in Row::ALL.iter().zip(&self.rows) {
            let note = match (reach, count) {
                (Reach::Now, 0) => {
                    wrong.push(format!("never happened: {text}"));
                    "  <- never"
                }
                (Reach::NotYet, 0) => "  (not yet)",
                (Reach::Focused, 0) => "  (in seeds about one thing only)",
                (Reach::Focused, _) => "",
                (Reach::NotYet, _) => {
                    wrong.push(format!("happens, and is listed as out of reach: {text}"));
                    "  <- listed as out of reach"
                }
                (Reach::Now, _) => "",
            };
            out.push_str(&format!("{count:>12}  {text}{note}\n"));
        }
        for (kind, count) in Message::KINDS.iter().zip(&self.kinds) {
            let apart = KINDS_APART.iter().find(|(apart, _)| apart == kind);
            let note = match (apart, count) {
                (None, 0) => {
                    wrong.push(format!("never sent: messages of kind {kind:#06x}"));
                    "  <- never".to_owned()
                }
                (Some((_, why)), 0) => format!("  ({why})"),
                (Some(_), _) => {
                    wrong.push(format!(
                        "sent, and listed as out of reach: messages of kind {kind:#06x}"
                    ));
                    "  <- listed as out of reach".to_owned()
                }
                (None, _) => String::new(),
            };
            out.push_str(&format!("{count:>12}  message {kind:#06x}{note}\n"));
        }
        (out, wrong)
    }
}

//! What a search explores: who is there, what may happen, and how often.

use crate::bridge::id;
use crate::state::{A, B, Budget, Link, NO_CHANGE, NOBODY, On, Partner, Rec, State, W, Witness};

/// What a search begins with: A is the principal, everything is bound and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// All records are SYNC.
    Sync,
    /// All records are UNSYNC, and confirmed.
    Unsync,
    /// All records are SYNC; the second witness, which nobody names, keeps an older one from an earlier time.
    Stale,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How often what may happen.
    pub budget: Budget,
    /// What it begins with.
    pub begin: Begin,
    /// Witnesses that exist: 0, 1 or 2.
    pub witnesses: u8,
    /// Whether the first one is set at the start.
    pub witness_set: bool,
    /// The second of each pair names connections, not the first.
    pub reversed: bool,
    /// A mirror's write takes time.
    pub slow_writes: bool,
    /// Durability on the partner (R6).
    pub partner_durability: bool,
    /// After forced service nothing is undone before RESUME; otherwise that is as if it were typed at once.
    pub suspends: bool,
    /// The log of a principal may be damaged too, which its file outlives.
    pub owner_rots: bool,
    /// Highest sync_sequence.
    pub numbers: u8,
    /// The witness may have heard the owner lately and deny for that.
    pub courtesy: bool,
    /// Settled states are looked at too.
    pub settled: bool,
    /// Steps after which nothing more happens; 0 is no bound.
    pub steps: u32,
    /// States after which the search gives up; it then says so.
    pub most: u64,
}

/// A setting in which nothing happens.
const QUIET: Setting = Setting {
    name: "",
    about: "",
    budget: Budget {
        commits: 0,
        cuts: 0,
        crashes: 0,
        powers: 0,
        rots: 0,
        losses: 0,
        asks: 0,
        failovers: 0,
        forces: 0,
        changes: 0,
        kills: 0,
        resumes: 0,
        exposes: 0,
    },
    begin: Begin::Sync,
    witnesses: 1,
    witness_set: true,
    reversed: false,
    slow_writes: false,
    partner_durability: false,
    suspends: false,
    owner_rots: false,
    numbers: 5,
    courtesy: false,
    settled: true,
    steps: 0,
    most: 40_000_000,
};

const NONE: Budget = QUIET.budget;

impl Setting {
    /// Pairs that can talk.
    pub const fn pairs(&self) -> usize {
        match self.witnesses {
            0 => 1,
            1 => 3,
            _ => 5,
        }
    }

    /// The bounds in a line.
    pub fn bounds(&self) -> String {
        let b = &self.budget;
        let mut out: Vec<String> = [
            (b.commits, "commits"),
            (b.cuts, "cuts"),
            (b.crashes, "crashes"),
            (b.powers, "power cuts"),
            (b.rots, "damaged logs"),
            (b.losses, "witness losses"),
            (b.asks, "asks"),
            (b.failovers, "FAILOVER"),
            (b.forces, "FORCE"),
            (b.changes, "changes of witness"),
            (b.kills, "kills"),
            (b.resumes, "RESUME"),
            (b.exposes, "SUSPEND"),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
        out.push(format!("{} witnesses", self.witnesses));
        if self.steps > 0 {
            out.push(format!("{} steps", self.steps));
        }
        for (on, what) in [
            (self.reversed, "the other ends name connections"),
            (self.slow_writes, "slow mirror writes"),
            (self.partner_durability, "durability on the partner"),
            (self.suspends, "suspended by forced service"),
            (self.owner_rots, "logs of principals are damaged too"),
            (self.begin == Begin::Unsync, "from UNSYNC"),
            (
                self.begin == Begin::Stale,
                "the second witness keeps an old record",
            ),
        ] {
            if on {
                out.push(what.to_owned());
            }
        }
        out.join(", ")
    }

    /// The state from which the search starts.
    pub fn start(&self) -> State {
        let mut state = State::default();
        let first = Rec {
            role: 1,
            owner: A,
            number: 1,
            sync: self.begin != Begin::Unsync,
            forced: false,
        };
        debug_assert_eq!(crate::bridge::member(id(B)), B);
        let witness = if self.witness_set { W } else { NOBODY };
        for (x, p) in state.partners.iter_mut().enumerate() {
            *p = Partner {
                kept: first,
                rec: first,
                witness,
                named_role: 1,
                timeline: 2,
                up: true,
                serves: x == 0,
                by_mirror: x == 0,
                by_witness: x == 0 && self.witness_set,
                joined: x == 0,
                target: NO_CHANGE,
                mirror_witness: if x == 0 { witness } else { NO_CHANGE },
                ..Partner::default()
            };
        }
        if self.witness_set {
            state.witnesses[0] = Witness { keeps: 1, rec: first };
        }
        if self.begin == Begin::Stale {
            let rec = Rec {
                number: 0,
                sync: false,
                ..first
            };
            state.witnesses[1] = Witness { keeps: 1, rec };
        }
        for link in state.links.iter_mut().take(self.pairs()) {
            *link = Link {
                low_on: true,
                high_on: On::Newest,
                low_said: true,
                low_heard: true,
                high_said: true,
                high_heard: true,
                ..Link::default()
            };
        }
        state.left = self.budget;
        state.ghost.top = 1;
        state.ghost.owners[1] = A + 1;
        state
    }
}

/// The smallest settings: searched in every test run.
pub const TINY: &[Setting] = &[
    Setting {
        name: "takeover-tiny",
        about: "one commit, a cut, one ask",
        budget: Budget {
            commits: 1,
            cuts: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "alone-tiny",
        about: "no witness: commits, a crash, VOID",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            failovers: 1,
            kills: 1,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        ..QUIET
    },
    Setting {
        name: "failover-tiny",
        about: "FAILOVER and a cut",
        budget: Budget {
            commits: 1,
            cuts: 1,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
];

/// The small settings: complete within seconds, for every test run.
pub const SMALL: &[Setting] = &[
    Setting {
        name: "rot-tiny",
        about: "FAILOVER to a mirror that loses hardened blocks, without a witness",
        budget: Budget {
            commits: 1,
            cuts: 1,
            rots: 1,
            failovers: 1,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        ..QUIET
    },
    Setting {
        name: "takeover-small",
        about: "one commit, cuts, one ask",
        budget: Budget {
            commits: 1,
            cuts: 2,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "crash-small",
        about: "one commit, a crash of a partner, one ask",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "failover-small",
        about: "FAILOVER with a cut",
        budget: Budget {
            commits: 1,
            cuts: 2,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "force-small",
        about: "forced service with cuts",
        budget: Budget {
            commits: 1,
            cuts: 2,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "blank-small",
        about: "a witness that loses its record",
        budget: Budget {
            commits: 1,
            cuts: 1,
            losses: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "change-small",
        about: "a change of witness and a cut",
        budget: Budget {
            commits: 1,
            cuts: 1,
            changes: 1,
            ..NONE
        },
        witnesses: 2,
        ..QUIET
    },
    Setting {
        name: "alone-small",
        about: "no witness: commits, crash, FAILOVER, VOID",
        budget: Budget {
            commits: 2,
            cuts: 1,
            crashes: 1,
            failovers: 1,
            kills: 1,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        ..QUIET
    },
    Setting {
        name: "power-small",
        about: "a power cut that loses local writes",
        budget: Budget {
            commits: 2,
            cuts: 1,
            powers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "partner-durability-small",
        about: "a power cut with durability on the partner",
        budget: Budget {
            commits: 1,
            cuts: 1,
            powers: 1,
            ..NONE
        },
        partner_durability: true,
        ..QUIET
    },
];

/// Settings in which mutants are hunted that the small ones do not catch.
pub const HUNTED: &[Setting] = &[
    Setting {
        name: "writes",
        about: "slow mirror writes, a crash of a partner, no witness",
        budget: Budget {
            commits: 2,
            cuts: 1,
            crashes: 1,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        slow_writes: true,
        ..QUIET
    },
    Setting {
        name: "off",
        about: "WITNESS OFF, a change of witness, cuts",
        budget: Budget {
            commits: 1,
            cuts: 1,
            changes: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "asks",
        about: "two asks",
        budget: Budget {
            commits: 1,
            cuts: 1,
            asks: 2,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "slow-ask",
        about: "slow mirror writes, a crash, an ask, from UNSYNC",
        budget: Budget {
            commits: 1,
            crashes: 1,
            asks: 1,
            ..NONE
        },
        begin: Begin::Unsync,
        slow_writes: true,
        ..QUIET
    },
    Setting {
        name: "slow-power",
        about: "slow mirror writes and a power cut, no witness",
        budget: Budget {
            commits: 2,
            powers: 1,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        slow_writes: true,
        ..QUIET
    },
    Setting {
        name: "persist",
        about: "crashes around a grant",
        budget: Budget {
            crashes: 2,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "failover-ask",
        about: "FAILOVER and a take-over after it",
        budget: Budget {
            commits: 1,
            cuts: 2,
            asks: 1,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "blank-cuts",
        about: "forced service, a witness that loses its record, a half-open connection, from UNSYNC",
        budget: Budget {
            commits: 1,
            cuts: 2,
            losses: 1,
            forces: 1,
            ..NONE
        },
        begin: Begin::Unsync,
        numbers: 3,
        ..QUIET
    },
    Setting {
        name: "rewind",
        about: "a take-over beside a commit that never left, and a commit after it",
        budget: Budget {
            commits: 2,
            cuts: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "stale",
        about: "a change to a witness that keeps an old record, and forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            forces: 1,
            changes: 1,
            ..NONE
        },
        begin: Begin::Stale,
        witnesses: 2,
        ..QUIET
    },
    Setting {
        name: "off-force",
        about: "WITNESS OFF and forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            forces: 1,
            changes: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "change-ask",
        about: "a change of witness and an ask",
        budget: Budget {
            commits: 1,
            cuts: 1,
            asks: 1,
            changes: 1,
            ..NONE
        },
        witnesses: 2,
        ..QUIET
    },
    Setting {
        name: "ask-crash",
        about: "an ask and a crash of the asker",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            asks: 1,
            ..NONE
        },
        reversed: true,
        ..QUIET
    },
    Setting {
        name: "force-ask",
        about: "an ask and forced service",
        budget: Budget {
            commits: 1,
            cuts: 2,
            asks: 1,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "force-failover",
        about: "FAILOVER and forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            failovers: 1,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "resume",
        about: "forced service, the old copy's return, RESUME",
        budget: Budget {
            commits: 2,
            cuts: 1,
            crashes: 1,
            forces: 1,
            resumes: 1,
            ..NONE
        },
        suspends: true,
        ..QUIET
    },
    Setting {
        name: "clash",
        about: "service forced on both partners, and on one of them again",
        budget: Budget {
            commits: 2,
            cuts: 1,
            crashes: 1,
            forces: 3,
            ..NONE
        },
        witnesses: 0,
        witness_set: false,
        ..QUIET
    },
    Setting {
        name: "force-power",
        about: "an incomplete principal and forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            powers: 1,
            forces: 1,
            ..NONE
        },
        partner_durability: true,
        ..QUIET
    },
    Setting {
        name: "ask-power",
        about: "an incomplete principal and an ask",
        budget: Budget {
            commits: 1,
            cuts: 1,
            powers: 1,
            asks: 1,
            ..NONE
        },
        partner_durability: true,
        ..QUIET
    },
    Setting {
        name: "rot-force",
        about: "a partner that loses hardened blocks, and forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            rots: 1,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "rot-owner",
        about: "a principal that loses hardened blocks of its log around a take-over and hand-back",
        budget: Budget {
            commits: 1,
            cuts: 1,
            rots: 1,
            asks: 1,
            ..NONE
        },
        owner_rots: true,
        ..QUIET
    },
    Setting {
        name: "rot-ask",
        about: "a partner that loses hardened blocks around a take-over and hand-back",
        budget: Budget {
            commits: 2,
            cuts: 2,
            rots: 1,
            asks: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "rot-mixed",
        about: "a partner that loses hardened blocks: FAILOVER, take-over, forced service",
        budget: Budget {
            commits: 1,
            cuts: 1,
            rots: 1,
            asks: 1,
            failovers: 1,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "rot-crash",
        about: "a partner that loses hardened blocks, and crashes",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            rots: 1,
            asks: 1,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "force-blank",
        about: "forced service and a witness that loses its record",
        budget: Budget {
            commits: 1,
            cuts: 2,
            losses: 1,
            forces: 1,
            ..NONE
        },
        ..QUIET
    },
];

/// The large settings: more than ten million states each, complete within so many steps from the start.
pub const LARGE: &[Setting] = &[
    Setting {
        name: "takeover",
        about: "take-over, hand-back and SUSPEND: two commits",
        budget: Budget {
            commits: 2,
            cuts: 2,
            asks: 1,
            exposes: 1,
            ..NONE
        },
        steps: 25,
        ..QUIET
    },
    Setting {
        name: "takeover-cuts",
        about: "take-over and hand-back: three cuts",
        budget: Budget {
            commits: 1,
            cuts: 3,
            asks: 1,
            ..NONE
        },
        steps: 27,
        ..QUIET
    },
    Setting {
        name: "crash",
        about: "a crash, an ask, restart opening, VOID",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            asks: 1,
            kills: 1,
            ..NONE
        },
        steps: 28,
        ..QUIET
    },
    Setting {
        name: "force",
        about: "take-over and forced service: two commits",
        budget: Budget {
            commits: 2,
            cuts: 2,
            asks: 1,
            forces: 1,
            ..NONE
        },
        steps: 27,
        ..QUIET
    },
    Setting {
        name: "power",
        about: "a power cut and two cuts: two commits",
        budget: Budget {
            commits: 2,
            cuts: 2,
            powers: 1,
            ..NONE
        },
        steps: 25,
        ..QUIET
    },
];

/// Settings without a bound of steps, to be searched by name, for as long as somebody likes.
pub const DEEP: &[Setting] = &[
    Setting {
        name: "failover",
        about: "FAILOVER with three cuts",
        budget: Budget {
            commits: 2,
            cuts: 3,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "failover-crash",
        about: "FAILOVER, take-over and a crash",
        budget: Budget {
            commits: 1,
            cuts: 1,
            crashes: 1,
            asks: 1,
            failovers: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "blank",
        about: "a witness that loses its record",
        budget: Budget {
            commits: 1,
            cuts: 1,
            losses: 1,
            ..NONE
        },
        ..QUIET
    },
    Setting {
        name: "change",
        about: "a change of witness between two, with two cuts",
        budget: Budget {
            commits: 1,
            cuts: 2,
            changes: 1,
            ..NONE
        },
        witnesses: 2,
        ..QUIET
    },
    Setting {
        name: "power-force",
        about: "a power cut with durability on the partner, forced service: two commits",
        budget: Budget {
            commits: 2,
            cuts: 1,
            powers: 1,
            forces: 1,
            ..NONE
        },
        partner_durability: true,
        ..QUIET
    },
];

//! What a seed decides beforehand: how large the group is, how its links and disks are, and which faults it will see. A seed sees only some
//! kinds of faults, so that those it sees meet each other more often.

use dbmirror_core::message::FamilyGuid;
use dbmirror_core::session::DatabaseId;

use crate::dice::Dice;
use crate::faults::{FAULTS, Fault};
use crate::world::family;

/// A database, the two instances that hold it, and the applications that use it.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Its id, the same at both.
    pub id: DatabaseId,
    /// Its name.
    pub name: String,
    /// Its family.
    pub family: FamilyGuid,
    /// Who began as principal, and who as mirror.
    pub pair: [usize; 2],
    /// Its applications wait for the endpoint at every commit.
    pub gated: bool,
    /// The witness that its operator wants.
    pub witness: Option<usize>,
    /// Which of the two is to start the next session as principal.
    pub first: usize,
    /// Between commits, on average, in microseconds.
    pub pace: u64,
    /// Commits so far.
    pub commits: u64,
    /// Since when the two do not agree that there is a session.
    pub odd_since: Option<u64>,
    /// The copy that waits does not lie on the principal's history any more.
    pub stale_copy: bool,
    /// Which links stood when they were looked at last: principal and mirror, principal and witness, mirror and witness.
    pub links: (bool, bool, bool),
    /// No session is set up before this.
    pub off_until: u64,
}

impl Shop {
    /// The instance whose file applications use, by what its operator set up.
    #[must_use]
    pub const fn principal(&self) -> usize {
        self.pair[self.first]
    }

    /// The other.
    #[must_use]
    pub const fn mirror(&self) -> usize {
        self.pair[1 - self.first]
    }
}

/// Bugs of whoever drives an endpoint: the promises that it makes to core, broken one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverBug {
    /// Logs are confirmed before they are durable.
    AckBeforeSync,
    /// A sync that failed is tried again, which succeeds without the data (F25).
    RetrySync,
    /// A restart finds the record before the last one.
    ForgetRecord,
    /// A block is taken whatever chain it follows.
    WrongChain,
    /// After a restart the log goes on at once, over what was offered (F10).
    Withdraw,
    /// A log that is lost back to an earlier block is told as if it were whole.
    ClaimLost,
}

impl DriverBug {
    /// All of them.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::AckBeforeSync, "the storage confirms before its sync (I5)"),
        (
            Self::RetrySync,
            "a failed sync is retried, and believed (F25, I5)",
        ),
        (Self::ForgetRecord, "a restart finds an older record (I5)"),
        (Self::WrongChain, "a block with a wrong chain is taken (I4)"),
        (
            Self::Withdraw,
            "a restarted principal appends before it may (F10, R7)",
        ),
        (Self::ClaimLost, "a damaged log is told as whole (I5)"),
    ];
}

/// FAILOVER and `FORCE_SERVICE_ALLOW_DATA_LOSS`, as their numbers in `World::type_in`.
pub const FAILOVER: u64 = 19;
/// See [`FAILOVER`].
pub const FORCE: u64 = 23;

/// A mix of faults and commands around one thing, in a group of three with one gated database: it happens many times in a few minutes, which
/// otherwise happens once in many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Principals that are lost and come back.
    TakeOver,
    /// FAILOVER, and what cuts it short.
    Failover,
    /// Forced service.
    Force,
    /// Logs that are cut, damaged, slow, or full.
    Logs,
    /// Connections that come and go, each way on its own.
    Links,
    /// A witness that forgets, is dropped and set again.
    Witness,
    /// Sessions that end while others cannot hear it.
    Ends,
    /// All instances lose their power, or everybody restarts.
    Restarts,
    /// Writes that take their time, while connections and processes end.
    Writes,
    /// Whatever goes wrong at the very moment of a message, a record or a role.
    Moments,
}

impl Focus {
    /// All of them, with their names.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::TakeOver, "take-over"),
        (Self::Failover, "failover"),
        (Self::Force, "force"),
        (Self::Logs, "logs"),
        (Self::Links, "links"),
        (Self::Witness, "witness"),
        (Self::Ends, "ends"),
        (Self::Restarts, "restarts"),
        (Self::Writes, "writes"),
        (Self::Moments, "moments"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(focus, _)| *focus == self)
            .map_or("", |(_, name)| name)
    }

    /// The faults that happen.
    const fn faults(self) -> &'static [Fault] {
        use Fault::{
            Clock, CrashInStep, Delay, EndpointStopped, FullDisk, Gap, HungDisk, HungMember, Isolated, Kill,
            LostWitnessRecord, OneWay, Power, PowerAll, Reset, ResetAll, Rot, SlowDisk, SlowMember,
            StalledRedo, Straggler, SyncFails, Trap, TwoWay,
        };
        match self {
            Self::TakeOver => &[
                Kill,
                Power,
                Isolated,
                TwoWay,
                HungMember,
                Delay,
                Reset,
                CrashInStep,
            ],
            Self::Failover => &[
                CrashInStep,
                CrashInStep,
                Reset,
                ResetAll,
                OneWay,
                Delay,
                SlowDisk,
                Kill,
            ],
            Self::Force => &[TwoWay, TwoWay, Isolated, Isolated, OneWay, Kill, Delay],
            Self::Logs => &[
                Rot,
                Power,
                Kill,
                SlowDisk,
                HungDisk,
                FullDisk,
                SyncFails,
                Gap,
                StalledRedo,
            ],
            Self::Links => &[
                OneWay,
                TwoWay,
                Delay,
                Reset,
                ResetAll,
                Isolated,
                SlowMember,
                Clock,
                EndpointStopped,
                Straggler,
                Straggler,
            ],
            Self::Witness => &[LostWitnessRecord, Isolated, TwoWay, OneWay, Kill, Power, Reset],
            Self::Ends => &[TwoWay, Isolated, OneWay, Kill, Power, Delay],
            Self::Restarts => &[
                PowerAll,
                Power,
                Power,
                Kill,
                SlowDisk,
                HungDisk,
                CrashInStep,
                TwoWay,
            ],
            Self::Moments => &[
                Trap, Trap, Trap, Trap, Trap, Trap, Trap, Trap, TwoWay, Kill, Power, Isolated, Reset,
            ],
            Self::Writes => &[
                SlowDisk,
                SlowDisk,
                HungDisk,
                Reset,
                Reset,
                ResetAll,
                Kill,
                Power,
                CrashInStep,
                Straggler,
                Straggler,
                Straggler,
            ],
        }
    }

    /// The commands that operators type, as their numbers in `World::type_in`.
    #[must_use]
    pub const fn commands(self) -> &'static [u64] {
        const SUSPEND: u64 = 0;
        const SAFETY: u64 = 8;
        const NEVER_ADOPT: u64 = 17;
        const OFF: u64 = 18;
        const WITNESS_OFF: u64 = 24;
        match self {
            Self::TakeOver | Self::Links => &[FAILOVER, SAFETY],
            Self::Failover => &[FAILOVER],
            Self::Force => &[FORCE, FORCE, FORCE, FAILOVER],
            Self::Logs | Self::Restarts | Self::Writes => &[FAILOVER, SUSPEND, SAFETY, NEVER_ADOPT],
            Self::Witness => &[WITNESS_OFF, WITNESS_OFF, FAILOVER, FORCE],
            Self::Moments => &[FAILOVER, SAFETY, WITNESS_OFF, SUSPEND],
            Self::Ends => &[OFF, FAILOVER, FORCE, FORCE],
        }
    }
}

/// A seed's decisions.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Instances.
    pub nodes: usize,
    /// Databases.
    pub shops: Vec<Shop>,
    /// How long faults go on, in microseconds.
    pub span: u64,
    /// Between faults, on average.
    pub fault_pace: u64,
    /// Between operators' commands, on average.
    pub operator_pace: u64,
    /// Which of [`FAULTS`] happen, by weight.
    pub faults: Vec<u64>,
    /// What a link takes, in microseconds.
    pub link_base: u64,
    /// Credit of a session in bytes.
    pub credit: u32,
    /// A bug in what drives the endpoint.
    pub bug: Option<DriverBug>,
    /// What it is about, where it is not about everything.
    pub focus: Option<Focus>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0);
        let nodes = 2 + dice.index(2);
        let count = dice.pick(&[1, 1, 1, 2, 2, 3, 4, 8]);
        let span = dice.between(540, 780) * 1_000_000;
        // Some three hundred commits in all, whatever the number of databases.
        let pace = span / 330 * count as u64;
        let shops = (0..count)
            .map(|number| {
                let id = number as u32 + 5;
                let first = if nodes == 2 { 0 } else { dice.index(3) };
                let pair = [first, (first + 1 + dice.index(nodes - 1)) % nodes];
                let pair = if dice.once_in(2) { pair } else { [pair[1], pair[0]] };
                Shop {
                    id: DatabaseId(id),
                    name: format!("shop{number}"),
                    family: family(id),
                    pair,
                    gated: dice.below(3) < 2,
                    witness: (nodes == 3 && dice.below(4) < 3).then(|| 3 - pair[0] - pair[1]),
                    first: 0,
                    pace,
                    commits: 0,
                    odd_since: None,
                    stale_copy: false,
                    links: (true, true, true),
                    off_until: 0,
                }
            })
            .collect();
        let faults = FAULTS
            .iter()
            .map(|(_, weight)| {
                if *weight > 0 && dice.below(5) < 3 {
                    *weight
                } else {
                    0
                }
            })
            .collect();
        Self {
            seed,
            nodes,
            shops,
            span,
            fault_pace: dice.pick(&[8_000_000, 15_000_000, 20_000_000, 30_000_000]),
            operator_pace: dice.pick(&[10_000_000, 25_000_000, 60_000_000]),
            faults,
            link_base: dice.pick(&[100, 500, 2_000, 20_000]),
            bug: None,
            focus: None,
            credit: dice.pick(&[64 * 1024, 256 * 1024, 4 * 1024 * 1024]),
        }
    }

    /// The plan of a seed that is about one thing.
    #[must_use]
    pub fn focused(seed: u64, focus: Focus) -> Self {
        let mut dice = Dice::new(seed, 3);
        let pair = dice.pick(&[[0, 1], [1, 0], [0, 2], [2, 1]]);
        let mut plan = Self::new(seed);
        plan.nodes = 3;
        plan.shops.truncate(1);
        for shop in &mut plan.shops {
            shop.pair = pair;
            shop.witness = (dice.below(5) > 0).then_some(3 - pair[0] - pair[1]);
            shop.gated = true;
            shop.pace = dice.pick(&[60_000, 250_000, 900_000]);
        }
        plan.span = dice.between(120, 200) * 1_000_000;
        plan.fault_pace = dice.pick(&[2_000_000, 4_000_000, 7_000_000]);
        plan.operator_pace = dice.pick(&[3_000_000, 6_000_000, 12_000_000]);
        plan.link_base = dice.pick(&[100, 2_000, 20_000, 150_000]);
        plan.faults = FAULTS
            .iter()
            .map(|(fault, _)| focus.faults().iter().filter(|known| *known == fault).count() as u64)
            .collect();
        plan.focus = Some(focus);
        plan
    }
}

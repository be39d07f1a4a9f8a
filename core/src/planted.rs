//! Bugs on purpose, to see whether the simulator finds them (docs/simulator.md, "Mutants"). Each leaves one rule of `docs/safety.md` out, or
//! bends it, at the place where that rule is decided.
//!
//! Only with the feature `simulation`, which no program that ships may have. Without it `planted` is `false` at compile time.

#[cfg(feature = "simulation")]
use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! bugs {
    ($($name:ident = $text:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $text] $name,)*
        }

        #[cfg(feature = "simulation")]
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What it does.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

bugs! {
    SaidBeforeDurable = "a record is said before the storage has confirmed it (I5)";
    UnboundAccepted = "what comes unbound is looked at, and records are taken without their order (R2, F1)";
    HelloBeforeWrites = "hello is said while writes are under way (F49)";
    UseNotCompared = "an older USE is taken (F1, F35)";
    ChainNotCompared = "chains are not compared where two logs meet (I4)";
    TailIgnored = "a mirror's tail is not adopted (F10)";
    ForkIgnored = "fork ids are not compared (R7)";
    SameTimeline = "a principal that goes on alone begins no new timeline (R7)";
    CreditKept = "credit is not given back";
    AckWithoutMirror = "a commit is acknowledged before the mirror has hardened it (I1)";
    AckWhileClosed = "a commit is acknowledged by who does not serve (I3)";
    AloneUnconfirmed = "UNSYNC is not confirmed before commits are acknowledged alone (R1)";
    AskConfirms = "a hello with an open ask confirms (F45)";
    NoYield = "who hears of a higher role_sequence goes on (I3)";
    RecordWhileAsking = "an asker records what its old owner says (F4)";
    HardenWhileAsking = "an asker takes blocks of its old owner (R3)";
    OldBlocks = "blocks of an older role_sequence are taken (R2)";
    SyncNotLevel = "SYNC is recorded before the mirror is level (R1)";
    SyncWhileOff = "SYNC is recorded at SAFETY OFF or while suspended (R1, R10)";
    AskUnsync = "a mirror asks whatever its record says (F5)";
    AskNotLevel = "a mirror asks that was never level in this run (R3)";
    GrantUnequal = "a witness grants whatever it holds (F5)";
    GrantSync = "a grant leaves the record at SYNC (F3)";
    GrantTwice = "a witness grants one number twice (I2)";
    GrantWhileHeard = "a witness does not mind that it hears the owner (courtesy, R3)";
    AnyAnswerCloses = "an answer to another ask closes the ask (F4)";
    AnyHelloCloses = "any hello of the witness closes the ask (F4)";
    HandBackAfterGrant = "a mirror takes a hand-back after it has persisted a grant (R3)";
    FailoverUnsettled = "FAILOVER does not wait until the mirror is level (R4)";
    RoleBehind = "a new owner opens before its log reaches the end that it was told (R4)";
    OpenUnheard = "a restarted principal opens before it has heard anybody (F38, R4)";
    OpenWithoutTail = "a restarted principal opens before it has adopted (F10)";
    OpenUnprepared = "a restarted principal goes on alone without UNSYNC and a new timeline (R4)";
    ForceWhileBound = "service is forced while the partner is bound (R8)";
    ForceNotLower = "a witness grants forced service over a record that is not lower (F43)";
    LossUnnoticed = "a member that finds hardened blocks lost goes on as if nothing were (R6)";
    BlankBelieves = "a witness without a record takes what an owner shows it (R5, F8)";
    IncompleteOpens = "an incomplete member persists a record that names itself (R6, F50)";
    NoneEnds = "none ends a session (F41)";
    TombstoneAlone = "who hears a tombstone goes on alone whatever the records say (F56)";
}

/// The bugs that are planted: a bit for each place in the list.
#[cfg(feature = "simulation")]
static PLANTED: AtomicU64 = AtomicU64::new(0);

#[cfg(feature = "simulation")]
const _: () = assert!(Bug::ALL.len() <= 64, "a bit for each");

/// The bit of a bug.
#[cfg(feature = "simulation")]
fn bit(bug: Bug) -> u64 {
    let place = Bug::ALL.iter().position(|known| *known == bug);
    place
        .and_then(|place| 1_u64.checked_shl(u32::try_from(place).ok()?))
        .unwrap_or(0)
}

/// Plants these bugs in this process, and no others.
#[cfg(feature = "simulation")]
pub fn plant(bugs: &[Bug]) {
    PLANTED.store(
        bugs.iter().fold(0, |bits, bug| bits | bit(*bug)),
        Ordering::SeqCst,
    );
}

/// Whether that bug is planted.
#[cfg(feature = "simulation")]
pub(crate) fn planted(bug: Bug) -> bool {
    let planted = PLANTED.load(Ordering::Relaxed);
    planted != 0 && planted & bit(bug) != 0
}

/// No bug is planted.
#[cfg(not(feature = "simulation"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

//! Bugs that are planted one at a time, to see how many seeds it takes to find each. One that is not found means that the simulator is too
//! weak, or that the rule it breaks is not needed; which, is said here.

use dbmirror_core::planted::{Bug, plant};

use crate::plan::DriverBug;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// In core.
    Core(Bug),
    /// In what drives it.
    Driver(DriverBug),
}

impl Mutant {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let core = Bug::ALL.iter().map(|bug| Self::Core(*bug));
        let driver = DriverBug::ALL.iter().map(|(bug, _)| Self::Driver(*bug));
        core.chain(driver).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Core(bug) => format!("{bug:?}"),
            Self::Driver(bug) => format!("{bug:?}"),
        }
    }

    /// What it does.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Core(bug) => bug.text(),
            Self::Driver(bug) => DriverBug::ALL
                .iter()
                .find(|(known, _)| *known == bug)
                .map_or("", |(_, text)| text),
        }
    }

    /// Plants it in this process; what drives the endpoint takes its part from the settings.
    #[must_use]
    pub fn plant(self) -> Option<DriverBug> {
        match self {
            Self::Core(bug) => {
                let with = with(bug).map_or(&[][..], |(with, _)| with);
                plant(&[&[bug], with].concat());
                // The storage's own check of the chain stands behind the one that is left out.
                (bug == Bug::ChainNotCompared).then_some(DriverBug::WrongChain)
            }
            Self::Driver(bug) => {
                plant(&[]);
                Some(bug)
            }
        }
    }

    /// Whether the simulator is known to find it (docs/simulator.md has the turns): one of these that is not found any more means that the
    /// simulator has become weaker.
    #[must_use]
    pub const fn is_caught(self) -> bool {
        match self {
            Self::Core(bug) => matches!(
                bug,
                Bug::SaidBeforeDurable
                    | Bug::TailIgnored
                    | Bug::SameTimeline
                    | Bug::CreditKept
                    | Bug::AckWithoutMirror
                    | Bug::AloneUnconfirmed
                    | Bug::NoYield
                    | Bug::SyncNotLevel
                    | Bug::SyncWhileOff
                    | Bug::GrantUnequal
                    | Bug::FailoverUnsettled
                    | Bug::OpenUnheard
            ),
            Self::Driver(bug) => matches!(
                bug,
                DriverBug::AckBeforeSync
                    | DriverBug::RetrySync
                    | DriverBug::ForgetRecord
                    | DriverBug::ClaimLost
            ),
        }
    }

    /// Why it is not found, where that is known.
    #[must_use]
    pub fn survives(self) -> Option<&'static str> {
        match self {
            Self::Core(bug) => match bug {
                Bug::GrantWhileHeard => Some("a courtesy, not a rule of safety"),
                Bug::AskNotLevel => Some("the model has no such flag: all its searches leave the rule out"),
                // The model's reasons (tests/model/src/mutation.rs), some of them under other names there; GrantTwice is by reading.
                Bug::GrantTwice => Some(
                    "of two partners only the one that is not the owner asks, so no number is asked for by both",
                ),
                Bug::AnyAnswerCloses => Some(
                    "the answer to an older ask would come over a binding that ended before the newer one was made",
                ),
                Bug::AnyHelloCloses => Some(
                    "a witness says a second hello over a binding only where its number is above the asker's, which refuses it",
                ),
                Bug::HardenWhileAsking => {
                    Some("what it hardens for the old owner is in its log when it opens")
                }
                Bug::OldBlocks => Some(
                    "a binding keeps the order of messages: the hello that tells the new number comes first",
                ),
                Bug::OpenUnprepared => Some(
                    "an owner at SYNC acknowledges nothing alone, and records UNSYNC once its mirror is lost",
                ),
                _ => None,
            },
            Self::Driver(DriverBug::WrongChain) => {
                Some("core compares chains before it sends; both are left out by ChainNotCompared")
            }
            Self::Driver(_) => None,
        }
    }
}

/// Which bugs are planted together with one, and why: a rule that others stand before is only seen to be missing where they are missing too.
#[must_use]
pub const fn with(bug: Bug) -> Option<(&'static [Bug], &'static str)> {
    Some(match bug {
        Bug::AskNotLevel
        | Bug::GrantUnequal
        | Bug::GrantSync
        | Bug::RecordWhileAsking
        | Bug::HandBackAfterGrant
        | Bug::AskConfirms
        | Bug::AnyAnswerCloses
        | Bug::AnyHelloCloses => (
            &[Bug::GrantWhileHeard],
            "without the courtesy, which is no rule of safety and spares most of the asks that matter here",
        ),
        Bug::AskUnsync => (
            &[Bug::GrantUnequal, Bug::GrantWhileHeard],
            "story F5: neither the mirror nor the witness looks at the record, and there is no courtesy",
        ),
        _ => return None,
    })
}

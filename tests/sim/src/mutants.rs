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
                plant(Some(bug));
                // The storage's own check of the chain stands behind the one that is left out.
                (bug == Bug::ChainNotCompared).then_some(DriverBug::WrongChain)
            }
            Self::Driver(bug) => {
                plant(None);
                Some(bug)
            }
        }
    }

    /// Why it is not found, where that is known.
    #[must_use]
    pub fn survives(self) -> Option<&'static str> {
        match self {
            Self::Core(bug) => match bug {
                Bug::GrantWhileHeard => Some("a courtesy, not a rule of safety"),
                _ => None,
            },
            Self::Driver(DriverBug::WrongChain) => {
                Some("core compares chains before it sends; both are left out by ChainNotCompared")
            }
            Self::Driver(_) => None,
        }
    }
}

//! Looks for a mutant's shortest counterexample.

use crate::events::Event;
use crate::mutation::Mutation;
use crate::search::search;
use crate::settings::{HUNTED, SMALL, Setting, TINY};

/// What became of a mutant.
#[derive(Debug)]
pub enum Verdict {
    /// It was caught.
    Caught {
        /// Where.
        setting: &'static Setting,
        /// What was false.
        what: u8,
        /// The shortest way there.
        way: Vec<Event>,
    },
    /// No setting caught it.
    Survived {
        /// States seen in all.
        states: u64,
    },
}

/// Searches the settings with that clause left out, in order, until one catches it; at most `most` states of each. What must never be
/// false is looked for first; a group that only gets stuck is looked for after that.
pub fn hunt(mutation: Mutation, threads: usize, most: u64) -> Verdict {
    let mut states = 0;
    for settled in [false, true] {
        if mutation.stalls() && !settled {
            continue;
        }
        for setting in TINY.iter().chain(SMALL).chain(HUNTED) {
            if mutation.setting().is_some_and(|only| only != setting.name) {
                continue;
            }
            let bounded = Setting {
                most: most.min(setting.most),
                settled,
                ..*setting
            };
            let found = search(&bounded, Some(mutation), threads);
            states += found.states;
            if let Some((what, way)) = found.violation {
                return Verdict::Caught { setting, what, way };
            }
        }
    }
    Verdict::Survived { states }
}

//! The bodies of the fuzz targets, so that stable tests can replay the corpus.
//!
//! A body takes any bytes, never panics on them itself, and asserts what must hold of every answer.

mod block;
mod certificate;
mod handshake;
mod message;
mod pairing;
mod pfx;
mod pipe;
mod puppet;
mod record;
mod side;
mod stranger;
mod unwrap;

use dbmirror_core::entropy::{Entropy, EntropyError};

/// A target's body.
pub type Body = fn(&[u8]);

/// Every target by its name, which is also the name of its binary and of its corpus folder.
pub const TARGETS: &[(&str, Body)] = &[
    ("block", block::block),
    ("certificate", certificate::certificate),
    ("client", stranger::client),
    ("handshake", handshake::handshake),
    ("message", message::message),
    ("pair", pipe::pair),
    ("pairing", pairing::pairing),
    ("pfx", pfx::pfx),
    ("record", record::record),
    ("server", stranger::server),
    ("session", message::session),
    ("subject", certificate::subject),
    ("unwrap", unwrap::unwrap),
];

/// The body of the target called `name`.
///
/// # Panics
/// When there is none: a binary without its line in [`TARGETS`].
#[must_use]
pub fn body(name: &str) -> Body {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no target is called {name}"))
        .1
}

/// Makes a binary of a target: libFuzzer's entry point under cargo-fuzz; on stable a program that runs the body once for
/// each file named on its command line, to look at a finding with a debugger.
#[macro_export]
macro_rules! fuzz_binary {
    ($name:literal) => {
        #[cfg(fuzzing)]
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::body($name)(data));

        #[cfg(not(fuzzing))]
        fn main() -> ::std::io::Result<()> {
            for path in ::std::env::args_os().skip(1) {
                $crate::body($name)(&::std::fs::read(path)?);
            }
            Ok(())
        }
    };
}

/// Entropy that repeats itself, so that a finding does too.
pub struct Repeating(u8);

impl Repeating {
    /// Counts up from `start`.
    #[must_use]
    pub const fn from(start: u8) -> Self {
        Self(start)
    }
}

impl Entropy for Repeating {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for byte in out {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

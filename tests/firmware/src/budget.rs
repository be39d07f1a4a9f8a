//! What the image may take (`firmware/boards/mps2-an386/budget.toml`), and what it takes.

use std::path::Path;

use object::{Object as _, ObjectSection as _, SectionFlags, elf};

/// Bytes of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Programmed: code, constants, first values.
    pub flash: u64,
    /// RAM that is taken whatever happens; the stack comes on top.
    pub ram: u64,
}

/// Reads the sizes of an ELF.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn sizes(image: &Path) -> Sizes {
    let bytes = std::fs::read(image).expect("the image can be read");
    let file = object::File::parse(&*bytes).expect("the image is an ELF");
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
            continue;
        }
        let in_ram = section.address() >= 0x2000_0000;
        let stored =
            section.kind() != object::SectionKind::UninitializedData && section.file_range().is_some();
        if in_ram {
            sizes.ram += section.size();
        }
        if stored {
            sizes.flash += section.size();
        }
    }
    sizes
}

/// A number of the budget.
///
/// # Panics
/// When the budget has no such line.
#[must_use]
pub fn limit(budget: &str, name: &str) -> u64 {
    budget
        .lines()
        .filter_map(|line| line.split('#').next()?.split_once('='))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, number)| number.trim().replace('_', ""))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("the budget has no number called {name}"))
}

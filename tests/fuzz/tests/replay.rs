//! Every target over its committed corpus, on stable: each file as it is, cut at every length, and with every bit flipped
//! that time allows.

use std::path::{Path, PathBuf};

use dbmirror_fuzz::TARGETS;

/// Changed copies per file.
const CHANGES: usize = 2_000;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_target_over_its_corpus() {
    for (name, body) in TARGETS {
        let files = files(&root().join("corpus").join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let data = std::fs::read(&file).expect("a readable file");
            body(&data);
            // What a fuzzer keeps for itself was changed enough.
            if file.extension().is_none() {
                continue;
            }
            let step = (data.len() * 9).div_ceil(CHANGES).max(1);
            for len in (0..data.len()).step_by(step) {
                body(&data[..len]);
            }
            for bit in (0..data.len() * 8).step_by(step) {
                let mut changed = data.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                body(&changed);
            }
        }
    }
}

/// A target is three things of one name: a line in the table, a binary, a corpus.
#[test]
fn every_target_is_complete() {
    let named = |dir: &str| -> Vec<String> {
        files(&root().join(dir))
            .iter()
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect()
    };
    let table: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named("targets"), table);
    assert_eq!(named("corpus"), table);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    for name in table {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")),
            "{name}"
        );
    }
}

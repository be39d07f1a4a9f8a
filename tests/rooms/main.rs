//! The arrows between rooms point one way (`ARCHITECTURE.md`). Cargo holds the arrows between packages; this test holds
//! those inside core, and core's promise to know nothing of the world.

use std::path::{Path, PathBuf};

/// Core's rooms in order: each may use itself and those before it.
const ROOMS: [&str; 16] = [
    "planted", "time", "secret", "entropy", "places", "wire", "asn1", "crypto", "keys", "cert", "channel",
    "message", "pairing", "session", "witness", "endpoint",
];

/// Rooms that stand beside each other: neither may use the other, whatever their order above.
const APART: [(&str, &str); 1] = [("message", "channel")];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn core_src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src")
}

/// The room that a file of core belongs to: its first folder, or its own name.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(core_src()).expect("a file of core");
    let first = inside
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a source text names by `crate::room` or in `use crate::{room, …}`, its tests left out.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].rsplit('\n').next().unwrap_or("");
        if line.trim_start().starts_with("//") {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or("");
            names.extend(list.split(',').map(|item| first_name(item.trim())));
        } else {
            names.push(first_name(rest));
        }
    }
    names
}

fn first_name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn core_uses_only_what_lies_below() {
    let mut files = Vec::new();
    sources(&core_src(), &mut files);
    assert!(files.len() > ROOMS.len(), "core's sources are found");
    let mut wrong = Vec::new();
    for file in files {
        let own = room(&file);
        if own == "lib"
            || file
                .strip_prefix(core_src())
                .is_ok_and(|inside| inside.to_string_lossy().contains("tests"))
        {
            continue;
        }
        let place = ROOMS
            .iter()
            .position(|name| *name == own)
            .unwrap_or_else(|| panic!("{own} is not a known room"));
        for name in used(&std::fs::read_to_string(&file).expect("a readable file")) {
            let Some(target) = ROOMS.iter().position(|room| *room == name) else {
                continue;
            };
            let apart = APART.iter().any(|(x, y)| *x == own && *y == name);
            if target > place || apart {
                wrong.push(format!("{} uses {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_arrows_can_see() {
    let text = "use crate::wire::Reader;\n// crate::session is not an arrow\nuse crate::{time::Instant, endpoint};\nlet x = crate::keys::y();";
    assert_eq!(used(text), ["wire", "time", "endpoint", "keys"]);
}

#[test]
fn core_knows_no_world() {
    let mut files = Vec::new();
    sources(&core_src(), &mut files);
    for file in files {
        // Tests may print and use std: they never ship.
        if file
            .strip_prefix(core_src())
            .is_ok_and(|inside| inside.to_string_lossy().contains("tests"))
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a readable file");
        for word in [
            "extern crate alloc",
            "unsafe {",
            "unsafe fn",
            "std::time",
            "println!",
        ] {
            let named = text
                .lines()
                .any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert!(!named, "{} holds {word}", file.display());
        }
    }
    let lib = std::fs::read_to_string(core_src().join("lib.rs")).expect("lib.rs");
    assert!(lib.contains("#![no_std]"));
}

/// What a crate includes lies in its own folder, or it would not compile for whom it was packaged. Tests are not part of that.
#[test]
fn a_crate_carries_what_it_includes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository");
    let mut seen = 0;
    for own in ["core", "adapters", "host"].map(|own| root.join(own)) {
        let mut files = Vec::new();
        sources(&own.join("src"), &mut files);
        for file in files {
            let inside = file
                .strip_prefix(&own)
                .expect("a file of it")
                .to_string_lossy()
                .into_owned();
            if inside.contains("/tests/") || inside.ends_with("/tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
            for start in ["include_str!(\"", "include_bytes!(\""] {
                for (at, _) in code.match_indices(start) {
                    let rest = &code[at + start.len()..];
                    let named = rest.split('"').next().unwrap_or("");
                    let path = file.parent().expect("a folder").join(named);
                    let path = path
                        .canonicalize()
                        .unwrap_or_else(|e| panic!("{inside}: {named}: {e}"));
                    assert!(
                        path.starts_with(&own),
                        "{inside} includes {named}, which is not packaged with it"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 4, "quickstart's scripts at least: {seen}");
}

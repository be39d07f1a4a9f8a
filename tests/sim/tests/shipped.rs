//! What the simulator needs is in no program that ships.

use std::process::Command;

/// The features of core that `package` is built with, as cargo resolves them.
fn features_of_core(package: &str, all: bool) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "tree",
        "--offline",
        "--locked",
        "-p",
        package,
        "-e",
        "normal,features",
        "-i",
        "dbmirror-core",
    ]);
    if all {
        command.arg("--all-features");
    }
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("a tree in UTF-8")
}

#[test]
fn planted_bugs_are_in_no_shipped_program() {
    for (package, all) in [
        ("dbmirror", false),
        ("dbmirror", true),
        ("dbmirror-adapters", true),
    ] {
        let tree = features_of_core(package, all);
        assert!(tree.contains("dbmirror-core"), "{tree}");
        for feature in ["simulation", "no-security"] {
            let named = format!("dbmirror-core feature \"{feature}\"");
            assert!(
                !tree.contains(&named),
                "{package} is built with {feature}:\n{tree}"
            );
        }
    }
    // The question is asked in a way that can be answered yes.
    assert!(features_of_core("dbmirror-sim", false).contains("dbmirror-core feature \"simulation\""));
}

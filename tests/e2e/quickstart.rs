//! The README's first command. It binds the documented port on 127.0.0.1 and 127.0.0.2, so its runs follow each other in
//! one test.

use std::process::{Command, Output, Stdio};

use dbmirror_tests::processes::*;

fn quickstart(args: &[&std::ffi::OsStr]) -> Output {
    Command::new(program())
        .arg("quickstart")
        .arg("--exit")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("quickstart runs")
}

fn passed(output: &Output) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("quickstart: PASS"), "{said}");
}

#[test]
fn quickstart_passes_resumes_and_takes_the_users_own_file() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("kept");
    passed(&quickstart(&["--dir".as_ref(), dir.as_os_str()]));
    let again = quickstart(&["--dir".as_ref(), dir.as_os_str()]);
    passed(&again);
    assert!(
        text(&again.stdout).contains("(resumed)"),
        "{}",
        text(&again.stdout)
    );

    let own = root.path().join("own.db");
    open(&own)
        .execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1), (2);")
        .expect("a database");
    let before = std::fs::read(&own).expect("it");
    let dir = root.path().join("other");
    passed(&quickstart(&[
        "--database".as_ref(),
        own.as_os_str(),
        "--dir".as_ref(),
        dir.as_os_str(),
    ]));
    assert_eq!(
        std::fs::read(&own).expect("it"),
        before,
        "the user's file is left alone"
    );

    let taken = std::net::TcpListener::bind(("127.0.0.2", PORT)).expect("free by now");
    let output = quickstart(&[]);
    assert_ne!(output.status.code(), Some(0));
    assert!(
        text(&output.stderr).contains("127.0.0.2:7024"),
        "{}",
        text(&output.stderr)
    );
    drop(taken);

    // Nobody reads what is said (`quickstart | head`): it does its work all the same.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let dir = root.path().join("unread");
    let output = Command::new(program())
        .args(["quickstart", "--exit", "--dir"])
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("quickstart runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

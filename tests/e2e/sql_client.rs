//! `dbmirror sql` as an operator uses it: the documented scripts from files, standard input, pipes, exit codes.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dbmirror_tests::processes::*;

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/e2e/scripts")
        .join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// Runs `dbmirror sql -S DIR arguments…`: exit code, output, errors.
fn sql(host: &Host, arguments: &[&str]) -> (i32, String, String) {
    let mut line = vec!["sql", "-S", host.dir.to_str().expect("UTF-8")];
    line.extend(arguments);
    command(&line)
}

/// What a run prints that must succeed.
#[track_caller]
fn printed(host: &Host, arguments: &[&str]) -> String {
    let (code, out, errors) = sql(host, arguments);
    assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

#[test]
fn documented_scripts_from_files() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", "127.125.0.1");
    let b = Host::start(root.path(), "HOST_B", "127.125.0.2");
    let shown = printed(&a, &["-i", &script("host_a_outbound.sql"), "-W", "-s", "|"]);
    assert!(shown.contains("|ENCRYPTED_BY_MASTER_KEY|"), "{shown}");
    assert!(
        shown.contains("name|role_desc|state_desc|connection_auth_desc|encryption_algorithm_desc\n"),
        "{shown}"
    );
    printed(&b, &["-i", &script("host_b_outbound.sql")]);
    copy_certificate(&a, &b, "HOST_A_cert.cer");
    copy_certificate(&b, &a, "HOST_B_cert.cer");
    printed(&a, &["-i", &script("host_a_inbound.sql")]);
    printed(&b, &["-i", &script("host_b_inbound.sql")]);
    let endpoints = "SELECT name, role_desc, state_desc, connection_auth_desc, encryption_algorithm_desc \
                     FROM sys.database_mirroring_endpoints";
    let expected = "Endpoint_Mirroring|ALL|STARTED|CERTIFICATE|AES\n\n(1 row affected)\n";
    for host in [&a, &b] {
        assert_eq!(
            printed(host, &["-Q", endpoints, "-h", "-1", "-W", "-s", "|"]),
            expected
        );
        let observed = printed(host, &["-i", &script("observe.sql"), "-W", "-s", "|"]);
        assert!(
            observed.contains("|Endpoint_Mirroring|CONNECT|GRANT\n"),
            "{observed}"
        );
    }
    let (code, steps, errors) = command(&[
        "test-connection",
        "-S",
        a.dir.to_str().expect("it works"),
        "TCP://127.125.0.2:7024",
    ]);
    assert_eq!(code, 0, "{steps}{errors}");
    // A second time every CREATE is refused, and nothing else happens.
    let (code, _, errors) = sql(&a, &["-i", &script("host_a_outbound.sql")]);
    assert_eq!(code, 1);
    for number in ["Msg 15578,", "Msg 15232,", "Msg 7862,", "Msg 15240,"] {
        assert!(errors.contains(number), "{number} {errors}");
    }
}

#[test]
fn two_partners_and_a_witness_know_each_other() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let names = ["a", "b", "w"];
    let hosts = names.map(|name| {
        let address = format!("127.126.0.{}", name.as_bytes()[0]);
        Host::start(root.path(), &format!("HOST_{}", name.to_uppercase()), &address)
    });
    for (host, name) in hosts.iter().zip(names) {
        printed(
            host,
            &["-i", &script(&format!("three_hosts/{name}_outbound.sql"))],
        );
    }
    for (from, name) in hosts.iter().zip(names) {
        for to in hosts.iter().filter(|to| to.name != from.name) {
            copy_certificate(from, to, &format!("{}_cert.cer", name.to_uppercase()));
        }
    }
    for (host, name) in hosts.iter().zip(names) {
        printed(host, &["-i", &script(&format!("three_hosts/{name}_inbound.sql"))]);
        let count = |query: &str| host.lines(query);
        let own = "SELECT COUNT(*) FROM sys.certificates WHERE pvt_key_encryption_type_desc = ";
        assert_eq!(count(&format!("{own}'ENCRYPTED_BY_MASTER_KEY'")), ["1"]);
        assert_eq!(count(&format!("{own}'NO_PRIVATE_KEY'")), ["2"]);
        let granted =
            "SELECT COUNT(*) FROM sys.server_permissions WHERE class = 105 AND type = 'CO' AND state = 'G'";
        assert_eq!(count(granted), ["2"]);
    }
    assert_eq!(
        hosts[2].lines("SELECT role_desc FROM sys.database_mirroring_endpoints"),
        ["WITNESS"]
    );
    for from in &hosts {
        for to in hosts.iter().filter(|to| to.name != from.name) {
            let address = format!("TCP://{}:7024", to.address);
            let (code, steps, errors) = command(&[
                "test-connection",
                "-S",
                from.dir.to_str().expect("it works"),
                &address,
            ]);
            assert_eq!(code, 0, "{} to {}: {steps}{errors}", from.name, to.name);
        }
    }
}

#[test]
fn errors_variables_and_files() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut host = Host::start(root.path(), "HOST_A", "127.127.0.1");
    let (code, out, errors) = sql(&host, &["-Q", "PRINT 'one'\nGO\n\nFROM x\nGO\nPRINT 'two'"]);
    assert_eq!((code, out.as_str()), (1, "one\ntwo\n"));
    assert!(
        errors.starts_with("Msg 156, Level 15, State 1, Line 2\n"),
        "{errors}"
    );
    assert_eq!(sql(&host, &["-b", "-Q", "FROM x\nGO\nPRINT 'two'"]).1, "");
    // Nothing of a batch that is not understood is run.
    let (code, out, _) = sql(
        &host,
        &[
            "-Q",
            "CREATE LOGIN half WITH PASSWORD = 'Zz!9-half-a-batch'; FROM x",
        ],
    );
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        host.lines("SELECT COUNT(*) FROM sys.server_principals WHERE name = 'half'"),
        ["0"]
    );
    let file = root.path().join("out.txt");
    let out = printed(
        &host,
        &[
            "-v",
            "WHO=world",
            "-Q",
            "PRINT 'hello $(who)'",
            "-o",
            file.to_str().expect("it works"),
        ],
    );
    assert_eq!(
        (
            out.as_str(),
            std::fs::read_to_string(file).expect("it works").as_str()
        ),
        ("", "hello world\n")
    );
    assert_eq!(sql(&host, &["-Q", "PRINT '$(nobody)'"]).0, 1);
    assert_eq!(sql(&host, &["-i", "/nowhere.sql"]).0, 2);
    assert_eq!(sql(&host, &["-o", "/nowhere/out", "-Q", "PRINT 1"]).0, 2);
    assert_eq!(sql(&host, &["--wrong"]).0, 2);
    let lines = printed(
        &host,
        &[
            "--format",
            "json",
            "-Q",
            "SELECT name, database_id FROM sys.databases",
        ],
    );
    assert!(
        lines.contains("\n{\"kind\":\"row\",\"row\":{\"name\":\"master\",\"database_id\":1}}\n"),
        "{lines}"
    );
    host.stop();
    let nobody = Command::new(program())
        .args(["sql", "-Q", "PRINT 1", "-S"])
        .arg(&host.dir)
        .output()
        .expect("it works");
    assert_eq!(nobody.status.code(), Some(3));
}

#[test]
fn standard_input_and_a_reader_that_leaves() {
    let root = tempfile::tempdir().expect("a temporary directory");
    // Longer than a socket address allows.
    let deep: PathBuf = root.path().join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).expect("it works");
    let host = Host::start(&deep, "HOST_A", "127.128.0.1");
    let spawn = |arguments: &[&str]| {
        Command::new(program())
            .args(["sql", "-S"])
            .arg(&host.dir)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it works")
    };
    let mut child = spawn(&[]);
    let typed = "PRINT 'a'\n  go 2  \n/*\nGO\n*/ PRINT 'b'\nGO\nPRINT 'not run'\nexit\nPRINT 'nor this'\n";
    child
        .stdin
        .take()
        .expect("it works")
        .write_all(typed.as_bytes())
        .expect("it works");
    let output = child.wait_with_output().expect("it works");
    assert_eq!(String::from_utf8(output.stdout).expect("it works"), "a\na\nb\n");
    assert_eq!(output.status.code(), Some(0));

    let many = "PRINT REPLACE('0123456789012345678901234567890123456789', '0', '0000000000000000000000')\nGO 300\n\
                CREATE LOGIN ending WITH PASSWORD = 'Zz!9-behind-it-all'\n";
    let mut child = spawn(&["-Q", many]);
    let mut first = [0; 16];
    child
        .stdout
        .as_mut()
        .expect("it works")
        .read_exact(&mut first)
        .expect("it works");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it works");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
    assert_eq!(
        host.lines("SELECT COUNT(*) FROM sys.server_principals WHERE name = 'ending'"),
        ["1"]
    );
}

//! Keys, certificates and endpoints, configured by the documented scripts.

use std::process::{Command, Stdio};

use dbmirror_tests::processes::*;

#[test]
fn the_documented_scripts_introduce_two_instances() {
    let mut pair = pair(71);
    for (host, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        // The verification queries of the documents.
        let keys = host.ok("SELECT * FROM sys.symmetric_keys");
        assert!(keys.contains("##MS_DatabaseMasterKey##"), "{keys}");
        let certificates = host.ok("USE master; SELECT * FROM sys.certificates;");
        for subject in [
            "HOST_A certificate for database mirroring",
            "HOST_B certificate for database mirroring",
        ] {
            assert!(certificates.contains(subject), "{certificates}");
        }
        let row = host.rows(
            "SELECT name, role_desc, state_desc, connection_auth_desc, encryption_algorithm_desc \
             FROM sys.database_mirroring_endpoints;",
        );
        assert_eq!(
            row,
            [["Endpoint_Mirroring", "ALL", "STARTED", "CERTIFICATE", "AES"]
                .map(String::from)
                .to_vec()]
        );

        let tested = host.test_connection(&other.url());
        assert!(
            tested.status.success(),
            "{}{}",
            text(&tested.stdout),
            text(&tested.stderr)
        );
    }
    // Restarted, everything is still there and the endpoint is up again.
    pair.a.stop();
    pair.a.up();
    assert!(
        pair.a.ready.contains(&format!("endpoint=127.71.0.1:{PORT}")),
        "{}",
        pair.a.ready
    );
    assert!(pair.b.test_connection(&pair.a.url()).status.success());
}

#[test]
fn a_held_connection_is_listed_online_by_both_ends() {
    let pair = pair(72);
    let mut holding = Command::new(program())
        .arg("test-connection")
        .arg("-S")
        .arg(&pair.a.dir)
        .arg(pair.b.url())
        .args(["--hold", "8"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("test-connection starts");
    let query = "SELECT state_desc, login_state_desc, principal_name, is_accept, encryption_algorithm_desc \
                 FROM sys.dm_db_mirroring_connections WHERE state_desc = 'LOGGED_IN'";
    for (host, login, accepted) in [(&pair.a, "HOST_B_login", "0"), (&pair.b, "HOST_A_login", "1")] {
        let row = host.wait("a connection ONLINE", || {
            let rows = host.rows(query);
            rows.into_iter()
                .find(|row| row[1].contains("ONLINE"))
                .ok_or_else(|| "none".to_owned())
        });
        assert_eq!(row[2], login);
        assert_eq!(row[3], accepted);
        assert!(row[4].contains("AES"), "{row:?}");
    }
    assert!(holding.wait().expect("it ends").success());
    for host in [&pair.a, &pair.b] {
        host.wait("no connection", || {
            let rows = host.rows(query);
            if rows.is_empty() {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        });
    }
}

#[test]
fn a_wrong_password_a_cut_certificate_and_unknown_words_change_nothing() {
    let pair = strangers(73);
    let host = &pair.a;
    host.script(OUTBOUND_A);
    host.ok("CREATE LOGIN l WITH PASSWORD = 'Str0ng!pass#1'; CREATE USER u FOR LOGIN l;");
    let before = host.ok("SELECT * FROM sys.certificates");

    host.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = 'not it';", 15313);
    let der = std::fs::read(host.dir.join("backup/HOST_A_cert.cer")).expect("the backup");
    for (name, bytes) in [
        ("short.cer", der[..der.len() / 2].to_vec()),
        ("empty.cer", Vec::new()),
        ("noise.cer", vec![0xA5; 600]),
        ("long.cer", [der.clone(), vec![0; 5_000]].concat()),
    ] {
        std::fs::write(host.dir.join("backup").join(name), bytes).expect("a file");
        let output = host.sql(&[
            "-Q",
            &format!("CREATE CERTIFICATE c AUTHORIZATION u FROM FILE = 'C:\\{name}'"),
        ]);
        assert_eq!(output.status.code(), Some(1), "{name} was accepted");
    }
    host.refused(
        "CREATE CERTIFICATE c AUTHORIZATION u FROM FILE = 'C:\\absent.cer'",
        15208,
    );
    host.refused(
        "CREATE CERTIFICATE c AUTHORIZATION u FROM FILE = 'C:\\..\\..\\master.db'",
        15208,
    );
    host.refused(
        "BACKUP CERTIFICATE HOST_A_cert TO FILE = 'C:\\HOST_A_cert.cer'",
        15240,
    );
    host.refused("FROBNICATE THE DATABASE", 156);
    host.refused("CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7025, COLOUR = RED) FOR DATABASE_MIRRORING (ROLE = ALL)", 102);

    assert_eq!(host.ok("SELECT * FROM sys.certificates"), before);
    assert_eq!(
        host.value("SELECT count(*) FROM sys.endpoints WHERE type_desc = 'DATABASE_MIRRORING'"),
        "1"
    );
}

#[test]
fn no_secret_stands_in_plain_text() {
    let pair = pair(74);
    // The passwords of the scripts, and the private scalar would be 32 bytes that nobody here knows: so the passwords,
    // and the service master key, which only its own file may hold.
    let smk = std::fs::read(pair.a.dir.join("smk.key")).expect("the service master key");
    for needle in [
        b"<1_Strong_Password!>".as_slice(),
        b"<Strong_Password_#2>",
        &smk[smk.len() - 32..],
    ] {
        for host in [&pair.a, &pair.b] {
            assert_eq!(find_bytes(&host.dir, needle, &["smk.key", "script.sql"]), None);
        }
    }
    use std::os::unix::fs::PermissionsExt;
    for (path, mode) in [
        ("", 0o700),
        ("smk.key", 0o600),
        ("master.db", 0o600),
        ("log/errorlog", 0o600),
    ] {
        let found = std::fs::metadata(pair.a.dir.join(path))
            .expect("it exists")
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(found, mode, "{path}: {found:o}");
    }
}

#[test]
fn one_directory_one_instance() {
    let pair = strangers(75);
    let second = Command::new(program())
        .arg("serve")
        .arg("--data")
        .arg(&pair.a.dir)
        .args(["--name", "HOST_A", "--bind", "127.75.0.3", "--quiet"])
        .stdin(Stdio::null())
        .output()
        .expect("serve runs");
    assert_eq!(second.status.code(), Some(4), "{}", text(&second.stderr));
    let mut pair = pair;
    pair.b.stop();
    let other = Command::new(program())
        .arg("serve")
        .arg("--data")
        .arg(&pair.b.dir)
        .args(["--name", "SOMEBODY", "--bind", "127.75.0.3", "--quiet"])
        .stdin(Stdio::null())
        .output()
        .expect("serve runs");
    assert_eq!(other.status.code(), Some(5), "{}", text(&other.stderr));
}

/// Whoever started it may not read what it prints: the reason is in its error log too.
#[test]
fn why_an_instance_did_not_start_is_in_its_error_log() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let start = |dir: &str, name: &str| {
        let dir = root.path().join(dir);
        let output = Command::new(program())
            .arg("serve")
            .arg("--data")
            .arg(&dir)
            .args(["--name", name, "--bind", "127.75.1.1", "--quiet"])
            .stdin(Stdio::null())
            .output()
            .expect("serve runs");
        let log = std::fs::read_to_string(dir.join("log/errorlog")).ok();
        (output.status.code(), text(&output.stderr), log)
    };
    let (code, said, log) = start("named", "two words");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cannot be the name"), "{said}");
    assert_eq!(log, None, "nothing was made under that name");

    // Where the socket is to be, something is that cannot be taken away.
    std::fs::create_dir_all(root.path().join("occupied/admin.sock/by")).expect("a directory");
    let (code, said, log) = start("occupied", "HOST");
    assert_eq!(code, Some(5), "{said}");
    let log = log.expect("its error log");
    assert!(log.contains("did not start: the admin socket"), "{log}");
}

#[test]
fn sqlcmd_habits() {
    let pair = strangers(76);
    let host = &pair.a;
    let output = host.sql(&[
        "-h",
        "-1",
        "-W",
        "-Q",
        "SELECT name FROM sys.databases WHERE name = '$(WHO)'",
        "-v",
        "WHO=master",
    ]);
    assert_eq!(text(&output.stdout).lines().next(), Some("master"));
    // Without -b a later batch still runs, and the exit status tells of the error all the same.
    let script = pair.root.path().join("s.sql");
    std::fs::write(&script, "SELECTED 1\n GO \nPRINT 'after'\nGO 2\n").expect("a script");
    let path = script.to_str().expect("UTF-8");
    let output = host.sql(&["-i", path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout).matches("after").count(),
        2,
        "{}",
        text(&output.stdout)
    );
    let output = host.sql(&["-b", "-i", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stdout).contains("after"));
    let nobody = Command::new(program())
        .args(["sql", "-S", "/nonexistent", "-Q", "PRINT 1"])
        .output()
        .expect("it runs");
    assert_eq!(nobody.status.code(), Some(3));
}

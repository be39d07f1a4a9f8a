//! One instance from outside: start, stop, exit codes, bad input, secrets.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use common::Server;

#[test]
fn ready_line_exit_codes_and_restart() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), "HOST_A", "127.82.1.1");
    let admin = server.dir.canonicalize().unwrap().join("admin.sock");
    let expected = format!("ready name=HOST_A admin={} endpoint=none pid=", admin.display());
    assert!(server.ready.starts_with(&expected), "{}", server.ready);
    let data = server.dir.to_str().unwrap().to_owned();
    let serve = |name: &str| server.command(&["serve", "--data", &data, "--name", name]);
    let (code, _, error) = serve("HOST_A");
    assert_eq!(code, 4, "{error}");
    assert_eq!(server.command(&["serve", "--data", &data]).0, 2);
    assert_eq!(
        server
            .command(&["serve", "--data", "/dev/null/x", "--name", "x"])
            .0,
        5
    );
    let mode = std::fs::metadata(&server.dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    let dir = server.dir.clone();
    assert_eq!(server.stop(), 0);
    assert!(!dir.join("admin.sock").exists());
    let other = Command::new(env!("CARGO_BIN_EXE_dbmirror"))
        .args(["serve", "--name", "HOST_B", "--data"])
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another instance's"));
    // After kill -9 the lock is free and the socket is replaced.
    Server::start(root.path(), "HOST_A", "127.82.1.1").kill();
    let server = Server::start_at(&dir, "host_a", "127.82.1.1");
    assert_eq!(server.rows("SELECT @@SERVERNAME"), ["HOST_A"]);
}

#[test]
fn a_catalog_without_its_key_does_not_start() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), "HOST_A", "127.82.2.1");
    let dir = server.dir.clone();
    server.stop();
    let start = || {
        let output = Command::new(env!("CARGO_BIN_EXE_dbmirror"))
            .args(["serve", "--quiet", "--name", "HOST_A", "--data"])
            .arg(&dir)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let key = std::fs::read(dir.join("smk.key")).unwrap();
    std::fs::remove_file(dir.join("smk.key")).unwrap();
    let (code, error) = start();
    assert_eq!(code, Some(5));
    assert!(error.contains("service master key"), "{error}");
    let mut damaged = key.clone();
    damaged[20] ^= 1;
    std::fs::write(dir.join("smk.key"), &damaged).unwrap();
    assert_eq!(start().0, Some(5));
    std::fs::write(dir.join("smk.key"), &key).unwrap();
    Server::start(root.path(), "HOST_A", "127.82.2.1");
}

#[test]
fn bad_statements_are_refused_and_nothing_changes() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), "HOST_A", "127.82.3.1");
    server.ok("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    let everything = || {
        [
            "symmetric_keys",
            "certificates",
            "endpoints",
            "databases",
            "server_principals",
            "database_principals",
            "server_permissions",
        ]
        .map(|view| server.rows(&format!("SELECT * FROM sys.{view}")))
    };
    let before = everything();
    std::fs::write(server.dir.join("backup/cut.cer"), [0x30, 0x82, 0x01]).unwrap();
    for (statement, numbers) in [
        (
            "OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Passw0rd!>'",
            vec![15313],
        ),
        ("CREATE CERTIFICATE c FROM FILE = 'cut.cer'", vec![15208]),
        ("CREATE CERTIFICATE c FROM FILE = 'none.cer'", vec![15208]),
        ("FROBNICATE THE MASTER KEY", vec![102]),
        (
            "CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (ROLE = SINGER)",
            vec![102],
        ),
        (
            "CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 80) FOR DATABASE_MIRRORING (ROLE = ALL)",
            vec![7810],
        ),
        (
            "CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE none, ROLE = ALL)",
            vec![15151],
        ),
        ("CREATE LOGIN l WITH PASSWORD = 'simple'", vec![15116]),
        ("CREATE USER u FOR LOGIN nobody", vec![15007]),
        ("GRANT CONNECT ON ENDPOINT::e TO nobody", vec![15151]),
        ("USE nowhere", vec![911]),
        (
            "ALTER DATABASE nowhere SET PARTNER = 'TCP://127.0.0.1:7024'",
            vec![5011, 5069],
        ),
        (
            "ALTER DATABASE master SET PARTNER = 'TCP://127.0.0.1:7024'",
            vec![5058, 5069],
        ),
        ("DROP DATABASE nowhere", vec![3701]),
        ("BACKUP DATABASE nowhere TO DISK = 'x.bak'", vec![911, 3013]),
        ("RESTORE DATABASE nowhere FROM DISK = 'x.bak'", vec![3201, 3013]),
    ] {
        let refused = server.refused(statement);
        if numbers != [102] {
            assert_eq!(refused, numbers, "{statement}");
        }
        assert_eq!(everything(), before, "{statement}");
    }
}

#[test]
fn no_secret_lies_in_a_file_or_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), "HOST_A", "127.82.4.1");
    let passwords = ["Canary-one-1!x", "Canary-two-2!y", "Canary-tri-3!z"];
    server.ok(&format!(
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{}';
         CREATE CERTIFICATE c ENCRYPTION BY PASSWORD = '{}' WITH SUBJECT = 'c', EXPIRY_DATE = '2036-01-01';
         CREATE CERTIFICATE d WITH SUBJECT = 'd', EXPIRY_DATE = '2036-01-01';
         CREATE LOGIN l WITH PASSWORD = '{}'",
        passwords[0], passwords[1], passwords[2]
    ));
    // Refused statements, and one that cannot be parsed, must not repeat what they hold.
    server.run(&format!(
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{}'",
        passwords[0]
    ));
    server.run(&format!(
        "OPEN MASTER KEY DECRYPTION BY PASSWORD = '{}x'",
        passwords[0]
    ));
    server.run(&format!(
        "CREATE LOGIN m WITH PASSWORD = '{}' NONSENSE",
        passwords[2]
    ));
    let key = std::fs::read(server.dir.join("smk.key")).unwrap();
    let secret = &key[8..40];
    let mut searched = 0;
    let mut search = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        searched += 1;
        for canary in passwords {
            let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
            for needle in [canary.as_bytes(), &wide] {
                assert!(
                    !bytes.windows(needle.len()).any(|part| part == needle),
                    "{canary} in {}",
                    path.display()
                );
            }
        }
        if path.file_name().unwrap() != "smk.key" {
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret),
                "the key in {}",
                path.display()
            );
        }
    };
    let mut dirs = vec![server.dir.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => dirs.push(entry.path()),
                kind if kind.is_file() => search(&entry.path()),
                _ => {}
            }
        }
    }
    assert!(searched >= 4, "{searched}");
}

//! One instance from outside: start, stop, exit codes, bad input, secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use dbmirror_tests::processes::*;

#[test]
fn ready_line_exit_codes_and_restart() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut host = Host::start(root.path(), "HOST_A", "127.121.0.1");
    let admin = host.dir.canonicalize().expect("it exists").join("admin.sock");
    let expected = format!("ready name=HOST_A admin={} endpoint=none pid=", admin.display());
    assert!(host.ready.starts_with(&expected), "{}", host.ready);
    let data = host.dir.to_str().expect("UTF-8").to_owned();
    let (code, _, error) = command(&["serve", "--data", &data, "--name", "HOST_A"]);
    assert_eq!(code, 4, "{error}");
    assert_eq!(command(&["serve", "--data", &data]).0, 2);
    assert_eq!(command(&["serve", "--data", "/dev/null/x", "--name", "x"]).0, 5);
    let mode = std::fs::metadata(&host.dir)
        .expect("it exists")
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o700);
    host.stop();
    assert!(!host.dir.join("admin.sock").exists());
    let (code, _, error) = command(&["serve", "--name", "HOST_B", "--data", &data]);
    assert_eq!(code, 5);
    assert!(error.contains("another instance's"), "{error}");
    // After kill -9 the lock is free and the socket is replaced; a name is one in any case of letters.
    host.up();
    host.kill();
    host.name = "host_a".to_owned();
    host.up();
    assert_eq!(host.value("SELECT @@SERVERNAME"), "HOST_A");
}

#[test]
fn a_catalog_without_its_key_does_not_start() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut host = Host::start(root.path(), "HOST_A", "127.122.0.1");
    host.stop();
    let data = host.dir.to_str().expect("UTF-8").to_owned();
    let start = || command(&["serve", "--quiet", "--name", "HOST_A", "--data", &data]);
    let file = host.dir.join("smk.key");
    let key = std::fs::read(&file).expect("the key");
    std::fs::remove_file(&file).expect("the key");
    let (code, _, error) = start();
    assert_eq!(code, 5);
    assert!(error.contains("service master key"), "{error}");
    let mut damaged = key.clone();
    damaged[20] ^= 1;
    std::fs::write(&file, &damaged).expect("the key");
    assert_eq!(start().0, 5);
    std::fs::write(&file, &key).expect("the key");
    host.up();
}

#[test]
fn bad_statements_are_refused_and_nothing_changes() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let host = Host::start(root.path(), "HOST_A", "127.123.0.1");
    host.ok("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
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
        .map(|view| host.lines(&format!("SELECT * FROM sys.{view}")))
    };
    let before = everything();
    std::fs::write(host.dir.join("backup/cut.cer"), [0x30, 0x82, 0x01]).expect("a file");
    let endpoint = "CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT =";
    for (statement, numbers) in [
        (
            "OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Passw0rd!>'",
            &[15313][..],
        ),
        ("CREATE CERTIFICATE c FROM FILE = 'cut.cer'", &[15208]),
        ("CREATE CERTIFICATE c FROM FILE = 'none.cer'", &[15208]),
        ("FROBNICATE THE MASTER KEY", &[102]),
        (
            &format!("{endpoint} 7024) FOR DATABASE_MIRRORING (ROLE = SINGER)"),
            &[102],
        ),
        (
            &format!("{endpoint} 80) FOR DATABASE_MIRRORING (ROLE = ALL)"),
            &[7810],
        ),
        (
            &format!(
                "{endpoint} 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE none, ROLE = ALL)"
            ),
            &[15151],
        ),
        ("CREATE LOGIN l WITH PASSWORD = 'simple'", &[15116]),
        ("CREATE USER u FOR LOGIN nobody", &[15007]),
        ("GRANT CONNECT ON ENDPOINT::e TO nobody", &[15151]),
        ("USE nowhere", &[911]),
        (
            "ALTER DATABASE nowhere SET PARTNER = 'TCP://127.0.0.1:7024'",
            &[5011, 5069],
        ),
        (
            "ALTER DATABASE master SET PARTNER = 'TCP://127.0.0.1:7024'",
            &[5058, 5069],
        ),
        ("DROP DATABASE nowhere", &[3701]),
        ("BACKUP DATABASE nowhere TO DISK = 'x.bak'", &[911, 3013]),
        ("RESTORE DATABASE nowhere FROM DISK = 'x.bak'", &[3201, 3013]),
    ] {
        assert_eq!(host.refusals(statement), numbers, "{statement}");
        assert_eq!(everything(), before, "{statement}");
    }
}

#[test]
fn refused_statements_leave_no_password_behind() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let host = Host::start(root.path(), "HOST_A", "127.124.0.1");
    let [one, two, three] = ["Canary-one-1!x", "Canary-two-2!y", "Canary-tri-3!z"];
    host.ok(&format!(
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{one}';
         CREATE CERTIFICATE c ENCRYPTION BY PASSWORD = '{two}' WITH SUBJECT = 'c', EXPIRY_DATE = '2036-01-01';
         CREATE CERTIFICATE d WITH SUBJECT = 'd', EXPIRY_DATE = '2036-01-01';
         CREATE LOGIN l WITH PASSWORD = '{three}'"
    ));
    // Refused statements, and one that cannot be parsed, must not repeat what they hold.
    for statement in [
        format!("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{one}'"),
        format!("OPEN MASTER KEY DECRYPTION BY PASSWORD = '{one}x'"),
        format!("CREATE LOGIN m WITH PASSWORD = '{three}' NONSENSE"),
    ] {
        let output = Command::new(program())
            .args(["sql", "-S"])
            .arg(&host.dir)
            .args(["-Q", &statement])
            .stdin(Stdio::null())
            .output()
            .expect("the client runs");
        assert_eq!(output.status.code(), Some(1), "{statement}");
        for canary in [one, three] {
            assert!(!text(&output.stderr).contains(canary), "{}", text(&output.stderr));
        }
    }
    for canary in [one, two, three] {
        let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for needle in [canary.as_bytes(), &wide] {
            assert_eq!(find_bytes(&host.dir, needle, &[]), None, "{canary}");
        }
    }
}

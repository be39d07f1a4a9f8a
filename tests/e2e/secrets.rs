//! Where passwords and keys must not be, and what an instance says when a key cannot be opened.

use std::io::{Read, Seek, SeekFrom};
use std::process::{Command, Stdio};

use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::keys::{PrivateKey, kwp_unwrap};
use dbmirror_core::secret::Secret;
use dbmirror_tests::processes::*;

/// Which of `needles` stand in the writable memory of process `pid`. Needs the right to look: root has it, and nobody else
/// may, since the process is not dumpable.
fn in_memory(pid: u32, needles: &[Vec<u8>]) -> Vec<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process's map");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("the process's memory");
    let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
    let mut found = vec![false; needles.len()];
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (Some(range), Some(rights)) = (parts.next(), parts.next()) else {
            continue;
        };
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        let mut chunk = vec![0; 1 << 20];
        let mut at = start;
        while at < end {
            let length = usize::try_from((end - at).min(1 << 20)).expect("a length");
            if memory.seek(SeekFrom::Start(at)).is_err() || memory.read_exact(&mut chunk[..length]).is_err() {
                break;
            }
            for (needle, found) in needles.iter().zip(&mut found) {
                // A rare byte first: most places are left at once.
                *found = *found
                    || chunk[..length]
                        .windows(needle.len())
                        .any(|window| window == needle);
            }
            if at + length as u64 == end {
                break;
            }
            at += (length - longest) as u64;
        }
    }
    found
}

#[test]
fn passwords_are_gone_when_their_statement_has_ended() {
    let root = tempfile::tempdir().expect("a directory");
    let host = Host::start(root.path(), "HOST_A", "127.161.0.1");
    if std::fs::File::open(format!("/proc/{}/mem", host.pid())).is_err() {
        // Not root: then the kernel keeps everybody out, which is the other half of the promise.
        return;
    }
    host.ok("CREATE DATABASE d");
    // Put together here, so that none of them stands in a constant of any program.
    let canary = |number: usize| format!("{}-{number}-Canary{}", "Qz7", number * 7919);
    let statements = [
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{}'",
        "ALTER MASTER KEY ADD ENCRYPTION BY PASSWORD = '{}'",
        "OPEN MASTER KEY DECRYPTION BY PASSWORD = '{0}'; CLOSE MASTER KEY; BACKUP MASTER KEY TO FILE = 'm' ENCRYPTION BY PASSWORD = '{}'",
        "BACKUP SERVICE MASTER KEY TO FILE = 's' ENCRYPTION BY PASSWORD = '{}'",
        "CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2046-01-01'; BACKUP CERTIFICATE c TO FILE = 'c' WITH PRIVATE KEY (FILE = 'k', ENCRYPTION BY PASSWORD = '{}')",
        "BACKUP CERTIFICATE c TO FILE = 'p' WITH FORMAT = 'PFX', PRIVATE KEY (ENCRYPTION BY PASSWORD = '{}')",
        "CREATE CERTIFICATE pw ENCRYPTION BY PASSWORD = '{}' WITH SUBJECT = 'y', EXPIRY_DATE = '2046-01-01'",
        "CREATE LOGIN l WITH PASSWORD = '{}'",
        "EXEC sp_control_dbmasterkey_password @db_name = N'd', @password = N'{}', @action = N'add'",
    ];
    for (number, statement) in statements.iter().enumerate() {
        host.ok(&statement
            .replace("{}", &canary(number))
            .replace("{0}", &canary(0)));
    }
    let mut needles: Vec<Vec<u8>> = (0..statements.len()).map(|n| canary(n).into_bytes()).collect();
    // What does stand there, so that a search that finds nothing means something.
    needles.push(b"HOST_A".to_vec());
    let found = in_memory(host.pid(), &needles);
    assert_eq!(found.last(), Some(&true), "the search sees the process's memory");
    let left: Vec<&str> = statements
        .iter()
        .zip(&found)
        .filter(|(_, found)| **found)
        .map(|(statement, _)| *statement)
        .collect();
    assert!(left.is_empty(), "passwords in memory after {left:?}");
    for needle in &needles[..statements.len()] {
        assert_eq!(find_bytes(&host.dir, needle, &[]), None);
    }
}

#[test]
fn a_crash_leaves_no_picture_of_the_memory() {
    let root = tempfile::tempdir().expect("a directory");
    let host = Host::start(root.path(), "HOST_A", "127.161.0.2");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.pid())).expect("the limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("the limit");
    let values: Vec<_> = line.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{line}");
}

/// Every key of the hierarchy, taken out by the one who may, and looked for where none may be.
#[test]
fn no_key_stands_outside_of_its_wrapping() {
    let pair = pair(162);
    let host = &pair.a;
    let file = host.value("SELECT CERTPRIVATEKEY(CERT_ID('HOST_A_cert'), '<3_Strong_Password!>')");
    let file = hex::decode(file.trim_start_matches("0x")).expect("hexadecimal");
    let scalar =
        PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&file, b"<3_Strong_Password!>").expect("a key");
    let smk = std::fs::read(host.dir.join("smk.key")).expect("the service master key");
    let smk: [u8; 32] = smk[8..40].try_into().expect("32 bytes");
    let wrapped: Vec<u8> = open(&host.dir.join("master.db"))
        .query_row(
            "SELECT by_service_master_key FROM master_key WHERE database_id = 1",
            [],
            |row| row.get(0),
        )
        .expect("the master key");
    let mut plain = [0; 40];
    let len =
        kwp_unwrap(&Secret::new(smk), &wrapped[wrapped.len() - 48..], &mut plain).expect("the key opens");
    let dmk = &plain[1..len];
    for (what, key) in [
        ("service master key", &smk[..]),
        ("database master key", dmk),
        ("private key", &scalar.scalar().expose()[..]),
    ] {
        let digits = hex::encode(key);
        for needle in [key, digits.as_bytes(), digits.to_uppercase().as_bytes()] {
            for host in [&pair.a, &pair.b] {
                assert_eq!(find_bytes(&host.dir, needle, &["smk.key"]), None, "{what}");
            }
        }
    }
}

/// A mirror whose directory is put on another machine: with its passphrase it goes on, with another one it says which key
/// cannot be opened and does not start.
#[test]
fn a_restored_mirror_says_which_key_is_missing() {
    let mut pair = pair(163);
    let file = pair.mirrored("Sales");
    let secret = pair.root.path().join("passphrase");
    std::fs::write(&secret, "correct horse battery\n").expect("a file");
    pair.b.stop();
    pair.b.options = vec![
        "--service-key".to_owned(),
        format!("passphrase-file={}", secret.display()),
    ];
    pair.b.up();
    pair.a
        .await_mirroring("Sales", "mirroring_state_desc", "SYNCHRONIZED");
    pair.b.stop();
    // The other machine: nothing but a copy of the directory.
    let before = pair.root.path().join("before");
    std::fs::rename(&pair.b.dir, &before).expect("moved");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&before)
        .arg(&pair.b.dir)
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    std::fs::write(&secret, "incorrect horse battery\n").expect("a file");
    let refused = Command::new(program())
        .arg("serve")
        .arg("--data")
        .arg(&pair.b.dir)
        .args(["--name", "HOST_B", "--bind", &pair.b.address, "--quiet"])
        .args(&pair.b.options)
        .stdin(Stdio::null())
        .output()
        .expect("serve runs");
    assert_eq!(refused.status.code(), Some(5));
    let said = text(&refused.stderr);
    assert!(
        said.contains("smk.key: the service master key cannot be opened: the passphrase"),
        "{said}"
    );
    std::fs::write(&secret, "correct horse battery\n").expect("a file");
    pair.b.up();
    assert!(pair.b.log().contains("the key of the endpoint can be opened"));
    pair.level("Sales");
    pair.assert_level_and_equal("Sales", &file);

    // Without its key, but with the password of the master key: the endpoint comes back after one statement.
    pair.b.stop();
    std::fs::remove_file(pair.b.dir.join("smk.key")).expect("removed");
    pair.b.options = vec!["--new-service-key".to_owned()];
    pair.b.up();
    assert!(pair.b.ready.contains("endpoint=none"), "{}", pair.b.ready);
    assert!(
        pair.b.log().contains(
            "the master key of master does not open by itself: it is encrypted by another service master key"
        ),
        "{}",
        pair.b.log()
    );
    let said = pair
        .b
        .refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = 'not it at all'", 15313);
    assert!(said.contains("master key of database 'master'"), "{said}");
    pair.b.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<Strong_Password_#2>'; ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY; CLOSE MASTER KEY;
               ALTER ENDPOINT Endpoint_Mirroring STATE = STARTED");
    pair.b.options.clear();
    pair.level("Sales");
}

/// The key as a service manager hands it over: nothing of it lies in the directory.
#[test]
fn a_credential_takes_the_place_of_the_key_file() {
    let root = tempfile::tempdir().expect("a directory");
    let mut host = Host::start(root.path(), "HOST_A", "127.165.0.1");
    host.ok("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    host.stop();
    let credentials = root.path().join("credentials");
    std::fs::create_dir(&credentials).expect("a directory");
    std::fs::rename(host.dir.join("smk.key"), credentials.join("dbmirror-smk")).expect("moved");
    host.options = vec!["--service-key".to_owned(), "credential".to_owned()];
    let mut command = Command::new(program());
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    host.up_with(command);
    host.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2046-01-01'");
    host.refused("ALTER SERVICE MASTER KEY REGENERATE", 15508);
    host.ok("CREATE CERTIFICATE d WITH SUBJECT = 'x', EXPIRY_DATE = '2046-01-01'");
    assert!(!host.dir.join("smk.key").exists());
    host.stop();
    let refused = Command::new(program())
        .arg("serve")
        .arg("--data")
        .arg(&host.dir)
        .args(["--name", "HOST_A", "--quiet", "--service-key", "credential"])
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .expect("serve runs");
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("CREDENTIALS_DIRECTORY"));
}

/// The master key of a user database is where the database is; a password that was kept opens it on the mirror.
#[test]
fn a_master_key_travels_with_its_session() {
    let mut pair = pair(164);
    pair.mirrored("Sales");
    let opens = |host: &Host, wanted: &str| {
        host.wait(&format!("is_master_key_encrypted_by_server = {wanted}"), || {
            let shown = host
                .value("SELECT is_master_key_encrypted_by_server FROM sys.databases WHERE name = 'Sales'");
            if shown == wanted { Ok(()) } else { Err(shown) }
        });
    };
    let keep = |host: &Host, password: &str| {
        host.ok(&format!(
            "EXEC sp_control_dbmasterkey_password @db_name = N'Sales', @password = N'{password}', @action = N'add'"
        ));
    };
    keep(&pair.b, "<3_Strong_Password!>");
    pair.a
        .ok("USE Sales; CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'");
    opens(&pair.b, "1");
    // Another key, whose password nobody has kept there.
    pair.a
        .ok("USE Sales; ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<4_Strong_Password!>'");
    opens(&pair.b, "0");
    keep(&pair.b, "<4_Strong_Password!>");
    opens(&pair.b, "1");
    // Changed while the mirror is away: told when it is back.
    pair.b.stop();
    pair.a
        .ok("USE Sales; ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'");
    pair.b.up();
    pair.a
        .await_mirroring("Sales", "mirroring_state_desc", "SYNCHRONIZED");
    opens(&pair.b, "1");
    // The copy serves, and its key opens by itself.
    pair.level("Sales");
    pair.a.ok("ALTER DATABASE Sales SET PARTNER OFF");
    pair.b.wait("the end of the session", || {
        let rows = pair.b.rows("SELECT mirroring_guid FROM sys.database_mirroring WHERE database_id = DB_ID('Sales') AND mirroring_guid IS NOT NULL");
        if rows.is_empty() { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    pair.b.ok("RESTORE DATABASE Sales WITH RECOVERY");
    pair.b
        .ok("USE Sales; CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2046-01-01'");
    pair.b
        .ok("USE Sales; OPEN MASTER KEY DECRYPTION BY PASSWORD = '<3_Strong_Password!>'");
}

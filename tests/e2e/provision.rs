//! The memory of an appliance from a script, as a user makes one.

use std::path::Path;

use dbmirror_tests::processes::{Host, OUTBOUND_A, command, contains};

const PASSWORD: &str = "=Sample#7_Strong_Password7";

fn script(dir: &Path) -> String {
    let path = dir.join("device.sql");
    std::fs::write(
        &path,
        format!(
            "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{PASSWORD}';
GO
CREATE CERTIFICATE WITNESS_cert WITH SUBJECT = 'WITNESS certificate', EXPIRY_DATE = '2044-01-01';
CREATE ENDPOINT Endpoint_Mirroring STATE = STARTED
   AS TCP (LISTENER_PORT = 7024, LISTENER_IP = ALL)
   FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE WITNESS_cert, ENCRYPTION = REQUIRED ALGORITHM AES, ROLE = WITNESS);
GO
CREATE LOGIN HOST_A_login WITH PASSWORD = '{PASSWORD}';
CREATE USER HOST_A_user FOR LOGIN HOST_A_login;
CREATE CERTIFICATE HOST_A_cert AUTHORIZATION HOST_A_user FROM FILE = 'C:\\HOST_A_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_A_login;
GO
"
        ),
    )
    .expect("the script can be written");
    path.to_str().expect("a UTF-8 path").to_owned()
}

#[test]
fn a_script_becomes_a_memory_that_is_shown_without_its_secrets() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let host = Host::start(root.path(), "HOST_A", "127.215.0.1");
    host.script(OUTBOUND_A);
    let dir = root.path().join("device");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::copy(
        host.dir.join("backup/HOST_A_cert.cer"),
        dir.join("HOST_A_cert.cer"),
    )
    .expect("a certificate");
    let at = |name: &str| dir.join(name).to_str().expect("a UTF-8 path").to_owned();
    let script = script(&dir);
    let (image, key) = (at("nvm.img"), at("device.key"));
    let make = [
        "provision",
        "--out",
        &image,
        "--device-key",
        &key,
        "--name",
        "WITNESS_1",
        "--address",
        "192.168.1.9/24",
        "--peer",
        "HOST_A_login=192.168.1.10:7024",
        &script,
    ];
    let (code, said, wrong) = command(&make);
    assert_eq!(code, 0, "{said}{wrong}");
    let (code, shown, wrong) = command(&["provision", "--show", &image, "--device-key", &key]);
    assert_eq!(code, 0, "{shown}{wrong}");
    for line in [
        "name             WITNESS_1",
        "address          192.168.1.9/24",
        "gateway          none",
        "starts           0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(
        shown.contains("HOST_A_login, may connect, dialed at TCP://192.168.1.10:7024"),
        "{shown}"
    );

    // Nothing of the script's secrets is shown or stored in clear, and the key that opens it is not part of it.
    let stored = std::fs::read(dir.join("nvm.img")).expect("an image");
    let device = std::fs::read(dir.join("device.key")).expect("a key");
    assert!(!contains(&stored, PASSWORD.as_bytes()));
    assert!(!contains(&stored, &device[..32]));
    let hex: String = device.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!said.contains(PASSWORD) && !shown.contains(&hex[..32]));

    // The partner takes the certificate as any other.
    std::fs::copy(dir.join("nvm.cer"), host.dir.join("backup/WITNESS_cert.cer")).expect("a copy");
    host.ok(&format!(
        "CREATE LOGIN WITNESS_login WITH PASSWORD = '{PASSWORD}';
         CREATE USER WITNESS_user FOR LOGIN WITNESS_login;
         CREATE CERTIFICATE WITNESS_cert AUTHORIZATION WITNESS_user FROM FILE = 'WITNESS_cert.cer';"
    ));

    // Nothing is written over; a changed byte is found; a missing partner address is no name.
    let (code, _, wrong) = command(&make);
    assert!(
        code == 2 && wrong.contains("is not overwritten"),
        "{code} {wrong}"
    );
    let mut changed = stored.clone();
    let at_name = stored
        .windows(9)
        .position(|window| window == b"WITNESS_1")
        .expect("the name is stored");
    changed[at_name] ^= 1;
    std::fs::write(dir.join("changed.img"), changed).expect("a file");
    let (code, _, wrong) = command(&["provision", "--show", &at("changed.img"), "--device-key", &key]);
    assert!(
        code == 6 && wrong.contains("does not serve; provision it again"),
        "{code} {wrong}"
    );
    let mut named = make;
    named[10] = "HOST_A_login=host_a:7024";
    let (code, _, wrong) = command(&named);
    assert!(
        code == 2 && wrong.contains("asks no name server"),
        "{code} {wrong}"
    );
}

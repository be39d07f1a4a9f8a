//! Who may connect, and when it ends: granted CONNECT and nothing else, one certificate one owner, and what DENY, REVOKE and DROP
//! do to connections that stand (`docs/operations.md`, "Who may connect").

use std::time::Duration;

use dbmirror_core::message::InstanceId;
use dbmirror_core::message::codec::Message;
use dbmirror_tests::processes::*;
use dbmirror_tests::stranger::{Credentials, Stranger};

fn own_certificate(host: &Host) -> Vec<u8> {
    std::fs::read(host.dir.join(format!("backup/{}_cert.cer", host.name))).expect("its backup")
}

/// A peer that is online.
fn online<'a>(host: &Host, credentials: &'a Credentials) -> Stranger<'a> {
    let mut peer = Stranger::dial(host, own_certificate(host), credentials);
    peer.hello(InstanceId([0x77; 16]));
    peer.listen("its hello", |message| {
        matches!(message, Message::Hello(_)).then_some(())
    });
    peer
}

/// Refused at once; who is let in is waited for longer than this.
fn is_refused(host: &Host, credentials: &Credentials) -> bool {
    Stranger::dial(host, own_certificate(host), credentials).is_closed_within(Duration::from_secs(5))
}

#[test]
fn what_takes_connect_away_ends_what_stands_and_revoke_names_it() {
    let pair = strangers(189);
    let a = &pair.a;
    a.script(OUTBOUND_A);
    let credentials = Credentials::new("PEER");
    credentials.bind(a, "PEER");
    let grant = "GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO PEER_login;";
    let soon = Duration::from_secs(10);

    // REVOKE names it and lets it live; the next handshake is refused.
    let mut peer = online(a, &credentials);
    a.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM PEER_login;");
    let listed = a.rows("SELECT principal_name FROM sys.dm_db_mirroring_connections");
    assert_eq!(listed, [["PEER_login"]]);
    assert!(!peer.is_closed_within(Duration::from_secs(2)));
    assert!(is_refused(a, &credentials), "the next handshake");
    a.ok(grant);

    for (takes_away, gives_back) in [
        (
            "DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO PEER_login;",
            grant.to_owned(),
        ),
        (
            "DENY CONTROL ON ENDPOINT::Endpoint_Mirroring TO PEER_login;",
            format!("REVOKE CONTROL ON ENDPOINT::Endpoint_Mirroring FROM PEER_login; {grant}"),
        ),
        (
            "DROP CERTIFICATE PEER_cert;",
            "CREATE CERTIFICATE PEER_cert AUTHORIZATION PEER_user FROM FILE = 'C:\\PEER.cer';".to_owned(),
        ),
        ("DROP LOGIN PEER_login;", String::new()),
    ] {
        let mut peer = online(a, &credentials);
        a.ok(takes_away);
        assert!(peer.is_closed_within(soon), "{takes_away}");
        assert_eq!(
            a.rows("SELECT principal_name FROM sys.dm_db_mirroring_connections"),
            Vec::<Vec<String>>::new(),
            "{takes_away}"
        );
        if !gives_back.is_empty() {
            a.ok(&gives_back);
        }
    }
    let log = a.log();
    assert!(log.contains("28034"), "{log}");

    // A new login of the old name is another login: the orphaned user does not stand for it.
    a.ok("CREATE LOGIN PEER_login WITH PASSWORD = '=Sample#2_Strong_Password2';");
    a.ok(grant);
    a.refused(
        "CREATE CERTIFICATE again AUTHORIZATION PEER_user FROM FILE = 'C:\\PEER.cer'",
        15232,
    );
    assert!(
        is_refused(a, &credentials),
        "the certificate's owner has no login"
    );

    // Owning the endpoint is not CONNECT.
    let c = Host::start(pair.root.path(), "HOST_C", "127.189.0.3");
    let outbound = OUTBOUND_A.replace("HOST_A", "HOST_C");
    std::fs::write(c.dir.join("backup/PEER.cer"), &credentials.der).expect("a file");
    c.ok(
        "CREATE LOGIN PEER_login WITH PASSWORD = '=Sample#2_Strong_Password2'; CREATE USER PEER_user FOR LOGIN PEER_login; \
         CREATE CERTIFICATE PEER_cert AUTHORIZATION PEER_user FROM FILE = 'C:\\PEER.cer';",
    );
    c.script(&outbound.replace(
        "CREATE ENDPOINT Endpoint_Mirroring",
        "CREATE ENDPOINT Endpoint_Mirroring AUTHORIZATION PEER_login",
    ));
    assert_eq!(
        c.value("SELECT l.name FROM sys.endpoints AS e JOIN sys.server_principals AS l ON l.principal_id = e.principal_id WHERE e.type = 4"),
        "PEER_login"
    );
    assert!(is_refused(&c, &credentials), "an owner without CONNECT");
    c.wait("28034", || {
        let rows = c.rows("SELECT number, reason FROM sys.dm_dbmirror_errors");
        match rows
            .iter()
            .any(|row| row[0] == "28034" && row[1].contains("PEER_login"))
        {
            true => Ok(()),
            false => Err(format!("{rows:?}")),
        }
    });
    c.ok(grant);
    online(&c, &credentials);
}

/// Who acted as whom, and what he was refused, stands in the error log.
#[test]
fn acting_as_a_login_is_audited() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let host = Host::start(root.path(), "HOST_A", "127.189.2.1");
    host.ok("CREATE LOGIN plain WITH PASSWORD = '=Sample#2_Strong_Password2';");
    let output = host.sql(&[
        "-Q",
        "EXECUTE AS LOGIN = 'plain'; CREATE LOGIN more WITH PASSWORD = '=Sample#2_Strong_Password2'; \
                                   SELECT SUSER_SNAME(), ORIGINAL_LOGIN(); REVERT; PRINT SUSER_SNAME()",
    ]);
    let (said, refused) = (text(&output.stdout), text(&output.stderr));
    assert!(refused.contains("Msg 15247, Level 16"), "{refused}");
    assert!(
        said.contains("plain") && said.trim_end().ends_with("sa"),
        "{said}"
    );
    let log = host.log();
    for (number, words) in [
        ("Msg 50150", "login 'sa', acts as login 'plain'"),
        ("Msg 50152", "login 'plain', was refused with 15247"),
        ("Msg 50151", "acts as 'plain' no longer, but as login 'sa'"),
    ] {
        assert!(
            log.lines()
                .any(|line| line.contains(number) && line.contains(words)),
            "{number}: {log}"
        );
    }
    assert!(!log.contains("=Sample#2"), "{log}");
    // The next session is sa again.
    assert_eq!(host.value("SELECT SUSER_SNAME()"), "sa");
}

/// The same key on both hosts, as some instructions have it: nobody is let in with a key that lies here.
#[test]
fn a_certificate_whose_key_is_here_is_never_a_peer() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", "127.189.1.1");
    let b = Host::start(root.path(), "HOST_B", "127.189.1.2");
    a.script(OUTBOUND_A);
    b.script(OUTBOUND_B);
    a.ok("BACKUP CERTIFICATE HOST_A_cert TO FILE = 'C:\\shared.cer' WITH PRIVATE KEY (FILE = 'C:\\shared.pvk', \
          ENCRYPTION BY PASSWORD = '<3_Strong_Password!>')");
    for file in ["shared.cer", "shared.pvk"] {
        copy_certificate(&a, &b, file);
    }
    b.ok("CREATE LOGIN HOST_A_login WITH PASSWORD = '=Sample#2_Strong_Password2'; CREATE USER HOST_A_user FOR LOGIN HOST_A_login; \
          CREATE CERTIFICATE HOST_A_cert AUTHORIZATION HOST_A_user FROM FILE = 'C:\\shared.cer' \
             WITH PRIVATE KEY (FILE = 'C:\\shared.pvk', DECRYPTION BY PASSWORD = '<3_Strong_Password!>'); \
          GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_A_login;");
    copy_certificate(&b, &a, "HOST_B_cert.cer");
    a.script(INBOUND_A);
    let tested = a.test_connection(&b.url());
    assert_eq!(tested.status.code(), Some(6), "{}", text(&tested.stdout));
    b.wait("the refusal", || {
        let rows = b.rows("SELECT number, reason FROM sys.dm_dbmirror_errors WHERE direction = 'inbound'");
        match rows
            .iter()
            .any(|row| row[0] == "28035" && row[1].contains("private key is on this instance"))
        {
            true => Ok(()),
            false => Err(format!("{rows:?}")),
        }
    });
    // Without the key it is a peer like any other.
    b.ok("DROP CERTIFICATE HOST_A_cert; \
          CREATE CERTIFICATE HOST_A_cert AUTHORIZATION HOST_A_user FROM FILE = 'C:\\shared.cer';");
    let tested = a.test_connection(&b.url());
    assert!(
        tested.status.success(),
        "{}{}",
        text(&tested.stdout),
        text(&tested.stderr)
    );
}

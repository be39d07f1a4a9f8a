//! Two instances that prove who they are to each other, set up by the documented scripts as they stand.

mod common;

use common::{Server, pair, wait_for};

/// What each verification query of the procedure is documented to print.
#[test]
fn the_documented_procedure() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.83.1.1", "127.83.1.2"]);
    for (server, own, other) in [(&a, "HOST_A", "HOST_B"), (&b, "HOST_B", "HOST_A")] {
        assert_eq!(
            server.rows("SELECT name FROM sys.symmetric_keys"),
            ["##MS_DatabaseMasterKey##", "##MS_ServiceMasterKey##"]
        );
        assert_eq!(
            server.rows("SELECT name, pvt_key_encryption_type_desc, subject FROM sys.certificates ORDER BY certificate_id"),
            [
                format!("{own}_cert|ENCRYPTED_BY_MASTER_KEY|{own} certificate for database mirroring"),
                format!("{other}_cert|NO_PRIVATE_KEY|{other} certificate for database mirroring"),
            ]
        );
        assert_eq!(
            server.rows(
                "SELECT name, role_desc, state_desc, connection_auth_desc, encryption_algorithm_desc
                   FROM sys.database_mirroring_endpoints;"
            ),
            ["Endpoint_Mirroring|ALL|STARTED|CERTIFICATE|AES"]
        );
        assert_eq!(
            server.rows("SELECT type_desc, port FROM sys.tcp_endpoints"),
            ["DATABASE_MIRRORING|7024"]
        );
        assert_eq!(
            server.rows("SELECT class_desc, type, permission_name, state_desc FROM sys.server_permissions WHERE class = 105"),
            ["ENDPOINT|CO|CONNECT|GRANT"]
        );
    }
    // The scripts again: every object exists, nothing changes.
    assert_eq!(a.refused(common::OUTBOUND_A), [15578, 15232, 7862, 15240]);

    // Both directions authenticate, and both ends list the connection while it is held.
    for (from, to, peer_login) in [(&a, &b, "HOST_A_login"), (&b, &a, "HOST_B_login")] {
        let dir = from.dir.to_str().unwrap().to_owned();
        let address = format!("TCP://{}:7024", to.address);
        let (code, out, error) = from.command(&["test-connection", "-S", &dir, &address]);
        assert_eq!(code, 0, "{out}{error}");
        std::thread::scope(|scope| {
            scope.spawn(|| from.command(&["test-connection", "-S", &dir, &address, "--hold", "3"]));
            let listed = |server: &Server| {
                server.rows("SELECT state_desc, login_state_desc, encryption_algorithm_desc, principal_name FROM sys.dm_db_mirroring_connections")
            };
            wait_for("the accepting side lists the connection", || {
                listed(to).contains(&format!("LOGGED_IN|ONLINE|AES|{peer_login}"))
            });
            wait_for("the dialling side lists the connection", || {
                listed(from)
                    .iter()
                    .any(|row| row.starts_with("LOGGED_IN|ONLINE|AES|"))
            });
        });
    }

    // The endpoint starts with the instance.
    let dir = a.dir.clone();
    assert_eq!(a.stop(), 0);
    let a = Server::start_at(&dir, "HOST_A", "127.83.1.1");
    assert!(a.ready.contains(" endpoint=127.83.1.1:7024 "), "{}", a.ready);
    let target = format!("TCP://{}:7024", a.address);
    let (code, out, error) = b.command(&["test-connection", "-S", b.dir.to_str().unwrap(), &target]);
    assert_eq!(code, 0, "{out}{error}");
}

/// Each broken link of the chain certificate → user → login → CONNECT refuses the connection and says why on both sides.
#[test]
fn broken_links_are_refused_and_named() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.83.2.1", "127.83.2.2"]);
    let dir = b.dir.to_str().unwrap().to_owned();
    let dial = || b.command(&["test-connection", "-S", &dir, "TCP://127.83.2.1:7024"]);
    let reason = |server: &Server| {
        server.rows("SELECT number, reason FROM sys.dm_dbmirror_errors WHERE direction = 'inbound' ORDER BY time DESC").into_iter().next().unwrap_or_default()
    };
    assert_eq!(dial().0, 0);

    a.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM HOST_B_login");
    let (code, out, error) = dial();
    assert_eq!(code, 6, "{out}{error}");
    assert!(error.contains("Msg 1418"), "{error}");
    wait_for("28034 is recorded", || reason(&a).starts_with("28034|"));
    assert!(reason(&a).contains("HOST_B_login"), "{}", reason(&a));
    assert!(
        a.log().contains("28034") || a.log().contains("CONNECT"),
        "{}",
        a.log()
    );

    a.ok("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, 0);
    a.ok("DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, 6);
    a.ok("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, 0);

    // A certificate that dbo owns is nobody's, whatever dbo may do.
    a.ok("DROP CERTIFICATE HOST_B_cert; CREATE CERTIFICATE HOST_B_cert FROM FILE = 'HOST_B_cert.cer'");
    assert_eq!(dial().0, 6);
    a.ok("DROP CERTIFICATE HOST_B_cert");
    assert_eq!(dial().0, 6);
    wait_for("28035 is recorded", || reason(&a).starts_with("28035|"));
    a.ok("CREATE CERTIFICATE HOST_B_cert AUTHORIZATION HOST_B_user FROM FILE = 'HOST_B_cert.cer'");
    assert_eq!(dial().0, 0);
    a.ok("DROP LOGIN HOST_B_login");
    assert_eq!(dial().0, 6);
}

/// DENY closes a live connection at once; REVOKE lists it and lets it live.
#[test]
fn revoke_lists_and_deny_closes() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.83.3.1", "127.83.3.2"]);
    let dir = b.dir.to_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            b.command(&[
                "test-connection",
                "-S",
                &dir,
                "TCP://127.83.3.1:7024",
                "--hold",
                "8",
            ])
        });
        let online = || {
            a.rows(
                "SELECT principal_name FROM sys.dm_db_mirroring_connections WHERE state_desc = 'LOGGED_IN'",
            )
        };
        wait_for("the connection is online", || online() == ["HOST_B_login"]);
        let revoked = a.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM HOST_B_login");
        assert!(
            revoked.messages.iter().any(|message| message.number == 50103),
            "{:?}",
            revoked.messages
        );
        assert_eq!(online(), ["HOST_B_login"]);
        let denied = a.ok("DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
        assert!(
            denied.messages.iter().any(|message| message.number == 50104),
            "{:?}",
            denied.messages
        );
        wait_for("the connection is closed", || online().is_empty());
        assert_eq!(held.join().unwrap().0, 6);
    });
}

/// Garbage, silence and a half-open connection on the endpoint's port: the instance lives on.
#[test]
fn strangers_on_the_port() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    let root = tempfile::tempdir().unwrap();
    let [_a, b] = pair(root.path(), ["127.83.4.1", "127.83.4.2"]);
    let _silent: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect("127.83.4.1:7024").unwrap())
        .collect();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 5000],
        &[0x16, 3, 1, 0xff, 0xff],
        &[],
    ] {
        let mut stream = TcpStream::connect("127.83.4.1:7024").unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(15)))
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let (code, out, error) = b.command(&[
        "test-connection",
        "-S",
        b.dir.to_str().unwrap(),
        "TCP://127.83.4.1:7024",
    ]);
    assert_eq!(code, 0, "{out}{error}");
    // The port is taken: a third instance is refused, and nothing is stored.
    let c = Server::start(root.path(), "HOST_C", "127.83.4.1");
    let create = common::OUTBOUND_A.split("CREATE ENDPOINT").next().unwrap();
    c.ok(create);
    assert_eq!(
        c.refused("CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE HOST_A_cert, ROLE = ALL)"),
        [9692]
    );
    assert_eq!(c.rows("SELECT name FROM sys.endpoints"), [""; 0]);
}

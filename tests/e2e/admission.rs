//! Who is let in: each link of the chain certificate → user → login → CONNECT, and what happens to connections that stand.

use dbmirror_tests::processes::*;

#[test]
fn each_broken_link_is_refused_and_named() {
    let pair = pair(77);
    let (a, b) = (&pair.a, &pair.b);
    let dial = || {
        let tested = b.test_connection(&a.url());
        (tested.status.code(), text(&tested.stderr))
    };
    let reason = || {
        a.lines("SELECT number, reason FROM sys.dm_dbmirror_errors WHERE direction = 'inbound' ORDER BY time DESC")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let recorded = |number: &str| {
        a.wait(&format!("{number} is recorded"), || {
            let last = reason();
            if last.starts_with(number) {
                Ok(last)
            } else {
                Err(last)
            }
        })
    };
    assert_eq!(dial().0, Some(0));

    a.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM HOST_B_login");
    let (code, error) = dial();
    assert_eq!(code, Some(6), "{error}");
    assert!(error.contains("Msg 1418"), "{error}");
    assert!(recorded("28034|").contains("HOST_B_login"));
    assert!(a.log().contains("28034"), "{}", a.log());

    a.ok("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, Some(0));
    a.ok("DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, Some(6));
    a.ok("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
    assert_eq!(dial().0, Some(0));

    // A certificate that dbo owns is nobody's, whatever dbo may do.
    a.ok("DROP CERTIFICATE HOST_B_cert; CREATE CERTIFICATE HOST_B_cert FROM FILE = 'HOST_B_cert.cer'");
    assert_eq!(dial().0, Some(6));
    a.ok("DROP CERTIFICATE HOST_B_cert");
    assert_eq!(dial().0, Some(6));
    recorded("28035|");
    a.ok("CREATE CERTIFICATE HOST_B_cert AUTHORIZATION HOST_B_user FROM FILE = 'HOST_B_cert.cer'");
    assert_eq!(dial().0, Some(0));
    a.ok("DROP LOGIN HOST_B_login");
    assert_eq!(dial().0, Some(6));
}

#[test]
fn revoke_lists_a_live_connection_and_deny_closes_it() {
    let pair = pair(78);
    let (a, b) = (&pair.a, &pair.b);
    let url = a.url();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| b.held_connection(&url, 8));
        let online = || {
            a.lines(
                "SELECT principal_name FROM sys.dm_db_mirroring_connections WHERE state_desc = 'LOGGED_IN'",
            )
        };
        let wait = |what: &str, wanted: &[&str]| {
            a.wait(what, || {
                let found = online();
                if found == wanted {
                    Ok(())
                } else {
                    Err(format!("{found:?}"))
                }
            });
        };
        wait("the connection is online", &["HOST_B_login"]);
        let revoked = a.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM HOST_B_login");
        assert!(
            revoked.contains("HOST_B_login"),
            "the live connection is listed: {revoked}"
        );
        assert_eq!(online(), ["HOST_B_login"]);
        a.ok("DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_B_login");
        wait("the connection is closed", &[]);
        assert_eq!(held.join().expect("the thread ended").0, 6);
    });
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_stored() {
    let pair = pair(79);
    let c = Host::start(pair.root.path(), "HOST_C", &pair.a.address);
    c.ok(OUTBOUND_A
        .split("CREATE ENDPOINT")
        .next()
        .expect("the first half"));
    c.refused(
        "CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7024) \
         FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE HOST_A_cert, ROLE = ALL)",
        9692,
    );
    assert_eq!(c.lines("SELECT name FROM sys.endpoints"), [""; 0]);
}

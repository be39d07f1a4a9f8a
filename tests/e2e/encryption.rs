//! ENCRYPTION and ALGORITHM of two endpoints in real processes: what a connection comes to, what is seen of it, and what a
//! mismatch says. Every cell of the table is tried in memory (`host/src/instance/endpoint/tests.rs`).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use dbmirror_tests::processes::*;

/// A box on the way that keeps all that crosses.
struct Tap {
    url: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn start(listen: &str, target: &str) -> Self {
        let listener = TcpListener::bind((listen, PORT)).expect("an address of our own");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (target, kept) = (format!("{target}:{PORT}"), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
                    let kept = Arc::clone(&kept);
                    std::thread::spawn(move || {
                        let mut buf = [0; 4_096];
                        while let Ok(len @ 1..) = from.read(&mut buf) {
                            kept.lock().expect("kept").extend_from_slice(&buf[..len]);
                            if to.write_all(&buf[..len]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self {
            url: format!("TCP://{listen}:{PORT}"),
            seen,
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.seen.lock().expect("kept"))
    }
}

fn encrypt(host: &Host, how: &str) -> String {
    host.ok(&format!(
        "ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING (ENCRYPTION = {how})"
    ))
}

#[test]
fn what_a_connection_comes_to_is_seen_on_the_way() {
    let pair = pair(66);
    let tap = Tap::start("127.66.0.9", "127.66.0.2");
    for (initiator, acceptor, encrypted) in [
        ("REQUIRED ALGORITHM AES", "REQUIRED ALGORITHM RC4 AES", true),
        ("SUPPORTED", "SUPPORTED ALGORITHM AES RC4", true),
        ("DISABLED", "SUPPORTED", false),
        ("SUPPORTED ALGORITHM RC4", "SUPPORTED ALGORITHM RC4", false),
        ("SUPPORTED", "DISABLED", false),
    ] {
        let name = format!("{initiator} to {acceptor}");
        for (host, how) in [(&pair.a, initiator), (&pair.b, acceptor)] {
            let said = encrypt(host, how);
            let warned = said.contains("encrypts none");
            assert_eq!(
                warned,
                how == "DISABLED" || how == "SUPPORTED ALGORITHM RC4",
                "{name}: {said}"
            );
        }
        tap.take();
        let tested = pair.a.test_connection(&tap.url);
        let said = text(&tested.stdout);
        assert!(tested.status.success(), "{name}: {said}{}", text(&tested.stderr));
        let suite = if encrypted {
            "TLS_AES_128_GCM_SHA256"
        } else {
            "TLS_SHA256_SHA256"
        };
        assert!(said.contains(suite), "{name}: {said}");
        // Each tells its name once the channel stands: whoever listens reads it, or does not.
        let seen = tap.take();
        for told in [&b"HOST_A"[..], b"HOST_B"] {
            let in_clear = contains(&seen, told) && contains(&seen, b"HOST_A certificate for");
            assert_eq!(in_clear, !encrypted, "{name}");
        }
    }
}

#[test]
fn a_mismatch_is_refused_and_both_sides_say_why() {
    let pair = pair(67);
    for (initiator, acceptor, finds, hears) in [
        (
            "REQUIRED",
            "DISABLED",
            "requires encryption, and this endpoint does not encrypt",
            "compare encryption_algorithm_desc",
        ),
        (
            "DISABLED",
            "REQUIRED",
            "does not encrypt (ENCRYPTION = DISABLED",
            "compare encryption_algorithm_desc",
        ),
    ] {
        encrypt(&pair.a, initiator);
        encrypt(&pair.b, acceptor);
        let tested = pair.a.test_connection(&pair.b.url());
        let said = [text(&tested.stdout), text(&tested.stderr)].concat();
        assert!(!tested.status.success(), "{said}");
        assert!(
            said.contains("No compatible") || said.contains("no compatible"),
            "{said}"
        );
        assert!(said.contains(hears), "{said}");
        for (host, expected) in [(&pair.a, hears), (&pair.b, finds)] {
            let row = host.wait("the refusal", || {
                let rows =
                    host.rows("SELECT step, number, reason FROM sys.dm_dbmirror_errors ORDER BY time DESC");
                rows.into_iter().next().ok_or_else(|| "no row".to_owned())
            });
            assert_eq!((row[0].trim(), row[1].trim()), ("tls", "28027"), "{row:?}");
            assert!(row[2].contains(expected), "{row:?}");
        }
    }
}

#[test]
fn required_rc4_does_not_start_and_says_why() {
    let pair = pair(68);
    let said = pair.a.ok(
        "ALTER ENDPOINT Endpoint_Mirroring STATE = STARTED FOR DATABASE_MIRRORING (ENCRYPTION = REQUIRED ALGORITHM RC4)",
    );
    assert!(said.contains("RC4 is broken and is never negotiated"), "{said}");
    let shown = pair
        .a
        .rows("SELECT state_desc, encryption_algorithm_desc FROM sys.database_mirroring_endpoints");
    assert_eq!(shown, [["STOPPED", "RC4"].map(String::from).to_vec()]);
    assert!(!pair.b.test_connection(&pair.a.url()).status.success());
    // With something left it starts.
    pair.a.ok(
        "ALTER ENDPOINT Endpoint_Mirroring STATE = STARTED FOR DATABASE_MIRRORING (ENCRYPTION = REQUIRED ALGORITHM RC4 AES)",
    );
    assert!(pair.b.test_connection(&pair.a.url()).status.success());
}

#[test]
fn a_connection_that_the_new_setting_does_not_allow_is_closed() {
    let pair = pair(69);
    encrypt(&pair.a, "DISABLED");
    encrypt(&pair.b, "SUPPORTED");
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| pair.a.held_connection(&pair.b.url(), 20));
        let query = "SELECT encryption_algorithm_desc FROM sys.dm_db_mirroring_connections WHERE state_desc = 'LOGGED_IN'";
        let shown = pair.b.wait("the connection", || {
            pair.b
                .rows(query)
                .into_iter()
                .next()
                .ok_or_else(|| "none".to_owned())
        });
        assert_eq!(shown[0].trim(), "NONE");
        let said = encrypt(&pair.b, "REQUIRED");
        assert!(said.contains("1 connection(s)"), "{said}");
        pair.b.wait("no connection", || {
            if pair.b.rows(query).is_empty() {
                Ok(())
            } else {
                Err("one".to_owned())
            }
        });
        held.join().expect("it ends")
    });
    drop(held);
}

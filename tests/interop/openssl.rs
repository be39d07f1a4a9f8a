//! The secure channel both ways against the `openssl` command (3.0 or later), which nobody here wrote.
//!
//! Our side is the binary `channel-peer`. Everything runs on 127.83.0.0/16, one address a test.

mod peers;

use peers::{Parties, Process, free_port, listen};

const GOOD: &str = "-tls1_3 -alpn dbm/1 -cert theirs.pem -key theirs.key";

#[test]
fn s_client_with_default_key_shares_gets_in_after_a_retry() {
    let parties = Parties::new();
    let (mut server, address) = listen(&parties, "127.83.1.1", "");
    let export = "-keymatexport EXPORTER-Channel-Binding -keymatexportlen 32";
    let mut client = Process::of(
        "openssl",
        &parties,
        &format!("s_client -connect {address} {GOOD} -state -msg {export}"),
    );
    let established = server.expect("established alpn=dbm/1");
    client.expect("Keying material:");
    // Both sides have the same tls-exporter (RFC 9266).
    let binding = established
        .split("binding=")
        .nth(1)
        .expect("a binding")
        .to_uppercase();
    assert!(
        client.seen.iter().any(|line| line.contains(&binding)),
        "{}",
        client.seen.join("\n")
    );

    client.say("hello");
    server.expect("data hello\\n");
    client.expect("hello");
    // `K`: OpenSSL changes its keys and asks for ours to change. `k`: it changes its own only.
    for command in ["K", "k", "K"] {
        client.say(command);
        client.expect("KEYUPDATE");
        client.say(&format!("after {command}"));
        server.expect(&format!("data after {command}\\n"));
        client.expect(&format!("after {command}"));
    }
    client.say("Q");
    server.expect("closed");
    let (log, _) = client.end();
    let hellos = log
        .lines()
        .filter(|line| line.contains(">>> ") && line.contains("ClientHello"))
        .count();
    assert_eq!(hellos, 2, "a retry:\n{log}");
    assert!(log.contains("ALPN protocol: dbm/1"), "{log}");
    assert!(
        log.contains("New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
        "{log}"
    );
    assert!(log.contains("Peer signature type: ECDSA"), "{log}");
    assert!(
        log.contains("Server Temp Key: ECDH, prime256v1, 256 bits"),
        "{log}"
    );
    assert!(server.end().1);
}

#[test]
fn s_client_with_a_share_that_fits_needs_no_retry() {
    let parties = Parties::new();
    let (mut server, address) = listen(&parties, "127.83.1.2", "");
    let options = "-groups P-256 -msg -no_middlebox";
    let mut client = Process::of(
        "openssl",
        &parties,
        &format!("s_client -connect {address} {GOOD} {options}"),
    );
    server.expect("established");
    client.say("Q");
    let (log, _) = client.end();
    assert_eq!(
        log.lines()
            .filter(|line| line.contains(">>> ") && line.contains("ClientHello"))
            .count(),
        1
    );
    assert!(!log.contains("ChangeCipherSpec"), "nobody asked for one:\n{log}");
    assert!(server.end().1);
}

/// What our server says to a client that is not welcome, and what OpenSSL makes of the alert.
#[test]
fn s_client_is_refused_with_the_alert_that_fits() {
    let parties = Parties::new();
    for (n, (arguments, error, alert)) in [
        ("-tls1_3 -alpn dbm/1", "error 31 alert=certificate_required", 116),
        (
            "-tls1_3 -alpn dbm/1 -cert stranger.pem -key stranger.key",
            "error 60 alert=certificate_unknown",
            46,
        ),
        (
            "-tls1_2 -alpn dbm/1 -cert theirs.pem -key theirs.key",
            "error 14 alert=protocol_version",
            70,
        ),
        (
            "-tls1_3 -cert theirs.pem -key theirs.key",
            "error 28 alert=no_application_protocol",
            120,
        ),
        (
            "-tls1_3 -alpn http/1.1 -cert theirs.pem -key theirs.key",
            "error 28 alert=no_application_protocol",
            120,
        ),
        (
            "-tls1_3 -alpn dbm/1 -ciphersuites TLS_CHACHA20_POLY1305_SHA256 -cert theirs.pem -key theirs.key",
            "error 21 alert=handshake_failure",
            40,
        ),
        (
            "-tls1_3 -alpn dbm/1 -groups X25519 -cert theirs.pem -key theirs.key",
            "error 22 alert=handshake_failure",
            40,
        ),
        (
            "-tls1_3 -alpn dbm/1 -sigalgs RSA-PSS+SHA256 -cert theirs.pem -key theirs.key",
            "error 23 alert=handshake_failure",
            40,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (server, address) = listen(&parties, &format!("127.83.2.{}", n + 1), "");
        let client = Process::of(
            "openssl",
            &parties,
            &format!("s_client -connect {address} {arguments}"),
        );
        let (log, success) = server.end();
        assert!(log.contains(error) && !success, "{arguments}:\n{log}");
        assert!(!log.contains("established"), "{arguments}:\n{log}");
        let (log, _) = client.end();
        assert!(
            log.contains(&format!("SSL alert number {alert}")),
            "{arguments}:\n{log}"
        );
    }
}

/// Somebody who holds a copy of the right certificate and another key.
#[test]
fn s_client_with_the_right_certificate_and_another_key_is_refused() {
    let parties = Parties::new();
    let (server, address) = listen(&parties, "127.83.3.1", "");
    // s_client itself refuses such a pair, so the thief is ours.
    let thief = Process::peer(
        &parties,
        &format!("dial {address} stranger.key.der theirs.der ours.der"),
    );
    let (log, _) = server.end();
    assert!(log.contains("error 35 alert=decrypt_error"), "{log}");
    let (log, success) = thief.end();
    assert!(
        log.contains("error 70 alert=none: the peer refused (decrypt_error)") && !success,
        "{log}"
    );
}

/// `openssl s_server` on `address`, and where it listens.
fn s_server(parties: &Parties, address: &str, arguments: &str) -> (Process, String) {
    let address = format!("{address}:{}", free_port(address));
    let arguments =
        format!("s_server -accept {address} -cert theirs.pem -key theirs.key -naccept 1 {arguments}");
    let mut server = Process::of("openssl", parties, &arguments);
    server.expect("ACCEPT");
    (server, address)
}

#[test]
fn s_server_that_verifies_is_accepted() {
    let parties = Parties::new();
    let (mut server, address) = s_server(
        &parties,
        "127.83.4.1",
        "-tls1_3 -alpn dbm/1 -Verify 1 -rev -state",
    );
    let mut client = Process::peer(
        &parties,
        &format!("dial {address} ours.key.der ours.der theirs.der"),
    );
    client.expect("established alpn=dbm/1");
    // Two tickets have come by, and what we said comes back reversed. Then both say goodbye.
    client.expect("data olleh\\n");
    server.expect("SSLv3/TLS read client certificate");
    client.expect("closed");
    assert!(client.end().1);
}

/// `K`: OpenSSL changes its keys and asks for ours to change. `k`: it changes its own only.
#[test]
fn s_server_that_changes_its_keys_is_followed() {
    let parties = Parties::new();
    for (address, command) in [("127.83.4.4", "K"), ("127.83.4.5", "k")] {
        let arguments = "-tls1_3 -alpn dbm/1 -Verify 1 -msg";
        let (mut server, address) = s_server(&parties, address, arguments);
        let mut client = Process::peer(
            &parties,
            &format!("dial {address} ours.key.der ours.der theirs.der"),
        );
        client.expect("established alpn=dbm/1");
        server.expect("hello");
        server.say(command);
        server.expect(">>> TLS 1.3, Handshake [length 0005], KeyUpdate");
        server.say("under other keys");
        client.expect("data under other keys\\n");
        assert!(client.end().1);
        if command == "K" {
            // Ours, in answer.
            server.expect("<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
        }
    }
}

/// The one HelloRetryRequest that can come to a client with one group: for a cookie.
#[test]
fn s_server_that_wants_a_cookie_gets_it_back() {
    let parties = Parties::new();
    let arguments = "-tls1_3 -alpn dbm/1 -Verify 1 -stateless -msg";
    let (mut server, address) = s_server(&parties, "127.83.4.3", arguments);
    let mut client = Process::peer(
        &parties,
        &format!("dial {address} ours.key.der ours.der theirs.der"),
    );
    client.expect("established alpn=dbm/1");
    server.expect("hello");
    let hellos = |log: &[String]| {
        log.iter()
            .filter(|line| line.contains("<<< ") && line.contains("ClientHello"))
            .count()
    };
    assert_eq!(hellos(&server.seen), 2, "{}", server.seen.join("\n"));
}

#[test]
fn s_server_that_dies_is_told_from_one_that_closes() {
    let parties = Parties::new();
    let (mut server, address) = s_server(&parties, "127.83.4.2", "-tls1_3 -alpn dbm/1 -Verify 1");
    let mut client = Process::peer(
        &parties,
        &format!("dial {address} ours.key.der ours.der theirs.der"),
    );
    client.expect("established alpn=dbm/1");
    server.expect("hello");
    drop(server);
    let (log, success) = client.end();
    assert!(
        log.contains("error 40 alert=none: the connection was cut off") && !success,
        "{log}"
    );
}

#[test]
fn s_server_is_refused_with_the_reason() {
    let parties = Parties::new();
    for (n, (arguments, error)) in [
        ("-tls1_3 -Verify 1", "error 28 alert=no_application_protocol"),
        (
            "-tls1_3 -alpn http/1.1 -Verify 1",
            "error 70 alert=none: the peer refused (no_application_protocol)",
        ),
        ("-tls1_3 -alpn dbm/1", "error 33 alert=handshake_failure"),
        (
            "-tls1_2 -alpn dbm/1 -Verify 1",
            "error 70 alert=none: the peer refused (protocol_version)",
        ),
        (
            "-tls1_3 -alpn dbm/1 -Verify 1 -groups X25519",
            "error 70 alert=none: the peer refused (handshake_failure)",
        ),
        (
            "-tls1_3 -alpn dbm/1 -Verify 1 -ciphersuites TLS_AES_256_GCM_SHA384",
            "error 70 alert=none: the peer refused (handshake_failure)",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (server, address) = s_server(&parties, &format!("127.83.5.{}", n + 1), arguments);
        let client = Process::peer(
            &parties,
            &format!("dial {address} ours.key.der ours.der theirs.der"),
        );
        let (log, success) = client.end();
        assert!(log.contains(error) && !success, "{arguments}:\n{log}");
        drop(server);
    }
    // Another certificate than the pinned one.
    let (server, address) = s_server(&parties, "127.83.5.100", "-tls1_3 -alpn dbm/1 -Verify 1");
    let client = Process::peer(
        &parties,
        &format!("dial {address} ours.key.der ours.der stranger.der"),
    );
    let (log, _) = client.end();
    assert!(log.contains("error 60 alert=certificate_unknown"), "{log}");
    drop(server);
}

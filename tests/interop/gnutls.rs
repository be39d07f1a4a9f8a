//! The secure channel both ways against GnuTLS's own programs (3.7 or later): it knows record_size_limit (RFC 8449), which
//! OpenSSL and rustls do not, and changes keys on demand.
//!
//! Our side is the binary `channel-peer`. Everything runs on 127.76.0.0/16, one address a test. Without `gnutls-cli` these
//! tests say so and hold nothing; `tests/run` installs it.

mod peers;

use std::process::Command;

use peers::{Parties, Process, free_port, listen};

/// Our profile, and that a peer may take less than 512 bytes in a record.
const PRIORITY: &str = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP256R1:%ALLOW_SMALL_RECORDS";

/// Two parties, or nothing and the reason on standard error.
fn parties() -> Option<Parties> {
    let found = Command::new("gnutls-cli").arg("--version").output().is_ok();
    if found {
        return Some(Parties::new());
    }
    eprintln!("SKIPPED: gnutls-cli is not installed (apt-get install gnutls-bin); tests/run does so");
    None
}

fn gnutls_cli(parties: &Parties, address: &str, options: &str) -> Process {
    let (host, port) = address.split_once(':').expect("address:port");
    let arguments = format!(
        "--port {port} {host} --x509certfile theirs.pem --x509keyfile theirs.key --insecure \
         --alpn dbm/1 --priority {PRIORITY} --inline-commands {options}"
    );
    Process::of("gnutls-cli", parties, arguments.trim_end())
}

/// `gnutls-serv` that sends back what comes, on `address`, and where it listens.
fn gnutls_serv(parties: &Parties, address: &str, options: &str) -> (Process, String) {
    let port = free_port(address);
    let arguments = format!(
        "--port {port} --x509certfile theirs.pem --x509keyfile theirs.key --require-client-cert --echo --noticket \
         --alpn dbm/1 --priority {PRIORITY} {options}"
    );
    let mut server = Process::of("gnutls-serv", parties, arguments.trim_end());
    server.expect("listening on IPv4");
    (server, format!("{address}:{port}"))
}

/// Ours advertises 512 bytes of content and type: `gnutls-cli` sends as much of a line as one record holds.
#[test]
fn gnutls_cli_keeps_our_record_size_limit() {
    let Some(parties) = parties() else { return };
    let (mut server, address) = listen(&parties, "127.76.2.1", "--limit 512");
    let mut client = gnutls_cli(&parties, &address, "");
    server.expect("established");
    client.expect("Handshake was completed");
    client.say(&"x".repeat(3_000));
    let data = server.expect("data ");
    assert_eq!(data.len(), "data ".len() + 511, "{data}");
}

/// GnuTLS advertises 512 bytes and the type, and a record above that would end the connection: our flight is longer.
#[test]
fn gnutls_cli_has_its_record_size_limit_kept() {
    let Some(parties) = parties() else { return };
    let (mut server, address) = listen(&parties, "127.76.2.5", "");
    let mut client = gnutls_cli(&parties, &address, "--recordsize=512");
    server.expect("established alpn=dbm/1 payload=512");
    client.expect("Handshake was completed");
    client.say("within the limit");
    server.expect("data within the limit\\n");
    client.expect("within the limit");
}

#[test]
fn record_size_limit_is_kept_both_ways_with_gnutls_serv() {
    let Some(parties) = parties() else { return };
    let (_server, address) = gnutls_serv(&parties, "127.76.2.2", "--recordsize=512");
    let mut client = Process::peer(
        &parties,
        &format!("--limit 64 dial {address} ours.key.der ours.der theirs.der"),
    );
    // The handshake itself came in records of at most 63 bytes and the type, or it would not have come at all.
    client.expect("established alpn=dbm/1 payload=512");
    client.expect("data hello\\n");
    client.expect("closed");
}

/// `^rekey^` changes GnuTLS's keys and asks for ours to change.
#[test]
fn gnutls_cli_that_changes_its_keys_is_followed_and_answered() {
    let Some(parties) = parties() else { return };
    let (mut server, address) = listen(&parties, "127.76.2.3", "--update");
    let mut client = gnutls_cli(&parties, &address, "");
    server.expect("established");
    client.expect("Handshake was completed");
    for round in 0..3 {
        client.say("^rekey^");
        let line = format!("under keys {round}");
        client.say(&line);
        server.expect(&format!("data {line}\\n"));
        // And back, under keys that we have changed without being asked too.
        client.expect(&line);
    }
}

#[test]
fn gnutls_serv_follows_our_change_of_keys() {
    let Some(parties) = parties() else { return };
    let (_server, address) = gnutls_serv(&parties, "127.76.2.4", "");
    let mut client = Process::peer(
        &parties,
        &format!("--update dial {address} ours.key.der ours.der theirs.der"),
    );
    client.expect("established alpn=dbm/1");
    client.expect("data hello\\n");
}

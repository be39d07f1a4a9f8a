//! What two endpoints make of each other's ENCRYPTION and ALGORITHM, cell by cell.

use dbmirror_core::channel::{
    Channel, ChannelError, CipherSuite, ClientOptions, Env, Identity, PeerRefusal, PeerVerifier, Protocol,
    ServerOptions, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::{RustCrypto, SigningKey};
use dbmirror_core::crypto::{POINT_LEN, SigningKey as _};
use dbmirror_core::time::UnixSeconds;

use super::*;

/// The outcome table of `docs/tsql.md`, rows by initiator and columns by acceptor, both by
/// `sys.database_mirroring_endpoints.encryption_algorithm`: `A` encrypted with AES, `N` authenticated and not encrypted,
/// `F` refused, `-` one of the two does not start.
const OUTCOMES: [&str; 9] = [
    // 0 DISABLED, 1 REQUIRED RC4, 2 REQUIRED AES, 3 SUPPORTED RC4, 4 SUPPORTED AES, 5 REQUIRED RC4 AES, 6 REQUIRED AES RC4,
    // 7 SUPPORTED RC4 AES, 8 SUPPORTED AES RC4
    "N-FNNFFNN",
    "---------",
    "F-AFAAAAA",
    "N-FNNFFNN",
    "N-ANAAAAA",
    "F-AFAAAAA",
    "F-AFAAAAA",
    "N-ANAAAAA",
    "N-ANAAAAA",
];

struct Anybody([u8; POINT_LEN]);

impl PeerVerifier for Anybody {
    fn verify(&self, _: &[u8], _: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        Ok(VerifiedPeer {
            point: self.0,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// Lets both say all that they have to say.
fn converse(sides: &mut [Channel<RustCrypto>; 2]) {
    let key = SigningKey::from_scalar(&Secret::new([7; 32])).unwrap();
    let verifier = Anybody(key.public_point());
    let protocols = [Protocol {
        alpn: b"dbm/1",
        verifier: &verifier,
    }];
    let mut received = [Vec::new(), Vec::new()];
    for turn in 0..8 {
        let (own, other) = (turn % 2, 1 - turn % 2);
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut dbmirror_adapters::entropy::OsEntropy,
            identity: Identity {
                signing_key: &key,
                certificate_der: b"a certificate",
            },
            protocols: &protocols,
        };
        let channel = &mut sides[own];
        let mut tx = [0; 4_096];
        loop {
            while channel.wants_write() {
                let sent = channel.write(&mut env, &mut tx).unwrap_or(0);
                received[other].extend_from_slice(&tx[..sent]);
            }
            match channel
                .read(&mut env, &mut received[own])
                .map(|step| step.consumed)
            {
                Ok(0) if channel.wants_write() => {}
                Ok(0) => break,
                Ok(consumed) => drop(received[own].drain(..consumed)),
                Err(_) if channel.wants_write() => {}
                Err(_) => break,
            }
        }
    }
}

fn outcome(initiator: Encryption, acceptor: Encryption) -> Result<CipherSuite, [Option<ChannelError>; 2]> {
    let client = ClientOptions::from(ServerOptions {
        encryption: initiator,
        ..ServerOptions::default()
    });
    let server = ServerOptions {
        encryption: acceptor,
        ..ServerOptions::default()
    };
    let mut sides = [Channel::client(client), Channel::server_with(server)];
    converse(&mut sides);
    let suite = |channel: &Channel<RustCrypto>| channel.established().map(|established| established.suite);
    match (suite(&sides[0]), suite(&sides[1])) {
        (Some(a), Some(b)) if a == b => Ok(a),
        (None, None) => Err([sides[0].error(), sides[1].error()]),
        other => panic!("the two do not agree: {other:?}"),
    }
}

#[test]
fn every_cell_of_the_table() {
    for (initiator, row) in (0..).zip(OUTCOMES) {
        assert_eq!(row.len(), 9);
        for (acceptor, cell) in (0..).zip(row.chars()) {
            let name = format!("{initiator} to {acceptor}");
            let (Some(a), Some(b)) = (encryption(initiator), encryption(acceptor)) else {
                assert_eq!(cell, '-', "{name}");
                continue;
            };
            match (outcome(a, b), cell) {
                (Ok(suite), 'A') => assert!(suite.encrypts(), "{name}"),
                (Ok(suite), 'N') => assert!(!suite.encrypts(), "{name}"),
                (Err([Some(told), Some(found)]), 'F') => {
                    assert!(
                        matches!(
                            found,
                            ChannelError::PeerDoesNotEncrypt | ChannelError::PeerRequiresEncryption
                        ),
                        "{name}: {found:?}"
                    );
                    assert_eq!(found.alert().map(ChannelError::PeerAlert), Some(told), "{name}");
                }
                (other, _) => panic!("{name}: {other:?} where the table says {cell}"),
            }
        }
    }
}

/// The page for operators has the same table.
#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../docs/tsql.md");
    let words = |cell: char| match cell {
        'A' => "AES",
        'N' => "none",
        'F' => "refused",
        _ => "–",
    };
    let names = [
        "0 DISABLED",
        "1 REQUIRED RC4",
        "2 REQUIRED AES",
        "3 SUPPORTED RC4",
        "4 SUPPORTED AES",
        "5 REQUIRED RC4 AES",
        "6 REQUIRED AES RC4",
        "7 SUPPORTED RC4 AES",
        "8 SUPPORTED AES RC4",
    ];
    let mut lacking = String::new();
    for (name, row) in names.iter().zip(OUTCOMES) {
        let cells: Vec<&str> = row.chars().map(words).collect();
        let row = format!("| {name} | {} |", cells.join(" | "));
        if !page.contains(&row) {
            lacking.push_str(&row);
            lacking.push('\n');
        }
    }
    assert!(lacking.is_empty(), "docs/tsql.md lacks:\n{lacking}");
}

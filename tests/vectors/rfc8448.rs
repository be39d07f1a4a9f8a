//! RFC 8448, §3 (plain), §5 (HelloRetryRequest to secp256r1) and §6 (client authentication): transcript, key schedule,
//! record protection, ECDH and ECDSA against the published traces. The octets are in `rfc8448.txt`.
//!
//! The handshakes themselves offer what our profile does not (X25519, RSA signatures, no ALPN), so they are followed
//! message by message.

use std::collections::HashMap;

use dbmirror_core::channel::digest::{Digest, HashAlgorithm};
use dbmirror_core::channel::key_schedule::{HandshakeSecret, TrafficSecret, TrafficSecrets};
use dbmirror_core::channel::protect::{Opened, Opener, Sealer};
use dbmirror_core::channel::transcript::Transcript;
use dbmirror_core::channel::{CipherSuite, HEAD_ROOM};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{KeyExchange as _, Provider, VerifyingKey as _};
use dbmirror_core::entropy::{Entropy, EntropyError};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// One section's values by name.
struct Trace(HashMap<String, Vec<u8>>);

impl Trace {
    fn of(section: u8) -> Self {
        let wanted = format!("[section {section}]");
        let lines = include_str!("rfc8448.txt")
            .lines()
            .skip_while(|line| *line != wanted)
            .skip(1);
        let mut values = HashMap::new();
        let mut name = String::new();
        for line in lines.take_while(|line| !line.starts_with('[')) {
            if let Some(hex) = line.strip_prefix("  ") {
                let value: &mut Vec<u8> = values.entry(name.clone()).or_default();
                value.extend(hex::decode(hex).expect("hexadecimal"));
            } else {
                line.clone_into(&mut name);
            }
        }
        Self(values)
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The handshake message of a record in clear.
    fn message(&self, name: &str) -> &[u8] {
        let record = self.get(&format!("{name} record"));
        assert_eq!(record[0], HANDSHAKE);
        assert_eq!(
            usize::from(u16::from_be_bytes([record[3], record[4]])),
            record.len() - HEAD_ROOM
        );
        &record[HEAD_ROOM..]
    }

    fn concat(&self, names: &[&str]) -> Vec<u8> {
        names.iter().flat_map(|name| self.get(name)).copied().collect()
    }
}

/// Opens a record and answers its content.
fn open(opener: &mut Opener<RustCrypto>, record: &[u8], content_type: u8) -> Vec<u8> {
    let mut record = record.to_vec();
    let opened = opener.open(&mut record).expect("it opens");
    let Opened {
        content_type: found,
        content_len,
    } = opened;
    assert_eq!(found, content_type);
    record[HEAD_ROOM..HEAD_ROOM + content_len].to_vec()
}

/// Seals content as a record.
fn seal(sealer: &mut Sealer<RustCrypto>, content: &[u8], content_type: u8) -> Vec<u8> {
    let mut buf = vec![0; HEAD_ROOM + content.len() + sealer.tail_room()];
    buf[HEAD_ROOM..HEAD_ROOM + content.len()].copy_from_slice(content);
    let len = sealer
        .seal(content_type, &mut buf, content.len())
        .expect("it fits");
    assert_eq!(len, buf.len());
    buf
}

/// What comes opens to `content`, and sealing that gives the same record.
fn both_ways(
    opener: &mut Opener<RustCrypto>,
    sealer: &mut Sealer<RustCrypto>,
    record: &[u8],
    content_type: u8,
) -> Vec<u8> {
    let content = open(opener, record, content_type);
    assert_eq!(seal(sealer, &content, content_type), record);
    content
}

fn opener(secret: TrafficSecret<RustCrypto>) -> Opener<RustCrypto> {
    Opener::new(CipherSuite::Aes128GcmSha256, secret).expect("keys")
}

fn sealer(secret: TrafficSecret<RustCrypto>) -> Sealer<RustCrypto> {
    Sealer::new(CipherSuite::Aes128GcmSha256, secret).expect("keys")
}

/// Secrets have no copies: the same ones are derived again for each use.
fn handshake(trace: &Trace, hello_hash: Digest) -> TrafficSecrets<RustCrypto> {
    let secret = HandshakeSecret::<RustCrypto>::new(HashAlgorithm::Sha256, trace.get("shared_secret"))
        .expect("a secret");
    secret.traffic(&hello_hash).expect("secrets")
}

fn application(trace: &Trace, finished_hash: Digest) -> TrafficSecrets<RustCrypto> {
    let secret = HandshakeSecret::<RustCrypto>::new(HashAlgorithm::Sha256, trace.get("shared_secret"))
        .expect("a secret");
    secret
        .master()
        .and_then(|master| master.traffic(&finished_hash))
        .expect("secrets")
}

fn exporter(trace: &Trace, finished_hash: Digest) -> Vec<u8> {
    let secret = HandshakeSecret::<RustCrypto>::new(HashAlgorithm::Sha256, trace.get("shared_secret"))
        .expect("a secret");
    let master = secret.master().expect("a secret");
    master
        .into_exporter(&finished_hash)
        .expect("a secret")
        .expose()
        .to_vec()
}

/// From the server's protected flight to the last alert. `transcript` has all hellos; `flight` names the server's
/// messages up to its CertificateVerify.
fn follow(trace: &Trace, mut transcript: Transcript<RustCrypto>, flight: &[&str]) {
    let hello_hash = transcript.hash();
    // The server's flight, in one record.
    let mut messages = trace.concat(flight);
    transcript.add(&messages);
    let finished = trace.get("server_finished");
    handshake(trace, hello_hash)
        .server
        .check_finished(&transcript.hash(), &finished[4..])
        .expect("the server's Finished");
    messages.extend_from_slice(finished);
    transcript.add(finished);
    let record = trace.get("server_flight record");
    let secrets = (handshake(trace, hello_hash), handshake(trace, hello_hash));
    let content = both_ways(
        &mut opener(secrets.0.server),
        &mut sealer(secrets.1.server),
        record,
        HANDSHAKE,
    );
    assert_eq!(content, messages);
    let finished_hash = transcript.hash();

    // The client's flight: in the end a Finished.
    let record = trace.get("client_flight record");
    let content = both_ways(
        &mut opener(secrets.0.client),
        &mut sealer(secrets.1.client),
        record,
        HANDSHAKE,
    );
    let (before, finished) = content.split_at(content.len() - 36);
    transcript.add(before);
    let client = handshake(trace, hello_hash).client;
    client
        .check_finished(&transcript.hash(), &finished[4..])
        .expect("the client's Finished");
    assert_eq!(
        client.finished(&transcript.hash()).expect("a value").as_bytes(),
        &finished[4..]
    );
    let mut other = finished[4..].to_vec();
    other[31] ^= 1;
    assert!(client.check_finished(&transcript.hash(), &other).is_err());

    // Data, a ticket, goodbyes.
    let TrafficSecrets { client, server } = application(trace, finished_hash);
    let (mut from_client, mut from_server) = (opener(client), opener(server));
    let TrafficSecrets { client, server } = application(trace, finished_hash);
    let (mut by_client, mut by_server) = (sealer(client), sealer(server));
    if let Some(record) = trace.0.get("new_session_ticket record") {
        let ticket = both_ways(&mut from_server, &mut by_server, record, HANDSHAKE);
        assert_eq!(ticket[0], 4);
    }
    if trace.0.contains_key("client_data record") {
        let data: Vec<u8> = (0..50).collect();
        let record = trace.get("client_data record");
        assert_eq!(
            both_ways(&mut from_client, &mut by_client, record, APPLICATION_DATA),
            data
        );
        let record = trace.get("server_data record");
        assert_eq!(
            both_ways(&mut from_server, &mut by_server, record, APPLICATION_DATA),
            data
        );
    }
    let record = trace.get("client_close_notify record");
    assert_eq!(both_ways(&mut from_client, &mut by_client, record, ALERT), [1, 0]);
    let record = trace.get("server_close_notify record");
    assert_eq!(both_ways(&mut from_server, &mut by_server, record, ALERT), [1, 0]);
}

#[test]
fn section_3_a_plain_handshake() {
    let trace = Trace::of(3);
    let mut transcript = Transcript::<RustCrypto>::new(HashAlgorithm::Sha256);
    transcript.add(trace.message("client_hello"));
    transcript.add(trace.message("server_hello"));
    let secrets = handshake(&trace, transcript.hash());
    let mut all = Transcript::<RustCrypto>::new(HashAlgorithm::Sha256);
    for side in ["client", "server"] {
        let secret = if side == "client" {
            &secrets.client
        } else {
            &secrets.server
        };
        assert_eq!(secret.expose(), trace.get(&format!("{side}_handshake_traffic")));
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        secret
            .key(&mut key)
            .and_then(|()| secret.iv(&mut iv))
            .expect("lengths");
        assert_eq!(key, trace.get(&format!("{side}_handshake_key")));
        assert_eq!(iv, trace.get(&format!("{side}_handshake_iv")));
        all.add(trace.message(&format!("{side}_hello")));
    }
    let flight = [
        "encrypted_extensions",
        "server_certificate",
        "server_certificate_verify",
    ];
    all.add(&trace.concat(&flight));
    all.add(trace.get("server_finished"));
    let secrets = application(&trace, all.hash());
    assert_eq!(secrets.client.expose(), trace.get("client_application_traffic"));
    assert_eq!(secrets.server.expose(), trace.get("server_application_traffic"));
    let (mut key, mut iv) = ([0; 16], [0; 12]);
    secrets
        .server
        .key(&mut key)
        .and_then(|()| secrets.server.iv(&mut iv))
        .expect("lengths");
    assert_eq!(key, trace.get("server_application_key"));
    assert_eq!(iv, trace.get("server_application_iv"));
    assert_eq!(exporter(&trace, all.hash()), trace.get("exporter_master"));
    follow(&trace, transcript, &flight);
}

/// An entropy source that gives one private key.
struct Fixed<'a>(&'a [u8]);

impl Entropy for Fixed<'_> {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        if out.len() != self.0.len() {
            return Err(EntropyError);
        }
        out.copy_from_slice(self.0);
        Ok(())
    }

    fn fill_public(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

#[test]
fn section_5_a_retry_to_secp256r1() {
    let trace = Trace::of(5);
    // The key exchange, from both ends.
    let client_share = trace.message("second_client_hello");
    let server_share = trace.message("server_hello");
    for (private, own, peer) in [
        ("client_private_key", client_share, server_share),
        ("server_private_key", server_share, client_share),
    ] {
        let ephemeral = <RustCrypto as Provider>::P256::start(&mut Fixed(trace.get(private))).expect("a key");
        let share = ephemeral.share();
        assert!(
            own.windows(65).any(|w| w == share),
            "our own share is in our hello"
        );
        let peer = peer
            .windows(69)
            .find(|w| w[..5] == [0, 23, 0, 65, 4])
            .expect("a share");
        assert_eq!(
            ephemeral.finish(&peer[4..]).expect("a point").expose(),
            trace.get("shared_secret")
        );
    }

    let mut transcript = Transcript::<RustCrypto>::new(HashAlgorithm::Sha256);
    transcript.add(trace.message("client_hello"));
    let mut transcript = transcript.retried();
    transcript.add(trace.message("hello_retry_request"));
    transcript.add(trace.message("second_client_hello"));
    transcript.add(trace.message("server_hello"));
    assert_eq!(transcript.hash().as_bytes(), trace.get("hello_hash"));
    let secrets = handshake(&trace, transcript.hash());
    assert_eq!(secrets.client.expose(), trace.get("client_handshake_traffic"));
    assert_eq!(secrets.server.expose(), trace.get("server_handshake_traffic"));
    follow(
        &trace,
        transcript,
        &[
            "encrypted_extensions",
            "server_certificate",
            "server_certificate_verify",
        ],
    );
}

#[test]
fn section_6_client_authentication() {
    let trace = Trace::of(6);
    let mut transcript = Transcript::<RustCrypto>::new(HashAlgorithm::Sha256);
    transcript.add(trace.message("client_hello"));
    transcript.add(trace.message("server_hello"));
    let before = [
        "encrypted_extensions",
        "certificate_request",
        "server_certificate",
    ];
    let verify = "server_certificate_verify";

    // The server's key is P-256: its signature is one of our kind.
    let mut signed = Transcript::<RustCrypto>::new(HashAlgorithm::Sha256);
    signed.add(trace.message("client_hello"));
    signed.add(trace.message("server_hello"));
    signed.add(&trace.concat(&before));
    let content = [
        &[b' '; 64][..],
        b"TLS 1.3, server CertificateVerify\0",
        signed.hash().as_bytes(),
    ]
    .concat();
    let certificate = trace.get("server_certificate");
    let spki = certificate
        .windows(68)
        .find(|w| w[..4] == [3, 0x42, 0, 4])
        .expect("a P-256 key");
    let point = spki[3..].first_chunk().expect("a point");
    let key = <RustCrypto as Provider>::VerifyingKey::from_point(point).expect("a point");
    let message = trace.get(verify);
    assert_eq!(message[4..6], [4, 3], "ecdsa_secp256r1_sha256");
    key.verify(&content, &message[8..])
        .expect("the server's signature");
    assert!(key.verify(&content[1..], &message[8..]).is_err());

    follow(&trace, transcript, &[&before[..], &[verify]].concat());
}

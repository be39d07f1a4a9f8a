//! The key schedule, Finished, exporter, retried transcript and a record of TLS_AES_256_GCM_SHA384, which no RFC has a trace
//! of: against `key_schedule_sha384.txt`, which the script of that name makes from RFC 8446 §7 with nothing but HMAC.

use dbmirror_core::channel::digest::{Digest, HashAlgorithm};
use dbmirror_core::channel::key_schedule::HandshakeSecret;
use dbmirror_core::channel::protect::{Opener, Sealer};
use dbmirror_core::channel::transcript::Transcript;
use dbmirror_core::channel::{CHANNEL_BINDING_LABEL, CipherSuite, HEAD_ROOM, TAIL_ROOM};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;

fn value(name: &str) -> Vec<u8> {
    let line = include_str!("key_schedule_sha384.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    hex::decode(line.unwrap_or_else(|| panic!("no {name}"))).expect("hexadecimal")
}

fn digest<P: Provider>(message: &[u8]) -> Digest {
    let mut transcript = Transcript::<P>::new(HashAlgorithm::Sha384);
    transcript.add(message);
    transcript.hash()
}

fn follow<P: Provider>() {
    let shared: Vec<u8> = (0..64).collect();
    let hellos = digest::<P>(b"ClientHello to ServerHello");
    let finished = digest::<P>(b"ClientHello to the server's Finished");
    let handshake = HandshakeSecret::<P>::new(HashAlgorithm::Sha384, &shared).expect("a secret");
    let secrets = handshake.traffic(&hellos).expect("secrets");
    assert_eq!(secrets.client.expose(), value("client_handshake_traffic"));
    assert_eq!(secrets.server.expose(), value("server_handshake_traffic"));
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    secrets
        .server
        .key(&mut key)
        .and_then(|()| secrets.server.iv(&mut iv))
        .expect("lengths");
    assert_eq!(key[..], value("server_handshake_key"));
    assert_eq!(iv[..], value("server_handshake_iv"));
    let verify_data = secrets.server.finished(&finished).expect("a value");
    assert_eq!(verify_data.as_bytes(), value("server_finished"));
    assert!(
        secrets
            .server
            .check_finished(&finished, &value("server_finished"))
            .is_ok()
    );
    for len in [0, 32, 47] {
        let short = &value("server_finished")[..len];
        assert!(secrets.server.check_finished(&finished, short).is_err(), "{len}");
    }
    let of_sha256 = Transcript::<P>::new(HashAlgorithm::Sha256).hash();
    assert!(
        handshake.traffic(&of_sha256).is_err(),
        "a transcript of another hash"
    );

    let master = handshake.master().expect("a secret");
    let application = master.traffic(&finished).expect("secrets");
    assert_eq!(application.client.expose(), value("client_application_traffic"));
    assert_eq!(application.server.expose(), value("server_application_traffic"));
    let updated = application.server.updated().expect("a secret");
    assert_eq!(updated.expose(), value("server_application_updated"));
    let exporter = master.into_exporter(&finished).expect("a secret");
    assert_eq!(exporter.expose(), value("exporter"));
    let mut binding = [0; 32];
    exporter
        .export(CHANNEL_BINDING_LABEL, &[], &mut binding)
        .expect("a length");
    assert_eq!(binding[..], value("channel_binding"));

    let mut transcript = Transcript::<P>::undecided();
    transcript.add(b"first ClientHello");
    let transcript = transcript.decide(HashAlgorithm::Sha384).expect("undecided");
    let mut transcript = transcript.retried();
    transcript.add(b"HelloRetryRequest");
    assert_eq!(transcript.hash().as_bytes(), value("retried_transcript"));
    assert!(
        transcript.decide(HashAlgorithm::Sha256).is_err(),
        "decided before"
    );

    let suite = CipherSuite::Aes256GcmSha384;
    let again = handshake.traffic(&hellos).expect("secrets").server;
    let content = b"a record of application data";
    let mut buf = vec![0; HEAD_ROOM + content.len() + TAIL_ROOM];
    buf[HEAD_ROOM..][..content.len()].copy_from_slice(content);
    let mut sealer = Sealer::<P>::new(suite, secrets.server).expect("keys");
    let len = sealer.seal(23, &mut buf, content.len()).expect("it fits");
    assert_eq!(buf[..len], value("server_record"));
    let mut opener = Opener::<P>::new(suite, again).expect("keys");
    assert_eq!(
        opener.open(&mut buf[..len]).expect("it opens").content_len,
        content.len()
    );
    assert!(
        Sealer::<P>::new(CipherSuite::Aes128GcmSha256, updated).is_err(),
        "a secret of another suite's hash"
    );
}

#[test]
fn with_rustcrypto() {
    follow::<RustCrypto>();
}

#[test]
fn with_aws_lc() {
    follow::<dbmirror_adapters::aws_lc::AwsLc>();
}

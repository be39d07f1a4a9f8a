//! The secure channel beside rustls: mutual handshakes a second with both ends on one thread, and megabytes a second sealed and
//! opened in 16 KiB records, in turns of one run, as ratios.
//!
//! Both sides restricted to TLS 1.3, P-256, AES-128-GCM, ECDSA, pinned self-signed certificates, no tickets.
//!
//! ```sh
//! cargo run --release -p dbmirror-benches --bin channel
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert;
use dbmirror_core::channel::{
    Channel, ClientOptions, Env, Event, HEAD_ROOM, Identity, PAYLOAD_LEN_MAX, PeerRefusal, PeerVerifier,
    Protocol, RECORD_LEN_MAX, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

/// How long one turn runs, and how many turns each case gets.
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 7;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn main() {
    let names = ["rustls + aws-lc-rs", "dbmirror + aws-lc", "dbmirror + RustCrypto"];
    let identities = [Own::new(), Own::new()];
    let peers = Rustls::new(&identities);
    let mut handshakes = [const { Vec::new() }; 3];
    let mut bulk = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        handshakes[0].push(rate(|| drop(peers.handshake())));
        handshakes[1].push(rate(|| drop(handshake::<AwsLc>(&identities))));
        handshakes[2].push(rate(|| drop(handshake::<RustCrypto>(&identities))));
        bulk[0].push(peers.bulk());
        bulk[1].push(crossing::<AwsLc>(&identities));
        bulk[2].push(crossing::<RustCrypto>(&identities));
    }
    let handshakes = handshakes.map(median);
    let bulk = bulk.map(median);
    println!(
        "{TURNS} turns of {} ms each, medians; ratios to the first line",
        TURN.as_millis()
    );
    println!(
        "{:<24} {:>14} {:>8} {:>22} {:>8}",
        "", "handshakes/s", "ratio", "seal + open, MB/s", "ratio"
    );
    for (n, name) in names.iter().enumerate() {
        println!(
            "{name:<24} {:>14.0} {:>7.2}x {:>22.0} {:>7.2}x",
            handshakes[n],
            handshakes[n] / handshakes[0],
            bulk[n],
            bulk[n] / bulk[0]
        );
    }
}

/// Calls a second over one turn.
fn rate(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut calls = 0u32;
    while begun.elapsed() < TURN {
        call();
        calls += 1;
    }
    f64::from(calls) / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A key, the same for every implementation, and its certificate.
struct Own {
    scalar: [u8; 32],
    der: Vec<u8>,
    point: [u8; 65],
}

impl Own {
    fn new() -> Self {
        let mut scalar = [0; 32];
        OsEntropy.fill_secret(&mut scalar).expect("entropy");
        scalar[0] &= 0x7f;
        let key = <RustCrypto as Provider>::SigningKey::from_scalar(&Secret::new(scalar)).expect("a key");
        let request = cert::Request {
            subject: "bench",
            not_before: UnixSeconds(1_700_000_000),
            not_after: UnixSeconds(1_900_000_000),
        };
        let mut der = [0; cert::CERTIFICATE_LEN_MAX];
        let len = cert::issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).expect("a certificate");
        Self {
            scalar,
            der: der[..len].to_vec(),
            point: key.public_point(),
        }
    }

    /// PKCS #8 as RFC 5915 and 5958 write a P-256 key, which is what rustls takes.
    fn pkcs8(&self) -> Vec<u8> {
        let head = [
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
            0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
            0x01, 0x01, 0x04, 0x20,
        ];
        [
            &head[..],
            &self.scalar,
            &[0xa1, 0x44, 0x03, 0x42, 0x00],
            &self.point,
        ]
        .concat()
    }
}

/// Accepts one certificate, byte for byte.
struct Pin<'a>(&'a Own);

impl PeerVerifier for Pin<'_> {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der != self.0.der {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: self.0.point,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// A mutual handshake, both ends in memory.
fn handshake<P: Provider>(identities: &[Own; 2]) -> (Channel<P>, Channel<P>) {
    let keys = identities
        .each_ref()
        .map(|own| P::SigningKey::from_scalar(&Secret::new(own.scalar)).expect("a key"));
    let pins = [Pin(&identities[1]), Pin(&identities[0])];
    let (mut client, mut server) = (
        Channel::<P>::client(ClientOptions::default()),
        Channel::<P>::server(),
    );
    let mut pipes = [Vec::<u8>::new(), Vec::new()];
    let mut tx = [0u8; 4_096];
    for _ in 0..64 {
        for side in 0..2 {
            let channel = if side == 0 { &mut client } else { &mut server };
            let protocols = [Protocol {
                alpn: b"dbm/1",
                verifier: &pins[side],
            }];
            let mut entropy = OsEntropy;
            let mut env = Env {
                now: NOW,
                entropy: &mut entropy,
                identity: Identity {
                    signing_key: &keys[side],
                    certificate_der: &identities[side].der,
                },
                protocols: &protocols,
            };
            let [to_server, to_client] = &mut pipes;
            let (outgoing, incoming) = if side == 0 {
                (to_server, to_client)
            } else {
                (to_client, to_server)
            };
            loop {
                while channel.wants_write() {
                    let n = channel.write(&mut env, &mut tx).expect("writes");
                    outgoing.extend_from_slice(&tx[..n]);
                }
                let step = channel.read(&mut env, incoming).expect("reads");
                let consumed = step.consumed;
                incoming.drain(..consumed);
                if consumed == 0 && !channel.wants_write() {
                    break;
                }
            }
        }
        if client.established().is_some() && server.established().is_some() {
            return (client, server);
        }
    }
    unreachable!("64 turns are enough for any handshake");
}

/// Megabytes a second through seal on one side and open on the other.
fn crossing<P: Provider>(identities: &[Own; 2]) -> f64 {
    let (mut client, mut server) = handshake::<P>(identities);
    let key = P::SigningKey::from_scalar(&Secret::new(identities[1].scalar)).expect("a key");
    let pin = Pin(&identities[0]);
    let protocols = [Protocol {
        alpn: b"dbm/1",
        verifier: &pin,
    }];
    let mut entropy = OsEntropy;
    let mut env = Env {
        now: NOW,
        entropy: &mut entropy,
        identity: Identity {
            signing_key: &key,
            certificate_der: &identities[1].der,
        },
        protocols: &protocols,
    };
    let mut buf = vec![0x5a; RECORD_LEN_MAX];
    let records = rate(|| {
        let len = client.seal(&mut buf, PAYLOAD_LEN_MAX).expect("seals");
        let step = server.read(&mut env, &mut buf[..len]).expect("opens");
        assert!(matches!(step.event, Event::Data(data) if data.len() == PAYLOAD_LEN_MAX));
        debug_assert!(buf.len() > HEAD_ROOM);
    });
    records * PAYLOAD_LEN_MAX as f64 / 1e6
}

/// rustls with the same restrictions.
struct Rustls {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
}

impl Rustls {
    fn new(identities: &[Own; 2]) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP256R1];
        let provider = Arc::new(provider);
        let pair = |own: &Own| {
            (
                vec![CertificateDer::from(own.der.clone())],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.pkcs8())),
            )
        };
        let (chain, key) = pair(&identities[0]);
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RustlsPin::new(&identities[1], &provider)))
            .with_client_auth_cert(chain, key)
            .expect("a client");
        client.alpn_protocols = vec![b"dbm/1".to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        let (chain, key) = pair(&identities[1]);
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(Arc::new(RustlsPin::new(&identities[0], &provider)))
            .with_single_cert(chain, key)
            .expect("a server");
        server.alpn_protocols = vec![b"dbm/1".to_vec()];
        server.send_tls13_tickets = 0;
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    }

    fn handshake(&self) -> (rustls::ClientConnection, rustls::ServerConnection) {
        let name = ServerName::try_from("bench").expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut server = rustls::ServerConnection::new(Arc::clone(&self.server)).expect("a server");
        let mut pipe = Vec::with_capacity(8_192);
        while client.is_handshaking() || server.is_handshaking() {
            pipe.clear();
            while client.wants_write() {
                client.write_tls(&mut pipe).expect("writes");
            }
            let mut rest = &pipe[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("reads");
            }
            server.process_new_packets().expect("a good peer");
            pipe.clear();
            while server.wants_write() {
                server.write_tls(&mut pipe).expect("writes");
            }
            let mut rest = &pipe[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("reads");
            }
            client.process_new_packets().expect("a good peer");
        }
        (client, server)
    }

    fn bulk(&self) -> f64 {
        use std::io::{Read, Write};
        let (mut client, mut server) = self.handshake();
        let payload = vec![0x5a; PAYLOAD_LEN_MAX];
        let mut pipe = Vec::with_capacity(RECORD_LEN_MAX);
        let mut out = vec![0; PAYLOAD_LEN_MAX];
        let records = rate(|| {
            client.writer().write_all(&payload).expect("takes it");
            pipe.clear();
            while client.wants_write() {
                client.write_tls(&mut pipe).expect("writes");
            }
            let mut rest = &pipe[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("reads");
                server.process_new_packets().expect("opens");
            }
            server.reader().read_exact(&mut out).expect("gives it");
        });
        records * PAYLOAD_LEN_MAX as f64 / 1e6
    }
}

/// One certificate, byte for byte, and the signature that proves its key.
#[derive(Debug)]
struct RustlsPin {
    der: Vec<u8>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl RustlsPin {
    fn new(own: &Own, provider: &rustls::crypto::CryptoProvider) -> Self {
        Self {
            der: own.der.clone(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, der: &[u8]) -> Result<(), rustls::Error> {
        if der == self.der {
            Ok(())
        } else {
            Err(rustls::Error::General("another certificate".to_owned()))
        }
    }
}

type Verified = rustls::client::danger::HandshakeSignatureValid;

impl rustls::client::danger::ServerCertVerifier for RustlsPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<Verified, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<Verified, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl rustls::server::danger::ClientCertVerifier for RustlsPin {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| rustls::server::danger::ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<Verified, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<Verified, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

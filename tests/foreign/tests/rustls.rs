//! rustls in memory, both roles, with each of our providers.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::channel::{CHANNEL_BINDING_LABEL, Channel, ChannelError, ClientOptions};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::{ALPN, Ours, Own, Theirs, converse, settle};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

struct Rustls {
    connection: rustls::Connection,
    heard: Vec<u8>,
    error: Option<rustls::Error>,
}

impl Theirs for Rustls {
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = bytes;
        let mut sent = Vec::new();
        loop {
            if !rest.is_empty() {
                self.connection.read_tls(&mut rest).expect("it takes it");
            }
            if let Err(error) = self.connection.process_new_packets() {
                self.error = Some(error);
                rest = &[];
            }
            // It ends with "would block", or with the end of the connection.
            let _ = self.connection.reader().read_to_end(&mut self.heard);
            while self.connection.wants_write() {
                self.connection.write_tls(&mut sent).expect("it writes");
            }
            if rest.is_empty() {
                return sent;
            }
        }
    }

    fn stands(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn say(&mut self, payload: &[u8]) {
        self.connection.writer().write_all(payload).expect("it takes it");
    }

    fn heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    /// rustls always asks.
    fn update_keys(&mut self, _ask: bool) {
        self.connection.refresh_traffic_keys().expect("TLS 1.3");
    }

    fn binding(&self) -> [u8; 32] {
        self.connection
            .export_keying_material([0; 32], CHANNEL_BINDING_LABEL, Some(&[]))
            .expect("it stands")
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }
}

/// One certificate, byte for byte, and the signature that proves its key.
#[derive(Debug)]
struct Pin {
    der: Vec<u8>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl Pin {
    fn check(&self, der: &[u8]) -> Result<(), rustls::Error> {
        if der == self.der {
            Ok(())
        } else {
            Err(rustls::Error::General("another certificate".to_owned()))
        }
    }
}

type Verified = rustls::client::danger::HandshakeSignatureValid;

macro_rules! signatures {
    () => {
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
    };
}

impl rustls::client::danger::ServerCertVerifier for Pin {
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

    signatures!();
}

impl rustls::server::danger::ClientCertVerifier for Pin {
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

    signatures!();
}

fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    provider.kx_groups = groups.to_vec();
    Arc::new(provider)
}

fn pin(peer: &Own, provider: &CryptoProvider) -> Arc<Pin> {
    Arc::new(Pin {
        der: peer.der.clone(),
        algorithms: provider.signature_verification_algorithms,
    })
}

fn chain(own: &Own) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (
        vec![CertificateDer::from(own.der.clone())],
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.pkcs8())),
    )
}

fn client(own: &Own, peer: &Own, groups: &[&'static dyn SupportedKxGroup], alpn: &[u8]) -> Rustls {
    let provider = provider(groups);
    let (chain, key) = chain(own);
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(pin(peer, &provider))
        .with_client_auth_cert(chain, key)
        .expect("a client");
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("foreign").expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    Rustls {
        connection: connection.into(),
        heard: Vec::new(),
        error: None,
    }
}

/// With tickets, which a client of ours ignores.
fn server(own: &Own, peer: &Own) -> Rustls {
    let provider = provider(&[kx_group::X25519, kx_group::SECP256R1]);
    let (chain, key) = chain(own);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(pin(peer, &provider))
        .with_single_cert(chain, key)
        .expect("a server");
    config.alpn_protocols = vec![ALPN.to_vec()];
    let connection = rustls::ServerConnection::new(Arc::new(config)).expect("a server");
    Rustls {
        connection: connection.into(),
        heard: Vec::new(),
        error: None,
    }
}

fn all_of<P: Provider>() {
    let (a, b) = (Own::new(1), Own::new(2));
    for groups in [
        &[kx_group::SECP256R1][..],
        // Its share is for the first: worth a retry.
        &[kx_group::X25519, kx_group::SECP256R1],
    ] {
        let mut ours = Ours::<P>::new(Channel::server(), &b, &a);
        converse(&mut ours, &mut client(&a, &b, groups, ALPN), true);
    }
    for middlebox_compatible in [false, true] {
        let options = ClientOptions {
            middlebox_compatible,
            ..ClientOptions::default()
        };
        let mut ours = Ours::<P>::new(Channel::client(options), &a, &b);
        converse(&mut ours, &mut server(&b, &a), true);
    }
}

#[test]
fn with_rustcrypto() {
    all_of::<RustCrypto>();
}

#[test]
fn with_aws_lc() {
    all_of::<AwsLc>();
}

#[test]
fn refusals_are_understood() {
    let (a, b, c) = (Own::new(1), Own::new(2), Own::new(3));
    let groups: &[&'static dyn SupportedKxGroup] = &[kx_group::SECP256R1];
    for (theirs, error) in [
        (
            client(&a, &b, groups, b"http/1.1"),
            ChannelError::NoCommonProtocol,
        ),
        (
            client(&a, &b, &[kx_group::X25519], ALPN),
            ChannelError::NoCommonGroup,
        ),
        (
            client(&c, &b, groups, ALPN),
            ChannelError::PeerRefused(dbmirror_core::channel::PeerRefusal::Unknown),
        ),
    ] {
        let mut theirs = theirs;
        let mut ours = Ours::<RustCrypto>::new(Channel::server(), &b, &a);
        settle(&mut ours, &mut theirs);
        assert_eq!(ours.error(), Some(error));
        let heard = theirs.error.expect("it was told");
        let expected = error.alert().expect("an alert").code();
        assert!(
            matches!(heard, rustls::Error::AlertReceived(alert) if u8::from(alert) == expected),
            "{heard:?}"
        );
    }
    // And one that refuses us.
    let mut ours = Ours::<RustCrypto>::new(Channel::client(ClientOptions::default()), &c, &b);
    settle(&mut ours, &mut server(&b, &a));
    assert!(
        matches!(ours.error(), Some(ChannelError::PeerAlert(_))),
        "{:?}",
        ours.error()
    );
}

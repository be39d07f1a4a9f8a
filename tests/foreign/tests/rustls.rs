//! rustls in memory, both roles, with each of our providers.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ChannelError, CipherSuite, ClientOptions, NamedGroup, ServerOptions,
};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::rustls_pin::{chain, client_config, server_config};
use dbmirror_foreign::{ALPN, Ours, Own, Theirs, converse, settle};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;

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

/// What rustls is restricted to.
#[derive(Clone, Copy)]
struct Offer<'a> {
    groups: &'a [&'static dyn SupportedKxGroup],
    suites: &'a [SupportedCipherSuite],
}

/// Its own preference, AES-256, first.
const SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
];

impl Offer<'_> {
    fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = self.suites.to_vec();
        provider.kx_groups = self.groups.to_vec();
        Arc::new(provider)
    }
}

fn client(own: &Own, peer: &Own, groups: &[&'static dyn SupportedKxGroup], alpn: &[u8]) -> Rustls {
    let suites = SUITES;
    client_with(own, peer, Offer { groups, suites }, alpn)
}

fn client_with(own: &Own, peer: &Own, offer: Offer<'_>, alpn: &[u8]) -> Rustls {
    let mut config = client_config(&offer.provider(), chain(own), peer);
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("foreign").expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    Rustls {
        connection: connection.into(),
        heard: Vec::new(),
        error: None,
    }
}

fn server(own: &Own, peer: &Own) -> Rustls {
    let groups: &[&'static dyn SupportedKxGroup] = &[kx_group::X25519, kx_group::SECP256R1];
    let suites = SUITES;
    server_with(own, peer, Offer { groups, suites })
}

/// With tickets, which a client of ours ignores.
fn server_with(own: &Own, peer: &Own, offer: Offer<'_>) -> Rustls {
    let config = server_config(&offer.provider(), chain(own), peer);
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

/// TLS_AES_256_GCM_SHA384: with a rustls that takes nothing else, and never where it was not asked for.
fn aes_256<P: Provider>() {
    let (a, b) = (Own::new(1), Own::new(2));
    let alone = &SUITES[..1];
    let p256: &[&'static dyn SupportedKxGroup] = &[kx_group::SECP256R1];
    let of = |suites| Offer { groups: p256, suites };
    for (aes_256, suites, chosen) in [
        (true, alone, CipherSuite::Aes256GcmSha384),
        // It goes by the client's preference.
        (true, SUITES, CipherSuite::Aes128GcmSha256),
        (false, SUITES, CipherSuite::Aes128GcmSha256),
    ] {
        let options = ClientOptions {
            aes_256,
            ..ClientOptions::default()
        };
        let mut ours = Ours::<P>::new(Channel::client(options), &a, &b);
        converse(&mut ours, &mut server_with(&b, &a, of(suites)), true);
        assert_eq!(ours.channel.established().expect("it stands").suite, chosen);
    }
    for (aes_256, suites, chosen) in [
        (true, alone, CipherSuite::Aes256GcmSha384),
        // Our server prefers the faster one.
        (true, SUITES, CipherSuite::Aes128GcmSha256),
        (false, SUITES, CipherSuite::Aes128GcmSha256),
    ] {
        for groups in [
            &[kx_group::SECP256R1][..],
            &[kx_group::X25519, kx_group::SECP256R1],
        ] {
            let options = ServerOptions {
                aes_256,
                ..ServerOptions::default()
            };
            let mut ours = Ours::<P>::new(Channel::server_with(options), &b, &a);
            converse(
                &mut ours,
                &mut client_with(&a, &b, Offer { groups, suites }, ALPN),
                true,
            );
            assert_eq!(ours.channel.established().expect("it stands").suite, chosen);
        }
    }
}

/// SecP256r1MLKEM768 in both roles; asked for by a retry where the first share was for something else; and P-256 where the other
/// side does without, by a retry too.
fn hybrid<P: Provider>() {
    let (a, b) = (Own::new(1), Own::new(2));
    fn of<'a>(groups: &'a [&'static dyn SupportedKxGroup]) -> Offer<'a> {
        let suites = SUITES;
        Offer { groups, suites }
    }
    let (pq, p256) = (kx_group::SECP256R1MLKEM768, kx_group::SECP256R1);
    for (groups, chosen, flights) in [
        (vec![pq, p256], NamedGroup::SecP256r1MlKem768, 2),
        (vec![pq], NamedGroup::SecP256r1MlKem768, 2),
        (vec![p256], NamedGroup::Secp256r1, 3),
        (vec![kx_group::X25519, pq], NamedGroup::SecP256r1MlKem768, 2),
    ] {
        let options = ClientOptions {
            hybrid: true,
            ..ClientOptions::default()
        };
        let mut theirs = server_with(&b, &a, of(&groups));
        let mut ours = Ours::<P>::new(Channel::client(options), &a, &b);
        assert_eq!(settle(&mut ours, &mut theirs), flights);
        converse(&mut ours, &mut theirs, true);
        let mut ours = Ours::<P>::new(Channel::client(options), &a, &b);
        settle(&mut ours, &mut server_with(&b, &a, of(&groups)));
        assert_eq!(ours.channel.established().expect("it stands").group, chosen);
    }
    for (groups, chosen) in [
        (vec![pq, p256], NamedGroup::SecP256r1MlKem768),
        (vec![p256], NamedGroup::Secp256r1),
        // Its share is for the first: worth a retry, for what both prefer.
        (vec![kx_group::X25519, p256, pq], NamedGroup::SecP256r1MlKem768),
        (vec![kx_group::X25519, p256], NamedGroup::Secp256r1),
    ] {
        let options = ServerOptions {
            hybrid: true,
            ..ServerOptions::default()
        };
        let mut ours = Ours::<P>::new(Channel::server_with(options), &b, &a);
        let mut theirs = client_with(&a, &b, of(&groups), ALPN);
        settle(&mut ours, &mut theirs);
        assert_eq!(ours.channel.established().expect("it stands").group, chosen);
        converse(&mut ours, &mut theirs, true);
    }
}

#[test]
fn with_rustcrypto() {
    all_of::<RustCrypto>();
    aes_256::<RustCrypto>();
    hybrid::<RustCrypto>();
}

#[test]
fn with_aws_lc() {
    all_of::<AwsLc>();
    aes_256::<AwsLc>();
    hybrid::<AwsLc>();
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

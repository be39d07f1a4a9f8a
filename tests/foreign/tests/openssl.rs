//! OpenSSL 3.6, built from source, in memory and in both roles: for the integrity-only suite of RFC 9150, which nothing
//! else speaks, and for key logs. The `openssl` command of a distribution is met in `tests/interop/openssl.rs`.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};

use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ChannelError, CipherSuite, ClientOptions, Encryption, NamedGroup,
    ServerOptions,
};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::{ALPN, Ours, Own, Theirs, converse, settle};
use foreign_types::ForeignTypeRef as _;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, ErrorCode, HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder,
    SslMethod, SslMode, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;

unsafe extern "C" {
    /// `SSL_key_update(3)`; `updatetype` is 0 for its own keys only, 1 to ask for ours too.
    fn SSL_key_update(ssl: *mut std::ffi::c_void, updatetype: c_int) -> c_int;
}

/// A transport in memory.
#[derive(Debug, Default)]
struct Pipe {
    rx: VecDeque<u8>,
    tx: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.rx.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.rx.read(out)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.tx.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum State {
    Mid(MidHandshakeSslStream<Pipe>),
    Done(SslStream<Pipe>),
    Failed(String, Vec<u8>),
    Taken,
}

struct OpenSsl {
    state: State,
    heard: Vec<u8>,
    #[cfg_attr(
        not(feature = "key-log"),
        expect(dead_code, reason = "read by what the feature `key-log` adds")
    )]
    log: Arc<Mutex<Vec<String>>>,
}

impl OpenSsl {
    fn take(&mut self, result: Result<SslStream<Pipe>, HandshakeError<Pipe>>) {
        self.state = match result {
            Ok(stream) => State::Done(stream),
            Err(HandshakeError::WouldBlock(mid)) => State::Mid(mid),
            Err(HandshakeError::Failure(mut mid)) => {
                let text = mid.error().to_string();
                State::Failed(text, std::mem::take(&mut mid.get_mut().tx))
            }
            Err(HandshakeError::SetupFailure(error)) => panic!("{error}"),
        };
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        match &mut self.state {
            State::Mid(mid) => Some(mid.get_mut()),
            State::Done(stream) => Some(stream.get_mut()),
            State::Failed(..) | State::Taken => None,
        }
    }

    fn failure(&self) -> Option<&str> {
        match &self.state {
            State::Failed(text, _) => Some(text),
            _ => None,
        }
    }
}

impl Theirs for OpenSsl {
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        if let Some(pipe) = self.pipe() {
            pipe.rx.extend(bytes);
        }
        if matches!(self.state, State::Mid(_))
            && let State::Mid(mid) = std::mem::replace(&mut self.state, State::Taken)
        {
            self.take(mid.handshake());
        }
        if let State::Done(stream) = &mut self.state {
            let mut buf = [0; 16_384];
            loop {
                match stream.ssl_read(&mut buf) {
                    Ok(len) => self.heard.extend_from_slice(&buf[..len]),
                    // A record that carried no data; there may be more.
                    Err(error) if error.code() == ErrorCode::WANT_READ && error.io_error().is_none() => {}
                    Err(error) if [ErrorCode::WANT_READ, ErrorCode::ZERO_RETURN].contains(&error.code()) => {
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        if let State::Failed(_, last) = &mut self.state {
            return std::mem::take(last);
        }
        self.pipe()
            .map(|pipe| std::mem::take(&mut pipe.tx))
            .unwrap_or_default()
    }

    fn stands(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    fn say(&mut self, payload: &[u8]) {
        let State::Done(stream) = &mut self.state else {
            panic!("no connection")
        };
        stream.write_all(payload).expect("it takes it");
    }

    fn heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    fn update_keys(&mut self, ask: bool) {
        let State::Done(stream) = &mut self.state else {
            panic!("no connection")
        };
        // SAFETY: the pointer is that of a live SSL which nobody else uses, and the function keeps none of it.
        let done = unsafe { SSL_key_update(stream.ssl().as_ptr().cast(), c_int::from(ask)) };
        assert_eq!(done, 1);
    }

    fn binding(&self) -> [u8; 32] {
        let State::Done(stream) = &self.state else {
            panic!("no connection")
        };
        let mut out = [0; 32];
        let label = std::str::from_utf8(CHANNEL_BINDING_LABEL).expect("text");
        stream
            .ssl()
            .export_keying_material(&mut out, label, Some(&[]))
            .expect("it stands");
        out
    }

    fn close(&mut self) {
        if let State::Done(stream) = &mut self.state {
            // "Sent, and not yet received".
            let _ = stream.shutdown();
        }
    }
}

fn context(own: &Own, suites: &str, groups: &str, log: &Arc<Mutex<Vec<String>>>) -> SslContextBuilder {
    let mut context = SslContext::builder(SslMethod::tls()).expect("a context");
    // Suites without encryption count as no security at all.
    context.set_security_level(0);
    context
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .expect("TLS 1.3");
    context.set_ciphersuites(suites).expect("suites");
    context.set_groups_list(groups).expect("groups");
    context.set_sigalgs_list("ECDSA+SHA256").expect("algorithms");
    context.set_mode(SslMode::ENABLE_PARTIAL_WRITE);
    context
        .set_certificate(&X509::from_der(&own.der).expect("a certificate"))
        .expect("it takes it");
    context
        .set_private_key(&PKey::private_key_from_pkcs8(&own.pkcs8()).expect("a key"))
        .expect("it takes it");
    // Who it is is not OpenSSL's business here; that it can prove it is.
    context.set_verify_callback(
        SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        |_, _| true,
    );
    let log = Arc::clone(log);
    context.set_keylog_callback(move |_, line| log.lock().expect("one thread").push(line.to_owned()));
    context
}

fn client(own: &Own, suites: &str, groups: &str) -> OpenSsl {
    let log = Arc::default();
    let mut context = context(own, suites, groups, &log);
    context.set_alpn_protos(b"\x05dbm/1").expect("ALPN");
    let ssl = Ssl::new(&context.build()).expect("a client");
    let mut client = OpenSsl {
        state: State::Taken,
        heard: Vec::new(),
        log,
    };
    client.take(ssl.connect(Pipe::default()));
    client
}

fn server(own: &Own, suites: &str, groups: &str) -> OpenSsl {
    let log = Arc::default();
    let mut context = context(own, suites, groups, &log);
    context.set_alpn_select_callback(|_, offered| {
        let wanted = [&[5], ALPN].concat();
        if offered == wanted {
            Ok(&offered[1..])
        } else {
            Err(AlpnError::ALERT_FATAL)
        }
    });
    let ssl = Ssl::new(&context.build()).expect("a server");
    let mut server = OpenSsl {
        state: State::Taken,
        heard: Vec::new(),
        log,
    };
    server.take(ssl.accept(Pipe::default()));
    server
}

fn our_client<'a, P: Provider>(own: &'a Own, peer: &'a Own, encryption: Encryption) -> Ours<'a, P> {
    let options = ClientOptions {
        encryption,
        aes_256: true,
        ..ClientOptions::default()
    };
    Ours::new(Channel::client(options), own, peer)
}

fn our_server<'a, P: Provider>(own: &'a Own, peer: &'a Own, encryption: Encryption) -> Ours<'a, P> {
    let options = ServerOptions {
        encryption,
        aes_256: true,
        ..ServerOptions::default()
    };
    Ours::new(Channel::server_with(options), own, peer)
}

const GCM: &str = "TLS_AES_128_GCM_SHA256";
const GCM_256: &str = "TLS_AES_256_GCM_SHA384";
const INTEGRITY: &str = "TLS_SHA256_SHA256";

#[test]
fn it_is_the_version_that_this_test_is_about() {
    assert!(
        openssl::version::number() >= 0x3040_0000,
        "{}",
        openssl::version::version()
    );
}

/// Both roles, both suites, with a retry and without: handshake, data, key updates of either side, exporter, goodbye.
#[test]
fn both_suites_in_both_roles() {
    let (a, b) = (Own::new(1), Own::new(2));
    for (suites, encryption, suite) in [
        (GCM, Encryption::Required, CipherSuite::Aes128GcmSha256),
        (GCM_256, Encryption::Required, CipherSuite::Aes256GcmSha384),
        (INTEGRITY, Encryption::Disabled, CipherSuite::Sha256Sha256),
        (INTEGRITY, Encryption::Supported, CipherSuite::Sha256Sha256),
        (
            "TLS_SHA256_SHA256:TLS_AES_128_GCM_SHA256",
            Encryption::Supported,
            CipherSuite::Aes128GcmSha256,
        ),
    ] {
        // OpenSSL 3.6.3 loses the hash of an integrity-only suite at a key update (tls13_update_key gives its record layer
        // none) and ends with an error of its own: nothing to be met there.
        let key_updates = suite.encrypts();
        for groups in ["P-256", "X25519:P-256"] {
            let mut ours = our_server::<RustCrypto>(&b, &a, encryption);
            converse(&mut ours, &mut client(&a, suites, groups), key_updates);
            assert_eq!(ours.channel.established().expect("it stands").suite, suite);
        }
        if suites.contains(':') {
            continue; // whose preference counts is the server's affair
        }
        let mut ours = our_client::<RustCrypto>(&a, &b, encryption);
        converse(&mut ours, &mut server(&b, suites, "P-256"), key_updates);
        assert_eq!(ours.channel.established().expect("it stands").suite, suite);
    }
}

#[test]
fn the_hybrid_in_both_roles() {
    let (a, b) = (Own::new(1), Own::new(2));
    const PQ: &str = "SecP256r1MLKEM768";
    for (groups, chosen) in [
        (PQ, NamedGroup::SecP256r1MlKem768),
        ("X25519:SecP256r1MLKEM768:P-256", NamedGroup::SecP256r1MlKem768),
        ("P-256", NamedGroup::Secp256r1),
    ] {
        let options = ServerOptions {
            hybrid: true,
            ..ServerOptions::default()
        };
        let mut ours = Ours::<RustCrypto>::new(Channel::server_with(options), &b, &a);
        let mut theirs = client(&a, GCM, groups);
        settle(&mut ours, &mut theirs);
        assert_eq!(
            ours.channel.established().expect("it stands").group,
            chosen,
            "{groups}"
        );
        converse(&mut ours, &mut theirs, true);
        let mut ours = Ours::<RustCrypto>::new(Channel::client(options.into()), &a, &b);
        let mut theirs = server(&b, GCM, groups);
        settle(&mut ours, &mut theirs);
        assert_eq!(
            ours.channel.established().expect("it stands").group,
            chosen,
            "{groups}"
        );
        converse(&mut ours, &mut theirs, true);
    }
}

#[test]
fn settings_that_exclude_each_other() {
    let (a, b) = (Own::new(1), Own::new(2));
    for (suites, encryption, error) in [
        (INTEGRITY, Encryption::Required, ChannelError::PeerDoesNotEncrypt),
        (GCM, Encryption::Disabled, ChannelError::PeerRequiresEncryption),
        (
            GCM_256,
            Encryption::Disabled,
            ChannelError::PeerRequiresEncryption,
        ),
        (
            "TLS_CHACHA20_POLY1305_SHA256",
            Encryption::Supported,
            ChannelError::NoCommonSuite,
        ),
    ] {
        let mut ours = our_server::<RustCrypto>(&b, &a, encryption);
        let mut theirs = client(&a, suites, "P-256");
        settle(&mut ours, &mut theirs);
        assert_eq!(ours.error(), Some(error));
        assert!(
            theirs
                .failure()
                .is_some_and(|text| text.contains("handshake failure")),
            "{:?}",
            theirs.failure()
        );
        let mut ours = our_client::<RustCrypto>(&a, &b, encryption);
        let mut theirs = server(&b, suites, "P-256");
        settle(&mut ours, &mut theirs);
        assert!(
            matches!(ours.error(), Some(ChannelError::PeerAlert(alert)) if alert.name() == "handshake_failure")
        );
    }
}

/// Every line of our key log is one of theirs.
#[cfg(feature = "key-log")]
mod key_log {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// The default provider, which tells its secrets.
    struct Telling;

    impl Provider for Telling {
        type Sha256 = <RustCrypto as Provider>::Sha256;
        type Aes128Gcm = <RustCrypto as Provider>::Aes128Gcm;
        type Sha384 = <RustCrypto as Provider>::Sha384;
        type Aes256Gcm = <RustCrypto as Provider>::Aes256Gcm;
        type MlKem768 = <RustCrypto as Provider>::MlKem768;
        type P256 = <RustCrypto as Provider>::P256;
        type SigningKey = <RustCrypto as Provider>::SigningKey;
        type VerifyingKey = <RustCrypto as Provider>::VerifyingKey;

        fn key_log(label: &str, client_random: &[u8; 32], secret: &[u8]) {
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let line = format!("{label} {} {}", hex(client_random), hex(secret));
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    #[test]
    fn ours_is_theirs() {
        let (a, b) = (Own::new(1), Own::new(2));
        for as_client in [true, false] {
            LINES.take();
            let mut theirs;
            if as_client {
                theirs = server(&b, GCM, "P-256");
                converse(
                    &mut our_client::<Telling>(&a, &b, Encryption::Required),
                    &mut theirs,
                    true,
                );
            } else {
                theirs = client(&a, GCM, "X25519:P-256");
                converse(
                    &mut our_server::<Telling>(&b, &a, Encryption::Required),
                    &mut theirs,
                    true,
                );
            }
            let ours = LINES.take();
            assert_eq!(ours.len(), 5, "{ours:?}");
            let theirs = theirs.log.lock().expect("one thread");
            for line in ours {
                assert!(
                    theirs.contains(&line.to_lowercase()) || theirs.contains(&line),
                    "{line} in {theirs:?}"
                );
            }
        }
    }
}

//! The channel behind the command line of BoGo, the test runner of BoringSSL (`ssl/test/PORTING.md` there): it dials the runner,
//! says which shim it is, and is a TLS client or server on that connection as the flags say. `docs/channel.md` tells how the
//! runner is built and what it found.
//!
//! The exit status is 0 when both sides part in good order, 1 with a line on standard error when not, and 89 for a flag that
//! asks for what this profile does not have: the runner counts such tests as not implemented.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::Certificate;
use dbmirror_core::channel::{
    Channel, ChannelError, ClientOptions, Env, Event, HEAD_ROOM, Identity, PeerRefusal, PeerVerifier,
    Protocol, TAIL_ROOM, VerifiedPeer,
};
use dbmirror_core::crypto::SigningKey as _;
use dbmirror_core::crypto::rustcrypto::{RustCrypto, SigningKey};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// What the runner takes as "not implemented".
const UNIMPLEMENTED: u8 = 89;
/// Longer than the runner waits.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "-is-handshaker-supported")
    {
        println!("No");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(flag) => {
            eprintln!("not implemented: {flag}");
            return ExitCode::from(UNIMPLEMENTED);
        }
    };
    match Shim::dial(&options).and_then(Shim::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the flags ask for.
#[derive(Default)]
struct Options {
    port: u16,
    shim_id: u64,
    ipv6: bool,
    server: bool,
    scalar: Option<[u8; 32]>,
    certificate: Vec<u8>,
    protocols: Vec<Vec<u8>>,
    expected_protocol: Option<String>,
    refuses_peer: bool,
    writes_first: bool,
    shuts_down: bool,
    wants_goodbye: bool,
    updates_before_read: bool,
    export_len: usize,
    export_label: String,
    export_context: String,
}

impl Options {
    /// # Errors
    /// The flag that asks for what there is not.
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let refused = || format!("{flag} {arguments:?}");
            let mut value = || rest.next().cloned().ok_or_else(refused);
            // Each of a flag's values that this profile has, by number.
            let only = |text: String, known: &str| if text == known { Ok(()) } else { Err(refused()) };
            match flag.as_str() {
                "-port" => options.port = value()?.parse().map_err(|_| refused())?,
                "-shim-id" => options.shim_id = value()?.parse().map_err(|_| refused())?,
                "-ipv6" => options.ipv6 = true,
                "-server" => options.server = true,
                "-key-file" => options.scalar = Some(scalar(&pem(&value()?)).ok_or_else(refused)?),
                "-cert-file" => options.certificate = pem(&value()?),
                "-advertise-alpn" => {
                    options.protocols = alpn_list(value()?.as_bytes()).ok_or_else(refused)?
                }
                "-select-alpn" => options.protocols = vec![value()?.into_bytes()],
                "-expect-alpn" => options.expected_protocol = Some(value()?),
                "-verify-fail" => options.refuses_peer = true,
                "-shim-writes-first" => options.writes_first = true,
                "-shim-shuts-down" => options.shuts_down = true,
                "-check-close-notify" => options.wants_goodbye = true,
                "-key-update-before-read" => options.updates_before_read = true,
                "-export-keying-material" => options.export_len = value()?.parse().map_err(|_| refused())?,
                "-export-label" => options.export_label = value()?,
                "-export-context" => options.export_context = value()?,
                // TLS 1.3, secp256r1, ecdsa_secp256r1_sha256, TLS_AES_128_GCM_SHA256: what there is anyway.
                "-max-version" | "-min-version" | "-expect-version" => only(value()?, "772")?,
                "-curves" | "-expect-curve-id" => only(value()?, "23")?,
                "-signing-prefs" | "-verify-prefs" | "-expect-peer-signature-algorithm" => {
                    only(value()?, "1027")?;
                }
                // What happens unasked, and what has no effect here.
                "-verify-peer"
                | "-require-any-client-certificate"
                | "-use-export-context"
                | "-expect-hrr"
                | "-expect-no-hrr"
                | "-no-tls1"
                | "-no-tls11"
                | "-no-tls12"
                | "-no-ticket"
                | "-use-custom-verify-callback"
                | "-expect-no-session"
                | "-expect-session-miss"
                | "-renegotiate-ignore"
                | "-forbid-renegotiation-after-handshake" => {}
                "-trust-cert" | "-max-cert-list" | "-new-x509-credential" => {
                    value()?;
                }
                _ => return Err(refused()),
            }
        }
        if options.protocols.is_empty() {
            options.protocols.push(b"dbm/1".to_vec());
        }
        Ok(options)
    }
}

/// The first block of a PEM file; empty when there is none.
fn pem(path: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let body: Vec<u8> = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .flat_map(|line| line.trim().bytes())
        .collect();
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for group in body.chunks(4) {
        let digits: Vec<u32> = group.iter().filter_map(|byte| digit(*byte)).collect();
        let bits = digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..(digits.len() * 6 / 8) + 1]);
    }
    out
}

/// The scalar in a PKCS #8 key of P-256: version 1 and an octet string of 32 bytes (RFC 5915 §3), behind the curve's name.
fn scalar(der: &[u8]) -> Option<[u8; 32]> {
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let head = [0x02, 0x01, 0x01, 0x04, 0x20];
    der.windows(curve.len()).find(|window| *window == curve)?;
    let at = der.windows(head.len()).position(|window| window == head)?;
    der.get(at + head.len()..)?.first_chunk().copied()
}

/// Names with their lengths before them.
fn alpn_list(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        names.push(name.to_vec());
        bytes = rest;
    }
    Some(names)
}

/// Lets in whoever proves to own the P-256 key in the certificate that was shown, unless a test wants nobody let in.
struct Anybody {
    refuses: bool,
}

impl PeerVerifier for Anybody {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let certificate = Certificate::parse::<RustCrypto>(der).map_err(|_| PeerRefusal::Unknown)?;
        if self.refuses {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: *certificate.point(),
            login_id: 1,
            certificate_id: 1,
        })
    }
}

struct Shim<'o> {
    options: &'o Options,
    stream: TcpStream,
    channel: Channel<RustCrypto>,
    key: SigningKey,
    verifier: Anybody,
    received: Vec<u8>,
}

impl<'o> Shim<'o> {
    fn dial(options: &'o Options) -> Result<Self, String> {
        let host = if options.ipv6 { "::1" } else { "127.0.0.1" };
        let text = |error: std::io::Error| format!("transport: {error}");
        let mut stream = TcpStream::connect((host, options.port)).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
        stream.write_all(&options.shim_id.to_le_bytes()).map_err(text)?;
        // A client without a key shows itself with one that nobody knows.
        let scalar = Secret::new(options.scalar.unwrap_or([1; 32]));
        Ok(Self {
            options,
            stream,
            channel: if options.server {
                Channel::server()
            } else {
                // The runner wants the change_cipher_spec of BoringSSL's clients.
                Channel::client(ClientOptions {
                    middlebox_compatible: true,
                    ..ClientOptions::default()
                })
            },
            key: SigningKey::from_scalar(&scalar).map_err(|_| "no key".to_owned())?,
            verifier: Anybody {
                refuses: options.refuses_peer,
            },
            received: Vec::new(),
        })
    }

    fn run(mut self) -> Result<(), String> {
        let outcome = self.converse();
        // The alert, if there is one, and room for the runner to read it.
        let _ = self.flush();
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut ignored = [0; 4_096];
        while self.stream.read(&mut ignored).is_ok_and(|n| n > 0) {}
        outcome
    }

    fn converse(&mut self) -> Result<(), String> {
        let mut introduced = false;
        loop {
            // An answer to a key update waits for what is sent next: several in a row are answered by one.
            if !introduced {
                self.flush()?;
            }
            if !introduced && self.channel.established().is_some() {
                introduced = true;
                if self.introduce()? {
                    return Ok(());
                }
            }
            if introduced && self.options.updates_before_read && self.received.is_empty() {
                self.channel.update_keys();
                self.flush()?;
            }
            match self.step()? {
                None => {}
                Some(ended) => return ended,
            }
        }
    }

    /// Says what is to be said first; answers whether all is said.
    fn introduce(&mut self) -> Result<bool, String> {
        let options = self.options;
        if let (Some(expected), Some(facts)) = (&options.expected_protocol, self.channel.established())
            && facts.alpn.as_bytes() != expected.as_bytes()
        {
            return Err("another protocol than expected".to_owned());
        }
        if options.export_len > 0 {
            let mut exported = vec![0; options.export_len];
            self.channel
                .export(
                    options.export_label.as_bytes(),
                    options.export_context.as_bytes(),
                    &mut exported,
                )
                .map_err(|error| format!("export: {error}"))?;
            self.send(&exported)?;
        }
        if options.writes_first {
            self.send(b"hello")?;
        }
        if options.shuts_down {
            self.channel.close();
        }
        Ok(options.shuts_down)
    }

    /// One step over what has come, after reading what is missing. Answers how it ended, when it has.
    fn step(&mut self) -> Result<Option<Result<(), String>>, String> {
        let text = |error: ChannelError| format!("error {}: {error}", error.code());
        let mut received = std::mem::take(&mut self.received);
        let step = self.with_env(|channel, env| {
            channel.read(env, &mut received).map(|step| match step.event {
                Event::Data(data) => (step.consumed, step.need, data.to_vec(), false),
                Event::Closed => (step.consumed, step.need, Vec::new(), true),
                Event::Progress | Event::WriteFirst => (step.consumed, step.need, Vec::new(), false),
            })
        });
        let (consumed, need, data, closed) = step.map_err(text)?;
        received.drain(..consumed);
        self.received = received;
        if closed {
            self.channel.close();
            return Ok(Some(Ok(())));
        }
        if !data.is_empty() {
            self.flush()?;
            let answer: Vec<u8> = data.iter().map(|byte| byte ^ 0xff).collect();
            self.send(&answer)?;
        }
        if need > 0 {
            let have = self.received.len();
            self.received.resize(have + need, 0);
            let got = self
                .stream
                .read(&mut self.received[have..])
                .map_err(|error| format!("transport: {error}"))?;
            self.received.truncate(have + got);
            if got == 0 {
                let ended = self.channel.end_of_input();
                let cut = ended == Err(ChannelError::Truncated) && !self.options.wants_goodbye;
                return Ok(Some(if cut { Ok(()) } else { ended.map_err(text) }));
            }
        }
        Ok(None)
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut tx = [0; 4_096];
        while self.channel.wants_write() {
            let len = self
                .with_env(|channel, env| channel.write(env, &mut tx))
                .map_err(|error| format!("error {}: {error}", error.code()))?;
            self.stream
                .write_all(&tx[..len])
                .map_err(|error| format!("transport: {error}"))?;
        }
        Ok(())
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), String> {
        for piece in payload.chunks(self.channel.payload_len_max()) {
            let mut buf = vec![0; HEAD_ROOM + piece.len() + TAIL_ROOM];
            buf[HEAD_ROOM..HEAD_ROOM + piece.len()].copy_from_slice(piece);
            let len = self
                .channel
                .seal(&mut buf, piece.len())
                .map_err(|error| format!("misuse: {error}"))?;
            self.stream
                .write_all(&buf[..len])
                .map_err(|error| format!("transport: {error}"))?;
        }
        Ok(())
    }

    fn with_env<T>(
        &mut self,
        work: impl FnOnce(&mut Channel<RustCrypto>, &mut Env<'_, RustCrypto>) -> T,
    ) -> T {
        let protocols: Vec<Protocol<'_>> = self
            .options
            .protocols
            .iter()
            .map(|alpn| Protocol {
                alpn,
                verifier: &self.verifier,
            })
            .collect();
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut OsEntropy,
            identity: Identity {
                signing_key: &self.key,
                certificate_der: &self.options.certificate,
            },
            protocols: &protocols,
        };
        work(&mut self.channel, &mut env)
    }
}

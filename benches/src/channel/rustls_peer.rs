//! rustls 0.23 with aws-lc-rs: its unbuffered interface, which is its fastest, and the buffered one that most people use.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dbmirror_foreign::Own;
use dbmirror_foreign::rustls_pin::{chain, client_config, server_config};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

use super::{Contender, Records};

/// What both interfaces are configured with.
struct Configs {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
}

impl Configs {
    fn new(own: &[Own; 2]) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![kx_group::SECP256R1];
        let provider = Arc::new(provider);
        let mut client = client_config(&provider, chain(&own[0]), &own[1]);
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = server_config(&provider, chain(&own[1]), &own[0]);
        server.send_tls13_tickets = 0;
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("bench").expect("a name")
    }
}

/// The unbuffered interface.
pub struct Unbuffered(Configs);

/// Bytes under way to one side: from the front, so many.
struct Pipe(Vec<u8>, usize);

/// Lets one side do what it can with what has come; says whether its handshake is done.
macro_rules! turn {
    ($connection:expr, $incoming:expr, $outgoing:expr) => {{
        let Pipe(from, len) = $incoming;
        let Pipe(to, end) = $outgoing;
        let mut at = 0;
        let mut done = false;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                $connection.process_tls_records(&mut from[at..*len]);
            let mut stop = false;
            match state.expect("a good peer") {
                ConnectionState::EncodeTlsData(mut state) => match state.encode(&mut to[*end..]) {
                    Ok(written) => *end += written,
                    Err(EncodeError::InsufficientSize(_)) => panic!("a flight is longer than the pipe"),
                    Err(error) => panic!("{error}"),
                },
                ConnectionState::TransmitTlsData(state) => state.done(),
                ConnectionState::BlockedHandshake => stop = true,
                ConnectionState::WriteTraffic(_) => {
                    done = true;
                    stop = true;
                }
                _ => panic!("a state that no handshake has"),
            }
            at += discard;
            if stop {
                break;
            }
        }
        from.copy_within(at..*len, 0);
        *len -= at;
        done
    }};
}

impl Unbuffered {
    /// `own[0]` dials `own[1]`.
    pub fn new(own: &[Own; 2]) -> Self {
        Self(Configs::new(own))
    }

    fn shake(&self) -> (UnbufferedClientConnection, UnbufferedServerConnection) {
        let mut client =
            UnbufferedClientConnection::new(Arc::clone(&self.0.client), Configs::name()).expect("a client");
        let mut server = UnbufferedServerConnection::new(Arc::clone(&self.0.server)).expect("a server");
        let (mut to_client, mut to_server) = (Pipe(vec![0; 4_096], 0), Pipe(vec![0; 4_096], 0));
        loop {
            let a = turn!(client, &mut to_client, &mut to_server);
            let b = turn!(server, &mut to_server, &mut to_client);
            if a && b {
                return (client, server);
            }
        }
    }
}

impl Contender for Unbuffered {
    fn name(&self) -> &'static str {
        "rustls unbuffered"
    }

    fn handshake(&mut self) {
        drop(self.shake());
    }

    fn records(&mut self) -> Box<dyn Records> {
        let (client, server) = self.shake();
        Box::new(UnbufferedRecords {
            client,
            server,
            payload: Vec::new(),
            wire: Vec::new(),
            len: 0,
        })
    }
}

struct UnbufferedRecords {
    client: UnbufferedClientConnection,
    server: UnbufferedServerConnection,
    payload: Vec<u8>,
    wire: Vec<u8>,
    len: usize,
}

impl Records for UnbufferedRecords {
    fn seal(&mut self, payload: usize, count: usize) {
        self.payload.resize(payload, 0x5a);
        self.wire.resize((payload + 64) * count, 0);
        self.len = 0;
        for _ in 0..count {
            let UnbufferedStatus { state, .. } = self.client.process_tls_records(&mut []);
            let ConnectionState::WriteTraffic(mut state) = state.expect("it stands") else {
                panic!("it does not stand");
            };
            self.len += state
                .encrypt(&self.payload, &mut self.wire[self.len..])
                .expect("it fits");
        }
    }

    fn open(&mut self) {
        let mut at = 0;
        while at < self.len {
            let UnbufferedStatus { discard, state, .. } =
                self.server.process_tls_records(&mut self.wire[at..self.len]);
            let mut more = 0;
            if let ConnectionState::ReadTraffic(mut state) = state.expect("a good peer") {
                while let Some(record) = state.next_record() {
                    let record = record.expect("it opens");
                    assert!(!record.payload.is_empty());
                    more += record.discard;
                }
            }
            at += discard + more;
        }
    }
}

/// The buffered interface.
pub struct Buffered(Configs);

impl Buffered {
    /// `own[0]` dials `own[1]`.
    pub fn new(own: &[Own; 2]) -> Self {
        Self(Configs::new(own))
    }

    fn shake(&self) -> (rustls::ClientConnection, rustls::ServerConnection) {
        let mut client =
            rustls::ClientConnection::new(Arc::clone(&self.0.client), Configs::name()).expect("a client");
        let mut server = rustls::ServerConnection::new(Arc::clone(&self.0.server)).expect("a server");
        let mut pipe = Vec::with_capacity(4_096);
        while client.is_handshaking() || server.is_handshaking() {
            pipe.clear();
            while client.wants_write() {
                client.write_tls(&mut pipe).expect("it writes");
            }
            let mut rest = &pipe[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("it reads");
            }
            server.process_new_packets().expect("a good peer");
            pipe.clear();
            while server.wants_write() {
                server.write_tls(&mut pipe).expect("it writes");
            }
            let mut rest = &pipe[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("it reads");
            }
            client.process_new_packets().expect("a good peer");
        }
        (client, server)
    }
}

impl Contender for Buffered {
    fn name(&self) -> &'static str {
        "rustls buffered"
    }

    fn handshake(&mut self) {
        drop(self.shake());
    }

    fn records(&mut self) -> Box<dyn Records> {
        let (client, server) = self.shake();
        Box::new(BufferedRecords {
            client,
            server,
            payload: Vec::new(),
            wire: Vec::new(),
            heard: Vec::new(),
        })
    }
}

struct BufferedRecords {
    client: rustls::ClientConnection,
    server: rustls::ServerConnection,
    payload: Vec<u8>,
    wire: Vec<u8>,
    heard: Vec<u8>,
}

impl Records for BufferedRecords {
    fn seal(&mut self, payload: usize, count: usize) {
        self.payload.resize(payload, 0x5a);
        self.heard.resize(payload * count, 0);
        self.wire.clear();
        for _ in 0..count {
            self.client
                .writer()
                .write_all(&self.payload)
                .expect("it takes it");
            while self.client.wants_write() {
                self.client.write_tls(&mut self.wire).expect("it writes");
            }
        }
    }

    fn open(&mut self) {
        let mut rest = &self.wire[..];
        let mut heard = 0;
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).expect("it reads");
            self.server.process_new_packets().expect("it opens");
            while heard < self.heard.len() {
                match self.server.reader().read(&mut self.heard[heard..]) {
                    Ok(len) if len > 0 => heard += len,
                    _ => break,
                }
            }
        }
        assert_eq!(heard, self.heard.len());
    }
}

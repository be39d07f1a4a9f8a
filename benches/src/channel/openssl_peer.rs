//! OpenSSL 3.6, built from source, over memory.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use dbmirror_foreign::{ALPN, Own};
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder, SslMethod,
    SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;

use super::{Contender, Records};

/// A transport in memory: what one side has sent is given to the other by whoever holds both.
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

/// Client and server.
pub struct OpenSsl {
    client: SslContext,
    server: SslContext,
}

fn context(own: &Own, peer: &Own) -> SslContextBuilder {
    let mut context = SslContext::builder(SslMethod::tls()).expect("a context");
    let key = PKey::private_key_from_pkcs8(&own.pkcs8()).expect("a key");
    context
        .set_certificate(&X509::from_der(&own.der).expect("a certificate"))
        .and_then(|()| context.set_private_key(&key))
        .and_then(|()| context.set_min_proto_version(Some(SslVersion::TLS1_3)))
        .and_then(|()| context.set_ciphersuites("TLS_AES_128_GCM_SHA256"))
        .and_then(|()| context.set_groups_list("P-256"))
        .expect("what it knows");
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    let der = peer.der.clone();
    context.set_verify_callback(
        SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        move |_, store| {
            let shown = store.current_cert().and_then(|shown| shown.to_der().ok());
            shown.as_deref() == Some(&der[..])
        },
    );
    context
}

impl OpenSsl {
    /// `own[0]` dials `own[1]`.
    pub fn new(own: &[Own; 2]) -> Self {
        let mut client = context(&own[0], &own[1]);
        let mut names = vec![u8::try_from(ALPN.len()).expect("short")];
        names.extend_from_slice(ALPN);
        client.set_alpn_protos(&names).expect("a protocol");
        let mut server = context(&own[1], &own[0]);
        server.set_num_tickets(0).expect("a number");
        server.set_alpn_select_callback(|_, offered| {
            openssl::ssl::select_next_proto(b"\x05dbm/1", offered).ok_or(AlpnError::ALERT_FATAL)
        });
        Self {
            client: client.build(),
            server: server.build(),
        }
    }

    fn shake(&self) -> (SslStream<Pipe>, SslStream<Pipe>) {
        let ssl = |context| Ssl::new(context).expect("a connection");
        let mut client = Side::of(ssl(&self.client).connect(Pipe::default()));
        let mut server = Side::of(ssl(&self.server).accept(Pipe::default()));
        for _ in 0..16 {
            let sent = std::mem::take(&mut client.pipe().tx);
            server.pipe().rx.extend(sent);
            server = server.go_on();
            let sent = std::mem::take(&mut server.pipe().tx);
            client.pipe().rx.extend(sent);
            client = client.go_on();
            if let (Side::Done(_), Side::Done(_)) = (&client, &server)
                && client.pipe().tx.is_empty()
            {
                break;
            }
        }
        match (client, server) {
            (Side::Done(client), Side::Done(server)) => (client, server),
            _ => panic!("no handshake"),
        }
    }
}

enum Side {
    Mid(MidHandshakeSslStream<Pipe>),
    Done(SslStream<Pipe>),
}

impl Side {
    fn of(result: Result<SslStream<Pipe>, HandshakeError<Pipe>>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(HandshakeError::WouldBlock(mid)) => Self::Mid(mid),
            Err(error) => panic!("{error}"),
        }
    }

    fn go_on(self) -> Self {
        match self {
            Self::Mid(mid) => Self::of(mid.handshake()),
            done @ Self::Done(_) => done,
        }
    }

    fn pipe(&mut self) -> &mut Pipe {
        match self {
            Self::Mid(mid) => mid.get_mut(),
            Self::Done(done) => done.get_mut(),
        }
    }
}

impl Contender for OpenSsl {
    fn name(&self) -> &'static str {
        "OpenSSL 3.6"
    }

    fn handshake(&mut self) {
        drop(self.shake());
    }

    fn records(&mut self) -> Box<dyn Records> {
        let (client, server) = self.shake();
        Box::new(Crossing {
            client,
            server,
            payload: Vec::new(),
            out: vec![0; 16_384],
            left: 0,
        })
    }
}

struct Crossing {
    client: SslStream<Pipe>,
    server: SslStream<Pipe>,
    payload: Vec<u8>,
    out: Vec<u8>,
    left: usize,
}

impl Records for Crossing {
    fn seal(&mut self, payload: usize, count: usize) {
        self.payload.resize(payload, 0x5a);
        self.left = payload * count;
        for _ in 0..count {
            self.client.write_all(&self.payload).expect("it writes");
        }
    }

    fn open(&mut self) {
        let sent = std::mem::take(&mut self.client.get_mut().tx);
        self.server.get_mut().rx.extend(sent);
        while self.left > 0 {
            self.left -= self.server.ssl_read(&mut self.out).expect("it reads");
        }
    }
}

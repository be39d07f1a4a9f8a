//! Cipher suites: which of them two sides end up with, and records that are authenticated only (RFC 9150).

use super::records::sealed;
use super::*;
use messages::message_type::{CLIENT_HELLO, SERVER_HELLO};

const ENCRYPTIONS: [Encryption; 3] = [Encryption::Required, Encryption::Supported, Encryption::Disabled];

fn set_up(client: Encryption, server: Encryption) -> (Side, Side) {
    let options = ClientOptions {
        encryption: client,
        ..ClientOptions::default()
    };
    let server_options = ServerOptions {
        encryption: server,
        ..ServerOptions::default()
    };
    strangers_with(options, server_options)
}

/// A finished handshake over TLS_SHA256_SHA256.
fn open_friends() -> (Side, Side) {
    let (mut client, mut server) = set_up(Encryption::Disabled, Encryption::Supported);
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
    (client, server)
}

/// Every cell of the table of what two endpoints make of each other's ENCRYPTION.
#[test]
fn what_two_settings_come_to() {
    use Encryption::{Disabled, Required, Supported};
    for client in ENCRYPTIONS {
        for server in ENCRYPTIONS {
            let (mut a, mut b) = set_up(client, server);
            run(&mut a, &mut b, usize::MAX);
            let expected = match (client, server) {
                (Required, Disabled) => Err(ChannelError::PeerRequiresEncryption),
                (Disabled, Required) => Err(ChannelError::PeerDoesNotEncrypt),
                (Disabled, _) | (_, Disabled) => Ok(CipherSuite::Sha256Sha256),
                (Required | Supported, Required | Supported) => Ok(CipherSuite::Aes128GcmSha256),
            };
            let name = std::format!("{client:?} {server:?}");
            match expected {
                Ok(suite) => {
                    assert_eq!(a.channel.established().unwrap().suite, suite, "{name}");
                    assert_eq!(b.channel.established().unwrap().suite, suite, "{name}");
                    for text in [&b"x"[..], b"a longer one", &[7; 16_384]] {
                        let record = a.seal(text);
                        deliver(&mut b, &record, usize::MAX);
                        assert_eq!(core::mem::take(&mut b.data), text, "{name}");
                        assert_eq!(
                            record.windows(text.len()).any(|w| w == text),
                            !suite.encrypts() || text.len() == 1 && record.contains(&text[0]),
                            "{name}"
                        );
                    }
                }
                Err(error) => refused(&name, error, &mut b, &mut a),
            }
        }
    }
}

/// A server that may encrypt does, whatever the client prefers.
#[test]
fn the_server_prefers_to_encrypt() {
    let (mut client, mut server) = set_up(Encryption::Supported, Encryption::Supported);
    client.tamper(once(CLIENT_HELLO, |m| {
        let at = 4 + 2 + 32 + 1 + 2;
        m[at..at + 4].copy_from_slice(&[0xc0, 0xb4, 0x13, 0x01]);
    }));
    run(&mut client, &mut server, usize::MAX);
    assert_eq!(
        server.channel.established().unwrap().suite,
        CipherSuite::Aes128GcmSha256
    );
}

/// Offence 51: a side that requires encryption takes nothing else, from either role.
#[test]
fn integrity_only_is_refused_where_encryption_is_required() {
    let (mut client, mut server) = set_up(Encryption::Required, Encryption::Supported);
    server.tamper(once(SERVER_HELLO, |m| m[39..41].copy_from_slice(&[0xc0, 0xb4])));
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    deliver(&mut client, &flight, usize::MAX);
    let message_type = SERVER_HELLO;
    assert_eq!(
        client.channel.error(),
        Some(ChannelError::IllegalValue { message_type })
    );
    server_refuses(
        "TLS_SHA256_SHA256 alone",
        ChannelError::PeerDoesNotEncrypt,
        once(CLIENT_HELLO, |m| m[41..43].copy_from_slice(&[0xc0, 0xb4])),
    );
}

/// Offence 51: keys of one suite open nothing of the other, and a nonce of 12 bytes is another nonce.
#[test]
fn keys_of_one_suite_open_nothing_of_another() {
    use digest::HashAlgorithm;
    use key_schedule::TrafficSecret;
    use protect::{Opener, Sealer};
    type H = <RustCrypto as Provider>::Sha256;
    let secret = || TrafficSecret::<RustCrypto>::fixed(HashAlgorithm::Sha256, 9);
    let with = |suite| suite::Protection {
        suite,
        ..suite::Protection::new(RecordSizeLimit::MAX)
    };
    let suites = [CipherSuite::Aes128GcmSha256, CipherSuite::Sha256Sha256];
    for ours in suites {
        for theirs in suites {
            let mut sealer = Sealer::<RustCrypto>::with(with(ours), secret()).unwrap();
            let mut opener = Opener::<RustCrypto>::with(with(theirs), secret()).unwrap();
            let mut buf = [5; 100];
            let len = sealer.seal(23, &mut buf, 40).unwrap();
            let opened = opener.open(&mut buf[..len]);
            if ours == theirs {
                assert_eq!(opened.map(|o| o.content_len), Ok(40));
            } else {
                assert_eq!(opened, Err(ChannelError::BadRecordMac), "{ours:?} {theirs:?}");
                assert!(buf[5..45].iter().all(|b| *b == 0), "nothing of it is left");
            }
        }
    }
    // What an implementation with nonces of 12 bytes would make (RFC 9150 §4 has them as long as the hash).
    for (nonce_len, good) in [(32, true), (12, false)] {
        let (mut key, mut nonce) = ([0; 32], [0; 32]);
        secret().key(&mut key).unwrap();
        secret().iv(&mut nonce[..nonce_len]).unwrap();
        let mut record = [&[23, 3, 3, 0, 3 + 32][..], b"hi", &[23]].concat();
        let tag =
            crate::crypto::hmac::Hmac::<H>::tag(&key, &[&nonce[..nonce_len], &record[..5], &record[5..]]);
        record.extend_from_slice(&tag);
        let mut opener = Opener::<RustCrypto>::with(with(CipherSuite::Sha256Sha256), secret()).unwrap();
        assert_eq!(opener.open(&mut record).is_ok(), good, "{nonce_len}");
    }
}

/// The whole of a connection that is authenticated only: sizes, key updates, any bit changed, an orderly end.
#[test]
fn a_connection_that_is_authenticated_only() {
    for (piece, tx_room) in [(1, 20_000), (usize::MAX, WRITE_ROOM_MIN), (7, 150)] {
        let (mut client, mut server) = set_up(Encryption::Disabled, Encryption::Disabled);
        (client.tx_room, server.tx_room) = (tx_room, tx_room);
        run(&mut client, &mut server, piece);
        assert!(client.established() && server.established(), "{piece} {tx_room}");
    }
    let (mut client, mut server) = open_friends();
    for n in 0..3 {
        let record = client.seal(&[n; 9]);
        assert_eq!(record.len(), HEAD_ROOM + 9 + TAIL_ROOM);
        deliver(&mut server, &record, usize::MAX);
        assert_eq!(core::mem::take(&mut server.data), [n; 9]);
        client.channel.update_keys();
        let update = client.flush();
        deliver(&mut server, &update, usize::MAX);
    }
    let padded = sealed_with(&mut client, b"padded", 20);
    deliver(&mut server, &padded, usize::MAX);
    assert_eq!(core::mem::take(&mut server.data), b"padded");
    client.channel.close();
    let goodbye = client.flush();
    deliver(&mut server, &goodbye, usize::MAX);
    assert!(server.closed);

    let (mut client, _) = open_friends();
    let record = client.seal(b"twelve bytes");
    for bit in 40..record.len() * 8 {
        let (_, mut server) = open_friends();
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        deliver(&mut server, &changed, usize::MAX);
        assert_eq!(
            server.channel.error(),
            Some(ChannelError::BadRecordMac),
            "bit {bit}"
        );
        assert!(server.data.is_empty());
        assert!(server.rx[5..18].iter().all(|b| *b == 0), "nothing of it is left");
    }
}

/// A record of application data with padding, under whatever suite.
fn sealed_with(side: &mut Side, content: &[u8], padding: usize) -> Vec<u8> {
    let inner = [content, &[23], &std::vec![0; padding]].concat();
    let mut buf = std::vec![0; HEAD_ROOM + inner.len() + 32];
    buf[HEAD_ROOM..][..inner.len()].copy_from_slice(&inner);
    let len = side.sealer().seal_inner(&mut buf, inner.len()).unwrap();
    buf.truncate(len);
    buf
}

/// Offence 42, where nothing hides what a record says.
#[test]
fn replayed_where_nothing_is_hidden() {
    let (mut client, mut server) = open_friends();
    let record = client.seal(b"once");
    deliver(&mut server, &[&record[..], &record].concat(), usize::MAX);
    assert_eq!(server.data, b"once");
    assert_eq!(server.channel.error(), Some(ChannelError::BadRecordMac));
    let (mut client, mut server) = friends();
    let record = sealed(&mut client, 23, b"x", 0);
    deliver(&mut server, &record, usize::MAX);
    assert_eq!(server.data, b"x");
}

/// Offence 27: the suite of a retry stays, even if another one was offered.
#[test]
fn the_suite_of_a_retry_stays() {
    let (mut client, mut server) = set_up(Encryption::Supported, Encryption::Supported);
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    let len = usize::from(u16::from_be_bytes([flight[3], flight[4]]));
    let good = &flight[5..5 + len];
    let mut retry = super::server_hello::retry(&[(messages::extension_type::COOKIE, &[0, 1, 7])]);
    retry[39..41].copy_from_slice(&[0xc0, 0xb4]);
    deliver(&mut client, &plain_record(22, &retry), usize::MAX);
    assert_eq!(client.channel.error(), None);
    client.flush();
    deliver(&mut client, &plain_record(22, good), usize::MAX);
    let message_type = SERVER_HELLO;
    assert_eq!(
        client.channel.error(),
        Some(ChannelError::IllegalValue { message_type })
    );
}

/// AES-256, where the provider has it (feature `aes-256`).
#[cfg(feature = "aes-256")]
mod aes_256 {
    use super::*;

    fn set_up(client: bool, server: bool) -> (Side, Side) {
        let options = ClientOptions {
            encryption: Encryption::Supported,
            aes_256: client,
            ..ClientOptions::default()
        };
        let server_options = ServerOptions {
            encryption: Encryption::Supported,
            aes_256: server,
            ..ServerOptions::default()
        };
        strangers_with(options, server_options)
    }

    /// Where the list of suites starts in a ClientHello without a session id: at its length.
    const SUITES_AT: usize = 4 + 2 + 32 + 1;

    /// Has a client offer nothing but AES-256, however often it greets.
    fn nothing_else(client: &mut Side) {
        client.tamper(|_, m| {
            if m[0] == CLIENT_HELLO {
                assert_eq!(m[SUITES_AT..SUITES_AT + 8], [0, 6, 0x13, 1, 0x13, 2, 0xc0, 0xb4]);
                m.drain(SUITES_AT + 2..SUITES_AT + 4);
                m.drain(SUITES_AT + 4..SUITES_AT + 6);
                m[SUITES_AT + 1] = 2;
                fix_length(m);
            }
        });
    }

    #[test]
    fn taken_where_nothing_else_is_offered() {
        for (piece, room) in [(1, 20_000), (usize::MAX, WRITE_ROOM_MIN), (usize::MAX, 20_000)] {
            let (mut client, mut server) = set_up(true, true);
            (client.tx_room, server.tx_room) = (room, room);
            nothing_else(&mut client);
            run(&mut client, &mut server, piece);
            let mut bindings = [[0; 32]; 2];
            for (side, binding) in [&client, &server].into_iter().zip(&mut bindings) {
                let established = side.channel.established().unwrap();
                assert_eq!(established.suite, CipherSuite::Aes256GcmSha384);
                assert!(established.suite.encrypts());
                side.channel.export(CHANNEL_BINDING_LABEL, &[], binding).unwrap();
            }
            assert_eq!(bindings[0], bindings[1]);
            for n in 0..3 {
                let record = client.seal(&[n; 16_384]);
                assert_eq!(record.len(), HEAD_ROOM + 16_384 + 1 + 16);
                deliver(&mut server, &record, usize::MAX);
                assert_eq!(core::mem::take(&mut server.data), [n; 16_384]);
                client.channel.update_keys();
                let update = client.flush();
                deliver(&mut server, &update, usize::MAX);
            }
        }
    }

    /// The message_hash of a retry is of the suite's hash too.
    #[test]
    fn taken_after_a_retry() {
        let (mut client, mut server) = set_up(true, true);
        nothing_else(&mut client);
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let mut retry = super::super::server_hello::retry(&[(messages::extension_type::COOKIE, &[0, 1, 7])]);
        retry[39..41].copy_from_slice(&[0x13, 2]);
        deliver(&mut client, &plain_record(22, &retry), usize::MAX);
        assert_eq!(client.channel.error(), None);
        assert!(client.channel.wants_write());
    }

    #[test]
    fn neither_offered_nor_taken_unless_asked_for() {
        for (client, server) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut a, mut b) = set_up(client, server);
            run(&mut a, &mut b, usize::MAX);
            let suite = a.channel.established().unwrap().suite;
            assert_eq!(suite, CipherSuite::Aes128GcmSha256, "the faster one is preferred");
        }
        let (mut client, mut server) = set_up(true, false);
        nothing_else(&mut client);
        run(&mut client, &mut server, usize::MAX);
        refused(
            "AES-256 alone",
            ChannelError::NoCommonSuite,
            &mut server,
            &mut client,
        );
        let (mut client, mut server) = set_up(false, true);
        server.tamper(once(SERVER_HELLO, |m| m[39..41].copy_from_slice(&[0x13, 2])));
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        deliver(&mut client, &flight, usize::MAX);
        let message_type = SERVER_HELLO;
        assert_eq!(
            client.channel.error(),
            Some(ChannelError::IllegalValue { message_type })
        );
    }
}

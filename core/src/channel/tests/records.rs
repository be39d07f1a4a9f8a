//! Records that must not be taken, before and after keys.

use super::plain_record as plain;
use super::*;
use messages::message_type::*;

/// A record of an established `side` with any content type, and so many zero bytes of padding.
pub(super) fn sealed(side: &mut Side, content_type: u8, content: &[u8], padding: usize) -> Vec<u8> {
    let inner = [content, &[content_type], &std::vec![0; padding]].concat();
    let mut buf = std::vec![0; HEAD_ROOM + inner.len() + 16];
    buf[HEAD_ROOM..][..inner.len()].copy_from_slice(&inner);
    let len = side.sealer().seal_inner(&mut buf, inner.len()).unwrap();
    assert_eq!(len, buf.len());
    buf
}

/// An established server dies of `error` when `records` come, delivers nothing of them, and says so.
pub(super) fn dies(name: &str, error: ChannelError, records: impl FnOnce(&mut Side) -> Vec<u8>) {
    let (mut client, mut server) = friends();
    let bytes = records(&mut client);
    deliver(&mut server, &bytes, usize::MAX);
    assert_eq!(server.channel.error(), Some(error), "{name}");
    assert!(server.data.is_empty(), "{name}");
    let alert = server.flush();
    deliver(&mut client, &alert, usize::MAX);
    let heard = error.alert().map(ChannelError::PeerAlert);
    assert_eq!(client.channel.error(), heard, "{name}");
}

/// A fresh server dies of `error` when `records` come, and says so in clear.
fn dies_at_once(name: &str, error: ChannelError, records: &[u8]) {
    let (_, mut server) = strangers(ClientOptions::default());
    deliver(&mut server, records, usize::MAX);
    assert_eq!(server.channel.error(), Some(error), "{name}");
    assert_eq!(
        server.flush(),
        plain(21, &[2, error.alert().unwrap().code()]),
        "{name}"
    );
}

/// Offence 33.
#[test]
fn too_long() {
    let error = ChannelError::RecordOverflow;
    dies_at_once(
        "plaintext of 2^14 + 1, by its header",
        error,
        &[22, 3, 1, 0x40, 1],
    );
    dies("ciphertext of 2^14 + 257, by its header", error, |_| {
        [23, 3, 3, 0x41, 1].to_vec()
    });
    dies("2^14 + 1 of content", error, |client| {
        sealed(client, 23, &[7; PAYLOAD_LEN_MAX + 1], 0)
    });
    dies("2^14 of content and one of padding", error, |client| {
        sealed(client, 23, &[7; PAYLOAD_LEN_MAX], 1)
    });
    dies("nothing but 2^14 of padding too many", error, |client| {
        sealed(client, 23, &[], PAYLOAD_LEN_MAX + 1)
    });
    let (mut client, mut server) = friends();
    let full = sealed(&mut client, 23, &[7; 100], PAYLOAD_LEN_MAX - 100);
    deliver(&mut server, &full, usize::MAX);
    assert_eq!(server.data, [7; 100], "padding up to the limit is taken off");
}

/// Offence 34.
#[test]
fn without_content() {
    dies_at_once("handshake", ChannelError::EmptyRecord, &plain(22, &[]));
    dies_at_once("alert", ChannelError::EmptyRecord, &plain(21, &[]));
    dies("handshake", ChannelError::EmptyRecord, |client| {
        sealed(client, 22, &[], 3)
    });
    dies("alert", ChannelError::EmptyRecord, |client| {
        sealed(client, 21, &[], 0)
    });
    dies("no content type", ChannelError::EmptyRecord, |client| {
        sealed(client, 0, &[0; 20], 0)
    });
    dies("only a tag", ChannelError::BadRecordMac, |_| plain(23, &[9; 16]));
    dies("less than a tag", ChannelError::BadRecordMac, |_| {
        plain(23, &[9; 15])
    });
    dies("nothing", ChannelError::BadRecordMac, |_| plain(23, &[]));
    let (mut client, mut server) = strangers(ClientOptions::default());
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    server.flush();
    deliver(&mut server, &plain(20, &[]), usize::MAX);
    assert_eq!(server.channel.error(), Some(ChannelError::BadChangeCipherSpec));
}

/// Offence 35.
#[test]
fn empty_data_is_taken_but_not_for_ever() {
    let (mut client, mut server) = friends();
    for round in 0..3 {
        for _ in 0..32 {
            let empty = sealed(&mut client, 23, &[], round);
            deliver(&mut server, &empty, usize::MAX);
        }
        let data = client.seal(b"x");
        deliver(&mut server, &data, usize::MAX);
    }
    assert_eq!((&server.data[..], server.channel.error()), (&b"xxx"[..], None));
    for _ in 0..33 {
        let empty = sealed(&mut client, 23, &[], 0);
        deliver(&mut server, &empty, usize::MAX);
    }
    assert_eq!(server.channel.error(), Some(ChannelError::Flood));
}

/// Offence 36.
#[test]
fn types_that_do_not_fit_the_keys() {
    let unexpected = |content_type| ChannelError::UnexpectedRecord { content_type };
    for content_type in SOME.into_iter().filter(|t| ![20, 21, 22].contains(t)) {
        dies_at_once(
            "before keys",
            unexpected(content_type),
            &plain(content_type, &[1, 2, 3]),
        );
    }
    for content_type in SOME.into_iter().filter(|t| ![20, 23].contains(t)) {
        dies("in clear", unexpected(content_type), |_| {
            plain(content_type, &[2, 40])
        });
    }
    for content_type in SOME.into_iter().filter(|t| ![0, 20, 21, 22, 23].contains(t)) {
        dies("inner type", unexpected(content_type), |client| {
            sealed(client, content_type, &[1], 0)
        });
    }
    dies(
        "sealed change_cipher_spec",
        ChannelError::BadChangeCipherSpec,
        |client| sealed(client, 20, &[1], 0),
    );
    dies("change_cipher_spec", ChannelError::BadChangeCipherSpec, |_| {
        plain(20, &[1])
    });

    // Between ServerHello and the client's flight, in clear. An alert there is another matter: the next test.
    let (mut client, mut server) = strangers(ClientOptions::default());
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    server.flush();
    deliver(&mut server, &plain(22, &[2, 40]), usize::MAX);
    assert_eq!(server.channel.error(), Some(unexpected(22)));
    // Application data under the handshake keys.
    let (mut client, mut server) = strangers(ClientOptions::default());
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    deliver(&mut client, &flight, usize::MAX);
    let mut buf = [0; 64];
    let len = client.sealer().seal(23, &mut buf, 10).unwrap();
    deliver(&mut server, &buf[..len], usize::MAX);
    assert_eq!(server.channel.error(), Some(unexpected(23)));
}

/// A client that makes nothing of our ServerHello has no keys to say so with: its alert is heard, and not answered. Once
/// it has protected a record, and from a server, an alert in clear is an offence (36).
#[test]
fn an_alert_in_clear_is_heard_only_from_a_client_that_has_shown_no_keys() {
    let unexpected = Some(ChannelError::UnexpectedRecord { content_type: 21 });
    let at_flight = || {
        let (mut client, mut server) = strangers(ClientOptions::default());
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        (client, server, flight)
    };
    let (_, mut server, _) = at_flight();
    deliver(&mut server, &plain(21, &[2, 47]), 1);
    let heard = ChannelError::PeerAlert(Alert::IllegalParameter);
    assert_eq!(server.channel.error(), Some(heard));
    assert!(server.flush().is_empty(), "an alert is not answered");
    for (content, error) in [
        (&[][..], ChannelError::EmptyRecord),
        (&[2], ChannelError::MalformedAlert),
        (&[2, 47, 0], ChannelError::MalformedAlert),
    ] {
        let (_, mut server, _) = at_flight();
        deliver(&mut server, &plain(21, content), usize::MAX);
        assert_eq!(server.channel.error(), Some(error));
    }

    // Behind the client's Certificate.
    let (mut client, mut server, flight) = at_flight();
    deliver(&mut client, &flight, usize::MAX);
    let answer = client.flush();
    let certificate_len = 5 + usize::from(u16::from_be_bytes([answer[3], answer[4]]));
    deliver(&mut server, &answer[..certificate_len], usize::MAX);
    assert_eq!(server.channel.error(), None);
    deliver(&mut server, &plain(21, &[2, 47]), usize::MAX);
    assert_eq!(server.channel.error(), unexpected);

    // From a server, behind its ServerHello.
    let (mut client, _, flight) = at_flight();
    let hello_len = 5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]));
    deliver(&mut client, &flight[..hello_len], usize::MAX);
    deliver(&mut client, &plain(21, &[2, 47]), usize::MAX);
    assert_eq!(client.channel.error(), unexpected);
}

/// Offence 37.
#[test]
fn a_change_of_keys_ends_its_record() {
    let error = ChannelError::KeyChangeNotAligned;
    let more = |m: &mut Vec<u8>| m.push(0);
    server_refuses("ClientHello", error, once(CLIENT_HELLO, more));
    for behind in [&[0][..], &[ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0]] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        server.tamper(once(SERVER_HELLO, move |m| m.extend_from_slice(behind)));
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        deliver(&mut client, &flight, usize::MAX);
        assert_eq!(client.channel.error(), Some(error), "ServerHello");
        // The client has no keys yet to say so with, and is heard all the same.
        let alert = client.flush();
        assert_eq!(alert, plain(21, &[2, 10]));
        deliver(&mut server, &alert, usize::MAX);
        let heard = ChannelError::PeerAlert(Alert::UnexpectedMessage);
        assert_eq!(server.channel.error(), Some(heard));
    }
    client_refuses("server's Finished", error, once(FINISHED, more));
    server_refuses("client's Finished", error, once(FINISHED, more));
    dies("KeyUpdate", error, |client| {
        sealed(client, 22, &[24, 0, 0, 1, 0, 24], 0)
    });
    dies("two KeyUpdates", error, |client| {
        sealed(client, 22, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], 0)
    });
    // In fragments, so that the message ends inside a later record.
    let (mut client, mut server) = strangers(ClientOptions::default());
    let hello = client.flush()[5..].to_vec();
    let (a, b) = hello.split_at(50);
    deliver(
        &mut server,
        &[plain(22, a), plain(22, &[b, &[1]].concat())].concat(),
        usize::MAX,
    );
    assert_eq!(server.channel.error(), Some(error));
}

/// Offence 38.
#[test]
fn nothing_comes_between_fragments() {
    let (mut client, _) = strangers(ClientOptions::default());
    let hello = client.flush()[5..].to_vec();
    let fragment = plain(22, &hello[..30]);
    dies_at_once(
        "alert",
        ChannelError::Interleaved,
        &[&fragment[..], &plain(21, &[1, 90])].concat(),
    );
    let early = [&fragment[..], &plain(20, &[1])].concat();
    dies_at_once("change_cipher_spec", ChannelError::BadChangeCipherSpec, &early);
    for (name, content_type, content) in [
        ("data", 23, &[1][..]),
        ("no data", 23, &[]),
        ("alert", 21, &[1, 0]),
    ] {
        dies(name, ChannelError::Interleaved, |client| {
            [
                sealed(client, 22, &[24, 0], 0),
                sealed(client, content_type, content, 0),
            ]
            .concat()
        });
    }
    // Within the flight of the server, where change_cipher_spec would be dropped between messages.
    let (mut client, mut server) = strangers(ClientOptions {
        middlebox_compatible: true,
        ..ClientOptions::default()
    });
    server.tx_room = 200;
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    // Its Certificate takes several records.
    let mut records = Vec::new();
    let mut rest = &flight[..];
    while !rest.is_empty() {
        let len = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        records.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    let (n, _) = records
        .iter()
        .enumerate()
        .max_by_key(|(_, record)| record.len())
        .unwrap();
    records.insert(n + 1, plain(20, &[1]));
    deliver(&mut client, &records.concat(), usize::MAX);
    assert_eq!(client.channel.error(), Some(ChannelError::Interleaved));
}

/// Offence 39.
#[test]
fn a_handshake_of_one_byte_a_record() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    // Header, one byte, content type, tag.
    client.tx_room = 23;
    server.tx_room = 23;
    client.der = b"c".to_vec();
    server.der = b"s".to_vec();
    server.pins.0[0].der = client.der.clone();
    client.pins.0[0].der = server.der.clone();
    let hello = client.flush()[..].to_vec();
    let one_each: Vec<u8> = hello
        .chunks(23)
        .flat_map(|record| record[5..].iter().flat_map(|b| plain(22, &[*b])))
        .collect();
    deliver(&mut server, &one_each, usize::MAX);
    run(&mut client, &mut server, usize::MAX);
    assert_eq!((client.channel.error(), server.channel.error()), (None, None));
    assert!(client.established() && server.established());
}

/// Offence 41: any bit of a record.
#[test]
fn any_bit_flipped() {
    let (mut client, _) = friends();
    let record = client.seal(b"twelve bytes");
    for bit in (0..40).chain((40..record.len() * 8).step_by(5)) {
        let (_, mut server) = friends();
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        server.rx.clone_from(&changed);
        let outcome = server.read();
        let content_type = changed[0];
        match bit / 8 {
            0 if content_type == 20 => assert_eq!(outcome, Err(ChannelError::BadChangeCipherSpec)),
            0 => assert_eq!(outcome, Err(ChannelError::UnexpectedRecord { content_type })),
            1 => assert_eq!(outcome, Err(ChannelError::NotTls)),
            3 | 4 => match outcome {
                Ok(need) => {
                    let body = usize::from(u16::from_be_bytes([changed[3], changed[4]]));
                    assert_eq!(need, body - (record.len() - 5));
                }
                Err(error) => {
                    assert!(matches!(
                        error,
                        ChannelError::BadRecordMac | ChannelError::RecordOverflow
                    ));
                }
            },
            _ => {
                assert_eq!(outcome, Err(ChannelError::BadRecordMac), "bit {bit}");
                assert!(
                    server.rx[5..5 + 13].iter().all(|b| *b == 0),
                    "nothing of it is left"
                );
            }
        }
        assert!(server.data.is_empty());
    }
}

/// Offence 42.
#[test]
fn replayed_reordered_dropped() {
    let order = |pick: fn(Vec<Vec<u8>>) -> Vec<u8>| {
        let (mut client, mut server) = friends();
        let records = (0..3).map(|n| client.seal(&[n])).collect();
        deliver(&mut server, &pick(records), usize::MAX);
        (server.data.clone(), server.channel.error())
    };
    let mac = Some(ChannelError::BadRecordMac);
    assert_eq!(order(|r| [&r[0][..], &r[0]].concat()), ([0].to_vec(), mac));
    assert_eq!(order(|r| [&r[1][..], &r[0]].concat()), (Vec::new(), mac));
    assert_eq!(order(|r| [&r[0][..], &r[2]].concat()), ([0].to_vec(), mac));
    assert_eq!(order(|r| r.concat()), ([0, 1, 2].to_vec(), None));
    // Sent back to where it came from.
    let (mut client, _) = friends();
    let own = client.seal(b"x");
    deliver(&mut client, &own, usize::MAX);
    assert_eq!(client.channel.error(), mac);
}

/// Offence 43. RFC 8446 §5 has every change_cipher_spec of the right form dropped; here no more than 32 in a row.
#[test]
fn change_cipher_spec() {
    let wrong = ChannelError::BadChangeCipherSpec;
    dies_at_once("before the ClientHello", wrong, &plain(20, &[1]));
    let greeted = || {
        let (mut client, mut server) = strangers(ClientOptions::default());
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        (client, server, flight)
    };
    for content in [&[0][..], &[2], &[1, 1], &[]] {
        let (_, mut server, _) = greeted();
        deliver(&mut server, &plain(20, content), usize::MAX);
        assert_eq!(server.channel.error(), Some(wrong), "{content:?}");
        let (mut client, _) = strangers(ClientOptions::default());
        client.flush();
        deliver(&mut client, &plain(20, content), usize::MAX);
        assert_eq!(client.channel.error(), Some(wrong), "{content:?}");
    }
    for count in [1, 32, 33] {
        let (mut client, mut server, flight) = greeted();
        let many = plain(20, &[1]).repeat(count);
        deliver(&mut client, &many, usize::MAX);
        deliver(&mut server, &many, usize::MAX);
        let expected = (count > 32).then_some(ChannelError::Flood);
        assert_eq!(
            (client.channel.error(), server.channel.error()),
            (expected, expected),
            "{count}"
        );
        if count <= 32 {
            deliver(&mut client, &flight, usize::MAX);
            run(&mut client, &mut server, usize::MAX);
            assert!(client.established() && server.established());
        }
    }
}

#[test]
fn messages_too_long() {
    for len in [0u32, 1, 0x0f_ff_ff] {
        let len = (u32::try_from(MESSAGE_LEN_MAX).unwrap() - 3 + len)
            .min(0xff_ff_ff)
            .to_be_bytes();
        let header = [CLIENT_HELLO, len[1], len[2], len[3]];
        let error = ChannelError::MessageTooLong {
            message_type: CLIENT_HELLO,
        };
        dies_at_once("by its header", error, &plain(22, &header));
        let in_two = [plain(22, &header[..2]), plain(22, &header[2..])].concat();
        dies_at_once("by a header in two", error, &in_two);
    }
}

#[test]
fn things_that_are_not_tls() {
    for (bytes, error) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            ChannelError::UnexpectedRecord { content_type: b'G' },
        ),
        (
            b"SSH-2.0-OpenSSH\r\n",
            ChannelError::UnexpectedRecord { content_type: b'S' },
        ),
        (
            &[0x12, 1, 0, 0x2f, 0, 0, 0, 0],
            ChannelError::UnexpectedRecord { content_type: 0x12 },
        ),
        (
            &[0x80, 0x2e, 1, 0, 2],
            ChannelError::UnexpectedRecord { content_type: 0x80 },
        ),
        (&[22, 0xfe, 0xfd, 0, 0], ChannelError::NotTls),
    ] {
        dies_at_once("not TLS", error, bytes);
    }
}

/// Offence 23: early data is not agreed on, and what a client sends of it does not open, at its first record.
#[test]
fn early_data() {
    use messages::extension_type::{EARLY_DATA, PRE_SHARED_KEY, PSK_KEY_EXCHANGE_MODES};
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(once(CLIENT_HELLO, |m| {
        edit_extensions(m, |list| {
            list.push((EARLY_DATA, Vec::new()));
            list.push((PSK_KEY_EXCHANGE_MODES, [1, 1].to_vec()));
            list.push((PRE_SHARED_KEY, [0; 40].to_vec()));
        });
    }));
    server.tamper(|_, m| {
        if [SERVER_HELLO, ENCRYPTED_EXTENSIONS].contains(&m[0]) {
            edit_extensions(m, |list| {
                assert!(
                    list.iter()
                        .all(|(t, _)| ![EARLY_DATA, PRE_SHARED_KEY].contains(t))
                );
            });
        }
    });
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    server.flush();
    assert_eq!(server.channel.error(), None);
    deliver(&mut server, &plain(23, &[7; 40]), usize::MAX);
    assert_eq!(server.channel.error(), Some(ChannelError::BadRecordMac));
    assert!(server.data.is_empty());
}

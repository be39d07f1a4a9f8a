//! record_size_limit (RFC 8449): asked for by either side, kept by both, from the first protected record on.

use super::records::sealed;
use super::*;
use messages::extension_type::RECORD_SIZE_LIMIT;
use messages::message_type::{CLIENT_HELLO, ENCRYPTED_EXTENSIONS};

fn limit(limit: u16) -> RecordSizeLimit {
    RecordSizeLimit::new(limit).unwrap()
}

fn set_up(client: u16, server: u16) -> (Side, Side) {
    strangers_with(
        ClientOptions {
            record_size_limit: limit(client),
            ..ClientOptions::default()
        },
        ServerOptions {
            record_size_limit: limit(server),
            ..ServerOptions::default()
        },
    )
}

/// The lengths of the TLSInnerPlaintexts of all protected records in `bytes`.
fn inner_lens(bytes: &[u8]) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut rest = bytes;
    while let [content_type, _, _, high, low, body @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if *content_type == 23 {
            lens.push(len - 16);
        }
        rest = &body[len..];
    }
    lens
}

/// Offence 44: neither side ever exceeds what the other has asked for, handshake messages included, and a buffer of
/// [`RecordSizeLimit::receive_len`] bytes is always enough.
#[test]
fn nobody_exceeds_the_others_limit() {
    for (of_client, of_server) in [(64, 16_385), (16_385, 64), (64, 64), (513, 1_025), (16_384, 100)] {
        let name = std::format!("{of_client} {of_server}");
        let (mut client, mut server) = set_up(of_client, of_server);
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        deliver(&mut client, &flight, usize::MAX);
        let answer = client.flush();
        deliver(&mut server, &answer, usize::MAX);
        assert!(client.established() && server.established(), "{name}");
        assert!(
            inner_lens(&flight)
                .iter()
                .all(|len| *len <= usize::from(of_client)),
            "{name}"
        );
        assert!(
            inner_lens(&answer)
                .iter()
                .all(|len| *len <= usize::from(of_server)),
            "{name}"
        );
        assert!(
            inner_lens(&flight).len() > 4 || of_client > 700,
            "the certificate took several"
        );
        for (from_client, peer_limit) in [(true, of_server), (false, of_client)] {
            let (from, to) = if from_client {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let most = from.channel.payload_len_max();
            assert_eq!(most, usize::from(peer_limit) - 1, "{name}");
            let payload = std::vec![7; most];
            let record = from.seal(&payload);
            assert!(record.len() <= limit(peer_limit).receive_len(), "{name}");
            deliver(to, &record, usize::MAX);
            assert_eq!(core::mem::take(&mut to.data), payload, "{name}");
            let mut buf = std::vec![0; HEAD_ROOM + most + 1 + TAIL_ROOM];
            assert_eq!(
                from.channel.seal(&mut buf, most + 1),
                Err(UseError::TooLong),
                "{name}"
            );
            // After new keys too.
            from.channel.update_keys();
            let update = from.flush();
            deliver(to, &update, usize::MAX);
            assert_eq!(
                from.channel.seal(&mut buf, most + 1),
                Err(UseError::TooLong),
                "{name}"
            );
        }
    }
}

/// Offence 44: a peer that exceeds our limit by one: with content, with padding, by its header alone.
#[test]
fn a_peer_that_exceeds_our_limit() {
    for (content, padding) in [(100, 0), (99, 1), (1, 99)] {
        let (mut client, mut server) = set_up(100, 100);
        run(&mut client, &mut server, usize::MAX);
        let most = sealed(&mut client, 23, &std::vec![7; content - 1], padding);
        deliver(&mut server, &most, usize::MAX);
        assert_eq!(core::mem::take(&mut server.data).len(), content - 1);
        let over = sealed(&mut client, 23, &std::vec![7; content], padding);
        deliver(&mut server, &over[..HEAD_ROOM], usize::MAX);
        assert_eq!(
            server.channel.error(),
            Some(ChannelError::RecordOverflow),
            "{content} {padding}"
        );
        assert!(server.data.is_empty());
        let alert = server.flush();
        deliver(&mut client, &alert, usize::MAX);
        let heard = ChannelError::PeerAlert(Alert::RecordOverflow);
        assert_eq!(client.channel.error(), Some(heard));
    }
    // In the handshake: a client whose limit the server does not mind, because it never heard of such limits.
    let (mut client, mut server) = set_up(100, 16_385);
    client.tamper(once(CLIENT_HELLO, |m| remove_extension(m, RECORD_SIZE_LIMIT)));
    run(&mut client, &mut server, usize::MAX);
    refused(
        "a peer that ignores it",
        ChannelError::RecordOverflow,
        &mut client,
        &mut server,
    );
}

/// Offence 44: values and forms.
#[test]
fn limits_that_a_client_may_ask_for() {
    let with = |body: &'static [u8]| {
        once(CLIENT_HELLO, move |m| {
            edit_extension(m, RECORD_SIZE_LIMIT, |b| *b = body.to_vec())
        })
    };
    let illegal = ChannelError::IllegalValue {
        message_type: CLIENT_HELLO,
    };
    for body in [&[0, 63][..], &[0, 0]] {
        server_refuses("too small", illegal, with(body));
    }
    for body in [&[][..], &[1], &[1, 0, 0]] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        client.tamper(with(body));
        run(&mut client, &mut server, usize::MAX);
        let error = server.channel.error().unwrap();
        assert_eq!(error.alert(), Some(Alert::DecodeError), "{body:?}");
        refused("form", error, &mut server, &mut client);
    }
    // A server must not mind a limit beyond that of the version.
    for (body, most) in [
        (&[0x40, 0x01][..], 16_384),
        (&[0x40, 0x02], 16_384),
        (&[0xff, 0xff], 16_384),
        (&[0x40, 0x00], 16_383),
    ] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        client.tamper(with(body));
        run(&mut client, &mut server, usize::MAX);
        assert!(client.established() && server.established());
        assert_eq!(server.channel.payload_len_max(), most);
    }
    let extension_type = RECORD_SIZE_LIMIT;
    server_refuses(
        "twice",
        ChannelError::DuplicateExtension { extension_type },
        once(CLIENT_HELLO, move |m| {
            edit_extensions(m, |list| list.push((extension_type, [1, 0].to_vec())));
        }),
    );
}

/// Offence 44: what a server may answer, and what a client makes of a server that does not.
#[test]
fn limits_that_a_server_may_ask_for() {
    let with = |body: &'static [u8]| {
        once(ENCRYPTED_EXTENSIONS, move |m| {
            edit_extension(m, RECORD_SIZE_LIMIT, |b| *b = body.to_vec())
        })
    };
    let illegal = ChannelError::IllegalValue {
        message_type: ENCRYPTED_EXTENSIONS,
    };
    for body in [&[0, 63][..], &[0x40, 0x02], &[0xff, 0xff]] {
        client_refuses("out of range", illegal, with(body));
    }
    for body in [&[][..], &[1], &[1, 0, 0]] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        server.tamper(with(body));
        run(&mut client, &mut server, usize::MAX);
        let error = client.channel.error().unwrap();
        assert_eq!(error.alert(), Some(Alert::DecodeError), "{body:?}");
        refused("form", error, &mut client, &mut server);
    }
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.tamper(once(ENCRYPTED_EXTENSIONS, |m| {
        remove_extension(m, RECORD_SIZE_LIMIT)
    }));
    run(&mut client, &mut server, usize::MAX);
    assert!(
        client.established() && server.established(),
        "it is nobody's duty"
    );
    assert_eq!(client.channel.payload_len_max(), PAYLOAD_LEN_MAX);
}

/// A client that does not ask is not asked.
#[test]
fn a_server_speaks_of_it_only_when_asked() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(once(CLIENT_HELLO, |m| remove_extension(m, RECORD_SIZE_LIMIT)));
    server.tamper(|_, m| {
        if m[0] == ENCRYPTED_EXTENSIONS {
            edit_extensions(m, |list| {
                assert!(list.iter().all(|(t, _)| *t != RECORD_SIZE_LIMIT));
            });
        }
    });
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
}

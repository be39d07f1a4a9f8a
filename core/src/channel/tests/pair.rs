//! Two channels that behave.

use super::*;

fn compatible() -> ClientOptions {
    ClientOptions {
        middlebox_compatible: true,
        ..ClientOptions::default()
    }
}

/// The handshake and some data, with pieces and buffers of many sizes.
#[test]
fn every_size_of_piece_and_buffer() {
    for options in [ClientOptions::default(), compatible()] {
        for (piece, tx_room) in [
            (1, 20_000),
            (usize::MAX, 20_000),
            (2, WRITE_ROOM_MIN),
            (7, 100),
            (64, 333),
            (1000, 1500),
        ] {
            let (mut client, mut server) = strangers(options);
            client.tx_room = tx_room;
            server.tx_room = tx_room;
            run(&mut client, &mut server, piece);
            assert_eq!(
                (client.channel.error(), server.channel.error()),
                (None, None),
                "{piece} {tx_room}"
            );
            assert!(client.established() && server.established(), "{piece} {tx_room}");
            talk(&mut client, &mut server, piece);
            talk(&mut server, &mut client, piece);
        }
    }
}

/// Data of many sizes, in one direction.
fn talk(from: &mut Side, to: &mut Side, piece: usize) {
    let mut sent = Vec::new();
    for len in [1, 2, 100, 4_096, PAYLOAD_LEN_MAX] {
        let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let record = from.seal(&payload);
        deliver(to, &record, piece.max(64));
        sent.extend_from_slice(&payload);
    }
    assert_eq!(to.data, sent);
}

#[test]
fn both_learn_who_the_other_is() {
    let (client, server) = friends();
    let at_client = client.channel.established().unwrap();
    let at_server = server.channel.established().unwrap();
    assert_eq!(at_client.role, Role::Client);
    assert_eq!(at_server.role, Role::Server);
    assert_eq!(at_client.alpn.as_bytes(), DBM);
    assert_eq!(at_server.alpn.as_bytes(), DBM);
    assert_eq!(at_client.peer.point, key(2).public_point());
    assert_eq!(at_server.peer.point, key(1).public_point());
    assert_eq!((at_server.peer.login_id, at_server.peer.certificate_id), (7, 100));
}

#[test]
fn both_export_the_same_and_different_things_differ() {
    let (client, server) = friends();
    let export = |side: &Side, label: &[u8], context: &[u8]| {
        let mut out = [0; 32];
        side.channel.export(label, context, &mut out).unwrap();
        out
    };
    let binding = export(&client, CHANNEL_BINDING_LABEL, &[]);
    assert_eq!(binding, export(&server, CHANNEL_BINDING_LABEL, &[]));
    assert_ne!(binding, export(&server, CHANNEL_BINDING_LABEL, &[1]));
    assert_ne!(binding, export(&server, b"another", &[]));
    let (mut third, mut fourth) = strangers(ClientOptions::default());
    third.entropy = Counter::new(77);
    run(&mut third, &mut fourth, usize::MAX);
    assert_ne!(binding, export(&third, CHANNEL_BINDING_LABEL, &[]));
    assert_eq!(
        client.channel.export(&[b'x'; 250], &[], &mut [0; 32]),
        Err(UseError::BadExport)
    );
    assert!(client.channel.export(&[b'x'; 249], &[], &mut [0; 8_160]).is_ok());
    assert_eq!(
        client.channel.export(b"x", &[], &mut [0; 8_161]),
        Err(UseError::BadExport)
    );
    let (early, _) = strangers(ClientOptions::default());
    assert_eq!(
        early.channel.export(b"x", &[], &mut [0; 32]),
        Err(UseError::NotEstablished)
    );
}

/// Offence 40: every truncation point of every flight asks for more, never errs early, and the end of the transport there is
/// told from an orderly end.
#[test]
fn every_truncation_of_every_flight() {
    let (mut client, mut server) = strangers(compatible());
    let mut flights = 0;
    loop {
        for (from, to) in [(0, 1), (1, 0)] {
            let sides = [&mut client, &mut server];
            let [a, b] = sides;
            let (from, to) = if (from, to) == (0, 1) { (a, b) } else { (b, a) };
            let flight = from.flush();
            let mut need = to.read().unwrap();
            for (n, byte) in flight.iter().enumerate() {
                assert!(
                    need > 0 && need <= flight.len() - n,
                    "byte {n} of {}: {need}",
                    flight.len()
                );
                assert!(!to.established());
                to.rx.push(*byte);
                need = to.read().unwrap();
            }
            assert!(to.rx.is_empty());
            flights += usize::from(!flight.is_empty());
        }
        if client.established() && server.established() {
            break;
        }
    }
    assert_eq!(flights, 3);
    for cut_after in 0..2 {
        let (mut client, mut server) = strangers(ClientOptions::default());
        let mut flight = client.flush();
        flight.truncate(if cut_after == 0 { 0 } else { flight.len() / 2 });
        deliver(&mut server, &flight, usize::MAX);
        assert_eq!(
            server.channel.end_of_input(),
            Err(ChannelError::ClosedInHandshake)
        );
        assert!(server.flush().is_empty(), "nobody is there to hear an alert");
    }
}

#[test]
fn the_server_prefers_its_own_first_protocol() {
    for (client_speaks, server_speaks, chosen) in [
        (&[DBM, PAIR][..], &[DBM, PAIR][..], DBM),
        (&[DBM, PAIR], &[PAIR, DBM], PAIR),
        (&[PAIR], &[DBM, PAIR], PAIR),
    ] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        client.alpn = client_speaks.to_vec();
        server.alpn = server_speaks.to_vec();
        for side in [&mut client, &mut server] {
            side.pins.0[0].alpn = chosen;
        }
        run(&mut client, &mut server, usize::MAX);
        assert_eq!(server.channel.established().unwrap().alpn.as_bytes(), chosen);
        assert_eq!(client.channel.established().unwrap().alpn.as_bytes(), chosen);
    }
}

/// A pin holds for the protocol that it was stored for: each has its own verifier.
#[test]
fn a_pin_for_one_protocol_opens_no_other() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.alpn = [PAIR].to_vec();
    server.alpn = [DBM, PAIR].to_vec();
    client.pins.0[0].alpn = PAIR;
    run(&mut client, &mut server, usize::MAX);
    let error = ChannelError::PeerRefused(PeerRefusal::Unknown);
    refused("pinned for another protocol", error, &mut server, &mut client);
}

#[test]
fn a_protocol_that_is_withdrawn_in_the_middle_is_refused() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.alpn = [PAIR].to_vec();
    server.alpn = [DBM, PAIR].to_vec();
    for side in [&mut client, &mut server] {
        side.pins.0[0].alpn = PAIR;
    }
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    server.alpn = [DBM].to_vec();
    deliver(&mut client, &flight, usize::MAX);
    run(&mut client, &mut server, usize::MAX);
    refused(
        "withdrawn",
        ChannelError::ProtocolWithdrawn,
        &mut server,
        &mut client,
    );
}

/// With a session id, each side sends one change_cipher_spec; without, none (appendix D.4).
#[test]
fn change_cipher_spec_is_sent_once_and_only_when_asked_for() {
    for (options, expected) in [(ClientOptions::default(), 0), (compatible(), 1)] {
        let (mut client, mut server) = strangers(options);
        let count = |flight: &[u8]| flight.windows(6).filter(|w| *w == [20, 3, 3, 0, 1, 1]).count();
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        deliver(&mut client, &flight, usize::MAX);
        let answer = client.flush();
        assert_eq!(
            (count(&hello), count(&flight), count(&answer)),
            (0, expected, expected)
        );
        assert_eq!(hello[..3], [22, 3, 1]);
        deliver(&mut server, &answer, usize::MAX);
        assert!(server.established());
    }
}

/// No call may take longer than one public-key operation: the caller is asked back in between.
#[test]
fn one_public_key_operation_a_call() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    let hello = client.flush();
    server.rx = hello;
    server.read().unwrap();
    let mut calls = 0;
    server.with_env(|channel, env, _| {
        while channel.wants_write() {
            let _len = channel.write(env, &mut [0; 4_096]).unwrap();
            calls += 1;
        }
    });
    assert_eq!(calls, 3, "shared secret; signature; the rest");
}

/// What a side has to say comes before what it hears next: nothing is taken, however much there is.
#[test]
fn who_has_to_write_does_not_read() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    for (side, rx, writes) in [
        (&mut client, std::vec![22, 3, 3, 0, 1], true),
        (&mut server, Vec::new(), false),
    ] {
        side.rx = rx;
        side.with_env(|channel, env, rx| {
            assert_eq!(channel.wants_write(), writes);
            let step = channel.read(env, rx).unwrap();
            assert_eq!(
                (step.consumed, matches!(step.event, Event::WriteFirst)),
                (0, writes)
            );
            assert_eq!(step.need == 0, writes);
        });
    }
}

#[test]
fn a_certificate_of_the_longest_kind_goes_through_and_no_longer_one() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    for (side, other) in [(&mut client, 0), (&mut server, 1)] {
        side.der = std::vec![other; CERTIFICATE_LEN_MAX];
    }
    client.pins.0[0].der = server.der.clone();
    server.pins.0[0].der = client.der.clone();
    client.tx_room = 200;
    server.tx_room = 100;
    run(&mut client, &mut server, 50);
    assert!(client.established() && server.established());

    for len in [0, CERTIFICATE_LEN_MAX + 1] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        server.der = std::vec![1; len];
        run(&mut client, &mut server, usize::MAX);
        assert_eq!(server.channel.error(), Some(ChannelError::Lent));
        let alert = Alert::InternalError;
        assert_eq!(client.channel.error(), Some(ChannelError::PeerAlert(alert)));
    }
}

/// Bytes that were good come first, then the error once, then the alert, then nothing.
#[test]
fn an_error_of_our_own_is_told_after_what_was_good() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.der = Vec::new();
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let outcomes = server.with_env(|channel, env, _| {
        let mut outcomes = Vec::new();
        for _ in 0..5 {
            assert_eq!(channel.wants_write(), outcomes.len() < 4);
            outcomes.push(channel.write(env, &mut [0; 4_096]).map(|len| len > 0));
        }
        outcomes
    });
    // ServerHello; EncryptedExtensions and CertificateRequest; no Certificate.
    assert_eq!(
        outcomes,
        [Ok(true), Ok(true), Err(ChannelError::Lent), Ok(true), Ok(false)]
    );
    assert_eq!(server.channel.error(), Some(ChannelError::Lent));
}

/// Draws one byte over and over.
struct Stuck;

impl Entropy for Stuck {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(0x5a);
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

/// Offence 52: two connections of one process never have the same share or random; a source that is stuck, whose shares
/// would all be the same, sends nothing.
#[test]
fn no_share_is_used_twice() {
    let hello_of = |client: &mut Side| client.flush()[5..].to_vec();
    let (mut first, mut server) = strangers(ClientOptions::default());
    let one = hello_of(&mut first);
    deliver(&mut server, &plain_record(22, &one), usize::MAX);
    let answer = server.flush();
    let (mut second, mut other) = strangers(ClientOptions::default());
    (second.entropy, other.entropy) = (first.entropy, server.entropy);
    let two = hello_of(&mut second);
    deliver(&mut other, &plain_record(22, &two), usize::MAX);
    let other_answer = other.flush();
    let pieces = |message: &[u8]| -> Vec<Vec<u8>> {
        let share = message.windows(6).position(|w| w[..4] == [0, 23, 0, 65]).unwrap() + 4;
        [message[6..38].to_vec(), message[share..share + 65].to_vec()].to_vec()
    };
    for (a, b) in pieces(&one).into_iter().zip(pieces(&two)) {
        assert_ne!(a, b, "the client's");
    }
    for (a, b) in pieces(&answer[5..]).into_iter().zip(pieces(&other_answer[5..])) {
        assert_ne!(a, b, "the server's");
    }

    let (mut client, mut server) = strangers(ClientOptions::default());
    let lent = |side: &mut Side, rx: Option<Vec<u8>>| {
        let protocols = [Protocol {
            alpn: DBM,
            verifier: &side.pins,
        }];
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut Stuck,
            identity: Identity {
                signing_key: &side.key,
                certificate_der: &side.der,
            },
            protocols: &protocols,
        };
        match rx {
            None => side.channel.write(&mut env, &mut [0; 4_096]).map(|_| ()),
            Some(mut rx) => side.channel.read(&mut env, &mut rx).map(|_| ()),
        }
    };
    assert_eq!(lent(&mut client, None), Err(ChannelError::Entropy));
    assert_eq!(client.flush().len(), HEAD_ROOM + 2, "an alert and no hello");
    let hello = plain_record(22, &one);
    assert_eq!(lent(&mut server, Some(hello)), Err(ChannelError::Entropy));
    assert_eq!(server.flush(), plain_record(21, &[2, 80]));
}

/// Offence 53: entropy that fails at each draw ends in internal_error, with nothing in clear.
#[test]
fn failing_entropy_ends_cleanly() {
    for who in 0..2 {
        for after in 0..8 {
            let (mut client, mut server) = strangers(ClientOptions::default());
            [&mut client, &mut server][who].entropy.fails_after = Some(after);
            run(&mut client, &mut server, usize::MAX);
            if client.established() && server.established() {
                assert!(after > 1, "there are draws");
                continue;
            }
            let (victim, other) = if who == 0 {
                (client, server)
            } else {
                (server, client)
            };
            assert_eq!(
                victim.channel.error(),
                Some(ChannelError::Entropy),
                "{who} {after}"
            );
            let heard = other.channel.error();
            assert!(
                heard == Some(ChannelError::PeerAlert(Alert::InternalError)) || who == 0 && after < 2,
                "{who} {after}: {heard:?}"
            );
        }
    }
}

#[test]
fn a_client_with_nothing_to_speak_does_not_start() {
    let (mut client, _) = strangers(ClientOptions::default());
    client.alpn = Vec::new();
    client.flush();
    assert_eq!(client.channel.error(), Some(ChannelError::Lent));
}

/// `docs/channel.md` says these numbers.
#[test]
fn sizes_stay_what_they_are_said_to_be() {
    let (channel, reader, writer) = (
        // What only tests have in it.
        size_of::<Channel<RustCrypto>>() - size_of::<Tamper>(),
        size_of::<Reader<RustCrypto>>(),
        size_of::<Writer<RustCrypto>>(),
    );
    std::println!("a channel {channel} bytes, its halves {reader} and {writer}");
    // What a device does without is not there; on a server it may cost.
    let (most, half) = if cfg!(any(feature = "aes-256", feature = "hybrid")) {
        (8_704, 800)
    } else {
        (5_632, 672)
    };
    // On 64-bit targets each key has four powers for GHASH over long records: a channel has up to four keys, a half one, beside alignment.
    let (most, half) = if cfg!(target_pointer_width = "64") {
        (most + 4 * 64, half + 64)
    } else {
        (most, half)
    };
    assert!(
        channel <= most && reader <= half && writer <= half,
        "{channel} {reader} {writer}"
    );
}

/// Several messages in one record, and the same record cut anywhere: each message is a step of its own.
#[test]
fn messages_that_share_a_record() {
    use messages::message_type::{CERTIFICATE, CERTIFICATE_REQUEST, ENCRYPTED_EXTENSIONS};
    for tx_room in [20_000, 90, 400, 715, 722, 780] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        let mut held = Vec::new();
        server.tx_room = tx_room;
        server.tamper(move |_, m| match m[0] {
            ENCRYPTED_EXTENSIONS | CERTIFICATE_REQUEST => held.append(m),
            CERTIFICATE => m.splice(0..0, held.drain(..)).for_each(drop),
            _ => {}
        });
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        let records = flight.windows(3).filter(|w| *w == [23, 3, 3]).count();
        assert!(tx_room < 20_000 || records == 3, "{records}");
        deliver(&mut client, &flight, usize::MAX);
        run(&mut client, &mut server, usize::MAX);
        assert!(client.established() && server.established(), "{tx_room}");
    }
}

/// A record that was opened lies in the caller's buffer until its last message is taken: who lends less of it than is left is told so.
#[test]
fn what_was_opened_is_lent_again_whole() {
    use messages::message_type::{CERTIFICATE_REQUEST, ENCRYPTED_EXTENSIONS};
    let (mut client, mut server) = strangers(ClientOptions::default());
    let mut held = Vec::new();
    server.tamper(move |_, m| match m[0] {
        ENCRYPTED_EXTENSIONS => held.append(m),
        CERTIFICATE_REQUEST => m.splice(0..0, held.drain(..)).for_each(drop),
        _ => {}
    });
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    client.rx = server.flush();
    client.with_env(|channel, env, rx| {
        // ServerHello, then the first of the two messages: the record stays open behind it.
        let mut step = |channel: &mut Channel<RustCrypto>, rx: &mut [u8]| {
            let step = channel.read(env, rx).unwrap();
            (step.consumed, step.need)
        };
        let (hello, _) = step(channel, rx);
        rx.drain(..hello);
        let record = 5 + usize::from(u16::from_be_bytes([rx[3], rx[4]]));
        let (first, _) = step(channel, rx);
        assert!(first > 0 && first < record, "{first} of {record}");
        rx.drain(..first);
        let left = record - first;
        for lent in [0, 1, left - 1] {
            assert_eq!(step(channel, &mut rx[..lent]), (0, left - lent));
        }
        let (second, _) = step(channel, rx);
        assert_eq!(second, left);
    });
}

/// Appendix D.4, as BoringSSL's test runner wants it: an alert in place of a client's second flight has the change_cipher_spec of
/// that flight before it, once; and none without a session id, none in clear, none where the flight has taken it along.
#[test]
fn a_change_cipher_spec_before_an_alert() {
    const RECORD: [u8; 6] = [20, 3, 3, 0, 1, 1];
    for (options, before) in [(compatible(), &RECORD[..]), (ClientOptions::default(), &[])] {
        for close in [false, true] {
            let (mut client, mut server) = strangers(options);
            let hello = client.flush();
            deliver(&mut server, &hello, usize::MAX);
            let flight = server.flush();
            let hello_len = 5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]));
            deliver(&mut client, &flight[..hello_len], usize::MAX);
            assert!(client.flush().is_empty(), "nothing is said before there is need");
            if close {
                client.channel.close();
            } else {
                deliver(&mut client, &plain_record(23, &[0; 40]), usize::MAX);
                assert_eq!(client.channel.error(), Some(ChannelError::BadRecordMac));
            }
            let said = client.flush();
            let (first, alert) = said.split_at(before.len());
            assert_eq!(first, before);
            assert_eq!((alert[0], alert.len()), (23, 5 + 2 + 1 + 16));
            deliver(&mut server, &said, usize::MAX);
            let heard = if close {
                ChannelError::ClosedInHandshake
            } else {
                ChannelError::PeerAlert(Alert::BadRecordMac)
            };
            assert_eq!(server.channel.error(), Some(heard));
        }
        // Before there are keys.
        let (mut client, _) = strangers(options);
        client.flush();
        deliver(&mut client, &plain_record(23, &[0; 40]), usize::MAX);
        assert_eq!(client.flush()[0], 21);
        // Once the flight is out, its own change_cipher_spec was before it.
        let (mut client, mut server) = strangers(options);
        run(&mut client, &mut server, usize::MAX);
        deliver(&mut client, &plain_record(23, &[0; 40]), usize::MAX);
        assert_eq!(client.flush()[0], 23);
    }
}

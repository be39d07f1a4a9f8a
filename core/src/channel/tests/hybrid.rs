//! SecP256r1MLKEM768, where the provider has it (feature `hybrid`).

use super::*;
use messages::extension_type::{COOKIE, KEY_SHARE, SUPPORTED_GROUPS};
use messages::message_type::{CLIENT_HELLO, SERVER_HELLO};

/// What somebody on the way does to a key share.
type Change = fn(&mut Vec<u8>);
/// Groups with the bytes of their shares.
type Shares<'s> = &'s [(u16, &'s [u8])];

const CODE: [u8; 2] = [0x11, 0xeb];
const CLIENT_SHARE_LEN: usize = 65 + 1_184;
const SERVER_SHARE_LEN: usize = 65 + 1_088;

fn set_up(client: bool, server: bool) -> (Side, Side) {
    strangers_with(
        ClientOptions {
            hybrid: client,
            ..ClientOptions::default()
        },
        ServerOptions {
            hybrid: server,
            ..ServerOptions::default()
        },
    )
}

/// Runs a handshake; answers the groups of the shares that the client sent, one for each hello.
fn shake(client: &mut Side, server: &mut Side, piece: usize) -> Vec<u16> {
    let seen = std::rc::Rc::new(core::cell::RefCell::new(Vec::new()));
    let kept = std::rc::Rc::clone(&seen);
    client.tamper(move |_, message| {
        if message[0] == CLIENT_HELLO {
            edit_extension(message, KEY_SHARE, |body| {
                kept.borrow_mut().push(u16::from_be_bytes([body[2], body[3]]));
            });
        }
    });
    run(client, server, piece);
    seen.take()
}

#[test]
fn agreed_on_where_both_have_it() {
    use NamedGroup::{SecP256r1MlKem768, Secp256r1};
    for (has, group, shares) in [
        ((true, true), SecP256r1MlKem768, &[0x11eb][..]),
        // A server without it: one round trip more, and the same in the end as if it had not been offered.
        ((true, false), Secp256r1, &[0x11eb, 23]),
        ((false, true), Secp256r1, &[23]),
        ((false, false), Secp256r1, &[23]),
    ] {
        for (piece, room) in [(1, 20_000), (usize::MAX, WRITE_ROOM_MIN), (usize::MAX, 20_000)] {
            let (mut client, mut server) = set_up(has.0, has.1);
            (client.tx_room, server.tx_room) = (room, room);
            assert_eq!(shake(&mut client, &mut server, piece), shares, "{has:?}");
            let mut bindings = [[0; 32]; 2];
            for (side, binding) in [&client, &server].into_iter().zip(&mut bindings) {
                assert_eq!(side.channel.established().unwrap().group, group, "{has:?}");
                side.channel.export(CHANNEL_BINDING_LABEL, &[], binding).unwrap();
            }
            assert_eq!(bindings[0], bindings[1]);
            let record = client.seal(b"after all that");
            deliver(&mut server, &record, usize::MAX);
            assert_eq!(server.data, b"after all that");
        }
    }
}

/// A small device's buffer takes each record of a hello, however long the hello is.
#[test]
fn a_long_hello_comes_in_records_that_a_small_buffer_takes() {
    let (mut client, _) = set_up(true, true);
    let hello = client.flush();
    let mut rest = &hello[..];
    let mut records = 0;
    while let [22, 3, _, high, low, body @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(len <= 512, "{len}");
        rest = &body[len..];
        records += 1;
    }
    assert!(rest.is_empty() && records > 1);
}

/// A client that says that it could, and sends no share at all, is asked for the hybrid: it is what both prefer.
#[test]
fn asked_for_where_no_share_came() {
    let (mut client, mut server) = set_up(true, true);
    client.tamper(once(CLIENT_HELLO, |m| {
        edit_extension(m, KEY_SHARE, |body| *body = [0, 0].to_vec());
    }));
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let retry = server.flush();
    assert!(retry.ends_with(&[&[0, 51, 0, 2][..], &CODE].concat()));
    // A client that did send one is asked for nothing new.
    let (mut client, _) = set_up(true, true);
    client.flush();
    deliver(&mut client, &retry, usize::MAX);
    assert_eq!(client.channel.error(), Some(ChannelError::BadRetryRequest));
}

/// A client that sends a share for secp256r1 has its way, though both could do better: nobody pays a round trip for it.
#[test]
fn a_share_that_came_is_taken() {
    let (mut client, mut server) = set_up(false, true);
    client.tamper(once(CLIENT_HELLO, |m| {
        edit_extension(m, SUPPORTED_GROUPS, |body| {
            *body = [0, 4, 0x11, 0xeb, 0, 23].to_vec()
        });
    }));
    run(&mut client, &mut server, usize::MAX);
    assert_eq!(server.channel.established().unwrap().group, NamedGroup::Secp256r1);
}

/// Offence 11: a share with a coefficient that is not reduced, a point off the curve, too short, too long.
#[test]
fn shares_of_a_client_that_are_none() {
    let cases: [(&str, Change); 5] = [
        ("a coefficient above the modulus", |share| {
            share[65..70].fill(0xff)
        }),
        ("a point off the curve", |share| share[40] ^= 1),
        ("a compressed point", |share| share[0] = 2),
        ("one byte short", |share| share.truncate(1_248)),
        ("one byte long", |share| share.push(0)),
    ];
    for (name, change) in cases {
        let (mut client, mut server) = set_up(true, true);
        client.tamper(once(CLIENT_HELLO, move |m| {
            edit_extension(m, KEY_SHARE, |body| {
                let mut share = body[6..].to_vec();
                assert_eq!(share.len(), CLIENT_SHARE_LEN);
                change(&mut share);
                let len = u16::try_from(share.len()).unwrap();
                *body = [&(len + 4).to_be_bytes()[..], &CODE, &len.to_be_bytes(), &share].concat();
            });
        }));
        run(&mut client, &mut server, usize::MAX);
        refused(name, ChannelError::BadKeyShare, &mut server, &mut client);
    }
}

/// What a server may send that is no share; and one that is, for another key: found out by the first record (FIPS 203 §6.3).
#[test]
fn shares_of_a_server_that_are_none() {
    let cases: [(&str, ChannelError, Change); 6] = [
        ("point", ChannelError::BadKeyShare, |share| share[40] ^= 1),
        ("short", ChannelError::BadKeyShare, |share| share.truncate(1_152)),
        ("long", ChannelError::BadKeyShare, |share| share.push(0)),
        ("a point alone", ChannelError::BadKeyShare, |share| {
            share.truncate(65)
        }),
        ("not even that", ChannelError::BadKeyShare, |share| {
            share.truncate(64)
        }),
        ("ciphertext", ChannelError::BadRecordMac, |share| share[700] ^= 1),
    ];
    for (name, error, change) in cases {
        let (mut client, mut server) = set_up(true, true);
        server.tamper(once(SERVER_HELLO, move |m| {
            edit_extension(m, KEY_SHARE, |body| {
                let mut share = body[4..].to_vec();
                assert_eq!(share.len(), SERVER_SHARE_LEN);
                change(&mut share);
                let len = u16::try_from(share.len()).unwrap();
                *body = [&CODE[..], &len.to_be_bytes(), &share].concat();
            });
        }));
        let hello = client.flush();
        deliver(&mut server, &hello, usize::MAX);
        let flight = server.flush();
        deliver(&mut client, &flight, usize::MAX);
        assert_eq!(client.channel.error(), Some(error), "{name}");
        assert!(client.data.is_empty());
    }
    // The group of another share than ours.
    let (mut client, mut server) = set_up(true, true);
    server.tamper(once(SERVER_HELLO, |m| {
        edit_extension(m, KEY_SHARE, |body| {
            *body = [&[0, 23, 0, 65][..], &key(9).public_point()].concat();
        });
    }));
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

/// A retry may ask for a group, a cookie, or both; and a second hello has a fresh key for a new group, the same for a cookie.
#[test]
fn what_a_retry_may_ask_for() {
    let share_of = |hello: &[u8]| {
        let mut message = Vec::new();
        let mut rest = hello;
        while let [22, _, _, high, low, body @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            message.extend_from_slice(&body[..len]);
            rest = &body[len..];
        }
        let mut share = Vec::new();
        edit_extension(&mut message, KEY_SHARE, |body| share = body[2..].to_vec());
        share
    };
    let cases: [(Shares<'_>, usize); 3] = [
        (&[(KEY_SHARE, &[0, 23])], 65),
        (&[(COOKIE, &[0, 1, 7])], CLIENT_SHARE_LEN),
        (&[(COOKIE, &[0, 1, 7]), (KEY_SHARE, &[0, 23])], 65),
    ];
    for (asked, len) in cases {
        let (mut client, _) = set_up(true, true);
        let first = share_of(&client.flush());
        let retry = super::server_hello::retry(asked);
        deliver(&mut client, &plain_record(22, &retry), usize::MAX);
        let second = share_of(&client.flush());
        assert_eq!(second.len(), 4 + len);
        if len == 65 {
            assert_ne!(second[4..69], first[4..69], "a key of the first hello again");
        } else {
            assert_eq!(second, first);
        }
        // There is no third.
        deliver(&mut client, &plain_record(22, &retry), usize::MAX);
        let message_type = SERVER_HELLO;
        assert_eq!(
            client.channel.error(),
            Some(ChannelError::UnexpectedMessage { message_type })
        );
    }
}

/// A refusal is the end: nothing smaller is offered after it.
#[test]
fn a_refusal_is_not_answered_with_a_smaller_offer() {
    for alert in [40, 47, 80] {
        let (mut client, _) = set_up(true, true);
        client.flush();
        deliver(&mut client, &plain_record(21, &[2, alert]), usize::MAX);
        assert_eq!(
            client.channel.error(),
            Some(ChannelError::PeerAlert(Alert::from_code(alert)))
        );
        assert!(!client.channel.wants_write() && client.flush().is_empty());
    }
}

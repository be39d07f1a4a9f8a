//! ClientHellos that a server must not take.

use super::plain_record as plain;
use super::*;
use messages::extension_type::*;
use messages::message_type::CLIENT_HELLO;

const HELLO: u8 = CLIENT_HELLO;

/// As [`server_refuses`], by a change of the extensions of the first ClientHello.
fn refuses_extensions(name: &str, error: ChannelError, change: impl Fn(&mut ExtensionList) + 'static) {
    server_refuses(name, error, once(HELLO, move |m| edit_extensions(m, &change)));
}

/// As [`server_refuses`], by a change of one extension's body.
fn refuses_body(
    name: &str,
    error: ChannelError,
    extension_type: u16,
    change: impl Fn(&mut Vec<u8>) + 'static,
) {
    server_refuses(
        name,
        error,
        once(HELLO, move |m| edit_extension(m, extension_type, &change)),
    );
}

fn malformed(error: Option<ChannelError>) -> bool {
    matches!(
        error,
        Some(ChannelError::Malformed {
            message_type: HELLO,
            ..
        })
    )
}

/// The server dies of a malformed ClientHello, wherever in it.
fn server_cannot_decode(name: &str, hook: impl FnMut([u8; 32], &mut Vec<u8>) + 'static) {
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(hook);
    run(&mut client, &mut server, usize::MAX);
    assert!(
        malformed(server.channel.error()),
        "{name}: {:?}",
        server.channel.error()
    );
    let error = server.channel.error().unwrap();
    refused(name, error, &mut server, &mut client);
}

/// Offences 1 and 2.
#[test]
fn versions() {
    let error = ChannelError::NoCommonVersion;
    refuses_extensions("without supported_versions", error, |list| {
        list.retain(|(t, _)| *t != SUPPORTED_VERSIONS)
    });
    refuses_body("TLS 1.2 only", error, SUPPORTED_VERSIONS, |b| {
        *b = [2, 3, 3].to_vec()
    });
    refuses_body("GREASE and TLS 1.2", error, SUPPORTED_VERSIONS, |b| {
        *b = [4, 0x0a, 0x0a, 3, 3].to_vec()
    });
    server_refuses("SSL 3", error, once(HELLO, |m| m[5] = 0));
    server_refuses(
        "legacy version 1.0",
        error,
        once(HELLO, |m| m[4..6].copy_from_slice(&[2, 0])),
    );
    server_refuses(
        "legacy version 1.2 is the only one",
        ChannelError::IllegalValue { message_type: HELLO },
        once(HELLO, |m| m[5] = 2),
    );
    server_refuses(
        "a hello without extensions",
        error,
        once(HELLO, |m| {
            m.truncate(4 + 2 + 32 + 1 + 4 + 2);
            fix_length(m);
        }),
    );
    for body in [&[][..], &[0], &[1, 3], &[3, 3, 4, 3], &[2, 3, 4, 0]] {
        let name = std::format!("{body:?}");
        server_cannot_decode(
            &name.clone(),
            once(HELLO, move |m| {
                edit_extension(m, SUPPORTED_VERSIONS, |b| *b = body.to_vec())
            }),
        );
    }
    // One that fits among others is enough.
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(once(HELLO, |m| {
        edit_extension(m, SUPPORTED_VERSIONS, |b| {
            *b = [6, 0x1a, 0x1a, 3, 4, 3, 3].to_vec()
        })
    }));
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
}

/// Offence 3.
#[test]
fn compression() {
    let at = 4 + 2 + 32 + 1 + 4;
    server_refuses(
        "deflate",
        ChannelError::Compression,
        once(HELLO, move |m| m[at + 1] = 1),
    );
    let two = once(HELLO, move |m| {
        m.splice(at..=at + 1, [2, 1, 0]);
        fix_length(m);
    });
    server_refuses("deflate or null", ChannelError::Compression, two);
    let none = once(HELLO, move |m| {
        m.splice(at..=at + 1, [0]);
        fix_length(m);
    });
    server_cannot_decode("none", none);
}

/// Offences 4 and 5.
#[test]
fn extensions_once_and_in_their_place() {
    for extension_type in [
        SUPPORTED_VERSIONS,
        SUPPORTED_GROUPS,
        KEY_SHARE,
        SIGNATURE_ALGORITHMS,
        ALPN,
    ] {
        refuses_extensions(
            "twice",
            ChannelError::DuplicateExtension { extension_type },
            move |list| {
                let again = list.iter().find(|(t, _)| *t == extension_type).unwrap().clone();
                list.push(again);
            },
        );
    }
    refuses_extensions(
        "unknown, twice",
        ChannelError::DuplicateExtension {
            extension_type: 0xfafa,
        },
        |list| {
            list.insert(0, (0xfafa, Vec::new()));
            list.push((0xfafa, [1].to_vec()));
        },
    );
    refuses_extensions(
        "psk first",
        ChannelError::MisplacedExtension {
            extension_type: PRE_SHARED_KEY,
        },
        |list| {
            list.insert(0, (PRE_SHARED_KEY, Vec::new()));
        },
    );
    let error = ChannelError::MissingExtension {
        extension_type: PSK_KEY_EXCHANGE_MODES,
    };
    refuses_extensions("psk without modes", error, |list| {
        list.push((PRE_SHARED_KEY, Vec::new()))
    });
}

/// Offences 6 and 7.
#[test]
fn extensions_that_must_be_there() {
    for extension_type in [SUPPORTED_GROUPS, KEY_SHARE, SIGNATURE_ALGORITHMS] {
        let error = ChannelError::MissingExtension { extension_type };
        refuses_extensions("missing", error, move |list| {
            list.retain(|(t, _)| *t != extension_type)
        });
    }
}

fn share(group: u16, bytes: &[u8]) -> Vec<u8> {
    let mut share = group.to_be_bytes().to_vec();
    share.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
    share.extend_from_slice(bytes);
    share
}

fn shares(list: &[Vec<u8>]) -> Vec<u8> {
    let all = list.concat();
    let mut body = u16::try_from(all.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(&all);
    body
}

/// Offences 8 and 10.
#[test]
fn key_shares() {
    let good = key(9).public_point();
    let error = ChannelError::BadKeyShare;
    let x25519 = [7; 32];
    let of = move |list: Vec<Vec<u8>>| move |b: &mut Vec<u8>| *b = shares(&list);
    refuses_body(
        "group not offered",
        error,
        KEY_SHARE,
        of([share(29, &x25519), share(23, &good)].to_vec()),
    );
    refuses_body(
        "same group twice",
        error,
        KEY_SHARE,
        of([share(23, &good), share(23, &good)].to_vec()),
    );
    let mut off_curve = good;
    off_curve[64] ^= 1;
    let mut hybrid = good;
    hybrid[0] = 6 + (good[64] & 1);
    let mut too_big = good;
    too_big[1..33].fill(0xff);
    for (name, point) in [
        ("compressed", [&[2], &good[1..33]].concat()),
        ("hybrid", hybrid.to_vec()),
        ("infinity", [0].to_vec()),
        ("infinity, padded", [0; 65].to_vec()),
        ("off the curve", off_curve.to_vec()),
        ("one byte short", good[..64].to_vec()),
        ("one byte long", [&good[..], &[0]].concat()),
        ("x not below p", too_big.to_vec()),
    ] {
        refuses_body(name, error, KEY_SHARE, of([share(23, &point)].to_vec()));
    }
    for (name, body) in [
        ("empty share", shares(&[share(23, &[])])),
        ("cut short", shares(&[share(23, &good)[..40].to_vec()])),
        (
            "behind the list",
            [&shares(&[share(23, &good)])[..], &[0]].concat(),
        ),
        ("no list", Vec::new()),
    ] {
        server_cannot_decode(
            name,
            once(HELLO, move |m| {
                edit_extension(m, KEY_SHARE, |b| *b = body.clone())
            }),
        );
    }
    refuses_extensions("no common group", ChannelError::NoCommonGroup, move |list| {
        for (t, body) in list.iter_mut() {
            match *t {
                SUPPORTED_GROUPS => *body = [0, 2, 0, 29].to_vec(),
                KEY_SHARE => *body = shares(&[share(29, &x25519)]),
                _ => {}
            }
        }
    });
}

/// Offence 11: a hybrid share, of whatever quality, is one of an unknown group: neither looked at nor complained about.
#[test]
fn shares_of_unknown_groups_are_passed_over() {
    const HYBRID: u16 = 0x11eb;
    let good = key(9).public_point();
    for junk in [
        [&good[..], &[0xff; 1_184]].concat(),
        [&good[..], &[0; 3]].concat(),
        [1; 1].to_vec(),
    ] {
        let (mut client, mut server) = strangers(ClientOptions::default());
        let p256 = client_share(&mut client);
        let body = shares(&[share(HYBRID, &junk), share(23, &p256)]);
        let (mut client, _) = strangers(ClientOptions::default());
        client.tamper(once(HELLO, move |m| {
            edit_extension(m, SUPPORTED_GROUPS, |b| *b = [0, 4, 0x11, 0xeb, 0, 23].to_vec());
            edit_extension(m, KEY_SHARE, |b| b.clone_from(&body));
        }));
        run(&mut client, &mut server, usize::MAX);
        assert!(client.established() && server.established());
    }
    refuses_extensions("nothing else", ChannelError::NoCommonGroup, |list| {
        for (t, body) in list.iter_mut() {
            match *t {
                SUPPORTED_GROUPS => *body = [0, 2, 0x11, 0xeb].to_vec(),
                KEY_SHARE => *body = shares(&[share(HYBRID, &[7; 1_249])]),
                _ => {}
            }
        }
    });
}

/// The share in the ClientHello that `client` sends first; a client that draws the same sends the same.
fn client_share(client: &mut Side) -> Vec<u8> {
    let mut hello = client.flush()[5..].to_vec();
    let mut found = Vec::new();
    edit_extension(&mut hello, KEY_SHARE, |b| found = b[6..].to_vec());
    found
}

/// Offence 12.
#[test]
fn cipher_suites() {
    let at = 4 + 2 + 32 + 1;
    let suites = move |list: &'static [u8]| {
        once(HELLO, move |m| {
            m.splice(at..at + 4, list.iter().copied());
            fix_length(m);
        })
    };
    server_refuses(
        "unknown only",
        ChannelError::NoCommonSuite,
        suites(&[0, 4, 0x13, 0x03, 0x0a, 0x0a]),
    );
    server_refuses(
        "TLS_SHA256_SHA256",
        ChannelError::PeerDoesNotEncrypt,
        suites(&[0, 2, 0xc0, 0xb4]),
    );
    server_cannot_decode("odd", suites(&[0, 3, 0x13, 0x01, 0x13]));
    server_cannot_decode("none", suites(&[0, 0]));
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(suites(&[0, 6, 0x1a, 0x1a, 0x13, 0x01, 0x2a, 0x2a]));
    run(&mut client, &mut server, usize::MAX);
    assert!(
        client.established() && server.established(),
        "GREASE around a good one"
    );
}

#[test]
fn signature_algorithms() {
    let rsa = |b: &mut Vec<u8>| *b = [0, 4, 8, 4, 5, 3].to_vec();
    refuses_body(
        "RSA and P-384",
        ChannelError::NoCommonSignature,
        SIGNATURE_ALGORITHMS,
        rsa,
    );
    for body in [&[0, 0][..], &[0, 1, 4], &[0, 2, 4, 3, 0], &[]] {
        server_cannot_decode(
            "signature_algorithms",
            once(HELLO, move |m| {
                edit_extension(m, SIGNATURE_ALGORITHMS, |b| *b = body.to_vec())
            }),
        );
    }
}

/// Offence 15.
#[test]
fn application_protocols() {
    let error = ChannelError::NoCommonProtocol;
    refuses_extensions("no ALPN", error, |list| list.retain(|(t, _)| *t != ALPN));
    refuses_body("another", error, ALPN, |b| *b = b"\0\x09\x08http/1.1".to_vec());
    refuses_body("almost", error, ALPN, |b| *b = b"\0\x07\x06dbm/10".to_vec());
    for (name, body) in [
        ("empty list", &[0, 0][..]),
        ("empty name", b"\0\x07\x05dbm/1\0"),
        ("lengths that lie", b"\0\x06\x06dbm/1"),
        ("behind the list", b"\0\x06\x05dbm/1\0"),
    ] {
        server_cannot_decode(
            name,
            once(HELLO, move |m| edit_extension(m, ALPN, |b| *b = body.to_vec())),
        );
    }
}

#[test]
fn lengths_that_lie() {
    server_cannot_decode(
        "session id of 33 bytes",
        once(HELLO, |m| {
            m.splice(38..39, core::iter::once(33).chain([0; 33]));
            fix_length(m);
        }),
    );
    server_cannot_decode(
        "a byte behind the extensions",
        once(HELLO, |m| {
            m.push(0);
            fix_length(m);
        }),
    );
    // Every prefix of a ClientHello, as a message of its own, is refused.
    let (mut client, _) = strangers(ClientOptions::default());
    let hello = client.flush()[5..].to_vec();
    for cut in 4..hello.len() {
        let (mut client, mut server) = strangers(ClientOptions::default());
        client.tamper(once(HELLO, move |m| {
            m.truncate(cut);
            fix_length(m);
        }));
        run(&mut client, &mut server, usize::MAX);
        let error = server.channel.error();
        assert!(
            malformed(error) || error == Some(ChannelError::NoCommonVersion),
            "{cut}: {error:?}"
        );
    }
}

/// A ClientHello that offers P-256 and sends a share for something else: worth a retry.
fn other_share(m: &mut Vec<u8>) {
    edit_extension(m, SUPPORTED_GROUPS, |b| *b = [0, 4, 0, 29, 0, 23].to_vec());
    edit_extension(m, KEY_SHARE, |b| *b = shares(&[share(29, &[7; 32])]));
}

/// A server that has asked for another ClientHello, what it said, and the first hello.
fn retried(first: impl Fn(&mut Vec<u8>) + 'static) -> (Side, Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = strangers(ClientOptions {
        middlebox_compatible: true,
        ..ClientOptions::default()
    });
    client.tamper(once(HELLO, first));
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let retry = server.flush();
    assert!(server.channel.error().is_none());
    (server, retry, hello[5..].to_vec())
}

/// The second ClientHello to the first one of [`retried`].
fn second(first: &[u8]) -> Vec<u8> {
    let mut second = first.to_vec();
    edit_extension(&mut second, KEY_SHARE, |b| {
        *b = shares(&[share(23, &key(9).public_point())])
    });
    second
}

/// Offences 9 and 13: the retry itself.
#[test]
fn a_share_that_does_not_fit_is_asked_for_again() {
    for first in [
        other_share as fn(&mut Vec<u8>),
        // An empty list is no error.
        |m| edit_extension(m, KEY_SHARE, |b| *b = [0, 0].to_vec()),
    ] {
        let (mut server, retry, hello) = retried(first);
        // A HelloRetryRequest for group 23, then the change_cipher_spec that the session id asks for.
        let expected_end = [&[0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 23][..], &[20, 3, 3, 0, 1, 1]].concat();
        assert!(retry.ends_with(&expected_end), "{retry:02x?}");
        assert_eq!(retry[11..15], [0xcf, 0x21, 0xad, 0x74]);
        // A client in its second flight may send its change_cipher_spec first.
        deliver(&mut server, &plain(20, &[1]), usize::MAX);
        let mut again = second(&hello);
        // What a second hello may change besides: a cookie, padding, early data gone.
        edit_extensions(&mut again, |list| {
            list.push((COOKIE, [0, 1, 7].to_vec()));
            list.push((PADDING, [0; 9].to_vec()));
        });
        deliver(&mut server, &plain(22, &again), usize::MAX);
        let flight = server.flush();
        assert_eq!(flight[..3], [22, 3, 3]);
        assert_eq!(flight[5], 2, "a ServerHello");
        assert!(server.channel.error().is_none());
        assert_eq!(
            flight.windows(6).filter(|w| *w == [20, 3, 3, 0, 1, 1]).count(),
            0,
            "said once"
        );
    }
}

/// Offences 13 and 14.
#[test]
fn a_second_hello_that_contradicts_the_first() {
    type Change = fn(&mut Vec<u8>);
    for (name, change) in [
        ("random", (|m| m[10] ^= 1) as Change),
        ("session id", |m| m[40] ^= 1),
        ("suites", |m| {
            m.splice(71..75, [0, 4, 0x13, 1, 0x13, 2]);
            fix_length(m);
        }),
        ("groups", |m| {
            edit_extension(m, SUPPORTED_GROUPS, |b| *b = [0, 2, 0, 23].to_vec())
        }),
        ("ALPN", |m| {
            edit_extension(m, ALPN, |b| *b = b"\0\x0c\x05dbm/1\x05dbm/2".to_vec())
        }),
        ("signature_algorithms", |m| {
            edit_extension(m, SIGNATURE_ALGORITHMS, |b| *b = [0, 4, 4, 3, 5, 3].to_vec())
        }),
        ("one more extension", |m| {
            edit_extensions(m, |list| list.push((0, Vec::new())))
        }),
        ("order", |m| edit_extensions(m, |list| list.reverse())),
        ("the wrong share again", |m| {
            edit_extension(m, KEY_SHARE, |b| *b = shares(&[share(29, &[7; 32])]))
        }),
        ("no share", |m| {
            edit_extension(m, KEY_SHARE, |b| *b = [0, 0].to_vec())
        }),
        ("two shares", |m| {
            edit_extension(m, KEY_SHARE, |b| {
                *b = shares(&[share(29, &[7; 32]), share(23, &key(9).public_point())]);
            });
        }),
    ] {
        let (mut server, _, hello) = retried(other_share);
        let mut again = second(&hello);
        change(&mut again);
        deliver(&mut server, &plain(22, &again), usize::MAX);
        assert_eq!(server.channel.error(), Some(ChannelError::HelloChanged), "{name}");
        assert_eq!(server.flush(), plain(21, &[2, 47]), "{name}");
    }
    // A third one.
    let (mut server, _, hello) = retried(other_share);
    deliver(&mut server, &plain(22, &second(&hello)), usize::MAX);
    server.flush();
    deliver(&mut server, &plain(22, &second(&hello)), usize::MAX);
    assert_eq!(
        server.channel.error(),
        Some(ChannelError::UnexpectedRecord { content_type: 22 })
    );
}

/// Offence 22.
#[test]
fn anything_but_a_hello_first() {
    for message_type in 0..=255 {
        if message_type == HELLO {
            continue;
        }
        let (_, mut server) = strangers(ClientOptions::default());
        deliver(&mut server, &plain(22, &[message_type, 0, 0, 0]), usize::MAX);
        assert_eq!(
            server.channel.error(),
            Some(ChannelError::UnexpectedMessage { message_type })
        );
        assert_eq!(server.flush(), plain(21, &[2, 10]));
    }
}

//! Answers of a server that a client must not take: ServerHello, HelloRetryRequest, EncryptedExtensions.

use super::plain_record as plain;
use super::*;
use messages::extension_type::*;
use messages::message_type::{ENCRYPTED_EXTENSIONS, SERVER_HELLO};

const SESSION_ID_AT: usize = 4 + 2 + 32;
/// Behind an empty session id.
const SUITE_AT: usize = SESSION_ID_AT + 1;

/// A client that has said hello, and a good ServerHello for it.
fn greeted(options: ClientOptions) -> (Side, Vec<u8>) {
    let (mut client, mut server) = strangers(options);
    let hello = client.flush();
    deliver(&mut server, &hello, usize::MAX);
    let flight = server.flush();
    let len = usize::from(u16::from_be_bytes([flight[3], flight[4]]));
    (client, flight[5..5 + len].to_vec())
}

/// The client dies of this ServerHello and says so in clear.
fn refuses(name: &str, error: ChannelError, change: impl FnOnce(&mut Vec<u8>)) {
    let (mut client, mut hello) = greeted(ClientOptions::default());
    change(&mut hello);
    deliver(&mut client, &plain(22, &hello), usize::MAX);
    assert_eq!(client.channel.error(), Some(error), "{name}");
    assert_eq!(
        client.flush(),
        plain(21, &[2, error.alert().unwrap().code()]),
        "{name}"
    );
}

const ILLEGAL: ChannelError = ChannelError::IllegalValue {
    message_type: SERVER_HELLO,
};

/// Offence 24.
#[test]
fn parameters_that_were_not_offered() {
    refuses("suite", ILLEGAL, |m| m[SUITE_AT + 1] = 2);
    refuses("suite of TLS 1.2", ILLEGAL, |m| m[SUITE_AT] = 0);
    refuses("TLS_SHA256_SHA256", ILLEGAL, |m| {
        m[SUITE_AT..SUITE_AT + 2].copy_from_slice(&[0xc0, 0xb4])
    });
    refuses("compression", ChannelError::Compression, |m| m[SUITE_AT + 2] = 1);
    refuses("legacy version", ILLEGAL, |m| m[5] = 4);
    refuses("version 1.2 by extension", ILLEGAL, |m| {
        edit_extension(m, SUPPORTED_VERSIONS, |b| b[1] = 3)
    });
    refuses("version 1.4", ILLEGAL, |m| {
        edit_extension(m, SUPPORTED_VERSIONS, |b| b[1] = 5)
    });
    refuses("group", ILLEGAL, |m| edit_extension(m, KEY_SHARE, |b| b[1] = 24));
    refuses("a session id out of nothing", ILLEGAL, |m| {
        m.splice(SESSION_ID_AT..=SESSION_ID_AT, core::iter::once(32).chain([1; 32]));
        fix_length(m);
    });
    // With a session id of ours: changed, cut, dropped.
    for change in [
        (|m: &mut Vec<u8>| m[SESSION_ID_AT + 1] ^= 1) as fn(&mut Vec<u8>),
        |m| {
            m.splice(SESSION_ID_AT..=SESSION_ID_AT + 1, [31]);
            fix_length(m);
        },
        |m| {
            m.splice(SESSION_ID_AT..=SESSION_ID_AT + 32, [0]);
            fix_length(m);
        },
    ] {
        let (mut client, mut hello) = greeted(ClientOptions {
            middlebox_compatible: true,
            ..ClientOptions::default()
        });
        change(&mut hello);
        deliver(&mut client, &plain(22, &hello), usize::MAX);
        assert_eq!(client.channel.error(), Some(ILLEGAL));
    }
}

#[test]
fn shares_that_are_no_points() {
    let share = |m: &mut Vec<u8>, point: &[u8]| {
        edit_extension(m, KEY_SHARE, |b| {
            *b = [
                &[0, 23][..],
                &u16::try_from(point.len()).unwrap().to_be_bytes(),
                point,
            ]
            .concat();
        });
    };
    let good = key(3).public_point();
    for point in [
        &good[..64],
        &[&good[..], &[0]].concat(),
        &[0; 65],
        &[2; 33],
        &[0],
        &[],
    ] {
        refuses("share", ChannelError::BadKeyShare, |m| share(m, point));
    }
    refuses("off the curve", ChannelError::BadKeyShare, |m| {
        edit_extension(m, KEY_SHARE, |b| *b.last_mut().unwrap() ^= 1);
    });
}

/// Offence 25.
#[test]
fn downgrades() {
    refuses("no supported_versions", ChannelError::NoCommonVersion, |m| {
        remove_extension(m, SUPPORTED_VERSIONS)
    });
    for end in [b"DOWNGRD\x01", b"DOWNGRD\x00"] {
        refuses("talked down", ChannelError::Downgrade, |m| {
            m[4 + 2 + 24..4 + 2 + 32].copy_from_slice(end);
            remove_extension(m, SUPPORTED_VERSIONS);
        });
    }
    refuses("no extensions at all", ChannelError::NoCommonVersion, |m| {
        m.truncate(SUITE_AT + 3);
        fix_length(m);
    });
}

#[test]
fn extensions_of_a_server_hello() {
    for extension_type in [SUPPORTED_VERSIONS, KEY_SHARE] {
        refuses(
            "twice",
            ChannelError::DuplicateExtension { extension_type },
            |m| {
                edit_extensions(m, |list| {
                    list.push(list.iter().find(|(t, _)| *t == extension_type).unwrap().clone())
                });
            },
        );
    }
    for extension_type in [ALPN, SUPPORTED_GROUPS, SIGNATURE_ALGORITHMS, RECORD_SIZE_LIMIT] {
        refuses(
            "of another message",
            ChannelError::MisplacedExtension { extension_type },
            |m| {
                edit_extensions(m, |list| list.push((extension_type, Vec::new())));
            },
        );
    }
    for extension_type in [PRE_SHARED_KEY, COOKIE, EARLY_DATA, 0, 0xfafa] {
        refuses(
            "unsolicited",
            ChannelError::UnsolicitedExtension { extension_type },
            |m| {
                edit_extensions(m, |list| list.push((extension_type, Vec::new())));
            },
        );
    }
    refuses(
        "no key_share",
        ChannelError::MissingExtension {
            extension_type: KEY_SHARE,
        },
        |m| {
            remove_extension(m, KEY_SHARE);
        },
    );
}

#[test]
fn every_prefix_of_a_server_hello_is_refused() {
    let (_, whole) = greeted(ClientOptions::default());
    for cut in 4..whole.len() {
        let (mut client, mut hello) = greeted(ClientOptions::default());
        hello.truncate(cut);
        fix_length(&mut hello);
        deliver(&mut client, &plain(22, &hello), usize::MAX);
        let error = client.channel.error().unwrap();
        let decode = matches!(
            error,
            ChannelError::Malformed {
                message_type: SERVER_HELLO,
                ..
            }
        );
        assert!(
            decode || error == ChannelError::NoCommonVersion,
            "{cut}: {error:?}"
        );
    }
    let (mut client, mut hello) = greeted(ClientOptions::default());
    hello.push(0);
    fix_length(&mut hello);
    deliver(&mut client, &plain(22, &hello), usize::MAX);
    assert!(matches!(
        client.channel.error(),
        Some(ChannelError::Malformed { .. })
    ));
}

/// A HelloRetryRequest with these extensions besides supported_versions.
pub(super) fn retry(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = [&[SERVER_HELLO, 0, 0, 0, 3, 3][..]].concat();
    message.extend_from_slice(&[
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
        0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ]);
    message.extend_from_slice(&[0, 0x13, 1, 0, 0, 0]);
    edit_extensions(&mut message, |list| {
        list.push((SUPPORTED_VERSIONS, [3, 4].to_vec()));
        list.extend(extensions.iter().map(|(t, body)| (*t, body.to_vec())));
    });
    message
}

/// Offences 26 and 31.
#[test]
fn retries_that_change_nothing() {
    for (name, extensions, error) in [
        ("nothing asked", &[][..], ChannelError::BadRetryRequest),
        (
            "the group that was sent",
            &[(KEY_SHARE, &[0, 23][..])],
            ChannelError::BadRetryRequest,
        ),
        (
            "a group not offered",
            &[(KEY_SHARE, &[0, 29])],
            ChannelError::BadRetryRequest,
        ),
        (
            "a cookie, and the group that was sent",
            &[(COOKIE, &[0, 1, 7]), (KEY_SHARE, &[0, 23])],
            ChannelError::BadRetryRequest,
        ),
        (
            "an empty cookie",
            &[(COOKIE, &[0, 0])],
            ChannelError::Malformed {
                message_type: SERVER_HELLO,
                at: 52,
            },
        ),
        (
            "ALPN",
            &[(COOKIE, &[0, 1, 7]), (ALPN, &[])],
            ChannelError::MisplacedExtension { extension_type: ALPN },
        ),
    ] {
        let (mut client, _) = greeted(ClientOptions::default());
        deliver(&mut client, &plain(22, &retry(extensions)), usize::MAX);
        assert_eq!(client.channel.error(), Some(error), "{name}");
        assert_eq!(
            client.flush(),
            plain(21, &[2, error.alert().unwrap().code()]),
            "{name}"
        );
    }
    // One bit off the random of a retry, and it is a ServerHello without a share.
    let (mut client, _) = greeted(ClientOptions::default());
    let mut almost = retry(&[(COOKIE, &[0, 1, 7])]);
    almost[4 + 2 + 31] ^= 1;
    deliver(&mut client, &plain(22, &almost), usize::MAX);
    let error = ChannelError::UnsolicitedExtension {
        extension_type: COOKIE,
    };
    assert_eq!(client.channel.error(), Some(error));
}

/// Offence 26: the one retry that can come to a client with one group.
#[test]
fn a_cookie_is_repeated_once() {
    let (mut client, _) = strangers(ClientOptions::default());
    let first = client.flush()[5..].to_vec();
    let cookie = [&[1, 0][..], &[9; 256]].concat();
    deliver(&mut client, &plain(22, &retry(&[(COOKIE, &cookie)])), usize::MAX);
    assert!(client.channel.error().is_none());
    let record = client.flush();
    assert_eq!(record[..3], [22, 3, 3]);
    let mut expected = first;
    edit_extensions(&mut expected, |list| list.push((COOKIE, cookie.clone())));
    assert_eq!(record[5..], expected, "nothing else is changed");
    deliver(
        &mut client,
        &plain(22, &retry(&[(COOKIE, &[0, 1, 8])])),
        usize::MAX,
    );
    let error = ChannelError::UnexpectedMessage {
        message_type: SERVER_HELLO,
    };
    assert_eq!(client.channel.error(), Some(error), "a second retry");

    let (mut client, _) = greeted(ClientOptions::default());
    let too_long = [&[1, 1][..], &[9; 257]].concat();
    deliver(
        &mut client,
        &plain(22, &retry(&[(COOKIE, &too_long)])),
        usize::MAX,
    );
    assert_eq!(
        client.channel.error(),
        Some(ChannelError::MessageTooLong {
            message_type: SERVER_HELLO
        })
    );
}

/// Offence 27: after a retry a ServerHello is held against the same offer.
#[test]
fn an_answer_after_a_retry_that_was_not_offered() {
    for (change, error) in [
        (
            (|m: &mut Vec<u8>| m[SUITE_AT + 1] = 2) as fn(&mut Vec<u8>),
            ILLEGAL,
        ),
        (|m| edit_extension(m, KEY_SHARE, |b| b[1] = 24), ILLEGAL),
        (|m| edit_extension(m, SUPPORTED_VERSIONS, |b| b[1] = 3), ILLEGAL),
        (
            |m| remove_extension(m, SUPPORTED_VERSIONS),
            ChannelError::NoCommonVersion,
        ),
    ] {
        let (mut client, mut hello) = greeted(ClientOptions::default());
        deliver(
            &mut client,
            &plain(22, &retry(&[(COOKIE, &[0, 1, 7])])),
            usize::MAX,
        );
        client.flush();
        change(&mut hello);
        deliver(&mut client, &plain(22, &hello), usize::MAX);
        assert_eq!(client.channel.error(), Some(error));
    }
}

/// Offence 28.
#[test]
fn encrypted_extensions() {
    let refuses = |name: &str, error, change: fn(&mut ExtensionList)| {
        client_refuses(
            name,
            error,
            once(ENCRYPTED_EXTENSIONS, move |m| edit_extensions(m, change)),
        );
    };
    for (extension_type, add) in [
        (0, (|list| list.push((0, Vec::new()))) as fn(&mut ExtensionList)),
        (EARLY_DATA, |list| list.push((EARLY_DATA, Vec::new()))),
        (COOKIE, |list| list.push((COOKIE, [0, 1, 1].to_vec()))),
        (0xfafa, |list| list.push((0xfafa, Vec::new()))),
    ] {
        refuses(
            "unsolicited",
            ChannelError::UnsolicitedExtension { extension_type },
            add,
        );
    }
    for (extension_type, add) in [
        (
            KEY_SHARE,
            (|list| list.push((KEY_SHARE, Vec::new()))) as fn(&mut ExtensionList),
        ),
        (SUPPORTED_VERSIONS, |list| {
            list.push((SUPPORTED_VERSIONS, [3, 4].to_vec()))
        }),
        (SIGNATURE_ALGORITHMS, |list| {
            list.push((SIGNATURE_ALGORITHMS, Vec::new()))
        }),
    ] {
        refuses(
            "of another message",
            ChannelError::MisplacedExtension { extension_type },
            add,
        );
    }
    refuses(
        "twice",
        ChannelError::DuplicateExtension { extension_type: ALPN },
        |list| {
            list.push(list[0].clone());
        },
    );
    // The server's groups are its own affair.
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.tamper(once(ENCRYPTED_EXTENSIONS, |m| {
        edit_extensions(m, |list| list.push((SUPPORTED_GROUPS, [0, 2, 0, 29].to_vec())));
    }));
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
}

/// Offence 29.
#[test]
fn the_server_chooses_one_protocol_of_ours() {
    let refuses = |name: &str, error, body: &'static [u8]| {
        client_refuses(
            name,
            error,
            once(ENCRYPTED_EXTENSIONS, move |m| {
                edit_extension(m, ALPN, |b| *b = body.to_vec())
            }),
        );
    };
    refuses("two", ChannelError::ForeignProtocol, b"\0\x0c\x05dbm/1\x05dbm/1");
    refuses("not offered", ChannelError::ForeignProtocol, b"\0\x06\x05dbm/2");
    refuses("longer", ChannelError::ForeignProtocol, b"\0\x07\x06dbm/1\0");
    let malformed = |at| ChannelError::Malformed {
        message_type: ENCRYPTED_EXTENSIONS,
        at,
    };
    refuses("empty list", malformed(8), b"\0\0");
    refuses("empty name", malformed(9), b"\0\x01\0");
    refuses("behind the list", malformed(14), b"\0\x06\x05dbm/1\0");
    client_refuses(
        "none",
        ChannelError::NoCommonProtocol,
        once(ENCRYPTED_EXTENSIONS, |m| remove_extension(m, ALPN)),
    );
}

//! Peers that do not prove who they are.

use super::*;
use messages::extension_type::*;
use messages::message_type::*;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Has the peer of `victim` misbehave by `hook`, and expects the victim to die of `error` and to say so.
fn refuses(
    victim: Role,
    name: &str,
    error: ChannelError,
    hook: impl FnMut([u8; 32], &mut Vec<u8>) + 'static,
) {
    match victim {
        Role::Server => server_refuses(name, error, hook),
        Role::Client => client_refuses(name, error, hook),
    }
}

/// A server and a client that are set up by `change`, after their handshake.
fn after(change: impl FnOnce(&mut Side, &mut Side)) -> (Side, Side) {
    let (mut client, mut server) = strangers(ClientOptions::default());
    change(&mut client, &mut server);
    run(&mut client, &mut server, usize::MAX);
    (client, server)
}

/// §7, 16.
#[test]
fn no_certificate() {
    let empty = |m: &mut Vec<u8>| *m = [CERTIFICATE, 0, 0, 4, 0, 0, 0, 0].to_vec();
    server_refuses(
        "client without",
        ChannelError::CertificateMissing,
        once(CERTIFICATE, empty),
    );
    client_refuses(
        "server without",
        ChannelError::Malformed {
            message_type: CERTIFICATE,
            at: 1,
        },
        once(CERTIFICATE, empty),
    );
}

/// §7, 17.
#[test]
fn certificates_that_are_not_pinned() {
    let unknown = ChannelError::PeerRefused(PeerRefusal::Unknown);
    for victim in ROLES {
        for at in [11, 12, 20] {
            refuses(
                victim,
                "one bit",
                unknown,
                once(CERTIFICATE, move |m| m[at] ^= 0x10),
            );
        }
        refuses(
            victim,
            "one byte less",
            unknown,
            once(CERTIFICATE, |m| {
                m.remove(30);
                let len = u16::try_from(m.len()).unwrap();
                m[6..8].copy_from_slice(&(len - 8).to_be_bytes());
                m[9..11].copy_from_slice(&(len - 13).to_be_bytes());
                fix_length(m);
            }),
        );
    }
    // The same key in another certificate.
    let (mut client, mut server) = after(|client, _| client.der = b"another certificate, same key".to_vec());
    refused("same key", unknown, &mut server, &mut client);
    // §7, 32: our own certificate comes back to us.
    let (mut client, mut server) = after(|client, server| server.der = client.der.clone());
    refused("reflection", unknown, &mut client, &mut server);
}

#[test]
fn every_verdict_has_its_alert() {
    for (refusal, alert, code) in [
        (PeerRefusal::Unknown, Alert::CertificateUnknown, 60),
        (
            PeerRefusal::NotYetValid { certificate_id: 1 },
            Alert::CertificateExpired,
            61,
        ),
        (
            PeerRefusal::Expired { certificate_id: 1 },
            Alert::CertificateExpired,
            62,
        ),
        (
            PeerRefusal::NoLogin { certificate_id: 1 },
            Alert::AccessDenied,
            63,
        ),
        (
            PeerRefusal::NoConnect {
                login_id: 7,
                certificate_id: 1,
            },
            Alert::AccessDenied,
            64,
        ),
        (PeerRefusal::OwnCertificate, Alert::BadCertificate, 65),
    ] {
        let error = ChannelError::PeerRefused(refusal);
        assert_eq!((error.alert(), error.code()), (Some(alert), code));
        let (mut client, mut server) = after(|_, server| server.pins.0[0].verdict = Err(refusal));
        refused("verify, server", error, &mut server, &mut client);
        let (mut client, mut server) = after(|client, _| client.pins.0[0].verdict = Err(refusal));
        refused("verify, client", error, &mut client, &mut server);
        let (mut client, mut server) = after(|_, server| server.pins.0[0].right = Err(refusal));
        refused("authorize, server", error, &mut server, &mut client);
        let (mut client, mut server) = after(|client, _| client.pins.0[0].right = Err(refusal));
        refused("authorize, client", error, &mut client, &mut server);
    }
}

/// Who only holds a copy of the certificate is told of a wrong signature, not of rights.
#[test]
fn rights_are_judged_after_the_proof() {
    let denied = PeerRefusal::NoConnect {
        login_id: 7,
        certificate_id: 100,
    };
    let (mut client, mut server) = after(|client, server| {
        server.pins.0[0].right = Err(denied);
        client.key = key(3);
    });
    refused("thief", ChannelError::BadSignature, &mut server, &mut client);
}

/// §7, 18.
#[test]
fn certificate_messages_out_of_form() {
    let malformed = |at| ChannelError::Malformed {
        message_type: CERTIFICATE,
        at,
    };
    let illegal = ChannelError::IllegalValue {
        message_type: CERTIFICATE,
    };
    let message = |content: &[u8]| {
        let len = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[CERTIFICATE, len[1], len[2], len[3]], content].concat()
    };
    for (name, bytes, error) in [
        ("context", message(&[1, 9, 0, 0, 6, 0, 0, 1, 7, 0, 0]), illegal),
        (
            "two entries",
            message(&[0, 0, 0, 12, 0, 0, 1, 7, 0, 0, 0, 0, 1, 8, 0, 0]),
            ChannelError::CertificateForm,
        ),
        (
            "entry extensions",
            message(&[0, 0, 0, 10, 0, 0, 1, 7, 0, 4, 0, 5, 0, 0]),
            ChannelError::CertificateForm,
        ),
        ("empty entry", message(&[0, 0, 0, 5, 0, 0, 0, 0, 0]), malformed(7)),
        (
            "list longer than the message",
            message(&[0, 0, 0, 9, 0, 0, 1, 7, 0, 0]),
            malformed(4),
        ),
        (
            "list shorter than the message",
            message(&[0, 0, 0, 6, 0, 0, 1, 7, 0, 0, 0]),
            malformed(10),
        ),
        (
            "entry longer than the list",
            message(&[0, 0, 0, 6, 0, 0, 9, 7, 0, 0]),
            malformed(7),
        ),
        (
            "a high byte in a length",
            message(&[0, 1, 0, 6, 0, 0, 1, 7, 0, 0]),
            malformed(4),
        ),
        (
            "no extensions field",
            message(&[0, 0, 0, 4, 0, 0, 1, 7]),
            malformed(8),
        ),
        ("nothing", message(&[]), malformed(0)),
    ] {
        for victim in ROLES {
            let bytes = bytes.clone();
            refuses(
                victim,
                name,
                error,
                once(CERTIFICATE, move |m| m.clone_from(&bytes)),
            );
        }
    }
    for victim in ROLES {
        let long = [&[0, 0, 8, 6, 0, 8, 1][..], &[7; 2_049], &[0, 0]].concat();
        let bytes = message(&long);
        refuses(
            victim,
            "2,049 bytes",
            ChannelError::CertificateForm,
            once(CERTIFICATE, move |m| m.clone_from(&bytes)),
        );
    }
}

/// A signature by `key` as `signer` over `transcript`.
fn signature(key: &SigningKey, signer: Role, transcript: [u8; 32]) -> Vec<u8> {
    let context = match signer {
        Role::Client => "TLS 1.3, client CertificateVerify",
        Role::Server => "TLS 1.3, server CertificateVerify",
    };
    let message = [&[b' '; 64][..], context.as_bytes(), &[0], &transcript].concat();
    let mut der = [0; 72];
    let len = key.sign(&message, &mut Counter::new(1), &mut der).unwrap();
    der[..len].to_vec()
}

fn verify_message(algorithm: u16, signature: &[u8]) -> Vec<u8> {
    let len = u16::try_from(signature.len()).unwrap();
    let mut message = [
        &[CERTIFICATE_VERIFY, 0, 0, 0][..],
        &algorithm.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat();
    message.extend_from_slice(signature);
    fix_length(&mut message);
    message
}

/// §7, 19: signatures that are good for something else.
#[test]
fn signatures_for_something_else() {
    for victim in ROLES {
        let signer = if victim == Role::Server {
            Role::Client
        } else {
            Role::Server
        };
        let n = if victim == Role::Server { 1 } else { 2 };
        let bad = ChannelError::BadSignature;
        let resigned = move |make: fn(&SigningKey, Role, Role, [u8; 32]) -> Vec<u8>| {
            move |transcript: [u8; 32], m: &mut Vec<u8>| {
                if m[0] == CERTIFICATE_VERIFY {
                    *m = make(&key(n), signer, victim, transcript);
                }
            }
        };
        refuses(
            victim,
            "the other side's context",
            bad,
            resigned(|key, _, other, t| verify_message(0x0403, &signature(key, other, t))),
        );
        refuses(
            victim,
            "another key",
            bad,
            resigned(|_, own, _, t| verify_message(0x0403, &signature(&key(5), own, t))),
        );
        refuses(
            victim,
            "another transcript",
            bad,
            resigned(|key, own, _, mut t| {
                t[31] ^= 1;
                verify_message(0x0403, &signature(key, own, t))
            }),
        );
        for algorithm in [0x0401, 0x0503, 0x0804, 0x0807] {
            refuses(
                victim,
                "algorithm",
                ChannelError::SignatureAlgorithm,
                once(CERTIFICATE_VERIFY, move |m| {
                    m[4..6].copy_from_slice(&u16::to_be_bytes(algorithm))
                }),
            );
        }
        // A good signature over a transcript that is short by one message: the one before the Certificate.
        let mut before = [0; 32];
        refuses(
            victim,
            "short by one message",
            bad,
            move |transcript: [u8; 32], m: &mut Vec<u8>| match m[0] {
                CERTIFICATE => before = transcript,
                CERTIFICATE_VERIFY => *m = verify_message(0x0403, &signature(&key(n), signer, before)),
                _ => {}
            },
        );
        // And one that is as it should be, made the same way.
        let (mut client, mut server) = strangers(ClientOptions::default());
        let evil = if victim == Role::Server {
            &mut client
        } else {
            &mut server
        };
        evil.tamper(resigned(|key, own, _, t| {
            verify_message(0x0403, &signature(key, own, t))
        }));
        run(&mut client, &mut server, usize::MAX);
        assert!(
            client.established() && server.established(),
            "the harness signs well"
        );
    }
}

/// The order of P-256, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if bytes[0] & 0x80 == 0 { &[] } else { &[0] };
    let len = u8::try_from(sign.len() + bytes.len()).unwrap();
    [&[2, len], sign, bytes].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat()
}

/// §7, 19: signatures out of form.
#[test]
fn signatures_out_of_form() {
    let n = integer(&ORDER);
    let one = integer(&[1]);
    let zero = integer(&[0]);
    let two = integer(&[2]);
    for victim in ROLES {
        for (name, der) in [
            ("r is 0", sequence(&[zero.clone(), one.clone()])),
            ("s is 0", sequence(&[one.clone(), zero.clone()])),
            ("r is n", sequence(&[n.clone(), one.clone()])),
            ("s is n", sequence(&[one.clone(), n.clone()])),
            ("wrong", sequence(&[one.clone(), two.clone()])),
            ("negative", [0x30, 6, 2, 1, 0x80, 2, 1, 1].to_vec()),
            ("padded", [0x30, 8, 2, 2, 0, 1, 2, 2, 0, 1].to_vec()),
            (
                "trailing",
                [&sequence(&[one.clone(), two.clone()])[..], &[0]].concat(),
            ),
            ("long form", [0x30, 0x81, 6, 2, 1, 1, 2, 1, 1].to_vec()),
            ("empty", Vec::new()),
            ("raw", [1; 64].to_vec()),
        ] {
            refuses(
                victim,
                name,
                ChannelError::BadSignature,
                once(CERTIFICATE_VERIFY, move |m| *m = verify_message(0x0403, &der)),
            );
        }
        // Any bit of a good one.
        for bit in [0, 100, 300, 500] {
            refuses(
                victim,
                "one bit",
                ChannelError::BadSignature,
                once(CERTIFICATE_VERIFY, move |m| m[8 + bit / 8] ^= 1 << (bit % 8)),
            );
        }
        let malformed = |at| ChannelError::Malformed {
            message_type: CERTIFICATE_VERIFY,
            at,
        };
        let longer = |m: &mut Vec<u8>| {
            m.push(0);
            fix_length(m);
        };
        let (mut client, mut server) = strangers(ClientOptions::default());
        let evil = if victim == Role::Server {
            &mut client
        } else {
            &mut server
        };
        evil.tamper(once(CERTIFICATE_VERIFY, longer));
        run(&mut client, &mut server, usize::MAX);
        let died = if victim == Role::Server { &server } else { &client };
        assert!(matches!(
            died.channel.error(),
            Some(ChannelError::Malformed {
                message_type: CERTIFICATE_VERIFY,
                ..
            })
        ));
        refuses(
            victim,
            "cut",
            malformed(4),
            once(CERTIFICATE_VERIFY, |m| {
                m.truncate(30);
                fix_length(m);
            }),
        );
    }
}

/// §7, 19 and 21: messages left out, doubled, or out of turn.
#[test]
fn the_order_of_the_flight() {
    let unexpected = |message_type| ChannelError::UnexpectedMessage { message_type };
    for victim in ROLES {
        refuses(
            victim,
            "no CertificateVerify",
            unexpected(FINISHED),
            once(CERTIFICATE_VERIFY, |m| m.clear()),
        );
        refuses(
            victim,
            "CertificateVerify twice",
            unexpected(CERTIFICATE_VERIFY),
            once(CERTIFICATE_VERIFY, |m| {
                let again = m.clone();
                m.extend_from_slice(&again);
            }),
        );
        refuses(
            victim,
            "Certificate twice",
            unexpected(CERTIFICATE),
            once(CERTIFICATE, |m| {
                let again = m.clone();
                m.extend_from_slice(&again);
            }),
        );
    }
    server_refuses(
        "CertificateVerify first",
        unexpected(CERTIFICATE_VERIFY),
        once(CERTIFICATE, |m| m.clear()),
    );
    client_refuses(
        "CertificateVerify first",
        unexpected(CERTIFICATE_VERIFY),
        once(CERTIFICATE, |m| m.clear()),
    );
    let skip = |_: [u8; 32], m: &mut Vec<u8>| {
        if [CERTIFICATE, CERTIFICATE_VERIFY].contains(&m[0]) {
            m.clear();
        }
    };
    server_refuses("straight to Finished", unexpected(FINISHED), skip);
    client_refuses("straight to Finished", unexpected(FINISHED), skip);
    client_refuses(
        "no EncryptedExtensions",
        unexpected(CERTIFICATE_REQUEST),
        once(ENCRYPTED_EXTENSIONS, |m| m.clear()),
    );
    client_refuses(
        "EncryptedExtensions twice",
        unexpected(ENCRYPTED_EXTENSIONS),
        once(ENCRYPTED_EXTENSIONS, |m| {
            let again = m.clone();
            m.extend_from_slice(&again);
        }),
    );
    // §7, 22 and 48: every type in place of the client's Certificate.
    for message_type in SOME.into_iter().filter(|t| *t != CERTIFICATE) {
        server_refuses(
            "any other",
            unexpected(message_type),
            once(CERTIFICATE, move |m| {
                *m = [message_type, 0, 0, 0].to_vec();
            }),
        );
    }
}

/// §7, 30.
#[test]
fn requests_for_our_certificate() {
    client_refuses(
        "none",
        ChannelError::NotMutual,
        once(CERTIFICATE_REQUEST, |m| m.clear()),
    );
    let twice = ChannelError::UnexpectedMessage {
        message_type: CERTIFICATE_REQUEST,
    };
    client_refuses(
        "twice",
        twice,
        once(CERTIFICATE_REQUEST, |m| {
            let again = m.clone();
            m.extend_from_slice(&again);
        }),
    );
    let missing = ChannelError::MissingExtension {
        extension_type: SIGNATURE_ALGORITHMS,
    };
    client_refuses(
        "without algorithms",
        missing,
        once(CERTIFICATE_REQUEST, |m| {
            remove_extension(m, SIGNATURE_ALGORITHMS);
        }),
    );
    client_refuses(
        "RSA only",
        ChannelError::NoCommonSignature,
        once(CERTIFICATE_REQUEST, |m| {
            edit_extension(m, SIGNATURE_ALGORITHMS, |b| *b = [0, 4, 8, 4, 4, 1].to_vec());
        }),
    );
    let illegal = ChannelError::IllegalValue {
        message_type: CERTIFICATE_REQUEST,
    };
    client_refuses(
        "context",
        illegal,
        once(CERTIFICATE_REQUEST, |m| {
            m.splice(4..5, [1, 9]);
            fix_length(m);
        }),
    );
    let misplaced = ChannelError::MisplacedExtension {
        extension_type: KEY_SHARE,
    };
    client_refuses(
        "key_share",
        misplaced,
        once(CERTIFICATE_REQUEST, |m| {
            edit_extensions(m, |list| list.push((KEY_SHARE, Vec::new())));
        }),
    );
    // What has no meaning here is passed over: certificate_authorities, status_request, anything unknown.
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.tamper(once(CERTIFICATE_REQUEST, |m| {
        edit_extensions(m, |list| {
            list.extend([
                (47, [0, 3, 0, 1, 9].to_vec()),
                (5, Vec::new()),
                (0xfafa, Vec::new()),
            ])
        });
    }));
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
}

/// §7, 20.
#[test]
fn finished() {
    for victim in ROLES {
        for at in 4..36 {
            refuses(
                victim,
                "one bit",
                ChannelError::BadFinished,
                once(FINISHED, move |m| m[at] ^= 1),
            );
        }
        let malformed = |at| ChannelError::Malformed {
            message_type: FINISHED,
            at,
        };
        refuses(
            victim,
            "short",
            malformed(0),
            once(FINISHED, |m| {
                m.pop();
                fix_length(m);
            }),
        );
        refuses(
            victim,
            "long",
            malformed(32),
            once(FINISHED, |m| {
                m.push(0);
                fix_length(m);
            }),
        );
        refuses(
            victim,
            "twice in a record",
            ChannelError::KeyChangeNotAligned,
            once(FINISHED, |m| {
                let again = m.clone();
                m.extend_from_slice(&again);
            }),
        );
    }
}

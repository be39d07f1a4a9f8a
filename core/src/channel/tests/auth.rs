//! Peers that do not prove who they are.

use super::*;
use messages::extension_type::*;
use messages::message_type::*;

pub(super) const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Has the peer of `victim` misbehave by `hook`, and expects the victim to die of `error` and to say so.
pub(super) fn refuses(
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

/// Offence 16.
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

/// Offence 17.
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
}

/// Offence 32.
#[test]
fn our_own_certificate_sent_back() {
    let unknown = ChannelError::PeerRefused(PeerRefusal::Unknown);
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

/// Offence 18.
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

/// Offences 19 and 21: messages left out, doubled, or out of turn.
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
    // Offences 22 and 48: every type in place of the client's Certificate.
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

/// Offence 30.
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
    // Whatever is known here and belongs into other messages (§4.2).
    for extension_type in ALL.into_iter().filter(|known| *known != SIGNATURE_ALGORITHMS) {
        client_refuses(
            "misplaced",
            ChannelError::MisplacedExtension { extension_type },
            once(CERTIFICATE_REQUEST, move |m| {
                edit_extensions(m, |list| list.push((extension_type, Vec::new())));
            }),
        );
    }
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

/// Whole messages that end too early, wherever that is: malformed, and never anything else.
#[test]
fn every_prefix_of_every_message_is_refused() {
    let all = [
        (Role::Client, ENCRYPTED_EXTENSIONS),
        (Role::Client, CERTIFICATE_REQUEST),
        (Role::Client, CERTIFICATE),
        (Role::Client, CERTIFICATE_VERIFY),
        (Role::Client, FINISHED),
        (Role::Server, CERTIFICATE),
        (Role::Server, CERTIFICATE_VERIFY),
        (Role::Server, FINISHED),
    ];
    for (victim, kind) in all {
        let (mut cut, mut whole) = (4, false);
        while !whole {
            let (mut client, mut server) = strangers(ClientOptions::default());
            let (victim, offender) = match victim {
                Role::Client => (&mut client, &mut server),
                Role::Server => (&mut server, &mut client),
            };
            let at = cut;
            offender.tamper(once(kind, move |m| {
                m.truncate(at);
                fix_length(m);
            }));
            run(victim, offender, usize::MAX);
            let error = victim.channel.error();
            whole = victim.established();
            assert!(
                whole
                    || matches!(error, Some(ChannelError::Malformed { message_type, .. }) if message_type == kind),
                "{kind} cut at {cut}: {error:?}"
            );
            cut += 1;
        }
        assert!(cut > 5, "{kind}");
    }
}

/// Offence 20.
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

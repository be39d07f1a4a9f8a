//! CertificateVerify messages that prove nothing.

use super::auth::{ROLES, refuses};
use super::*;
use messages::message_type::*;

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

/// Offence 19: signatures that are good for something else.
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

/// Offence 19: signatures out of form.
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

//! Tests of what is said in numbers and words: a number never changes its meaning, and every text tells something of its own.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::string::{String, ToString};
use std::vec::Vec;

use crate::cert::{CertError, KeyAlgorithm, PfxError};
use crate::channel::error::AlpnTooLong;
use crate::channel::{Alert, ChannelError, NamedGroup, PeerRefusal, UseError};
use crate::crypto::CryptoError;
use crate::endpoint::{CloseReason, ConnectionState, DialError, IdentityError, LoginState, Step};
use crate::entropy::EntropyError;
use crate::keys::{Iterations, KeyError, KeyKind, Protection, SALT_LEN};
use crate::message::block::BlockError;
use crate::message::codec::MessageError;
use crate::message::{InstanceId, TextTooLong, TimelinesError};
use crate::pairing::{CodeError, Refusal};
use crate::session::{Reason, Safety, SessionError, SessionState, StorageError, StoredError, WitnessState};
use crate::wire::Malformed;

/// Every text is one line without a full stop, and no two are alike.
fn told_apart<T: Display + Debug>(all: &[T]) {
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    for (text, what) in texts.iter().zip(all) {
        assert!(
            text.len() > 3 && !text.contains('\n') && !text.ends_with('.'),
            "{what:?}: {text}"
        );
    }
    let different: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(different.len(), all.len(), "{texts:?}");
}

/// The numbers are those of the table, in its order from 1.
fn numbered<T: Copy + Debug>(all: &[T], code: impl Fn(T) -> u8) {
    for (error, number) in all.iter().zip(1..) {
        assert_eq!(code(*error), number, "{error:?}");
    }
}

#[test]
fn certificates() {
    use CertError::*;
    use KeyAlgorithm::*;
    let all = [
        TooLong,
        Malformed,
        NotVersion3,
        UnsupportedKey { found: Rsa },
        BadPoint,
        NotSelfSigned,
        UnsupportedSignature,
        BadSignature,
        SubjectEmpty,
        SubjectTooLong,
        SubjectSyntax,
        SubjectAttribute,
        SubjectCharacter,
        Date,
        Signer,
        Entropy,
        Pem,
    ];
    numbered(&all, CertError::code);
    told_apart(&all);
    let kinds = [
        Rsa,
        Dsa,
        P384,
        P521,
        Secp256k1,
        OtherCurve,
        CompressedP256,
        Ed25519,
        Ed448,
        Unknown,
    ];
    told_apart(&kinds);
    told_apart(&kinds.map(|found| UnsupportedKey { found }));
    assert_eq!(CertError::from(EntropyError), Entropy);
    let causes = [
        (CryptoError::Entropy, Entropy),
        (CryptoError::BadPoint, BadPoint),
        (CryptoError::BadEncapsulationKey, BadPoint),
        (CryptoError::BadKey, Signer),
        (CryptoError::BadLength, Signer),
        (CryptoError::Rejected, Signer),
    ];
    for (cause, expected) in causes {
        assert_eq!(CertError::from(cause), expected);
    }
    told_apart(&causes.map(|(cause, _)| cause));
}

#[test]
fn keys() {
    use KeyError::*;
    let kinds = [
        KeyKind::ServiceMasterKey,
        KeyKind::DatabaseMasterKey,
        KeyKind::PrivateKey,
    ];
    let protections = [
        Protection::Password {
            salt: [0; SALT_LEN],
            iterations: Iterations::HOST_DEFAULT,
        },
        Protection::ServiceMasterKey,
        Protection::DatabaseMasterKey,
    ];
    let all = [
        Malformed,
        UnknownVersion,
        WrongKind { found: kinds[0] },
        WrongProtection {
            found: protections[0],
        },
        Rejected,
        IterationCount,
        BadKey,
        UnknownScheme,
        NoRoom,
        Entropy,
        Pem,
        Encrypted,
    ];
    numbered(&all, KeyError::code);
    told_apart(&all);
    told_apart(&kinds);
    told_apart(&protections);
    told_apart(&kinds.map(|found| WrongKind { found }));
    told_apart(&protections.map(|found| WrongProtection { found }));
    assert_eq!(KeyError::from(EntropyError), Entropy);
    let causes = [
        (CryptoError::Entropy, Entropy),
        (CryptoError::BadPoint, BadKey),
        (CryptoError::BadEncapsulationKey, BadKey),
        (CryptoError::BadKey, BadKey),
        (CryptoError::BadLength, Malformed),
        (CryptoError::Rejected, Rejected),
    ];
    for (cause, expected) in causes {
        assert_eq!(KeyError::from(cause), expected);
    }
}

#[test]
fn pfx_files() {
    use PfxError::*;
    let all = [
        TooLong,
        Malformed,
        UnknownScheme,
        NoMac,
        Rejected,
        NoKey,
        SeveralKeys,
        NoCertificate,
        Key(KeyError::BadKey),
        Certificate(CertError::BadPoint),
        Entropy,
    ];
    numbered(&all, PfxError::code);
    told_apart(&all);
    let causes = [
        (KeyError::Malformed, Malformed),
        (KeyError::UnknownScheme, UnknownScheme),
        (KeyError::Rejected, Rejected),
        (KeyError::NoRoom, TooLong),
        (KeyError::Entropy, Entropy),
        (KeyError::BadKey, Key(KeyError::BadKey)),
    ];
    for (cause, expected) in causes {
        assert_eq!(PfxError::from(cause), expected);
    }
}

/// `docs/block.md`.
#[test]
fn blocks() {
    use BlockError::*;
    let all = [
        NotABlock,
        Version(2),
        Unknown,
        Reserved,
        BadPageSize,
        BadLength,
        BadPosition,
        BadDirectory,
        TooLong,
        TooShort,
        DirectoryDamaged,
        PayloadDamaged,
        ChainBroken,
    ];
    numbered(&all, BlockError::code);
    told_apart(&all);
    told_apart(&[TimelinesError::TooMany, TimelinesError::Order]);
    told_apart(&[Version(2), Version(3)]);
}

#[test]
fn messages_and_stored_records() {
    let at = Malformed { at: 17 };
    told_apart(&[
        MessageError::Malformed { kind: 0x30, at },
        MessageError::Unknown { kind: 0x30 },
        MessageError::Unknown { kind: 0x31 },
    ]);
    assert_eq!(
        MessageError::Malformed { kind: 0x30, at }.to_string(),
        "message of kind 0x0030 malformed at byte 17"
    );
    told_apart(&[
        StoredError::NotARecord,
        StoredError::Version { found: 9 },
        StoredError::Damaged,
        StoredError::Malformed(at),
    ]);
    told_apart(&[
        TextTooLong.to_string(),
        crate::wire::Full.to_string(),
        crate::endpoint::Full.to_string(),
    ]);
}

#[test]
fn the_channels_use() {
    told_apart(&ChannelError::samples());
    let alerts = [Alert::CloseNotify, Alert::BadRecordMac, Alert::Unknown(200)];
    told_apart(&alerts.map(ChannelError::PeerAlert));
    assert_eq!(NamedGroup::Secp256r1.name(), "secp256r1");
    assert_eq!(NamedGroup::SecP256r1MlKem768.name(), "SecP256r1MLKEM768");
    told_apart(&[
        UseError::NotEstablished,
        UseError::WritePending,
        UseError::Closed,
        UseError::NoRoom,
        UseError::TooLong,
        UseError::KeyExhausted,
        UseError::BadExport,
        UseError::Provider,
    ]);
    let extension_type = 13;
    assert_eq!(
        ChannelError::MissingExtension { extension_type }.to_string(),
        "an extension is missing (extension 13)"
    );
    told_apart(&[AlpnTooLong.to_string(), EntropyError.to_string()]);
    let alpn = crate::channel::Alpn::new(b"dbm/1\x07").unwrap();
    assert_eq!(std::format!("{alpn:?}"), "Alpn(dbm/1\\x07)");
}

#[test]
fn pairing() {
    let all = [
        (50140, Refusal::NotOpen),
        (50141, Refusal::TooManyTries),
        (50142, Refusal::WrongProof),
        (50143, Refusal::OtherMethod),
        (50144, Refusal::AnotherPeer),
        (1452, Refusal::OwnInstance),
        (9757, Refusal::NoCommonVersion),
        (1434, Refusal::BadMessage),
        (15025, Refusal::Declined(15025)),
    ];
    for (number, refusal) in all {
        assert_eq!(refusal.number(), number);
        assert_eq!(Refusal::from_number(number), refusal);
    }
    told_apart(&all.map(|(_, refusal)| refusal));
    told_apart(&[CodeError::Length, CodeError::Character, CodeError::Check]);
}

#[test]
fn sessions() {
    told_apart(&Reason::ALL.map(|reason| SessionError::new(1454, reason)));
    assert_eq!(
        SessionError::new(1418, Reason::Unreachable).to_string(),
        "1418: the connection could not be made"
    );
    told_apart(&[
        StorageError::Gone,
        StorageError::Chain,
        StorageError::Corrupt,
        StorageError::Full,
        StorageError::CannotAdopt,
        StorageError::Unavailable,
        StorageError::Failed,
    ]);
}

/// The codes of the views, as the vendor gives them (`docs/tsql.md`).
#[test]
fn the_views_codes() {
    let witness = [
        WitnessState::Unknown,
        WitnessState::Connected,
        WitnessState::Disconnected,
    ];
    assert_eq!(witness.map(WitnessState::code), [0, 1, 2]);
    let connection = [
        ConnectionState::New,
        ConnectionState::Connecting,
        ConnectionState::Connected,
        ConnectionState::LoggedIn,
        ConnectionState::Closed,
    ];
    assert_eq!(connection.map(ConnectionState::code), [1, 2, 3, 4, 5]);
    let login = [
        LoginState::Initial,
        LoginState::WaitLoginNegotiate,
        LoginState::WaitValidation,
        LoginState::WaitArbitration,
        LoginState::Online,
        LoginState::Error,
    ];
    assert_eq!(login.map(LoginState::code), [0, 1, 10, 11, 12, 13]);
    for (code, safety) in [(1, Safety::Off), (2, Safety::Full)] {
        assert_eq!(safety.code(), code);
        assert_eq!(Safety::from_code(code), Some(safety));
    }
    assert_eq!(Safety::from_code(0), None);
    let states = [
        SessionState::Suspended,
        SessionState::Disconnected,
        SessionState::Synchronizing,
        SessionState::PendingFailover,
        SessionState::Synchronized,
    ];
    assert_eq!(states.map(SessionState::code), [0, 1, 2, 3, 4]);
    assert_eq!(
        states.map(|state| SessionState::from_code(state.code())),
        states.map(Some)
    );
    assert_eq!(SessionState::from_code(5), None);
}

/// What the log says when a connection ends (`docs/operations.md`).
#[test]
fn ends_of_connections() {
    let steps = [
        Step::Connect,
        Step::Tls,
        Step::Certificate,
        Step::Login,
        Step::Hello,
        Step::Online,
        Step::Pairing,
    ];
    let names: BTreeSet<&str> = steps.map(Step::name).into_iter().collect();
    assert_eq!(names.len(), steps.len());
    let all = [
        (CloseReason::Dial(DialError::BadAddress), 1449),
        (CloseReason::Dial(DialError::NoName), 9783),
        (CloseReason::Dial(DialError::Refused), 9754),
        (CloseReason::Dial(DialError::TimedOut), 9754),
        (CloseReason::Identity(IdentityError::NoCertificate), 28036),
        (CloseReason::Identity(IdentityError::NoKey), 28037),
        (CloseReason::HandshakeTimeout, 9760),
        (CloseReason::Idle, 9760),
        (CloseReason::PingTimeout, 1479),
        (CloseReason::BadMessage { kind: 0x30 }, 1434),
        (CloseReason::NoCommonVersion, 9757),
        (CloseReason::OwnInstance, 1452),
        (CloseReason::TooManyOfLogin, 28026),
        (CloseReason::Evicted, 28026),
        (CloseReason::Duplicate { newer_won: false }, 28032),
        (CloseReason::Duplicate { newer_won: true }, 28033),
        (CloseReason::PeerClosed, 0),
        (CloseReason::Done, 0),
        (CloseReason::Revoked, 28034),
        (
            CloseReason::NotThePartner {
                instance: InstanceId::default(),
            },
            1402,
        ),
        (CloseReason::ShortRecords, 28040),
        (CloseReason::Transport, 9799),
        (
            CloseReason::Pairing {
                refusal: Refusal::WrongProof,
                by_peer: true,
            },
            50142,
        ),
        (CloseReason::Channel(ChannelError::NoCommonSuite), 28027),
        (CloseReason::Channel(ChannelError::CertificateMissing), 28035),
        (CloseReason::Channel(ChannelError::BadFinished), 28038),
        (CloseReason::Channel(ChannelError::ClosedInHandshake), 28028),
        (CloseReason::Channel(ChannelError::Truncated), 9799),
        (CloseReason::Channel(ChannelError::Entropy), 28031),
        (CloseReason::Channel(ChannelError::Lent), 28036),
        (CloseReason::Channel(ChannelError::BadRecordMac), 28040),
    ];
    for (reason, number) in all {
        assert_eq!(reason.number(), number, "{reason:?}");
        let expected = matches!(
            reason,
            CloseReason::PeerClosed | CloseReason::Done | CloseReason::Duplicate { .. }
        );
        assert_eq!(reason.is_orderly(), expected, "{reason:?}");
        assert_eq!(reason.refused_ids(), (None, None), "{reason:?}");
    }
    let (login_id, certificate_id) = (7, 9);
    let refused = [
        (
            PeerRefusal::NoConnect {
                login_id,
                certificate_id,
            },
            28034,
            (Some(7), Some(9)),
        ),
        (PeerRefusal::NoLogin { certificate_id }, 28034, (None, Some(9))),
        (
            PeerRefusal::NotYetValid { certificate_id },
            28035,
            (None, Some(9)),
        ),
        (PeerRefusal::Expired { certificate_id }, 28035, (None, Some(9))),
        (PeerRefusal::Unknown, 28035, (None, None)),
    ];
    for (refusal, number, ids) in refused {
        let reason = CloseReason::Channel(ChannelError::PeerRefused(refusal));
        assert_eq!(
            (reason.number(), reason.refused_ids()),
            (number, ids),
            "{reason:?}"
        );
    }
}

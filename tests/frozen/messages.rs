//! Messages of `dbm/1` and the stored session record, version 1 (`docs/protocol.md`).
//!
//! If `frozen_*` fails, do not change the test: a partner of the version before could no longer be understood, and what is
//! stored out there could no longer be read. A new form gets a new kind or a new version, and new samples beside these.
//!
//! The codec laws run over the same list: round trip; every prefix and every trailing byte refused; no flipped bit panics, and
//! none decodes to the message that it came from.

use std::collections::BTreeMap;

use dbmirror_core::message::codec::*;
use dbmirror_core::message::{
    Chain, DatabaseSum, FamilyGuid, ForkId, InstanceId, LogEnd, Position, Record, SessionGuid, Signature,
    Sync, Text, Timeline, Timelines, UseNumber,
};
use dbmirror_core::session::decide::witness::Keeping;
use dbmirror_core::session::{DatabaseId, Role, STORED_LEN_MAX, Stored, StoredError, StoredPhase};
use dbmirror_core::wire::{Reader, Writer};
use dbmirror_core::witness::{WITNESS_STORED_LEN_MAX, WitnessPartner, WitnessStored};

const SAMPLES: &str = include_str!("messages/v1.txt");
const STORED_1: &str = include_str!("messages/stored-v1.txt");
const STORED_2: &str = include_str!("messages/stored-v2.txt");
const WITNESSED: &str = include_str!("messages/witness-v1.txt");

const GUID: SessionGuid = SessionGuid([0x11; 16]);
const A: InstanceId = InstanceId([0xaa; 16]);
const B: InstanceId = InstanceId([0xbb; 16]);

fn at(timeline: u32, sequence: u64) -> Position {
    Position { timeline, sequence }
}

fn end() -> LogEnd {
    LogEnd {
        position: at(2, 0x0102_0304),
        chain: Chain([0xcc; 16]),
    }
}

fn record() -> Record {
    Record {
        role_sequence: 3,
        owner: A,
        sync_sequence: 0x0506_0708_090a,
        sync: Sync::Sync,
        forced: false,
    }
}

fn timelines() -> Timelines {
    Timelines::new(&[
        Timeline {
            number: 1,
            fork: ForkId(0xf0f1),
            first: 1,
            chain_before: Chain::START,
        },
        Timeline {
            number: 2,
            fork: ForkId(0xf2f3),
            first: 100,
            chain_before: Chain([0xdd; 16]),
        },
    ])
    .unwrap()
}

fn properties() -> Properties {
    Properties {
        safety_sequence: 2,
        safety_full: true,
        suspended_sequence: 4,
        suspended: true,
        timeout_sequence: 1,
        timeout: 10,
    }
}

/// One of each kind.
fn samples() -> Vec<(&'static str, Message<'static>)> {
    let (guid, role_sequence) = (GUID, 3);
    vec![
        (
            "hello",
            Hello {
                version_min: 1,
                version_max: 1,
                capabilities: 0x8000_0000_0000_0001,
                instance: A,
                boot: 7,
                probe: false,
                name: Text::new("HOST_A").unwrap(),
            }
            .into(),
        ),
        (
            "use",
            Use {
                number: UseNumber { boot: 7, n: 2 },
            }
            .into(),
        ),
        ("ping", Ping { progress_age: 1_500 }.into()),
        ("goodbye", Goodbye { number: 28033 }.into()),
        (
            "refusal",
            Refusal {
                guid,
                kind: 0x0030,
                number: 1402,
                reason: 12,
            }
            .into(),
        ),
        (
            "successor",
            Successor {
                number: 0x0102_0304_0506_0708,
                signature: Signature::new(&[0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x02]).unwrap(),
                certificate: b"certificate in DER",
            }
            .into(),
        ),
        (
            "retired",
            Retired {
                number: 9,
                digest: [0xd1; 32],
            }
            .into(),
        ),
        (
            "certificate_answer",
            CertificateAnswer {
                number: 9,
                message: 15232,
                reason: 34,
            }
            .into(),
        ),
        ("time", Time { unix: 1_893_456_000 }.into()),
        (
            "start",
            Start {
                guid,
                record: Record::first(A),
                family: FamilyGuid([0x22; 16]),
                end: end(),
                properties: properties(),
                timelines: timelines(),
                partner: Text::new("TCP://HOST_B:7024").unwrap(),
                name: Text::new("sales").unwrap(),
            }
            .into(),
        ),
        (
            "start_accepted",
            StartAccepted {
                guid,
                record: Record::first(A),
                end: LogEnd::START,
                wants_seed: true,
                timelines: Timelines::EMPTY,
            }
            .into(),
        ),
        (
            "start_refused",
            StartRefused {
                guid,
                number: 1448,
                reason: 3,
            }
            .into(),
        ),
        (
            "session_hello",
            SessionHello {
                guid,
                record: record(),
                ask: 5,
                witness: B,
                witness_role_sequence: 3,
                witness_sync_sequence: 4,
                witness_pending: true,
                end: end(),
                wants_seed: false,
                credit: 4 << 20,
                properties: properties(),
                timelines: timelines(),
            }
            .into(),
        ),
        ("none", dbmirror_core::message::codec::None { guid }.into()),
        (
            "tombstone",
            Tombstone {
                guid,
                record: record(),
            }
            .into(),
        ),
        ("hello_again", HelloAgain { guid, answer: true }.into()),
        (
            "block",
            Block {
                guid,
                role_sequence,
                position: at(2, 101),
                decided: at(2, 100),
                total: 4096,
                offset: 16,
                bytes: b"stored bytes",
            }
            .into(),
        ),
        (
            "ack",
            Ack {
                guid,
                role_sequence,
                position: at(2, 101),
                chain_prefix: 0x1122_3344_5566_7788,
            }
            .into(),
        ),
        (
            "credit",
            Credit {
                guid,
                role_sequence,
                limit: 5 << 20,
            }
            .into(),
        ),
        (
            "status",
            Status {
                guid,
                role_sequence,
                state: 4,
                end: at(2, 101),
                decided: at(2, 101),
            }
            .into(),
        ),
        (
            "tail_request",
            TailRequest {
                guid,
                role_sequence,
                from: end(),
                to: at(2, 0x0102_0310),
            }
            .into(),
        ),
        (
            "tail",
            Tail {
                guid,
                role_sequence,
                position: at(2, 102),
                total: 12,
                offset: 0,
                bytes: b"stored bytes",
            }
            .into(),
        ),
        ("seed_request", SeedRequest { guid, role_sequence }.into()),
        (
            "seed_begin",
            SeedBegin {
                guid,
                role_sequence,
                at: end(),
                page_size: 4096,
                bytes: 1 << 33,
                timelines: timelines(),
            }
            .into(),
        ),
        (
            "seed",
            Seed {
                guid,
                role_sequence,
                offset: 1 << 32,
                bytes: b"page bytes",
            }
            .into(),
        ),
        (
            "seed_end",
            SeedEnd {
                guid,
                role_sequence,
                bytes: 1 << 33,
                sum: DatabaseSum(0x99aa),
            }
            .into(),
        ),
        (
            "set_properties",
            SetProperties {
                guid,
                role_sequence,
                properties: properties(),
            }
            .into(),
        ),
        (
            "ask_suspend",
            AskSuspend {
                guid,
                role_sequence,
                suspended_sequence: 4,
                suspend: true,
            }
            .into(),
        ),
        (
            "attachment",
            Attachment {
                guid,
                role_sequence,
                bytes: b"opaque bytes",
            }
            .into(),
        ),
        (
            "propose",
            Propose {
                guid,
                record: record(),
                end: end(),
            }
            .into(),
        ),
        (
            "ask",
            Ask {
                guid,
                number: 4,
                record: record(),
                timeout: 10_000,
                force: false,
            }
            .into(),
        ),
        (
            "grant",
            Grant {
                guid,
                ask: 4,
                record: record(),
            }
            .into(),
        ),
        (
            "denial",
            Denial {
                guid,
                ask: 4,
                record: record(),
            }
            .into(),
        ),
        (
            "register",
            Register {
                guid,
                request: 9,
                record: record(),
                principal: A,
                principal_key: [4; 65],
                mirror: B,
                mirror_key: [5; 65],
            }
            .into(),
        ),
        (
            "confirm",
            Confirm {
                guid,
                request: 9,
                answer: true,
                record: record(),
            }
            .into(),
        ),
        (
            "drop",
            Drop {
                guid,
                request: 10,
                record: record(),
            }
            .into(),
        ),
        (
            "name_witness",
            NameWitness {
                guid,
                answer: false,
                record: record(),
                witness: InstanceId([0xdd; 16]),
                pending: true,
                address: Text::new("TCP://HOST_W:7024").unwrap(),
            }
            .into(),
        ),
        (
            "described",
            Described {
                guid,
                role_sequence,
                family: FamilyGuid([0x22; 16]),
                properties: properties(),
                name: Text::new("sales").unwrap(),
            }
            .into(),
        ),
    ]
}

fn stored_2() -> Stored {
    Stored {
        ask: 7,
        ask_open: true,
        ask_force: true,
        witness: InstanceId([0xdd; 16]),
        witness_role_sequence: 3,
        witness_sync_sequence: 4,
        witness_pending: true,
        witness_login: 259,
        witness_address: Text::new("TCP://HOST_W:7024").unwrap(),
        failover: at(2, 99),
        clash: true,
        ..stored()
    }
}

fn stored() -> Stored {
    Stored {
        database: DatabaseId(5),
        phase: StoredPhase::Established,
        role: Role::Mirror,
        guid: GUID,
        family: FamilyGuid([0x22; 16]),
        record: Record::first(A),
        ask: 0,
        ask_open: false,
        incomplete: false,
        wants_seed: false,
        touched: true,
        partner_login: 258,
        partner_instance: A,
        witness: InstanceId::default(),
        witness_role_sequence: 0,
        witness_sync_sequence: 0,
        witness_pending: false,
        properties: properties(),
        timelines: timelines(),
        partner: Text::new("TCP://HOST_A:7024").unwrap(),
        name: Text::new("sales").unwrap(),
        ask_force: false,
        witness_login: 0,
        failover: Position::START,
        clash: false,
        witness_address: Text::EMPTY,
    }
}

fn bytes_of(message: &Message<'_>) -> Vec<u8> {
    let mut buf = vec![0; 4096];
    let mut to = Writer::new(&mut buf);
    message.encode(&mut to).unwrap();
    let len = to.len();
    buf.truncate(len);
    buf
}

#[test]
fn frozen_messages() {
    let frozen: BTreeMap<&str, &str> = SAMPLES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let mut missing = String::new();
    for (name, message) in samples() {
        let hex = hex::encode(bytes_of(&message));
        match frozen.get(name) {
            Some(expected) => {
                assert_eq!(hex, *expected, "{name}");
                let bytes = hex::decode(expected).unwrap();
                let mut from = Reader::new(&bytes);
                assert_eq!(Message::decode(&mut from), Ok(Some(message)), "{name}");
                from.finish().unwrap();
            }
            Option::None => missing += &format!("{name} {hex}\n"),
        }
    }
    assert!(missing.is_empty(), "no sample of:\n{missing}");
    assert_eq!(frozen.len(), samples().len());
    let kinds: Vec<u16> = samples().iter().map(|(_, message)| message.kind()).collect();
    assert_eq!(kinds, Message::KINDS, "one of each kind, in the table's order");
}

#[test]
fn frozen_stored_record() {
    let mut buf = [0; STORED_LEN_MAX];
    let now = stored_2();
    let len = now.encode(&mut buf).unwrap();
    assert_eq!(hex::encode(&buf[..len]), STORED_2.trim());
    assert_eq!(Stored::decode(&hex::decode(STORED_2.trim()).unwrap()), Ok(now));
    // Version 1 knew no witness; it is read for ever.
    assert_eq!(
        Stored::decode(&hex::decode(STORED_1.trim()).unwrap()),
        Ok(stored())
    );
}

fn witnessed() -> [WitnessStored; 2] {
    let partner = |instance, byte, login, name: &str| WitnessPartner {
        instance,
        key: [byte; 65],
        login,
        name: Text::new(name).unwrap(),
    };
    let stored = WitnessStored {
        guid: GUID,
        keeping: Keeping::Record(record()),
        partners: [partner(A, 0x04, 260, "HOST_A"), partner(B, 0x05, 0, "")],
        family: FamilyGuid([0x22; 16]),
        properties: properties(),
        name: Text::new("sales").unwrap(),
    };
    let dropped = WitnessStored {
        keeping: Keeping::Dropped { owner: A },
        ..stored
    };
    [stored, dropped]
}

#[test]
fn frozen_witness_record() {
    for (stored, line) in witnessed().into_iter().zip(WITNESSED.lines()) {
        let mut buf = [0; WITNESS_STORED_LEN_MAX];
        let len = stored.encode(&mut buf).unwrap();
        assert_eq!(hex::encode(&buf[..len]), line);
        assert_eq!(WitnessStored::decode(&hex::decode(line).unwrap()), Ok(stored));
    }
    assert_eq!(WITNESSED.lines().count(), 2);
}

#[test]
fn a_damaged_witness_record_is_no_record() {
    for stored in witnessed() {
        let mut buf = [0; WITNESS_STORED_LEN_MAX];
        let len = stored.encode(&mut buf).unwrap();
        for cut in 0..len {
            assert!(WitnessStored::decode(&buf[..cut]).is_err(), "cut to {cut}");
        }
        for bit in 0..len * 8 {
            let mut damaged = buf;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(WitnessStored::decode(&damaged[..len]).is_err(), "bit {bit}");
        }
        assert!(WitnessStored::decode(&buf[..=len]).is_err(), "one byte more");
        assert!(
            Stored::decode(&buf[..len]).is_err(),
            "a session's record is another"
        );
    }
    // Nothing is never stored, and a mark has an owner and nothing else.
    for keeping in [
        Keeping::Blank,
        Keeping::Record(Record {
            role_sequence: 0,
            sync_sequence: 1,
            ..record()
        }),
    ] {
        let mut buf = [0; WITNESS_STORED_LEN_MAX];
        let stored = WitnessStored {
            keeping,
            ..witnessed()[0]
        };
        let len = stored.encode(&mut buf).unwrap();
        assert!(matches!(
            WitnessStored::decode(&buf[..len]),
            Err(StoredError::Malformed(_))
        ));
    }
}

#[test]
fn prefixes_and_trailing_bytes_are_refused() {
    for (name, message) in samples() {
        let bytes = bytes_of(&message);
        for len in 0..bytes.len() {
            assert!(
                Message::decode(&mut Reader::new(&bytes[..len])).is_err(),
                "{name} cut to {len}"
            );
        }
        // A body that is shorter, or longer, than its fields.
        let body = u32::try_from(bytes.len() - HEADER_LEN).unwrap();
        let open_ended = matches!(
            message,
            Message::Block(_)
                | Message::Tail(_)
                | Message::Seed(_)
                | Message::Successor(_)
                | Message::Attachment(_)
        );
        for wrong in [body.wrapping_sub(1), body + 1] {
            let mut other = bytes.clone();
            other.push(0);
            other[..4].copy_from_slice(&wrong.to_le_bytes());
            let decoded = Message::decode(&mut Reader::new(&other));
            assert_eq!(decoded.is_ok(), open_ended, "{name} with a body of {wrong}");
        }
    }
}

#[test]
fn flipped_bits_never_panic_and_never_go_unseen() {
    for (name, message) in samples() {
        let bytes = bytes_of(&message);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let decoded = Message::decode(&mut Reader::new(&other));
            assert_ne!(decoded, Ok(Some(message)), "{name} bit {bit}");
        }
    }
}

#[test]
fn unknown_kinds_are_skipped_or_refused() {
    let unknown = |kind: u16| {
        let mut bytes = vec![3, 0, 0, 0];
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0, 0, 1, 2, 3]);
        let bytes: &'static [u8] = bytes.leak();
        let mut from = Reader::new(bytes);
        (Message::decode(&mut from), from.remaining())
    };
    assert_eq!(unknown(0x8123), (Ok(Option::None), 0), "optional");
    assert_eq!(unknown(0x0123), (Err(MessageError::Unknown { kind: 0x0123 }), 0));
}

#[test]
fn impossible_values_are_refused() {
    let refused = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let message = samples().into_iter().find(|(n, _)| *n == name).unwrap().1;
        let mut bytes = bytes_of(&message);
        change(&mut bytes);
        assert!(Message::decode(&mut Reader::new(&bytes)).is_err(), "{name}");
    };
    refused("ping", &|b| b[6] = 1); // the header's reserved bytes
    refused("ask_suspend", &|b| *b.last_mut().unwrap() = 2); // neither yes nor no
    refused("ack", &|b| b[28..32].fill(0)); // timeline 0 with a sequence
    refused("tombstone", &|b| b[8 + 16 + 28] = 3); // neither SYNC nor UNSYNC
    refused("successor", &|b| b[16] = 0); // no signature
    refused("successor", &|b| b[16] = 73); // longer than any signature
    refused("hello", &|b| *b.last_mut().unwrap() = 0); // a control character
    refused("hello", &|b| *b.last_mut().unwrap() = 0xff); // not UTF-8
    refused("seed_begin", &|b| b[8 + 20 + 28 + 12] = 17); // too many timelines
    refused("seed_begin", &|b| b[8 + 20 + 28 + 12 + 1 + 36] = 1); // out of order
}

#[test]
fn a_stored_record_is_taken_whole_or_not() {
    let mut buf = [0; STORED_LEN_MAX];
    let len = stored().encode(&mut buf).unwrap();
    let bytes = &buf[..len];
    for cut in 0..len {
        assert!(Stored::decode(&bytes[..cut]).is_err());
    }
    for bit in 0..len * 8 {
        let mut other = bytes.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(Stored::decode(&other).is_err(), "bit {bit}");
    }
    let mut newer = bytes.to_vec();
    newer[4] = 3;
    assert_eq!(Stored::decode(&newer), Err(StoredError::Version { found: 3 }));
    // The longest there can be fits.
    let all: Vec<Timeline> = (1..=16)
        .map(|number| Timeline {
            number,
            fork: ForkId(1),
            first: 1,
            chain_before: Chain::START,
        })
        .collect();
    let longest = Stored {
        witness_address: Text::new(&"w".repeat(128)).unwrap(),
        partner: Text::new(&"p".repeat(128)).unwrap(),
        name: Text::new(&"n".repeat(384)).unwrap(),
        timelines: Timelines::new(&all).unwrap(),
        ..stored()
    };
    let len = longest.encode(&mut buf).unwrap();
    assert_eq!(Stored::decode(&buf[..len]), Ok(longest));
}

#[test]
fn the_longest_control_messages_fit_a_record() {
    let all: Vec<Timeline> = (1..=16)
        .map(|number| Timeline {
            number,
            fork: ForkId(1),
            first: 1,
            chain_before: Chain::START,
        })
        .collect();
    for (name, message) in samples() {
        let message = match message {
            Message::Start(start) => Start {
                partner: Text::new(&"p".repeat(128)).unwrap(),
                name: Text::new(&"n".repeat(384)).unwrap(),
                timelines: Timelines::new(&all).unwrap(),
                ..start
            }
            .into(),
            Message::SessionHello(hello) => SessionHello {
                timelines: Timelines::new(&all).unwrap(),
                ..hello
            }
            .into(),
            other => other,
        };
        assert!(bytes_of(&message).len() <= CONTROL_LEN_MAX, "{name}");
    }
    let empty = |message: Message<'static>| bytes_of(&message).len();
    let block = Block {
        guid: GUID,
        role_sequence: 1,
        position: at(1, 1),
        decided: at(1, 1),
        total: 0,
        offset: 0,
        bytes: &[],
    };
    assert_eq!(empty(block.into()), BLOCK_OVERHEAD);
    let tail = Tail {
        guid: GUID,
        role_sequence: 1,
        position: at(1, 1),
        total: 0,
        offset: 0,
        bytes: &[],
    };
    assert_eq!(empty(tail.into()), TAIL_OVERHEAD);
    let seed = Seed {
        guid: GUID,
        role_sequence: 1,
        offset: 0,
        bytes: &[],
    };
    assert_eq!(empty(seed.into()), SEED_OVERHEAD);
}

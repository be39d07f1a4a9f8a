//! The whole of what a witness does about what it hears, as a table, and what a place costs.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::member::{Facts, Heard, Witnessed};
use super::{WITNESS_SLOT_LEN_MAX, WitnessPartner, WitnessSlot, WitnessStored};
use crate::message::codec::*;
use crate::message::{
    DatabaseSum, FamilyGuid, InstanceId, LogEnd, Position, Record, SessionGuid, Sync, Text, Timelines,
    UseNumber,
};
use crate::session::decide::witness::Keeping;
use crate::session::{Kept, Reason};
use crate::wire::{Reader, Writer};

const TABLE: &str = include_str!("tests/table.txt");
const GUID: SessionGuid = SessionGuid([1; 16]);
const P: InstanceId = InstanceId([0xaa; 16]);
const M: InstanceId = InstanceId([0xbb; 16]);

const fn record(role_sequence: u32, owner: InstanceId, sync_sequence: u64, sync: Sync) -> Record {
    Record {
        role_sequence,
        owner,
        sync_sequence,
        sync,
        forced: false,
    }
}

/// What is held when an event comes. In all of them P registered the session, M is its mirror, and both are bound.
fn states() -> Vec<(&'static str, Keeping)> {
    std::vec![
        ("UNSYNC (1,P,4)", Keeping::Record(record(1, P, 4, Sync::Unsync))),
        ("SYNC (1,P,4)", Keeping::Record(record(1, P, 4, Sync::Sync))),
        ("granted (2,M,0)", Keeping::Record(record(2, M, 0, Sync::Unsync))),
        ("dropped by P", Keeping::Dropped { owner: P }),
    ]
}

fn hello(record: Record, ask: u32) -> Message<'static> {
    SessionHello {
        guid: GUID,
        record,
        ask,
        witness: InstanceId::default(),
        witness_role_sequence: 0,
        witness_sync_sequence: 0,
        witness_pending: false,
        end: LogEnd::START,
        wants_seed: false,
        credit: 0,
        properties: Properties::default(),
        timelines: Timelines::EMPTY,
    }
    .into()
}

/// What comes, from whom (0 P, 1 M); a hello is preceded by HELLO_AGAIN when it says so.
fn events() -> Vec<(String, usize, Message<'static>, Option<bool>)> {
    let (equal, higher) = (record(1, P, 4, Sync::Sync), record(1, P, 5, Sync::Unsync));
    let (lower, next) = (record(1, P, 3, Sync::Unsync), record(3, P, 0, Sync::Unsync));
    let own = record(2, M, 1, Sync::Sync);
    let confirm = |record| {
        Confirm {
            guid: GUID,
            request: 7,
            answer: false,
            record,
        }
        .into()
    };
    let ask = |record, force| {
        Ask {
            guid: GUID,
            number: 7,
            record,
            timeout: 10_000,
            force,
        }
        .into()
    };
    let drop = |request, record| {
        Drop {
            guid: GUID,
            request,
            record,
        }
        .into()
    };
    let over = |record| Tombstone { guid: GUID, record }.into();
    let mut list: Vec<(&str, usize, Message<'static>, Option<bool>)> = std::vec![
        ("hello SYNC (1,P,4) by P", 0, hello(equal, 0), None),
        ("hello UNSYNC (1,P,5) by P", 0, hello(higher, 0), None),
        ("hello UNSYNC (1,P,3) by P", 0, hello(lower, 0), None),
        (
            "hello, again and to be answered, by P",
            0,
            hello(equal, 0),
            Some(true)
        ),
        ("hello, an answer, by P", 0, hello(equal, 0), Some(false)),
        ("hello UNSYNC (3,P,0) by P, its ask open", 0, hello(next, 5), None),
        ("hello UNSYNC (3,P,0) by M", 1, hello(next, 0), None),
        ("hello SYNC (2,M,1) by M", 1, hello(own, 0), None),
        ("CONFIRM SYNC (1,P,4) by P", 0, confirm(equal), None),
        ("CONFIRM UNSYNC (1,P,5) by P", 0, confirm(higher), None),
        ("CONFIRM UNSYNC (1,P,3) by P", 0, confirm(lower), None),
        ("CONFIRM UNSYNC (1,P,5) by M", 1, confirm(higher), None),
        ("CONFIRM SYNC (2,M,1) by M", 1, confirm(own), None),
        ("ASK SYNC (1,P,4) by M, P heard", 1, ask(equal, false), None),
        ("ASK SYNC (1,P,4) by M", 1, ask(equal, false), Some(false)),
        ("ASK UNSYNC (1,P,5) by M", 1, ask(higher, false), Some(false)),
        ("ASK SYNC (1,P,4) by P", 0, ask(equal, false), Some(false)),
        (
            "ASK by force (1,P,4) by M, P bound",
            1,
            ask(equal, true),
            Some(true)
        ),
        ("ASK by force (1,P,4) by M", 1, ask(equal, true), Some(false)),
        ("ASK by force (1,P,4) by P", 0, ask(equal, true), Some(false)),
        ("DROP 7 UNSYNC (1,P,5) by P", 0, drop(7, higher), None),
        ("DROP 7 UNSYNC (1,P,3) by P", 0, drop(7, lower), None),
        ("DROP 7 SYNC (2,M,1) by M", 1, drop(7, own), None),
        ("DROP 0 UNSYNC (1,P,5) by P", 0, drop(0, higher), None),
        ("DROP 0 UNSYNC (1,P,5) by M", 1, drop(0, higher), None),
        ("TOMBSTONE UNSYNC (1,P,5) by P", 0, over(higher), None),
        ("TOMBSTONE UNSYNC (1,P,5) by M", 1, over(higher), None),
        ("TOMBSTONE SYNC (2,M,1) by M", 1, over(own), None),
        ("NONE by P", 0, None { guid: GUID }.into(), None),
        (
            "DESCRIBED by P",
            0,
            Described {
                guid: GUID,
                role_sequence: 1,
                family: FamilyGuid([3; 16]),
                properties: Properties::default(),
                name: Text::new("sales").unwrap(),
            }
            .into(),
            None
        ),
        (
            "REFUSAL by P",
            0,
            Refusal {
                guid: GUID,
                kind: 0x0052,
                number: 1428,
                reason: 18,
            }
            .into(),
            None
        ),
    ];
    list.extend(only_between_partners());
    list.into_iter()
        .map(|(name, who, message, again)| (name.into(), who, message, again))
        .collect()
}

/// What no partner says to a witness. Each is refused, and changes nothing.
fn only_between_partners() -> Vec<(&'static str, usize, Message<'static>, Option<bool>)> {
    let (guid, role_sequence) = (GUID, 1);
    let position = Position::START;
    let record = record(1, P, 4, Sync::Sync);
    let refused: Vec<(&str, Message<'static>)> = std::vec![
        (
            "cannot happen, partners only: START",
            Start {
                guid,
                record,
                family: FamilyGuid::default(),
                end: LogEnd::START,
                properties: Properties::default(),
                timelines: Timelines::EMPTY,
                partner: Text::EMPTY,
                name: Text::EMPTY
            }
            .into()
        ),
        (
            "cannot happen, partners only: START_ACCEPTED",
            StartAccepted {
                guid,
                record,
                end: LogEnd::START,
                wants_seed: false,
                timelines: Timelines::EMPTY
            }
            .into()
        ),
        (
            "cannot happen, partners only: START_REFUSED",
            StartRefused {
                guid,
                number: 1405,
                reason: 1
            }
            .into()
        ),
        (
            "cannot happen, partners only: BLOCK",
            Block {
                guid,
                role_sequence,
                position,
                decided: position,
                total: 1,
                offset: 0,
                bytes: b"A"
            }
            .into()
        ),
        (
            "cannot happen, partners only: ACK",
            Ack {
                guid,
                role_sequence,
                position,
                chain_prefix: 0
            }
            .into()
        ),
        (
            "cannot happen, partners only: CREDIT",
            Credit {
                guid,
                role_sequence,
                limit: 1
            }
            .into()
        ),
        (
            "cannot happen, partners only: STATUS",
            Status {
                guid,
                role_sequence,
                state: 4,
                end: position,
                decided: position
            }
            .into()
        ),
        (
            "cannot happen, partners only: TAIL_REQUEST",
            TailRequest {
                guid,
                role_sequence,
                from: LogEnd::START,
                to: position
            }
            .into()
        ),
        (
            "cannot happen, partners only: TAIL",
            Tail {
                guid,
                role_sequence,
                position,
                total: 1,
                offset: 0,
                bytes: b"A"
            }
            .into()
        ),
        (
            "cannot happen, partners only: SEED_REQUEST",
            SeedRequest { guid, role_sequence }.into()
        ),
        (
            "cannot happen, partners only: SEED_BEGIN",
            SeedBegin {
                guid,
                role_sequence,
                at: LogEnd::START,
                page_size: 4096,
                bytes: 1,
                timelines: Timelines::EMPTY
            }
            .into()
        ),
        (
            "cannot happen, partners only: SEED",
            Seed {
                guid,
                role_sequence,
                offset: 0,
                bytes: b"A"
            }
            .into()
        ),
        (
            "cannot happen, partners only: SEED_END",
            SeedEnd {
                guid,
                role_sequence,
                bytes: 1,
                sum: DatabaseSum(0)
            }
            .into()
        ),
        (
            "cannot happen, partners only: SET_PROPERTIES",
            SetProperties {
                guid,
                role_sequence,
                properties: Properties::default()
            }
            .into()
        ),
        (
            "cannot happen, partners only: ASK_SUSPEND",
            AskSuspend {
                guid,
                role_sequence,
                suspended_sequence: 1,
                suspend: true
            }
            .into()
        ),
        (
            "cannot happen, partners only: ATTACHMENT",
            Attachment {
                guid,
                role_sequence,
                bytes: b""
            }
            .into()
        ),
        (
            "cannot happen, partners only: PROPOSE",
            Propose {
                guid,
                record,
                end: LogEnd::START
            }
            .into()
        ),
        (
            "cannot happen, partners only: NAME_WITNESS",
            NameWitness {
                guid,
                answer: false,
                record,
                witness: P,
                pending: true,
                address: Text::EMPTY
            }
            .into()
        ),
        (
            "cannot happen, only a witness says: GRANT",
            Grant { guid, ask: 7, record }.into()
        ),
        (
            "cannot happen, only a witness says: DENIAL",
            Denial { guid, ask: 7, record }.into()
        ),
    ];
    refused
        .into_iter()
        .map(|(name, message)| (name, 0, message, Option::None))
        .collect()
}

/// A session of P and M, bound to both on connections 10 and 11, that holds `keeping`.
fn bound(keeping: Keeping) -> Witnessed {
    let partner = |instance, login| WitnessPartner {
        instance,
        key: [4; 65],
        login,
        name: Text::EMPTY,
    };
    let mut witnessed = Witnessed::new(Kept::read(WitnessStored {
        guid: GUID,
        keeping,
        partners: [partner(P, 101), partner(M, 102)],
        family: FamilyGuid::default(),
        properties: Properties::default(),
        name: Text::EMPTY,
    }));
    for (which, link) in [(0, 10), (1, 11)] {
        witnessed.rebind(which, Some(link), UseNumber { boot: 1, n: 1 });
        witnessed.ends[which].said = true;
        witnessed.ends[which].heard = true;
    }
    witnessed
}

fn shown(record: &Record) -> String {
    if record.role_sequence == 0 {
        return "nothing".into();
    }
    let owner = if record.owner == P { "P" } else { "M" };
    let sync = if record.sync == Sync::Sync {
        "SYNC"
    } else {
        "UNSYNC"
    };
    let forced = if record.forced { " forced" } else { "" };
    format!(
        "{sync} ({},{owner},{}){forced}",
        record.role_sequence, record.sync_sequence
    )
}

/// What is said to either when it is durable.
fn said(witnessed: &mut Witnessed) -> String {
    let mut out = Vec::new();
    for (link, name) in [(10, "P"), (11, "M")] {
        let mut place = [0; 4096];
        let mut to = Writer::new(&mut place);
        let mut count = 0;
        witnessed.say(link, &mut to, &mut count).unwrap();
        let mut from = Reader::new(to.written());
        while !from.is_empty() {
            out.push(match Message::decode(&mut from).unwrap().unwrap() {
                Message::HelloAgain(m) => format!("{name}: again{}", if m.answer { "?" } else { "" }),
                Message::SessionHello(m) => format!("{name}: hello {}", shown(&m.record)),
                Message::None(_) => format!("{name}: NONE"),
                Message::Confirm(m) => format!("{name}: CONFIRM {} {}", m.request, shown(&m.record)),
                Message::Grant(m) => format!("{name}: GRANT {} {}", m.ask, shown(&m.record)),
                Message::Denial(m) => format!("{name}: DENIAL {} {}", m.ask, shown(&m.record)),
                other => panic!("{other:?}"),
            });
        }
    }
    out.join(", ")
}

/// The table as it is.
fn table() -> String {
    let mut out = String::new();
    for (name, who, message, again) in events() {
        out += &format!("\n{name}\n");
        for (state, keeping) in states() {
            let mut witnessed = bound(keeping);
            let force = matches!(message, Message::Ask(m) if m.force);
            if matches!(message, Message::Ask(_)) && (!force || again == Some(false)) {
                // The other one is not bound.
                witnessed.rebind(1 - who, Option::None, UseNumber { boot: 1, n: 1 });
            }
            let facts = Facts {
                owner_heard: matches!(message, Message::Ask(_)) && !force && again.is_none(),
            };
            let mut ignore = |_| {};
            let link = [10, 11][who];
            if let (Some(answer), Message::SessionHello(_)) = (again, &message) {
                let first = HelloAgain { guid: GUID, answer }.into();
                assert_eq!(witnessed.hear(who, link, &first, facts, &mut ignore), Heard::Done);
            }
            let heard = witnessed.hear(who, link, &message, facts, &mut ignore);
            let changed = witnessed.kept.get().keeping != keeping;
            let before = said(&mut witnessed);
            assert!(
                !witnessed.kept.is_dirty() || before.is_empty(),
                "{name}, {state}: said before it is durable"
            );
            let mut does = Vec::new();
            if let Heard::Refused(error) = heard {
                assert_ne!(error.reason, Reason::Unknown);
                does.push(format!("REFUSAL {}", error.number));
            }
            if changed {
                does.push(match witnessed.kept.get().keeping {
                    Keeping::Record(record) => format!("holds {}", shown(&record)),
                    Keeping::Dropped { .. } => "holds the mark".into(),
                    Keeping::Blank => "forgets".into(),
                });
            }
            if witnessed.kept.is_dirty() {
                witnessed.kept.writing(1);
                assert!(witnessed.kept.confirmed(1));
            }
            if !before.is_empty() {
                does.push(before);
            }
            let after = said(&mut witnessed);
            if !after.is_empty() {
                does.push(after);
            }
            if does.is_empty() {
                does.push("-".into());
            }
            if name.starts_with("cannot happen") {
                assert_eq!(does, ["REFUSAL 1402"], "{name}, {state}");
                assert!(!changed);
            }
            out += &format!("    {state:<16} {}\n", does.join("; "));
        }
    }
    out
}

/// When it fails and the change was meant: what it prints is the new table, to be read before it is kept.
#[test]
fn what_a_witness_does_is_the_table() {
    let table = table();
    let frozen: String =
        TABLE
            .lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |mut all, line| {
                all += line;
                all += "\n";
                all
            });
    assert!(table == frozen, "{table}");
}

#[test]
fn every_kind_of_message_is_in_the_table() {
    let mut kinds: Vec<u16> = events().iter().map(|(_, _, message, _)| message.kind()).collect();
    // These are said before a session is talked about; REGISTER finds a place first, and HELLO_AGAIN goes before a hello.
    kinds.extend([
        Hello::KIND,
        Use::KIND,
        Ping::KIND,
        Goodbye::KIND,
        Successor::KIND,
        Retired::KIND,
        CertificateAnswer::KIND,
        Time::KIND,
        Register::KIND,
        HelloAgain::KIND,
    ]);
    for kind in Message::KINDS {
        assert!(kinds.contains(kind), "{kind:#06x}");
    }
}

#[test]
fn a_place_costs_what_a_device_has() {
    assert!(size_of::<WitnessSlot>() <= WITNESS_SLOT_LEN_MAX);
    std::println!(
        "a place for a witnessed session: {} bytes",
        size_of::<WitnessSlot>()
    );
}

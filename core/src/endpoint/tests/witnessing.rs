//! The witness between two scripted partners (`docs/safety.md` R3, R5, R8, R11; `docs/protocol.md` §4).
//!
//! Node 0 is the witness. Partners are raw connections with the certificates of nodes 1 and 2, which say what the test says.

use std::vec::Vec;

use super::strangers::Raw;
use super::world::World;
use crate::crypto::SigningKey as _;
use crate::endpoint::{Event, Role};
use crate::message::codec::{
    Ask, Confirm, Described, Drop as DropMessage, HelloAgain, Message, Ping, Register, SessionHello,
    Tombstone, Use,
};
use crate::message::{FamilyGuid, InstanceId, LogEnd, Record, SessionGuid, Sync, Text, Timelines, UseNumber};
use crate::session::{Reason, SessionError, WaitAsMirror};
use crate::time::Duration;
use crate::wire::Reader;
use crate::witness::{WitnessEvent, WitnessView};

const GUID: SessionGuid = SessionGuid([9; 16]);
const W: usize = 0;
const P: usize = 1;
const M: usize = 2;
const STRANGER: usize = 3;

/// What a witness says about sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Hello(Record),
    Again(bool),
    None,
    Confirm(u64, Record),
    Grant(u32, Record),
    Denial(u32, Record),
    Refusal(u16, u32),
    Other(u16),
}

/// A scripted partner.
struct Partner {
    raw: Raw,
    read: usize,
    id: InstanceId,
}

impl Partner {
    /// Connects, and settles on the connection.
    fn meet(world: &mut World, who: usize) -> Self {
        let id = world.nodes[who].id;
        // Above every USE of before.
        let n = world.transmits + 1;
        Self::claiming(world, who, id, n)
    }

    fn claiming(world: &mut World, who: usize, id: InstanceId, n: u64) -> Self {
        let mut raw = Raw::dial_as(world, W, who);
        raw.hello(world, id);
        if id < world.nodes[W].id {
            let number = UseNumber { boot: 1, n };
            raw.say(world, &Use { number }.into());
        }
        Self { raw, read: 0, id }
    }

    fn tell(&mut self, world: &mut World, message: impl Into<Message<'static>>) -> Vec<Said> {
        self.raw.say(world, &message.into());
        self.heard(world)
    }

    /// What was said since.
    fn heard(&mut self, world: &mut World) -> Vec<Said> {
        self.raw.pump(world);
        let mut out = Vec::new();
        for record in &self.raw.heard[self.read..] {
            let mut from = Reader::new(record);
            while !from.is_empty() {
                out.extend(match Message::decode(&mut from).unwrap().unwrap() {
                    Message::SessionHello(m) => Some(Said::Hello(m.record)),
                    Message::HelloAgain(m) => Some(Said::Again(m.answer)),
                    Message::None(_) => Some(Said::None),
                    Message::Confirm(m) => {
                        assert!(m.answer);
                        Some(Said::Confirm(m.request, m.record))
                    }
                    Message::Grant(m) => Some(Said::Grant(m.ask, m.record)),
                    Message::Denial(m) => Some(Said::Denial(m.ask, m.record)),
                    Message::Refusal(m) => Some(Said::Refusal(m.kind, m.number)),
                    Message::Hello(_) | Message::Use(_) | Message::Ping(_) => None,
                    other => Some(Said::Other(other.kind())),
                });
            }
        }
        self.read = self.raw.heard.len();
        out
    }

    fn cut(&mut self, world: &mut World) {
        if let Some(pipe) = self.raw.pipe(world) {
            pipe.cut = true;
        }
        world.run();
    }

    fn ping(&mut self, world: &mut World) {
        self.tell(world, Ping { progress_age: 0 });
    }
}

fn unsync(world: &World, owner: usize, role_sequence: u32, sync_sequence: u64) -> Record {
    Record {
        role_sequence,
        owner: world.nodes[owner].id,
        sync_sequence,
        sync: Sync::Unsync,
        forced: false,
    }
}

fn sync(world: &World, owner: usize, role_sequence: u32, sync_sequence: u64) -> Record {
    Record {
        sync: Sync::Sync,
        ..unsync(world, owner, role_sequence, sync_sequence)
    }
}

fn hello(record: Record) -> SessionHello {
    SessionHello {
        guid: GUID,
        record,
        ask: 0,
        witness: InstanceId::default(),
        witness_role_sequence: 0,
        witness_sync_sequence: 0,
        witness_pending: false,
        end: LogEnd::START,
        wants_seed: false,
        credit: 0,
        properties: Default::default(),
        timelines: Timelines::EMPTY,
    }
}

fn register(world: &World, principal: usize, mirror: usize, request: u64, record: Record) -> Register {
    let key = |at: usize| world.nodes[at].book.key.public_point();
    Register {
        guid: GUID,
        request,
        record,
        principal: world.nodes[principal].id,
        principal_key: key(principal),
        mirror: world.nodes[mirror].id,
        mirror_key: key(mirror),
    }
}

const fn confirm(request: u64, record: Record) -> Confirm {
    Confirm {
        guid: GUID,
        request,
        answer: false,
        record,
    }
}

const fn ask(number: u32, record: Record, force: bool) -> Ask {
    Ask {
        guid: GUID,
        number,
        record,
        timeout: 10_000,
        force,
    }
}

const fn drop(request: u64, record: Record) -> DropMessage {
    DropMessage {
        guid: GUID,
        request,
        record,
    }
}

fn row(world: &World) -> Option<WitnessView> {
    world.nodes[W].endpoint.witnesses().find(|view| view.guid == GUID)
}

fn held(world: &World) -> Option<Record> {
    row(world).and_then(|view| view.record)
}

fn events(world: &World) -> Vec<WitnessEvent> {
    let told = |event: &Event| match event {
        Event::Witness { event, .. } => Some(*event),
        _ => None,
    };
    world.nodes[W].events.iter().filter_map(told).collect()
}

/// Both partners are bound to a witness that holds SYNC under (1, P, 2).
fn synchronized(reversed: bool) -> (World, Partner, Partner) {
    let mut world = World::new(4, reversed);
    let mut p = Partner::meet(&mut world, P);
    let mut m = Partner::meet(&mut world, M);
    let first = unsync(&world, P, 1, 1);
    assert_eq!(p.tell(&mut world, hello(first)), [Said::None]);
    assert_eq!(m.tell(&mut world, hello(first)), [Said::None]);
    let request = register(&world, P, M, 7, first);
    assert_eq!(
        p.tell(&mut world, request),
        [Said::Again(true), Said::Hello(first), Said::Confirm(7, first)]
    );
    assert_eq!(m.heard(&mut world), [Said::Again(true), Said::Hello(first)]);
    for partner in [&mut p, &mut m] {
        partner.tell(
            &mut world,
            HelloAgain {
                guid: GUID,
                answer: false,
            },
        );
        assert_eq!(
            partner.tell(&mut world, hello(first)),
            [],
            "an answer is not answered"
        );
    }
    let level = sync(&world, P, 1, 2);
    assert_eq!(p.tell(&mut world, confirm(0, level)), [Said::Confirm(0, level)]);
    assert_eq!(held(&world), Some(level));
    let view = row(&world).unwrap();
    assert!(view.principal.bound && view.mirror.bound && !view.storing);
    assert_eq!(view.principal.instance, world.nodes[P].id);
    assert_eq!(view.principal.login, Some(101));
    (world, p, m)
}

#[test]
fn a_mirror_that_lost_its_principal_takes_over_with_the_witness() {
    for reversed in [false, true] {
        let (mut world, mut p, mut m) = synchronized(reversed);
        let level = sync(&world, P, 1, 2);
        // Story: the principal is here; the witness says so.
        assert_eq!(m.tell(&mut world, ask(5, level, false)), [Said::Denial(5, level)]);
        p.cut(&mut world);
        let granted = unsync(&world, M, 2, 0);
        assert_eq!(
            m.tell(&mut world, ask(6, level, false)),
            [Said::Grant(6, granted)]
        );
        assert_eq!(held(&world), Some(granted));
        assert_eq!(row(&world).unwrap().principal.instance, m.id);
        // The old principal comes back, and is told at once who owns the role.
        let mut p = Partner::meet(&mut world, P);
        assert_eq!(p.heard(&mut world), [Said::Hello(granted)]);
        assert_eq!(
            p.tell(&mut world, hello(level)),
            [Said::Again(false), Said::Hello(granted)],
            "a lower role_sequence is answered"
        );
        let alone = unsync(&world, P, 1, 3);
        assert_eq!(
            p.tell(&mut world, confirm(3, alone)),
            [Said::Again(false), Said::Hello(granted)],
            "it cannot go on under the old number"
        );
        assert_eq!(held(&world), Some(granted));
        let told = events(&world);
        assert!(told.contains(&WitnessEvent::Denied {
            asker: m.id,
            force: false,
            owner_heard: true
        }));
        assert!(told.contains(&WitnessEvent::Granted {
            asker: m.id,
            forced: false
        }));
    }
}

#[test]
fn an_owner_that_is_silent_for_the_time_out_is_not_heard() {
    let (mut world, _p, mut m) = synchronized(false);
    let level = sync(&world, P, 1, 2);
    for _ in 0..9 {
        world.pass(Duration::from_secs(1));
        m.ping(&mut world);
    }
    assert_eq!(m.tell(&mut world, ask(5, level, false)), [Said::Denial(5, level)]);
    let patient = Ask {
        timeout: 8_000,
        ..ask(6, level, false)
    };
    let granted = unsync(&world, M, 2, 0);
    assert_eq!(m.tell(&mut world, patient), [Said::Grant(6, granted)]);
}

#[test]
fn nothing_is_said_before_it_is_durable_and_a_crash_forgets_only_that() {
    // Each step: who asks what, and what it leads to. The storage is slow; the witness dies before it, or after it.
    for step in 0..5 {
        for lost in [true, false] {
            let (mut world, mut p, mut m) = synchronized(false);
            let level = sync(&world, P, 1, 2);
            let (raised, granted) = (unsync(&world, P, 1, 3), unsync(&world, M, 2, 0));
            if step == 1 {
                p.cut(&mut world);
            }
            if step == 3 {
                // Something to register over: the witness forgot.
                world.with(W, |e, env| assert!(e.forget_witnessed(env, GUID)));
                world.run();
                assert!(world.nodes[W].witnessed.is_empty());
                p = Partner::meet(&mut world, P);
            }
            let before = world.nodes[W].witnessed.clone();
            world.nodes[W].prompt = false;
            let asked: (bool, Message<'static>) = match step {
                0 => (true, confirm(8, raised).into()),
                1 => (false, ask(8, level, false).into()),
                2 => (true, drop(8, raised).into()),
                3 => (true, register(&world, P, M, 8, raised).into()),
                _ => (
                    true,
                    Tombstone {
                        guid: GUID,
                        record: raised,
                    }
                    .into(),
                ),
            };
            let who = if asked.0 { &mut p } else { &mut m };
            who.raw.say(&mut world, &asked.1);
            assert_eq!(
                who.heard(&mut world),
                [],
                "step {step}: nothing before the storage"
            );
            assert_eq!(world.nodes[W].witnessed, before);
            assert_eq!(world.nodes[W].writing.len(), 1);
            if !lost {
                world.confirm_records(W);
            }
            // What it says now is lost on the way.
            world.crash(W, 0);
            world.nodes[W].prompt = true;
            world.restart(W);
            let mut p = Partner::meet(&mut world, P);
            let shown = p.tell(&mut world, hello(level));
            let expected: &[Said] = match (step, lost) {
                (0 | 2 | 4, true) | (1, true) => &[Said::Hello(level)],
                (0 | 3, false) => &[Said::Hello(raised)],
                (1, false) => &[Said::Hello(granted), Said::Again(false), Said::Hello(granted)],
                _ => &[Said::None],
            };
            assert_eq!(shown, expected, "step {step}, lost {lost}");
            if step == 1 {
                let mut m = Partner::meet(&mut world, M);
                m.tell(&mut world, hello(level));
                p.cut(&mut world);
                let again = m.tell(&mut world, ask(9, level, false));
                let answer = if lost {
                    Said::Grant(9, granted)
                } else {
                    // It was granted: the mirror has seen that in the hello.
                    Said::Denial(9, granted)
                };
                assert_eq!(again, [answer]);
            } else if step != 4 || lost {
                // Asked again, it comes to the same.
                let mut said = Vec::new();
                p.raw.say(&mut world, &asked.1);
                said.extend(p.heard(&mut world));
                let durable: &[Said] = match step {
                    0 | 2 => &[Said::Confirm(8, raised)],
                    3 => &[Said::Again(true), Said::Hello(raised), Said::Confirm(8, raised)],
                    _ => &[Said::None],
                };
                assert_eq!(said, durable, "step {step}, lost {lost}");
            }
        }
    }
}

#[test]
fn who_may_not_speak_changes_nothing() {
    let (mut world, p, _m) = synchronized(false);
    let before = (row(&world), world.nodes[W].witnessed.clone());
    let level = sync(&world, P, 1, 2);
    let high = unsync(&world, STRANGER, 900, 0);
    // Under its own id, and under the principal's.
    let stranger = world.nodes[STRANGER].id;
    for (claimed, n) in [(stranger, 1), (p.id, 2)] {
        let mut raw = Partner::claiming(&mut world, STRANGER, claimed, n);
        let mut owned = high;
        owned.owner = claimed;
        let messages: Vec<Message<'static>> = std::vec![
            hello(owned).into(),
            confirm(1, owned).into(),
            ask(1, level, false).into(),
            ask(2, owned, true).into(),
            drop(0, owned).into(),
            drop(3, owned).into(),
            Tombstone {
                guid: GUID,
                record: owned
            }
            .into(),
            register(&world, P, M, 4, level).into(),
            register(&world, STRANGER, M, 5, high).into(),
            Described {
                guid: GUID,
                role_sequence: 1,
                family: FamilyGuid([1; 16]),
                properties: Default::default(),
                name: Text::new("stolen").unwrap()
            }
            .into(),
        ];
        for message in messages {
            assert_eq!(
                raw.tell(&mut world, message),
                [Said::Refusal(message.kind(), 1402)],
                "{message:?}"
            );
        }
        assert_eq!((row(&world), world.nodes[W].witnessed.clone()), before);
    }
    let strangers = events(&world)
        .iter()
        .filter(|event| matches!(event, WitnessEvent::Stranger { login: 103, .. }))
        .count();
    assert_eq!(strangers, 2, "one event for each, however much they say");
}

#[test]
fn what_only_partners_say_to_each_other_is_refused() {
    let (mut world, mut p, mut m) = synchronized(false);
    let before = row(&world);
    for message in Message::KINDS
        .iter()
        .filter(|kind| **kind == 0x0020 || **kind == 0x0030)
    {
        let sent: Message<'static> = match message {
            0x0030 => crate::message::codec::SeedRequest {
                guid: GUID,
                role_sequence: 1,
            }
            .into(),
            _ => crate::message::codec::Block {
                guid: GUID,
                role_sequence: 1,
                position: Default::default(),
                decided: Default::default(),
                total: 1,
                offset: 0,
                bytes: b"A",
            }
            .into(),
        };
        assert_eq!(p.tell(&mut world, sent), [Said::Refusal(*message, 1402)]);
        assert_eq!(m.tell(&mut world, sent), [Said::Refusal(*message, 1402)]);
    }
    assert_eq!(row(&world), before);
}

#[test]
fn a_registration_has_to_be_ones_own_and_by_three_instances() {
    let mut world = World::new(4, false);
    let mut p = Partner::meet(&mut world, P);
    let record = unsync(&world, P, 1, 1);
    p.tell(&mut world, hello(record));
    let right = register(&world, P, M, 1, record);
    let own_key = world.nodes[W].book.key.public_point();
    let kind = Register::KIND;
    let wrong = [
        (register(&world, M, P, 1, unsync(&world, M, 1, 1)), 1402),
        (
            Register {
                principal_key: own_key,
                ..right
            },
            1402,
        ),
        (register(&world, P, W, 1, record), 1429),
        (register(&world, P, P, 1, record), 1429),
        (
            Register {
                mirror_key: own_key,
                ..right
            },
            1429,
        ),
        (
            Register {
                mirror_key: right.principal_key,
                ..right
            },
            1429,
        ),
        // SYNC, and another's role, are nothing to begin with.
        (register(&world, P, M, 1, sync(&world, P, 1, 1)), 1428),
        (register(&world, P, M, 1, unsync(&world, M, 1, 1)), 1428),
    ];
    for (message, number) in wrong {
        assert_eq!(
            p.tell(&mut world, message),
            [Said::Refusal(kind, number)],
            "{message:?}"
        );
    }
    assert!(row(&world).is_none() && world.nodes[W].witnessed.is_empty());
    assert_eq!(p.tell(&mut world, right).len(), 3);
    assert_eq!(held(&world), Some(record));
}

#[test]
fn a_witness_that_keeps_nothing_grants_and_confirms_nothing() {
    let mut world = World::new(4, false);
    let mut m = Partner::meet(&mut world, M);
    let level = sync(&world, P, 1, 2);
    assert_eq!(m.tell(&mut world, hello(level)), [Said::None]);
    assert_eq!(
        m.tell(&mut world, ask(3, level, false)),
        [Said::Denial(3, Record::default())]
    );
    assert_eq!(
        m.tell(&mut world, ask(4, level, true)),
        [Said::Denial(4, Record::default())]
    );
    assert_eq!(m.tell(&mut world, confirm(5, level)), [Said::None]);
    assert_eq!(
        m.tell(&mut world, drop(6, level)),
        [Said::Refusal(DropMessage::KIND, 1431)]
    );
    assert!(world.nodes[W].witnessed.is_empty());
}

#[test]
fn forced_service_is_refused_while_the_other_partner_is_here() {
    let (mut world, mut p, mut m) = synchronized(false);
    // The principal went on alone: the records are not equal any more.
    let alone = unsync(&world, P, 1, 3);
    let level = sync(&world, P, 1, 2);
    assert_eq!(p.tell(&mut world, confirm(0, alone)), [Said::Confirm(0, alone)]);
    assert_eq!(m.tell(&mut world, ask(4, level, true)), [Said::Denial(4, alone)]);
    p.cut(&mut world);
    assert_eq!(
        m.tell(&mut world, ask(5, level, false)),
        [Said::Denial(5, alone)],
        "no take-over of what may have gone on alone"
    );
    let forced = Record {
        forced: true,
        ..unsync(&world, M, 2, 0)
    };
    assert_eq!(m.tell(&mut world, ask(6, level, true)), [Said::Grant(6, forced)]);
    assert_eq!(m.tell(&mut world, ask(7, level, true)), [Said::Denial(7, forced)]);
}

#[test]
fn witness_off_without_the_mirror_leaves_a_mark_that_answers_again() {
    let (mut world, mut p, mut m) = synchronized(false);
    let (level, off) = (sync(&world, P, 1, 2), unsync(&world, P, 1, 3));
    m.cut(&mut world);
    assert_eq!(p.tell(&mut world, drop(8, off)), [Said::Confirm(8, off)]);
    assert_eq!(held(&world), None);
    assert_eq!(p.tell(&mut world, drop(8, off)), [Said::Confirm(8, off)]);
    // Across a restart too, and not for the mirror.
    world.crash(W, 0);
    world.restart(W);
    let mut p = Partner::meet(&mut world, P);
    let mut m = Partner::meet(&mut world, M);
    assert_eq!(p.tell(&mut world, hello(off)), [Said::None]);
    assert_eq!(m.tell(&mut world, hello(level)), [Said::None]);
    assert_eq!(
        m.tell(&mut world, ask(4, level, false)),
        [Said::Denial(4, Record::default())]
    );
    assert_eq!(
        m.tell(&mut world, drop(5, level)),
        [Said::Refusal(DropMessage::KIND, 1431)]
    );
    assert_eq!(p.tell(&mut world, confirm(6, off)), [Said::None]);
    assert_eq!(p.tell(&mut world, drop(9, off)), [Said::Confirm(9, off)]);
    // A registration takes the mark's place.
    let message = register(&world, P, M, 10, off);
    assert_eq!(
        p.tell(&mut world, message),
        [Said::Again(true), Said::Hello(off), Said::Confirm(10, off)]
    );
    assert_eq!(m.heard(&mut world), [Said::Again(true), Said::Hello(off)]);
}

#[test]
fn the_end_is_the_owners_word_or_that_of_both() {
    // F26: the mirror's OFF takes nothing from the principal.
    let (mut world, mut p, mut m) = synchronized(false);
    let level = sync(&world, P, 1, 2);
    let over = |record| Tombstone { guid: GUID, record };
    assert_eq!(
        m.tell(&mut world, over(level)),
        [Said::Again(false), Said::Hello(level)]
    );
    assert_eq!(held(&world), Some(level));
    assert_eq!(p.tell(&mut world, over(level)), [Said::None]);
    assert!(row(&world).is_none() && world.nodes[W].witnessed.is_empty());
    // Once more: the answer was lost.
    assert_eq!(p.tell(&mut world, over(level)), [Said::None]);

    // A grant that nobody heard of: both have ended under the old number.
    let (mut world, mut p, mut m) = synchronized(false);
    p.cut(&mut world);
    m.tell(&mut world, ask(4, level, false));
    let granted = unsync(&world, M, 2, 0);
    assert_eq!(
        m.tell(&mut world, over(level)),
        [Said::Again(false), Said::Hello(granted)]
    );
    let mut p = Partner::meet(&mut world, P);
    p.heard(&mut world);
    assert_eq!(p.tell(&mut world, over(level)), [Said::None]);
    assert!(row(&world).is_none());

    // DROP without a number: both go on without this witness.
    let (mut world, mut p, mut m) = synchronized(false);
    assert_eq!(
        m.tell(&mut world, drop(0, level)),
        [Said::Again(false), Said::Hello(level)]
    );
    let last = unsync(&world, P, 1, 4);
    assert_eq!(p.tell(&mut world, drop(0, last)), []);
    assert!(world.nodes[W].witnessed.is_empty());
}

#[test]
fn what_comes_over_an_older_connection_is_dropped() {
    // F1: SYNC is under way on a connection that is not used any more.
    for reversed in [false, true] {
        let (mut world, mut p, mut m) = synchronized(reversed);
        let later = unsync(&world, P, 1, 3);
        let id = p.id;
        let mut newer = Partner::claiming(&mut world, P, id, 1_000_000);
        newer.tell(&mut world, hello(later));
        assert_eq!(held(&world), Some(later));
        let stale = sync(&world, P, 1, 4);
        assert_eq!(p.tell(&mut world, confirm(9, stale)), []);
        assert_eq!(held(&world), Some(later));
        newer.cut(&mut world);
        assert_eq!(m.tell(&mut world, ask(5, stale, false)), [Said::Denial(5, later)]);
    }
}

#[test]
fn a_full_table_says_so_and_dropped_sessions_make_room() {
    let mut world = World::new(4, false);
    let mut p = Partner::meet(&mut world, P);
    let record = unsync(&world, P, 1, 1);
    let guid = |n: u8| SessionGuid([n; 16]);
    let registration = |world: &World, n: u8| Register {
        guid: guid(n),
        ..register(world, P, M, u64::from(n), record)
    };
    for n in 1..=4 {
        p.tell(
            &mut world,
            SessionHello {
                guid: guid(n),
                ..hello(record)
            },
        );
        let message = registration(&world, n);
        assert!(
            p.tell(&mut world, message)
                .contains(&Said::Confirm(n.into(), record))
        );
    }
    let fifth = registration(&world, 5);
    assert_eq!(p.tell(&mut world, fifth), [Said::Refusal(Register::KIND, 1427)]);
    assert!(events(&world).contains(&WitnessEvent::Refused {
        owner: p.id,
        error: SessionError::new(1427, Reason::NoRoom)
    }));
    assert_eq!(world.nodes[W].witnessed.len(), 4);
    let off = DropMessage {
        guid: guid(2),
        ..drop(20, record)
    };
    assert_eq!(p.tell(&mut world, off), [Said::Confirm(20, record)]);
    assert!(p.tell(&mut world, fifth).contains(&Said::Confirm(5, record)));
    let kept: Vec<_> = world.nodes[W].witnessed.keys().copied().collect();
    assert_eq!(
        kept,
        [guid(1), guid(3), guid(4), guid(5)],
        "one write took the other's place"
    );
    world.crash(W, 0);
    world.restart(W);
    assert_eq!(world.nodes[W].endpoint.witnesses().count(), 4);
}

#[test]
fn a_role_is_what_the_endpoint_says() {
    let mut world = World::new(4, false);
    world.with(W, |e, _| e.set_role(Role::Partner));
    let mut p = Partner::meet(&mut world, P);
    let record = unsync(&world, P, 1, 1);
    assert_eq!(p.tell(&mut world, hello(record)), [Said::None]);
    for message in [
        Message::from(register(&world, P, M, 1, record)),
        ask(1, record, false).into(),
        confirm(2, record).into(),
        drop(3, record).into(),
    ] {
        assert_eq!(p.tell(&mut world, message), [Said::Refusal(message.kind(), 1427)]);
    }
    assert!(world.nodes[W].witnessed.is_empty());

    // A witness is no partner: neither by its operator's word nor by a principal's.
    let mut world = World::new(2, false);
    world.with(1, |e, _| e.set_role(Role::Witness));
    let refused = world.with(1, |e, env| {
        e.wait_as_mirror(
            env,
            &WaitAsMirror {
                database: super::world::DB,
                name: Text::new("sales").unwrap(),
                partner: super::world::address(0),
                copy: None,
            },
        )
    });
    assert_eq!(refused, Err(SessionError::new(1486, Reason::EndpointRole)));
    world.create(0);
    world.start(0, 1);
    world.pass(Duration::from_secs(2));
    assert!(
        world.session_events(0).iter().any(|event| matches!(
            event,
            crate::session::SessionEvent::StartFailed(error) if error.number == 1486
        )),
        "{:?}",
        world.session_events(0)
    );
}

#[test]
fn what_is_described_is_shown_and_survives() {
    let (mut world, mut p, mut m) = synchronized(false);
    assert_eq!(row(&world).unwrap().properties, None);
    let described = Described {
        guid: GUID,
        role_sequence: 1,
        family: FamilyGuid([4; 16]),
        properties: Default::default(),
        name: Text::new("sales").unwrap(),
    };
    assert_eq!(
        m.tell(
            &mut world,
            Described {
                name: Text::new("other").unwrap(),
                ..described
            }
        ),
        []
    );
    assert!(row(&world).unwrap().name.is_empty(), "the owner tells it");
    p.tell(&mut world, described);
    world.crash(W, 0);
    world.restart(W);
    let view = row(&world).unwrap();
    assert_eq!(view.name.as_str(), "sales");
    assert_eq!(view.family, Some(FamilyGuid([4; 16])));
    assert_eq!(view.properties, Some(Default::default()));
    assert_eq!(view.record, Some(sync(&world, P, 1, 2)));
    assert_eq!(view.principal.name.as_str(), "STRANGER", "as it calls itself");
    assert!(!view.principal.bound);
}

#[test]
fn a_partner_may_come_with_another_certificate_of_its_login() {
    let (mut world, mut p, mut m) = synchronized(false);
    p.cut(&mut world);
    m.cut(&mut world);
    // Node 3's certificate is a second one of node 1's login.
    for pin in &mut world.nodes[W].book.pins {
        if pin.2 == 103 {
            pin.2 = 101;
        }
    }
    let id = p.id;
    let mut renewed = Partner::claiming(&mut world, STRANGER, id, 1_000_000);
    let level = sync(&world, P, 1, 2);
    assert_eq!(renewed.heard(&mut world), [Said::Hello(level)]);
    renewed.tell(&mut world, hello(level));
    let next = unsync(&world, P, 1, 3);
    assert_eq!(
        renewed.tell(&mut world, confirm(1, next)),
        [Said::Confirm(1, next)]
    );
}

#[test]
fn an_operator_may_have_it_forget_and_the_owner_registers_again() {
    let (mut world, mut p, m) = synchronized(false);
    world.with(W, |e, env| assert!(e.forget_witnessed(env, GUID)));
    world.run();
    assert!(world.nodes[W].witnessed.is_empty());
    world.with(W, |e, env| assert!(!e.forget_witnessed(env, GUID)));
    // As after a loss of its storage it is dialled anew.
    assert!(!p.raw.stands(&world) && !m.raw.stands(&world));
    p = Partner::meet(&mut world, P);
    let record = unsync(&world, P, 1, 3);
    assert_eq!(p.tell(&mut world, hello(record)), [Said::None]);
    let message = register(&world, P, M, 2, record);
    assert_eq!(
        p.tell(&mut world, message),
        [Said::Again(true), Said::Hello(record), Said::Confirm(2, record)]
    );
}

#[test]
fn a_connection_lives_as_long_as_its_sessions_want_it() {
    let (mut world, mut p, _m) = synchronized(false);
    for _ in 0..30 {
        world.pass(Duration::from_secs(1));
        p.ping(&mut world);
    }
    assert!(p.raw.stands(&world), "a bound session keeps it");
    world.pass(Duration::from_secs(12));
    assert!(!p.raw.stands(&world), "who is silent is closed");
    assert!(!row(&world).unwrap().principal.bound);
    // Who has only asked may register later.
    let mut world = World::new(4, false);
    let mut p = Partner::meet(&mut world, P);
    let record = unsync(&world, P, 1, 1);
    p.tell(&mut world, hello(record));
    for _ in 0..15 {
        world.pass(Duration::from_secs(1));
        p.ping(&mut world);
    }
    assert!(p.raw.stands(&world));
}

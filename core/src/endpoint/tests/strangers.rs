//! Peers that have CONNECT and say what is not theirs to say.

use std::collections::VecDeque;
use std::vec::Vec;

use super::world::{DB, Dice, Pipe, RAW, World};
use crate::channel::{self, Channel, ClientOptions, HEAD_ROOM, Protocol, TAIL_ROOM};
use crate::crypto::rustcrypto::RustCrypto;
use crate::endpoint::{ALPN, CloseReason, ConnectionEvent, ConnectionId, Event, Source, Step};
use crate::message::codec::{
    Ack, Ask, Block, Confirm, Grant, Hello, Message, None as NoSession, Propose, SeedRequest, SessionHello,
    SetProperties, Tombstone, Use,
};
use crate::message::{InstanceId, LogEnd, Position, Record, SessionGuid, Text, Timelines, UseNumber};
use crate::session::SessionEvent;
use crate::time::{Duration, UnixSeconds};
use crate::wire::{Reader, Writer};

/// A client of our own making: one node's certificate, any message.
pub struct Raw {
    pub channel: Channel<RustCrypto>,
    id: ConnectionId,
    /// Whose certificate it shows.
    who: usize,
    arrived: Vec<u8>,
    /// What was said to it, as it came.
    pub heard: Vec<Vec<u8>>,
    dice: Dice,
}

impl Raw {
    /// With node 2's certificate.
    pub fn dial(world: &mut World, to: usize) -> Self {
        Self::dial_as(world, to, 2)
    }

    pub fn dial_as(world: &mut World, to: usize, who: usize) -> Self {
        let id = world.with(to, |e, env| e.accept(env, Source(7))).unwrap();
        world.pipes.push(Pipe {
            ends: [(RAW, id), (to, id)],
            flying: [VecDeque::new(), VecDeque::new()],
            arrived: Default::default(),
            closed: [false; 2],
            eof_given: [false; 2],
            cut: false,
            frozen: false,
        });
        let mut raw = Self {
            channel: Channel::client(ClientOptions::default()),
            id,
            who,
            arrived: Vec::new(),
            heard: Vec::new(),
            dice: Dice(99),
        };
        raw.pump(world);
        assert!(raw.channel.established().is_some());
        raw
    }

    pub fn pipe<'w>(&self, world: &'w mut World) -> Option<&'w mut Pipe> {
        // The newest: after a restart ids are given again.
        world
            .pipes
            .iter_mut()
            .rev()
            .find(|pipe| pipe.ends[0] == (RAW, self.id))
    }

    /// Whether the other side has not closed.
    pub fn stands(&self, world: &World) -> bool {
        world
            .pipes
            .iter()
            .any(|pipe| pipe.ends[0] == (RAW, self.id) && !pipe.closed[1] && !pipe.cut)
    }

    pub fn pump(&mut self, world: &mut World) {
        for _ in 0..50 {
            world.run();
            while let Some(bytes) = self.pipe(world).and_then(|pipe| pipe.flying[1].pop_front()) {
                self.arrived.extend(bytes);
            }
            let mut say = Vec::new();
            let book = &world.nodes[self.who].book;
            let protocols = [Protocol {
                alpn: ALPN,
                verifier: book,
            }];
            let mut env = channel::Env {
                now: UnixSeconds(1_700_000_000),
                entropy: &mut self.dice,
                identity: crate::endpoint::Directory::identity(book).unwrap(),
                protocols: &protocols,
            };
            while self.channel.wants_write() {
                let mut buf = std::vec![0; 4096];
                let len = self.channel.write(&mut env, &mut buf).unwrap();
                buf.truncate(len);
                say.push(buf);
            }
            while !self.arrived.is_empty() && !self.channel.wants_write() {
                let Ok(step) = self.channel.read(&mut env, &mut self.arrived) else {
                    return;
                };
                if let channel::Event::Data(plain) = step.event {
                    self.heard.push(plain.to_vec());
                }
                let consumed = step.consumed;
                if consumed == 0 {
                    break;
                }
                self.arrived.drain(..consumed);
            }
            if let Some(pipe) = self.pipe(world) {
                pipe.flying[0].extend(say);
            }
        }
    }

    pub fn say(&mut self, world: &mut World, message: &Message<'_>) {
        let mut buf = std::vec![0; 8192];
        let len = {
            let mut to = Writer::new(&mut buf[HEAD_ROOM..8192 - TAIL_ROOM]);
            message.encode(&mut to).unwrap();
            to.len()
        };
        self.say_bytes(world, buf, len);
    }

    pub fn say_bytes(&mut self, world: &mut World, mut buf: Vec<u8>, len: usize) {
        let Ok(sealed) = self.channel.seal(&mut buf, len) else {
            return; // The other side has closed.
        };
        buf.truncate(sealed);
        if let Some(pipe) = self.pipe(world) {
            pipe.flying[0].push_back(buf);
        }
        self.pump(world);
    }

    pub fn hello(&mut self, world: &mut World, instance: InstanceId) {
        self.hello_that_can(world, instance, 0);
    }

    pub fn hello_that_can(&mut self, world: &mut World, instance: InstanceId, capabilities: u64) {
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            capabilities,
            instance,
            boot: 1,
            probe: false,
            name: Text::new("STRANGER").unwrap(),
        };
        self.say(world, &hello.into());
    }

    /// The numbers of all refusals heard so far.
    pub fn refusals(&self) -> Vec<(u16, u32)> {
        let mut out = Vec::new();
        for record in &self.heard {
            let mut from = Reader::new(record);
            while !from.is_empty() {
                if let Ok(Some(Message::Refusal(refusal))) = Message::decode(&mut from) {
                    out.push((refusal.kind, refusal.number));
                }
            }
        }
        out
    }
}

fn all_claims(guid: SessionGuid, claimed: InstanceId) -> Vec<Message<'static>> {
    let record = Record {
        role_sequence: 900,
        ..Record::first(claimed)
    };
    let position = Position {
        timeline: 2,
        sequence: 4,
    };
    std::vec![
        SeedRequest {
            guid,
            role_sequence: 1
        }
        .into(),
        Block {
            guid,
            role_sequence: 1,
            position,
            decided: position,
            total: 8,
            offset: 0,
            bytes: b"ABCDEFGH"
        }
        .into(),
        Ack {
            guid,
            role_sequence: 1,
            position,
            chain_prefix: 0
        }
        .into(),
        Propose {
            guid,
            record,
            end: LogEnd::START
        }
        .into(),
        Grant { guid, ask: 1, record }.into(),
        Ask {
            guid,
            number: 2,
            record,
            timeout: 10,
            force: true
        }
        .into(),
        Confirm {
            guid,
            request: 0,
            answer: false,
            record
        }
        .into(),
        Tombstone { guid, record }.into(),
        NoSession { guid }.into(),
        SetProperties {
            guid,
            role_sequence: 1,
            properties: Default::default()
        }
        .into(),
        SessionHello {
            guid,
            record,
            ask: 0,
            witness: InstanceId::default(),
            witness_role_sequence: 0,
            witness_sync_sequence: 0,
            witness_pending: false,
            end: LogEnd::START,
            wants_seed: true,
            credit: 1 << 20,
            properties: Default::default(),
            timelines: Timelines::EMPTY,
        }
        .into(),
    ]
}

#[test]
fn who_is_not_the_partner_is_refused_and_changes_nothing() {
    for victim in 0..2 {
        let mut world = World::new(3, false);
        world.create(0);
        world.wait_for_seed(1, 0);
        world.start(0, 1);
        world.commit(0, 11, 100);
        world.pass(Duration::from_secs(3));
        world.assert_level(0, 1);
        let guid = world.view(0).unwrap().guid.unwrap();
        let before = (world.view(victim), world.nodes[victim].records.clone());
        let writes = world.nodes[victim].disk.writes;
        let content = world.content(victim);
        // It even claims to be the partner's instance.
        let partner = world.nodes[1 - victim].id;
        let mut raw = Raw::dial(&mut world, victim);
        raw.hello(&mut world, partner);
        for message in all_claims(guid, partner) {
            let told = raw.refusals().len();
            raw.say(&mut world, &message);
            assert_eq!(
                raw.refusals().get(told),
                Some(&(message.kind(), 1402)),
                "{message:?} to {victim}"
            );
        }
        let strangers = world
            .session_events(victim)
            .iter()
            .filter(|e| matches!(e, SessionEvent::Stranger { login: 102, .. }))
            .count();
        assert_eq!(strangers, 11);
        assert_eq!((world.view(victim), world.nodes[victim].records.clone()), before);
        assert_eq!(world.nodes[victim].disk.writes, writes);
        assert_eq!(world.content(victim), content);
        world.commit(0, 12, 100);
        world.pass(Duration::from_secs(1));
        world.assert_level(0, 1);
    }
}

#[test]
fn an_unknown_session_is_refused_or_not_held() {
    let mut world = World::new(3, false);
    let mut raw = Raw::dial(&mut world, 0);
    raw.hello(&mut world, InstanceId([3; 16]));
    let guid = SessionGuid([1; 16]);
    raw.say(
        &mut world,
        &SeedRequest {
            guid,
            role_sequence: 1,
        }
        .into(),
    );
    assert_eq!(raw.refusals(), [(SeedRequest::KIND, 1402)]);
    assert!(world.nodes[0].events.iter().any(|e| matches!(
        e,
        Event::Refused {
            login: 102,
            kind: SeedRequest::KIND,
            ..
        }
    )));
}

#[test]
fn a_use_from_the_higher_instance_ends_the_connection() {
    let mut world = World::new(3, false);
    let mut raw = Raw::dial(&mut world, 0);
    raw.hello(&mut world, InstanceId([3; 16]));
    raw.say(
        &mut world,
        &Use {
            number: UseNumber { boot: 1, n: 9 },
        }
        .into(),
    );
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
}

#[test]
fn a_stranger_cannot_start_a_session() {
    let mut world = World::new(3, false);
    world.create(0);
    world.wait_for_seed(1, 0);
    // Node 2 tries to become the principal of what waits for node 0.
    world.create(2);
    world.start(2, 1);
    world.pass(Duration::from_secs(2));
    let failed = world.session_events(2);
    assert!(
        failed
            .iter()
            .any(|e| matches!(e, SessionEvent::StartFailed(error) if error.number == 1402)),
        "{failed:?}"
    );
    assert!(world.view(2).is_none());
    assert!(world.view(1).unwrap().guid.is_none(), "still waits");
    world.start(0, 1);
    world.pass(Duration::from_secs(2));
    world.assert_level(0, 1);
}

#[test]
fn own_instance_id_from_somebody_else_is_refused() {
    let mut world = World::new(3, false);
    let mut raw = Raw::dial(&mut world, 0);
    let own = world.nodes[0].id;
    raw.hello(&mut world, own);
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
}

#[test]
fn an_authenticated_peer_that_says_nothing_is_listed_and_closed() {
    let mut world = World::new(3, false);
    let _raw = Raw::dial(&mut world, 0);
    world.pass(Duration::from_secs(9));
    let view = world.nodes[0].endpoint.connections().next().unwrap();
    assert_eq!(view.state.code(), 4);
    assert_eq!(view.login_state.code(), 12);
    assert_eq!((view.login, view.certificate), (Some(102), Some(202)));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    let closed = world.nodes[0].events.iter().any(|event| {
        matches!(
            event,
            Event::Connection {
                event: ConnectionEvent::Closed {
                    step: Step::Hello,
                    reason: CloseReason::Idle
                },
                ..
            }
        )
    });
    assert!(closed);
}

#[test]
fn any_bytes_in_an_authenticated_record_are_survived() {
    let mut dice = Dice(4);
    for round in 0..40 {
        let mut world = World::new(3, false);
        let mut raw = Raw::dial(&mut world, 0);
        if round % 2 == 0 {
            raw.hello(&mut world, InstanceId([3; 16]));
        }
        let len = dice.below(300) as usize + 1;
        let mut buf = std::vec![0; 8192];
        for byte in &mut buf[HEAD_ROOM..HEAD_ROOM + len] {
            *byte = if dice.below(3) == 0 { 0 } else { dice.next() as u8 };
        }
        raw.say_bytes(&mut world, buf, len);
        assert!(world.view(0).is_none());
        let _ = DB;
    }
}

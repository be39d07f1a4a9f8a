//! What a partner does about each event in each of its states: printed, and kept as a snapshot (`table.txt`). A new hole or arrow shows in
//! review. To accept a change: `DBMIRROR_ACCEPT=1 cargo test -p dbmirror-core what_each_state`.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, println};

use super::super::binding::{Binding, Heard};
use super::super::machine::{Ctx, Session, Side};
use super::super::storage::{
    BlockChunk, BlockRead, DatabaseId, FoundLog, SeedInfo, SeedOpen, SeedRead, Storage, StorageError,
};
use super::super::stored::{Stored, StoredPhase};
use super::super::tie::Part;
use super::super::view::Role;
use super::super::{Safety, SessionEvent};
use crate::message::codec::{Confirm, Denial, Grant, Properties, Propose, SessionHello, Tombstone};
use crate::message::{
    Chain, DatabaseSum, FamilyGuid, ForkId, InstanceId, LogEnd, Position, Record, SessionGuid, Sync, Text,
    Timeline, Timelines,
};
use crate::time::{Duration, Instant};

pub(super) const ME: InstanceId = InstanceId([1; 16]);
pub(super) const THEM: InstanceId = InstanceId([2; 16]);
pub(super) const WITNESS: InstanceId = InstanceId([3; 16]);
pub(super) const NOW: Instant = Instant::from_micros(1_000_000_000);
pub(super) const END: u64 = 7;

/// A storage that holds what it is asked for and keeps nothing; what it gives when it is read can be chosen.
pub(super) struct Still {
    pub(super) block: Result<BlockRead, StorageError>,
    pub(super) seed_open: SeedOpen,
    pub(super) seed: SeedRead,
}

impl Default for Still {
    fn default() -> Self {
        Self {
            block: Err(StorageError::Gone),
            seed_open: SeedOpen::Pending,
            seed: SeedRead::Pending,
        }
    }
}

impl Storage for Still {
    fn chain_at(&mut self, _: DatabaseId, _: Position) -> Result<Option<Chain>, StorageError> {
        Ok(Some(Chain([7; 16])))
    }
    fn read_block(
        &mut self,
        _: DatabaseId,
        _: Position,
        _: u32,
        _: &mut [u8],
    ) -> Result<BlockRead, StorageError> {
        self.block
    }
    fn write_block(&mut self, _: DatabaseId, _: BlockChunk, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }
    fn adopt_block(&mut self, _: DatabaseId, _: BlockChunk, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }
    fn decided(&mut self, _: DatabaseId, _: Position) {}
    fn seed_open(&mut self, _: DatabaseId) -> Result<SeedOpen, StorageError> {
        Ok(self.seed_open)
    }
    fn seed_read(&mut self, _: DatabaseId, _: u64, _: &mut [u8]) -> Result<SeedRead, StorageError> {
        Ok(self.seed)
    }
    fn seed_close(&mut self, _: DatabaseId) {}
    fn seed_begin(&mut self, _: DatabaseId, _: SeedInfo) -> Result<(), StorageError> {
        Ok(())
    }
    fn seed_write(&mut self, _: DatabaseId, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }
    fn seed_finish(&mut self, _: DatabaseId, _: SeedInfo, _: DatabaseSum) -> Result<(), StorageError> {
        Ok(())
    }
    fn seed_abort(&mut self, _: DatabaseId) {}
    fn ended(&mut self, _: SessionGuid, _: &mut [u8]) -> Option<usize> {
        None
    }
    fn progress_age(&mut self) -> Duration {
        Duration::ZERO
    }
}

pub(super) fn record(role_sequence: u32, owner: InstanceId, sync_sequence: u64, sync: Sync) -> Record {
    Record {
        role_sequence,
        owner,
        sync_sequence,
        sync,
        forced: false,
    }
}

fn found() -> FoundLog {
    FoundLog {
        end: log_end(),
        lost: false,
    }
}

pub(super) fn log_end() -> LogEnd {
    LogEnd {
        position: Position {
            timeline: 1,
            sequence: END,
        },
        chain: Chain([7; 16]),
    }
}

pub(super) fn timelines() -> Timelines {
    Timelines::new(&[Timeline {
        number: 1,
        fork: ForkId(9),
        first: 1,
        chain_before: Chain::START,
    }])
    .unwrap()
}

fn stored(record: Record, witness: bool) -> Stored {
    Stored {
        database: DatabaseId(5),
        phase: StoredPhase::Established,
        role: if record.owner == ME {
            Role::Principal
        } else {
            Role::Mirror
        },
        guid: SessionGuid([9; 16]),
        family: FamilyGuid([8; 16]),
        record,
        ask: 0,
        ask_open: false,
        ask_force: false,
        incomplete: false,
        wants_seed: false,
        touched: true,
        partner_login: 100,
        partner_instance: THEM,
        witness: if witness { WITNESS } else { InstanceId::default() },
        witness_role_sequence: 1,
        witness_sync_sequence: 0,
        witness_pending: false,
        witness_address: if witness {
            Text::new("TCP://w:1").unwrap()
        } else {
            Text::EMPTY
        },
        witness_login: if witness { 101 } else { 0 },
        failover: Position::START,
        clash: false,
        properties: Properties::default(),
        timelines: timelines(),
        partner: Text::new("TCP://m:1").unwrap(),
        name: Text::new("x").unwrap(),
    }
}

pub(super) fn with<R>(
    session: &mut Session,
    step: impl FnOnce(&mut Session, &mut Ctx<'_>) -> R,
) -> (R, Vec<SessionEvent>) {
    with_storage(&mut Still::default(), session, step)
}

pub(super) fn with_storage<R>(
    storage: &mut Still,
    session: &mut Session,
    step: impl FnOnce(&mut Session, &mut Ctx<'_>) -> R,
) -> (R, Vec<SessionEvent>) {
    let mut events = Vec::new();
    let mut told = |event| events.push(event);
    let mut ctx = Ctx {
        now: NOW,
        own: ME,
        credit: 1_000,
        storage,
        events: &mut told,
    };
    let result = step(session, &mut ctx);
    session.drive(&mut ctx);
    session.show(&mut ctx);
    (result, events)
}

pub(super) fn hello(session: &Session, record: Record, ask: u32) -> SessionHello {
    SessionHello {
        guid: SessionGuid([9; 16]),
        record,
        ask,
        witness: session.kept.get().witness,
        witness_role_sequence: 1,
        witness_sync_sequence: 0,
        witness_pending: false,
        end: log_end(),
        wants_seed: false,
        credit: 1_000,
        properties: Properties::default(),
        timelines: timelines(),
    }
}

/// Binds the session to partner and witness, both of which show its own record.
fn bind(session: &mut Session, partner: bool, witness: bool) {
    let own = session.record();
    session.q.lost_at = Some(Instant::ZERO);
    if partner {
        session.q.lost_at = None;
        session.binding = Some(Binding {
            link: 1,
            hello_sent: true,
            heard: Some(Heard {
                record: own,
                end: log_end(),
                wants_seed: false,
                ask: 0,
                timelines: timelines(),
            }),
            joined: true,
            said_role: own.role_sequence,
            again: None,
        });
        session.q.mirror_names = Some(session.names());
        session.q.by_mirror = own.owner == ME;
    }
    if witness {
        session.tie.link = Some(2);
        session.tie.hello_sent = true;
        session.tie.heard = Some(Some(own));
        session.tie.described = Some(Properties::default());
        session.q.by_witness = own.owner == ME;
    }
}

fn principal(sync: Sync, partner: bool, witness: Option<bool>) -> Session {
    let own = record(4, ME, 2, sync);
    let mut session = Session::restore(ME, stored(own, witness.is_some()), found(), NOW);
    bind(&mut session, partner, witness == Some(true));
    session.q.serves = true;
    session.q.acknowledged = log_end().position;
    if let Side::Principal(side) = &mut session.side {
        side.settled = true;
        side.streaming = partner;
        side.compared = partner;
        side.acked = log_end().position;
        side.synced = partner;
    }
    session
}

fn mirror(sync: Sync, partner: bool, witness: Option<bool>) -> Session {
    let own = record(4, THEM, 2, sync);
    let mut session = Session::restore(ME, stored(own, witness.is_some()), found(), NOW);
    session.q.may_take_over = sync == Sync::Sync;
    session.q.ask_after = NOW.after(Duration::from_secs(1));
    bind(&mut session, partner, witness == Some(true));
    session
}

/// Makes the state, by its name.
pub(super) fn state(name: &str) -> Session {
    let mut session = match name {
        "P synchronized, witness" => principal(Sync::Sync, true, Some(true)),
        "P synchronized, no witness" => principal(Sync::Sync, true, None),
        "P synchronized, witness away" => principal(Sync::Sync, true, Some(false)),
        "P exposed, witness" => principal(Sync::Unsync, false, Some(true)),
        "P alone, no witness" => principal(Sync::Unsync, false, None),
        "P without quorum" => principal(Sync::Sync, false, Some(false)),
        "P failing over" => {
            let mut session = principal(Sync::Sync, true, Some(true));
            with(&mut session, |s, ctx| s.failover(ctx)).0.unwrap();
            session
        }
        "P restarted" => {
            let mut session = principal(Sync::Sync, false, Some(false));
            session.q = super::super::quorum::Quorum {
                lost_at: Some(NOW.after(Duration::from_secs(1))),
                ..Default::default()
            };
            session
        }
        "P clash" => {
            let mut session = principal(Sync::Unsync, false, None);
            let theirs = hello(&session, record(4, THEM, 0, Sync::Unsync), 0);
            with(&mut session, |s, ctx| {
                s.rebind(ctx, Some(1));
                s.heard_hello(ctx, 1, &theirs);
            });
            session
        }
        "M synchronized, witness" => mirror(Sync::Sync, true, Some(true)),
        "M synchronized, no witness" => mirror(Sync::Sync, true, None),
        "M lost P, unsync" => mirror(Sync::Unsync, false, Some(true)),
        "M lost P, sync, no witness" => mirror(Sync::Sync, false, None),
        "M asking" => {
            let mut session = mirror(Sync::Sync, false, Some(true));
            session.q.ask_after = Instant::ZERO;
            with(&mut session, |_, _| ());
            session
        }
        other => panic!("no state {other}"),
    };
    // What was begun is durable.
    settle(&mut session);
    with(&mut session, |_, _| ());
    settle(&mut session);
    session
}

pub(super) fn settle(session: &mut Session) {
    let mut place = [0; super::super::STORED_LEN_MAX];
    if session.write_record(1, &mut place).is_some() {
        with(session, |s, ctx| s.persisted(ctx, 1));
    }
}

const STATES: [&str; 14] = [
    "P synchronized, witness",
    "P synchronized, no witness",
    "P synchronized, witness away",
    "P exposed, witness",
    "P alone, no witness",
    "P without quorum",
    "P failing over",
    "P restarted",
    "P clash",
    "M synchronized, witness",
    "M synchronized, no witness",
    "M lost P, unsync",
    "M lost P, sync, no witness",
    "M asking",
];

/// The events, and what keeps one from reaching a state: the endpoint's checks, or that it cannot be.
const EVENTS: [&str; 24] = [
    "FAILOVER",
    "FORCE_SERVICE",
    "SUSPEND",
    "SAFETY OFF",
    "SET WITNESS",
    "WITNESS OFF",
    "PARTNER OFF",
    "writers are out",
    "partner lost",
    "witness lost",
    "hello, own record",
    "hello, lower",
    "hello, higher, theirs",
    "hello, higher, mine",
    "hello, mine, asks",
    "PROPOSE to me",
    "PROPOSE by them",
    "CONFIRM theirs, +1",
    "witness: hello, own record",
    "witness: hello, higher, theirs",
    "witness: none",
    "GRANT of ask 5",
    "DENIAL of ask 5",
    "TOMBSTONE",
];

fn refused(result: Result<(), super::super::SessionError>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(error) => format!("{}", error.number),
    }
}

/// What an event does, or why it cannot happen.
fn happen(session: &mut Session, event: &str) -> Result<(String, Vec<SessionEvent>), &'static str> {
    let own = session.record();
    let linked = session.link().is_some();
    let tied = session.tie.link.is_some();
    let partner = |session: &Session| {
        if session.link().is_some() {
            Ok(())
        } else {
            Err("no connection")
        }
    };
    let bound = |session: &Session| {
        if session.is_bound() {
            Ok(())
        } else {
            Err("unbound: dropped")
        }
    };
    let higher = |owner| record(own.role_sequence + 1, owner, 0, Sync::Unsync);
    let guid = session.guid();
    let said = |(result, events): (Result<(), super::super::SessionError>, Vec<SessionEvent>)| {
        (refused(result), events)
    };
    let done = |((), events): ((), Vec<SessionEvent>)| (String::new(), events);
    Ok(match event {
        "FAILOVER" => said(with(session, |s, ctx| s.failover(ctx))),
        "FORCE_SERVICE" => said(with(session, |s, ctx| s.force_service(ctx))),
        "SUSPEND" => said(with(session, |s, ctx| s.set_suspended(ctx, true))),
        "SAFETY OFF" => said(with(session, |s, ctx| s.set_safety(ctx, Safety::Off))),
        "SET WITNESS" => said(with(session, |s, ctx| {
            s.set_witness(ctx, Text::new("TCP://v:1").unwrap())
        })),
        "WITNESS OFF" => said(with(session, |s, ctx| s.witness_off(ctx))),
        "PARTNER OFF" => said(with(session, |s, ctx| s.end(ctx))),
        "writers are out" => done(with(session, |s, ctx| s.fenced(ctx))),
        "partner lost" => {
            partner(session)?;
            done(with(session, |s, ctx| {
                s.rebind(ctx, None);
                s.unreachable(ctx.now);
            }))
        }
        "witness lost" => {
            if !tied {
                return Err("no connection");
            }
            let peer = session.tie.peer();
            done(with(session, |s, ctx| s.rebind_ties(ctx, peer, None, None)))
        }
        "hello, own record"
        | "hello, lower"
        | "hello, higher, theirs"
        | "hello, higher, mine"
        | "hello, mine, asks" => {
            if !linked {
                with(session, |s, ctx| s.rebind(ctx, Some(1)));
            }
            let (record, ask) = match event {
                "hello, own record" => (own, 0),
                "hello, lower" => (record(own.role_sequence - 1, own.owner, 9, Sync::Sync), 0),
                "hello, higher, theirs" => (higher(THEM), 0),
                "hello, higher, mine" => (higher(ME), 0),
                _ => (record(4, ME, 2, Sync::Sync), 6),
            };
            let hello = hello(session, record, ask);
            done(with(session, |s, ctx| s.heard_hello(ctx, 1, &hello)))
        }
        "PROPOSE to me" | "PROPOSE by them" => {
            bound(session)?;
            let record = higher(if event == "PROPOSE to me" { ME } else { THEM });
            let propose = Propose {
                guid,
                record,
                end: log_end(),
            };
            done(with(session, |s, ctx| s.proposed(ctx, &propose)))
        }
        "CONFIRM theirs, +1" => {
            bound(session)?;
            let confirm = Confirm {
                guid,
                request: 0,
                answer: false,
                record: record(4, THEM, 3, Sync::Unsync),
            };
            done(with(session, |s, ctx| s.partner_confirms(ctx, &confirm)))
        }
        "witness: hello, own record" | "witness: hello, higher, theirs" | "witness: none" => {
            if session.tie.is_none() {
                return Err("none is set: a stranger, 1402");
            }
            if !tied {
                let peer = session.tie.peer();
                with(session, |s, ctx| s.rebind_ties(ctx, peer, Some(2), None));
                session.tie.hello_sent = true;
            }
            match event {
                "witness: none" => done(with(session, |s, ctx| s.heard_witness_none(ctx, Part::Witness))),
                _ => {
                    let record = if event == "witness: hello, own record" {
                        own
                    } else {
                        higher(THEM)
                    };
                    let hello = hello(session, record, 0);
                    done(with(session, |s, ctx| {
                        s.heard_witness_hello(ctx, Part::Witness, &hello);
                    }))
                }
            }
        }
        "GRANT of ask 5" | "DENIAL of ask 5" => {
            if session.tie.is_none() {
                return Err("none is set: a stranger, 1402");
            }
            if !tied {
                return Err("no connection");
            }
            if event == "GRANT of ask 5" {
                let grant = Grant {
                    guid,
                    ask: 5,
                    record: higher(ME),
                };
                done(with(session, |s, ctx| s.granted(ctx, &grant)))
            } else {
                let denial = Denial {
                    guid,
                    ask: 5,
                    record: own,
                };
                done(with(session, |s, ctx| s.denied(ctx, &denial)))
            }
        }
        "TOMBSTONE" => {
            let tombstone = Tombstone { guid, record: own };
            done(with(session, |s, ctx| s.heard_tombstone(ctx, &tombstone)))
        }
        other => panic!("no event {other}"),
    })
}

fn name_of(event: &SessionEvent) -> String {
    let text = format!("{event:?}");
    let end = text.find([' ', '(']).unwrap_or(text.len());
    match event {
        SessionEvent::Fence(why) => format!("Fence {why:?}"),
        SessionEvent::State(state) => format!("{state:?}"),
        SessionEvent::RoleChanged { role, why, .. } => format!("{role:?} by {why:?}"),
        _ => text[..end].to_string(),
    }
}

/// What an event made of a session, in a few words; nothing where nothing changed.
fn difference(before: &Session, after: &Session, answer: &str, events: &[SessionEvent]) -> String {
    let mut out: Vec<String> = Vec::new();
    if !answer.is_empty() {
        out.push(format!("refused {answer}"));
    }
    let (was, is) = (before.record(), after.record());
    if was != is {
        let owner = if is.owner == ME { "me" } else { "them" };
        let forced = if is.forced { ", forced" } else { "" };
        out.push(format!(
            "({}, {owner}, {}, {:?}{forced})",
            is.role_sequence, is.sync_sequence, is.sync
        ));
    }
    if after.ask() != before.ask() {
        let ask = after.ask();
        let force = if ask.force { " by force" } else { "" };
        out.push(if ask.open {
            format!("asks {}{force}", ask.number)
        } else {
            format!("ask {} closed", ask.number)
        });
    }
    if after.due.propose.is_some() && before.due.propose.is_none() {
        out.push("PROPOSE".into());
    }
    if after.due.confirm.is_some() && before.due.confirm.is_none() {
        out.push("CONFIRM".into());
    }
    let again = after.binding.is_some_and(|b| !b.hello_sent) && before.binding.is_some_and(|b| b.hello_sent);
    if (after.due.hello.is_some() && before.due.hello.is_none()) || again {
        out.push("hello".into());
    }
    if after.due.show.is_some() && before.due.show.is_none() {
        out.push("show again".into());
    }
    if !after.tie.is_none() && after.tie.hello_due.is_some() && before.tie.hello_due.is_none() {
        out.push("hello to W".into());
    }
    if after.change.is_some() && before.change.is_none() {
        out.push("change of witness".into());
    }
    if after.over.is_some() {
        out.push("ends".into());
    }
    if after.q.ending {
        out.push("ends when confirmed".into());
    }
    let (served, serves) = (before.view().serves, after.view().serves);
    if served != serves {
        out.push(if serves { "opens" } else { "stops" }.into());
    }
    let told: Vec<String> = events.iter().map(name_of).collect();
    if !told.is_empty() {
        out.push(format!("[{}]", told.join(", ")));
    }
    if out.is_empty() {
        "–".into()
    } else {
        out.join(" ")
    }
}

#[test]
fn what_each_state_does_at_each_event() {
    let mut text = String::new();
    for name in STATES {
        text += &format!("{name}\n");
        for event in EVENTS {
            let before = state(name);
            let mut after = state(name);
            let what = match happen(&mut after, event) {
                Ok((answer, events)) => difference(&before, &after, &answer, &events),
                Err(why) => format!("cannot happen: {why}"),
            };
            text += &format!("  {event:<32}{what}\n");
        }
    }
    if std::env::var_os("DBMIRROR_ACCEPT").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/session/tests/table.txt"),
            &text,
        )
        .unwrap();
    }
    let kept = include_str!("table.txt");
    if kept != text {
        for (old, new) in kept.lines().zip(text.lines()).filter(|(old, new)| old != new) {
            println!("- {old}\n+ {new}");
        }
        panic!("the table has changed: DBMIRROR_ACCEPT=1 takes it over");
    }
}

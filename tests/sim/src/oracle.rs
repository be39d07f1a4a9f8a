//! What must hold after every event (docs/simulator.md, "What is checked").

use std::collections::{BTreeMap, BTreeSet};

use dbmirror_core::crypto::Provider;
use dbmirror_core::message::codec::Message;
use dbmirror_core::message::{ForkId, InstanceId, LogEnd, Position, Record, SessionGuid, Sync, Timelines};
use dbmirror_core::session::decide::witness::Keeping;
use dbmirror_core::session::{DatabaseId, Phase, Role, SessionState, Stored};
use dbmirror_core::witness::WitnessStored;

use crate::coverage::Row;
use crate::db::Db;
use crate::disk::RecordChange;
use crate::node::Node;
use crate::world::World;

/// Bytes beyond its credit that a mirror may hold unconfirmed: the block that was begun and the one that ends it.
const CREDIT_SLACK: usize = 2 * 81_000;

/// What the checks remember from event to event.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The state that was shown last.
    states: BTreeMap<(usize, DatabaseId), SessionState>,
    /// Who owns a role_sequence, in any storage, ever.
    pub(crate) owners: BTreeMap<(SessionGuid, u32), InstanceId>,
    /// The highest record that a member ever held durably.
    pub(crate) records: BTreeMap<(usize, SessionGuid), Record>,
    /// The SYNC that an owner recorded last.
    pub(crate) syncs: BTreeMap<(usize, SessionGuid), Record>,
    /// By database: rows that applications were told to be committed, with where they were told to lie.
    pub(crate) acknowledged: BTreeMap<DatabaseId, Rows>,
    /// By database: who opened last under the highest role_sequence, and whether by force.
    top: BTreeMap<DatabaseId, Top>,
    /// Databases whose role was forced, to be opened under it.
    forcing: BTreeMap<DatabaseId, Forcing>,
    /// Principals that refuse writes for want of a quorum.
    no_quorum: BTreeSet<(usize, DatabaseId)>,
    /// Sessions that have ended at a member: never to be held again.
    ended: BTreeMap<(usize, SessionGuid), ()>,
    /// By database: what an owner had in its log when it gave the role away by FAILOVER, and the number that it gave.
    pub(crate) handed: BTreeMap<DatabaseId, (SessionGuid, u32, BTreeSet<u64>)>,
}

/// Rows, each with the places at which it was told. A log that begins anew with a gap has rows that were told before at another place.
pub(crate) type Rows = BTreeMap<u64, Vec<Told>>;

/// Where a row was told to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its sequence number.
    sequence: u64,
    /// The timeline that it lay in there, as long as that is remembered: sequence numbers of two timelines say nothing of each other.
    fork: Option<ForkId>,
}

impl Told {
    /// The place of that number in a history.
    fn at(sequence: u64, history: &Timelines) -> Self {
        let at = history.locate(sequence);
        Self {
            sequence,
            fork: at.and_then(|at| history.fork_of(at.timeline)),
        }
    }

    /// Whether a history that is whole up to `common` has it.
    fn is_common(&self, common: Position, history: &Timelines) -> bool {
        let there = Self::at(self.sequence, history).fork;
        let same = self.fork == there || self.fork.is_none() || there.is_none();
        self.sequence <= common.sequence && same
    }
}

/// Adds rows that were told, or told again.
fn tell(rows: &mut Rows, fresh: Rows) {
    for (row, told) in fresh {
        let places = rows.entry(row).or_default();
        for told in told {
            if !places.contains(&told) {
                places.push(told);
            }
        }
    }
}

/// Forced service that has begun at a member, which is yet to open.
#[derive(Clone, Debug)]
struct Forcing {
    at: usize,
    guid: SessionGuid,
    role_sequence: u32,
    /// What it gives up: rows that were acknowledged before and are not there, and what the old owner, which cannot know yet, has
    /// acknowledged since.
    lost: Rows,
}

/// Who serves under the highest role_sequence.
#[derive(Clone, Copy, Debug)]
struct Top {
    guid: SessionGuid,
    role_sequence: u32,
    at: usize,
    forced: bool,
}

impl Oracle {
    /// There is no session any more: what was acknowledged in it is nobody's promise.
    pub fn over(&mut self, database: DatabaseId) {
        self.acknowledged.remove(&database);
        self.top.remove(&database);
        self.forcing.remove(&database);
        self.handed.remove(&database);
    }

    /// The state that is shown now, for that which was.
    pub fn shown(&mut self, at: usize, database: DatabaseId, state: SessionState) -> SessionState {
        self.states
            .insert((at, database), state)
            .unwrap_or(SessionState::Disconnected)
    }

    /// A principal stops for want of a quorum.
    pub fn quorum_lost(&mut self, at: usize, database: DatabaseId) {
        self.no_quorum.insert((at, database));
    }

    /// A principal serves. Whether it had stopped for that.
    pub fn quorum_back(&mut self, at: usize, database: DatabaseId) -> bool {
        self.no_quorum.remove(&(at, database))
    }

    /// Nothing is shown any more.
    pub fn restarted(&mut self, at: usize, database: DatabaseId) {
        self.states.remove(&(at, database));
    }

    /// A record has become durable at a member. What is wrong with it.
    pub fn recorded(&mut self, at: usize, change: &RecordChange) -> Option<String> {
        if let RecordChange::Witness(guid, bytes, _) = change {
            let record = match WitnessStored::decode(bytes) {
                Ok(stored) => match stored.keeping {
                    Keeping::Record(record) => record,
                    Keeping::Dropped { .. } | Keeping::Blank => return None,
                },
                Err(error) => return Some(format!("what it keeps as a witness cannot be read: {error}")),
            };
            let owner = *self
                .owners
                .entry((*guid, record.role_sequence))
                .or_insert(record.owner);
            if owner != record.owner && !record.forced {
                return Some(format!(
                    "role_sequence {} of session {guid} has two owners: {owner} and, by the witness, {}",
                    record.role_sequence, record.owner
                ));
            }
            return None;
        }
        let (bytes, ended) = match change {
            RecordChange::Live(_, bytes) => (bytes, false),
            RecordChange::Ended(_, _, bytes) => (bytes, true),
            RecordChange::Removed(_) | RecordChange::Witness(..) | RecordChange::WitnessRemoved(_) => {
                return None;
            }
        };
        let stored = match Stored::decode(bytes) {
            Ok(stored) => stored,
            Err(error) => return Some(format!("its record cannot be read: {error}")),
        };
        if stored.guid == SessionGuid::default() {
            return None;
        }
        let key = (at, stored.guid);
        if ended {
            self.ended.insert(key, ());
        } else if self.ended.contains_key(&key) {
            return Some(format!("session {} is held again after its end", stored.guid));
        }
        let record = stored.record;
        let owner = *self
            .owners
            .entry((stored.guid, record.role_sequence))
            .or_insert(record.owner);
        // Only without a witness each operator's word makes an owner (R8).
        let arbitrated = !record.forced || stored.witness != InstanceId::default();
        if owner != record.owner && arbitrated {
            return Some(format!(
                "role_sequence {} of session {} has two owners: {owner} and {}",
                record.role_sequence, stored.guid, record.owner
            ));
        }
        let before = self.records.insert(key, record);
        if let Some(before) = before
            && before.compare(&record).is_gt()
        {
            return Some(format!("its record goes back from {before:?} to {record:?}"));
        }
        None
    }

    /// Something is said by a member. What is claimed and not durable.
    pub fn claimed<P: Provider + 'static>(
        &mut self,
        node: &Node<P>,
        message: &Message<'_>,
    ) -> Option<String> {
        let known = |guid: &SessionGuid| node.disk.known.get(guid);
        let record = |guid: &SessionGuid, record: &Record| match known(guid) {
            Some((_, stored)) if stored.record == *record => None,
            Some((_, stored)) => Some(format!("{record:?}, and {:?} is durable", stored.record)),
            None => Some(format!("{record:?}, and nothing is durable")),
        };
        let end = |guid: &SessionGuid, end: &LogEnd| {
            let (database, _) = known(guid)?;
            let db = node.disk.db(*database)?;
            not_durable(db, end)
        };
        match message {
            Message::SessionHello(hello) if node.disk.witnessed.contains_key(&hello.guid) => {
                let kept = node
                    .disk
                    .witnessed
                    .get(&hello.guid)
                    .and_then(|bytes| WitnessStored::decode(bytes).ok());
                match kept.map(|kept| kept.keeping) {
                    Some(Keeping::Record(kept)) if kept == hello.record => None,
                    other => Some(format!(
                        "{:?} as a witness, and {other:?} is durable",
                        hello.record
                    )),
                }
            }
            Message::Grant(grant) => {
                let kept = node
                    .disk
                    .witnessed
                    .get(&grant.guid)
                    .and_then(|bytes| WitnessStored::decode(bytes).ok());
                match kept.map(|kept| kept.keeping) {
                    Some(Keeping::Record(kept)) if kept == grant.record => None,
                    other => Some(format!(
                        "the grant of {:?}, and {other:?} is durable",
                        grant.record
                    )),
                }
            }
            Message::SessionHello(hello) => {
                record(&hello.guid, &hello.record).or_else(|| end(&hello.guid, &hello.end))
            }
            Message::StartAccepted(accepted) => {
                record(&accepted.guid, &accepted.record).or_else(|| end(&accepted.guid, &accepted.end))
            }
            Message::Ack(ack) => {
                let (database, _) = known(&ack.guid)?;
                let db = node.disk.db(*database)?;
                let at = db.chain(ack.position.sequence);
                let held = at.is_some_and(|(position, chain)| {
                    position == ack.position
                        && chain.prefix() == ack.chain_prefix
                        && position.sequence <= db.durable_end().position.sequence
                });
                (!held).then(|| {
                    format!(
                        "{:?} hardened, and the log is durable to {:?}",
                        ack.position,
                        db.durable_end()
                    )
                })
            }
            Message::Tombstone(tombstone) => {
                let stored = node
                    .disk
                    .tombstones
                    .get(&tombstone.guid)
                    .and_then(|bytes| Stored::decode(bytes).ok());
                match stored {
                    Some(stored) if stored.record == tombstone.record => None,
                    _ => Some(format!(
                        "the end of session {}, which is not durable",
                        tombstone.guid
                    )),
                }
            }
            _ => None,
        }
    }
}

fn not_durable(db: &Db, end: &LogEnd) -> Option<String> {
    let held = *end == LogEnd::START
        || db.chain(end.position.sequence).is_some_and(|(position, chain)| {
            position == end.position
                && chain == end.chain
                && position.sequence <= db.durable_end().position.sequence
        });
    (!held).then(|| {
        format!(
            "a log that ends at {:?}, and it is durable to {:?}",
            end.position,
            db.durable_end().position
        )
    })
}

impl<P: Provider + 'static> World<P> {
    /// All rows that an instance holds, in its file or in its log.
    fn rows_of(&self, at: usize, database: DatabaseId) -> BTreeSet<u64> {
        self.nodes[at]
            .disk
            .db(database)
            .map(|db| db.rows.iter().copied().chain(db.undone_rows()).collect())
            .unwrap_or_default()
    }

    /// Applications are told that everything up to a block is committed.
    pub fn acknowledged(&mut self, at: usize, database: DatabaseId, upto: Position) {
        self.coverage.hit(Row::Acknowledged);
        let gated = self.shops.iter().any(|shop| shop.id == database && shop.gated);
        let Some(view) = self.view(at, database).filter(|_| gated) else {
            return;
        };
        let from = self.nodes[at]
            .running(database)
            .map_or(0, |running| running.acknowledged);
        let Some(db) = self.nodes[at].disk.db(database) else {
            return;
        };
        let upto_row = db.base_rows + upto.sequence.saturating_sub(db.base.position.sequence) as usize;
        if upto_row > db.base_rows + db.durable {
            let text = format!(
                "instance {at} db {}: acknowledged to {upto:?}, durable to {:?}",
                database.0,
                db.durable_end().position
            );
            self.fail(text);
            return;
        }
        // R1: while SYNC stands, or is about to be recorded, nothing is told that the mirror's medium has not had.
        let waits = view.record.sync == Sync::Sync && view.record.owner == self.nodes[at].id;
        if let Some(mirror) = self.mirror_of(at, database).filter(|_| waits)
            && let Some(theirs) = self.nodes[mirror].disk.db(database)
            && upto.sequence > theirs.ever_durable
        {
            let text = format!(
                "instance {at} db {}: acknowledged to {upto:?} at SYNC, and instance {mirror} has had up to {}",
                database.0, theirs.ever_durable
            );
            self.fail(text);
            return;
        }
        let from = from.min(upto_row);
        let mut fresh: Rows = db.rows[from.min(db.rows.len())..upto_row.min(db.rows.len())]
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let block = (from + index + 1).saturating_sub(db.base_rows) as u64;
                let told = Told::at(db.base.position.sequence + block, &db.timelines);
                (*row, vec![told])
            })
            .collect();
        if let Some(running) = self.nodes[at].running(database) {
            running.acknowledged = upto_row;
        }
        let number = view.record.role_sequence;
        let top = self.oracle.top.get(&database).copied();
        if let Some(top) = top.filter(|top| Some(top.guid) == view.guid) {
            // Who has yielded in the same breath acknowledged under the number that it had before.
            let holds = view.role == Role::Principal;
            if holds && number == top.role_sequence && at != top.at && !top.forced {
                self.fail(format!(
                    "db {}: instances {} and {at} acknowledge under role_sequence {number}",
                    database.0, top.at
                ));
                return;
            }
            if number < top.role_sequence || at != top.at {
                if top.forced {
                    return; // The operator's word: these are lost, or were there before.
                }
                let there = self.rows_of(top.at, database);
                if let Some(row) = fresh.keys().find(|row| !there.contains(row)) {
                    self.fail(format!(
                        "db {}: instance {at} acknowledges row {row:x} under role_sequence {number}, and {} serves without it under {}",
                        database.0, top.at, top.role_sequence
                    ));
                    return;
                }
            }
        }
        // Where service is being forced elsewhere, the old owner does not know yet; that the other opens without these is the operator's word.
        let elsewhere = |forcing: &&mut Forcing| forcing.at != at && number < forcing.role_sequence;
        if let Some(forcing) = self.oracle.forcing.get_mut(&database).filter(elsewhere) {
            let here = self.nodes[forcing.at].disk.db(database);
            let held: BTreeSet<u64> = here
                .map(|db| db.rows.iter().copied().chain(db.undone_rows()).collect())
                .unwrap_or_default();
            let (kept, given_up): (Rows, Rows) = fresh.into_iter().partition(|(row, _)| held.contains(row));
            tell(&mut forcing.lost, given_up);
            fresh = kept;
        }
        tell(self.oracle.acknowledged.entry(database).or_default(), fresh);
    }

    /// A member starts: service that was to be forced there, and of which nothing is durable, never was.
    pub fn forgotten(&mut self, at: usize, database: DatabaseId) {
        let kept = self.nodes[at]
            .disk
            .known
            .values()
            .find(|(known, _)| *known == database);
        // A SYNC that was on its way and is not durable is decided anew.
        if let Some((_, stored)) = kept {
            let of = (at, stored.guid);
            self.oracle
                .syncs
                .retain(|known, sync| *known != of || *sync == stored.record);
        }
        let stands = |forcing: &Forcing| {
            kept.is_some_and(|(_, stored)| {
                stored.guid == forcing.guid && stored.record.role_sequence >= forcing.role_sequence
            })
        };
        if let Some(forcing) = self.oracle.forcing.get(&database)
            && forcing.at == at
            && !stands(forcing)
            && let Some(forcing) = self.oracle.forcing.remove(&database)
        {
            tell(
                self.oracle.acknowledged.entry(database).or_default(),
                forcing.lost,
            );
        }
    }

    /// Service was forced: acknowledged rows may be lost after `common`, and none may if no loss is possible.
    pub fn forced(&mut self, at: usize, database: DatabaseId, common: Position, loss_possible: bool) {
        let here = self.rows_of(at, database);
        let history = self.nodes[at]
            .disk
            .db(database)
            .map_or(Timelines::EMPTY, |db| db.timelines);
        let lost: Rows = self
            .oracle
            .acknowledged
            .get(&database)
            .map_or_else(Rows::new, |rows| {
                rows.iter()
                    .filter(|(row, _)| !here.contains(row))
                    .map(|(row, told)| (*row, told.clone()))
                    .collect()
            });
        let common_to = |told: &[Told]| told.iter().find(|told| told.is_common(common, &history)).copied();
        if let Some((row, told)) = lost.iter().find_map(|(row, told)| Some((row, common_to(told)?))) {
            self.fail(format!(
                "db {}: forced service loses row {row:x} at {}, and reports {common:?} as common",
                database.0, told.sequence
            ));
            return;
        }
        if !loss_possible && !lost.is_empty() {
            self.fail(format!(
                "db {}: forced service loses {} rows, and reports that it loses none",
                database.0,
                lost.len()
            ));
            return;
        }
        if let Some(rows) = self.oracle.acknowledged.get_mut(&database) {
            for row in lost.keys() {
                rows.remove(row);
            }
        }
        let Some(view) = self.view(at, database) else {
            return;
        };
        let forcing = Forcing {
            at,
            guid: view.guid.unwrap_or_default(),
            role_sequence: view.record.role_sequence,
            lost,
        };
        self.oracle.forcing.insert(database, forcing);
    }

    /// Whether something that `from` said has not been handled by `to`, over a connection that `to` holds to be up.
    fn is_under_way(&self, from: usize, to: usize) -> bool {
        self.net.pipes.iter().flatten().any(|pipe| {
            [0, 1].into_iter().any(|end| {
                let (mine, theirs) = (&pipe.ends[end], &pipe.ends[1 - end]);
                let between = mine.node == to && theirs.node == from && !mine.over;
                between && !(mine.arrived.is_empty() && pipe.ways[1 - end].flying.is_empty())
            })
        })
    }

    /// A member opens to applications.
    pub fn serving(&mut self, at: usize, database: DatabaseId, role_sequence: u32) {
        let Some(view) = self.view(at, database) else {
            return;
        };
        let Some(guid) = view.guid else { return };
        // What it heard in the same breath may have taken that back already; the host hears of that next.
        let stands = view.serves && view.record.role_sequence == role_sequence;
        let begun = |forcing: &Forcing| {
            forcing.at == at && forcing.guid == guid && forcing.role_sequence == role_sequence
        };
        let forced = self.oracle.forcing.get(&database).is_some_and(begun);
        if forced {
            self.oracle.forcing.remove(&database);
        }
        let before = self
            .oracle
            .top
            .get(&database)
            .copied()
            .filter(|top| top.guid == guid);
        if let Some(top) = before {
            let wrong = if role_sequence == top.role_sequence {
                at != top.at && !forced && !top.forced
            } else {
                // A binding whose next word has not been heard cannot tell better, and nothing is acknowledged over it
                // (docs/decisions/0006, 7): what is acknowledged is checked on its own.
                role_sequence < top.role_sequence && !top.forced && stands && !self.is_under_way(top.at, at)
            };
            if wrong {
                self.fail(format!(
                    "db {}: instance {at} opens under role_sequence {role_sequence}, and {} has opened under {}",
                    database.0, top.at, top.role_sequence
                ));
                return;
            }
            if role_sequence < top.role_sequence {
                return;
            }
        }
        let stays = before.is_some_and(|top| top.forced && top.role_sequence == role_sequence);
        let top = Top {
            guid,
            role_sequence,
            at,
            forced: forced || stays,
        };
        self.oracle.top.insert(database, top);
        let here = self.rows_of(at, database);
        if let Some((of, number, rows)) = self.oracle.handed.remove(&database)
            && (of, number, forced) == (guid, role_sequence, false)
            && let Some(row) = rows.iter().find(|row| !here.contains(row))
        {
            self.fail(format!(
                "db {}: instance {at} opens after FAILOVER without row {row:x} of who gave it the role",
                database.0
            ));
            return;
        }
        // Two operators have forced both, and nobody arbitrates (R8, clash): the promises are of what both have.
        let rival =
            before.is_some_and(|top| top.forced && top.role_sequence == role_sequence && top.at != at);
        if rival && let Some(rows) = self.oracle.acknowledged.get_mut(&database) {
            rows.retain(|row, _| here.contains(row));
        }
        let rows = self.oracle.acknowledged.get(&database);
        let lost = rows.and_then(|rows| rows.keys().find(|row| !here.contains(row)).copied());
        if let Some(row) = lost {
            self.fail(format!(
                "db {}: instance {at} opens under role_sequence {role_sequence} without acknowledged row {row:x}",
                database.0
            ));
        }
    }

    /// Everything that must hold of an instance now.
    pub fn check(&mut self, at: usize) {
        if self.violation.is_some() {
            return;
        }
        let mut wrong = None;
        for index in 0..self.shops.len() {
            let shop = &self.shops[index];
            if !shop.pair.contains(&at) {
                continue;
            }
            let (id, other) = (shop.id, shop.pair[usize::from(shop.pair[0] == at)]);
            let Some(view) = self.nodes[at].view(id) else {
                continue;
            };
            let (Some(mine), Some(theirs)) = (self.nodes[at].disk.db(id), self.nodes[other].disk.db(id))
            else {
                continue;
            };
            // I5: what this run goes by is durable here.
            if view.phase == Phase::Established
                && let Some(text) = not_durable(mine, &view.end)
            {
                wrong = Some(format!("instance {at} db {} goes by {text}", id.0));
                break;
            }
            // I1, I5: what a principal counts as hardened was so on its mirror.
            if view.role == Role::Principal
                && view.bound
                && view.hardened_on_both.sequence > theirs.ever_durable
            {
                wrong = Some(format!(
                    "instance {at} db {} counts {:?} as hardened, and instance {other} never had more than {}",
                    id.0, view.hardened_on_both, theirs.ever_durable
                ));
                break;
            }
            // Bounded memory.
            let waiting: usize = mine
                .blocks
                .get(mine.durable..)
                .unwrap_or_default()
                .iter()
                .map(|b| b.bytes.len())
                .sum();
            if view.role == Role::Mirror && waiting > self.nodes[at].limits.credit as usize + CREDIT_SLACK {
                wrong = Some(format!(
                    "instance {at} db {}: {waiting} bytes were taken beyond the credit",
                    id.0
                ));
                break;
            }
            // I4: one history.
            if let Some(text) = self.one_history(at, other, id) {
                wrong = Some(text);
                break;
            }
        }
        if let Some(wrong) = wrong {
            self.fail(wrong);
        }
    }

    /// Two logs of one session never differ at a position of one timeline.
    fn one_history(&self, at: usize, other: usize, id: DatabaseId) -> Option<String> {
        let session = |node: usize| {
            self.nodes[node]
                .disk
                .known
                .values()
                .find(|(known, _)| *known == id)
                .map(|(_, stored)| stored)
        };
        let (a, b) = (session(at)?, session(other)?);
        if a.guid != b.guid {
            return None;
        }
        let (mine, theirs) = (self.nodes[at].disk.db(id)?, self.nodes[other].disk.db(id)?);
        let sequence = mine.end().position.sequence.min(theirs.end().position.sequence);
        let ((at_mine, mine_chain), (at_theirs, their_chain)) =
            (mine.chain(sequence)?, theirs.chain(sequence)?);
        let same_timeline = at_mine == at_theirs
            && match (
                a.timelines.fork_of(at_mine.timeline),
                b.timelines.fork_of(at_theirs.timeline),
            ) {
                (Some(ours), Some(other)) => ours == other,
                _ => false,
            };
        (same_timeline && mine_chain != their_chain).then(|| {
            format!(
                "db {}: the logs of {at} and {other} differ at {at_mine:?} of one timeline",
                id.0
            )
        })
    }
}

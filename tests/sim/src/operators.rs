//! People: one who sets sessions up and mends what needs a person, and one who types commands at random.

use dbmirror_core::crypto::Provider;
use dbmirror_core::message::{Position, Text};
use dbmirror_core::session::{
    DatabaseId, EndedBy, FoundLog, MirrorCopy, Phase, Reason, ReseedReason, Role, Safety, SessionEvent,
    SessionState, SessionView, StartAsPrincipal, StorageError, Stored, StoredPhase, WaitAsMirror,
};

use dbmirror_core::session::{Fence, RoleChange, WitnessState};

use crate::coverage::Row;
use crate::db::Db;
use crate::node::address;
use crate::plan::DriverBug;
use crate::world::{What, World};

const SECOND: u64 = 1_000_000;
/// For so long two members may disagree on whether there is a session before a person ends it.
const ODD: u64 = 90 * SECOND;

impl<P: Provider + 'static> World<P> {
    /// Takes up what is stored, at the start of an instance.
    pub fn restore(&mut self, at: usize) {
        let now = self.now;
        let bug = self.plan.bug;
        if bug == Some(DriverBug::ForgetRecord) {
            let older = std::mem::take(&mut self.nodes[at].disk.older);
            self.nodes[at].disk.records.extend(older);
        }
        let records: Vec<(DatabaseId, Vec<u8>)> = self.nodes[at]
            .disk
            .records
            .iter()
            .map(|(id, record)| (*id, record.clone()))
            .collect();
        let run = self.nodes[at].run_number;
        for (database, record) in &records {
            let db = self.nodes[at].disk.db(*database);
            let end = db
                .and_then(|db| db.claimed)
                .or_else(|| db.map(Db::durable_end))
                .unwrap_or_default();
            let lost = db.is_some_and(|db| db.lost);
            let found = FoundLog { end, lost };
            let restored = self.nodes[at].with(now, |endpoint, env| endpoint.restore(env, record, found));
            if let Some(Err(error)) = restored {
                self.fail(format!("instance {at} refuses its own record: {error}"));
                return;
            }
            let Ok(stored) = Stored::decode(record) else {
                continue;
            };
            if let Some(db) = self.nodes[at].disk.dbs.get_mut(database)
                && (stored.phase != StoredPhase::Established || stored.incomplete)
            {
                // The mark is kept already.
                db.lost = false;
            }
            if stored.role == Role::Mirror
                && let Some(db) = self.nodes[at].disk.dbs.get_mut(database)
                && db.online
            {
                // The role was given away, and the host did not live to hear of it.
                db.online = false;
                let rows = db.log_rows();
                db.rows.truncate(rows);
                db.captured = db.captured.min(rows);
            }
            self.oracle.restarted(at, *database);
            self.forgotten(at, *database);
            if stored.phase == StoredPhase::Established {
                self.coverage.hit(match stored.role {
                    Role::Principal => Row::PrincipalRestarted,
                    Role::Mirror => Row::MirrorRestarted,
                });
                if stored.properties.suspended {
                    self.coverage.hit(Row::SuspendedAcrossRestart);
                }
            }
            // A timeline that was begun just before the end of the last run may have missed the record.
            let timelines = self.nodes[at]
                .disk
                .db(*database)
                .filter(|db| db.online)
                .map(|db| db.timelines);
            for timeline in timelines.iter().flat_map(|timelines| timelines.as_slice()) {
                let gap = timeline.first == end.position.sequence && timeline.number == end.position.timeline;
                let told = self.nodes[at].with(now, |endpoint, env| {
                    endpoint.new_timeline(env, *database, *timeline, gap)
                });
                if told == Some(Ok(())) {
                    self.after(1_000, What::BeginCapture(at, run, *database, false));
                }
            }
            self.nodes[at].disk.redo_wanted.push(*database);
            if bug == Some(DriverBug::Withdraw) && stored.role == Role::Principal {
                self.after(1_000, What::BeginCapture(at, run, *database, false));
            }
        }
        let witnessed: Vec<Vec<u8>> = self.nodes[at].disk.witnessed.values().cloned().collect();
        for record in witnessed {
            let restored = self.nodes[at].with(now, |endpoint, _| endpoint.restore_witness(&record));
            if let Some(Err(error)) = restored {
                self.fail(format!(
                    "instance {at} refuses what it keeps as a witness: {error}"
                ));
                return;
            }
        }
        // Files without a session are captured at once.
        let alone: Vec<DatabaseId> = self.nodes[at]
            .disk
            .dbs
            .iter()
            .filter(|(id, db)| db.online && !records.iter().any(|(with, _)| with == *id))
            .map(|(id, _)| *id)
            .collect();
        for database in alone {
            self.after(1_000, What::BeginCapture(at, run, database, false));
        }
    }

    /// Looks at one database, and sets up or ends its session.
    pub fn set_up(&mut self, index: usize) {
        self.sample(index);
        let again = self.dice.between(SECOND, 3 * SECOND);
        self.after(again, What::Setup(index));
        let shop = self.shops[index].clone();
        let id = shop.id;
        let p = self.owner(index);
        let m = shop.pair[usize::from(shop.pair[0] == p)];
        if !self.answers(p) || !self.answers(m) || self.now < shop.off_until {
            return;
        }
        let (vp, vm) = (self.view(p, id), self.view(m, id));
        let agree = match (&vp, &vm) {
            (None, None) => {
                // Whoever has the data begins; who has it closed is restored with recovery.
                self.shops[index].first = usize::from(shop.pair[0] != p);
                self.oracle.over(id);
                let online = self.nodes[p].disk.db(id).is_some_and(|db| db.online);
                if online {
                    self.wait_as_mirror(index);
                } else {
                    let run = self.nodes[p].run_number;
                    self.after(1_000, What::BeginCapture(p, run, id, true));
                }
                true
            }
            (None, Some(mirror)) if mirror.phase == Phase::Waiting && shop.stale_copy => {
                self.shops[index].stale_copy = false;
                self.partner_off(m, id);
                true
            }
            (None, Some(mirror)) if mirror.phase == Phase::Waiting => {
                self.start_as_principal(index);
                true
            }
            (Some(principal), _) if principal.phase == Phase::Starting => true,
            (Some(principal), Some(mirror)) => {
                let clash = |view: &SessionView| view.trouble.is_some_and(|why| why.reason == Reason::Clash);
                if self.quiet && clash(principal) && clash(mirror) {
                    // Only an operator ends that: the one to keep is forced (R8).
                    let now = self.now;
                    let done = self.nodes[p].with(now, |endpoint, env| endpoint.force_service(env, id));
                    self.say(|| {
                        format!(
                            "{p}: a clash; FORCE_SERVICE_ALLOW_DATA_LOSS for db {} ({done:?})",
                            id.0
                        )
                    });
                    self.settle(p);
                }
                if (self.quiet || self.plan.focus.is_some()) && principal.suspended && principal.bound {
                    self.suspend(p, id, false);
                }
                if let Some(witness) = shop.witness
                    && principal.witness.is_none()
                    && principal.state == SessionState::Synchronized
                    && mirror.state == SessionState::Synchronized
                {
                    let now = self.now;
                    let done = self.nodes[p].with(now, |endpoint, env| {
                        endpoint.set_witness(env, id, address(witness))
                    });
                    self.say(|| format!("{p}: SET WITNESS = {witness} for db {} ({done:?})", id.0));
                    self.settle(p);
                }
                principal.guid == mirror.guid
            }
            _ => false,
        };
        let odd = &mut self.shops[index].odd_since;
        if agree {
            *odd = None;
            return;
        }
        let since = *odd.get_or_insert(self.now);
        if self.now - since > ODD {
            *odd = None;
            self.say(|| format!("db {}: one has a session that the other has not: OFF", id.0));
            for at in [p, m] {
                self.partner_off(at, id);
            }
        }
    }

    /// Counts which links of a session with a witness stand.
    fn sample(&mut self, index: usize) {
        let (pair, id, witness) = (
            self.shops[index].pair,
            self.shops[index].id,
            self.shops[index].witness,
        );
        let p = self.owner(index);
        let m = pair[usize::from(pair[0] == p)];
        let Some(witness) = witness else { return };
        let principal = self.view(p, id).filter(|view| view.role == Role::Principal);
        let mirror = self.view(m, id).filter(|view| view.role == Role::Mirror);
        let named =
            |view: &Option<dbmirror_core::session::SessionView>| view.as_ref().and_then(|view| view.witness);
        if named(&principal).or(named(&mirror)).is_none() {
            return;
        }
        let connected = |witness: Option<dbmirror_core::session::WitnessView>| {
            witness.is_some_and(|witness| witness.state == WitnessState::Connected)
        };
        let links = (
            principal.as_ref().is_some_and(|view| view.bound)
                && mirror.as_ref().is_some_and(|view| view.bound),
            connected(named(&principal)),
            connected(named(&mirror)),
        );
        self.coverage.hit(match links {
            (true, true, true) => Row::Quorum111,
            (true, true, false) => Row::Quorum110,
            (true, false, true) => Row::Quorum101,
            (true, false, false) => Row::Quorum100,
            (false, true, true) => Row::Quorum011,
            (false, true, false) => Row::Quorum010,
            (false, false, true) => Row::Quorum001,
            (false, false, false) => Row::Quorum000,
        });
        let before = std::mem::replace(&mut self.shops[index].links, links);
        if before == (false, false, false) {
            match links {
                (true, ..) | (_, true, _) => self.coverage.hit(Row::RecoveryPrincipalFirst),
                (false, false, true) => self.coverage.hit(Row::RecoveryMirrorWitnessFirst),
                _ => {}
            }
        }
        let alone = self.nodes[witness].run.as_mut().is_some_and(|run| {
            run.machine
                .endpoint()
                .witnesses()
                .any(|view| !view.principal.bound || !view.mirror.bound)
        });
        if alone {
            self.coverage.hit(Row::WitnessLosesAnyone);
        }
    }

    fn wait_as_mirror(&mut self, index: usize) {
        let shop = self.shops[index].clone();
        let (p, m) = (shop.principal(), shop.mirror());
        let seeded = self.dice.once_in(2);
        let source = self.nodes[p].disk.db(shop.id).cloned();
        let Some(source) = source.filter(|db| db.durable == db.blocks.len()) else {
            return;
        };
        let mut db = Db::of(shop.family);
        let mut copy = None;
        if !seeded {
            // A backup, restored without recovery.
            db = source.clone();
            db.online = false;
            db.rows.truncate(db.log_rows());
            db.decided = Position::START;
            db.ever_durable = db.end().position.sequence;
            copy = Some(MirrorCopy {
                family: shop.family,
                end: db.end(),
                timelines: db.timelines.until(db.end().position.sequence),
            });
        }
        self.nodes[m].disk.replace(shop.id, db);
        if let Some(running) = self.nodes[m].running(shop.id) {
            *running = crate::node::Running::default();
        }
        let command = WaitAsMirror {
            database: shop.id,
            name: Text::new(&shop.name).unwrap_or(Text::EMPTY),
            partner: address(p),
            copy,
        };
        let now = self.now;
        let done = self.nodes[m].with(now, |endpoint, env| endpoint.wait_as_mirror(env, &command));
        self.say(|| format!("{m}: SET PARTNER = {p} for db {} ({done:?})", shop.id.0));
        self.settle(m);
    }

    fn start_as_principal(&mut self, index: usize) {
        let shop = self.shops[index].clone();
        let (p, m) = (shop.principal(), shop.mirror());
        let captures = self.nodes[p]
            .running(shop.id)
            .is_some_and(|running| running.capturing);
        let fork = self.dice.roll();
        // An instance refuses where there is a session, before it begins a timeline for another.
        if self.view(p, shop.id).is_some() {
            return;
        }
        let Some(db) = self.nodes[p].disk.dbs.get_mut(&shop.id) else {
            return;
        };
        if !captures || db.durable != db.blocks.len() {
            return;
        }
        db.begin_timeline(fork);
        let command = StartAsPrincipal {
            database: shop.id,
            name: Text::new(&shop.name).unwrap_or(Text::EMPTY),
            partner: address(m),
            family: shop.family,
            end: db.durable_end(),
            timelines: db.timelines,
        };
        let now = self.now;
        let done = self.nodes[p].with(now, |endpoint, env| endpoint.start_as_principal(env, &command));
        self.say(|| format!("{p}: SET PARTNER = {m} for db {} ({done:?})", shop.id.0));
        self.settle(p);
    }

    fn suspend(&mut self, at: usize, database: DatabaseId, suspend: bool) {
        let now = self.now;
        let done = self.nodes[at].with(now, |endpoint, env| {
            endpoint.set_suspended(env, database, suspend)
        });
        let word = if suspend { "SUSPEND" } else { "RESUME" };
        self.say(|| format!("{at}: SET PARTNER {word} for db {} ({done:?})", database.0));
        self.settle(at);
    }

    fn partner_off(&mut self, at: usize, database: DatabaseId) {
        let now = self.now;
        let done = self.nodes[at].with(now, |endpoint, env| endpoint.partner_off(env, database));
        self.say(|| format!("{at}: SET PARTNER OFF for db {} ({done:?})", database.0));
        self.settle(at);
    }

    /// Types something at random.
    pub fn operator(&mut self) {
        if self.quiet {
            return;
        }
        let span = self.dice.around(self.plan.operator_pace);
        self.after(span, What::Operator);
        let index = self.dice.index(self.shops.len());
        let shop = self.shops[index].clone();
        let at = self.dice.pick(&shop.pair);
        if !self.answers(at) {
            return;
        }
        if self.view(at, shop.id).is_none() {
            return;
        }
        self.coverage.faults += 1;
        let command = match self.plan.focus {
            None => self.dice.below(26),
            Some(focus) => self.dice.pick(focus.commands()),
        };
        self.type_in(index, at, command);
    }

    /// Types that command, as its number.
    pub fn type_in(&mut self, index: usize, at: usize, command: u64) {
        let (now, shop) = (self.now, self.shops[index].clone());
        let Some(view) = self.view(at, shop.id).filter(|_| self.answers(at)) else {
            return;
        };
        match command {
            0..=7 => {
                let suspend = !view.suspended;
                self.suspend(at, shop.id, suspend);
            }
            8..=12 => {
                let safety = self.dice.pick(&[Safety::Off, Safety::Full]);
                let done =
                    self.nodes[at].with(now, |endpoint, env| endpoint.set_safety(env, shop.id, safety));
                self.say(|| {
                    format!(
                        "{at}: SET PARTNER SAFETY {safety:?} for db {} ({done:?})",
                        shop.id.0
                    )
                });
                if done == Some(Ok(())) && view.safety != safety {
                    self.coverage.hit(Row::SafetyChanged);
                }
                self.settle(at);
            }
            13..=16 => {
                let seconds = self.dice.pick(&[5, 7, 10, 10, 20, 45]);
                let done =
                    self.nodes[at].with(now, |endpoint, env| endpoint.set_timeout(env, shop.id, seconds));
                self.say(|| {
                    format!(
                        "{at}: SET PARTNER TIMEOUT {seconds} for db {} ({done:?})",
                        shop.id.0
                    )
                });
                self.settle(at);
            }
            17 => {
                let never = self.dice.once_in(2);
                self.nodes[at].disk.never_adopt = never;
            }
            18 => {
                self.partner_off(at, shop.id);
                self.shops[index].off_until = now + self.dice.between(0, 60 * SECOND);
            }
            19..=22 => {
                let done = self.nodes[at].with(now, |endpoint, env| endpoint.failover(env, shop.id));
                self.say(|| format!("{at}: SET PARTNER FAILOVER for db {} ({done:?})", shop.id.0));
                if done == Some(Ok(())) {
                    self.coverage.hit(Row::FailoverBegun);
                }
                self.settle(at);
            }
            24 if self.dice.once_in(2) => {
                let done = self.nodes[at].with(now, |endpoint, env| endpoint.witness_off(env, shop.id));
                self.say(|| format!("{at}: SET WITNESS OFF for db {} ({done:?})", shop.id.0));
                self.settle(at);
            }
            23 if self.dice.once_in(2) => {
                let done = self.nodes[at].with(now, |endpoint, env| endpoint.force_service(env, shop.id));
                self.say(|| {
                    format!(
                        "{at}: SET PARTNER FORCE_SERVICE_ALLOW_DATA_LOSS for db {} ({done:?})",
                        shop.id.0
                    )
                });
                self.settle(at);
            }
            _ => {
                // A start for which nobody waits, or where there is a session already.
                self.start_as_principal(index);
            }
        }
    }

    /// Counts what an event says.
    pub fn covered(&mut self, at: usize, database: DatabaseId, event: SessionEvent) {
        let role = self.view(at, database).map(|view| view.role);
        match event {
            SessionEvent::Waiting => self.coverage.hit(Row::WaitingForPartner),
            SessionEvent::StartedAsPrincipal { .. } => self.coverage.hit(Row::Started),
            SessionEvent::StartFailed(error) => {
                self.coverage.hit(Row::StartFailed);
                if matches!(
                    error.reason,
                    Reason::OffHistory | Reason::TooOld | Reason::OtherFamily
                ) && let Some(shop) = self.shops.iter_mut().find(|shop| shop.id == database)
                {
                    shop.stale_copy = true;
                }
            }
            SessionEvent::Ended { by } => {
                self.coverage.hit(Row::PartnerOff);
                if by == EndedBy::Partner {
                    self.coverage.hit(Row::EndedByPartner);
                }
                self.oracle.restarted(at, database);
            }
            SessionEvent::State(state) => {
                let before = self.oracle.shown(at, database, state);
                let view = self.view(at, database);
                let witness = view.and_then(|view| view.witness).map(|witness| witness.state);
                let forced = view.is_some_and(|view| view.record.forced && view.role == Role::Mirror);
                if state == SessionState::Suspended && forced {
                    self.coverage.hit(Row::ForcedAndReturned);
                }
                self.state_row(role, before, state, witness);
            }
            SessionEvent::MayCapture { new_timeline: true } => self.coverage.hit(Row::WentOnAlone),
            SessionEvent::Fence(Fence::NoQuorum) => {
                self.coverage.hit(Row::LostQuorum);
                self.oracle.quorum_lost(at, database);
            }
            SessionEvent::Serving { .. } if self.oracle.quorum_back(at, database) => {
                self.coverage.hit(Row::RegainedQuorum);
            }
            SessionEvent::Witness(WitnessState::Disconnected) => {
                let both = self.view(at, database).is_some_and(|view| !view.bound);
                self.coverage.hit(match (role, both) {
                    (Some(Role::Principal), false) => Row::PrincipalLosesWitness,
                    (Some(Role::Principal), true) => Row::PrincipalLosesBoth,
                    (_, false) => Row::MirrorLosesWitness,
                    (_, true) => Row::MirrorLosesBoth,
                });
            }
            SessionEvent::RoleChanged { why, role, .. } => match (why, role) {
                (RoleChange::Failover, Role::Mirror) => self.coverage.hit(Row::FailoverDone),
                (RoleChange::Yielded, Role::Mirror) => self.coverage.hit(Row::YieldedToHigher),
                (RoleChange::Forced, Role::Principal) => self.coverage.hit(Row::ForcedService),
                (RoleChange::TakeOver, Role::Principal) => self.coverage.hit(Row::AutomaticFailover),
                _ => {}
            },
            SessionEvent::LogLost { .. } => self.coverage.hit(Row::LogLost),
            SessionEvent::LogWhole => self.coverage.hit(Row::LogWhole),
            SessionEvent::PartnerRefused(error) if error.reason == Reason::Incomplete => {
                self.coverage.hit(Row::RoleDeclined);
            }
            SessionEvent::TailAdopted { .. } => self.coverage.hit(Row::TailAdopted),
            SessionEvent::SeedDone { .. } => self.coverage.hit(Row::SeedFinished),
            SessionEvent::SeedFailed(_) => self.coverage.hit(Row::SeedFailed),
            SessionEvent::TimedOut => self.coverage.hit(Row::PartnerSilent),
            SessionEvent::StorageFailed(error) => match role {
                Some(Role::Mirror) => self.coverage.hit(Row::MirrorStorageRefused),
                Some(Role::Principal) if error != StorageError::CannotAdopt => {
                    self.coverage.hit(Row::PrincipalReadFailed);
                }
                _ => {}
            },
            SessionEvent::Reseed { why, .. } => match why {
                ReseedReason::ChainMismatch => self.coverage.hit(Row::ReseedMismatch),
                ReseedReason::LeftBehind => self.coverage.hit(Row::ReseedLeftBehind),
                ReseedReason::Gap => self.coverage.hit(Row::ReseedGap),
                ReseedReason::CannotAdopt => self.coverage.hit(Row::ReseedCannotAdopt),
                ReseedReason::Asked | ReseedReason::LogGone => {}
            },
            _ => {}
        }
    }

    fn state_row(
        &mut self,
        role: Option<Role>,
        before: SessionState,
        now: SessionState,
        witness: Option<WitnessState>,
    ) {
        use SessionState::{Disconnected, Suspended, Synchronized, Synchronizing};
        let row = match (before, now) {
            (Synchronizing, Synchronized) => Row::BecameSynchronized,
            (Synchronized, Disconnected) => Row::LostWhenSynchronized,
            (Synchronizing, Disconnected) => Row::LostWhenSynchronizing,
            (Disconnected, Synchronizing | Synchronized) => Row::LinkRestored,
            (_, Suspended) => Row::Suspended,
            (Suspended, _) => Row::Resumed,
            _ => return,
        };
        self.coverage.hit(row);
        if now == Disconnected && before != Suspended {
            let row = match (role, witness) {
                (Some(Role::Principal), None) => Row::PrincipalLosesMirrorAlone,
                (Some(Role::Principal), Some(WitnessState::Connected)) => Row::PrincipalLosesMirror,
                (Some(Role::Principal), Some(_)) => Row::PrincipalLosesBoth,
                (Some(Role::Mirror), None) => Row::MirrorLosesPrincipalAlone,
                (Some(Role::Mirror), Some(WitnessState::Connected)) => Row::MirrorLosesPrincipal,
                (Some(Role::Mirror), Some(_)) => Row::MirrorLosesBoth,
                (None, _) => return,
            };
            self.coverage.hit(row);
        }
    }
}

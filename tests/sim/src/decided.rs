//! What must hold where it is decided: when SYNC is recorded, a role_sequence is granted, or the role is handed over (docs/simulator.md).

use std::collections::BTreeSet;

use dbmirror_core::crypto::Provider;
use dbmirror_core::message::Sync;
use dbmirror_core::session::decide::witness::Keeping;
use dbmirror_core::session::{DatabaseId, Role, Stored};
use dbmirror_core::witness::WitnessStored;

use crate::disk::RecordChange;
use crate::world::World;

impl<P: Provider + 'static> World<P> {
    /// A record has become durable.
    pub fn recorded(&mut self, at: usize, change: &RecordChange) {
        if let Some(wrong) = self.granted(at, change) {
            self.fail(format!("instance {at}: {wrong}"));
            return;
        }
        if let Some(wrong) = self.oracle.recorded(at, change) {
            self.fail(format!("instance {at}: {wrong}"));
        }
    }

    /// A record is on its way to a medium.
    pub fn handed_to_medium(&mut self, at: usize, change: &RecordChange) {
        if let Some(wrong) = self.sync_claimed(at, change) {
            self.fail(format!("instance {at}: {wrong}"));
        }
    }

    /// R1: where an owner records SYNC, its mirror's medium has all that applications were told. That holds when it decides so: until a
    /// medium that hangs has the record, the mirror's may have lost blocks to damage, which it tells before it is level again.
    fn sync_claimed(&mut self, at: usize, change: &RecordChange) -> Option<String> {
        let RecordChange::Live(database, bytes) = change else {
            return None;
        };
        let stored = Stored::decode(bytes).ok()?;
        let record = stored.record;
        let claims =
            stored.role == Role::Principal && record.owner == self.nodes[at].id && record.sync == Sync::Sync;
        if !claims || self.oracle.syncs.insert((at, stored.guid), record) == Some(record) {
            return None;
        }
        let mirror = self.mirror_of(at, *database)?;
        let row = self.told_and_not_durable(mirror, *database)?;
        Some(format!(
            "SYNC is recorded at {record:?}, and instance {mirror} lacks acknowledged row {row:x}"
        ))
    }

    /// R3: who is granted a role_sequence that nobody had, not by force, has all that applications were told.
    fn granted(&self, at: usize, change: &RecordChange) -> Option<String> {
        let RecordChange::Witness(guid, bytes, _) = change else {
            return None;
        };
        let Keeping::Record(record) = WitnessStored::decode(bytes).ok()?.keeping else {
            return None;
        };
        if record.forced || self.oracle.owners.contains_key(&(*guid, record.role_sequence)) {
            return None;
        }
        let asker = self.nodes.iter().position(|node| node.id == record.owner)?;
        // Who has closed its ask can make nothing of the grant any more, however late it comes to a medium that hung; and who has lost blocks
        // to damage since it asked knows that, and does not open (R6).
        let (database, stored) = self.nodes[asker].disk.known.get(guid)?;
        if stored.incomplete || stored.record.role_sequence >= record.role_sequence {
            return None;
        }
        let row = self.told_and_not_durable(asker, *database)?;
        Some(format!(
            "role_sequence {} is granted by {at} to instance {asker}, which lacks acknowledged row {row:x}",
            record.role_sequence
        ))
    }

    /// Who of the pair of a database is not `at`.
    pub(crate) fn mirror_of(&self, at: usize, database: DatabaseId) -> Option<usize> {
        let shop = self.shops.iter().find(|shop| shop.id == database)?;
        Some(shop.pair[usize::from(shop.pair[0] == at)])
    }

    /// A row that applications were told to be committed, and that a member's medium lacks.
    fn told_and_not_durable(&self, at: usize, database: DatabaseId) -> Option<u64> {
        let told = self.oracle.acknowledged.get(&database)?;
        let held: BTreeSet<u64> = self.nodes[at].disk.db(database).map_or_else(BTreeSet::new, |db| {
            let hardened = db.blocks.iter().take(db.durable);
            db.rows
                .iter()
                .copied()
                .chain(hardened.map(|block| block.row()))
                .collect()
        });
        told.keys().find(|row| !held.contains(row)).copied()
    }

    /// R4: what an owner has in its log when it gives the role away by FAILOVER is to be at who takes it.
    pub fn handed_over(&mut self, at: usize, database: DatabaseId, role_sequence: u32) {
        let Some(guid) = self.view(at, database).and_then(|view| view.guid) else {
            return;
        };
        let Some(db) = self.nodes[at].disk.db(database) else {
            return;
        };
        let rows = db.rows.iter().take(db.log_rows()).copied().collect();
        self.oracle.handed.insert(database, (guid, role_sequence, rows));
    }
}

//! How long the block log is kept.
//!
//! Blocks stay for log backups and for mirrors that come back, as long as the whole log is not larger than [`KEEP`]. Above it
//! goes what neither the mirror nor the redo of this instance needs. Above [`FULL`] goes everything but what redo needs: a
//! mirror that stayed away for so long is seeded anew, and the disk does not fill up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dbmirror_adapters::blocklog::{BlockLog, LogId};
use dbmirror_adapters::sqlite::Anchor;
use dbmirror_core::message::block::{BlockHeader, HEADER_LEN};
use dbmirror_core::session::{DatabaseId, Role};

use super::records::Records;
use super::run::Instance;
use super::world::locked;

/// Bytes of log that are kept in any case.
const KEEP: u64 = 1 << 30;
/// Bytes of log above which no mirror is waited for.
const FULL: u64 = 4 << 30;

/// What one database's log is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    database: DatabaseId,
    log: LogId,
    /// Its blocks are redone into a mirror's file; else they were captured from a file that holds them.
    redo: bool,
    /// Up to where the partner does not need it any more; `None` without a partner.
    partner: Option<u64>,
    /// Up to where it is durable here.
    end: u64,
}

impl Need {
    /// Up to which sequence the blocks of a captured log may go when the whole log has `size` bytes.
    fn spare(&self, size: u64) -> u64 {
        match self.partner {
            Some(hardened) if size <= FULL => hardened.min(self.end),
            _ => self.end,
        }
    }
}

impl Instance<'_> {
    /// Prunes the log on a thread of its own, when it has grown too large.
    pub(super) fn prune_if_due(&mut self) {
        let size = self.world.logs.log.size();
        if size <= KEEP || self.world.pruning.swap(true, Ordering::AcqRel) {
            return;
        }
        let sessions: HashMap<DatabaseId, _> = self
            .endpoint
            .sessions()
            .map(|s| (s.database, (s.role, s.hardened_on_both.sequence)))
            .collect();
        let needs: Vec<Need> = self
            .world
            .logs
            .databases
            .iter()
            .map(|(&database, d)| {
                let session = sessions.get(&database);
                Need {
                    database,
                    log: d.log_id,
                    redo: !d.capturing,
                    partner: session
                        .filter(|(role, _)| *role == Role::Principal)
                        .map(|(_, both)| *both),
                    end: d.hardened.position.sequence,
                }
            })
            .collect();
        let (log, records) = (
            Arc::clone(&self.world.logs.log),
            Arc::clone(&self.world.logs.records),
        );
        let (handle, done) = (self.world.handle.clone(), Arc::clone(&self.world.pruning));
        let spawned = std::thread::Builder::new().name("prune".into()).spawn(move || {
            if let Err(why) = prune(&log, &records, &needs, size) {
                handle.run(move |i| {
                    i.world
                        .log_own(16, format!("The block log could not be pruned: {why}."))
                });
            }
            done.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.world.pruning.store(false, Ordering::Release);
        }
    }
}

/// One pruning at a time.
pub(super) type Pruning = Arc<AtomicBool>;

fn prune(
    log: &BlockLog,
    records: &std::sync::Mutex<Records>,
    needs: &[Need],
    size: u64,
) -> Result<(), String> {
    let mut keep_after = HashMap::new();
    for need in needs {
        let records = locked(records);
        let Some(mut row) = records.database(need.database).map_err(|e| e.text)? else {
            continue;
        };
        let stored = row.anchor.as_deref().and_then(Anchor::from_bytes);
        let upto = if need.redo {
            // A mirror stores an anchor when its file holds everything up to there.
            stored.map_or(0, |a| a.end.position.sequence)
        } else {
            let upto = need.spare(size);
            // Where the log begins there must be an anchor: that of the last block that goes.
            let mut header = [0; HEADER_LEN];
            let read = log
                .read(need.log, upto, 0, &mut header)
                .map_err(|e| e.to_string())?;
            match read.and_then(|_| BlockHeader::parse(&header).ok()) {
                Some(header) => {
                    row.anchor = Some(Anchor::of(&header).to_bytes().to_vec());
                    records.set_database(need.database, &row).map_err(|e| e.text)?;
                    upto
                }
                None => continue,
            }
        };
        keep_after.insert(need.log, upto);
    }
    log.prune(&keep_after).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_waited_for_until_the_disk_is_in_danger() {
        let need = |partner| Need {
            database: DatabaseId(5),
            log: LogId([1; 16]),
            redo: false,
            partner,
            end: 100,
        };
        assert_eq!(need(None).spare(KEEP + 1), 100);
        assert_eq!(need(Some(40)).spare(KEEP + 1), 40);
        assert_eq!(need(Some(40)).spare(FULL + 1), 100);
        assert_eq!(need(Some(400)).spare(FULL), 100);
    }
}

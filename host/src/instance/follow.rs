//! What the engine tells of databases reaches the catalog here, on a thread of its own: the engine must not wait for the catalog,
//! which a statement may hold while it waits for the engine.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::TransactionBehavior;

use super::Instance;
use crate::catalog::traveling::{self, Closed, Taken};
use crate::catalog::{databases, keys};
use crate::engine::{DatabaseChange, DatabaseState};
use crate::errorlog;
use crate::messages::{M15507, M50114, M50115, Raised};

/// Between two looks at the master key of one database. A partner sends one whenever it likes, and each may cost a transaction
/// and some guesses of passwords.
const PAUSE: Duration = Duration::from_secs(5);

/// Master keys that principals told and nobody has looked at yet: at most one for each database, however many a partner
/// sends.
pub(super) type Told = Arc<Mutex<BTreeMap<i32, Vec<u8>>>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When master keys are looked at: each database's at most once within [`PAUSE`].
#[derive(Debug, Default)]
struct Pace {
    last: BTreeMap<i32, Instant>,
    due: BTreeMap<i32, Instant>,
}

impl Pace {
    /// One came at `now`.
    fn came(&mut self, database_id: i32, now: Instant) {
        let at = self
            .last
            .get(&database_id)
            .and_then(|last| last.checked_add(PAUSE))
            .map_or(now, |free| free.max(now));
        self.due.entry(database_id).or_insert(at);
    }

    /// The one to be looked at now, if any.
    fn take(&mut self, now: Instant) -> Option<i32> {
        let ready = self.due.iter().find(|(_, at)| **at <= now).map(|(id, _)| *id)?;
        self.due.remove(&ready);
        self.last.insert(ready, now);
        Some(ready)
    }

    /// How long until the next one; nothing when none waits.
    fn wait(&self, now: Instant) -> Option<Duration> {
        self.due
            .values()
            .min()
            .map(|at| at.saturating_duration_since(now))
    }
}

/// Follows until the engine has ended.
pub(super) fn start(instance: &Arc<Instance>, changes: Receiver<(i32, DatabaseChange)>, told: Told) {
    let instance = Arc::downgrade(instance);
    let spawned = std::thread::Builder::new()
        .name("catalog".to_owned())
        .spawn(move || {
            let mut pace = Pace::default();
            let mut refused = BTreeMap::new();
            loop {
                let came = match pace.wait(Instant::now()) {
                    None => changes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(wait) => changes.recv_timeout(wait),
                };
                if came == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                let Some(instance) = instance.upgrade() else {
                    return;
                };
                let report = |database_id: i32, done: Result<(), Raised>| {
                    if let Err(error) = done {
                        tracing::error!(database_id, "the catalog could not follow the engine: {error}");
                    }
                };
                match came {
                    Ok((database_id, DatabaseChange::Seeded { family_guid })) => {
                        report(database_id, instance.seeded(database_id, &family_guid));
                    }
                    Ok((database_id, DatabaseChange::State(state))) => {
                        report(database_id, instance.role_changed(database_id, state));
                    }
                    Ok((database_id, DatabaseChange::MasterKey { .. })) => {
                        pace.came(database_id, Instant::now());
                    }
                    Err(_) => {}
                }
                while let Some(database_id) = pace.take(Instant::now()) {
                    // Of several that came meanwhile the newest counts.
                    let newest = lock(&told).remove(&database_id);
                    if let Some(bytes) = newest {
                        report(
                            database_id,
                            instance.take_master_key(database_id, &bytes, &mut refused),
                        );
                    }
                }
            }
        });
    if let Err(error) = spawned {
        tracing::error!("no thread to follow the engine could be started: {error}");
    }
}

impl Instance {
    /// The database has another role in its session: applications use it, or it is a copy that only redo writes.
    fn role_changed(&self, database_id: i32, state: DatabaseState) -> Result<(), Raised> {
        let master = self.master();
        let state = match state {
            DatabaseState::Online => databases::State::Online,
            DatabaseState::Restoring => databases::State::Restoring,
        };
        databases::set_state(&master, database_id, state)?;
        // A mirror is told the master key by whoever is its principal now.
        self.publish_master_key(&master, database_id)
    }

    fn seeded(&self, database_id: i32, family: &[u8; 16]) -> Result<(), Raised> {
        let above = self.service_master_key();
        traveling::change_family(&self.master(), database_id, family, &above)?;
        self.open_by_kept_password(database_id)
    }

    /// The principal of that database tells its master key. `refused` has, for each database, the last one that was not taken,
    /// of which the log has heard.
    fn take_master_key(
        &self,
        database_id: i32,
        bytes: &[u8],
        refused: &mut BTreeMap<i32, Vec<u8>>,
    ) -> Result<(), Raised> {
        let told = traveling::decode(bytes)
            .map_err(|why| M15507.refuse(&[&format!("the partner's master key was not taken: {why}")]))?;
        let (taken, name) = {
            let mut master = self.master();
            let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let taken = traveling::take(&transaction, database_id, told)?;
            let name = databases::by_id(&transaction, database_id)?.map(|database| database.name);
            transaction.commit()?;
            if !matches!(taken, Taken::Same | Taken::Kept(_)) {
                // Should the roles change, it is this instance that tells it.
                self.publish_master_key(&master, database_id)?;
            }
            (taken, name.unwrap_or_else(|| database_id.to_string()))
        };
        let what = match &taken {
            Taken::Same => None,
            Taken::New => Some("it is kept with this copy, which had none"),
            Taken::Replaced => Some("it took the place of another one, under which no private key lay"),
            Taken::Passwords => Some("it is the key that this copy has, with other passwords"),
            Taken::Removed => Some("there is none any more, and that of this copy was removed"),
            Taken::Kept(certificate) => {
                if refused
                    .insert(database_id, bytes.to_vec())
                    .is_none_or(|before| before != bytes)
                {
                    errorlog::raised(&M50115.refuse(&[&name, certificate]));
                }
                None
            }
        };
        if let Some(what) = what {
            refused.remove(&database_id);
            errorlog::raised(&M50114.inform(&[&name, &what]));
        }
        self.open_by_kept_password(database_id)
    }

    /// Tries the passwords that were kept for a database's master key, if it does not open by itself. Each guess takes a while:
    /// the catalog is not held meanwhile, and must not be held by the caller.
    ///
    /// # Errors
    /// `master.db` failed, or a key operation. That no password fits is no error.
    pub fn open_by_kept_password(&self, database_id: i32) -> Result<(), Raised> {
        let closed = {
            let master = self.master();
            if keys::row(&master, database_id)?.is_none() {
                return Ok(());
            }
            Closed::find(&master, database_id, &self.service_master_key())?
        };
        if let Some(closed) = closed
            && let Some(key) = closed.open()
        {
            let mut master = self.master();
            let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
            closed.keep_open(&transaction, &key, &self.service_master_key())?;
            transaction.commit()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_that_sends_key_after_key_is_looked_at_once_in_a_while() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        pace.came(7, at(0));
        assert_eq!((pace.take(at(0)), pace.take(at(0))), (Some(7), None));
        for millis in 1..100 {
            pace.came(7, at(millis));
            assert_eq!(pace.take(at(millis)), None);
        }
        // Another database's does not wait for it.
        pace.came(8, at(100));
        assert_eq!(pace.take(at(100)), Some(8));
        assert_eq!(pace.wait(at(1000)), Some(Duration::from_secs(4)));
        assert_eq!(pace.take(at(4999)), None);
        assert_eq!((pace.take(at(5000)), pace.take(at(5000))), (Some(7), None));
        assert_eq!(pace.wait(at(5000)), None);
        // After a quiet time at once.
        pace.came(7, at(20_000));
        assert_eq!(pace.take(at(20_000)), Some(7));
    }
}

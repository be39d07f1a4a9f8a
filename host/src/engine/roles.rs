//! What the host does when a role changes (`docs/decisions/0007`): writers shut out and let in, files opened for applications and closed to
//! them, and the statements that wait for it.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use dbmirror_core::endpoint::Role as EndpointRole;
use dbmirror_core::message::{Address, LogEnd, Position};
use dbmirror_core::session::{
    DatabaseId, Fence, Reason, Role, RoleChange, SessionError, SessionEvent, WitnessState,
};

use super::run::{Handle, Instance};
use super::sessions::core_id;
use super::statements::{parse_address, test_connection};
use super::worker::Command;
use super::{DatabaseChange, DatabaseState, EngineError};

/// How long a statement waits for a change of role or witness; core gives up a fail-over after the session's time-out.
const CHANGE: Duration = Duration::from_secs(40);

/// A line for the error log: number, severity, text.
pub(super) type Line = (i32, u8, String);

/// Runs a command whose outcome comes as an event, and waits for that.
fn change(
    handle: &Handle,
    database_id: i32,
    begin: impl for<'a> FnOnce(&mut Instance<'a>, DatabaseId) -> Result<(), SessionError> + Send + 'static,
) -> Result<(), EngineError> {
    let id = core_id(database_id);
    let (sender, changed) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        // Its event may come before this returns.
        let before = i.world.changes.insert(id, sender);
        if let Err(e) = begin(i, id) {
            match before {
                Some(before) => i.world.changes.insert(id, before),
                None => i.world.changes.remove(&id),
            };
            return Err(i.session_error(id, e));
        }
        i.settle();
        Ok(())
    })??;
    changed.recv_timeout(CHANGE).unwrap_or_else(|_| {
        Err(EngineError::new(
            1421,
            "The other instances did not complete it in time; it may still come about. See sys.database_mirroring and the error logs.",
        ))
    })
}

pub(super) fn set_witness(handle: &Handle, database_id: i32, address: &str) -> Result<(), EngineError> {
    let witness: Address = parse_address(address)?;
    // Walking the steps of a connection first tells which one fails, before anything is begun.
    test_connection(handle, address, Duration::ZERO, &mut |_| {})?;
    change(handle, database_id, move |i, id| {
        let now = i.now();
        i.endpoint.set_witness(&mut i.world.env_at(now), id, witness)
    })
}

pub(super) fn witness_off(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    change(handle, database_id, |i, id| {
        let now = i.now();
        i.endpoint.witness_off(&mut i.world.env_at(now), id)
    })
}

pub(super) fn failover(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    change(handle, database_id, |i, id| {
        let now = i.now();
        i.endpoint.failover(&mut i.world.env_at(now), id)
    })
}

pub(super) fn force_service(handle: &Handle, database_id: i32) -> Result<(), EngineError> {
    change(handle, database_id, |i, id| {
        let now = i.now();
        i.endpoint.force_service(&mut i.world.env_at(now), id)
    })
}

impl Instance<'_> {
    /// What the endpoint may be to others.
    pub(super) fn set_role(&mut self, role: EndpointRole) {
        self.endpoint.set_role(role);
    }

    /// Does what an event of a role asks for, and says what the log is told; `None` for another event.
    pub(super) fn role_event(&mut self, database: DatabaseId, event: SessionEvent) -> Option<Option<Line>> {
        let name = self.world.name(database);
        let info = |number, text: String| Some((number, 10_u8, text));
        Some(match event {
            SessionEvent::Fence(why) => {
                self.fence(database, why);
                match why {
                    Fence::Failover | Fence::Restarted => None,
                    Fence::Yielded => info(
                        1499,
                        format!(
                            "Database '{name}' takes no more writes here: its partner has the role of principal."
                        ),
                    ),
                    Fence::NoQuorum => info(
                        955,
                        format!(
                            "Database '{name}' takes no more writes: neither the partner nor the witness of its session is connected. It goes on \
                             as soon as one of them is."
                        ),
                    ),
                    Fence::Clash => info(
                        1499,
                        format!(
                            "Database '{name}' takes no more writes: both partners own the role of principal."
                        ),
                    ),
                }
            }
            SessionEvent::Serving { role_sequence } => {
                self.serves(database);
                info(
                    1499,
                    format!("Database '{name}' serves as principal (role sequence {role_sequence})."),
                )
            }
            SessionEvent::RoleChanged {
                role,
                role_sequence,
                why,
                at,
            } => {
                self.take_role(database, role);
                self.answer_change(database, Ok(()));
                let (from, to) = match role {
                    Role::Principal => ("MIRROR", "PRINCIPAL"),
                    Role::Mirror => ("PRINCIPAL", "MIRROR"),
                };
                info(
                    1480,
                    format!(
                        "Database '{name}' changes its role from {from} to {to} because of {} (role sequence {role_sequence}, end of log \
                         {}).",
                        match why {
                            RoleChange::Failover => "a fail-over that the principal's operator asked for",
                            RoleChange::TakeOver => "an automatic fail-over that the witness granted",
                            RoleChange::Forced => "forced service",
                            RoleChange::Yielded => "its partner, which has the role now",
                        },
                        at.lsn()
                    ),
                )
            }
            SessionEvent::Rewind { to } => {
                // This version cannot undo blocks in the file: a seed takes the copy's place, and the copy is kept beside it.
                let now = self.now();
                self.endpoint.cannot_rewind(&mut self.world.env_at(now), database);
                info(
                    1499,
                    format!(
                        "Database '{name}' holds commits after {} that its principal does not have: it is seeded anew from the principal, and the \
                         copy with those commits is kept beside it.",
                        to.lsn()
                    ),
                )
            }
            SessionEvent::WitnessChanged => {
                self.answer_change(database, Ok(()));
                info(1499, format!("The witness of database '{name}' is set as asked."))
            }
            SessionEvent::WitnessRefused(error)
            | SessionEvent::FailoverFailed(error)
            | SessionEvent::ForceRefused(error) => {
                let error = self.session_error(database, error);
                let line = (error.number, 16, error.text.clone());
                self.answer_change(database, Err(error));
                Some(line)
            }
            SessionEvent::Forced {
                common,
                loss_possible,
            } => {
                let loss = if loss_possible {
                    "the old principal may have committed more, which is not here"
                } else {
                    "nothing that was committed is missing"
                };
                Some((
                    1499,
                    if loss_possible { 16 } else { 10 },
                    format!(
                        "Service is forced for database '{name}': both partners have everything up to {}; {loss}.",
                        common.lsn()
                    ),
                ))
            }
            SessionEvent::Clash => Some((
                1499,
                16,
                format!(
                    "Both partners of database '{name}' took the role of principal, and both refuse writes. Run SET PARTNER \
                     FORCE_SERVICE_ALLOW_DATA_LOSS on the one whose data is to stay."
                ),
            )),
            SessionEvent::Witness(state) => {
                let state = match state {
                    WitnessState::Unknown => return Some(None),
                    WitnessState::Connected => "CONNECTED",
                    WitnessState::Disconnected => "DISCONNECTED",
                };
                info(1499, format!("The witness of database '{name}' is {state}."))
            }
            // No application waits for one: there is no gate yet.
            SessionEvent::Acknowledged { .. } => None,
            _ => return None,
        })
    }

    /// Shuts writers out.
    fn fence(&mut self, database: DatabaseId, why: Fence) {
        let witness = self
            .endpoint
            .sessions()
            .find(|s| s.database == database)
            .is_some_and(|s| s.witness.is_some());
        let settle = matches!(why, Fence::Failover | Fence::Yielded);
        // Without a witness only gated applications wait for the partner at a restart.
        if why == Fence::Restarted && !witness {
            return;
        }
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.settling |= settle;
            d.worker.send(Command::Fence { settle });
        }
    }

    /// Writers are shut out, and the log ends there, durably.
    pub(super) fn fenced(&mut self, database: DatabaseId, end: LogEnd) {
        let Some(d) = self.world.logs.databases.get_mut(&database) else {
            return;
        };
        d.settling = false;
        let closes = std::mem::take(&mut d.closes);
        if d.capturing {
            d.hardened = end;
            let now = self.now();
            self.endpoint.log_grew(&mut self.world.env_at(now), database, end);
        }
        if closes {
            self.close_for_applications(database);
        }
        let now = self.now();
        self.endpoint.fenced(&mut self.world.env_at(now), database);
    }

    /// Writers are let in, if anybody has shut them out: the role is this member's, or there is no session any more.
    pub(super) fn lift_fence(&mut self, database: DatabaseId) {
        let Some(d) = self.world.logs.databases.get_mut(&database) else {
            return;
        };
        d.settling = false;
        if std::mem::take(&mut d.closes) {
            self.close_for_applications(database);
        }
        if let Some(d) = self.world.logs.databases.get(&database) {
            d.worker.send(Command::LiftFence);
        }
    }

    /// Applications may write.
    fn serves(&mut self, database: DatabaseId) {
        self.lift_fence(database);
        self.set_state(database, DatabaseState::Online);
    }

    fn take_role(&mut self, database: DatabaseId, role: Role) {
        match role {
            Role::Mirror => match self.world.logs.databases.get_mut(&database) {
                // What writers have committed goes into the log first.
                Some(d) if d.settling => d.closes = true,
                _ => self.close_for_applications(database),
            },
            Role::Principal => {
                if let Some(d) = self.world.logs.databases.get_mut(&database) {
                    // The role may be back before the file was closed for having lost it.
                    d.closes = false;
                    // What is hardened is decided now.
                    d.decided = d.hardened.position;
                    d.redo();
                }
                self.set_state(database, DatabaseState::Online);
            }
        }
    }

    /// The copy is a mirror's: its file is written by redo only.
    fn close_for_applications(&mut self, database: DatabaseId) {
        if let Some(d) = self.world.logs.databases.get_mut(&database) {
            d.capturing = false;
            d.adopting = false;
            d.decided = Position::START;
            d.worker.send(Command::StopCapture);
            d.worker.send(Command::Apply {
                upto: Position::START,
                adopt: false,
            });
        }
        self.set_state(database, DatabaseState::Restoring);
    }

    /// Knows whether applications may use the database, and has the catalog follow.
    pub(super) fn set_state(&mut self, database: DatabaseId, state: DatabaseState) {
        let Some(config) = self.world.names.get_mut(&database) else {
            return;
        };
        if config.state == state {
            return;
        }
        config.state = state;
        let name = config.name.clone();
        self.world.catalog.set_refusal(
            &name,
            match state {
                DatabaseState::Online => Reason::NotRestoring,
                DatabaseState::Restoring => Reason::NotWaiting,
            },
        );
        self.world
            .notices
            .database_changed(database.0.cast_signed(), DatabaseChange::State(state));
    }

    fn answer_change(&mut self, database: DatabaseId, answer: Result<(), EngineError>) {
        if let Some(waiting) = self.world.changes.remove(&database) {
            let _ = waiting.send(answer);
        }
    }
}

//! What the engine does about the endpoint's events: log lines, errors, statements that waited, capture and redo.

use dbmirror_core::endpoint::{CloseReason, ConnectionEvent, ConnectionId, Event, Step};
use dbmirror_core::session::{
    DatabaseId, EndedBy, Reason, ReseedReason, SessionError, SessionEvent, SessionState,
};

use super::run::Instance;
use super::worker::Command;
use super::world::{Probe, Told};
use super::{CertificateEvent, DatabaseState, EngineError, Refusal, TestStep, explain, pairing};

impl Instance<'_> {
    pub(super) fn react(&mut self, told: Told) {
        match told.event {
            Event::Connection { connection, event } => self.connection_event(connection, event, &told),
            Event::Session { database, event } => self.session_event(database, event),
            Event::Refused {
                login,
                instance,
                guid,
                kind,
                ..
            } => {
                let peer = told.peer.map_or_else(|| "?".into(), |p| p.to_string());
                let login = self.world.catalog.login_name(login).unwrap_or("?").to_owned();
                let reason = format!(
                    "The login {login} (instance {instance}) sent a message of kind {kind} for mirroring session {guid}, of which it is \
                     no member here. Nothing was changed."
                );
                self.world
                    .note_error(&peer, "inbound", "session", 1402, &reason, 1402);
            }
            Event::Witness { guid, event } => self.witness_event(guid, event),
            Event::Pairing { connection, event } => {
                let accepted = told.view.is_none_or(|v| v.accepted);
                let peer = told.peer.map_or_else(|| "?".into(), |p| p.to_string());
                self.pairing_event(connection, event, accepted, &peer);
            }
            Event::EventsLost(n) => self
                .world
                .log_own(10, format!("{n} events were not recorded: too many at once.")),
        }
    }

    fn connection_event(&mut self, id: ConnectionId, event: ConnectionEvent, told: &Told) {
        let outbound = told.view.is_some_and(|v| !v.accepted);
        let peer = match (&told.view, told.peer) {
            (Some(view), _) if outbound => view.address.as_str().to_owned(),
            (_, Some(peer)) => peer.to_string(),
            _ => "?".into(),
        };
        let ok = |step: &str, text: String| {
            Probe::Step(TestStep {
                step: step.into(),
                ok: true,
                text,
            })
        };
        match event {
            ConnectionEvent::Connected => {
                let to = told.peer.map_or_else(|| peer.clone(), |p| p.to_string());
                self.pairing_connected(id, &to);
                self.world
                    .tell_probe(id, ok("resolve", format!("{peer} is {to}")));
                self.world
                    .tell_probe(id, ok("connect", format!("connected to {to}")));
            }
            ConnectionEvent::LoggedIn {
                login,
                certificate,
                suite,
            } => {
                let name = self.world.catalog.login_name(login).unwrap_or("?").to_owned();
                self.world
                    .tell_probe(id, ok("tls", format!("TLS 1.3, {}, dbm/1", suite.name())));
                self.world.tell_probe(
                    id,
                    ok(
                        "certificate",
                        format!("the peer owns certificate {certificate}, stored here"),
                    ),
                );
                self.world
                    .tell_probe(id, ok("login", format!("login {name} has CONNECT")));
                let text = format!(
                    "Database Mirroring login succeeded for user '{name}'. Authentication mode: CERTIFICATE."
                );
                self.world.log(28046, 10, text, vec![("peer", peer)]);
            }
            ConnectionEvent::Online { instance } => {
                let name = told.view.map_or_else(String::new, |v| v.name.as_str().to_owned());
                self.world.tell_probe(
                    id,
                    ok("ready", format!("instance {name} ({instance}) accepts messages")),
                );
                self.world.tell_probe(id, Probe::Online);
                if let Some(view) = told.view
                    && let (Some(login), Some(certificate)) = (view.login, view.certificate)
                {
                    self.world.notices.certificate(CertificateEvent::Online {
                        peer: (login.cast_signed(), instance.0),
                        certificate_id: certificate.cast_signed(),
                        own_certificate_id: view.own_certificate.cast_signed(),
                    });
                }
            }
            ConnectionEvent::CertificateAnswered { number, refusal } => {
                if let Some(view) = told.view
                    && let (Some(login), Some(instance)) = (view.login, view.instance)
                {
                    self.world.notices.certificate(CertificateEvent::Answered {
                        peer: (login.cast_signed(), instance.0),
                        number,
                        refusal: refusal.map(|error| Refusal {
                            number: error.number,
                            reason: error.reason,
                        }),
                    });
                }
            }
            ConnectionEvent::CertificateRefused { refusal } => {
                let direction = if outbound { "outbound" } else { "inbound" };
                let number = i32::try_from(refusal.number).unwrap_or(28035);
                let login = told
                    .view
                    .and_then(|v| v.login)
                    .and_then(|login| self.world.catalog.login_name(login))
                    .unwrap_or("?");
                let text = format!(
                    "What {peer} (login {login}) told about a certificate of its own was refused: {}. Nothing was changed.",
                    refusal.reason.text()
                );
                self.world
                    .note_error(&peer, direction, "certificate", number, &text, number);
            }
            // A server has a clock of its own.
            ConnectionEvent::TimeTold { .. } => {}
            ConnectionEvent::Closed { step, reason } => {
                let pairing = told.view.is_some_and(|v| v.pairing);
                self.connection_closed(id, step, reason, &peer, (outbound, pairing));
            }
        }
    }

    fn connection_closed(
        &mut self,
        id: ConnectionId,
        step: Step,
        reason: CloseReason,
        peer: &str,
        (outbound, pairing): (bool, bool),
    ) {
        self.world.guids.remove(&id);
        let mut text = explain::close_reason(&self.world.catalog, reason, peer, outbound);
        let mut number = i32::try_from(reason.number()).unwrap_or(1499);
        if pairing {
            if let Some(said) = pairing::closed(reason, peer) {
                (number, text) = said;
            }
            if reason != CloseReason::Done {
                self.pairing_closed(id, !outbound, number, &text);
            }
        }
        let step_name = explain::step(step, reason);
        if reason == CloseReason::Done {
            self.world.probes.remove(&id);
        } else if self.world.probes.contains_key(&id) {
            let failed = TestStep {
                step: step_name.into(),
                ok: false,
                text: text.clone(),
            };
            self.world.tell_probe(id, Probe::Step(failed));
            let error = EngineError::new(
                1418,
                format!(
                    "The server network address '{peer}' can not be reached or does not let this instance in. {text}"
                ),
            );
            self.world.tell_probe(id, Probe::Failed(error));
        }
        if reason.is_orderly() {
            return;
        }
        let in_login = matches!(step, Step::Tls | Step::Certificate | Step::Login);
        let (log_number, direction) = match (outbound, in_login) {
            (true, _) if pairing => (number, "outbound"),
            (true, _) => (1474, "outbound"),
            (false, true) if reason.refused_ids().0.is_some() => (28048, "inbound"),
            (false, true) => (28047, "inbound"),
            (false, false) => (number, "inbound"),
        };
        self.world
            .note_error(peer, direction, step_name, number, &text, log_number);
    }

    fn session_event(&mut self, database: DatabaseId, event: SessionEvent) {
        if let Some(line) = self.role_event(database, event) {
            if let Some((number, severity, text)) = line {
                self.tell(database, number, severity, text);
            }
            return;
        }
        let name = self.world.name(database);
        let log = |number, text: String| (number, 10_u8, text);
        let line = match event {
            SessionEvent::StartedAsPrincipal { guid } => {
                self.answer_start(database, Ok(()));
                if let Some(d) = self.world.logs.databases.get(&database) {
                    d.worker.send(Command::TellLevel);
                }
                log(
                    1440,
                    format!(
                        "Database mirroring is active with database '{name}' as the principal copy (session {guid})."
                    ),
                )
            }
            SessionEvent::StartedAsMirror { guid } => {
                self.learn_family(database);
                log(
                    1441,
                    format!(
                        "Database mirroring is active with database '{name}' as the mirror copy (session {guid})."
                    ),
                )
            }
            SessionEvent::StartFailed(error) => {
                let error = self.session_error(database, error);
                let line = (error.number, 16, error.text.clone());
                self.answer_start(database, Err(error));
                line
            }
            SessionEvent::WaitsAgain => log(
                1442,
                format!(
                    "Database mirroring is inactive for database '{name}': it waits for its principal again."
                ),
            ),
            SessionEvent::State(state) => {
                let text = match state {
                    SessionState::Suspended => "SUSPENDED",
                    SessionState::Disconnected => "DISCONNECTED",
                    SessionState::Synchronizing => "SYNCHRONIZING",
                    SessionState::PendingFailover => "PENDING_FAILOVER",
                    SessionState::Synchronized => "SYNCHRONIZED",
                };
                log(
                    1483,
                    format!("The mirroring session of database '{name}' is {text}."),
                )
            }
            SessionEvent::Ended { by } => {
                let who = match by {
                    EndedBy::Operator => "here",
                    EndedBy::Partner => "by the partner",
                };
                self.lift_fence(database);
                self.capture_alone(database);
                log(
                    1443,
                    format!("Database mirroring has been terminated for database '{name}', {who}."),
                )
            }
            SessionEvent::MayCapture { new_timeline } => {
                if let (Some(d), Some(timelines)) = (
                    self.world.logs.databases.get(&database),
                    self.endpoint.timelines(database),
                ) {
                    d.worker.send(Command::History(timelines));
                }
                self.capture(database, new_timeline);
                return;
            }
            SessionEvent::LogLost { end } => log(
                1499,
                format!(
                    "Blocks of the mirror copy '{name}' that were hardened here are damaged or gone: its log ends at {}. It takes no role \
                     before its principal has sent them again. Check the disk. If the principal is gone for good, only \
                     FORCE_SERVICE_ALLOW_DATA_LOSS opens this copy, and what was lost stays lost.",
                    end.position.lsn()
                ),
            ),
            SessionEvent::LogWhole => log(
                1499,
                format!(
                    "The mirror copy '{name}' holds everything again that its principal has; it may take the role."
                ),
            ),
            SessionEvent::TailAdopted { from, to } => log(
                1499,
                format!(
                    "Database '{name}' took over what its mirror held beyond its own log: from {} to {}.",
                    from.lsn(),
                    to.position.lsn()
                ),
            ),
            SessionEvent::Reseed { why, at } => log(
                1499,
                format!(
                    "The mirror of database '{name}' is seeded anew from {}: {}.",
                    at.lsn(),
                    reseed(why)
                ),
            ),
            SessionEvent::SeedStarted { at, bytes } => log(
                1499,
                format!(
                    "A seed of {bytes} bytes begins for database '{name}' at {}.",
                    at.lsn()
                ),
            ),
            SessionEvent::SeedDone { at } => log(
                1499,
                format!(
                    "The seed of database '{name}' is complete; its log begins at {}.",
                    at.position.lsn()
                ),
            ),
            SessionEvent::SeedFailed(error) => {
                let error = self.session_error(database, error);
                (error.number, 16, error.text)
            }
            SessionEvent::StorageFailed(error) => (
                1454,
                16,
                format!(
                    "The mirroring session of database '{name}' waits: the storage here or there refused ({error})."
                ),
            ),
            SessionEvent::ResumeRefused => (
                5173,
                16,
                format!(
                    "SET PARTNER RESUME was run on the mirror of database '{name}' and is refused: the file here is not what became of the \
                     captured one, and only its operator accepts it (EXEC sp_dbmirror_accept_file). The session stays SUSPENDED."
                ),
            ),
            SessionEvent::PartnerHasNone => (
                1402,
                16,
                format!(
                    "The partner of database '{name}' holds no such mirroring session. If it lost its directory, run SET PARTNER OFF \
                     here and set the session up again."
                ),
            ),
            SessionEvent::RecordConflict(error) | SessionEvent::PartnerRefused(error) => {
                let error = self.session_error(database, error);
                (error.number, 16, error.text)
            }
            SessionEvent::NotThePartner { login, instance } => {
                let login = self.world.catalog.login_name(login).unwrap_or("?").to_owned();
                (
                    1402,
                    16,
                    format!(
                        "The partner's address of database '{name}' is answered by login {login}, instance {instance}, which is not its \
                         partner.{}",
                        self.dropped_login(database)
                    ),
                )
            }
            SessionEvent::Stranger {
                login,
                instance,
                kind,
            } => {
                let login = self.world.catalog.login_name(login).unwrap_or("?").to_owned();
                let text = format!(
                    "The login {login} (instance {instance}), which is not the partner of database '{name}', sent a message of kind \
                     {kind}. Nothing was changed.{}",
                    self.dropped_login(database)
                );
                self.world.note_error(
                    &format!("instance {instance}"),
                    "inbound",
                    "session",
                    1402,
                    &text,
                    1402,
                );
                return;
            }
            SessionEvent::PropertiesChanged => return,
            SessionEvent::TimedOut => (
                1479,
                16,
                format!(
                    "The mirroring connection of database '{name}' timed out: nothing was heard of the partner."
                ),
            ),
            _ => return,
        };
        let (number, severity, text) = line;
        self.tell(database, number, severity, text);
    }

    /// A line of a database for the log; what needs somebody is a row of `sys.dm_dbmirror_errors` too.
    fn tell(&mut self, database: DatabaseId, number: i32, severity: u8, text: String) {
        let name = self.world.name(database);
        if severity > 10 {
            self.world
                .note_error(&name, "session", "session", number, &text, number);
        } else {
            self.world.log(number, severity, text, vec![("database", name)]);
        }
    }

    /// A principal whose session ended before it might capture goes on by itself.
    fn capture_alone(&mut self, database: DatabaseId) {
        let online = self
            .world
            .names
            .get(&database)
            .is_some_and(|c| c.state == DatabaseState::Online);
        let captured = self
            .world
            .logs
            .databases
            .get(&database)
            .is_some_and(|d| d.capturing);
        if online && !captured {
            self.capture(database, false);
        }
    }

    /// A mirror that had nothing learns whose copy it becomes.
    pub(super) fn learn_family(&mut self, database: DatabaseId) {
        let family = self
            .endpoint
            .sessions()
            .find(|s| s.database == database)
            .and_then(|s| s.family);
        if let (Some(family), Some(d)) = (family, self.world.logs.databases.get_mut(&database)) {
            d.family = family;
            d.worker.send(Command::Family(family));
        }
    }

    fn answer_start(&mut self, database: DatabaseId, answer: Result<(), EngineError>) {
        if let Some(waiting) = self.world.starts.remove(&database) {
            let _ = waiting.send(answer);
        }
    }

    /// A session's refusal with its number, in words.
    pub(super) fn session_error(&self, database: DatabaseId, error: SessionError) -> EngineError {
        let name = self.world.name(database);
        let partner = self
            .endpoint
            .sessions()
            .find(|s| s.database == database)
            .map(|s| s.partner.as_str().to_owned());
        let with = partner.map_or_else(String::new, |p| format!(" with partner '{p}'"));
        let more = match error.reason {
            Reason::NotThePartner => self.dropped_login(database),
            _ => String::new(),
        };
        EngineError::new(
            i32::try_from(error.number).unwrap_or(1499),
            format!(
                "Database mirroring of '{name}'{with}: {}.{more}",
                error.reason.text()
            ),
        )
    }

    /// What to do where the login is gone that the session knows its partner by. A login that was created anew has another id.
    fn dropped_login(&self, database: DatabaseId) -> String {
        let known = self
            .endpoint
            .sessions()
            .find(|s| s.database == database)
            .and_then(|s| s.partner_login);
        match known {
            Some(login) if self.world.catalog.login_name(login).is_none() => format!(
                " The login (id {login}) that the session knows its partner by was dropped, or its certificate was; one of the same name \
                 that was created since is another login. ALTER DATABASE … SET PARTNER OFF here, and set the session up again."
            ),
            _ => String::new(),
        }
    }
}

const fn reseed(why: ReseedReason) -> &'static str {
    match why {
        ReseedReason::Asked => "it has nothing yet",
        ReseedReason::ChainMismatch => "its log differs from the principal's at the same position",
        ReseedReason::LeftBehind => "it stands on a timeline that the principal left",
        ReseedReason::LogGone => "the principal's log does not reach back to it",
        ReseedReason::Gap => "changes of the principal's database never reached its log",
        ReseedReason::CannotAdopt => "the principal could not take over its tail",
    }
}

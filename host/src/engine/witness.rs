//! What this instance keeps and tells as the witness of sessions in which it holds no copy.

use dbmirror_core::endpoint::Role;
use dbmirror_core::message::{InstanceId, SessionGuid, Sync};
use dbmirror_core::witness::{WitnessEvent, WitnessPartnerView, WitnessView};

use super::run::Instance;
use super::{EndpointRole, EngineError, Guid, PartnerSync, SafetyLevel, WitnessRow};

impl From<EndpointRole> for Role {
    fn from(role: EndpointRole) -> Self {
        match role {
            EndpointRole::Partner => Self::Partner,
            EndpointRole::Witness => Self::Witness,
            EndpointRole::All => Self::All,
        }
    }
}

impl Instance<'_> {
    /// Takes up what was kept, at the start. A record that cannot be read counts as lost, which is safe: its owner registers the session
    /// again.
    pub(super) fn restore_witnessed(&mut self) {
        let stored = match self.world.records().witnessed() {
            Ok(stored) => stored,
            Err(e) => {
                self.world.log(e.number, 16, e.text, Vec::new());
                return;
            }
        };
        for (guid, record) in stored {
            if let Err(e) = self.endpoint.restore_witness(&record) {
                let text = format!(
                    "What this instance kept as the witness of mirroring session {} can not be used ({}): the session has no witness here \
                     until its principal registers it again, which it does by itself when both partners are connected.",
                    SessionGuid(guid),
                    e.reason.text()
                );
                let number = i32::try_from(e.number).unwrap_or(1459);
                self.world.log(number, 16, text, Vec::new());
            }
        }
    }

    /// The rows of `sys.database_mirroring_witnesses`.
    pub(super) fn witness_rows(&self) -> Vec<WitnessRow> {
        self.endpoint.witnesses().map(row).collect()
    }

    /// Forgets a session of which this instance is the witness.
    pub(super) fn forget_witnessed(&mut self, guid: Guid) -> Result<(), EngineError> {
        let now = self.now();
        let found = self
            .endpoint
            .forget_witnessed(&mut self.world.env_at(now), SessionGuid(guid));
        if found {
            return Ok(());
        }
        Err(EngineError::new(
            1402,
            format!(
                "This instance is not the witness of a mirroring session {}.",
                SessionGuid(guid)
            ),
        ))
    }

    pub(super) fn witness_event(&mut self, guid: SessionGuid, event: WitnessEvent) {
        let row = self.endpoint.witnesses().find(|view| view.guid == guid).map(row);
        let database = row
            .as_ref()
            .and_then(|row| row.database_name.clone())
            .map_or_else(
                || format!("session {guid}"),
                |name| format!("database '{name}' (session {guid})"),
            );
        let named = |instance: InstanceId| {
            self.endpoint
                .witnesses()
                .filter(|view| view.guid == guid)
                .flat_map(|view| [view.principal, view.mirror])
                .find(|partner| partner.instance == instance)
                .map_or_else(|| instance.to_string(), |partner| name(&partner))
        };
        let (number, severity, text) = match event {
            WitnessEvent::Registered { owner } => (
                1440,
                10,
                format!(
                    "This instance is the witness of {database}, as {} asked.",
                    named(owner)
                ),
            ),
            // Every change of synchronization: the view shows it.
            WitnessEvent::Recorded(_) => return,
            WitnessEvent::Granted { asker, forced } => (
                1480,
                10,
                format!(
                    "This witness has given the role of principal of {database} to {}{}.",
                    named(asker),
                    if forced {
                        ", whose operator forced service"
                    } else {
                        ": it was synchronized, and the principal is not connected here"
                    }
                ),
            ),
            WitnessEvent::Denied {
                asker,
                force,
                owner_heard,
            } => {
                let why = if owner_heard {
                    "the principal is connected here"
                } else if force {
                    "the other partner is connected here, or it has the role already"
                } else {
                    "the records do not prove that nothing would be lost"
                };
                (
                    1428,
                    10,
                    format!(
                        "This witness has not given the role of principal of {database} to {}: {why}.",
                        named(asker)
                    ),
                )
            }
            WitnessEvent::Dropped { owner } => (
                1442,
                10,
                format!("{} goes on without this witness for {database}.", named(owner)),
            ),
            WitnessEvent::Removed => (
                1443,
                10,
                format!("This instance is not the witness of session {guid} any more."),
            ),
            WitnessEvent::Stranger {
                login,
                instance,
                kind,
            } => {
                let login = self.world.catalog.login_name(login).unwrap_or("?").to_owned();
                let reason = format!(
                    "The login {login} (instance {instance}) sent a message of kind {kind} for mirroring session {guid}, whose witness this \
                     instance is, and is not one of its partners. Nothing was changed."
                );
                self.world
                    .note_error(&login, "inbound", "session", 1402, &reason, 1402);
                return;
            }
            WitnessEvent::Refused { owner, error } => {
                let number = i32::try_from(error.number).unwrap_or(1427);
                let reason = format!(
                    "The instance {owner} asked this one to be the witness of session {guid} and was refused: {}.",
                    error.reason.text()
                );
                self.world
                    .note_error(&owner.to_string(), "inbound", "session", number, &reason, number);
                return;
            }
            WitnessEvent::PartnerRefused(error) => (
                1403,
                16,
                format!(
                    "A partner of {database} refused what this witness said ({}: {}).",
                    error.number,
                    error.reason.text()
                ),
            ),
            _ => return,
        };
        self.world.log(number, severity, text, Vec::new());
    }
}

/// What people know a partner by.
fn name(partner: &WitnessPartnerView) -> String {
    if partner.name.is_empty() {
        partner.instance.to_string()
    } else {
        partner.name.as_str().to_owned()
    }
}

fn row(view: WitnessView) -> WitnessRow {
    WitnessRow {
        guid: view.guid.0,
        family_guid: view.family.map(|family| family.0),
        database_name: (!view.name.is_empty()).then(|| view.name.as_str().to_owned()),
        principal: name(&view.principal),
        principal_connected: view.principal.bound,
        mirror: name(&view.mirror),
        mirror_connected: view.mirror.bound,
        safety: view.properties.map(|p| {
            if p.safety_full {
                SafetyLevel::Full
            } else {
                SafetyLevel::Off
            }
        }),
        safety_sequence: view.properties.map(|p| p.safety_sequence),
        role_sequence: view.record.map(|record| record.role_sequence),
        is_suspended: view.properties.map(|p| p.suspended),
        suspended_sequence: view.properties.map(|p| p.suspended_sequence),
        sync: view.record.map(|record| match record.sync {
            Sync::Sync => PartnerSync::Synchronized,
            Sync::Unsync => PartnerSync::Unsynchronized,
        }),
    }
}

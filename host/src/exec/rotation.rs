//! `sp_dbmirror_rotate_certificate`: the endpoint's certificate is replaced while its connections stand.

use std::time::{Duration, Instant};

use dbmirror_core::crypto::Hash as _;

use super::certificates::{Validity, parse};
use super::procedures::{bind, text};
use super::{Done, Out, SqlSession, Stop};
use crate::catalog::certificates::{self, New};
use crate::catalog::keys::Sha256;
use crate::catalog::rotations::{self, Named, Rotation, State};
use crate::catalog::{MASTER_ID, dates, endpoints};
use crate::engine::{Connect, PeerId};
use crate::messages::{
    M214, M241, M7801, M9666, M15151, M15233, M28055, M50120, M50125, M50126, M50132, M50133, Raised,
};
use crate::rotation::{own, peers};
use crate::tsql::ast::{Execute, Literal, Text};
use crate::tsql::{Column, Span, SqlType, Value};

/// How long the statement waits for partners when nothing is said.
const TIMEOUT: i64 = 60;
/// The longest that it can be told to wait, in seconds.
const TIMEOUT_MAX: i64 = 3_600;
/// For how many years a successor is valid when no date is given.
const YEARS: i64 = 5;
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);
const PARAMETERS: &[&str] = &[
    "endpoint",
    "name",
    "subject",
    "expiry_date",
    "timeout",
    "override",
    "cancel",
];

impl SqlSession {
    /// `sp_dbmirror_rotate_certificate [@endpoint] [, @name] [, @subject] [, @expiry_date] [, @timeout] [, @override] [, @cancel]`:
    /// one row for each partner.
    pub(super) fn rotate_certificate(&mut self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, PARAMETERS)?;
        let given = |at: usize| {
            arguments
                .get(at)
                .copied()
                .flatten()
                .filter(|value| is_given(value))
        };
        let flag = |at: usize, name: &str| match given(at) {
            None | Some(Literal::Int(0)) => Ok(false),
            Some(Literal::Int(1)) => Ok(true),
            Some(_) => Err(M214.refuse(&[&execute.name(), &format!("{name} is 0 or 1")])),
        };
        let endpoint = self.endpoint_to_rotate(execute, &arguments)?;
        let (force, cancel) = (flag(5, "@override")?, flag(6, "@cancel")?);
        let timeout = match given(4) {
            None => TIMEOUT,
            Some(Literal::Int(seconds)) if (0..=TIMEOUT_MAX).contains(seconds) => *seconds,
            Some(_) => {
                let range = format!("@timeout is a number of seconds, 0 to {TIMEOUT_MAX}");
                return Err(M214.refuse(&[&execute.name(), &range]).into());
            }
        };
        let under_way = rotations::under_way(&self.instance.master())?;
        if cancel {
            return self.cancel_rotation(under_way.as_ref(), out);
        }
        let id = match under_way {
            Some(rotation) => {
                if (1..4).any(|at| given(at).is_some()) {
                    return Err(M50132.refuse(&[&rotation.old.name, &rotation.new.name]).into());
                }
                let master = self.instance.master();
                rotations::tell_again(&master, rotation.id)?;
                own::tell_engine(&self.instance, &master)?;
                rotation.id
            }
            None => {
                let wanted = |at: usize, name: &str| {
                    given(at).map(|_| text(execute, &arguments, at, name)).transpose()
                };
                let wanted = Wanted {
                    name: wanted(1, "@name")?,
                    subject: wanted(2, "@subject")?,
                    expiry_date: wanted(3, "@expiry_date")?,
                };
                self.begin_rotation(&endpoint, &wanted)?
            }
        };
        self.await_rotation(id, Duration::from_secs(timeout.unsigned_abs()), force, out)
    }

    /// The endpoint, which must run with a certificate.
    fn endpoint_to_rotate(
        &self,
        execute: &Execute,
        arguments: &[Option<&Literal>],
    ) -> Result<endpoints::Endpoint, Stop> {
        let master = self.instance.master();
        let endpoint = match arguments
            .first()
            .copied()
            .flatten()
            .filter(|value| is_given(value))
        {
            Some(_) => {
                let name = text(execute, arguments, 0, "@endpoint")?;
                endpoints::by_name(&master, &name)?
                    .ok_or_else(|| M15151.refuse(&[&"find", &"endpoint", &name]))?
            }
            None => endpoints::mirroring(&master)?.ok_or_else(|| M7801.refuse(&[&"@endpoint"]))?,
        };
        if endpoint.certificate_id == 0 {
            let why = "the endpoint does not authenticate by a certificate";
            return Err(M28055.refuse(&[&endpoint.name, &why]).into());
        }
        if self.instance.engine().endpoint_address().is_none() {
            return Err(M9666.refuse(&[]).into());
        }
        Ok(endpoint)
    }

    /// Makes the successor and stores the rotation with it, as one.
    fn begin_rotation(&self, endpoint: &endpoints::Endpoint, wanted: &Wanted) -> Result<i64, Stop> {
        let (old, name) = {
            let master = self.instance.master();
            let old = certificates::by_id(&master, endpoint.certificate_id)?.ok_or_else(|| {
                M28055.refuse(&[
                    &endpoint.certificate_id,
                    &"the endpoint's certificate does not exist",
                ])
            })?;
            let name = match &wanted.name {
                Some(name) => name.clone(),
                None => peers::successor_name(&master, &old.name)?,
            };
            (old, name)
        };
        if name.is_empty() || name.chars().count() > 128 {
            return Err(M15233.refuse(&[&"@name", &"it has 1 to 128 characters"]).into());
        }
        let subject = match &wanted.subject {
            Some(subject) => subject.clone(),
            None => {
                parse(&old.der)
                    .map_err(|error| M28055.refuse(&[&old.name, &error]))?
                    .subject
            }
        };
        let subject = Text {
            value: subject,
            span: Span::default(),
        };
        let mut validity = Validity::of(None, None)?;
        validity.end = match &wanted.expiry_date {
            None => dates::years_after(validity.start, YEARS)
                .ok_or_else(|| M241.refuse(&[&"five years later", &"@expiry_date"]))?,
            Some(text) => dates::parse(text).ok_or_else(|| M241.refuse(&[text, &"@expiry_date"]))?,
        };
        if validity.end <= dates::now_unix() {
            return Err(M15233.refuse(&[&"@expiry_date", &"it has passed already"]).into());
        }
        let (der, (key, protection)) = self.generate(&name, None, &subject, &validity)?;
        if der.len() > dbmirror_core::endpoint::SUCCESSOR_LEN_MAX {
            return Err(M15233
                .refuse(&[&"@subject", &"it is too long to be handed over"])
                .into());
        }
        let parsed = parse(&der).map_err(|error| M28055.refuse(&[&name, &error]))?;
        let id = self.change(|catalog| {
            if let Some(other) = rotations::under_way(catalog)? {
                return Err(M50132.refuse(&[&other.old.name, &other.new.name]).into());
            }
            if certificates::by_name(catalog, MASTER_ID, &name)?.is_some() {
                return Err(crate::messages::M15232
                    .refuse(&[&name, &"choose another @name"])
                    .into());
            }
            let certificate_id = certificates::insert(
                catalog,
                &New {
                    database_id: MASTER_ID,
                    name: &name,
                    principal_id: old.principal_id,
                    der: &der,
                    point: &parsed.point,
                    serial: &parsed.serial,
                    issuer: &parsed.issuer,
                    subject: &parsed.subject,
                    not_before: parsed.not_before,
                    not_after: parsed.not_after,
                    private_key: Some((key.as_slice(), protection)),
                    active: true,
                },
            )?;
            // What could not be used is found out before anybody is told of it.
            crate::instance::endpoint::identity(&self.instance, catalog, certificate_id)?;
            let old = Named {
                id: old.id,
                name: old.name.clone(),
                digest: Sha256::digest(&old.der),
            };
            let new = Named {
                id: certificate_id,
                name: name.clone(),
                digest: Sha256::digest(&der),
            };
            Ok(rotations::insert(catalog, endpoint.id, &old, &new)?)
        })?;
        self.refresh_pins()?;
        own::tell_engine(&self.instance, &self.instance.master())?;
        crate::errorlog::raised(&M50120.inform(&[&name, &old.name]));
        Ok(id)
    }

    /// Waits until the rotation is over, or as long as was said; then says how far it is.
    fn await_rotation(&self, id: i64, timeout: Duration, force: bool, out: &mut Out<'_>) -> Done {
        let until = Instant::now() + timeout;
        let mut rotation = self.rotation(id)?;
        while !rotation.state.is_over() && Instant::now() < until {
            out.sink.check()?;
            std::thread::sleep(LOOK);
            rotation = self.rotation(id)?;
        }
        let mut cut = Vec::new();
        if force && rotation.state == State::Distributing {
            cut = self.behind(&rotation)?;
            own::go(&self.instance, &rotation, State::Switched)?;
            rotation = self.rotation(id)?;
        }
        self.report(&rotation, out)?;
        let names = |who: &[PeerId]| self.names(who);
        match rotation.state {
            State::Distributing => {
                let behind = names(&self.behind(&rotation)?)?;
                return Err(M50125
                    .refuse(&[&rotation.new.name, &timeout.as_secs(), &behind])
                    .into());
            }
            State::Cancelling | State::Cancelled => {
                return Err(crate::messages::M50124
                    .refuse(&[&rotation.new.name, &rotation.old.name])
                    .into());
            }
            State::Switched | State::Retiring | State::Done => {}
        }
        if !cut.is_empty() {
            out.message(&M50126.inform(&[&rotation.new.name, &names(&cut)?]))?;
        }
        let unbound = self.without_session(&rotation)?;
        if !unbound.is_empty() {
            out.message(&M50133.inform(&[&unbound.join(", "), &rotation.new.name]))?;
        }
        Ok(())
    }

    fn cancel_rotation(&self, under_way: Option<&Rotation>, out: &mut Out<'_>) -> Done {
        match under_way {
            Some(rotation) if rotation.state == State::Distributing => {
                own::go(&self.instance, rotation, State::Cancelling)?;
                let now = self.rotation(rotation.id)?;
                self.report(&now, out)?;
                if !matches!(now.state, State::Cancelling | State::Cancelled) {
                    // The last confirmation came first.
                    let used = format!("the endpoint uses '{}' already", now.new.name);
                    return Err(M15233.refuse(&[&"@cancel", &used]).into());
                }
                Ok(out.message(&crate::messages::M50124.inform(&[&now.new.name, &now.old.name]))?)
            }
            Some(rotation) => Err(M15233
                .refuse(&[
                    &"@cancel",
                    &format!("the endpoint uses '{}' already", rotation.new.name),
                ])
                .into()),
            None => Err(M15233.refuse(&[&"@cancel", &"no rotation is under way"]).into()),
        }
    }

    fn rotation(&self, id: i64) -> Result<Rotation, Stop> {
        let found = rotations::by_id(&self.instance.master(), id)?;
        found.ok_or_else(|| M15151.refuse(&[&"find", &"rotation", &id]).into())
    }

    /// The partners of sessions that have not stored the successor.
    fn behind(&self, rotation: &Rotation) -> Result<Vec<PeerId>, Stop> {
        let partners = self.instance.engine().session_peers()?;
        let done = rotations::peers(&self.instance.master(), rotation.id)?;
        let mut behind: Vec<PeerId> = Vec::new();
        for partner in partners {
            let has = done.iter().any(|d| d.peer == partner.peer && d.confirmed);
            if !has && !behind.contains(&partner.peer) {
                behind.push(partner.peer);
            }
        }
        Ok(behind)
    }

    fn names(&self, peers: &[PeerId]) -> Result<String, Stop> {
        let master = self.instance.master();
        let names: rusqlite::Result<Vec<String>> =
            peers.iter().map(|peer| own::name_of(&master, *peer)).collect();
        Ok(names?.join(", "))
    }

    /// Logins that may connect and have no session: they were not waited for.
    fn without_session(&self, rotation: &Rotation) -> Result<Vec<String>, Stop> {
        let partners = self.instance.engine().session_peers()?;
        let master = self.instance.master();
        let done = rotations::peers(&master, rotation.id)?;
        let mut names: Vec<String> = certificates::pins(&master)?
            .into_iter()
            .filter(|pin| !pin.own && pin.connect == Connect::Granted)
            .filter(|pin| {
                let login = pin.login_id;
                partners.iter().all(|partner| Some(partner.peer.0) != login)
                    && !done.iter().any(|d| Some(d.peer.0) == login && d.confirmed)
            })
            .map(|pin| pin.login_name)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// One row for each partner of a session, and for whoever else has answered.
    fn report(&self, rotation: &Rotation, out: &mut Out<'_>) -> Done {
        let partners = self.instance.engine().session_peers()?;
        let rows = {
            let master = self.instance.master();
            let done = rotations::peers(&master, rotation.id)?;
            let mut all: Vec<(PeerId, Option<&str>)> = partners
                .iter()
                .map(|partner| {
                    (
                        partner.peer,
                        Some(partner.address.as_str()).filter(|at| !at.is_empty()),
                    )
                })
                .collect();
            for peer in &done {
                if all.iter().all(|(known, _)| *known != peer.peer) {
                    all.push((peer.peer, None));
                }
            }
            let mut rows = Vec::new();
            for (peer, address) in all {
                let found = done.iter().find(|d| d.peer == peer);
                let (state, detail) = match found {
                    Some(d) if d.completed => ("COMPLETED", None),
                    Some(d) if d.confirmed => ("CONFIRMED", None),
                    Some(d) if d.refusal.is_some() => ("REFUSED", d.refusal.map(own::refusal_text)),
                    _ => ("NOT CONFIRMED", None),
                };
                let bound = partners
                    .iter()
                    .any(|partner| partner.peer == peer && partner.bound);
                let detail = detail.or_else(|| {
                    let waits = state == "NOT CONFIRMED" && !bound;
                    waits.then(|| "it is not connected".to_owned())
                });
                rows.push(vec![
                    Value::Text(own::name_of(&master, peer)?),
                    Value::from(address),
                    Value::from(state),
                    Value::from(detail),
                ]);
            }
            rows
        };
        let columns = [
            Column::new("partner", SqlType::NVarChar(Some(200))),
            Column::new("address", SqlType::NVarChar(Some(128))),
            Column::new("state_desc", SqlType::NVarChar(Some(60))),
            Column::new("detail", SqlType::NVarChar(None)),
        ];
        out.result(&columns, &rows)?;
        let said = format!(
            "Rotation {}: {}. The endpoint uses '{}'.",
            rotation.id,
            rotation.state.desc(),
            match rotation.state {
                State::Distributing | State::Cancelling | State::Cancelled => &rotation.old.name,
                State::Switched | State::Retiring | State::Done => &rotation.new.name,
            }
        );
        Ok(out.message(&Raised::print(said))?)
    }
}

/// What the successor is to be.
struct Wanted {
    name: Option<String>,
    subject: Option<String>,
    expiry_date: Option<String>,
}

const fn is_given(value: &Literal) -> bool {
    !matches!(value, Literal::Null | Literal::Default)
}

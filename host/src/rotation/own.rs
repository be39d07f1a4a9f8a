//! The steps of this instance's own rotations.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dbmirror_core::session::Reason;
use rusqlite::{Connection, TransactionBehavior};

use crate::catalog::rotations::{self, Peer, Rotation, State, Step};
use crate::catalog::{certificates, endpoints, first};
use crate::engine::{Notice, NoticeWhat, PeerId, Recipients, Refusal, SessionPeer, Succession};
use crate::errorlog;
use crate::instance::Instance;
use crate::instance::endpoint::{identity, refresh_pins};
use crate::messages::{M50121, M50122, M50123, M50124, M50130, Raised};

/// A partner that has not seen the new certificate is shown it again after this.
const SHOWN_AGAIN: Duration = Duration::from_secs(5);
/// A partner that refused is told again after this.
const TOLD_AGAIN: Duration = Duration::from_secs(30);

/// What the steps remember between two looks; nothing that a restart may not forget.
#[derive(Debug, Default)]
pub struct Driver {
    shown: HashMap<(i64, String), Instant>,
    told: HashMap<i64, Instant>,
}

impl Driver {
    /// Takes every step that can be taken now.
    ///
    /// # Errors
    /// `master.db` failed, or a key that a step needs cannot be opened; the step is tried again.
    pub fn step(&mut self, instance: &Instance) -> Result<(), Raised> {
        let open = {
            let master = instance.master();
            rotations::open(&master)?
        };
        if open.is_empty() {
            self.shown.clear();
            self.told.clear();
            return Ok(());
        }
        for rotation in open {
            self.advance(instance, rotation)?;
        }
        Ok(())
    }

    fn advance(&mut self, instance: &Instance, mut rotation: Rotation) -> Result<(), Raised> {
        // One look may take several steps: without partners nobody has to be waited for.
        while let Some(next) = next(instance, &rotation)? {
            go(instance, &rotation, next)?;
            let master = instance.master();
            let Some(now) = rotations::by_id(&master, rotation.id)? else {
                return Ok(());
            };
            rotation = now;
        }
        let done = {
            let master = instance.master();
            rotations::peers(&master, rotation.id)?
        };
        match rotation.state {
            State::Distributing => self.tell_again(instance, &rotation, &done),
            State::Switched => {
                self.tell_again(instance, &rotation, &done)?;
                self.show(instance, &rotation, &done)
            }
            _ => Ok(()),
        }
    }

    /// Partners that have stored the successor and not met it yet are shown it by a connection of its own: the one that
    /// their sessions use stays as it is.
    fn show(&mut self, instance: &Instance, rotation: &Rotation, done: &[Peer]) -> Result<(), Raised> {
        for partner in instance.engine().session_peers()? {
            let waits = done
                .iter()
                .any(|d| d.peer == partner.peer && d.confirmed && !d.completed);
            let key = (rotation.id, partner.address);
            // Who is not dialled from here sees it when it connects anew.
            let due = !key.1.is_empty() && self.shown.get(&key).is_none_or(|at| at.elapsed() >= SHOWN_AGAIN);
            if waits && due {
                // A stopped endpoint shows it when it is started.
                let _ = instance.engine().show_certificate(&key.1);
                self.shown.insert(key, Instant::now());
            }
        }
        Ok(())
    }

    fn tell_again(&mut self, instance: &Instance, rotation: &Rotation, done: &[Peer]) -> Result<(), Raised> {
        let refused = done.iter().any(|d| d.refusal.is_some() && !d.confirmed);
        let at = self.told.entry(rotation.id).or_insert_with(Instant::now);
        if refused && at.elapsed() >= TOLD_AGAIN {
            *at = Instant::now();
            let master = instance.master();
            rotations::tell_again(&master, rotation.id)?;
            tell_engine(instance, &master)?;
        }
        Ok(())
    }
}

/// The state that a rotation can go on to now.
fn next(instance: &Instance, rotation: &Rotation) -> Result<Option<State>, Raised> {
    let partners = instance.engine().session_peers()?;
    let master = instance.master();
    let done = rotations::peers(&master, rotation.id)?;
    let certificate_id = endpoints::mirroring(&master)?
        .filter(|endpoint| endpoint.id == rotation.endpoint_id)
        .map(|endpoint| endpoint.certificate_id);
    let all = |step: fn(&Peer) -> bool| every(&partners, &done, step);
    Ok(match (rotation.state, certificate_id) {
        (State::Distributing, Some(id)) if id == rotation.old.id => {
            let exists = certificates::by_id(&master, rotation.new.id)?.is_some();
            match exists {
                true => all(|d| d.confirmed).then_some(State::Switched),
                false => Some(State::Cancelling),
            }
        }
        // An operator has switched by ALTER ENDPOINT.
        (State::Distributing, Some(id)) if id == rotation.new.id => Some(State::Switched),
        (State::Switched, Some(id)) if id == rotation.new.id => {
            all(|d| d.completed).then_some(State::Retiring)
        }
        (State::Distributing | State::Switched, _) => Some(State::Cancelling),
        // Who has never heard of it need not hear that it is gone.
        (State::Retiring, _) => told_all(&partners, &done).then_some(State::Done),
        // Whoever was offered it may have stored it after the operator's word: an answer that was under way names another notice.
        (State::Cancelling, _) => all(|d| d.told).then_some(State::Cancelled),
        (State::Done | State::Cancelled, _) => None,
    })
}

/// Whether every partner of a session has done it.
fn every(partners: &[SessionPeer], done: &[Peer], step: fn(&Peer) -> bool) -> bool {
    partners
        .iter()
        .all(|partner| done.iter().any(|d| d.peer == partner.peer && step(d)))
}

fn told_all(partners: &[SessionPeer], done: &[Peer]) -> bool {
    done.iter()
        .filter(|d| d.confirmed && !d.told)
        .all(|d| partners.iter().all(|partner| partner.peer != d.peer))
}

/// Goes on to `state`: durable first, then in the engine.
///
/// # Errors
/// `master.db` failed, or the successor's key cannot be opened; nothing has changed then.
pub fn go(instance: &Instance, rotation: &Rotation, state: State) -> Result<(), Raised> {
    let mut master = instance.master();
    let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody may have taken the step meanwhile.
    let same = rotations::by_id(&transaction, rotation.id)?.is_some_and(|now| now.state == rotation.state);
    if !same {
        return Ok(());
    }
    let mut successor = None;
    match state {
        State::Switched => {
            successor = Some(identity(instance, &transaction, rotation.new.id)?);
            transaction.execute(
                "UPDATE endpoint SET certificate_id = ?2 WHERE endpoint_id = ?1",
                [rotation.endpoint_id, rotation.new.id],
            )?;
        }
        State::Retiring => forget(&transaction, rotation.old.id)?,
        State::Cancelling => forget(&transaction, rotation.new.id)?,
        State::Distributing | State::Done | State::Cancelled => {}
    }
    rotations::advance(&transaction, rotation.id, state)?;
    transaction.commit()?;
    if let Some(successor) = successor {
        // A stopped endpoint takes it when it is started.
        let _ = instance.engine().set_identity(successor);
    }
    refresh_pins(instance, &master)?;
    tell_engine(instance, &master)?;
    let (old, new) = (&rotation.old.name, &rotation.new.name);
    match state {
        State::Switched => errorlog::raised(&M50122.inform(&[new, old])),
        State::Retiring => errorlog::raised(&M50123.inform(&[new, old])),
        State::Cancelling => errorlog::raised(&M50124.inform(&[new, old])),
        State::Distributing | State::Done | State::Cancelled => {}
    }
    Ok(())
}

/// Drops an own certificate with its key, unless the endpoint uses it; one that a user is mapped to loses its key only.
fn forget(catalog: &Connection, certificate_id: i32) -> rusqlite::Result<()> {
    if endpoints::mirroring(catalog)?.is_some_and(|endpoint| endpoint.certificate_id == certificate_id) {
        return Ok(());
    }
    let mapped: Option<i32> = first(
        catalog,
        "SELECT 1 FROM database_principal WHERE certificate_id = ?1 LIMIT 1",
        [certificate_id],
        |row| row.get(0),
    )?;
    let sql = match mapped {
        None => "DELETE FROM certificate WHERE certificate_id = ?1",
        Some(_) => {
            "UPDATE certificate SET private_key = NULL, private_key_protection = 'NA' WHERE certificate_id = ?1"
        }
    };
    catalog.execute(sql, [certificate_id]).map(drop)
}

/// Gives the engine what follows from the rotations that are stored: keys beside the endpoint's, whom to dial with which,
/// what to tell.
///
/// # Errors
/// `master.db` failed.
pub fn tell_engine(instance: &Instance, master: &Connection) -> Result<(), Raised> {
    let mut succession = Succession::default();
    let partners = instance.engine().session_peers()?;
    for rotation in rotations::open(master)? {
        let done = rotations::peers(master, rotation.id)?;
        let confirmed: Vec<PeerId> = done.iter().filter(|d| d.confirmed).map(|d| d.peer).collect();
        let to_be_told: Vec<PeerId> = done
            .iter()
            .filter(|d| d.confirmed && !d.told)
            .map(|d| d.peer)
            .collect();
        let mut open = |id: i32| match identity(instance, master, id) {
            Ok(identity) => succession.others.push(identity),
            // Said where the endpoint's own certificate is judged too; what can be done without it is done.
            Err(error) => errorlog::raised(&error),
        };
        let (what, to) = match rotation.state {
            State::Distributing => {
                open(rotation.new.id);
                (
                    NoticeWhat::Successor(rotation.new.id),
                    Recipients::AllBut(confirmed),
                )
            }
            State::Switched => {
                let behind: Vec<&SessionPeer> = partners
                    .iter()
                    .filter(|partner| !confirmed.contains(&partner.peer))
                    .collect();
                if !behind.is_empty() && certificates::by_id(master, rotation.old.id)?.is_some() {
                    open(rotation.old.id);
                    succession.dialed.extend(
                        behind
                            .iter()
                            .filter(|partner| !partner.address.is_empty())
                            .map(|partner| (partner.address.clone(), rotation.old.id)),
                    );
                }
                (
                    NoticeWhat::Successor(rotation.new.id),
                    Recipients::AllBut(confirmed),
                )
            }
            State::Retiring => (
                NoticeWhat::Retired(rotation.old.digest),
                Recipients::Only(to_be_told),
            ),
            State::Cancelling => (
                NoticeWhat::Retired(rotation.new.digest),
                Recipients::AllBut(done.iter().filter(|d| d.told).map(|d| d.peer).collect()),
            ),
            State::Done | State::Cancelled => continue,
        };
        succession.notices.push(Notice {
            number: rotation.notice,
            what,
            to,
        });
    }
    Ok(instance.engine().set_succession(succession)?)
}

/// A peer has answered what it was told.
///
/// # Errors
/// `master.db` failed.
pub fn answered(
    instance: &Instance,
    peer: PeerId,
    number: u64,
    refusal: Option<Refusal>,
) -> Result<(), Raised> {
    answered_in(instance, &instance.master(), peer, number, refusal)
}

/// [`answered`], by who holds the catalog.
pub(super) fn answered_in(
    instance: &Instance,
    master: &Connection,
    peer: PeerId,
    number: u64,
    refusal: Option<Refusal>,
) -> Result<(), Raised> {
    let Some(rotation) = rotations::open(master)?
        .into_iter()
        .find(|rotation| rotation.notice == number)
    else {
        return Ok(()); // It is told something else by now.
    };
    if !noted(instance, master, rotation.id, peer)? {
        return Ok(());
    }
    let who = name_of(master, peer)?;
    let exchanging = matches!(rotation.state, State::Distributing | State::Switched);
    match refusal {
        None if exchanging => {
            if rotations::stepped(master, rotation.id, peer, Step::Confirmed)? {
                errorlog::raised(&M50121.inform(&[&who, &rotation.new.name]));
            }
        }
        None => {
            rotations::stepped(master, rotation.id, peer, Step::Told)?;
        }
        Some(refusal) => {
            rotations::refused(master, rotation.id, peer, (refusal.number, refusal.reason.code()))?;
            errorlog::raised(&M50130.refuse(&[&who, &rotation.new.name, &refusal]));
        }
    }
    tell_engine(instance, master)
}

/// Whether what a peer does is kept. Partners of sessions are waited for, so theirs always is; of a login that comes with ever
/// new instance ids, so many.
fn noted(instance: &Instance, master: &Connection, rotation: i64, peer: PeerId) -> Result<bool, Raised> {
    Ok(rotations::has_room(master, rotation, peer)?
        || instance
            .engine()
            .session_peers()?
            .iter()
            .any(|partner| partner.peer == peer))
}

/// A peer has accepted the own certificate `certificate_id` in a handshake.
///
/// # Errors
/// `master.db` failed.
pub fn shown(instance: &Instance, peer: PeerId, certificate_id: i32) -> Result<(), Raised> {
    let master = instance.master();
    for rotation in rotations::open(&master)? {
        let exchanging = matches!(rotation.state, State::Distributing | State::Switched);
        if exchanging && rotation.new.id == certificate_id && noted(instance, &master, rotation.id, peer)? {
            // Who accepts it has it, whoever brought it there.
            rotations::stepped(&master, rotation.id, peer, Step::Confirmed)?;
            rotations::stepped(&master, rotation.id, peer, Step::Completed)?;
            tell_engine(instance, &master)?;
        }
    }
    Ok(())
}

/// A peer for people: its login, and the first half of its instance id where that tells more.
///
/// # Errors
/// SQLite's.
pub fn name_of(master: &Connection, (login_id, instance): PeerId) -> rusqlite::Result<String> {
    let login: Option<String> = first(
        master,
        "SELECT name FROM server_principal WHERE principal_id = ?1",
        [login_id],
        |row| row.get(0),
    )?;
    let id = crate::catalog::views::guid_text(&instance);
    Ok(format!(
        "{} (instance {id})",
        login.unwrap_or_else(|| login_id.to_string())
    ))
}

/// A stored refusal in words.
#[must_use]
pub fn refusal_text((number, reason): (u32, u16)) -> String {
    format!("{number}: {}", Reason::from_code(reason).text())
}

//! Rotations of the endpoint's certificate, what each partner has done of them, and where pins came from that peers handed over.
//!
//! The rows are the state machine that `crate::rotation` drives; each step of it is one transaction.

use rusqlite::{Connection, params};

use super::{all, dates, first};
use crate::engine::PeerId;

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 1: the successor exists, and partners are told of it. The endpoint uses the predecessor.
    Distributing,
    /// 2: the endpoint uses the successor. The predecessor is kept for who has not seen the successor yet.
    Switched,
    /// 3: the predecessor is gone. Partners are told so.
    Retiring,
    /// 4: nothing is left to do.
    Done,
    /// 5: given up before the switch; the successor is gone. Partners are told so.
    Cancelling,
    /// 6: given up, and nothing is left to do.
    Cancelled,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Distributing,
        Self::Switched,
        Self::Retiring,
        Self::Done,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// The code that is stored and shown.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Distributing => 1,
            Self::Switched => 2,
            Self::Retiring => 3,
            Self::Done => 4,
            Self::Cancelling => 5,
            Self::Cancelled => 6,
        }
    }

    /// What the views show.
    #[must_use]
    pub const fn desc(self) -> &'static str {
        match self {
            Self::Distributing => "DISTRIBUTING",
            Self::Switched => "SWITCHED",
            Self::Retiring => "RETIRING",
            Self::Done => "DONE",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether it ended: nothing will be done about it any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// A row of `rotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: State,
    /// The number of what partners are told now; a new one whenever they are to be told something else, or once more.
    pub notice: u64,
    /// The endpoint.
    pub endpoint_id: i32,
    /// The certificate that is replaced: id, name, SHA-256 of its DER.
    pub old: Named,
    /// The certificate that replaces it.
    pub new: Named,
}

/// A certificate that may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `certificate_id`.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// SHA-256 of its DER.
    pub digest: [u8; 32],
}

/// What one peer has done of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer.
    pub peer: PeerId,
    /// It has stored the successor.
    pub confirmed: bool,
    /// It has completed a handshake with the successor.
    pub completed: bool,
    /// It knows that the predecessor, or a successor that was given up, is gone.
    pub told: bool,
    /// Its last refusal: message number and the reason's code.
    pub refusal: Option<(u32, u16)>,
}

/// What a peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has stored the successor.
    Confirmed,
    /// It has completed a handshake with the successor.
    Completed,
    /// It knows what is gone.
    Told,
}

const ROW: &str =
    "SELECT rotation_id, state, notice, endpoint_id, old_certificate_id, old_certificate, old_digest,
    new_certificate_id, new_certificate, new_digest FROM rotation";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Rotation> {
    let code: i32 = row.get(1)?;
    Ok(Rotation {
        id: row.get(0)?,
        state: State::ALL
            .into_iter()
            .find(|state| state.code() == code)
            .unwrap_or(State::Cancelled),
        notice: row.get::<_, i64>(2)?.unsigned_abs(),
        endpoint_id: row.get(3)?,
        old: Named {
            id: row.get(4)?,
            name: row.get(5)?,
            digest: row.get(6)?,
        },
        new: Named {
            id: row.get(7)?,
            name: row.get(8)?,
            digest: row.get(9)?,
        },
    })
}

/// Begins a rotation.
///
/// # Errors
/// SQLite's.
pub fn insert(master: &Connection, endpoint_id: i32, old: &Named, new: &Named) -> rusqlite::Result<i64> {
    master.execute(
        "INSERT INTO rotation (state, notice, endpoint_id, old_certificate_id, old_certificate, old_digest, new_certificate_id,
                               new_certificate, new_digest, start_date)
         VALUES (1, (SELECT coalesce(max(notice), 0) + 1 FROM rotation), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            endpoint_id,
            old.id,
            old.name,
            old.digest,
            new.id,
            new.name,
            new.digest,
            dates::now()
        ],
    )?;
    Ok(master.last_insert_rowid())
}

/// The rotation with that number.
///
/// # Errors
/// SQLite's.
pub fn by_id(master: &Connection, id: i64) -> rusqlite::Result<Option<Rotation>> {
    first(master, &format!("{ROW} WHERE rotation_id = ?1"), [id], row)
}

/// Those that are not over, oldest first.
///
/// # Errors
/// SQLite's.
pub fn open(master: &Connection) -> rusqlite::Result<Vec<Rotation>> {
    all(
        master,
        &format!("{ROW} WHERE state NOT IN (4, 6) ORDER BY rotation_id"),
        [],
        row,
    )
}

/// The one whose certificates are being exchanged: there is at most one.
///
/// # Errors
/// SQLite's.
pub fn under_way(master: &Connection) -> rusqlite::Result<Option<Rotation>> {
    first(
        master,
        &format!("{ROW} WHERE state IN (1, 2) ORDER BY rotation_id"),
        [],
        row,
    )
}

/// Goes on to `state`; partners are told under a new number.
///
/// # Errors
/// SQLite's.
pub fn advance(master: &Connection, id: i64, state: State) -> rusqlite::Result<()> {
    let now = dates::now();
    master
        .execute(
            "UPDATE rotation SET state = ?2, notice = (SELECT max(notice) + 1 FROM rotation),
               switch_date = iif(?2 = 2, ?3, switch_date), end_date = iif(?2 IN (4, 6), ?3, end_date)
              WHERE rotation_id = ?1",
            params![id, state.code(), now],
        )
        .map(drop)
}

/// Partners that have not answered, or refused, are told again.
///
/// # Errors
/// SQLite's.
pub fn tell_again(master: &Connection, id: i64) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE rotation SET notice = (SELECT max(notice) + 1 FROM rotation) WHERE rotation_id = ?1",
            [id],
        )
        .map(drop)
}

/// What peers have done of a rotation.
///
/// # Errors
/// SQLite's.
pub fn peers(master: &Connection, id: i64) -> rusqlite::Result<Vec<Peer>> {
    all(
        master,
        "SELECT login_id, instance_id, confirmed_date IS NOT NULL, completed_date IS NOT NULL, told_date IS NOT NULL, refusal,
                refusal_reason
           FROM rotation_peer WHERE rotation_id = ?1 ORDER BY login_id, instance_id",
        [id],
        |row| {
            let number: Option<u32> = row.get(5)?;
            let reason: Option<u16> = row.get(6)?;
            Ok(Peer {
                peer: (row.get(0)?, row.get(1)?),
                confirmed: row.get(2)?,
                completed: row.get(3)?,
                told: row.get(4)?,
                refusal: number.zip(reason),
            })
        },
    )
}

/// Rows of one login that a rotation keeps, beside those of partners: a peer says itself which instance it is.
pub const INSTANCES_MAX: u32 = 8;

/// Whether `peer` has a row, or may get one.
///
/// # Errors
/// SQLite's.
pub fn has_room(master: &Connection, id: i64, peer: PeerId) -> rusqlite::Result<bool> {
    let (known, rows): (bool, u32) = master.query_row(
        "SELECT count(iif(instance_id = ?3, 1, NULL)) > 0, count(*) FROM rotation_peer WHERE rotation_id = ?1 AND login_id = ?2",
        params![id, peer.0, peer.1],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(known || rows < INSTANCES_MAX)
}

/// A peer has done a step. Returns whether that is new.
///
/// # Errors
/// SQLite's.
pub fn stepped(master: &Connection, id: i64, peer: PeerId, step: Step) -> rusqlite::Result<bool> {
    touch(master, id, peer)?;
    let column = match step {
        Step::Confirmed => "confirmed_date",
        Step::Completed => "completed_date",
        Step::Told => "told_date",
    };
    let changed = master.execute(
        &format!(
            "UPDATE rotation_peer SET {column} = ?4, refusal = NULL, refusal_reason = NULL
              WHERE rotation_id = ?1 AND login_id = ?2 AND instance_id = ?3 AND {column} IS NULL"
        ),
        params![id, peer.0, peer.1, dates::now()],
    )?;
    Ok(changed > 0)
}

/// A peer has refused what it was told.
///
/// # Errors
/// SQLite's.
pub fn refused(
    master: &Connection,
    id: i64,
    peer: PeerId,
    (number, reason): (u32, u16),
) -> rusqlite::Result<()> {
    touch(master, id, peer)?;
    master
        .execute(
            "UPDATE rotation_peer SET refusal = ?4, refusal_reason = ?5
              WHERE rotation_id = ?1 AND login_id = ?2 AND instance_id = ?3",
            params![id, peer.0, peer.1, number, reason],
        )
        .map(drop)
}

fn touch(master: &Connection, id: i64, peer: PeerId) -> rusqlite::Result<()> {
    master
        .execute(
            "INSERT INTO rotation_peer (rotation_id, login_id, instance_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![id, peer.0, peer.1],
        )
        .map(drop)
}

/// Where a pin came from that a peer handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The pin.
    pub certificate_id: i32,
    /// The login it was handed over by.
    pub login_id: i32,
    /// The peer has come with it at least once.
    pub used: bool,
}

/// Notes that `peer` has handed over the certificate, on a connection that `predecessor` authenticated.
///
/// # Errors
/// SQLite's.
pub fn handed_over(
    master: &Connection,
    certificate_id: i32,
    peer: PeerId,
    predecessor: &str,
) -> rusqlite::Result<()> {
    master
        .execute(
            "INSERT INTO certificate_origin (certificate_id, login_id, instance_id, predecessor, received_date)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![certificate_id, peer.0, peer.1, predecessor, dates::now()],
        )
        .map(drop)
}

/// The pins of `login` that were handed over and are still there.
///
/// # Errors
/// SQLite's.
pub fn origins(master: &Connection, login_id: i32) -> rusqlite::Result<Vec<Origin>> {
    all(
        master,
        "SELECT o.certificate_id, o.login_id, o.used_date IS NOT NULL FROM certificate_origin o JOIN certificate USING (certificate_id)
          WHERE o.login_id = ?1 ORDER BY o.certificate_id",
        [login_id],
        |row| {
            Ok(Origin {
                certificate_id: row.get(0)?,
                login_id: row.get(1)?,
                used: row.get(2)?,
            })
        },
    )
}

/// A peer has come with the certificate. Returns whether it waited for that.
///
/// # Errors
/// SQLite's.
pub fn used(master: &Connection, certificate_id: i32) -> rusqlite::Result<bool> {
    let changed = master
        .prepare_cached(
            "UPDATE certificate_origin SET used_date = ?2 WHERE certificate_id = ?1 AND used_date IS NULL",
        )?
        .execute(params![certificate_id, dates::now()])?;
    Ok(changed > 0)
}

//! What the handle's calls about certificates that are replaced do, and what the loop tells the instance of it.
//!
//! The instance decides and stores (`crate::rotation`); the engine shows the right certificate on each connection, says what is
//! to be said, and passes on what is heard.

use dbmirror_core::endpoint::{ConnectionId, ConnectionState};
use dbmirror_core::message::InstanceId;
use dbmirror_core::session::decide::witness::Keeping;
use dbmirror_core::session::{DatabaseId, SessionError, Stored, StoredPhase};
use dbmirror_core::time::Duration;
use dbmirror_core::witness::WitnessStored;

use super::run::Instance;
use super::statements::{not_started, parse_address};
use super::{EndpointIdentity, EngineError, Guid, Refusal};

/// How long the connection that only shows a new certificate stays.
const SHOWN: Duration = Duration::from_millis(500);

/// The own certificates that matter beside the endpoint's, and what peers are still to be told.
#[derive(Default)]
pub struct Succession {
    /// With their keys: the successor while it is handed out, the predecessor while a peer may need it.
    pub others: Vec<EndpointIdentity>,
    /// Addresses that are dialled with one of those, because who answers there knows no other.
    pub dialed: Vec<(String, i32)>,
    /// What is to be told, by rising numbers.
    pub notices: Vec<Notice>,
}

/// Something to be told to peers about own certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number, by which it is answered.
    pub number: u64,
    /// What.
    pub what: NoticeWhat,
    /// To whom.
    pub to: Recipients,
}

/// What peers are told about own certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeWhat {
    /// The certificate with this id, the endpoint's or one of [`Succession::others`], is going to be used, or is.
    Successor(i32),
    /// The one with this SHA-256 is not used any more.
    Retired([u8; 32]),
}

/// A peer: its login's `principal_id`, and its instance.
pub type PeerId = (i32, Guid);

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Whoever is connected, but these.
    AllBut(Vec<PeerId>),
    /// These.
    Only(Vec<PeerId>),
}

impl Recipients {
    pub(super) fn has(&self, peer: PeerId) -> bool {
        match self {
            Self::AllBut(done) => !done.contains(&peer),
            Self::Only(these) => these.contains(&peer),
        }
    }
}

/// What the instance has to know of certificates that are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateEvent {
    /// A peer tells about one of its own; it waits for [`super::Engine::answer_certificate`].
    Told(PeerCertificate),
    /// A peer has answered a notice.
    Answered {
        /// The peer.
        peer: PeerId,
        /// The notice.
        number: u64,
        /// `None`: done there, durably.
        refusal: Option<Refusal>,
    },
    /// A connection came online: both sides have accepted each other's certificate.
    Online {
        /// The peer.
        peer: PeerId,
        /// The certificate that the peer showed.
        certificate_id: i32,
        /// The one that was shown to it.
        own_certificate_id: i32,
    },
}

/// A peer's word on one of its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Where it came, for the answer.
    pub connection: u64,
    /// The number to answer by.
    pub number: u64,
    /// The peer.
    pub peer: PeerId,
    /// The certificate that it proved itself by on that connection.
    pub certificate_id: i32,
    /// What it said.
    pub what: PeerCertificateWhat,
}

/// What a peer says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerCertificateWhat {
    /// It is going to use this one, whose key it has proved to own.
    Successor {
        /// In DER; well formed and valid now.
        der: Vec<u8>,
        /// Its public key.
        point: [u8; 65],
    },
    /// It will never use the one with this SHA-256 again.
    Retired {
        /// The digest of the DER.
        digest: [u8; 32],
    },
}

/// Another member of a session: the partner, the witness, or a partner whose witness this instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPeer {
    /// The peer.
    pub peer: PeerId,
    /// The address that is dialled, as its operator typed it; empty for who is not dialled from here.
    pub address: String,
    /// Whether the two talk at this moment.
    pub bound: bool,
}

impl Instance<'_> {
    /// From now on new connections are made with `identity`; those that stand go on.
    pub(super) fn set_identity(&mut self, identity: &EndpointIdentity) -> Result<(), EngineError> {
        if self.world.address.is_none() {
            return Err(not_started());
        }
        self.world.catalog.set_identity(identity)
    }

    /// The other members of all sessions, each once for each address: of those that are stored, whether or not their databases could
    /// be taken in, so that nobody is overlooked.
    pub(super) fn session_peers(&self) -> Result<Vec<SessionPeer>, EngineError> {
        let sessions: Vec<Stored> = self
            .world
            .records()
            .sessions()?
            .iter()
            .map(|record| Stored::decode(record))
            .collect::<Result<_, _>>()
            .map_err(|_| {
                EngineError::new(
                    1459,
                    "The stored record of a mirroring session is damaged, so its partner is not known.",
                )
            })?;
        // One that cannot be read counts as lost: its owner registers the session anew.
        let witnessed: Vec<WitnessStored> = self
            .world
            .records()
            .witnessed()?
            .iter()
            .filter_map(|(_, record)| WitnessStored::decode(record).ok())
            .collect();
        let bound = |database| {
            self.endpoint
                .sessions()
                .any(|session| session.database == database && session.bound)
        };
        let connected = |(login, instance): PeerId| {
            self.endpoint.connections().any(|view| {
                view.state == ConnectionState::LoggedIn
                    && view.login == Some(login.cast_unsigned())
                    && view.instance == Some(InstanceId(instance))
            })
        };
        Ok(members(&sessions, &witnessed, &bound, &connected))
    }

    /// Makes a connection to `address` for no other purpose than to show the endpoint's certificate there.
    pub(super) fn show_certificate(&mut self, address: &str) -> Result<(), EngineError> {
        let target = parse_address(address)?;
        let now = self.now();
        self.endpoint
            .test_connection(&mut self.world.env_at(now), target, SHOWN)
            .map(drop)
            .map_err(|_| not_started())
    }

    /// Whether that connection still stands, authenticated, and is not about to be closed.
    pub(super) fn stands(&self, connection: u64) -> bool {
        ConnectionId::from_u64(connection)
            .and_then(|id| self.endpoint.connection(id))
            .is_some_and(|view| view.state == ConnectionState::LoggedIn)
    }

    pub(super) fn answer_certificate(&mut self, connection: u64, number: u64, answer: Result<(), Refusal>) {
        let Some(id) = ConnectionId::from_u64(connection) else {
            return;
        };
        let answer = answer.map_err(|refusal| SessionError::new(refusal.number, refusal.reason));
        let now = self.now();
        self.endpoint
            .answer_certificate(&mut self.world.env_at(now), id, number, answer);
    }

    /// Passes on what peers have told about their certificates since the last time.
    pub(super) fn pass_on_certificates(&mut self) {
        for told in self.world.catalog.take_told() {
            self.world.notices.certificate(CertificateEvent::Told(told));
        }
    }
}

/// The other members: of sessions in which this instance is a partner, and of those that it is the witness of. `bound` says whether
/// a database's session talks to its partner, `connected` whether a peer is connected at all.
fn members(
    sessions: &[Stored],
    witnessed: &[WitnessStored],
    bound: &dyn Fn(DatabaseId) -> bool,
    connected: &dyn Fn(PeerId) -> bool,
) -> Vec<SessionPeer> {
    let mut members: Vec<SessionPeer> = Vec::new();
    let mut add = |login: u32, instance: InstanceId, address: &str, bound: Option<bool>| {
        let peer = (login.cast_signed(), instance.0);
        let bound = bound.unwrap_or_else(|| connected(peer));
        match members
            .iter_mut()
            .find(|known| known.peer == peer && known.address == address)
        {
            Some(known) => known.bound |= bound,
            None => members.push(SessionPeer {
                peer,
                address: address.to_owned(),
                bound,
            }),
        }
    };
    for session in sessions {
        if session.phase != StoredPhase::Established {
            continue;
        }
        let talks = bound(session.database);
        add(
            session.partner_login,
            session.partner_instance,
            session.partner.as_str(),
            Some(talks),
        );
        // One that was never met has no certificate of this instance to miss.
        if session.witness != InstanceId::default() && session.witness_login != 0 {
            let address = session.witness_address.as_str();
            add(session.witness_login, session.witness, address, None);
        }
    }
    for session in witnessed {
        if matches!(session.keeping, Keeping::Dropped { .. }) {
            continue;
        }
        for partner in session.partners.iter().filter(|partner| partner.login != 0) {
            add(partner.login, partner.instance, "", None);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use dbmirror_core::message::codec::Properties;
    use dbmirror_core::message::{FamilyGuid, Position, Record, SessionGuid, Text, Timelines};
    use dbmirror_core::session::Role;
    use dbmirror_core::witness::WitnessPartner;

    use super::*;

    const PROPERTIES: Properties = Properties {
        safety_sequence: 0,
        safety_full: true,
        suspended_sequence: 0,
        suspended: false,
        timeout_sequence: 0,
        timeout: 10,
    };

    fn session(database: u32, partner: u8, witness: u32) -> Stored {
        Stored {
            database: DatabaseId(database),
            phase: StoredPhase::Established,
            role: Role::Principal,
            guid: SessionGuid([1; 16]),
            family: FamilyGuid([2; 16]),
            record: Record::first(InstanceId([3; 16])),
            ask: 0,
            ask_open: false,
            ask_force: false,
            clash: false,
            incomplete: false,
            wants_seed: false,
            touched: true,
            partner_login: u32::from(partner),
            partner_instance: InstanceId([partner; 16]),
            witness: InstanceId(if witness == 0 { [0; 16] } else { [9; 16] }),
            witness_role_sequence: 0,
            witness_sync_sequence: 0,
            witness_pending: false,
            witness_address: Text::new("TCP://W:1").unwrap(),
            witness_login: witness,
            failover: Position::START,
            properties: PROPERTIES,
            timelines: Timelines::EMPTY,
            partner: Text::new("TCP://B:1").unwrap(),
            name: Text::new("d").unwrap(),
        }
    }

    #[test]
    fn nobody_who_takes_part_is_forgotten() {
        let partner = |login| WitnessPartner {
            instance: InstanceId([login; 16]),
            key: [4; 65],
            login: u32::from(login),
            name: Text::EMPTY,
        };
        let witnessed = WitnessStored {
            guid: SessionGuid([5; 16]),
            keeping: Keeping::Record(Record::first(InstanceId([21; 16]))),
            // The second was never met.
            partners: [
                partner(21),
                WitnessPartner {
                    login: 0,
                    ..partner(22)
                },
            ],
            family: FamilyGuid([0; 16]),
            properties: PROPERTIES,
            name: Text::EMPTY,
        };
        let dropped = WitnessStored {
            keeping: Keeping::Dropped {
                owner: InstanceId([31; 16]),
            },
            partners: [partner(31), partner(32)],
            ..witnessed
        };
        let sessions = [session(5, 11, 0), session(6, 11, 12), session(7, 11, 12)];
        let peer = |login: u8, instance: u8, address: &str, bound| SessionPeer {
            peer: (i32::from(login), [instance; 16]),
            address: address.to_owned(),
            bound,
        };
        assert_eq!(
            members(
                &sessions,
                &[witnessed, dropped],
                &|database| database == DatabaseId(7),
                &|(login, _)| login == 12,
            ),
            [
                peer(11, 11, "TCP://B:1", true),
                peer(12, 9, "TCP://W:1", true),
                peer(21, 21, "", false),
            ]
        );
        let waiting = Stored {
            phase: StoredPhase::Waiting,
            ..session(5, 11, 12)
        };
        assert_eq!(members(&[waiting], &[], &|_| true, &|_| true), []);
    }
}

//! What the handle's calls about certificates that are replaced do, and what the loop tells the instance of it.
//!
//! The instance decides and stores (`crate::rotation`); the engine shows the right certificate on each connection, says what is
//! to be said, and passes on what is heard.

use dbmirror_core::endpoint::{ConnectionId, ConnectionState};
use dbmirror_core::session::{SessionError, Stored, StoredPhase};
use dbmirror_core::time::Duration;

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

/// A partner of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPeer {
    /// The peer.
    pub peer: PeerId,
    /// The address that is dialled, as its operator typed it.
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

    /// The partners of all sessions, each once for each address: of those that are stored, whether or not their databases could be
    /// taken in, so that nobody is overlooked.
    pub(super) fn session_peers(&self) -> Result<Vec<SessionPeer>, EngineError> {
        let mut peers: Vec<SessionPeer> = Vec::new();
        for record in self.world.records().sessions()? {
            let stored = Stored::decode(&record).map_err(|_| {
                EngineError::new(
                    1459,
                    "The stored record of a mirroring session is damaged, so its partner is not known.",
                )
            })?;
            if stored.phase != StoredPhase::Established {
                continue;
            }
            let peer = (stored.partner_login.cast_signed(), stored.partner_instance.0);
            let bound = self
                .endpoint
                .sessions()
                .any(|session| session.database == stored.database && session.bound);
            let address = stored.partner.as_str();
            match peers
                .iter_mut()
                .find(|known| known.peer == peer && known.address == address)
            {
                Some(known) => known.bound |= bound,
                None => peers.push(SessionPeer {
                    peer,
                    address: address.to_owned(),
                    bound,
                }),
            }
        }
        Ok(peers)
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

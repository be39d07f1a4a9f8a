//! What is worth a line in the log, as values: a board says it with defmt, a test looks at it.

use core::net::SocketAddr;

use dbmirror_core::endpoint::Step;
use dbmirror_core::message::{InstanceId, SessionGuid};
use dbmirror_core::time::UnixSeconds;
use dbmirror_core::witness::WitnessEvent;

/// Somewhere to log.
pub trait Log {
    /// Takes one line.
    fn note(&mut self, note: Note<'_>);
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// The device is up.
    Ready {
        /// Its name.
        name: &'a str,
        /// Its instance id.
        instance: InstanceId,
        /// The count of this start.
        boot: u64,
        /// Certificates of peers that it knows.
        peers: u8,
        /// The port it listens on.
        port: u16,
    },
    /// A peer is dialed.
    Dialing {
        /// Its login.
        login: &'a str,
        /// Its address.
        address: &'a str,
    },
    /// 28046: a peer has proved who it is.
    LoggedIn {
        /// Its login.
        login: &'a str,
        /// Its certificate's number.
        certificate: u32,
        /// Where it is.
        peer: Option<SocketAddr>,
    },
    /// A peer told which instance it is.
    Online {
        /// Its login.
        login: &'a str,
        /// Which.
        instance: InstanceId,
    },
    /// A connection ended.
    Closed {
        /// The message number; 0 for an orderly end.
        number: u32,
        /// The step at which it happened.
        step: Step,
        /// Its login, once that was known.
        login: &'a str,
        /// Where the peer is.
        peer: Option<SocketAddr>,
    },
    /// Something happened to a session that this device is the witness of.
    Witness {
        /// The session.
        guid: SessionGuid,
        /// What.
        event: WitnessEvent,
    },
    /// A stored record was damaged and is forgotten: the session's owner registers it again.
    RecordLost,
    /// The memory did not take a record: nothing is claimed any more until a restart.
    MemoryFailed,
    /// What partners tell of the time has moved the floor by which certificates end.
    FloorMoved {
        /// Where it is now.
        to: UnixSeconds,
    },
    /// A partner's successor certificate is stored.
    SuccessorStored {
        /// Its login.
        login: &'a str,
        /// Its number.
        certificate: u32,
    },
    /// A partner's certificate, which it had brought and gives up, is gone.
    CertificateDropped {
        /// Its login.
        login: &'a str,
        /// Its number.
        certificate: u32,
    },
    /// What a partner told of its certificates was refused.
    SuccessorRefused {
        /// Its login.
        login: &'a str,
        /// The message number.
        number: u32,
    },
    /// A step of the rotation of the device's own certificate.
    Rotation {
        /// Which.
        step: Rotation,
        /// The partner's login, where it is a partner's step.
        login: &'a str,
    },
    /// Events that came faster than they were told.
    Lost {
        /// How many.
        count: u32,
    },
}

/// A step of the rotation of the device's own certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The last third of its validity has begun: a successor is made and stored.
    Made,
    /// No successor can be made.
    Unable,
    /// A partner has stored it.
    Stored,
    /// A partner has refused it.
    Refused,
    /// All partners have stored it: new connections are made with it.
    Switched,
    /// A partner has accepted it in a handshake.
    Accepted,
    /// All partners have: the predecessor and its key are gone.
    GivenUp,
    /// All partners have heard that.
    Done,
}

impl Rotation {
    /// The step in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Made => "a successor is made",
            Self::Unable => "no successor can be made; provision this device again before it expires",
            Self::Stored => "the successor is stored by",
            Self::Refused => "the successor is refused by",
            Self::Switched => "the successor is used",
            Self::Accepted => "the successor is accepted by",
            Self::GivenUp => "the predecessor is given up",
            Self::Done => "the rotation is done",
        }
    }
}

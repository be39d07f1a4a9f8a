//! The catalog as the endpoint asks it at each handshake: whom it lets in, and who this instance is.

use std::cell::RefCell;
use std::collections::HashMap;

use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::endpoint::{Directory, IdentityError, Notice, NoticeBody, PeerNotice, PeerNoticeBody};
use dbmirror_core::message::{Address, InstanceId};
use dbmirror_core::session::{Reason, SessionError};
use dbmirror_core::time::UnixSeconds;

use super::succession::{NoticeWhat, PeerCertificate, PeerCertificateWhat, Succession};
use super::{Connect, EndpointIdentity, EngineError, Pin};
use crate::provider::ChannelCrypto;

type Key = <ChannelCrypto as Provider>::SigningKey;

/// A certificate of this instance with its key.
struct Own {
    id: u32,
    key: Key,
    der: Vec<u8>,
}

impl Own {
    fn new(identity: &EndpointIdentity) -> Result<Self, EngineError> {
        let key = Key::from_scalar(&identity.signing_key).map_err(|_| {
            EngineError::new(
                28037,
                "The private key of the endpoint's certificate is not a P-256 key.",
            )
        })?;
        Ok(Self {
            id: identity.certificate_id.cast_unsigned(),
            key,
            der: identity.certificate_der.clone(),
        })
    }

    fn lent(&self) -> Identity<'_, ChannelCrypto> {
        Identity {
            signing_key: &self.key,
            certificate_der: &self.der,
        }
    }
}

/// Own identity, pins and the names of the databases.
#[derive(Default)]
pub(super) struct Catalog {
    identity: Option<Own>,
    /// Other own certificates, and who is dialled with them.
    others: Vec<Own>,
    dialed: HashMap<String, u32>,
    /// What peers are to be told about own certificates, by rising numbers.
    notices: Vec<super::Notice>,
    /// What they told about theirs, until the loop passes it on.
    told: RefCell<Vec<PeerCertificate>>,
    pins: Pins,
    /// Why no session can start for a database, by its name in lower case.
    refusals: HashMap<String, Reason>,
}

impl Catalog {
    /// Takes over the endpoint's certificate and key.
    ///
    /// # Errors
    /// 28037 when the key is none, 28036 when it is not the certificate's.
    pub(super) fn set_identity(&mut self, identity: &EndpointIdentity) -> Result<(), EngineError> {
        let own = Own::new(identity)?;
        if let Some(pin) = self.pins.0.iter().find(|p| p.der == own.der)
            && pin.point != own.key.public_point()
        {
            return Err(EngineError::new(
                28036,
                "The private key that is stored with the endpoint's certificate does not belong to it.",
            ));
        }
        self.identity = Some(own);
        Ok(())
    }

    /// Takes over what is beside the endpoint's certificate, instead of what was.
    ///
    /// # Errors
    /// 28037 when a key is none; nothing has changed then.
    pub(super) fn set_succession(&mut self, succession: Succession) -> Result<(), EngineError> {
        let others: Result<Vec<Own>, EngineError> = succession.others.iter().map(Own::new).collect();
        self.others = others?;
        self.dialed = succession
            .dialed
            .into_iter()
            .map(|(address, id)| (address, id.cast_unsigned()))
            .collect();
        self.notices = succession.notices;
        self.notices.sort_by_key(|notice| notice.number);
        Ok(())
    }

    /// What peers have told about their certificates since the last time.
    pub(super) fn take_told(&mut self) -> Vec<PeerCertificate> {
        std::mem::take(self.told.get_mut())
    }

    fn own(&self, id: u32) -> Option<&Own> {
        self.identity.iter().chain(&self.others).find(|own| own.id == id)
    }

    /// From now on no connection can be made or taken.
    pub(super) fn clear_identity(&mut self) {
        self.identity = None;
    }

    pub(super) fn set_pins(&mut self, pins: Vec<Pin>) {
        self.pins = Pins(pins);
    }

    /// The name of a login, for views and logs.
    pub(super) fn login_name(&self, login_id: u32) -> Option<&str> {
        self.pins
            .0
            .iter()
            .find(|p| p.login_id.is_some_and(|l| l as u32 == login_id))
            .map(|p| p.login_name.as_str())
    }

    /// The pin of a certificate.
    pub(super) fn pin(&self, certificate_id: u32) -> Option<&Pin> {
        self.pins
            .0
            .iter()
            .find(|p| p.certificate_id as u32 == certificate_id)
    }

    pub(super) fn set_refusal(&mut self, name: &str, reason: Reason) {
        self.refusals.insert(name.to_lowercase(), reason);
    }

    pub(super) fn forget_name(&mut self, name: &str) {
        self.refusals.remove(&name.to_lowercase());
    }
}

impl Directory<ChannelCrypto> for Catalog {
    fn identity(&self) -> Result<Identity<'_, ChannelCrypto>, IdentityError> {
        self.identity
            .as_ref()
            .map(Own::lent)
            .ok_or(IdentityError::NoCertificate)
    }

    fn certificate_for(&self, dialed: Option<&Address>) -> u32 {
        dialed
            .and_then(|address| self.dialed.get(address.as_str()))
            .copied()
            .filter(|id| self.own(*id).is_some())
            .or_else(|| self.identity.as_ref().map(|own| own.id))
            .unwrap_or(0)
    }

    fn identity_of(&self, certificate: u32) -> Result<Identity<'_, ChannelCrypto>, IdentityError> {
        // A stopped endpoint has none, whatever is beside it.
        let current = self.identity()?;
        Ok(self.own(certificate).map_or(current, Own::lent))
    }

    fn notice(&self, login: u32, instance: InstanceId, after: u64) -> Option<Notice<'_, ChannelCrypto>> {
        let peer = (login.cast_signed(), instance.0);
        self.notices
            .iter()
            .filter(|notice| notice.number > after && notice.to.has(peer))
            .find_map(|notice| {
                let body = match notice.what {
                    NoticeWhat::Successor(id) => NoticeBody::Successor(self.own(id.cast_unsigned())?.lent()),
                    NoticeWhat::Retired(digest) => NoticeBody::Retired(digest),
                };
                Some(Notice {
                    number: notice.number,
                    body,
                })
            })
    }

    fn peer_notice(&self, notice: &PeerNotice<'_>) -> Result<(), SessionError> {
        let what = match notice.body {
            PeerNoticeBody::Successor { der, point } => PeerCertificateWhat::Successor {
                der: der.to_vec(),
                point,
            },
            PeerNoticeBody::Retired { digest } => PeerCertificateWhat::Retired { digest },
        };
        self.told.borrow_mut().push(PeerCertificate {
            connection: notice.connection.as_u64(),
            number: notice.number,
            peer: (notice.login.cast_signed(), notice.instance.0),
            certificate_id: notice.certificate.cast_signed(),
            what,
        });
        Ok(())
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        &self.pins
    }

    fn not_waiting(&self, name: &str) -> Reason {
        self.refusals
            .get(&name.to_lowercase())
            .copied()
            .unwrap_or(Reason::NoDatabase)
    }
}

#[derive(Default)]
struct Pins(Vec<Pin>);

impl PeerVerifier for Pins {
    fn verify(&self, _: &[u8], certificate_der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let mut found = self.0.iter().filter(|p| p.der == certificate_der);
        let pin = found.next().ok_or(PeerRefusal::Unknown)?;
        // A certificate whose key is here proves nothing about the other side.
        if pin.own || found.any(|p| p.own) {
            return Err(PeerRefusal::OwnCertificate);
        }
        Ok(VerifiedPeer {
            point: pin.point,
            login_id: pin.login_id.map_or(0, |id| id as u32),
            certificate_id: pin.certificate_id as u32,
        })
    }

    /// Dates, login and CONNECT are judged here, when the peer has proved that the certificate is its own: who merely holds
    /// a copy of it learns nothing about them, and nobody else's login is written into the log.
    fn authorize(&self, _: &[u8], peer: &VerifiedPeer, now: UnixSeconds) -> Result<(), PeerRefusal> {
        let certificate_id = peer.certificate_id;
        let pin = self
            .0
            .iter()
            .find(|p| p.certificate_id as u32 == certificate_id)
            .ok_or(PeerRefusal::Unknown)?;
        if now.0 < pin.not_before {
            return Err(PeerRefusal::NotYetValid { certificate_id });
        }
        if now.0 > pin.not_after {
            return Err(PeerRefusal::Expired { certificate_id });
        }
        let Some(login_id) = pin.login_id.map(|id| id as u32) else {
            return Err(PeerRefusal::NoLogin { certificate_id });
        };
        if login_id != peer.login_id {
            return Err(PeerRefusal::NoLogin { certificate_id });
        }
        match pin.connect {
            Connect::Granted => Ok(()),
            Connect::Denied | Connect::None => Err(PeerRefusal::NoConnect {
                login_id,
                certificate_id,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(certificate_id: i32, der: &[u8]) -> Pin {
        Pin {
            certificate_id,
            der: der.to_vec(),
            point: [4; 65],
            not_before: 100,
            not_after: 200,
            login_id: Some(7),
            login_name: "HOST_B_login".into(),
            connect: Connect::Granted,
            own: false,
        }
    }

    fn judge(pins: Vec<Pin>, der: &[u8], now: i64) -> Result<VerifiedPeer, PeerRefusal> {
        let pins = Pins(pins);
        let peer = pins.verify(b"dbm/1", der, UnixSeconds(now))?;
        pins.authorize(b"dbm/1", &peer, UnixSeconds(now)).map(|()| peer)
    }

    #[test]
    fn every_broken_link_has_its_own_refusal() {
        let good = pin(3, b"der");
        let ids = |r: Result<VerifiedPeer, PeerRefusal>| r.map(|p| (p.login_id, p.certificate_id));
        assert_eq!(ids(judge(vec![good.clone()], b"der", 150)), Ok((7, 3)));
        assert_eq!(ids(judge(vec![good.clone()], b"der", 100)), Ok((7, 3)));
        assert_eq!(ids(judge(vec![good.clone()], b"der", 200)), Ok((7, 3)));
        assert_eq!(
            ids(judge(vec![good.clone()], b"de", 150)),
            Err(PeerRefusal::Unknown)
        );
        assert_eq!(ids(judge(vec![], b"der", 150)), Err(PeerRefusal::Unknown));
        let certificate_id = 3;
        assert_eq!(
            ids(judge(vec![good.clone()], b"der", 99)),
            Err(PeerRefusal::NotYetValid { certificate_id })
        );
        assert_eq!(
            ids(judge(vec![good.clone()], b"der", 201)),
            Err(PeerRefusal::Expired { certificate_id })
        );
        let no_login = Pin {
            login_id: None,
            ..good.clone()
        };
        assert_eq!(
            ids(judge(vec![no_login], b"der", 150)),
            Err(PeerRefusal::NoLogin { certificate_id })
        );
        for connect in [Connect::Denied, Connect::None] {
            let refused = Pin {
                connect,
                ..good.clone()
            };
            let expected = Err(PeerRefusal::NoConnect {
                login_id: 7,
                certificate_id,
            });
            assert_eq!(ids(judge(vec![refused], b"der", 150)), expected);
        }
        let own = Pin {
            own: true,
            certificate_id: 9,
            ..good.clone()
        };
        assert_eq!(
            ids(judge(vec![good, own], b"der", 150)),
            Err(PeerRefusal::OwnCertificate)
        );
    }
}

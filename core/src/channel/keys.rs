//! The secrets of a connection, each at one place for as long as it lives.
//!
//! A value that is moved leaves a copy of its bytes behind, and nothing wipes that. So the states of a handshake, which
//! move, hold no secrets: those lie here, are used where they lie, and are dropped, and so wiped, there.
//!
//! | secret | lives until |
//! | --- | --- |
//! | ephemeral keys | the shared secret is computed |
//! | handshake secret | the server's Finished is made or checked |
//! | handshake traffic secrets and keys | their side's Finished |
//! | application traffic secrets and keys | the next KeyUpdate of their side, or the end |
//! | exporter secret | the end |

use super::digest::Digest;
use super::error::ChannelError;
use super::group::{NamedGroup, Share};
use super::key_schedule::{ExporterSecret, HandshakeSecret, TrafficSecret, TrafficSecrets};
use super::protect::{Opener, Sealer};
use super::suite::{CipherSuite, Protection, RecordSizeLimit};
use crate::crypto::{
    CIPHERTEXT_LEN, CryptoError, ENCAPSULATION_KEY_LEN, Kem as _, KeyExchange as _, POINT_LEN, Provider,
};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// All secrets of a channel, and what its records agree on.
pub(crate) struct Keys<P: Provider> {
    pub(crate) opener: Option<Opener<P>>,
    pub(crate) sealer: Option<Sealer<P>>,
    /// What comes after `sealer`. Made before it is needed, so that a failure is told under keys that the peer has.
    next_sealer: Option<Sealer<P>>,
    /// What comes after `opener`, once the peer's Finished is there.
    next_opener: Option<TrafficSecret<P>>,
    pub(crate) exporter: Option<ExporterSecret<P>>,
    ephemeral: Option<P::P256>,
    /// The client's half of a hybrid exchange.
    kem: Option<P::MlKem768>,
    /// The client's share, until the server answers it. It is no secret, but as long as a state is not to be: what a state has no
    /// bytes of its own for takes along, when it is moved, what lay on the stack.
    peer_share: Option<Share>,
    handshake: Option<HandshakeSecret<P>>,
    pub(crate) protection: Protection,
    /// The group of our share.
    pub(crate) group: NamedGroup,
    #[cfg(feature = "key-log")]
    pub(crate) client_random: [u8; 32],
}

/// The secrets of both sides as one side sees them.
struct Sides<P: Provider> {
    own: TrafficSecret<P>,
    peer: TrafficSecret<P>,
}

impl<P: Provider> Sides<P> {
    fn new(secrets: TrafficSecrets<P>, role: super::Role) -> Self {
        let TrafficSecrets { client, server } = secrets;
        match role {
            super::Role::Client => Self {
                own: client,
                peer: server,
            },
            super::Role::Server => Self {
                own: server,
                peer: client,
            },
        }
    }
}

/// A provider's failure where the peer cannot be the cause, unless entropy ran out.
pub(crate) const fn local(error: CryptoError) -> ChannelError {
    match error {
        CryptoError::Entropy => ChannelError::Entropy,
        _ => ChannelError::Provider,
    }
}

/// A provider's failure over a share, which the peer is the cause of if it was not one.
const fn of_share(error: CryptoError) -> ChannelError {
    match error {
        CryptoError::BadPoint | CryptoError::BadEncapsulationKey => ChannelError::BadKeyShare,
        other => local(other),
    }
}

/// The point of a share, and what lies behind it.
fn split_share(share: &[u8]) -> Result<(&[u8], &[u8]), ChannelError> {
    share.split_at_checked(POINT_LEN).ok_or(ChannelError::BadKeyShare)
}

/// Where the secret of ECDH lies, and that of ML-KEM behind it.
fn halves(shared: &mut Secret<64>) -> Result<(&mut [u8; 32], &mut [u8; 32]), ChannelError> {
    let (first, rest) = shared
        .expose_mut()
        .split_first_chunk_mut()
        .ok_or(ChannelError::State)?;
    Ok((first, rest.first_chunk_mut().ok_or(ChannelError::State)?))
}

impl<P: Provider> Keys<P> {
    pub(crate) const fn new(own_limit: RecordSizeLimit) -> Self {
        Self {
            opener: None,
            sealer: None,
            next_sealer: None,
            next_opener: None,
            exporter: None,
            ephemeral: None,
            kem: None,
            peer_share: None,
            handshake: None,
            protection: Protection::new(own_limit),
            group: NamedGroup::Secp256r1,
            #[cfg(feature = "key-log")]
            client_random: [0; 32],
        }
    }

    pub(crate) const fn agree_on(&mut self, suite: CipherSuite) {
        self.protection.suite = suite;
    }

    /// Minds the longest record that the peer takes, from now on.
    pub(crate) fn mind(&mut self, peer_limit: RecordSizeLimit) {
        self.protection.peer_limit = peer_limit;
        if let Some(sealer) = &mut self.sealer {
            sealer.limit(peer_limit);
        }
    }

    /// Draws the ephemeral key for `group`. One public-key operation.
    pub(crate) fn draw(&mut self, group: NamedGroup, entropy: &mut dyn Entropy) -> Result<(), ChannelError> {
        self.group = group;
        self.ephemeral = Some(P::P256::start(entropy).map_err(local)?);
        Ok(())
    }

    /// Keeps the client's share for [`Self::respond`].
    pub(crate) fn keep_share(&mut self, client_share: &[u8]) -> Result<(), ChannelError> {
        let share = Share::build(|w| w.bytes(client_share)).map_err(|_| ChannelError::State)?;
        self.peer_share = Some(share);
        Ok(())
    }

    /// As [`Self::draw`], and for a hybrid the decapsulation key, which is the client's.
    pub(crate) fn draw_as_client(
        &mut self,
        group: NamedGroup,
        entropy: &mut dyn Entropy,
    ) -> Result<(), ChannelError> {
        self.draw(group, entropy)?;
        self.kem = match group {
            NamedGroup::Secp256r1 => None,
            NamedGroup::SecP256r1MlKem768 => Some(P::MlKem768::generate(entropy).map_err(local)?),
        };
        Ok(())
    }

    /// The client's share: the point, then the encapsulation key.
    pub(crate) fn client_share(&self) -> Result<Share, ChannelError> {
        let point = self.ephemeral.as_ref().ok_or(ChannelError::State)?.share();
        let Some(kem) = &self.kem else {
            return Share::build(|w| w.bytes(&point)).map_err(|_| ChannelError::State);
        };
        let mut key = [0; ENCAPSULATION_KEY_LEN];
        kem.encapsulation_key(&mut key).map_err(local)?;
        Share::build(|w| {
            w.bytes(&point)?;
            w.bytes(&key)
        })
        .map_err(|_| ChannelError::State)
    }

    /// The client's end: computes the handshake secret from the server's share, and wipes the ephemeral keys. One public-key
    /// operation, as which the halves of a hybrid count together.
    pub(crate) fn exchange(&mut self, server_share: &[u8]) -> Result<(), ChannelError> {
        let agreed = self.agree(server_share);
        self.ephemeral = None;
        self.kem = None;
        let (shared, len) = agreed?;
        self.keep(&shared, len)
    }

    fn agree(&self, server_share: &[u8]) -> Result<(Secret<64>, usize), ChannelError> {
        let (point, ciphertext) = split_share(server_share)?;
        let mut shared = Secret::zero();
        let (first, second) = halves(&mut shared)?;
        let ephemeral = self.ephemeral.as_ref().ok_or(ChannelError::State)?;
        *first = *ephemeral.finish(point).map_err(of_share)?.expose();
        match &self.kem {
            None if ciphertext.is_empty() => Ok((shared, 32)),
            None => Err(ChannelError::BadKeyShare),
            Some(kem) => {
                let ciphertext = ciphertext.try_into().map_err(|_| ChannelError::BadKeyShare)?;
                *second = *kem.decapsulate(ciphertext).map_err(of_share)?.expose();
                Ok((shared, 64))
            }
        }
    }

    /// The server's end: computes the handshake secret from the client's share, wipes the ephemeral key, and answers our own
    /// share. One public-key operation, as which the halves of a hybrid count together.
    pub(crate) fn respond(&mut self, entropy: &mut dyn Entropy) -> Result<Share, ChannelError> {
        let client_share = self.peer_share.as_ref().ok_or(ChannelError::State)?;
        let answered = self.answer(client_share.as_bytes(), entropy);
        self.peer_share = None;
        self.ephemeral = None;
        let (shared, len, share) = answered?;
        self.keep(&shared, len)?;
        Ok(share)
    }

    fn answer(
        &self,
        client_share: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(Secret<64>, usize, Share), ChannelError> {
        let (point, key) = split_share(client_share)?;
        let mut shared = Secret::zero();
        let (first, second) = halves(&mut shared)?;
        let ephemeral = self.ephemeral.as_ref().ok_or(ChannelError::State)?;
        *first = *ephemeral.finish(point).map_err(of_share)?.expose();
        let own = ephemeral.share();
        let (share, len) = match self.group {
            NamedGroup::Secp256r1 => (Share::build(|w| w.bytes(&own)), 32),
            NamedGroup::SecP256r1MlKem768 => {
                let key = key.try_into().map_err(|_| ChannelError::BadKeyShare)?;
                let mut ciphertext = [0; CIPHERTEXT_LEN];
                let secret = P::MlKem768::encapsulate(key, entropy, &mut ciphertext).map_err(of_share)?;
                *second = *secret.expose();
                let share = Share::build(|w| {
                    w.bytes(&own)?;
                    w.bytes(&ciphertext)
                });
                (share, 64)
            }
        };
        Ok((shared, len, share.map_err(|_| ChannelError::State)?))
    }

    /// The handshake secret that `len` bytes of shared secret come to.
    fn keep(&mut self, shared: &Secret<64>, len: usize) -> Result<(), ChannelError> {
        let shared = shared.expose().get(..len).ok_or(ChannelError::State)?;
        let hash = self.protection.suite.hash();
        self.handshake = Some(HandshakeSecret::new(hash, shared).map_err(local)?);
        Ok(())
    }

    /// Makes the handshake keys, given the hash of ClientHello to ServerHello. The peer's are used at once, ours after
    /// [`Self::switch_sealer`].
    pub(crate) fn handshake_keys(
        &mut self,
        role: super::Role,
        transcript: &Digest,
    ) -> Result<(), ChannelError> {
        let secret = self.handshake.as_ref().ok_or(ChannelError::State)?;
        let secrets = secret.traffic(transcript).map_err(local)?;
        self.log("CLIENT_HANDSHAKE_TRAFFIC_SECRET", secrets.client.expose());
        self.log("SERVER_HANDSHAKE_TRAFFIC_SECRET", secrets.server.expose());
        let Sides { own, peer } = Sides::new(secrets, role);
        self.next_sealer = Some(Sealer::with(self.protection, own).map_err(local)?);
        self.opener = Some(Opener::with(self.protection, peer).map_err(local)?);
        Ok(())
    }

    /// Makes the application keys, given the hash of ClientHello to the server's Finished, and wipes the handshake
    /// secret. Ours are used after [`Self::switch_sealer`], the peer's after [`Self::switch_opener`].
    pub(crate) fn application_keys(
        &mut self,
        role: super::Role,
        transcript: &Digest,
    ) -> Result<(), ChannelError> {
        let master = self
            .handshake
            .as_ref()
            .ok_or(ChannelError::State)?
            .master()
            .map_err(local)?;
        self.handshake = None;
        let secrets = master.traffic(transcript).map_err(local)?;
        self.exporter = Some(master.into_exporter(transcript).map_err(local)?);
        self.log("CLIENT_TRAFFIC_SECRET_0", secrets.client.expose());
        self.log("SERVER_TRAFFIC_SECRET_0", secrets.server.expose());
        if let Some(exporter) = &self.exporter {
            self.log("EXPORTER_SECRET", exporter.expose());
        }
        let Sides { own, peer } = Sides::new(secrets, role);
        self.next_sealer = Some(Sealer::with(self.protection, own).map_err(local)?);
        self.next_opener = Some(peer);
        Ok(())
    }

    /// From now on the next keys of ours. Exchanged and then dropped where the old ones lay: nothing is left of either.
    pub(crate) fn switch_sealer(&mut self) -> Result<(), ChannelError> {
        if self.next_sealer.is_none() {
            return Err(ChannelError::State);
        }
        core::mem::swap(&mut self.sealer, &mut self.next_sealer);
        self.next_sealer = None;
        if let Some(sealer) = &mut self.sealer {
            sealer.limit(self.protection.peer_limit);
        }
        Ok(())
    }

    /// From now on the next keys of the peer.
    pub(crate) fn switch_opener(&mut self) -> Result<(), ChannelError> {
        let secret = self.next_opener.as_ref().ok_or(ChannelError::State)?.again();
        self.opener = Some(Opener::with(self.protection, secret).map_err(local)?);
        self.next_opener = None;
        Ok(())
    }

    /// Wipes all but what a last alert is sealed with.
    pub(crate) fn wipe_but_sealer(&mut self) {
        self.opener = None;
        self.next_sealer = None;
        self.next_opener = None;
        self.exporter = None;
        self.ephemeral = None;
        self.kem = None;
        self.handshake = None;
    }

    #[cfg(feature = "key-log")]
    fn log(&self, label: &str, secret: &[u8]) {
        P::key_log(label, &self.client_random, secret);
    }

    #[cfg(not(feature = "key-log"))]
    #[expect(
        clippy::unused_self,
        reason = "one signature for the builds with a key log and those without"
    )]
    const fn log(&self, _label: &str, _secret: &[u8]) {}
}

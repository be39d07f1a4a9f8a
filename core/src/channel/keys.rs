//! The secrets of a connection, each at one place for as long as it lives.
//!
//! A value that is moved leaves a copy of its bytes behind, and nothing wipes that. So the states of a handshake, which
//! move, hold no secrets: those lie here, are used where they lie, and are dropped, and so wiped, there.
//!
//! | secret | lives until |
//! | --- | --- |
//! | ephemeral key | the shared secret is computed |
//! | handshake secret | the server's Finished is made or checked |
//! | handshake traffic secrets and keys | their side's Finished |
//! | application traffic secrets and keys | the next KeyUpdate of their side, or the end |
//! | exporter secret | the end |

use super::error::ChannelError;
use super::key_schedule::{ExporterSecret, HandshakeSecret, TrafficSecret, TrafficSecrets};
use super::protect::{Opener, Sealer};
use super::suite::{CipherSuite, Protection, RecordSizeLimit};
use crate::crypto::{CryptoError, HASH_LEN, KeyExchange as _, Provider};
use crate::entropy::Entropy;

/// All secrets of a channel, and what its records agree on.
pub(crate) struct Keys<P: Provider> {
    pub(crate) opener: Option<Opener<P>>,
    pub(crate) sealer: Option<Sealer<P>>,
    /// What comes after `sealer`. Made before it is needed, so that a failure is told under keys that the peer has.
    next_sealer: Option<Sealer<P>>,
    /// What comes after `opener`, once the peer's Finished is there.
    next_opener: Option<TrafficSecret<P::Sha256>>,
    pub(crate) exporter: Option<ExporterSecret<P::Sha256>>,
    ephemeral: Option<P::P256>,
    handshake: Option<HandshakeSecret<P::Sha256>>,
    pub(crate) protection: Protection,
    #[cfg(feature = "key-log")]
    pub(crate) client_random: [u8; 32],
}

/// The secrets of both sides as one side sees them.
struct Sides<H> {
    own: TrafficSecret<H>,
    peer: TrafficSecret<H>,
}

impl<H> Sides<H> {
    fn new(secrets: TrafficSecrets<H>, role: super::Role) -> Self {
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

impl<P: Provider> Keys<P> {
    pub(crate) const fn new(own_limit: RecordSizeLimit) -> Self {
        Self {
            opener: None,
            sealer: None,
            next_sealer: None,
            next_opener: None,
            exporter: None,
            ephemeral: None,
            handshake: None,
            protection: Protection::new(own_limit),
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

    /// Draws the ephemeral key. One public-key operation.
    pub(crate) fn draw(&mut self, entropy: &mut dyn Entropy) -> Result<(), ChannelError> {
        self.ephemeral = Some(P::P256::start(entropy).map_err(local)?);
        Ok(())
    }

    /// The share of the ephemeral key.
    pub(crate) fn share(&self) -> Result<[u8; crate::crypto::POINT_LEN], ChannelError> {
        self.ephemeral
            .as_ref()
            .map(P::P256::share)
            .ok_or(ChannelError::State)
    }

    /// Computes the handshake secret, and wipes the ephemeral key. One public-key operation.
    pub(crate) fn exchange(&mut self, peer_share: &[u8]) -> Result<(), ChannelError> {
        let shared = self
            .ephemeral
            .as_ref()
            .ok_or(ChannelError::State)?
            .finish(peer_share);
        self.ephemeral = None;
        let shared = shared.map_err(|error| match error {
            CryptoError::BadPoint => ChannelError::BadKeyShare,
            other => local(other),
        })?;
        self.handshake = Some(HandshakeSecret::new(shared.expose()).map_err(local)?);
        Ok(())
    }

    /// Makes the handshake keys, given the hash of ClientHello to ServerHello. The peer's are used at once, ours after
    /// [`Self::switch_sealer`].
    pub(crate) fn handshake_keys(
        &mut self,
        role: super::Role,
        transcript: &[u8; HASH_LEN],
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
        transcript: &[u8; HASH_LEN],
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

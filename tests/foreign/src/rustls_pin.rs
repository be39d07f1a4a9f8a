//! rustls as it has to be configured to be a peer of ours: one certificate on each side, accepted byte for byte.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::{ALPN, Own};

/// Accepts one certificate, byte for byte, and the signature that proves its key.
#[derive(Debug)]
pub struct RustlsPin {
    der: Vec<u8>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl RustlsPin {
    fn check(&self, der: &[u8]) -> Result<(), rustls::Error> {
        if der == self.der {
            Ok(())
        } else {
            Err(rustls::Error::General("another certificate".to_owned()))
        }
    }
}

type Verified = rustls::client::danger::HandshakeSignatureValid;

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<Verified, rustls::Error> {
            Err(rustls::Error::General("TLS 1.3 only".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<Verified, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    };
}

impl rustls::client::danger::ServerCertVerifier for RustlsPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| rustls::client::danger::ServerCertVerified::assertion())
    }

    signatures!();
}

impl rustls::server::danger::ClientCertVerifier for RustlsPin {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| rustls::server::danger::ClientCertVerified::assertion())
    }

    signatures!();
}

/// What a party shows, and the key that belongs to it.
pub type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What `own` shows.
#[must_use]
pub fn chain(own: &Own) -> Chain {
    (
        vec![CertificateDer::from(own.der.clone())],
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.pkcs8())),
    )
}

fn pin(peer: &Own, provider: &CryptoProvider) -> Arc<RustlsPin> {
    Arc::new(RustlsPin {
        der: peer.der.clone(),
        algorithms: provider.signature_verification_algorithms,
    })
}

/// A client that shows `chain` and expects `peer`.
///
/// # Panics
/// When rustls does not take the key.
#[must_use]
pub fn client_config(
    provider: &Arc<CryptoProvider>,
    (chain, key): Chain,
    peer: &Own,
) -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(pin(peer, provider))
        .with_client_auth_cert(chain, key)
        .expect("a client");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// A server that shows `chain` and expects `peer`.
///
/// # Panics
/// When rustls does not take the key.
#[must_use]
pub fn server_config(
    provider: &Arc<CryptoProvider>,
    (chain, key): Chain,
    peer: &Own,
) -> rustls::ServerConfig {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(pin(peer, provider))
        .with_single_cert(chain, key)
        .expect("a server");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

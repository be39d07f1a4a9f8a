//! Why a connection failed, for people: what happened, the likely cause, what to do.

use dbmirror_core::channel::{Alert, ChannelError, PeerRefusal};
use dbmirror_core::endpoint::{CloseReason, DialError, IdentityError};

use super::directory::Catalog;

/// A connection's end in words. `peer` is the other end's address as it is known, `outbound` whether it was dialled here.
pub(super) fn close_reason(catalog: &Catalog, reason: CloseReason, peer: &str, outbound: bool) -> String {
    match reason {
        CloseReason::Dial(error) => dial(error, peer),
        CloseReason::Identity(IdentityError::NoCertificate) => {
            "This endpoint is not started, or the certificate that it names is gone: see sys.database_mirroring_endpoints \
             and sys.certificates."
                .into()
        }
        CloseReason::Identity(IdentityError::NoKey) => {
            "The private key of this endpoint's certificate could not be opened: OPEN MASTER KEY, or restore the key.".into()
        }
        CloseReason::Channel(error) => channel(catalog, error, peer, outbound),
        CloseReason::HandshakeTimeout => format!(
            "{peer} did not complete the handshake in time. Something other than a mirroring endpoint may be there, or a \
             firewall holds packets back."
        ),
        CloseReason::Idle => format!("{peer} was authenticated and then said nothing; the connection was closed."),
        CloseReason::PingTimeout => {
            format!("Nothing was heard of {peer} for the time-out: it is down, or the network between is.")
        }
        CloseReason::BadMessage { kind } => format!(
            "{peer} sent a malformed or unexpected message (kind {kind}). The two sides may run versions that do not fit."
        ),
        CloseReason::NoCommonVersion => {
            format!("{peer} speaks no version of the mirroring protocol that this instance speaks: upgrade the older one.")
        }
        CloseReason::OwnInstance => {
            format!(
                "The instance at {peer} has the id of this one. Either the address leads back here: name the partner's. Or one of the two \
                 runs on a copy of this instance's directory: stop it, and make that server a directory of its own."
            )
        }
        CloseReason::TooManyOfLogin => format!("{peer} has too many connections with one login; the newest was closed."),
        CloseReason::Evicted => {
            format!("{peer} had not authenticated when its place was needed for a newer connection.")
        }
        CloseReason::Duplicate { .. } => format!("Another connection to {peer} is used."),
        CloseReason::PeerClosed => format!("{peer} closed the connection."),
        CloseReason::Done => "The connection was closed here.".into(),
        CloseReason::Revoked => {
            format!("The login or certificate of {peer} was denied or dropped; its connection was closed.")
        }
        CloseReason::NotThePartner { instance } => format!(
            "{peer} is answered by instance {instance}, which is not the partner of the session. Check the address and the \
             certificates there."
        ),
        CloseReason::ShortRecords => format!("{peer} takes only records that are too short for a message: have it take longer ones."),
        CloseReason::Transport => format!("The connection to {peer} broke."),
        _ => format!("The connection to {peer} ended."),
    }
}

fn dial(error: DialError, peer: &str) -> String {
    match error {
        DialError::BadAddress => format!("{peer} is not a server network address: write TCP://host:port."),
        DialError::NoName => {
            format!("The host of {peer} has no address: check its spelling and the name service.")
        }
        DialError::Refused => format!(
            "Nobody listens at {peer}. Its endpoint may be stopped or on another port: see sys.tcp_endpoints there."
        ),
        DialError::Unreachable => format!("There is no way to {peer}: check the network and its routes."),
        DialError::TimedOut => {
            format!("{peer} did not answer in time: the host is down, or a firewall drops the packets.")
        }
        DialError::Other => format!("{peer} could not be reached."),
    }
}

fn channel(catalog: &Catalog, error: ChannelError, peer: &str, outbound: bool) -> String {
    match error {
        ChannelError::PeerRefused(refusal) => refused(catalog, refusal, peer),
        ChannelError::PeerAlert(alert) => alerted(alert, peer),
        ChannelError::NoCommonProtocol => {
            format!(
                "{peer} does not speak dbm/1 (ALPN): it is no mirroring endpoint, or it does without ALPN."
            )
        }
        ChannelError::NoCommonVersion => format!("{peer} does not speak TLS 1.3."),
        ChannelError::NotTls | ChannelError::UnexpectedRecord { .. } => {
            format!("{peer} does not speak TLS: something other than a mirroring endpoint is there.")
        }
        ChannelError::CertificateMissing => {
            format!(
                "{peer} sent no certificate. Both sides must authenticate: give it one, bound to a login here."
            )
        }
        ChannelError::NotMutual => {
            format!(
                "{peer} does not ask for our certificate, so it would not know who we are: it is no mirroring endpoint."
            )
        }
        ChannelError::PeerDoesNotEncrypt => format!(
            "No compatible encryption algorithm: {peer} does not encrypt (ENCRYPTION = DISABLED, or RC4 alone, which is never used), \
             and this endpoint requires it. ALTER ENDPOINT … (ENCRYPTION = REQUIRED ALGORITHM AES) there."
        ),
        ChannelError::PeerRequiresEncryption => format!(
            "No compatible encryption algorithm: {peer} requires encryption, and this endpoint does not encrypt (ENCRYPTION = \
             DISABLED, or RC4 alone, which is never used). ALTER ENDPOINT … (ENCRYPTION = REQUIRED ALGORITHM AES) here."
        ),
        ChannelError::NoCommonSuite => format!(
            "No compatible encryption algorithm: {peer} offers no cipher suite that this endpoint knows. It is no mirroring endpoint."
        ),
        ChannelError::BadSignature => format!(
            "{peer} does not prove that it owns the certificate it sent: it has another private key, or somebody sits between."
        ),
        ChannelError::ClosedInHandshake if outbound => format!(
            "{peer} closed the connection within the handshake without saying why: see the error log there."
        ),
        other => format!("The secure channel with {peer} failed: {other}."),
    }
}

fn refused(catalog: &Catalog, refusal: PeerRefusal, peer: &str) -> String {
    let certificate = |id: u32| match catalog.pin(id) {
        Some(pin) => format!("certificate {id} (of {})", pin.login_name),
        None => format!("certificate {id}"),
    };
    match refusal {
        PeerRefusal::Unknown => format!(
            "The certificate that {peer} sent is not stored here. Copy its .cer file here and run CREATE CERTIFICATE … \
             AUTHORIZATION … FROM FILE."
        ),
        PeerRefusal::NotYetValid { certificate_id } => format!(
            "The {} that {peer} sent is not valid yet: check START_DATE and the clocks.",
            certificate(certificate_id)
        ),
        PeerRefusal::Expired { certificate_id } => format!(
            "The {} that {peer} sent has expired: make a new one there and exchange it.",
            certificate(certificate_id)
        ),
        PeerRefusal::NoLogin { certificate_id } => format!(
            "The {} that {peer} sent belongs to no login here: its owner must be a user that was made FOR LOGIN.",
            certificate(certificate_id)
        ),
        PeerRefusal::NoConnect {
            login_id,
            certificate_id,
        } => format!(
            "The login {} of {peer} ({}) was not granted CONNECT: GRANT CONNECT ON ENDPOINT::… TO it.",
            catalog.login_name(login_id).unwrap_or("?"),
            certificate(certificate_id)
        ),
        PeerRefusal::OwnCertificate => format!(
            "{peer} sent a certificate whose private key is on this instance: both sides must have certificates of their own. If it runs on \
             a copy of this instance's directory, stop it and make that server a directory of its own."
        ),
        _ => format!("{peer} was refused."),
    }
}

fn alerted(alert: Alert, peer: &str) -> String {
    let why = match alert {
        Alert::CertificateUnknown => {
            "it does not hold this endpoint's certificate; copy the .cer file there and run CREATE CERTIFICATE … FROM FILE"
        }
        Alert::CertificateExpired => {
            "it holds this endpoint's certificate to be expired or not yet valid; check the clocks"
        }
        Alert::AccessDenied => {
            "the login that it has for this endpoint's certificate lacks CONNECT; run GRANT CONNECT ON ENDPOINT there"
        }
        Alert::BadCertificate => {
            "this endpoint's certificate is one of its own; each side must have one of its own"
        }
        Alert::CertificateRequired => "it wants a certificate of ours",
        Alert::NoApplicationProtocol => "it does not speak dbm/1",
        Alert::ProtocolVersion => "it does not speak TLS 1.3 as we do",
        Alert::HandshakeFailure => {
            "no compatible encryption algorithm; one of the two requires encryption and the other does without it: compare \
             encryption_algorithm_desc of sys.database_mirroring_endpoints on both"
        }
        _ => "see the error log there",
    };
    format!("{peer} refused this endpoint ({alert}): {why}.")
}

/// The name of the step at which a connection failed, as `sys.dm_dbmirror_errors` shows it.
pub(super) fn step(step: dbmirror_core::endpoint::Step, reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Dial(DialError::NoName | DialError::BadAddress) => "resolve",
        CloseReason::Channel(ChannelError::PeerRefused(
            PeerRefusal::NoLogin { .. } | PeerRefusal::NoConnect { .. },
        )) => "login",
        CloseReason::Channel(ChannelError::PeerRefused(_)) => "certificate",
        _ => step.name(),
    }
}

//! Alerts: what one peer tells the other when it ends or refuses (RFC 8446 §6, RFC 9846 §6).

/// The length in bytes of an alert message: level, description.
pub(crate) const ALERT_LEN: usize = 2;

/// `AlertLevel.warning`: for [`Alert::CloseNotify`] and [`Alert::UserCanceled`] only.
const LEVEL_WARNING: u8 = 1;
/// `AlertLevel.fatal`: for every other alert. A receiver pays no regard to the level.
const LEVEL_FATAL: u8 = 2;

macro_rules! alerts {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The description of an alert.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Alert {
            $($(#[$doc])* $name,)*
            /// One that this profile has no name for. Received, never sent; an error like the others.
            Unknown(u8),
        }

        impl Alert {
            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }

            /// The alert with that code on the wire.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }

            /// The name that the RFC gives it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(_) => "unknown",
                }
            }
        }
    };
}

alerts! {
    /// The sender will send no more; the one orderly end of a connection.
    CloseNotify = 0, "close_notify";
    /// A message that is not allowed at this point.
    UnexpectedMessage = 10, "unexpected_message";
    /// A protected record did not open.
    BadRecordMac = 20, "bad_record_mac";
    /// A record, or what is inside it, is too long.
    RecordOverflow = 22, "record_overflow";
    /// No acceptable set of parameters.
    HandshakeFailure = 40, "handshake_failure";
    /// A certificate is of a form that is not accepted.
    BadCertificate = 42, "bad_certificate";
    /// A certificate of an unsupported type.
    UnsupportedCertificate = 43, "unsupported_certificate";
    /// A certificate was revoked.
    CertificateRevoked = 44, "certificate_revoked";
    /// A certificate is expired or not yet valid.
    CertificateExpired = 45, "certificate_expired";
    /// A certificate is not acceptable for another reason: here, it is not one that was pinned.
    CertificateUnknown = 46, "certificate_unknown";
    /// A field has an impossible value, or disagrees with another.
    IllegalParameter = 47, "illegal_parameter";
    /// A certificate's issuer is not known. This profile has no issuers and never sends it; OpenSSL does.
    UnknownCa = 48, "unknown_ca";
    /// The certificate is known, but its owner may not connect.
    AccessDenied = 49, "access_denied";
    /// A message does not have the form that it must have.
    DecodeError = 50, "decode_error";
    /// A signature or a Finished value does not fit.
    DecryptError = 51, "decrypt_error";
    /// No common version of TLS; this profile speaks 1.3 only.
    ProtocolVersion = 70, "protocol_version";
    /// The peer asks for more security than is offered.
    InsufficientSecurity = 71, "insufficient_security";
    /// A failure on the sender's side that has nothing to do with the peer.
    InternalError = 80, "internal_error";
    /// A connection attempt after a refused better one.
    InappropriateFallback = 86, "inappropriate_fallback";
    /// The handshake is given up for a reason outside the protocol; `close_notify` follows. Ignored, as RFC 9846 has it.
    UserCanceled = 90, "user_canceled";
    /// An extension that must be there is not.
    MissingExtension = 109, "missing_extension";
    /// An extension that nobody asked for.
    UnsupportedExtension = 110, "unsupported_extension";
    /// The name that the client asked for is not known.
    UnrecognizedName = 112, "unrecognized_name";
    /// A stapled status is not acceptable.
    BadCertificateStatusResponse = 113, "bad_certificate_status_response";
    /// No such pre-shared key.
    UnknownPskIdentity = 115, "unknown_psk_identity";
    /// A certificate is demanded and none was sent.
    CertificateRequired = 116, "certificate_required";
    /// An error that no other alert names (RFC 9846).
    GeneralError = 117, "general_error";
    /// No common application protocol.
    NoApplicationProtocol = 120, "no_application_protocol";
}

impl Alert {
    /// The two bytes on the wire.
    #[must_use]
    pub(crate) const fn to_bytes(self) -> [u8; ALERT_LEN] {
        let level = match self {
            Self::CloseNotify | Self::UserCanceled => LEVEL_WARNING,
            _ => LEVEL_FATAL,
        };
        [level, self.code()]
    }
}

impl core::fmt::Display for Alert {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown(code) => write!(f, "unknown alert {code}"),
            named => f.write_str(named.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_goes_there_and_back() {
        for code in 0..=255 {
            assert_eq!(Alert::from_code(code).code(), code);
        }
    }

    #[test]
    fn only_orderly_ends_are_warnings() {
        assert_eq!(Alert::CloseNotify.to_bytes(), [1, 0]);
        assert_eq!(Alert::UserCanceled.to_bytes(), [1, 90]);
        assert_eq!(Alert::DecodeError.to_bytes(), [2, 50]);
    }
}

//! Certificates of strangers, and subjects as an operator types them.

use dbmirror_core::cert::{CERTIFICATE_LEN_MAX, CertError, Certificate, Name, Request, issue};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::no_security::{NoKey, NoSecurity};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::time::UnixSeconds;

use crate::Repeating;

pub(crate) fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::parse::<RustCrypto>(data) else {
        return;
    };
    assert!(data.len() <= CERTIFICATE_LEN_MAX);
    assert_eq!(certificate.der(), data);
    assert!((1..=20).contains(&certificate.serial().len()));
    assert_eq!(certificate.point()[0], 4);
    for date in [certificate.not_before(), certificate.not_after()] {
        assert!((0..=253_402_300_799).contains(&date.0));
    }
    harmless(certificate.issuer());
    harmless(certificate.subject());
    let pin = certificate.pin::<RustCrypto>();
    assert!(pin.matches::<<RustCrypto as Provider>::Sha256>(data));
    let within = certificate.not_before() <= certificate.not_after();
    assert_eq!(pin.check_validity(certificate.not_after()).is_ok(), within);
    let _either = certificate.check_self_signature::<RustCrypto>();
}

/// What is shown can be printed anywhere.
fn harmless(name: Name<'_>) {
    let shown = name.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    // A byte is shown as three at most; an attribute of 11 bytes adds its type, which is longest in numbers.
    assert!(shown.len() <= 64 * CERTIFICATE_LEN_MAX);
}

/// The first 16 bytes are the dates.
pub(crate) fn subject(data: &[u8]) {
    let Some((not_before, rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let Some((not_after, subject)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let Ok(subject) = std::str::from_utf8(subject) else {
        return;
    };
    let request = Request {
        subject,
        not_before: UnixSeconds(i64::from_le_bytes(*not_before)),
        not_after: UnixSeconds(i64::from_le_bytes(*not_after)),
    };
    let mut out = [0; CERTIFICATE_LEN_MAX];
    match issue::<NoSecurity>(&request, &NoKey, &mut Repeating::from(1), &mut out) {
        Ok(len) => {
            let certificate = Certificate::parse::<NoSecurity>(&out[..len]).expect("our own certificate");
            assert_eq!(certificate.not_before(), request.not_before);
            assert_eq!(certificate.not_after(), request.not_after);
            assert!(!certificate.subject().is_empty());
            certificate
                .check_self_signature::<NoSecurity>()
                .expect("our own signature");
            harmless(certificate.subject());
            // What is shown means what was typed.
            let shown = certificate.subject().to_string();
            let request = Request {
                subject: &shown,
                ..request
            };
            let mut again = [0; CERTIFICATE_LEN_MAX];
            let len = issue::<NoSecurity>(&request, &NoKey, &mut Repeating::from(1), &mut again)
                .expect("a subject as we show it");
            let again = Certificate::parse::<NoSecurity>(&again[..len]).expect("our own certificate");
            assert_eq!(again.subject(), certificate.subject(), "{shown}");
        }
        Err(error) => assert!(
            matches!(
                error,
                CertError::SubjectEmpty
                    | CertError::SubjectTooLong
                    | CertError::SubjectSyntax
                    | CertError::SubjectAttribute
                    | CertError::SubjectCharacter
                    | CertError::Date
            ),
            "{error:?}"
        ),
    }
}

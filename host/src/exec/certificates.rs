//! CREATE, BACKUP and DROP CERTIFICATE, and who owns one.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX, CertError};
use dbmirror_core::keys::PrivateKey;
use dbmirror_core::time::UnixSeconds;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::private_keys::AtRest;
use super::{Done, Out, SqlSession, Stop, pem};
use crate::catalog::certificates::{self, New};
use crate::catalog::keys::{Crypto, failed};
use crate::catalog::{dates, endpoints, first, principals};
use crate::engine::PeerSelector;
use crate::messages::{
    M241, M3716, M15151, M15208, M15212, M15213, M15214, M15215, M15232, M15297, M15299, M15345, M15464,
    M15468, M15559, M50101, M50104, Raised,
};
use crate::tsql::ast::{BackupCertificate, Blob, CertificateSource, CreateCertificate, Name, Password, Text};

/// Most bytes of a certificate file: text around a certificate of the most bytes has room.
const FILE_MAX: u64 = 64 << 10;
/// How far the default START_DATE lies back, so that a peer whose clock is behind accepts the certificate at once.
const BACK_DATED: i64 = 300;
/// `dbo`.
const DBO: i32 = 1;

/// What is stored of a certificate, read from its DER.
pub(super) struct Parsed {
    pub(super) point: [u8; 65],
    pub(super) serial: Vec<u8>,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

pub(super) fn parse(der: &[u8]) -> Result<Parsed, CertError> {
    let certificate = cert::Certificate::parse::<Crypto>(der)?;
    Ok(Parsed {
        point: *certificate.point(),
        serial: certificate.serial().to_vec(),
        issuer: certificate.issuer().to_string(),
        subject: certificate.subject().to_string(),
        not_before: certificate.not_before().0,
        not_after: certificate.not_after().0,
    })
}

impl SqlSession {
    pub(super) fn create_certificate(&mut self, create: &CreateCertificate, out: &mut Out<'_>) -> Done {
        let name = &create.name.value;
        let owner = self.certificate_owner(name, create.authorization.as_ref())?;
        let mut private_key = None;
        let der = match &create.source {
            CertificateSource::Generate {
                password,
                subject,
                start_date,
                expiry_date,
            } => {
                let validity = Validity::of(start_date.as_ref(), expiry_date.as_ref())?;
                let (der, key) = self.generate(name, password.as_ref(), subject, &validity)?;
                private_key = Some(key);
                if expiry_date.is_none() {
                    out.message(&expiry_warning(name, validity.end))?;
                }
                der
            }
            CertificateSource::Import {
                certificate,
                pfx: true,
                private_key: options,
            } => {
                let (der, private) = self.read_pfx(certificate, options.as_ref())?;
                let encryption = options.as_ref().and_then(|options| options.encryption.as_ref());
                private_key = Some(self.wrap_private_key(&private, encryption)?);
                der
            }
            CertificateSource::Import { certificate, .. } => self.read_certificate(certificate, out)?,
        };
        let parsed = parse(&der).map_err(|error| M15468.refuse(&[name, &error]))?;
        if let CertificateSource::Import {
            certificate,
            private_key: Some(options),
            pfx: false,
        } = &create.source
        {
            let private = self.read_private_key(name, &parsed.point, options, Some(certificate))?;
            private_key = Some(self.wrap_private_key(&private, options.encryption.as_ref())?);
        }
        self.change(|catalog| {
            if let Some(same) = certificates::by_name(catalog, self.database_id, name)? {
                return Err(M15232
                    .refuse(&[name, &format!("the name is taken by certificate_id {}", same.id)])
                    .into());
            }
            if let Some(same) = certificates::by_der(catalog, self.database_id, &der)? {
                return Err(M15232.refuse(&[name, &format!("as '{}'", same.name)]).into());
            }
            certificates::insert(
                catalog,
                &New {
                    database_id: self.database_id,
                    name,
                    principal_id: owner,
                    der: &der,
                    point: &parsed.point,
                    serial: &parsed.serial,
                    issuer: &parsed.issuer,
                    subject: &parsed.subject,
                    not_before: parsed.not_before,
                    not_after: parsed.not_after,
                    private_key: private_key
                        .as_ref()
                        .map(|(key, protection)| (key.as_slice(), *protection)),
                    active: create.active_for_begin_dialog.unwrap_or(true),
                },
            )?;
            Ok(())
        })?;
        self.refresh_pins()?;
        for warning in date_warnings(name, &parsed) {
            out.message(&warning)?;
        }
        Ok(())
    }

    /// The user that is to own a new certificate, after everything that can be said before its bytes are known.
    fn certificate_owner(&self, name: &str, authorization: Option<&Name>) -> Result<i32, Stop> {
        let master = self.instance.master();
        if certificates::by_name(&master, self.database_id, name)?.is_some() {
            return Err(M15232.refuse(&[&name, &"choose another name"]).into());
        }
        let Some(authorization) = authorization else {
            return Ok(DBO);
        };
        self.owner(&master, name, authorization)
    }

    /// The user who may own the certificate `name`.
    fn owner(&self, catalog: &Connection, name: &str, owner: &Name) -> Result<i32, Stop> {
        let user = principals::user(catalog, self.database_id, &owner.value)?
            .ok_or_else(|| M15151.refuse(&[&"find", &"user", &owner.value]))?;
        // A user made from a certificate resolves to no login; sys and INFORMATION_SCHEMA are nobody.
        if user.kind != "S" && user.kind != "U" || matches!(user.id, 2..=4) {
            return Err(M15345.refuse(&[&name]).into());
        }
        Ok(user.id)
    }

    /// Makes a key pair and a self-signed certificate; returns its DER, and the private key at rest.
    pub(super) fn generate(
        &self,
        name: &str,
        password: Option<&Password>,
        subject: &Text,
        validity: &Validity,
    ) -> Result<(Vec<u8>, AtRest), Stop> {
        let private = PrivateKey::generate::<Crypto>(&mut OsEntropy).map_err(failed)?;
        let at_rest = self.wrap_private_key(&private, password)?;
        let request = cert::Request {
            subject: &subject.value,
            not_before: UnixSeconds(validity.start),
            not_after: UnixSeconds(validity.end),
        };
        let signing_key = private.signing_key::<Crypto>().map_err(failed)?;
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let length =
            cert::issue::<Crypto>(&request, &signing_key, &mut OsEntropy, &mut der).map_err(|error| {
                match error {
                    CertError::SubjectEmpty
                    | CertError::SubjectTooLong
                    | CertError::SubjectSyntax
                    | CertError::SubjectAttribute
                    | CertError::SubjectCharacter => M15212.refuse(&[&error]),
                    _ => M15468.refuse(&[&name, &error]),
                }
            })?;
        let der = der.get(..length).unwrap_or_default().to_vec();
        Ok((der, at_rest))
    }

    /// The DER of a certificate that a peer made.
    fn read_certificate(&self, blob: &Blob, out: &mut Out<'_>) -> Result<Vec<u8>, Stop> {
        let (what, bytes) = self.read_blob(blob, FILE_MAX)?;
        let malformed = match blob {
            Blob::File(_) => &M15208,
            Blob::Binary(_) => &M15297,
        };
        let der = match pem::certificate(&bytes) {
            Ok(Some(der)) => der,
            Ok(None) => bytes.to_vec(),
            Err(why) => return Err(malformed.refuse(&[&what, &why]).into()),
        };
        match cert::Certificate::parse::<Crypto>(&der) {
            Ok(certificate) => {
                // A pin is compared byte by byte: what is damaged can never match. It is worth a word, not a refusal.
                if let Err(CertError::BadSignature) = certificate.check_self_signature::<Crypto>() {
                    out.message(&M15299.inform(&[]))?;
                }
            }
            Err(error @ (CertError::UnsupportedKey { .. } | CertError::BadPoint)) => {
                return Err(M15464.refuse(&[&what, &error]).into());
            }
            Err(_) if cert::pfx_iterations(&bytes).is_ok() => {
                return Err(malformed
                    .refuse(&[
                        &what,
                        &"it is a PFX: read it WITH FORMAT = 'PFX', PRIVATE KEY (DECRYPTION BY PASSWORD = …)",
                    ])
                    .into());
            }
            Err(error) => return Err(malformed.refuse(&[&what, &error]).into()),
        }
        Ok(der)
    }

    pub(super) fn backup_certificate(&mut self, backup: &BackupCertificate) -> Done {
        let name = &backup.name.value;
        let certificate = certificates::by_name(&self.instance.master(), self.database_id, name)?
            .ok_or_else(|| M15151.refuse(&[&"find", &"certificate", name]))?;
        match &backup.private_key {
            Some(options) if backup.pfx => self.backup_as_pfx(&certificate, backup, options),
            Some(options) => self.backup_with_private_key(&certificate, backup, options),
            None => self.write_key_file(&backup.file, &certificate.der),
        }
    }

    /// ALTER AUTHORIZATION ON CERTIFICATE: from now on it stands for another user, and that user's login.
    pub(super) fn alter_certificate_owner(&mut self, name: &Name, owner: &Name, out: &mut Out<'_>) -> Done {
        let name = &name.value;
        self.change_and_close(name, out, |catalog| {
            let certificate = certificates::by_name(catalog, self.database_id, name)?
                .ok_or_else(|| M15151.refuse(&[&"alter", &"certificate", name]))?;
            let owner = self.owner(catalog, name, owner)?;
            catalog.execute(
                "UPDATE certificate SET principal_id = ?2 WHERE certificate_id = ?1",
                params![certificate.id, owner],
            )?;
            // The connections that it made are another login's, which nobody has let in.
            Ok((certificate.principal_id != owner).then_some(certificate.id))
        })
    }

    pub(super) fn drop_certificate(&mut self, name: &Name, out: &mut Out<'_>) -> Done {
        let name = &name.value;
        self.change_and_close(name, out, |catalog| {
            let certificate = certificates::by_name(catalog, self.database_id, name)?
                .ok_or_else(|| M15151.refuse(&[&"drop", &"certificate", name]))?;
            if let Some(endpoint) = endpoints::mirroring(catalog)?
                && endpoint.certificate_id == certificate.id
            {
                let bound = format!("the endpoint '{}'", endpoint.name);
                return Err(M3716.refuse(&[&"certificate", name, &bound]).into());
            }
            let mapped: Option<String> = first(
                catalog,
                "SELECT name FROM database_principal WHERE certificate_id = ?1 LIMIT 1",
                [certificate.id],
                |row| row.get(0),
            )?;
            if let Some(user) = mapped {
                return Err(M15559.refuse(&[name, &user]).into());
            }
            catalog.execute(
                "DELETE FROM certificate WHERE certificate_id = ?1",
                [certificate.id],
            )?;
            Ok(Some(certificate.id))
        })
    }

    /// Runs `change` as one transaction, and closes the connections of the certificate that it returns before anybody else comes
    /// to the catalog: a successor that was handed over on one of them is not taken any more (`crate::rotation`).
    fn change_and_close(
        &self,
        name: &str,
        out: &mut Out<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<Option<i32>, Stop>,
    ) -> Done {
        let closed = {
            let mut master = self.instance.master();
            let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = change(&transaction)?;
            transaction.commit()?;
            let refreshed = crate::instance::endpoint::refresh_pins(&self.instance, &master);
            let closed = id.map_or(0, |id| {
                self.instance
                    .engine()
                    .close_connections_of(PeerSelector::Certificate(id))
            });
            refreshed?;
            closed
        };
        if closed > 0 {
            out.message(&M50104.inform(&[&closed, &format!("certificate '{name}'")]))?;
        }
        Ok(())
    }
}

/// A generated certificate's dates, seconds since 1970.
pub(super) struct Validity {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Validity {
    pub(super) fn of(start: Option<&Text>, end: Option<&Text>) -> Result<Self, Raised> {
        let date = |option: &str, text: &Text| {
            dates::parse(&text.value).ok_or_else(|| M241.refuse(&[&text.value, &option]))
        };
        let start = match start {
            Some(text) => date("START_DATE", text)?,
            None => dates::now_unix() - BACK_DATED,
        };
        let end = match end {
            Some(text) => date("EXPIRY_DATE", text)?,
            None => dates::one_year_after(start)
                .ok_or_else(|| M241.refuse(&[&"one year later", &"EXPIRY_DATE"]))?,
        };
        Ok(Self { start, end })
    }
}

fn expiry_warning(name: &str, end: i64) -> Raised {
    let at = dates::from_unix(end).unwrap_or_default();
    let days = (end - dates::now_unix()) / 86_400;
    M50101.inform(&[&name, &at, &days])
}

/// The documented warnings: the statement has succeeded.
fn date_warnings(name: &str, parsed: &Parsed) -> Vec<Raised> {
    let now = dates::now_unix();
    let mut warnings = Vec::new();
    if parsed.not_after < parsed.not_before {
        warnings.push(M15213.inform(&[&name]));
    }
    if parsed.not_after < now {
        warnings.push(M15214.inform(&[&name]));
    }
    if parsed.not_before > now {
        warnings.push(M15215.inform(&[&name]));
    }
    warnings
}

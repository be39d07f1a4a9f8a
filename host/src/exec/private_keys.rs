//! Private keys of certificates: in from files, out to files, from one protection to the other.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{KeyError, PKCS8_LEN_MAX, PrivateKey, WrappedKey};
use rusqlite::{Connection, params};

use super::{Done, SqlSession, Stop, passwords};
use crate::catalog::certificates::{self, Certificate};
use crate::catalog::keys::{Crypto, failed, iterations, open_private_key};
use crate::catalog::{dates, endpoints};
use crate::instance::{read_bounded, write_new};
use crate::messages::{
    M3716, M15146, M15147, M15151, M15208, M15240, M15246, M15332, M15334, M15342, M15464, M15465, M15474,
    M33069, M40510, Raised,
};
use crate::tsql::ast::{BackupCertificate, Blob, CertificateChange, Name, Password, PrivateKeyOptions};

/// Most bytes of a private key file.
const FILE_MAX: u64 = 8 << 10;

/// A private key as the catalog holds it: wrapped, and by what (MK or PW).
pub(super) type AtRest = (Vec<u8>, &'static str);

impl SqlSession {
    /// Wraps a private key by a password, or by the master key of the current database.
    pub(super) fn wrap_private_key(
        &self,
        private: &PrivateKey,
        password: Option<&Password>,
    ) -> Result<AtRest, Stop> {
        let wrapped: Result<WrappedKey, KeyError> = match password {
            Some(password) => {
                passwords::check_policy(password.expose(), None)?;
                private.wrap_by_password(password.expose().as_bytes(), iterations()?, &mut OsEntropy)
            }
            None => {
                let master = self.instance.master();
                private.wrap_by_database_master_key(self.master_key(&master)?.get())
            }
        };
        let der = wrapped.and_then(|wrapped| wrapped.to_der()).map_err(failed)?;
        Ok((der.to_vec(), if password.is_some() { "PW" } else { "MK" }))
    }

    /// Opens the private key of a certificate of the current database.
    fn open_private_key(
        &self,
        certificate: &Certificate,
        password: Option<&Password>,
    ) -> Result<PrivateKey, Stop> {
        let name = &certificate.name;
        let Some(wrapped) = &certificate.private_key else {
            return Err(M15246.refuse(&[name]).into());
        };
        if certificate.protection == "MK" {
            if password.is_some() {
                return Err(M15147.refuse(&[name]).into());
            }
            let master = self.instance.master();
            return Ok(open_private_key(wrapped, self.master_key(&master)?.get()).map_err(failed)?);
        }
        let Some(password) = password else {
            return Err(M15334.refuse(&[name]).into());
        };
        let opened = WrappedKey::from_der(wrapped).and_then(|wrapped| {
            PrivateKey::unwrap_by_password::<Crypto>(&wrapped, password.expose().as_bytes())
        });
        Ok(opened.map_err(|error| match error {
            KeyError::Rejected => M15465.refuse(&[]),
            other => failed(other),
        })?)
    }

    /// Reads the private key that belongs to `point`: PKCS #8, encrypted when a password is given.
    pub(super) fn read_private_key(
        &self,
        name: &str,
        point: &[u8; 65],
        options: &PrivateKeyOptions,
        certificate: Option<&Blob>,
    ) -> Result<PrivateKey, Stop> {
        let source = options
            .source
            .as_ref()
            .ok_or_else(|| M15208.refuse(&[&name, &"PRIVATE KEY needs FILE or BINARY"]))?;
        let (what, bytes) = match source {
            Blob::File(_) if matches!(certificate, Some(Blob::Binary(_))) => {
                return Err(M33069.refuse(&[]).into());
            }
            Blob::Binary(_) if matches!(certificate, Some(Blob::File(_))) => {
                return Err(M33069.refuse(&[]).into());
            }
            Blob::File(file) => {
                let refused = |why: &dyn std::fmt::Display| M15208.refuse(&[&file.value, why]);
                let path = self
                    .instance
                    .dir()
                    .statement_file(&file.value)
                    .map_err(|why| refused(&why))?;
                let bytes = read_bounded(&path, FILE_MAX)
                    .map_err(|error| refused(&format!("{}: {error}", path.display())))?;
                (file.value.as_str(), zeroize::Zeroizing::new(bytes))
            }
            Blob::Binary(binary) => ("0x…", zeroize::Zeroizing::new(binary.value.clone())),
        };
        let read = match &options.decryption {
            Some(password) => {
                PrivateKey::from_encrypted_pkcs8::<Crypto>(&bytes, password.expose().as_bytes())
            }
            None => PrivateKey::from_plain_pkcs8::<Crypto>(&bytes),
        };
        let private = read.map_err(|error| match error {
            KeyError::Rejected => M15465.refuse(&[]),
            KeyError::Malformed => M15208.refuse(&[&what, &"it is not a private key in PKCS #8, DER"]),
            other => M15464.refuse(&[&what, &other]),
        })?;
        if private.belongs_to::<Crypto>(point) {
            Ok(private)
        } else {
            Err(M15474.refuse(&[&name]).into())
        }
    }

    /// BACKUP CERTIFICATE … WITH PRIVATE KEY: both files, or none.
    pub(super) fn backup_with_private_key(
        &self,
        certificate: &Certificate,
        backup: &BackupCertificate,
        options: &PrivateKeyOptions,
    ) -> Done {
        let name = &certificate.name;
        if options.algorithm.is_some() {
            return Err(M40510
                .refuse(&[&"ALGORITHM", &"it belongs to FORMAT = 'PFX', which comes later"])
                .into());
        }
        let Some(Blob::File(key_file)) = &options.source else {
            return Err(M15240.refuse(&[&"PRIVATE KEY", &"FILE = … names no file"]).into());
        };
        let password = options
            .encryption
            .as_ref()
            .ok_or_else(|| M15146.refuse(&[name]))?;
        passwords::check_policy(password.expose(), None)?;
        let private = self.open_private_key(certificate, options.decryption.as_ref())?;
        let mut file = zeroize::Zeroizing::new([0; PKCS8_LEN_MAX]);
        let length = private
            .to_encrypted_pkcs8::<Crypto>(
                password.expose().as_bytes(),
                iterations()?,
                &mut OsEntropy,
                &mut file,
            )
            .map_err(failed)?;
        let [certificate_path, key_path] = [&backup.file, key_file].map(|text| {
            self.instance
                .dir()
                .statement_file(&text.value)
                .map_err(|why| M15240.refuse(&[&text.value, &why]))
        });
        let (certificate_path, key_path) = (certificate_path?, key_path?);
        let written = |path: &std::path::Path, bytes: &[u8]| -> Result<(), Raised> {
            write_new(path, bytes).map_err(|error| M15240.refuse(&[&path.display(), &error]))
        };
        written(&key_path, file.get(..length).unwrap_or_default())?;
        if let Err(refusal) = written(&certificate_path, &certificate.der) {
            // It was made by the line before.
            let _ = std::fs::remove_file(&key_path);
            return Err(refusal.into());
        }
        self.change(|catalog| {
            catalog.execute(
                "UPDATE certificate SET private_key_last_backup = ?2 WHERE certificate_id = ?1",
                params![certificate.id, dates::now()],
            )?;
            Ok(())
        })
    }

    pub(super) fn alter_certificate(&mut self, name: &Name, change: &CertificateChange) -> Done {
        let name = &name.value;
        let certificate = certificates::by_name(&self.instance.master(), self.database_id, name)?
            .ok_or_else(|| M15151.refuse(&[&"alter", &"certificate", name]))?;
        match change {
            CertificateChange::ActiveForBeginDialog(active) => self.change(|catalog| {
                catalog.execute(
                    "UPDATE certificate SET is_active_for_begin_dialog = ?2 WHERE certificate_id = ?1",
                    params![certificate.id, active],
                )?;
                Ok(())
            }),
            CertificateChange::RemovePrivateKey => {
                if certificate.private_key.is_none() {
                    return Err(M15342.refuse(&[name]).into());
                }
                self.change(|catalog| {
                    unbound(catalog, &certificate)?;
                    store(catalog, certificate.id, None)
                })?;
                self.refresh_pins()
            }
            CertificateChange::PrivateKey(options) if options.source.is_some() => {
                if certificate.private_key.is_some() {
                    return Err(M15332.refuse(&[name]).into());
                }
                let private = self.read_private_key(name, &certificate.point, options, None)?;
                let at_rest = self.wrap_private_key(&private, options.encryption.as_ref())?;
                self.change(|catalog| store(catalog, certificate.id, Some(&at_rest)))?;
                self.refresh_pins()
            }
            CertificateChange::PrivateKey(options) => {
                // From one protection to the other, or from one password to the next.
                let private = self.open_private_key(&certificate, options.decryption.as_ref())?;
                let at_rest = self.wrap_private_key(&private, options.encryption.as_ref())?;
                self.change(|catalog| {
                    if at_rest.1 == "PW" {
                        unbound(catalog, &certificate)?;
                    }
                    store(catalog, certificate.id, Some(&at_rest))
                })
            }
        }
    }
}

/// Refuses to take away the key that the endpoint proves itself with.
fn unbound(catalog: &Connection, certificate: &Certificate) -> Done {
    match endpoints::mirroring(catalog)? {
        Some(endpoint) if endpoint.certificate_id == certificate.id => {
            let bound = format!(
                "the endpoint '{}', which needs its private key under the master key",
                endpoint.name
            );
            Err(M3716
                .refuse(&[&"private key of", &certificate.name, &bound])
                .into())
        }
        _ => Ok(()),
    }
}

fn store(catalog: &Connection, id: i32, key: Option<&AtRest>) -> Done {
    catalog.execute(
        "UPDATE certificate SET private_key = ?2, private_key_protection = ?3 WHERE certificate_id = ?1",
        params![
            id,
            key.map(|(wrapped, _)| wrapped),
            key.map_or("NA", |(_, protection)| protection)
        ],
    )?;
    Ok(())
}

//! Private keys of certificates: in from files, out to files, from one protection to the other.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX, CertError, PFX_IMPORT_LEN_MAX, PFX_LEN_MAX, PfxError};
use dbmirror_core::keys::{KeyError, PKCS8_LEN_MAX, PrivateKey, WrappedKey};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::key_ring::KeyRing;
use super::{Done, SqlSession, Stop, passwords, pem};
use crate::catalog::certificates::{self, Certificate};
use crate::catalog::keys::{Crypto, failed, iterations};
use crate::catalog::{dates, endpoints};
use crate::instance::{read_bounded, write_new};
use crate::messages::{
    M3716, M15146, M15151, M15208, M15233, M15240, M15332, M15334, M15342, M15397, M15464, M15465, M15474,
    M15507, M33069, M40510, Raised,
};
use crate::tsql::ast::{BackupCertificate, Blob, CertificateChange, Name, Password, PrivateKeyOptions};

/// Most bytes of a private key file.
const FILE_MAX: u64 = 8 << 10;
/// How a PVK file begins.
const PVK_START: [u8; 4] = [0x1e, 0xf1, 0xb5, 0xb0];

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
                self.key_ring().try_kept()?;
                let master = self.instance.master();
                private.wrap_by_database_master_key(self.master_key(&master)?.get())
            }
        };
        let der = wrapped.and_then(|wrapped| wrapped.to_der()).map_err(failed)?;
        Ok((der.to_vec(), if password.is_some() { "PW" } else { "MK" }))
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
            blob => self.read_blob(blob, FILE_MAX)?,
        };
        let private = parse_private_key(&what, &bytes, options.decryption.as_ref())?;
        if private.belongs_to::<Crypto>(point) {
            Ok(private)
        } else {
            Err(M15474.refuse(&[&name]).into())
        }
    }

    /// The bytes of a file or constant, and what they are called.
    pub(super) fn read_blob(&self, blob: &Blob, limit: u64) -> Result<(String, Zeroizing<Vec<u8>>), Raised> {
        match blob {
            Blob::File(file) => {
                let refused = |why: &dyn std::fmt::Display| M15208.refuse(&[&file.value, why]);
                let path = self
                    .instance
                    .dir()
                    .statement_file(&file.value)
                    .map_err(|why| refused(&why))?;
                let bytes = read_bounded(&path, limit)
                    .map_err(|error| refused(&format!("{}: {error}", path.display())))?;
                Ok((file.value.clone(), Zeroizing::new(bytes)))
            }
            Blob::Binary(binary) => Ok(("0x…".to_owned(), Zeroizing::new(binary.value.clone()))),
        }
    }

    /// Certificate and private key out of one file, PKCS #12.
    pub(super) fn read_pfx(
        &self,
        blob: &Blob,
        options: Option<&PrivateKeyOptions>,
    ) -> Result<(Vec<u8>, PrivateKey), Stop> {
        if let Some(PrivateKeyOptions { source: Some(_), .. }) = options {
            return Err(M15233
                .refuse(&[
                    &"FILE or BINARY of PRIVATE KEY",
                    &"a PFX holds the private key itself",
                ])
                .into());
        }
        let Some(password) = options.and_then(|options| options.decryption.as_ref()) else {
            return Err(M15465
                .refuse(&[&"a PFX is opened by its password: give DECRYPTION BY PASSWORD"])
                .into());
        };
        let (what, bytes) = self.read_blob(blob, PFX_IMPORT_LEN_MAX as u64)?;
        let mut scratch = Zeroizing::new(vec![0; bytes.len()]);
        let mut certificate = [0; CERTIFICATE_LEN_MAX];
        let (private, length) =
            cert::read_pfx::<Crypto>(&bytes, password.expose(), &mut scratch, &mut certificate).map_err(
                |error| match error {
                    PfxError::Rejected => M15465.refuse(&[&error]),
                    PfxError::Key(KeyError::BadKey)
                    | PfxError::Certificate(CertError::UnsupportedKey { .. } | CertError::BadPoint)
                    | PfxError::UnknownScheme => M15464.refuse(&[&what, &error]),
                    PfxError::NoCertificate => M15474.refuse(&[&what]),
                    _ => M15208.refuse(&[&what, &error]),
                },
            )?;
        Ok((certificate.get(..length).unwrap_or_default().to_vec(), private))
    }

    /// BACKUP CERTIFICATE … WITH FORMAT = 'PFX', PRIVATE KEY (…).
    pub(super) fn backup_as_pfx(
        &self,
        certificate: &Certificate,
        backup: &BackupCertificate,
        options: &PrivateKeyOptions,
    ) -> Done {
        if options.source.is_some() {
            return Err(M15233
                .refuse(&[
                    &"FILE of PRIVATE KEY",
                    &"a PFX holds certificate and private key in one file",
                ])
                .into());
        }
        match options
            .algorithm
            .as_ref()
            .map(|text| text.value.to_ascii_uppercase())
        {
            None => {}
            Some(name) if name == "AES_256" => {}
            Some(name) if name == "TRIPLE_DES_SHA1" => {
                return Err(M40510
                    .refuse(&[
                        &"ALGORITHM = 'TRIPLE_DES_SHA1'",
                        &"it is broken; AES_256 is read by everything of this decade",
                    ])
                    .into());
            }
            Some(name) => {
                return Err(M15233
                    .refuse(&[&"ALGORITHM", &format!("'{name}' is not AES_256")])
                    .into());
            }
        }
        let (private, password) = self.for_export(certificate, options)?;
        let mut file = Zeroizing::new([0; PFX_LEN_MAX]);
        let length = cert::write_pfx::<Crypto>(
            &private,
            &certificate.der,
            password.expose(),
            iterations()?,
            &mut OsEntropy,
            &mut file,
        )
        .map_err(|error| M15507.refuse(&[&error]))?;
        self.write_key_file(&backup.file, file.get(..length).unwrap_or_default())?;
        Ok(note_export(&self.instance.master(), certificate.id)?)
    }

    /// The opened private key, and the password that is to protect it on its way.
    fn for_export<'a>(
        &self,
        certificate: &Certificate,
        options: &'a PrivateKeyOptions,
    ) -> Result<(PrivateKey, &'a Password), Stop> {
        let password = options
            .encryption
            .as_ref()
            .ok_or_else(|| M15146.refuse(&[&certificate.name]))?;
        passwords::check_policy(password.expose(), None)?;
        let decryption = options.decryption.as_ref().map(Password::expose);
        Ok((self.key_ring().private_key(certificate, decryption)?, password))
    }

    /// BACKUP CERTIFICATE … WITH PRIVATE KEY: both files, or none.
    pub(super) fn backup_with_private_key(
        &self,
        certificate: &Certificate,
        backup: &BackupCertificate,
        options: &PrivateKeyOptions,
    ) -> Done {
        if options.algorithm.is_some() {
            return Err(M15233
                .refuse(&[
                    &"ALGORITHM",
                    &"it belongs to FORMAT = 'PFX'; PKCS #8 is always AES-256",
                ])
                .into());
        }
        let Some(Blob::File(key_file)) = &options.source else {
            return Err(M15240.refuse(&[&"PRIVATE KEY", &"FILE = … names no file"]).into());
        };
        let (private, password) = self.for_export(certificate, options)?;
        let file = pkcs8(&private, password.expose())?;
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
        written(&key_path, &file)?;
        if let Err(refusal) = written(&certificate_path, &certificate.der) {
            // It was made by the line before.
            let _ = std::fs::remove_file(&key_path);
            return Err(refusal.into());
        }
        Ok(note_export(&self.instance.master(), certificate.id)?)
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
                let decryption = options.decryption.as_ref().map(Password::expose);
                if certificate.protection == "PW" && decryption.is_none() {
                    return Err(M15334.refuse(&[name]).into());
                }
                if certificate.protection == "MK" && options.encryption.is_none() {
                    return Err(M15397.refuse(&[name]).into());
                }
                let private = self.key_ring().private_key(&certificate, decryption)?;
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

/// The key in PKCS #8, encrypted by `password`.
fn pkcs8(private: &PrivateKey, password: &str) -> Result<Zeroizing<Vec<u8>>, Raised> {
    let mut file = Zeroizing::new([0; PKCS8_LEN_MAX]);
    let length = private
        .to_encrypted_pkcs8::<Crypto>(password.as_bytes(), iterations()?, &mut OsEntropy, &mut file)
        .map_err(failed)?;
    Ok(Zeroizing::new(file.get(..length).unwrap_or_default().to_vec()))
}

/// CERTPRIVATEKEY: the private key of a certificate of the current database, in PKCS #8 under `encryption`.
pub(super) fn certificate_private_key(
    ring: &KeyRing,
    id: i32,
    encryption: &str,
    decryption: Option<&str>,
) -> Result<Option<Vec<u8>>, Stop> {
    let found = certificates::in_database(&ring.instance.master(), ring.database_id, id)?;
    let Some(certificate) = found else { return Ok(None) };
    passwords::check_policy(encryption, None)?;
    let private = ring.private_key(&certificate, decryption)?;
    let file = pkcs8(&private, encryption)?.to_vec();
    note_export(&ring.instance.master(), certificate.id)?;
    Ok(Some(file))
}

/// `pvt_key_last_backup_date`.
fn note_export(catalog: &Connection, id: i32) -> rusqlite::Result<()> {
    catalog
        .execute(
            "UPDATE certificate SET private_key_last_backup = ?2 WHERE certificate_id = ?1",
            params![id, dates::now()],
        )
        .map(drop)
}

/// A private key out of a file: PKCS #8 (encrypted when a password is given), or ECPrivateKey without encryption; DER or
/// PEM. `docs/keys.md`, "Private keys in files".
fn parse_private_key(what: &str, bytes: &[u8], decryption: Option<&Password>) -> Result<PrivateKey, Raised> {
    let unreadable = |why: &dyn std::fmt::Display| M15208.refuse(&[&what, why]);
    // What CryptoAPI calls a private key file: its kinds of key are RSA and DSA.
    if bytes.starts_with(&PVK_START) {
        return Err(M15464.refuse(&[
            &what,
            &"a PVK file holds an RSA or DSA key; only P-256 is supported (openssl rsa -inform PVK reads it; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes a new one)",
        ]));
    }
    let der = pem::private_key(bytes).map_err(|why| unreadable(&why))?;
    let bytes = der.as_ref().map_or(bytes, |der| der.as_slice());
    let read = match decryption {
        Some(password) => PrivateKey::from_encrypted_pkcs8::<Crypto>(bytes, password.expose().as_bytes()),
        None => PrivateKey::from_plain::<Crypto>(bytes),
    };
    read.map_err(|error| match error {
        KeyError::Rejected => M15465.refuse(&[&"its password is wrong, or the file was changed"]),
        KeyError::Encrypted => M15465.refuse(&[&"it is encrypted: give DECRYPTION BY PASSWORD"]),
        KeyError::Malformed if decryption.is_some() && PrivateKey::from_plain::<Crypto>(bytes).is_ok() => {
            unreadable(&"its private key is not encrypted: leave DECRYPTION BY PASSWORD out")
        }
        KeyError::Malformed => unreadable(&"it is not a private key in PKCS #8 (DER or PEM)"),
        other => M15464.refuse(&[&what, &other]),
    })
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

//! Where the instance's service master key is kept (`docs/keys.md`, "The service master key").

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{KeyError, RootKey, ServiceMasterKey, WrappedKey};
use zeroize::Zeroizing;

use super::dir::{read_bounded, write_new};
use crate::catalog::keys::{PASSWORD_ITERATIONS, Sha256, iterations};

/// Most bytes of a key file.
const FILE_MAX: u64 = 4096;
/// Most bytes of a passphrase.
const PASSPHRASE_MAX: u64 = 1024;
/// Fewest characters of a passphrase.
const PASSPHRASE_MIN: usize = 8;
/// The credential that a service manager hands over (systemd's `LoadCredentialEncrypted=`).
const CREDENTIAL: &str = "dbmirror-smk";

/// What protects the service master key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKeySource {
    /// `DIR/smk.key`, by nothing but its mode.
    #[default]
    File,
    /// `DIR/smk.key`, by the passphrase that stands in that file, or comes out of it (a pipe, `/dev/fd/3`).
    PassphraseFile(PathBuf),
    /// `$CREDENTIALS_DIRECTORY/dbmirror-smk`, which holds the key as `DIR/smk.key` would.
    Credential,
}

impl std::str::FromStr for ServiceKeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "file" => Ok(Self::File),
            None if text == "credential" => Ok(Self::Credential),
            Some(("passphrase-file", path)) if !path.is_empty() => Ok(Self::PassphraseFile(path.into())),
            _ => Err("expected file, passphrase-file=PATH or credential".to_owned()),
        }
    }
}

/// The place itself: a current key, and perhaps a staged one beside it.
#[derive(Debug)]
pub struct ServiceKeyPlace {
    current: PathBuf,
    staged: PathBuf,
    source: ServiceKeySource,
}

impl ServiceKeyPlace {
    /// The place for the instance whose key file would be `file`.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn new(file: PathBuf, source: ServiceKeySource) -> Result<Self, String> {
        let current = if source == ServiceKeySource::Credential {
            let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(
                "the service master key is to come from the credential 'dbmirror-smk', and CREDENTIALS_DIRECTORY is not set. Start dbmirror as a systemd service with LoadCredentialEncrypted=dbmirror-smk",
            )?;
            Path::new(&dir).join(CREDENTIAL)
        } else {
            file
        };
        let mut staged = current.clone().into_os_string();
        staged.push(".new");
        Ok(Self {
            current,
            staged: staged.into(),
            source,
        })
    }

    /// Where the key is, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.current
    }

    /// Moves a key that cannot be had out of the way of a new one.
    ///
    /// # Errors
    /// The system's.
    pub fn set_aside(&self) -> Result<(), String> {
        let mut aside = self.current.clone().into_os_string();
        aside.push(".lost");
        match fs::rename(&self.current, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    /// Removes a staged key that was not promoted.
    pub fn unstage(&self) {
        let _ = fs::remove_file(&self.staged);
    }

    /// Puts a key that lies there in plain behind the passphrase, when there is one.
    ///
    /// # Errors
    /// Text for the operator.
    pub fn protect(&mut self) -> Result<bool, String> {
        if !matches!(self.source, ServiceKeySource::PassphraseFile(_)) {
            return Ok(false);
        }
        let Some(bytes) = self.read(&self.current)? else {
            return Ok(false);
        };
        let Ok(key) = ServiceMasterKey::from_file::<Sha256>(&bytes) else {
            return Ok(false);
        };
        self.stage(&key)?;
        self.promote()?;
        Ok(true)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> String {
        format!("{}: {why}", self.current.display())
    }

    fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        match read_bounded(path, FILE_MAX) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!(
                "{}: the service master key cannot be read: {error}",
                path.display()
            )),
        }
    }

    fn key_in(&self, path: &Path) -> Result<Option<ServiceMasterKey>, String> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        let shown = path.display();
        // A file that is not the plain form, or is damaged, may be the wrapped form.
        match (
            ServiceMasterKey::from_file::<Sha256>(&bytes),
            WrappedKey::from_der(&bytes),
        ) {
            (Ok(key), _) => Ok(Some(key)),
            (Err(_), Ok(wrapped)) => match &self.source {
                ServiceKeySource::PassphraseFile(file) => {
                    let passphrase = passphrase(file)?;
                    match ServiceMasterKey::unwrap_by_password(&wrapped, passphrase.as_bytes()) {
                        Ok(key) => Ok(Some(key)),
                        Err(KeyError::Rejected) => Err(format!(
                            "{shown}: the service master key cannot be opened: the passphrase in {} is not the one that protects it. Every other key lies under this one, so nothing can start without it",
                            file.display()
                        )),
                        Err(error) => Err(format!(
                            "{shown}: the service master key cannot be opened: {error}"
                        )),
                    }
                }
                _ => Err(format!(
                    "{shown}: the service master key is protected by a passphrase. Start with --service-key passphrase-file=PATH"
                )),
            },
            (Err(error), Err(_)) => Err(format!(
                "{shown}: the service master key is damaged: {error}. Restore the file from a backup of the directory, or start once with --new-service-key and open the master keys by their passwords"
            )),
        }
    }
}

impl RootKey for ServiceKeyPlace {
    type Error = String;

    fn current(&mut self) -> Result<Option<ServiceMasterKey>, String> {
        self.key_in(&self.current)
    }

    fn staged(&mut self) -> Result<Option<ServiceMasterKey>, String> {
        // Cut off while it was written: it was never used.
        Ok(self.key_in(&self.staged).unwrap_or(None))
    }

    fn stage(&mut self, key: &ServiceMasterKey) -> Result<(), String> {
        let bytes = match &self.source {
            ServiceKeySource::File => Zeroizing::new(key.to_file::<Sha256>().expose().to_vec()),
            ServiceKeySource::PassphraseFile(file) => {
                let passphrase = passphrase(file)?;
                let iterations = iterations().map_err(|error| error.text)?;
                debug_assert_eq!(iterations.get(), PASSWORD_ITERATIONS);
                let wrapped = key
                    .wrap_by_password(passphrase.as_bytes(), iterations, &mut OsEntropy)
                    .and_then(|wrapped| wrapped.to_der())
                    .map_err(|error| self.failed(&error))?;
                Zeroizing::new(wrapped.to_vec())
            }
            ServiceKeySource::Credential => {
                return Err(
                    "the service master key is a credential of the service manager, which a statement cannot write. Start once with --service-key file, change it, and encrypt DIR/smk.key anew with systemd-creds"
                        .to_owned(),
                );
            }
        };
        self.unstage();
        write_new(&self.staged, &bytes).map_err(|error| self.failed(&error))
    }

    fn promote(&mut self) -> Result<(), String> {
        fs::rename(&self.staged, &self.current)
            .and_then(|()| {
                let parent = self.current.parent().unwrap_or(Path::new("/"));
                File::open(parent)?.sync_all()
            })
            .map_err(|error| self.failed(&error))
    }
}

/// The passphrase: what the file holds, without the end of its line.
fn passphrase(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("the passphrase file {}: {why}", path.display());
    // No growing buffer: each growth would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(PASSPHRASE_MAX + 1).unwrap_or(0),
    ));
    File::open(path)
        .and_then(|file| file.take(PASSPHRASE_MAX).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"it is not UTF-8"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.chars().count() < PASSPHRASE_MIN {
        return Err(failed(&format!(
            "a passphrase needs at least {PASSPHRASE_MIN} characters"
        )));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(key: Option<ServiceMasterKey>) -> Option<[u8; 16]> {
        key.map(|key| key.guid::<Sha256>())
    }

    #[test]
    fn sources_as_they_are_typed() {
        assert_eq!("file".parse(), Ok(ServiceKeySource::File));
        assert_eq!("credential".parse(), Ok(ServiceKeySource::Credential));
        assert_eq!(
            "passphrase-file=/a=b".parse(),
            Ok(ServiceKeySource::PassphraseFile("/a=b".into()))
        );
        for wrong in ["", "passphrase-file", "passphrase-file=", "tpm"] {
            assert!(wrong.parse::<ServiceKeySource>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plain_key_goes_behind_the_passphrase_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("smk.key");
        let secret = dir.path().join("passphrase");
        std::fs::write(&secret, "correct horse\n").unwrap();
        let mut plain = ServiceKeyPlace::new(file.clone(), ServiceKeySource::File).unwrap();
        assert!(plain.current().unwrap().is_none());
        let key = ServiceMasterKey::generate(&mut OsEntropy).unwrap();
        plain.stage(&key).unwrap();
        assert!(plain.current().unwrap().is_none());
        plain.promote().unwrap();
        let wanted = Some(key.guid::<Sha256>());
        assert_eq!(guid(plain.current().unwrap()), wanted);
        assert!(!plain.protect().unwrap());

        let source = ServiceKeySource::PassphraseFile(secret.clone());
        let mut protected = ServiceKeyPlace::new(file.clone(), source).unwrap();
        assert!(protected.protect().unwrap());
        assert!(!protected.protect().unwrap());
        assert_eq!(guid(protected.current().unwrap()), wanted);
        let bytes = std::fs::read(&file).unwrap();
        let clear = key.to_file::<Sha256>();
        assert!(!bytes.windows(32).any(|window| window == &clear.expose()[8..40]));

        assert!(plain.current().err().unwrap().contains("passphrase-file=PATH"));
        std::fs::write(&secret, "another horse\n").unwrap();
        assert!(protected.current().err().unwrap().contains("not the one"));
        std::fs::write(&secret, "short\n").unwrap();
        assert!(protected.current().err().unwrap().contains("at least 8"));
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("smk.key");
        std::fs::write(&file, [7; 48]).unwrap();
        let mut place = ServiceKeyPlace::new(file, ServiceKeySource::File).unwrap();
        assert!(place.current().err().unwrap().contains("damaged"));
        place.set_aside().unwrap();
        assert!(place.current().unwrap().is_none());
    }
}

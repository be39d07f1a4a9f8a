//! Where the instance's service master key is kept (`docs/keys.md`, "The service master key").

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dbmirror_adapters::beside::{beside, sync_entry};
use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{KeyError, RootKey, ServiceMasterKey, WrappedKey};
use zeroize::Zeroizing;

use super::dir::{read_bounded, write_new};
use crate::catalog::keys::{PASSWORD_ITERATIONS, Sha256, iterations};

/// Most bytes of a key file.
const FILE_MAX: u64 = 4096;
/// Most bytes of a passphrase.
const PASSPHRASE_MAX: u16 = 1024;
/// Fewest characters of a passphrase.
const PASSPHRASE_MIN: usize = 8;
/// Most keys that are put aside under one name.
const ASIDE_MAX: u32 = 1000;
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
pub struct ServiceKeyPlace {
    current: PathBuf,
    staged: PathBuf,
    source: ServiceKeySource,
    /// What the passphrase file held at the start: a pipe gives it once.
    passphrase: Option<Passphrase>,
    /// Whether the staged key may be the catalog's.
    held: bool,
}

impl std::fmt::Debug for ServiceKeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceKeyPlace")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

impl ServiceKeyPlace {
    /// The place for the instance whose key file would be `file`. A passphrase is read here, once.
    ///
    /// # Errors
    /// When there is no such place, or no passphrase in its file.
    pub fn new(file: PathBuf, source: ServiceKeySource) -> Result<Self, String> {
        let current = if source == ServiceKeySource::Credential {
            let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(
                "the service master key is to come from the credential 'dbmirror-smk', and CREDENTIALS_DIRECTORY is not set. Start dbmirror as a systemd service with LoadCredentialEncrypted=dbmirror-smk",
            )?;
            Path::new(&dir).join(CREDENTIAL)
        } else {
            file
        };
        let staged = beside(&current, ".new");
        let passphrase = match &source {
            ServiceKeySource::PassphraseFile(file) => Some(Passphrase::read(file)?),
            _ => None,
        };
        if let (ServiceKeySource::PassphraseFile(file), Some(Passphrase { exposed: true, .. })) =
            (&source, &passphrase)
        {
            tracing::warn!(
                "the passphrase file {} can be read by every user of this machine. Make its mode 0600, and change the passphrase",
                file.display()
            );
        }
        Ok(Self {
            current,
            staged,
            source,
            passphrase,
            held: false,
        })
    }

    /// Where the key is, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.current
    }

    /// Moves keys that cannot be had out of the way of a new one: to `.lost`, `.lost.2`, …, whichever is free.
    ///
    /// # Errors
    /// The system's.
    pub fn set_aside(&self) -> Result<(), String> {
        for path in [&self.current, &self.staged] {
            move_aside(path)
                .map_err(|error| format!("{}: it cannot be put aside as .lost: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Whether a file of a staged key is there, whatever it holds.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        // What cannot be looked at may be there.
        self.staged.try_exists().unwrap_or(true)
    }

    /// The staged key may be the catalog's: it stays, and no other is staged before [`settle`] has looked at the next start.
    ///
    /// [`settle`]: dbmirror_core::keys::settle
    pub const fn hold(&mut self) {
        self.held = true;
    }

    /// Removes a staged key that was not promoted.
    pub fn unstage(&self) {
        let _ = fs::remove_file(&self.staged);
    }

    /// Puts a key that lies there in plain behind the passphrase, when there is one. To be called when the place is settled:
    /// a staged key is replaced.
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

    fn passphrase(&self) -> &[u8] {
        self.passphrase
            .as_ref()
            .map_or(&[][..], |passphrase| passphrase.text.as_bytes())
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
                    match ServiceMasterKey::unwrap_by_password(&wrapped, self.passphrase()) {
                        Ok(key) => Ok(Some(key)),
                        Err(KeyError::Rejected) => Err(format!(
                            "{shown}: the service master key cannot be opened: the passphrase in {} is not the one that protects it. If it was changed and ALTER SERVICE MASTER KEY REGENERATE did not end, try the passphrase before or after that change. Every other key lies under this one, so nothing can start without it",
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

/// Moves a file to the first free name behind it, and never over another one; durable when this returns.
fn move_aside(path: &Path) -> io::Result<()> {
    for n in 1..=ASIDE_MAX {
        let number = if n > 1 { format!(".{n}") } else { String::new() };
        let aside = beside(path, &format!(".lost{number}"));
        // A rename would replace what is there.
        match fs::hard_link(path, &aside) {
            Ok(()) => {
                sync_entry(path)?;
                fs::remove_file(path)?;
                return sync_entry(path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "{ASIDE_MAX} lost keys are there already"
    )))
}

impl RootKey for ServiceKeyPlace {
    type Error = String;

    fn current(&mut self) -> Result<Option<ServiceMasterKey>, String> {
        self.key_in(&self.current)
    }

    fn staged(&mut self) -> Result<Option<ServiceMasterKey>, String> {
        let Some(bytes) = self.read(&self.staged)? else {
            return Ok(None);
        };
        // Cut off while it was written: it was never used. What is whole and does not open may be the catalog's.
        if ServiceMasterKey::from_file::<Sha256>(&bytes).err() == Some(KeyError::Malformed)
            && WrappedKey::from_der(&bytes).err() == Some(KeyError::Malformed)
        {
            return Ok(None);
        }
        self.key_in(&self.staged)
    }

    fn stage(&mut self, key: &ServiceMasterKey) -> Result<(), String> {
        if self.held {
            return Err(format!(
                "an earlier change of the service master key did not end, and {} may be the key in use. Restart dbmirror, which settles it",
                self.staged.display()
            ));
        }
        let bytes = match &self.source {
            ServiceKeySource::File => Zeroizing::new(key.to_file::<Sha256>().expose().to_vec()),
            ServiceKeySource::PassphraseFile(file) => {
                // A file may hold another one by now; a pipe is empty.
                if self.passphrase.as_ref().is_some_and(|kept| kept.regular)
                    && !fs::metadata(file).is_ok_and(|now| !now.is_file())
                {
                    self.passphrase = Some(Passphrase::read(file)?);
                }
                let iterations = iterations().map_err(|error| error.text)?;
                debug_assert_eq!(iterations.get(), PASSWORD_ITERATIONS);
                let wrapped = key
                    .wrap_by_password(self.passphrase(), iterations, &mut OsEntropy)
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
            .and_then(|()| sync_entry(&self.current))
            .map_err(|error| self.failed(&error))
    }
}

/// The passphrase: what the file holds, without the end of its line.
struct Passphrase {
    text: Zeroizing<String>,
    /// Whether it stands in a file, and can be read again.
    regular: bool,
    /// Whether everybody can read that file.
    exposed: bool,
}

impl Passphrase {
    fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("the passphrase file {}: {why}", path.display());
        // No growing buffer: each growth would leave a copy behind. The end of a line is two bytes at most.
        let limit = PASSPHRASE_MAX + 3;
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * usize::from(PASSPHRASE_MAX)));
        let file = File::open(path).map_err(|error| failed(&error))?;
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        file.take(limit.into())
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error))?;
        if bytes.is_empty() {
            return Err(failed(
                &"it is empty. A pipe gives its passphrase once: to a new start it must be given anew",
            ));
        }
        let too_long = || failed(&format!("a passphrase has at most {PASSPHRASE_MAX} bytes"));
        if bytes.len() >= usize::from(limit) {
            return Err(too_long());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"it is not UTF-8"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() > usize::from(PASSPHRASE_MAX) {
            return Err(too_long());
        }
        if text.chars().count() < PASSPHRASE_MIN {
            return Err(failed(&format!(
                "a passphrase needs at least {PASSPHRASE_MIN} characters"
            )));
        }
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            regular: metadata.is_file(),
            exposed: metadata.is_file() && metadata.permissions().mode() & 0o004 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(key: Option<ServiceMasterKey>) -> Option<[u8; 16]> {
        key.map(|key| key.guid::<Sha256>())
    }

    fn behind(file: &Path, secret: &Path) -> Result<ServiceKeyPlace, String> {
        ServiceKeyPlace::new(file.into(), ServiceKeySource::PassphraseFile(secret.into()))
    }

    /// A passphrase change that stopped: the old key under the first passphrase, the new one staged under the second.
    #[test]
    fn a_passphrase_change_that_stopped_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("smk.key"), dir.path().join("passphrase"));
        let (old, new) = (
            ServiceMasterKey::generate(&mut OsEntropy).unwrap(),
            ServiceMasterKey::generate(&mut OsEntropy).unwrap(),
        );
        let (old_guid, new_guid) = (old.guid::<Sha256>(), new.guid::<Sha256>());
        std::fs::write(&secret, "correct horse\n").unwrap();
        let mut place = behind(&file, &secret).unwrap();
        place.stage(&old).unwrap();
        place.promote().unwrap();
        std::fs::write(&secret, "another horse\n").unwrap();
        place.stage(&new).unwrap();
        let settled = |catalog: &[u8; 16]| {
            let mut place = behind(&file, &secret).unwrap();
            dbmirror_core::keys::settle::<Sha256, _>(&mut place, Some(catalog)).map(guid)
        };
        // Before the commit: the earlier passphrase is wanted, and the file stays.
        assert!(settled(&old_guid).err().unwrap().contains("before or after"));
        std::fs::write(&secret, "correct horse\n").unwrap();
        assert_eq!(settled(&old_guid), Ok(Some(old_guid)));
        // After it, with the earlier one: the staged key is the catalog's and is named.
        assert!(settled(&new_guid).err().unwrap().contains("smk.key.new"));
        assert!(dir.path().join("smk.key.new").exists());
        std::fs::write(&secret, "another horse\n").unwrap();
        assert_eq!(settled(&new_guid), Ok(Some(new_guid)));
        assert!(!dir.path().join("smk.key.new").exists());
        assert_eq!(settled(&new_guid), Ok(Some(new_guid)));
    }

    #[test]
    fn nothing_that_was_put_aside_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("smk.key");
        let place = ServiceKeyPlace::new(file.clone(), ServiceKeySource::File).unwrap();
        for n in 1..=3_u8 {
            std::fs::write(&file, [n]).unwrap();
            std::fs::write(dir.path().join("smk.key.new"), [n + 10]).unwrap();
            place.set_aside().unwrap();
            assert!(!file.exists() && !place.has_staged());
        }
        place.set_aside().unwrap();
        for (name, holds) in [
            ("smk.key.lost", 1),
            ("smk.key.lost.2", 2),
            ("smk.key.lost.3", 3),
            ("smk.key.new.lost", 11),
            ("smk.key.new.lost.2", 12),
            ("smk.key.new.lost.3", 13),
        ] {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), [holds], "{name}");
        }
    }

    #[test]
    fn a_piped_passphrase_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("smk.key"), dir.path().join("pipe"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let give = |text: &'static str| {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::write(pipe, text).unwrap())
        };
        let writer = give("correct horse\n");
        let mut place = behind(&file, &pipe).unwrap();
        writer.join().unwrap();
        // Nobody writes any more: reading again would wait for ever.
        let key = ServiceMasterKey::generate(&mut OsEntropy).unwrap();
        place.stage(&key).unwrap();
        place.promote().unwrap();
        assert_eq!(guid(place.current().unwrap()), Some(key.guid::<Sha256>()));
        let writer = give("");
        assert!(behind(&file, &pipe).err().unwrap().contains("it is empty"));
        writer.join().unwrap();
    }

    #[test]
    fn a_passphrase_is_bounded_and_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("passphrase");
        let read = |text: String| {
            std::fs::write(&secret, text).unwrap();
            Passphrase::read(&secret).map(|passphrase| passphrase.text.len())
        };
        assert_eq!(read("x".repeat(1024) + "\r\n"), Ok(1024));
        for length in [1025, 1026, 1027, 9000] {
            assert!(read("x".repeat(length)).err().unwrap().contains("at most 1024"));
        }
        let mode = |mode| {
            std::fs::write(&secret, "correct horse").unwrap();
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
            Passphrase::read(&secret).unwrap().exposed
        };
        assert!(!mode(0o600) && !mode(0o640) && mode(0o644));
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

        let mut protected = behind(&file, &secret).unwrap();
        assert!(protected.protect().unwrap());
        assert!(!protected.protect().unwrap());
        assert_eq!(guid(protected.current().unwrap()), wanted);
        let bytes = std::fs::read(&file).unwrap();
        let clear = key.to_file::<Sha256>();
        assert!(!bytes.windows(32).any(|window| window == &clear.expose()[8..40]));

        assert!(plain.current().err().unwrap().contains("passphrase-file=PATH"));
        std::fs::write(&secret, "another horse\n").unwrap();
        let mut protected = behind(&file, &secret).unwrap();
        assert!(protected.current().err().unwrap().contains("not the one"));
        std::fs::write(&secret, "short\n").unwrap();
        assert!(behind(&file, &secret).err().unwrap().contains("at least 8"));
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

//! The directory of an instance: its layout, its lock, and where file names in statements lead.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use dbmirror_adapters::beside::{folder_of, sync_entry};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Hash as _, Provider};

use super::StartError;

/// The most bytes of a file name in a statement.
const NAME_MAX: usize = 1024;

/// An instance's directory, held exclusively while this lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

/// The longest name of a database's file before `.db`: a file system's 255 bytes, and room for what lies beside it.
const FILE_NAME_MAX: usize = 200;

impl DataDir {
    /// Makes the directory and its parts where they are missing, takes its lock and closes it to other users.
    ///
    /// # Errors
    /// [`StartError::InUse`] when another process holds it, [`StartError::Unusable`] for everything else.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let unusable = |what: &str, error: io::Error| {
            StartError::Unusable(format!("{what} {}: {error}", path.display()))
        };
        private_dir(path).map_err(|error| unusable("cannot make or use the directory", error))?;
        let root = path
            .canonicalize()
            .map_err(|error| unusable("cannot resolve the directory", error))?;
        let owner = fs::metadata(&root).map_err(|error| unusable("cannot look at the directory", error))?;
        let me = rustix::process::geteuid().as_raw();
        if owner.uid() != me {
            return Err(StartError::Unusable(format!(
                "the directory {} belongs to user {}, and this process runs as user {me}. Run dbmirror as its owner.",
                root.display(),
                owner.uid()
            )));
        }
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(|error| unusable("cannot open the lock of", error))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_to_string(root.join("lock")).unwrap_or_default();
                return Err(StartError::InUse(format!(
                    "another process{} serves the directory {}. Stop it first, or choose another --data.",
                    match holder.trim() {
                        "" => String::new(),
                        pid => format!(" (pid {pid})"),
                    },
                    root.display()
                )));
            }
            Err(error) => return Err(unusable("cannot lock", error.into())),
        }
        lock.set_len(0)
            .and_then(|()| (&lock).write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(|error| unusable("cannot write the lock of", error))?;
        for part in ["backup", "data", "blocks", "log"] {
            private_dir(&root.join(part)).map_err(|error| unusable("cannot make a part of", error))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The directory itself, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalog.
    #[must_use]
    pub fn master(&self) -> PathBuf {
        self.root.join("master.db")
    }

    /// The service master key.
    #[must_use]
    pub fn service_master_key(&self) -> PathBuf {
        self.root.join("smk.key")
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// The error log.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        crate::errorlog::path_in(&self.root)
    }

    /// Where CREATE DATABASE, RESTORE and seeding put the file of the database `name`. The name is spelled so that it stays
    /// one file name, whatever characters it has.
    #[must_use]
    pub fn database_file(&self, name: &str) -> PathBuf {
        use std::fmt::Write as _;
        let mut file = String::new();
        for c in name.chars() {
            // A dot in front would hide the file; a slash would leave the directory.
            if c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.' if !(c == '.' && file.is_empty())) {
                file.push(c);
            } else {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(file, "%{byte:02X}");
                }
            }
        }
        if file.len() > FILE_NAME_MAX {
            // Names that begin alike still have files of their own.
            let mut hash = <RustCrypto as Provider>::Sha256::new();
            hash.update(name.as_bytes());
            let whole = hash.finish();
            let mut cut = FILE_NAME_MAX - 17;
            while !file.is_char_boundary(cut) {
                cut -= 1;
            }
            file.truncate(cut);
            file.push('~');
            for byte in whole.iter().take(8) {
                let _ = write!(file, "{byte:02x}");
            }
        }
        self.root.join("data").join(format!("{file}.db"))
    }

    /// Where a file name of a statement leads: a drive letter is stripped, `\` is `/`, and the rest lies under
    /// `backup/`.
    ///
    /// # Errors
    /// Why the name is refused: empty, too long, `..`, another absolute path, a network share, something there that is not
    /// a regular file.
    pub fn statement_file(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err("the name is empty, too long or holds control characters".to_owned());
        }
        let name = name.replace('\\', "/");
        let mut letters = name.chars();
        let drive = letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.next() == Some(':');
        let rest = if drive {
            name.get(2..).unwrap_or_default()
        } else {
            &name
        };
        if !drive && rest.starts_with('/') {
            return Err(format!(
                "absolute paths are not allowed here; names lie under {}",
                self.root.join("backup").display()
            ));
        }
        let mut path = self.root.join("backup");
        let mut parts = 0;
        for part in Path::new(rest.trim_start_matches('/')).components() {
            match part {
                Component::Normal(part) => {
                    path.push(part);
                    parts += 1;
                }
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err("a name may not climb out of its directory with '..'".to_owned());
                }
            }
        }
        if parts == 0 || rest.ends_with('/') {
            return Err("the name names no file".to_owned());
        }
        self.stays_inside(&path)?;
        // A pipe would hold the statement until somebody opens its other end, and the end of the instance with it.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err("it is not a regular file".to_owned());
        }
        Ok(path)
    }
}

impl DataDir {
    /// Refuses a path under `backup/` that a symbolic link leads out of it.
    fn stays_inside(&self, path: &Path) -> Result<(), String> {
        let unknown = |e: io::Error| format!("it cannot be looked at: {e}");
        // `backup` itself may lie on another disk.
        let backup = self.root.join("backup").canonicalize().map_err(unknown)?;
        for part in path.ancestors() {
            let found = match fs::symlink_metadata(part) {
                Ok(_) => part.canonicalize().map_err(unknown)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(unknown(e)),
            };
            return if found.starts_with(&backup) {
                Ok(())
            } else {
                Err(format!(
                    "a symbolic link leads it to {}, out of {}",
                    found.display(),
                    backup.display()
                ))
            };
        }
        Ok(())
    }
}

/// Makes `path` (with its parents) when it is missing, and takes every right of others from it.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    if found.permissions().mode() & 0o077 != 0 && found.uid() == rustix::process::geteuid().as_raw() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Reads the file `path`, of at most `limit` bytes.
///
/// # Errors
/// The system's, or that the file is larger.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Writes a new file (mode 0600) so that it is there whole and durable, or not at all; an existing one is refused.
///
/// # Errors
/// The system's; [`io::ErrorKind::AlreadyExists`] when `path` exists.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    private_dir(folder_of(path))?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_entry(path));
    if written.is_err() {
        // What is there is ours, and not whole.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_served_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/er");
        let held = DataDir::open(&path).unwrap();
        for part in ["", "backup", "data", "blocks", "log"] {
            let mode = fs::metadata(path.join(part)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{part}");
        }
        match DataDir::open(&path) {
            Err(StartError::InUse(text)) => assert!(text.contains(&std::process::id().to_string()), "{text}"),
            other => panic!("{other:?}"),
        }
        drop(held);
        DataDir::open(&path).unwrap();
        fs::write(temp.path().join("file"), b"x").unwrap();
        assert!(matches!(
            DataDir::open(&temp.path().join("file")),
            Err(StartError::Unusable(_))
        ));
    }

    #[test]
    fn statement_files_stay_under_backup() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let backup = dir.root().join("backup");
        for (name, file) in [
            (r"C:\HOST_A_cert.cer", "HOST_A_cert.cer"),
            ("A_cert.cer", "A_cert.cer"),
            (r"d:sub\x.bak", "sub/x.bak"),
            ("./x", "x"),
            ("C:/a//b", "a/b"),
        ] {
            assert_eq!(dir.statement_file(name), Ok(backup.join(file)), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            r"\\server\share\x",
            r"C:\..\x",
            "a/../../x",
            "..",
            "x/",
            r"C:\",
            "a\0b",
            ".",
        ] {
            assert!(dir.statement_file(name).is_err(), "{name}");
        }
        assert!(dir.statement_file(&"x".repeat(2000)).is_err());
    }

    #[test]
    fn links_lead_nowhere_else() {
        use std::os::unix::fs::symlink;
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&temp.path().join("A")).unwrap();
        let backup = dir.root().join("backup");
        fs::write(temp.path().join("secret"), b"x").unwrap();
        symlink(temp.path(), backup.join("out")).unwrap();
        symlink(temp.path().join("secret"), backup.join("file")).unwrap();
        symlink(temp.path().join("new"), backup.join("dangling")).unwrap();
        fs::create_dir(backup.join("sub")).unwrap();
        symlink(backup.join("sub"), backup.join("in")).unwrap();
        for name in ["out/secret", "out/new", "file", "dangling", "dangling/x"] {
            assert!(dir.statement_file(name).is_err(), "{name}");
        }
        for name in ["in/x", "sub/x", "sub/deep/er/x"] {
            assert!(dir.statement_file(name).is_ok(), "{name}");
        }
        // The whole of it on another disk is the owner's choice.
        let disk = temp.path().join("disk");
        fs::rename(&backup, &disk).unwrap();
        symlink(&disk, &backup).unwrap();
        assert!(dir.statement_file("sub/x").is_ok());
    }

    #[test]
    fn long_names_have_files_too() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let names = ["ü".repeat(128), "😀".repeat(64), "%".repeat(128), "x".repeat(128)];
        for name in &names {
            let other = format!(
                "{}y",
                &name[..name.len() - name.chars().last().unwrap().len_utf8()]
            );
            let (file, beside) = (dir.database_file(name), dir.database_file(&other));
            assert_ne!(file, beside);
            for suffix in ["", "-journal", "-dbmirror"] {
                let mut name = file.clone().into_os_string();
                name.push(suffix);
                fs::write(&name, b"x").unwrap();
            }
        }
    }

    #[test]
    fn database_files_are_one_name() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let data = dir.root().join("data");
        assert_eq!(dir.database_file("Sales"), data.join("Sales.db"));
        assert_eq!(dir.database_file("../x"), data.join("%2E.%2Fx.db"));
        assert_eq!(dir.database_file("a/b"), data.join("a%2Fb.db"));
    }

    #[test]
    fn new_files_are_never_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("d/x.cer");
        write_new(&path, b"one").unwrap();
        assert_eq!(
            write_new(&path, b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read_bounded(&path, 3).unwrap(), b"one");
        assert!(read_bounded(&path, 2).is_err());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

//! The instance that a script runs against: in a directory of its own, listening nowhere, gone afterwards.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::admin::{Cancelled, Message, Session as _, Sink};
use crate::exec::SqlSession;
use crate::instance::{Instance, Options, random};
use crate::sqlcmd::script::{Splitter, Step};
use crate::tsql::{Column, Value};

/// The longest file that is offered to a script: certificates and keys are much shorter.
const FILE_LEN_MAX: u64 = 64 * 1024;
/// The most files that are.
const FILES_MAX: usize = 1_000;

/// What the name of the directory begins with; the number of the process follows.
const PREFIX: &str = "dbmirror-provision-";

/// The instance and its directory.
pub(super) struct Scratch {
    dir: PathBuf,
    instance: Option<Arc<Instance>>,
    /// What lay in its `backup` before the script.
    given: BTreeSet<OsString>,
}

impl Scratch {
    /// Starts an instance called `name` whose statements find the files of `files`.
    pub(super) fn start(name: &str, files: &Path) -> Result<Self, Failure> {
        sweep(&std::env::temp_dir());
        let tag: [u8; 8] = random().map_err(|error| Failure::usage(error.to_string()))?;
        let dir = format!("{PREFIX}{}-{}", std::process::id(), super::hex(&tag));
        let dir = std::env::temp_dir().join(dir);
        let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", dir.display()));
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let mut scratch = Self {
            dir: dir.clone(),
            instance: None,
            given: BTreeSet::new(),
        };
        let backup = dir.join("backup");
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&backup)
            .map_err(failed)?;
        scratch.offer(files, &backup)?;
        let options = Options {
            dir,
            name: name.to_owned(),
            offline: true,
            ..Options::default()
        };
        let instance = Instance::start(&options, true).map_err(|error| Failure::usage(error.to_string()))?;
        scratch.instance = Some(instance);
        Ok(scratch)
    }

    /// Copies what a script may want to import.
    fn offer(&mut self, files: &Path, backup: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", files.display()));
        for entry in fs::read_dir(files).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = fs::metadata(entry.path()).map_err(failed)?;
            if !found.is_file() || found.len() > FILE_LEN_MAX {
                continue;
            }
            if self.given.len() >= FILES_MAX {
                return Err(Failure::usage(format!(
                    "{} holds more than {FILES_MAX} files: name the certificates' directory by --files",
                    files.display()
                )));
            }
            fs::copy(entry.path(), backup.join(entry.file_name())).map_err(failed)?;
            self.given.insert(entry.file_name());
        }
        Ok(())
    }

    /// The instance.
    pub(super) fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("it was started with the value")
    }

    /// Runs a script, and stops at its first error.
    pub(super) fn run(&self, script: &str) -> Result<(), Failure> {
        let Some(instance) = &self.instance else {
            return Ok(());
        };
        let mut session = SqlSession::new(Arc::clone(instance));
        let mut splitter = Splitter::new(&[]);
        let wrong = |error: crate::sqlcmd::script::ScriptError| Failure::statement(error.to_string());
        for line in script.lines() {
            match splitter.line(line).map_err(wrong)? {
                Some(Step::Run { batch, times }) => {
                    for _ in 0..times {
                        batch_of(&mut session, &batch)?;
                    }
                }
                Some(Step::Quit) => return Ok(()),
                // The first error ends it in any case.
                Some(Step::OnError(_)) | None => {}
            }
        }
        match splitter.finish() {
            Some(Step::Run { batch, .. }) => batch_of(&mut session, &batch),
            _ => Ok(()),
        }
    }

    /// What the script has written lands beside what it read.
    pub(super) fn keep_new_files(&self, files: &Path) -> Result<(), Failure> {
        let backup = self.dir.join("backup");
        let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", files.display()));
        for entry in fs::read_dir(&backup).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if self.given.contains(&entry.file_name()) || !entry.path().is_file() {
                continue;
            }
            let to = files.join(entry.file_name());
            let bytes = fs::read(entry.path()).map_err(failed)?;
            super::write_new(&to, &bytes, super::SECRET)?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.stop();
        }
        // Private keys lie in it, and so does the key that opens them.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what killed programs left in `temporary`: private keys, and the key that opens them.
fn sweep(temporary: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
            .and_then(|(process, _)| process.parse::<u32>().ok());
        let left = process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists());
        let mine = entry
            .metadata()
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
        if left && mine {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn batch_of(session: &mut SqlSession, batch: &str) -> Result<(), Failure> {
    let mut told = Told::default();
    session.batch(batch, &mut told);
    match told.error {
        None => Ok(()),
        Some(error) => Err(Failure::statement(format!(
            "Msg {}, Level {}, State {}, Line {}: {}",
            error.number, error.severity, error.state, error.line, error.text
        ))),
    }
}

/// Keeps the first error; warnings go to the user.
#[derive(Default)]
struct Told {
    error: Option<Message>,
}

impl Sink for Told {
    fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
        Ok(())
    }
    fn row(&mut self, _: &[Value]) -> Result<(), Cancelled> {
        Ok(())
    }
    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        if !message.is_error() {
            crate::terminal::complain(&message.text);
            return Ok(());
        }
        self.error.get_or_insert_with(|| message.clone());
        // Nothing after the first error is run.
        Err(Cancelled)
    }
    fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
        Ok(())
    }
    fn check(&mut self) -> Result<(), Cancelled> {
        if self.error.is_some() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        // Numbers of processes end far below.
        let [left, own, other] = [
            format!("{PREFIX}4294967295-00"),
            format!("{PREFIX}{}-00", std::process::id()),
            "dbmirror-other-4294967295-00".to_owned(),
        ]
        .map(|name| temporary.path().join(name));
        for dir in [&left, &own, &other] {
            fs::create_dir_all(dir.join("backup")).unwrap();
            fs::write(dir.join("smk.key"), "secret").unwrap();
        }
        sweep(temporary.path());
        assert!(!left.exists() && own.exists() && other.exists());
    }
}

//! Which file it is, and what SQLite counts in it: what tells a file that went on while nobody looked from another one that
//! was put in its place (`docs/capture.md`, *Restart*).

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use super::{Error, Result};

/// Length in bytes of a stored identity.
pub const IDENTITY_LEN: usize = 60;
/// Layout version of a stored identity.
const VERSION: u32 = 1;
/// Bytes of the database header, which begins page 1 (SQLite file format §1.3).
pub(super) const HEAD_LEN: usize = 100;

/// A database file at one moment: the file itself, and the counters of its header at one committed state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The file.
    pub file: FileId,
    /// Bytes a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u32,
    /// What its header counts and names.
    pub head: Head,
}

/// A file on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileId {
    /// `st_dev`. File systems without a disk of their own get another one at each mount.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970 (`statx`); 0 where the file system does not know.
    pub born: u64,
}

/// What the header of a database tells of its history (SQLite file format §1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The file change counter. In WAL mode it grows when page 1 is written by a connection that has read it since its own
    /// last commit: never back, not with every commit.
    pub change_counter: u32,
    /// The schema cookie: grows with every change of the schema and with VACUUM.
    pub schema_cookie: u32,
    /// The text encoding, which a database keeps.
    pub encoding: u32,
    /// `PRAGMA application_id`.
    pub application_id: u32,
    /// The largest root page: not 0 where auto-vacuum may cut pages off at a commit.
    pub auto_vacuum: u32,
}

/// Why a file cannot be the one that was captured, gone on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discontinuity {
    /// It is another file: by inode, or by when it was made.
    OtherFile,
    /// It is another database: by page size, text encoding or application id.
    OtherDatabase,
    /// SQLite's change counter is lower than it was.
    ChangeCounter {
        /// What it was.
        was: u32,
        /// What it is.
        is: u32,
    },
    /// The schema cookie is lower than it was.
    SchemaCookie {
        /// What it was.
        was: u32,
        /// What it is.
        is: u32,
    },
    /// It has fewer pages, though nothing that cuts pages off has happened.
    Pages {
        /// How many it had.
        was: u32,
        /// How many it has.
        is: u32,
    },
}

impl FileId {
    pub(super) fn of(file: &File) -> Result<Self> {
        let meta = file.metadata().map_err(Error::io("look at the database file"))?;
        let born = meta.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: born.map_or(0, |born| u64::try_from(born.as_nanos()).unwrap_or(0)),
        })
    }

    /// Whether both are one file. The device decides only where nobody knows when the file was made: its number may be
    /// another one after a restart of the machine.
    fn same(&self, other: &Self) -> bool {
        let known = self.born != 0 && other.born != 0;
        self.inode == other.inode && self.born == other.born && (known || self.device == other.device)
    }
}

impl Head {
    /// Out of the first bytes of page 1.
    pub(super) fn parse(bytes: &[u8; HEAD_LEN]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_be_bytes(word)
        };
        Self {
            change_counter: word(24),
            schema_cookie: word(40),
            auto_vacuum: word(52),
            encoding: word(56),
            application_id: word(68),
        }
    }
}

impl Identity {
    /// Whether this may be what became of `last` by the commits of ordinary applications. It is no proof: an older copy that was
    /// put over the file and written to for long enough passes.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn follows(&self, last: &Self) -> Result<(), Discontinuity> {
        let (was, is) = (&last.head, &self.head);
        if !self.file.same(&last.file) {
            return Err(Discontinuity::OtherFile);
        }
        let named = |i: &Self| (i.page_size, i.head.encoding, i.head.application_id);
        if named(self) != named(last) {
            return Err(Discontinuity::OtherDatabase);
        }
        if is.change_counter < was.change_counter {
            return Err(Discontinuity::ChangeCounter {
                was: was.change_counter,
                is: is.change_counter,
            });
        }
        if is.schema_cookie < was.schema_cookie {
            return Err(Discontinuity::SchemaCookie {
                was: was.schema_cookie,
                is: is.schema_cookie,
            });
        }
        // Only VACUUM, which raises the cookie, and auto-vacuum make a database smaller.
        let cut = is.schema_cookie > was.schema_cookie || is.auto_vacuum != 0 || was.auto_vacuum != 0;
        if self.pages < last.pages && !cut {
            return Err(Discontinuity::Pages {
                was: last.pages,
                is: self.pages,
            });
        }
        Ok(())
    }

    /// Its stored form, little-endian: version, device, inode, birth, page size, pages, change counter, schema cookie, encoding,
    /// application id, auto-vacuum, four zero bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; IDENTITY_LEN] {
        let mut out = [0; IDENTITY_LEN];
        let (file, head) = (&self.file, &self.head);
        let longs = [file.device, file.inode, file.born];
        let words = [
            self.page_size,
            self.pages,
            head.change_counter,
            head.schema_cookie,
            head.encoding,
            head.application_id,
            head.auto_vacuum,
            0,
        ];
        let bytes = VERSION
            .to_le_bytes()
            .into_iter()
            .chain(longs.into_iter().flat_map(u64::to_le_bytes))
            .chain(words.into_iter().flat_map(u32::to_le_bytes));
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }

    /// Reads the stored form; `None` for another length, an unknown version, or reserved bytes that are not zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; IDENTITY_LEN] = bytes.try_into().ok()?;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if word(0)? != VERSION || word(56)? != 0 {
            return None;
        }
        Some(Self {
            file: FileId {
                device: long(4)?,
                inode: long(12)?,
                born: long(20)?,
            },
            page_size: word(28)?,
            pages: word(32)?,
            head: Head {
                change_counter: word(36)?,
                schema_cookie: word(40)?,
                encoding: word(44)?,
                application_id: word(48)?,
                auto_vacuum: word(52)?,
            },
        })
    }
}

impl fmt::Display for Discontinuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherFile => f.write_str("it is another file than the one that was captured"),
            Self::OtherDatabase => {
                f.write_str("its page size, text encoding or application id is that of another database")
            }
            Self::ChangeCounter { was, is } => {
                write!(f, "its change counter went back from {was} to {is}")
            }
            Self::SchemaCookie { was, is } => write!(f, "its schema cookie went back from {was} to {is}"),
            Self::Pages { was, is } => write!(
                f,
                "it has {is} pages where it had {was}, and nothing has cut any off"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Identity {
        Identity {
            file: FileId {
                device: 1,
                inode: 2,
                born: 3,
            },
            page_size: 4096,
            pages: 10,
            head: Head {
                change_counter: 20,
                schema_cookie: 5,
                encoding: 1,
                application_id: 7,
                auto_vacuum: 0,
            },
        }
    }

    #[test]
    fn stored_form_is_frozen() {
        let mut expected = std::vec![1, 0, 0, 0];
        for long in [1_u8, 2, 3] {
            expected.extend([long, 0, 0, 0, 0, 0, 0, 0]);
        }
        expected.extend([
            0, 16, 0, 0, 10, 0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0,
        ]);
        expected.extend([0; 8]);
        assert_eq!(one().to_bytes().as_slice(), expected);
        assert_eq!(Identity::from_bytes(&expected), Some(one()));
        for at in [1, 56, 59] {
            let mut bad = expected.clone();
            bad[at] = 1;
            assert_eq!(Identity::from_bytes(&bad), None, "byte {at}");
        }
        assert_eq!(Identity::from_bytes(&expected[..59]), None);
    }

    #[test]
    fn what_may_have_become_of_a_file() {
        let changed = |change: &dyn Fn(&mut Identity)| {
            let mut now = one();
            change(&mut now);
            now.follows(&one())
        };
        assert_eq!(changed(&|_| {}), Ok(()));
        assert_eq!(changed(&|i| i.head.change_counter += 1), Ok(()));
        assert_eq!(changed(&|i| i.pages += 1), Ok(()));
        assert_eq!(changed(&|i| i.file.device = 9), Ok(()), "another mount");
        let vacuumed = |i: &mut Identity| {
            i.pages = 3;
            i.head.schema_cookie += 1;
        };
        assert_eq!(changed(&vacuumed), Ok(()));
        let cut = |i: &mut Identity| {
            i.pages = 3;
            i.head.auto_vacuum = 2;
        };
        assert_eq!(changed(&cut), Ok(()));
        assert_eq!(changed(&|i| i.file.inode = 9), Err(Discontinuity::OtherFile));
        assert_eq!(changed(&|i| i.file.born = 9), Err(Discontinuity::OtherFile));
        assert_eq!(changed(&|i| i.page_size = 512), Err(Discontinuity::OtherDatabase));
        assert_eq!(
            changed(&|i| i.head.encoding = 2),
            Err(Discontinuity::OtherDatabase)
        );
        assert_eq!(
            changed(&|i| i.head.application_id = 8),
            Err(Discontinuity::OtherDatabase)
        );
        assert_eq!(
            changed(&|i| i.head.change_counter = 19),
            Err(Discontinuity::ChangeCounter { was: 20, is: 19 })
        );
        assert_eq!(
            changed(&|i| i.head.schema_cookie = 4),
            Err(Discontinuity::SchemaCookie { was: 5, is: 4 })
        );
        assert_eq!(
            changed(&|i| {
                i.pages = 9;
                i.head.change_counter += 5;
            }),
            Err(Discontinuity::Pages { was: 10, is: 9 })
        );
        // Where nobody knows when files were made, the device decides.
        let (mut was, mut is) = (one(), one());
        (was.file.born, is.file.born) = (0, 0);
        assert_eq!(is.follows(&was), Ok(()));
        is.file.device = 9;
        assert_eq!(is.follows(&was), Err(Discontinuity::OtherFile));
    }
}

//! What a command says: on standard output what it was asked for, on standard error what went wrong. `println!` and `eprintln!` panic when
//! nobody reads any more (`| head`), and a panic is told as a defect.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line to standard output.
///
/// # Errors
/// What keeps it from being written, a full disk say. A reader who has seen enough is none: what was asked for is done all the same.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    line_to(&mut io::stdout(), line)
}

/// Prints a line to standard error. There is nobody left to tell if that fails.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line, and that it was written. `Ok` also when the reader has left.
fn line_to(out: &mut impl Write, line: impl Display) -> io::Result<()> {
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_has_left_is_no_error_and_a_full_disk_is_one() {
        let mut out = Vec::new();
        line_to(&mut out, "a line").unwrap();
        assert_eq!(out, b"a line\n");
        line_to(&mut Refusing(io::ErrorKind::BrokenPipe), "a line").unwrap();
        let full = line_to(&mut Refusing(io::ErrorKind::StorageFull), "a line");
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}

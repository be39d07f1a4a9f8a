//! Passwords of keys and logins: the policy, and the hash that is kept of a login's.

use sha2::Sha256;

use crate::catalog::keys::PASSWORD_ITERATIONS;
use crate::instance::random;
use crate::messages::{M15116, M15117, M15118, Raised};

/// Fewest characters.
const LENGTH_MIN: usize = 8;
/// Most characters.
const LENGTH_MAX: usize = 128;
/// How many of the four kinds of characters are needed.
const KINDS: usize = 3;

/// The documented policy: 8 to 128 characters, three of four kinds, not the name inside.
///
/// # Errors
/// 15116, 15117, 15118.
pub(super) fn check_policy(password: &str, name: Option<&str>) -> Result<(), Raised> {
    let length = password.chars().count();
    if length < LENGTH_MIN {
        return Err(M15116.refuse(&[]));
    }
    if length > LENGTH_MAX {
        return Err(M15117.refuse(&[]));
    }
    let kinds = [
        password.chars().any(char::is_uppercase),
        password.chars().any(char::is_lowercase),
        password.chars().any(char::is_numeric),
        password.chars().any(|c| !c.is_alphanumeric()),
    ];
    let holds_name = name.is_some_and(|name| {
        name.chars().count() >= 3 && password.to_lowercase().contains(&name.to_lowercase())
    });
    if holds_name || kinds.iter().filter(|kind| **kind).count() < KINDS {
        return Err(M15118.refuse(&[]));
    }
    Ok(())
}

/// What is kept of a login's password.
pub(super) struct Hashed {
    pub salt: [u8; 16],
    pub iterations: u32,
    pub hash: [u8; 32],
}

/// PBKDF2-HMAC-SHA256 under a fresh salt.
///
/// # Errors
/// 15508 when the operating system gives no randomness.
pub(super) fn hash(password: &str) -> Result<Hashed, Raised> {
    let salt = random()?;
    let mut hash = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, PASSWORD_ITERATIONS, &mut hash);
    Ok(Hashed {
        salt,
        iterations: PASSWORD_ITERATIONS,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy() {
        for good in [
            "<1_Strong_Password!>",
            "<Strong_Password_#2>",
            "Kx!7-alpha-node",
            "abcdefG1",
        ] {
            assert_eq!(check_policy(good, Some("B_login")), Ok(()), "{good}");
        }
        let number = |password: &str, name| check_policy(password, name).unwrap_err().number;
        assert_eq!(number("Ab1!", None), 15116);
        assert_eq!(number(&"Ab1!".repeat(33), None), 15117);
        assert_eq!(number("abcdefgh1", None), 15118);
        assert_eq!(number("B_Login-12", Some("b_login")), 15118);
    }
}

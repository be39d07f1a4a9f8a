//! Certificates and private keys as text: the PEM form (RFC 7468) beside DER.

use zeroize::Zeroizing;

/// One block of a PEM text.
struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

/// The blocks of a PEM text, with whatever stands between them left out; nothing when the bytes are no such text.
fn blocks(bytes: &[u8]) -> Result<Option<Vec<Block<'_>>>, &'static str> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let Some(mut rest) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.contains(BEGIN))
    else {
        return Ok(None);
    };
    let mut blocks = Vec::new();
    while let Some((_, behind)) = rest.split_once(BEGIN) {
        let (label, behind) = behind
            .split_once(DASHES)
            .ok_or("the PEM text has a BEGIN that does not end")?;
        let end = format!("-----END {label}-----");
        let (body, behind) = behind
            .split_once(end.as_str())
            .ok_or("the PEM text has no END to its BEGIN")?;
        blocks.push(Block { label, body });
        rest = behind;
    }
    Ok(Some(blocks))
}

/// The DER inside `bytes`, when they are PEM with one certificate; nothing when they are not PEM at all.
///
/// # Errors
/// Why the text between the marks cannot be read.
pub(super) fn certificate(bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let Some(blocks) = blocks(bytes)? else {
        return Ok(None);
    };
    let mut found = blocks
        .iter()
        .filter(|block| matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE"));
    let Some(block) = found.next() else {
        return Err("the PEM text holds no certificate");
    };
    if found.next().is_some() {
        return Err("the PEM text holds more than one certificate; give a file with one");
    }
    decode(block.body)
        .map(|der| Some(der.to_vec()))
        .ok_or("the text between the marks is not Base64")
}

/// The DER of the private key inside `bytes`, when they are PEM with one; nothing when they are not PEM at all.
///
/// # Errors
/// Why the text between the marks cannot be read, or holds a key of another kind.
pub(super) fn private_key(bytes: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    let Some(blocks) = blocks(bytes)? else {
        return Ok(None);
    };
    let mut found = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = found.next() else {
        return Err("the PEM text holds no private key");
    };
    if found.next().is_some() {
        return Err("the PEM text holds more than one private key; give a file with one");
    }
    match block.label {
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" | "EC PRIVATE KEY" => {}
        "RSA PRIVATE KEY" | "DSA PRIVATE KEY" => {
            return Err(
                "it holds an RSA or DSA key; only P-256 is supported (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)",
            );
        }
        _ => return Err("its private key is in a form of its own tool; openssl pkcs8 -topk8 writes PKCS #8"),
    }
    // RFC 1421 §4.6: an encryption by MD5 and one round.
    if block.body.contains("Proc-Type:") {
        return Err(
            "its private key is encrypted in the old way of PEM; openssl pkcs8 -topk8 -v2 aes256 converts it",
        );
    }
    decode(block.body)
        .map(Some)
        .ok_or("the text between the marks is not Base64")
}

/// Base64 with blanks and line ends between the digits; padding is required, and unused bits must be zero.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let unpadded: &[u8] = match digits.as_slice() {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] => rest,
        all => all,
    };
    let mut out = Zeroizing::new(Vec::with_capacity(unpadded.len() / 4 * 3 + 3));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in unpadded {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        // RFC 4648 §10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9v\nYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).unwrap().as_slice(), bytes.as_bytes(), "{text}");
        }
        for text in ["Zg", "Zh==", "Z===", "Zm9*", "=Zm9"] {
            assert!(decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn certificates() {
        let text = b"subject=x\n-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate(text), Ok(Some(b"foo".to_vec())));
        assert_eq!(certificate(&[0x30, 0x82]), Ok(None));
        assert!(certificate(&text[..50]).is_err());
        assert!(certificate(&[text.as_slice(), text].concat()).is_err());
        assert!(certificate(b"-----BEGIN X-----\n-----END X-----\n").is_err());
    }

    #[test]
    fn private_keys() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let read = |text: &str| private_key(text.as_bytes()).map(|key| key.map(|key| key.to_vec()));
        for label in ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY"] {
            assert_eq!(read(&block(label, "Zm9v")), Ok(Some(b"foo".to_vec())), "{label}");
        }
        // As `openssl ecparam -genkey` writes it: the curve in a block of its own before the key.
        let both = block("EC PARAMETERS", "Zg==") + &block("EC PRIVATE KEY", "Zm9v");
        assert_eq!(read(&both), Ok(Some(b"foo".to_vec())));
        assert_eq!(read("0\x30"), Ok(None));
        assert!(
            read(&block("RSA PRIVATE KEY", "Zm9v"))
                .unwrap_err()
                .contains("RSA")
        );
        assert!(
            read(&block("OPENSSH PRIVATE KEY", "Zm9v"))
                .unwrap_err()
                .contains("PKCS #8")
        );
        let old = block(
            "EC PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nZm9v",
        );
        assert!(read(&old).unwrap_err().contains("-topk8"));
        assert!(read(&(block("PRIVATE KEY", "") + &block("PRIVATE KEY", ""))).is_err());
        assert!(read(&block("CERTIFICATE", "Zm9v")).is_err());
    }
}

//! Certificates as text: the PEM form (RFC 7468) beside DER.

/// The DER inside `bytes`, when they are PEM with one certificate; nothing when they are not PEM at all.
///
/// # Errors
/// Why the text between the marks cannot be read.
pub(super) fn certificate(bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(None);
    };
    let Some((_, rest)) = text.split_once(BEGIN) else {
        return Ok(None);
    };
    let (body, rest) = rest
        .split_once(END)
        .ok_or("the PEM text has no END CERTIFICATE")?;
    if rest.contains(BEGIN) {
        return Err("the PEM text holds more than one certificate; give a file with one");
    }
    decode(body)
        .map(Some)
        .ok_or("the text between the marks is not Base64")
}

/// Base64 with blanks and line ends between the digits; padding is required, and unused bits must be zero.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let unpadded: &[u8] = match digits.as_slice() {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] => rest,
        all => all,
    };
    let mut out = Vec::with_capacity(unpadded.len() / 4 * 3);
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
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Zg", "Zh==", "Z===", "Zm9*", "=Zm9"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn marks() {
        let text = b"subject=x\n-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate(text), Ok(Some(b"foo".to_vec())));
        assert_eq!(certificate(&[0x30, 0x82]), Ok(None));
        assert!(certificate(&text[..50]).is_err());
        assert!(certificate(&[text.as_slice(), text].concat()).is_err());
    }
}

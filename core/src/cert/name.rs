//! Names: written from the text of a statement, shown as text again.

use core::fmt::{self, Write};

use der::asn1::ObjectIdentifier;
use heapless::Vec;

use super::CertError;
use crate::asn1::Backwards;
use crate::asn1::elements::{Element, Elements, tag};

/// Most bytes of a name that is written here: it stands in a certificate twice.
pub(super) const NAME_LEN_MAX: usize = 768;
/// Most bytes of one attribute's value: 128 characters of 4 bytes.
const VALUE_LEN_MAX: usize = 512;
/// Room for the object identifier and the headers around a value.
const RDN_LEN_MAX: usize = VALUE_LEN_MAX + 32;

/// How an attribute's value is written.
#[derive(Clone, Copy)]
enum Form {
    /// DirectoryString as UTF8String (RFC 5280 §4.1.2.4).
    Utf8,
    /// A country: two letters in a PrintableString.
    Country,
    /// An IA5String.
    Ascii,
}

struct Attribute {
    /// What it is called in text, the first being what is shown.
    names: &'static [&'static str],
    oid: ObjectIdentifier,
    form: Form,
    /// Upper bound in characters (RFC 5280 appendix A.1, `ub-…`).
    max: usize,
}

/// The attributes of a name that are written and shown by their short names.
const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        names: &["CN"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.3"),
        form: Form::Utf8,
        max: 64,
    },
    Attribute {
        names: &["O"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.10"),
        form: Form::Utf8,
        max: 64,
    },
    Attribute {
        names: &["OU"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.11"),
        form: Form::Utf8,
        max: 64,
    },
    Attribute {
        names: &["L"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.7"),
        form: Form::Utf8,
        max: 128,
    },
    Attribute {
        names: &["ST", "S"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.8"),
        form: Form::Utf8,
        max: 128,
    },
    Attribute {
        names: &["C"],
        oid: ObjectIdentifier::new_unwrap("2.5.4.6"),
        form: Form::Country,
        max: 2,
    },
    Attribute {
        names: &["DC"],
        oid: ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"),
        form: Form::Ascii,
        max: 63,
    },
    Attribute {
        names: &["E", "EMAILADDRESS"],
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"),
        form: Form::Ascii,
        max: 255,
    },
];

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What stands between two attributes of a distinguished name.
const SEPARATORS: [char; 2] = [',', ';'];

/// The content of an RDNSequence for `subject`: a distinguished name if it begins like one, else one CN.
pub(super) fn encode(subject: &str) -> Result<Vec<u8, NAME_LEN_MAX>, CertError> {
    let mut out = Vec::new();
    if !begins_like_a_name(subject) {
        let common_name = find("CN").ok_or(CertError::SubjectAttribute)?;
        push(&mut out, common_name, subject.trim())?;
        return Ok(out);
    }
    let mut rest = subject;
    loop {
        let (key, after) = rest.split_once('=').ok_or(CertError::SubjectSyntax)?;
        let attribute = find(key.trim()).ok_or(CertError::SubjectAttribute)?;
        let (value, next) = read_value(after)?;
        let value = core::str::from_utf8(&value).map_err(|_| CertError::SubjectCharacter)?;
        push(&mut out, attribute, value)?;
        match next {
            Some(next) => rest = next,
            None => return Ok(out),
        }
    }
}

/// Whether text is read as a distinguished name: what stands before its first `=` is an attribute.
fn begins_like_a_name(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(key, _)| find(key.trim()).is_some())
}

fn find(key: &str) -> Option<&'static Attribute> {
    ATTRIBUTES
        .iter()
        .find(|attribute| attribute.names.iter().any(|name| name.eq_ignore_ascii_case(key)))
}

/// Reads one value as RFC 4514 §3 writes it, or in the double quotes of RFC 2253; returns what follows its separator.
fn read_value(text: &str) -> Result<(Vec<u8, VALUE_LEN_MAX>, Option<&str>), CertError> {
    let text = text.trim_start_matches(' ');
    let (quoted, text) = match text.strip_prefix('"') {
        Some(text) => (true, text),
        // A value as hexadecimal BER: more than a subject needs.
        None if text.starts_with('#') => return Err(CertError::SubjectSyntax),
        None => (false, text),
    };
    let mut value = Vec::new();
    // What trailing blanks are cut back to, unless they were escaped.
    let mut significant = 0;
    let mut chars = text.chars();
    let mut closed = false;
    let next = loop {
        let before = chars.as_str();
        let Some(char) = chars.next() else { break None };
        match char {
            '"' if quoted => {
                closed = true;
                let after = chars.as_str().trim_start_matches(' ');
                break match after.strip_prefix(SEPARATORS) {
                    None if !after.is_empty() => return Err(CertError::SubjectSyntax),
                    next => next,
                };
            }
            _ if SEPARATORS.contains(&char) && !quoted => break Some(chars.as_str()),
            // Several attributes in one RDN: more than a subject needs.
            '+' | '"' if !quoted => return Err(CertError::SubjectSyntax),
            '\\' => {
                let escaped = chars.next().ok_or(CertError::SubjectSyntax)?;
                if let Some(high) = escaped.to_digit(16) {
                    let low = chars.next().and_then(|char| char.to_digit(16));
                    let byte = low
                        .and_then(|low| high.checked_mul(16)?.checked_add(low))
                        .and_then(|byte| u8::try_from(byte).ok())
                        .ok_or(CertError::SubjectSyntax)?;
                    value.push(byte).map_err(|_| CertError::SubjectTooLong)?;
                } else if " \"#+,;<=>\\".contains(escaped) {
                    push_char(&mut value, escaped)?;
                } else {
                    return Err(CertError::SubjectSyntax);
                }
                significant = value.len();
            }
            _ => {
                push_char(&mut value, char)?;
                if char != ' ' || quoted {
                    significant = value.len();
                }
            }
        }
        debug_assert!(
            before.len() > chars.as_str().len(),
            "every turn takes a character"
        );
    };
    if quoted && !closed {
        return Err(CertError::SubjectSyntax);
    }
    value.truncate(significant);
    Ok((value, next))
}

fn push_char(value: &mut Vec<u8, VALUE_LEN_MAX>, char: char) -> Result<(), CertError> {
    let mut buf = [0; 4];
    value
        .extend_from_slice(char.encode_utf8(&mut buf).as_bytes())
        .map_err(|_| CertError::SubjectTooLong)
}

/// Appends one RDN of one attribute.
fn push(out: &mut Vec<u8, NAME_LEN_MAX>, attribute: &Attribute, value: &str) -> Result<(), CertError> {
    if value.is_empty() {
        return Err(CertError::SubjectEmpty);
    }
    if value.chars().count() > attribute.max {
        return Err(CertError::SubjectTooLong);
    }
    if value.chars().any(must_be_escaped) {
        return Err(CertError::SubjectCharacter);
    }
    let mut buf = [0; RDN_LEN_MAX];
    let mut rdn = Backwards::new(&mut buf);
    let end = rdn.end();
    let form = match attribute.form {
        Form::Utf8 => tag::UTF8_STRING,
        Form::Country if value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            tag::PRINTABLE_STRING
        }
        Form::Ascii if value.is_ascii() => tag::IA5_STRING,
        Form::Country | Form::Ascii => return Err(CertError::SubjectCharacter),
    };
    rdn.element(form, value.as_bytes())?;
    rdn.element(tag::OBJECT_IDENTIFIER, attribute.oid.as_bytes())?;
    rdn.close(tag::SEQUENCE, end)?;
    rdn.close(tag::SET, end)?;
    out.extend_from_slice(rdn.written())
        .map_err(|_| CertError::SubjectTooLong)
}

/// The name of an issuer or a subject, in its DER. [`fmt::Display`] shows it as text: just the common name when there
/// is nothing else and it cannot be taken for more, else `CN=…, O=…` in the order in which it is written, escaped as
/// RFC 4514 §2.4 has it. What could harm a terminal or a log is shown as `\XX`. A subject shown this way and given to
/// [`super::issue()`] makes the same name again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The content of the RDNSequence, whose structure was checked.
    rdns: &'a [u8],
}

impl<'a> Name<'a> {
    /// Reads an RDNSequence (RFC 5280 §4.1.2.4).
    pub(super) fn read(fields: &mut Elements<'a>) -> Result<Self, CertError> {
        let name = Self {
            rdns: fields.content(tag::SEQUENCE)?,
        };
        name.each(|_, _, _| ControlFlow::Continue)?;
        Ok(name)
    }

    /// The content of the RDNSequence.
    pub(super) const fn as_der(&self) -> &'a [u8] {
        self.rdns
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// Visits every attribute, with whether it continues an RDN.
    fn each(
        &self,
        mut visit: impl FnMut(bool, &'a [u8], Element<'a>) -> ControlFlow,
    ) -> Result<(), CertError> {
        let mut rdns = Elements::new(self.rdns);
        while !rdns.is_finished() {
            let mut set = rdns.inside(tag::SET)?;
            let mut previous: &[u8] = &[];
            loop {
                let attribute = set.element()?;
                let element = attribute.whole;
                // DER: the elements of a SET OF stand in ascending order (X.690 §11.6).
                if element < previous {
                    return Err(CertError::Malformed);
                }
                let mut fields = Elements::new(element).inside(tag::SEQUENCE)?;
                let oid = fields.object_identifier()?;
                let value = fields.element()?;
                fields.finish()?;
                if let ControlFlow::Stop = visit(!previous.is_empty(), oid, value) {
                    return Ok(());
                }
                previous = element;
                if set.is_finished() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The value, when a common name is all there is, and no reader could take it for a distinguished name.
    fn lone_common_name(&self) -> Option<&'a str> {
        let mut count = 0_u8;
        let mut found = None;
        self.each(|_, oid, value| {
            count = count.saturating_add(1);
            found = (oid == COMMON_NAME.as_bytes()).then_some(value);
            if count > 1 {
                ControlFlow::Stop
            } else {
                ControlFlow::Continue
            }
        })
        .ok()?;
        let value = found.filter(|value| count == 1 && is_utf8(value.tag))?;
        let text = core::str::from_utf8(value.content).ok()?;
        let plain = text.trim() == text && !begins_like_a_name(text) && !text.chars().any(must_be_escaped);
        plain.then_some(text)
    }
}

/// The kinds of string whose bytes are UTF-8, most of them ASCII.
const fn is_utf8(tag: u8) -> bool {
    matches!(
        tag,
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING | tag::VISIBLE_STRING
    )
}

enum ControlFlow {
    Continue,
    Stop,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.lone_common_name() {
            return f.write_str(text);
        }
        let mut first = true;
        let mut result = Ok(());
        let _structure_was_checked = self.each(|continues, oid, value| {
            let separator = match (first, continues) {
                (true, _) => "",
                (false, true) => " + ",
                (false, false) => ", ",
            };
            first = false;
            result = f
                .write_str(separator)
                .and_then(|()| write_key(f, oid))
                .and_then(|()| f.write_char('='))
                .and_then(|()| write_value(f, value));
            if result.is_ok() {
                ControlFlow::Continue
            } else {
                ControlFlow::Stop
            }
        });
        result
    }
}

/// Control characters, those that change the direction of what follows, and those that nobody sees.
fn must_be_escaped(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Shows an attribute by its short name, else by its numbers; those that are too large for that as `#` and their bytes.
fn write_key(f: &mut fmt::Formatter<'_>, oid: &[u8]) -> fmt::Result {
    let known = ATTRIBUTES.iter().find(|known| known.oid.as_bytes() == oid);
    if let Some([name, ..]) = known.map(|known| known.names) {
        return f.write_str(name);
    }
    match ObjectIdentifier::from_bytes(oid) {
        Ok(oid) => write!(f, "{oid}"),
        Err(_) => {
            f.write_char('#')?;
            oid.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
}

/// Shows a string of any of the kinds that names are made of, and anything else as `#` and its content in hexadecimal.
fn write_value(f: &mut fmt::Formatter<'_>, value: Element<'_>) -> fmt::Result {
    let bytes = value.content;
    match value.tag {
        tag if is_utf8(tag) => {
            if let Ok(text) = core::str::from_utf8(bytes) {
                return write_escaped(f, text.chars());
            }
        }
        // Latin-1, as everybody reads it.
        tag::TELETEX_STRING => return write_escaped(f, bytes.iter().map(|&byte| char::from(byte))),
        tag::BMP_STRING if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            let chars = char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER));
            return write_escaped(f, chars);
        }
        _ => {}
    }
    f.write_char('#')?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Escapes what has a meaning in a distinguished name: some characters anywhere, some at an end (RFC 4514 §2.4).
fn write_escaped(f: &mut fmt::Formatter<'_>, chars: impl Iterator<Item = char>) -> fmt::Result {
    let mut chars = chars.peekable();
    let mut first = true;
    while let Some(char) = chars.next() {
        let last = chars.peek().is_none();
        let special = match char {
            ',' | ';' | '+' | '"' | '\\' | '<' | '>' => true,
            ' ' => first || last,
            '#' => first,
            _ => false,
        };
        first = false;
        write_char(f, char, special)?;
    }
    Ok(())
}

fn write_char(f: &mut fmt::Formatter<'_>, char: char, special: bool) -> fmt::Result {
    if must_be_escaped(char) {
        let mut buf = [0; 4];
        return char
            .encode_utf8(&mut buf)
            .bytes()
            .try_for_each(|byte| write!(f, "\\{byte:02X}"));
    }
    if special {
        f.write_char('\\')?;
    }
    f.write_char(char)
}

//! What crosses a connection, read back. Only where the channel protects nothing.

use dbmirror_core::message::codec::Message;
use dbmirror_core::wire::Reader;

/// Bytes of a record's header and of its tag.
const HEADER: usize = 5;
const TAG: usize = 16;
/// The content type of messages.
const APPLICATION_DATA: u8 = 23;

/// Calls `each` with every message in the records of one transmit.
pub fn messages(mut bytes: &[u8], mut each: impl FnMut(Message<'_>)) {
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(body) = rest.get(..len) else { return };
        bytes = bytes.get(HEADER + len..).unwrap_or_default();
        if *kind != APPLICATION_DATA {
            continue;
        }
        let Some(inner) = len.checked_sub(TAG).and_then(|len| body.get(..len)) else {
            continue;
        };
        // Zeros after the content type are padding.
        let Some(last) = inner.iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        if inner[last] != APPLICATION_DATA {
            continue;
        }
        let mut from = Reader::new(&inner[..last]);
        while !from.is_empty() {
            match Message::decode(&mut from) {
                Ok(Some(message)) => each(message),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
}

/// A message in one line.
#[must_use]
pub fn line(message: &Message<'_>) -> String {
    // The data of pieces and lists of timelines are long and say nothing to a reader.
    let text = format!("{message:?}");
    let (mut out, mut hidden) = (String::new(), 0_u32);
    for c in text.chars() {
        match c {
            '[' => hidden += 1,
            ']' => {
                hidden = hidden.saturating_sub(1);
                if hidden == 0 {
                    out.push_str("[..]");
                }
            }
            _ if hidden > 0 => {}
            _ => out.push(c),
        }
    }
    let timelines = match message {
        Message::SessionHello(hello) => Some(hello.timelines),
        Message::SeedBegin(begin) => Some(begin.timelines),
        Message::Start(start) => Some(start.timelines),
        _ => None,
    };
    for timeline in timelines.iter().flat_map(|timelines| timelines.as_slice()) {
        out.push_str(&format!(
            " {}.{}@{}",
            timeline.number,
            timeline.fork.0 & 0xfff,
            timeline.first
        ));
    }
    out
}

//! LIKE: `%` any text, `_` any character, `[a-z]` one of a set, `[^a-z]` one outside it. Case does not matter.

use rusqlite::Result;

use super::refuse;

/// Most steps that a match may take: a pattern with many `%` is quadratic and worse.
const STEPS_MAX: u32 = 2_000_000;

enum Item {
    /// `%`
    Any,
    /// `_`
    One,
    Character(char),
    Set {
        outside: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether `text` looks like `pattern`.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>) -> Result<bool> {
    let items = compile(pattern, escape);
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut at, mut item) = (0, 0);
    // Where to go on when what stands behind the last % does not match.
    let mut retry: Option<(usize, usize)> = None;
    let mut steps = 0_u32;
    loop {
        steps += 1;
        if steps > STEPS_MAX {
            return Err(refuse(
                50002,
                "This LIKE takes too long. Use fewer % in the pattern.",
            ));
        }
        let matched = match (items.get(item), text.get(at)) {
            (None, None) => return Ok(true),
            (Some(Item::Any), _) => {
                item += 1;
                retry = Some((at, item));
                continue;
            }
            (Some(wanted), Some(&character)) => accepts(wanted, character),
            _ => false,
        };
        if matched {
            at += 1;
            item += 1;
        } else {
            match retry {
                Some((from, behind)) if from < text.len() => {
                    retry = Some((from + 1, behind));
                    at = from + 1;
                    item = behind;
                }
                _ => return Ok(false),
            }
        }
    }
}

fn fold(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

fn accepts(item: &Item, character: char) -> bool {
    match item {
        Item::Any | Item::One => true,
        Item::Character(wanted) => *wanted == character,
        Item::Set { outside, ranges } => {
            ranges
                .iter()
                .any(|&(low, high)| (low..=high).contains(&character))
                != *outside
        }
    }
}

fn compile(pattern: &str, escape: Option<char>) -> Vec<Item> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += 1;
        let item = match character {
            c if Some(c) == escape && at < characters.len() => {
                let literal = characters.get(at).copied().unwrap_or(c);
                at += 1;
                Item::Character(fold(literal))
            }
            '%' => Item::Any,
            '_' => Item::One,
            '[' => match set(characters.get(at..).unwrap_or(&[])) {
                Some((item, length)) => {
                    at += length;
                    item
                }
                None => Item::Character('['),
            },
            c => Item::Character(fold(c)),
        };
        items.push(item);
    }
    items
}

/// The set behind `[`, and how many characters it has with its `]`.
fn set(characters: &[char]) -> Option<(Item, usize)> {
    let outside = characters.first() == Some(&'^');
    let start = usize::from(outside);
    let length = characters.iter().skip(start).position(|&c| c == ']')?;
    let inside: Vec<char> = characters
        .iter()
        .skip(start)
        .take(length)
        .map(|&c| fold(c))
        .collect();
    let mut ranges = Vec::new();
    let mut rest = inside.as_slice();
    loop {
        rest = match rest {
            [low, '-', high, rest @ ..] => {
                ranges.push((*low, *high));
                rest
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                rest
            }
            [] => break,
        };
    }
    Some((Item::Set { outside, ranges }, start + length + 1))
}

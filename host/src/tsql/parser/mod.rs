//! Recursive descent from tokens to the syntax tree. One file for each family of statements; this one holds what
//! they share.

mod backup;
mod certificate;
mod database;
mod endpoint;
mod execute;
mod master_key;
mod principal;
mod statement;

#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use super::ast::{Batch, Binary, Name, Password, Text};
use super::error::SyntaxError;
use super::keywords::is_reserved;
use super::lexer::{self, Kind, Symbol, Token};
use super::span::Span;

/// How deep parentheses and subqueries may nest.
const DEPTH_MAX: u32 = 32;

/// Parses a whole batch.
///
/// # Errors
/// The first thing in it that is not understood. Nothing of the batch is to be run then.
pub fn parse(text: &str) -> Result<Batch, SyntaxError> {
    if text.len() > super::BATCH_LENGTH_MAX {
        return Err(SyntaxError::batch_too_long(text.len()));
    }
    let (tokens, lexer_error) = lexer::tokens(text);
    Parser {
        text,
        tokens,
        position: 0,
        depth: 0,
        lexer_error,
    }
    .batch()
}

pub(super) type Parsed<T> = Result<T, SyntaxError>;

pub(super) struct Parser<'a> {
    text: &'a str,
    /// Never empty: the last one is of kind `End`.
    tokens: Vec<Token>,
    position: usize,
    depth: u32,
    lexer_error: Option<SyntaxError>,
}

impl Parser<'_> {
    /// The token `ahead` places further on.
    pub(super) fn peek_at(&self, ahead: usize) -> Token {
        let end = Token {
            kind: Kind::End,
            span: Span::default(),
        };
        self.tokens
            .get(self.position + ahead)
            .or(self.tokens.last())
            .copied()
            .unwrap_or(end)
    }

    pub(super) fn peek(&self) -> Token {
        self.peek_at(0)
    }

    /// Takes the next token; the last one stays.
    pub(super) fn advance(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.position += 1;
        }
        token
    }

    /// Where the token before the next one is.
    pub(super) fn last_span(&self) -> Span {
        self.position
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .map_or_else(Span::default, |t| t.span)
    }

    pub(super) fn line(&self) -> u32 {
        self.peek().span.line
    }

    pub(super) fn source(&self, span: Span) -> &str {
        span.of(self.text)
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(SyntaxError::too_deep(self.line()));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    // -- words

    /// Whether the token `ahead` places on is this word, unquoted, in any case.
    pub(super) fn is_at(&self, ahead: usize, word: &str) -> bool {
        let token = self.peek_at(ahead);
        token.kind == Kind::Word && self.source(token.span).eq_ignore_ascii_case(word)
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// Whether the next tokens are these words.
    pub(super) fn are(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.is_at(ahead, word))
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes these words if all of them are next.
    pub(super) fn accept_all(&mut self, words: &[&str]) -> bool {
        let found = self.are(words);
        if found {
            self.position += words.len();
        }
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.accept(word) {
            Ok(())
        } else {
            Err(self.unexpected(word))
        }
    }

    pub(super) fn expect_all(&mut self, words: &[&str]) -> Parsed<()> {
        words.iter().try_for_each(|word| self.expect(word))
    }

    /// One word of a closed list.
    pub(super) fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Parsed<T> {
        for &(word, value) in choices {
            if self.accept(word) {
                return Ok(value);
            }
        }
        let words: Vec<&str> = choices.iter().map(|&(word, _)| word).collect();
        Err(self.unexpected(&words.join(" or ")))
    }

    pub(super) fn on_off(&mut self) -> Parsed<bool> {
        self.choice(&[("ON", true), ("OFF", false)])
    }

    // -- punctuation

    pub(super) fn is_symbol(&self, symbol: Symbol) -> bool {
        self.peek().kind == Kind::Symbol(symbol)
    }

    pub(super) fn accept_symbol(&mut self, symbol: Symbol) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect_symbol(&mut self, symbol: Symbol, shown: &str) -> Parsed<()> {
        if self.accept_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(shown))
        }
    }

    pub(super) fn equal(&mut self) -> Parsed<()> {
        self.expect_symbol(Symbol::Equal, "=")
    }

    pub(super) fn open(&mut self) -> Parsed<()> {
        self.expect_symbol(Symbol::Open, "(")
    }

    pub(super) fn close(&mut self) -> Parsed<()> {
        self.expect_symbol(Symbol::Close, ")")
    }

    /// `item { "," item }`
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept_symbol(Symbol::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    // -- names and constants

    /// Whether the token `ahead` places on can be a name.
    pub(super) fn is_name_at(&self, ahead: usize) -> bool {
        let token = self.peek_at(ahead);
        match token.kind {
            Kind::QuotedName => true,
            Kind::Word => !is_reserved(self.source(token.span)),
            _ => false,
        }
    }

    pub(super) fn name(&mut self, what: &str) -> Parsed<Name> {
        if !self.is_name_at(0) {
            return Err(self.unexpected(what));
        }
        let Token { kind, span } = self.advance();
        let source = self.source(span);
        let value = if kind == Kind::QuotedName {
            lexer::unquote(source)
        } else {
            source.to_owned()
        };
        Ok(Name { value, span })
    }

    pub(super) fn string(&mut self, what: &str) -> Parsed<Text> {
        if self.peek().kind != Kind::String {
            return Err(self.unexpected(what));
        }
        let span = self.advance().span;
        Ok(Text {
            value: lexer::unquote(self.source(span)),
            span,
        })
    }

    pub(super) fn password(&mut self) -> Parsed<Password> {
        if self.peek().kind != Kind::String {
            return Err(self.unexpected("a password between quotes"));
        }
        let span = self.advance().span;
        Ok(Password::new(
            Zeroizing::new(lexer::unquote(self.source(span))),
            span,
        ))
    }

    /// `PASSWORD = '…'`
    pub(super) fn password_clause(&mut self) -> Parsed<Password> {
        self.expect("PASSWORD")?;
        self.equal()?;
        self.password()
    }

    /// A whole number without a sign, saturated.
    pub(super) fn integer(&mut self, what: &str) -> Parsed<u64> {
        if self.peek().kind != Kind::Integer {
            return Err(self.unexpected(what));
        }
        let span = self.advance().span;
        Ok(self.source(span).parse().unwrap_or(u64::MAX))
    }

    pub(super) fn integer_u32(&mut self, what: &str) -> Parsed<u32> {
        Ok(u32::try_from(self.integer(what)?).unwrap_or(u32::MAX))
    }

    pub(super) fn binary(&mut self) -> Parsed<Binary> {
        if self.peek().kind != Kind::Binary {
            return Err(self.unexpected("a binary constant 0x…"));
        }
        let span = self.advance().span;
        Ok(Binary {
            value: decode_binary(self.source(span)),
            span,
        })
    }

    // -- errors

    /// What is next does not belong here; `expected` tells what would.
    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        let token = self.peek();
        if token.kind == Kind::End {
            if let Some(error) = &self.lexer_error {
                return error.clone();
            }
            // At the end of a batch the last thing written is what the error is near to.
            let last = self.last_span();
            let what = match self.position.checked_sub(1).and_then(|i| self.tokens.get(i)) {
                Some(token) => self.shown(*token),
                None => "the beginning".to_owned(),
            };
            return SyntaxError::near(
                last.line.max(1),
                &format!("{what}, where the batch ends"),
                expected,
            );
        }
        let source = self.source(token.span);
        if token.kind == Kind::Word && is_reserved(source) {
            return SyntaxError::near_keyword(token.span.line, source, expected);
        }
        SyntaxError::near(token.span.line, &self.shown(token), expected)
    }

    /// A token as an error names it. A string may be a password, so it is not repeated.
    fn shown(&self, token: Token) -> String {
        if token.kind == Kind::String {
            return "a string constant".to_owned();
        }
        let mut shown: String = self
            .source(token.span)
            .chars()
            .take(64)
            .flat_map(char::escape_debug)
            .collect();
        if self.source(token.span).chars().nth(64).is_some() {
            shown.push('…');
        }
        format!("'{shown}'")
    }

    /// Stores what an option says, and refuses it the second time.
    pub(super) fn once<T>(&self, slot: &mut Option<T>, value: T, name: &str, line: u32) -> Parsed<()> {
        if slot.is_some() {
            return Err(SyntaxError::duplicate_parameter(line, name));
        }
        *slot = Some(value);
        Ok(())
    }
}

/// The bytes of `0x…`; an odd number of digits has a zero in front.
pub(super) fn decode_binary(source: &str) -> Vec<u8> {
    let digits = source.get(2..).unwrap_or("").as_bytes();
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(0)
    };
    let (first, pairs) = digits.split_at(digits.len() % 2);
    let mut bytes: Vec<u8> = first.iter().map(|&digit| nibble(digit)).collect();
    bytes.extend(
        pairs
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, &digit| byte << 4 | nibble(digit))),
    );
    bytes
}

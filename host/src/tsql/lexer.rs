//! From characters to tokens. Every token knows where it is; comments and blanks vanish.
//!
//! Lexing stops at the first thing that is no token. What stands before it is still parsed, so that the error
//! that is reported is the first one of the batch.

use super::error::SyntaxError;
use super::span::Span;

/// Longest identifier, in UTF-16 units, as `sysname` counts.
pub const IDENTIFIER_LENGTH_MAX: usize = 128;

/// Deepest nesting of block comments.
const COMMENT_DEPTH_MAX: u32 = 1_000;

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a regular identifier.
    Word,
    /// `[…]` or `"…"`.
    QuotedName,
    /// `'…'` or `N'…'`.
    String,
    /// Digits only.
    Integer,
    /// Digits with a point or an exponent.
    Decimal,
    /// `0x…`.
    Binary,
    /// `@name` or `@@name`.
    Variable,
    /// Punctuation.
    Symbol(Symbol),
    /// The end of the batch, or of what could be lexed.
    End,
}

/// Punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Open,
    Close,
    Comma,
    Semicolon,
    Point,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Ampersand,
    Bar,
    Caret,
    Tilde,
    Scope,
}

/// The tokens of `text`, ending in one of kind `End`, and what stopped the lexer, if anything did.
pub(super) fn tokens(text: &str) -> (Vec<Token>, Option<SyntaxError>) {
    let mut lexer = Lexer {
        text,
        offset: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    let error = loop {
        match lexer.token() {
            Ok(Some(token)) => tokens.push(token),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let end = lexer.span_from(lexer.offset, lexer.line);
    tokens.push(Token {
        kind: Kind::End,
        span: end,
    });
    (tokens, error)
}

struct Lexer<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn advance_while(&mut self, accept: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&accept) {
            self.advance();
        }
    }

    fn span_from(&self, start: usize, line: u32) -> Span {
        // A batch is at most 1 MiB, which the parser checks before anything else.
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span {
            start: narrow(start),
            end: narrow(self.offset),
            line,
        }
    }

    fn token(&mut self) -> Result<Option<Token>, SyntaxError> {
        self.skip_blank()?;
        let (start, line) = (self.offset, self.line);
        let Some(first) = self.peek() else { return Ok(None) };
        let second = self.rest().chars().nth(1);
        let kind = match first {
            '\'' => self.quoted('\'', Kind::String)?,
            'N' | 'n' if second == Some('\'') => {
                self.advance();
                self.quoted('\'', Kind::String)?
            }
            '[' => self.name_in(']')?,
            '"' => self.name_in('"')?,
            '@' => self.variable()?,
            '0' if matches!(second, Some('x' | 'X')) => {
                self.advance();
                self.advance();
                self.advance_while(|c| c.is_ascii_hexdigit());
                Kind::Binary
            }
            c if c.is_ascii_digit() => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            c if is_identifier_start(c) => {
                self.advance_while(is_identifier_part);
                self.check_length(start, line)?;
                Kind::Word
            }
            c => Kind::Symbol(self.symbol(c, second)?),
        };
        Ok(Some(Token {
            kind,
            span: self.span_from(start, line),
        }))
    }

    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            if rest.starts_with("--") {
                self.advance_while(|c| c != '\n');
            } else if rest.starts_with("/*") {
                self.skip_comment()?;
            } else if rest.starts_with(is_blank) {
                self.advance_while(is_blank);
            } else {
                return Ok(());
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), SyntaxError> {
        let line = self.line;
        let mut depth = 0_u32;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                if depth > COMMENT_DEPTH_MAX {
                    return Err(SyntaxError::too_deep(self.line));
                }
                self.offset += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.offset += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if self.advance().is_none() {
                return Err(SyntaxError::unclosed_comment(line));
            }
        }
    }

    /// A string or quoted name; a doubled closing quote stands for itself.
    fn quoted(&mut self, close: char, kind: Kind) -> Result<Kind, SyntaxError> {
        let line = self.line;
        let open = self.advance().unwrap_or(close);
        loop {
            match self.advance() {
                None => return Err(SyntaxError::unclosed_quote(line, open)),
                Some(c) if c == close => {
                    if self.peek() == Some(close) {
                        self.advance();
                    } else {
                        return Ok(kind);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn name_in(&mut self, close: char) -> Result<Kind, SyntaxError> {
        let (start, line) = (self.offset, self.line);
        let kind = self.quoted(close, Kind::QuotedName)?;
        let name = unquote(self.text.get(start..self.offset).unwrap_or(""));
        if name.is_empty() {
            return Err(SyntaxError::empty_name(line));
        }
        check_name_length(&name, line)?;
        Ok(kind)
    }

    fn variable(&mut self) -> Result<Kind, SyntaxError> {
        let (start, line) = (self.offset, self.line);
        self.advance_while(is_identifier_part);
        self.check_length(start, line)?;
        Ok(Kind::Variable)
    }

    fn number(&mut self) -> Kind {
        let mut kind = Kind::Integer;
        self.advance_while(|c| c.is_ascii_digit());
        if self.peek() == Some('.') {
            kind = Kind::Decimal;
            self.advance();
            self.advance_while(|c| c.is_ascii_digit());
        }
        let mut ahead = self.rest().chars();
        if matches!(ahead.next(), Some('e' | 'E')) {
            let sign = ahead.next();
            let digit = if matches!(sign, Some('+' | '-')) {
                ahead.next()
            } else {
                sign
            };
            if digit.is_some_and(|c| c.is_ascii_digit()) {
                kind = Kind::Decimal;
                self.advance();
                self.advance();
                self.advance_while(|c| c.is_ascii_digit());
            }
        }
        kind
    }

    fn symbol(&mut self, first: char, second: Option<char>) -> Result<Symbol, SyntaxError> {
        let line = self.line;
        let (symbol, length) = match (first, second) {
            ('<', Some('=')) | ('!', Some('>')) => (Symbol::LessEqual, 2),
            ('<', Some('>')) | ('!', Some('=')) => (Symbol::NotEqual, 2),
            ('>', Some('=')) | ('!', Some('<')) => (Symbol::GreaterEqual, 2),
            (':', Some(':')) => (Symbol::Scope, 2),
            ('<', _) => (Symbol::Less, 1),
            ('>', _) => (Symbol::Greater, 1),
            ('(', _) => (Symbol::Open, 1),
            (')', _) => (Symbol::Close, 1),
            (',', _) => (Symbol::Comma, 1),
            (';', _) => (Symbol::Semicolon, 1),
            ('.', _) => (Symbol::Point, 1),
            ('=', _) => (Symbol::Equal, 1),
            ('+', _) => (Symbol::Plus, 1),
            ('-', _) => (Symbol::Minus, 1),
            ('*', _) => (Symbol::Star, 1),
            ('/', _) => (Symbol::Slash, 1),
            ('%', _) => (Symbol::Percent, 1),
            ('&', _) => (Symbol::Ampersand, 1),
            ('|', _) => (Symbol::Bar, 1),
            ('^', _) => (Symbol::Caret, 1),
            ('~', _) => (Symbol::Tilde, 1),
            (other, _) => {
                // Control characters have no place on an operator's terminal.
                return Err(SyntaxError::near(
                    line,
                    &format!("'{}'", other.escape_debug()),
                    "",
                ));
            }
        };
        for _ in 0..length {
            self.advance();
        }
        Ok(symbol)
    }

    fn check_length(&self, start: usize, line: u32) -> Result<(), SyntaxError> {
        check_name_length(self.text.get(start..self.offset).unwrap_or(""), line)
    }
}

fn check_name_length(name: &str, line: u32) -> Result<(), SyntaxError> {
    if name.len() > IDENTIFIER_LENGTH_MAX && name.encode_utf16().count() > IDENTIFIER_LENGTH_MAX {
        let beginning: String = name.chars().take(32).flat_map(char::escape_debug).collect();
        return Err(SyntaxError::identifier_too_long(line, &beginning));
    }
    Ok(())
}

/// What stands between the quotes of a string, quoted name or `N''` string, with doubled quotes made single.
pub(super) fn unquote(quoted: &str) -> String {
    let quoted = quoted.strip_prefix(['N', 'n']).unwrap_or(quoted);
    let mut characters = quoted.chars();
    let Some(close) = characters.next_back() else {
        return String::new();
    };
    characters.next();
    // One allocation of the right size: growing would leave copies of a password behind.
    let mut plain = String::with_capacity(quoted.len());
    while let Some(c) = characters.next() {
        plain.push(c);
        if c == close {
            characters.next();
        }
    }
    plain
}

pub(super) fn is_blank(c: char) -> bool {
    // A byte order mark counts as blank: scripts from Windows begin with one.
    c.is_whitespace() || c == '\u{feff}'
}

pub(super) fn is_identifier_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '#')
}

pub(super) fn is_identifier_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '@' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let (tokens, error) = tokens(text);
        assert_eq!(error, None, "{text}");
        tokens.iter().map(|token| token.kind).collect()
    }

    fn refused(text: &str) -> (u32, u32) {
        let error = tokens(text).1.unwrap();
        (error.number, error.line)
    }

    #[test]
    fn tokens_of_every_kind() {
        use Kind::{Binary, Decimal, End, Integer, QuotedName, String, Symbol as S, Variable, Word};
        assert_eq!(
            kinds("a [b] \"c\" 'd' N'e' 1 1.5 .5 1e3 0xAF @f @@G -- x\n/* /* */ */ ::"),
            [
                Word,
                QuotedName,
                QuotedName,
                String,
                String,
                Integer,
                Decimal,
                Decimal,
                Decimal,
                Binary,
                Variable,
                Variable,
                S(Symbol::Scope),
                End
            ]
        );
        assert_eq!(kinds("1e"), [Integer, Word, End]);
        assert_eq!(
            kinds("LISTENER_PORT=7024"),
            [Word, S(Symbol::Equal), Integer, End]
        );
        assert_eq!(kinds("a!=b<>c!<d"), {
            let n = S(Symbol::NotEqual);
            [Word, n, Word, n, Word, S(Symbol::GreaterEqual), Word, End]
        });
        assert_eq!(kinds("\u{feff}USE"), [Word, End]);
    }

    #[test]
    fn lines_and_spans() {
        let text = "a\r\n'b\nc' d";
        let (tokens, _) = tokens(text);
        let seen: Vec<_> = tokens
            .iter()
            .map(|token| (token.span.line, token.span.of(text)))
            .collect();
        assert_eq!(seen, [(1, "a"), (2, "'b\nc'"), (3, "d"), (3, "")]);
    }

    #[test]
    fn quotes_are_undoubled() {
        assert_eq!(unquote("'it''s'"), "it's");
        assert_eq!(unquote("N''''"), "'");
        assert_eq!(unquote("''"), "");
        assert_eq!(unquote("[a]]b[c]"), "a]b[c");
        assert_eq!(unquote("\"N\"\"x\""), "N\"x");
    }

    #[test]
    fn what_is_no_token() {
        assert_eq!(refused("a\n'b"), (105, 2));
        assert_eq!(refused("[b"), (105, 1));
        assert_eq!(refused("[b]]"), (105, 1));
        assert_eq!(refused("\n/* /* */"), (113, 2));
        assert_eq!(refused("a ? b"), (102, 1));
        assert_eq!(refused("[]"), (1038, 1));
        assert_eq!(refused(&"x".repeat(129)), (103, 1));
        assert_eq!(refused(&format!("[{}]", "é".repeat(129))), (103, 1));
        assert_eq!(refused(&"/*".repeat(2_000)), (191, 1));
        assert!(tokens(&"é".repeat(128)).1.is_none());
    }

    #[test]
    fn the_error_does_not_repeat_a_string() {
        let error = tokens("PASSWORD = 'secret").1.unwrap();
        assert!(!error.text.contains("secret"), "{error}");
    }
}

//! Splits a JavaScript module into tokens, with the precision that a bundler needs: the beginning
//! and end of comments, strings, templates and regular expressions, and the depth of a token in
//! brackets. The lexer does not parse.

/// A part of the source that is neither white space nor a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte offset in the source.
    pub start: usize,
    /// Line number; the first line is 1.
    pub line: usize,
    /// Number of open brackets before the token. It is 0 for a token that begins a statement of the
    /// module.
    pub depth: usize,
    /// Whether one of the open brackets is a brace. Only then the token may be in the body of a
    /// function.
    pub in_braces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword, including private names (`#x`).
    Word,
    Number,
    /// A string with its quotes.
    String,
    /// A template, or the part of a template between two `${…}`.
    Template,
    Regex,
    /// One character of an operator, or a bracket.
    Punctuator,
}

/// The reason why a source cannot be split, with the line.
#[derive(Debug, PartialEq, Eq)]
pub struct LexError {
    pub line: usize,
    pub message: String,
}

/// The construct that a closing bracket must close.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Bracket(u8),
    /// `${` in a template, which continues after the `}`.
    Substitution,
}

/// Keywords after which a `/` begins a regular expression, because an expression must follow.
const BEFORE_EXPRESSION: [&str; 14] = [
    "return",
    "typeof",
    "case",
    "do",
    "else",
    "in",
    "of",
    "instanceof",
    "new",
    "void",
    "delete",
    "throw",
    "await",
    "yield",
];

/// Splits `source` into tokens.
///
/// # Errors
/// A string, comment or bracket that does not end, with its line, or brackets that do not match.
pub fn tokens(source: &str) -> Result<Vec<Token<'_>>, LexError> {
    let mut lexer = Lexer { source, at: 0, line: 1, open: Vec::new(), tokens: Vec::new() };
    while lexer.skip_blank()? {
        lexer.token()?;
    }
    match lexer.open.is_empty() {
        true => Ok(lexer.tokens),
        false => Err(lexer.error("a bracket is not closed at the end of the file")),
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    open: Vec<Open>,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn error(&self, message: &str) -> LexError {
        LexError { line: self.line, message: message.to_owned() }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Advances by `bytes`, and counts the lines in them.
    fn advance(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }

    /// Skips white space and comments. Returns `false` at the end of the source.
    fn skip_blank(&mut self) -> Result<bool, LexError> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.advance(blank);
            let rest = self.rest();
            if rest.starts_with("//") {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                let end = rest.find("*/").ok_or_else(|| self.error("a comment does not end"))?;
                self.advance(end + 2);
            } else {
                return Ok(!rest.is_empty());
            }
        }
    }

    fn token(&mut self) -> Result<(), LexError> {
        let first = self.peek().expect("not at the end");
        let (kind, len) = match first {
            '"' | '\'' => (Kind::String, self.string_len(first)?),
            '`' => return self.template(1),
            '/' if self.regex_may_begin() => (Kind::Regex, self.regex_len()?),
            '0'..='9' => (Kind::Number, self.number_len()),
            '#' => (Kind::Word, 1 + word_len(&self.rest()[1..])),
            _ if is_word_start(first) => (Kind::Word, word_len(self.rest())),
            _ => return self.punctuator(first),
        };
        self.push(kind, len, self.open.len());
        Ok(())
    }

    fn push(&mut self, kind: Kind, len: usize, depth: usize) {
        let text = &self.rest()[..len];
        let in_braces = self.open[..depth].contains(&Open::Bracket(b'{'));
        self.tokens.push(Token { kind, text, start: self.at, line: self.line, depth, in_braces });
        self.advance(len);
    }

    fn punctuator(&mut self, first: char) -> Result<(), LexError> {
        let closes = match first {
            ')' => b'(',
            ']' => b'[',
            '}' => b'{',
            _ => {
                self.push(Kind::Punctuator, first.len_utf8(), self.open.len());
                if "([{".contains(first) {
                    self.open.push(Open::Bracket(first as u8));
                }
                return Ok(());
            }
        };
        match self.open.pop() {
            Some(Open::Substitution) if first == '}' => self.template(1),
            Some(Open::Bracket(open)) if open == closes => {
                self.push(Kind::Punctuator, 1, self.open.len());
                Ok(())
            }
            _ => Err(self.error("a closing bracket does not match the one that is open")),
        }
    }

    /// Reads the part of a template from here to the next `${` or to its end. The first `skipped`
    /// bytes are its beginning.
    fn template(&mut self, skipped: usize) -> Result<(), LexError> {
        let mut escaped = false;
        let mut previous = ' ';
        for (offset, character) in
            self.rest().char_indices().skip_while(|(offset, _)| *offset < skipped)
        {
            let is_end = !escaped && character == '`';
            let is_substitution = !escaped && previous == '$' && character == '{';
            if is_end || is_substitution {
                self.push(Kind::Template, offset + 1, self.open.len());
                if is_substitution {
                    self.open.push(Open::Substitution);
                }
                return Ok(());
            }
            previous = if escaped { ' ' } else { character };
            escaped = !escaped && character == '\\';
        }
        Err(self.error("a template does not end"))
    }

    fn string_len(&self, quote: char) -> Result<usize, LexError> {
        let mut escaped = false;
        for (offset, character) in self.rest().char_indices().skip(1) {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => break,
                _ if character == quote => return Ok(offset + 1),
                _ => {}
            }
        }
        Err(self.error("a string does not end in its line"))
    }

    /// Reads a `/`: after a value it is a division, otherwise it begins a regular expression. A
    /// closing bracket counts as a value. So a regular expression directly after `if (…)` or a
    /// block is read as a division; the pages contain no such code.
    fn regex_may_begin(&self) -> bool {
        match self.tokens.last() {
            None => true,
            Some(token) => match token.kind {
                Kind::Word => BEFORE_EXPRESSION.contains(&token.text),
                Kind::Punctuator => ![")", "]", "}"].contains(&token.text),
                // After `${`, an expression begins.
                Kind::Template => token.text.ends_with('{'),
                Kind::Number | Kind::String | Kind::Regex => false,
            },
        }
    }

    fn regex_len(&self) -> Result<usize, LexError> {
        let (mut escaped, mut in_class) = (false, false);
        for (offset, character) in self.rest().char_indices().skip(1) {
            match character {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => return Ok(offset + 1 + word_len(&self.rest()[offset + 1..])),
                _ => {}
            }
        }
        Err(self.error("a regular expression does not end in its line"))
    }

    fn number_len(&self) -> usize {
        let rest = self.rest().as_bytes();
        let mut len = 0;
        while let Some(byte) = rest.get(len) {
            let is_exponent_sign = matches!(byte, b'+' | b'-')
                && matches!(rest[len - 1], b'e' | b'E')
                && !rest.starts_with(b"0x");
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_exponent_sign) {
                break;
            }
            len += 1;
        }
        len
    }
}

fn is_word_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '_' | '$' | '\\')
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| {
        !(is_word_start(c) || c.is_numeric() || matches!(c, '\u{200c}' | '\u{200d}'))
    })
    .unwrap_or(text.len())
}

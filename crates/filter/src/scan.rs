//! Cuts an expression into words and signs.

use std::borrow::Cow;
use std::ops::Range;

/// What stands at some place of an expression.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Compare(Compare),
    Word(&'a str),
    End,
}

/// How a value is compared.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
}

/// A value to compare with, without its quotes and backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operand<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) place: Range<usize>,
}

/// A quote that is never closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenQuote {
    pub(crate) at: usize,
}

pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What comes next, and where; it stays next.
    pub(crate) fn peek(&self) -> (Token<'a>, Range<usize>) {
        let mut start = self.next_start();
        // People who quote for the shell twice write `\(`, and `ss` takes it.
        if self.rest(start).strip_prefix('\\').is_some_and(|rest| rest.starts_with(SIGN_CHARACTERS))
        {
            start += 1;
        }
        let rest = self.rest(start);
        if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            return (*token, start..start + sign.len());
        }
        let word = word_of(rest);
        let token = if word.is_empty() { Token::End } else { token_of(word) };
        (token, start..start + word.len())
    }

    /// What comes next, and where; then comes what is behind it.
    pub(crate) fn next(&mut self) -> (Token<'a>, Range<usize>) {
        let (token, place) = self.peek();
        self.at = place.end;
        (token, place)
    }

    /// The value that comes next, or `None` where there is none. More signs may be inside a value than inside a word.
    pub(crate) fn operand(&mut self) -> Result<Option<Operand<'a>>, OpenQuote> {
        let start = self.next_start();
        let rest = self.rest(start);
        let mut characters = rest.char_indices().peekable();
        let quote = characters.next_if(|(_, c)| matches!(c, '"' | '\'')).map(|(_, quote)| quote);
        let begin = usize::from(quote.is_some());
        let mut escaped = None;
        let mut end = rest.len();
        while let Some((at, c)) = characters.next() {
            let is_end = match quote {
                Some(quote) => c == quote,
                None => c.is_whitespace() || "()&|".contains(c),
            };
            if is_end {
                end = at;
                break;
            }
            if c == '\\' && quote.is_none() {
                let so_far = || rest.get(begin..at).unwrap_or_default().to_owned();
                escaped.get_or_insert_with(so_far).extend(characters.next().map(|(_, c)| c));
            } else if let Some(text) = &mut escaped {
                text.push(c);
            }
        }
        if quote.is_some() {
            if end == rest.len() {
                return Err(OpenQuote { at: start });
            }
        } else if end == 0
            || rest.starts_with(SIGN_CHARACTERS)
            || !matches!(token_of(word_of(rest)), Token::Word(_))
        {
            // Nothing, a sign, or a word that the language has for itself.
            return Ok(None);
        }
        let place = start..start + end + begin;
        self.at = place.end;
        let text = match escaped {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(rest.get(begin..end).unwrap_or_default()),
        };
        Ok(Some(Operand { text, place }))
    }

    fn next_start(&self) -> usize {
        let rest = self.rest(self.at);
        self.at + rest.len() - rest.trim_start().len()
    }

    fn rest(&self, at: usize) -> &'a str {
        self.text.get(at..).unwrap_or_default()
    }
}

/// The word that a text begins with, at least one character of it.
fn word_of(text: &str) -> &str {
    let ends = |c: char| c.is_whitespace() || c == '\\' || SIGN_CHARACTERS.contains(&c);
    let end = text.char_indices().skip(1).find(|(_, c)| ends(*c)).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

/// The meaning of a word by itself.
fn token_of(word: &str) -> Token<'_> {
    match word {
        "and" => Token::And,
        "or" => Token::Or,
        "not" => Token::Not,
        "eq" => Token::Compare(Compare::Eq),
        "ne" | "neq" => Token::Compare(Compare::Ne),
        "gt" => Token::Compare(Compare::Gt),
        "lt" => Token::Compare(Compare::Lt),
        "ge" | "geq" => Token::Compare(Compare::Ge),
        "le" | "leq" => Token::Compare(Compare::Le),
        word => Token::Word(word),
    }
}

/// Longer ones first.
const SIGNS: [(&str, Token<'static>); 14] = [
    ("&&", Token::And),
    ("||", Token::Or),
    ("==", Token::Compare(Compare::Eq)),
    ("!=", Token::Compare(Compare::Ne)),
    (">=", Token::Compare(Compare::Ge)),
    ("<=", Token::Compare(Compare::Le)),
    ("&", Token::And),
    ("|", Token::Or),
    ("=", Token::Compare(Compare::Eq)),
    ("!", Token::Not),
    (">", Token::Compare(Compare::Gt)),
    ("<", Token::Compare(Compare::Lt)),
    ("(", Token::Open),
    (")", Token::Close),
];

const SIGN_CHARACTERS: [char; 8] = ['&', '|', '=', '!', '>', '<', '(', ')'];

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token<'_>, Range<usize>)> {
        let mut scanner = Scanner::new(text);
        let mut tokens = Vec::new();
        while scanner.peek().0 != Token::End {
            tokens.push(scanner.next());
        }
        tokens
    }

    fn operand(text: &str) -> Option<(String, Range<usize>)> {
        let operand = Scanner::new(text).operand().unwrap();
        operand.map(|operand| (operand.text.into_owned(), operand.place))
    }

    #[test]
    fn signs_need_no_spaces_and_words_are_signs_too() {
        let only = |text| tokens(text).into_iter().map(|(token, _)| token).collect::<Vec<_>>();
        let words = only("( a and b ) or not c");
        assert_eq!(only("(a&&b)||!c"), words);
        assert_eq!(only("(a & b)|!c"), words);
        assert_eq!(only(r"\( a \& b\) \| \!c"), words);
        assert_eq!(only("a>=b"), only("a geq b"));
        assert_eq!(only(r"a \b é\"), ["a", r"\b", "é", r"\"].map(Token::Word));
        assert_eq!(only("= == eq != ne neq > gt < lt >= ge geq <= le leq").len(), 16);
        assert_eq!(
            tokens(" dport!=:443"),
            [
                (Token::Word("dport"), 1..6),
                (Token::Compare(Compare::Ne), 6..8),
                (Token::Word(":443"), 8..12)
            ]
        );
    }

    #[test]
    fn an_operand_ends_at_a_space_or_bracket_and_keeps_other_signs() {
        assert_eq!(operand(" [::1]:443) x"), Some(("[::1]:443".into(), 1..10)));
        assert_eq!(operand("/a/b=c!d"), Some(("/a/b=c!d".into(), 0..8)));
        assert_eq!(operand("a&&b"), Some(("a".into(), 0..1)));
        for nothing in ["", "  ", "= a", ")", "and", "not a", "le"] {
            assert_eq!(operand(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn quotes_and_backslashes_take_what_they_hold_as_it_is() {
        assert_eq!(operand("'a b(c' d"), Some(("a b(c".into(), 0..7)));
        assert_eq!(operand("\"and\""), Some(("and".into(), 0..5)));
        assert_eq!(operand(r"a\ b\(c d"), Some(("a b(c".into(), 0..7)));
        assert_eq!(operand(r"a\\x2dc"), Some((r"a\x2dc".into(), 0..7)));
        assert_eq!(Scanner::new(" 'a").operand(), Err(OpenQuote { at: 1 }));
    }
}

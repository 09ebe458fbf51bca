//! Words of a line, as a shell has them.
//!
//! ```text
//!   put greeting "good morning"      put│greeting│good morning
//!   put 'it is $5' a\ b              put│it is $5│a b
//!   put bytes \x00\xff"\n"           put│bytes│two bytes and a line feed
//! ```
//!
//! Within `"…"` and outside of quotes a backslash begins `\n`, `\r`, `\t`, `\xNN`, or stands for the character behind it;
//! within `'…'` everything stands for itself. A `#` at the beginning of a word begins a comment.

use std::iter::Peekable;
use std::str::CharIndices;

/// A line that has no words one could be sure of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    /// A quote has no end.
    #[error("the quote {quote} at column {column} has no end; close it, or write \\{quote} for the character itself")]
    OpenQuote { quote: char, column: usize },
    /// A backslash has nothing behind it.
    #[error("there is nothing behind the last backslash; write \\\\ for the character itself")]
    OpenEscape,
    /// Not two hexadecimal digits.
    #[error("\\x at column {column} needs two hexadecimal digits, as in \\xff")]
    BadHex { column: usize },
}

/// The words of a line.
pub(super) fn words(line: &str) -> Result<Vec<Vec<u8>>, WordsError> {
    let mut chars = line.char_indices().peekable();
    let mut words = Vec::new();
    loop {
        while chars.next_if(|(_, char)| char.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some((_, '#')) => return Ok(words),
            Some(_) => words.push(word(line, &mut chars)?),
        }
    }
}

fn word(line: &str, chars: &mut Peekable<CharIndices<'_>>) -> Result<Vec<u8>, WordsError> {
    let mut word = Vec::new();
    // Where the quote began, and which one it is.
    let mut quote: Option<(usize, char)> = None;
    while let Some((at, char)) = chars.next_if(|(_, char)| quote.is_some() || !char.is_whitespace()) {
        match (char, quote) {
            (_, Some((_, open))) if char == open => quote = None,
            ('\\', None | Some((_, '"'))) => escape(line, at, chars, &mut word)?,
            ('"' | '\'', None) => quote = Some((at, char)),
            _ => push(&mut word, char),
        }
    }
    match quote {
        Some((at, quote)) => Err(WordsError::OpenQuote { quote, column: column(line, at) }),
        None => Ok(word),
    }
}

fn escape(line: &str, at: usize, chars: &mut Peekable<CharIndices<'_>>, word: &mut Vec<u8>) -> Result<(), WordsError> {
    match chars.next() {
        None => return Err(WordsError::OpenEscape),
        Some((_, 'n')) => word.push(b'\n'),
        Some((_, 'r')) => word.push(b'\r'),
        Some((_, 't')) => word.push(b'\t'),
        Some((_, 'x')) => {
            let mut digit = || chars.next().and_then(|(_, char)| char.to_digit(16));
            let (high, low) = (digit(), digit());
            let bad = WordsError::BadHex { column: column(line, at) };
            let (Some(high), Some(low)) = (high, low) else { return Err(bad) };
            // The cast is exact: two digits.
            word.push((high * 16 + low) as u8);
        }
        Some((_, char)) => push(word, char),
    }
    Ok(())
}

fn push(word: &mut Vec<u8>, char: char) {
    word.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn column(line: &str, at: usize) -> usize {
    line[..at].chars().count() + 1
}

/// A word as it has to be typed, so that it is read as these bytes again.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let plain = |text: &str| {
        !text.is_empty()
            && !text.chars().any(|char| char.is_whitespace() || char.is_control() || "\\\"'#".contains(char))
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if plain(text) => text.to_owned(),
        // Everything that this writes is read back: \n, \r, \t, \xNN, and the escaped quotes and backslashes.
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn split(line: &str) -> Vec<Vec<u8>> {
        words(line).unwrap()
    }

    #[test]
    fn words_are_parted_by_space_and_held_together_by_quotes() {
        assert_eq!(split("  put a  b "), [&b"put"[..], b"a", b"b"]);
        assert_eq!(split(r#"put "a b" 'c d'e"f g""#), [&b"put"[..], b"a b", b"c def g"]);
        assert_eq!(split(r#"put "" ''"#), [&b"put"[..], b"", b""]);
        assert_eq!(split("   "), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_backslash_writes_any_byte_but_not_between_single_quotes() {
        assert_eq!(split(r#"\x00\xff "\n\t\"\\" a\ b"#), [&b"\x00\xff"[..], b"\n\t\"\\", b"a b"]);
        assert_eq!(split(r"'\x00'"), [br"\x00"]);
        assert_eq!(split(r"it\'s Grüße"), ["it's".as_bytes(), "Grüße".as_bytes()]);
    }

    #[test]
    fn a_comment_begins_at_a_word_and_not_within_one() {
        assert_eq!(split("get a # why"), [&b"get"[..], b"a"]);
        assert_eq!(split("get a#b '#'"), [&b"get"[..], b"a#b", b"#"]);
    }

    #[test]
    fn what_has_no_end_is_an_error_that_says_where() {
        assert_eq!(words("put \"a b"), Err(WordsError::OpenQuote { quote: '"', column: 5 }));
        assert_eq!(words("pöt 'a"), Err(WordsError::OpenQuote { quote: '\'', column: 5 }));
        assert_eq!(words("a\\"), Err(WordsError::OpenEscape));
        assert_eq!(words(r"\xf"), Err(WordsError::BadHex { column: 1 }));
        assert_eq!(words(r"a \xgg"), Err(WordsError::BadHex { column: 3 }));
    }

    #[test]
    fn any_bytes_can_be_quoted_and_are_read_back() {
        for bytes in
            [&b"plain"[..], b"", b"a b", b"it's", b"say \"x\"", b"back\\slash", b"\x00\xff\n", "Grüße ü".as_bytes()]
        {
            assert_eq!(split(&quoted(bytes)), [bytes], "{}", quoted(bytes));
        }
        assert_eq!(quoted(b"config/a"), "config/a");
    }
}

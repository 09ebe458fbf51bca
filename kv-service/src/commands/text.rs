//! Bytes in a form that people can read: as text, escaped, in hexadecimal.

/// The longest value that a table shows whole, in characters.
const SHOWN_MAX: usize = 60;

/// Bytes as a person can read them: text as it is, anything else escaped.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Bytes as pairs of hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as a table shows it: readable, and no longer than fits.
pub fn shown(bytes: &[u8]) -> String {
    let text = readable(&bytes[..bytes.len().min(SHOWN_MAX * 4)]);
    let short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() == text.len() && bytes.len() <= SHOWN_MAX * 4 {
        text
    } else {
        format!("{short}… ({} bytes)", bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_escaped() {
        assert_eq!(readable("Grüße".as_bytes()), "Grüße");
        assert_eq!(readable(b"a\xff\n"), "a\\xff\\n");
    }

    #[test]
    fn a_long_value_is_cut_and_says_how_long_it_is() {
        assert_eq!(shown(b"short"), "short");
        let cut = shown(&[b'a'; 1000]);
        assert!(cut.starts_with("aaa") && cut.ends_with("… (1000 bytes)") && cut.chars().count() < 90, "{cut}");
        assert_eq!(shown(&[b'a'; 61]).chars().filter(|char| *char == 'a').count(), 60);
    }
}

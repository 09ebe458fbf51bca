//! Percent-encoding and the query string, taken off strictly: what cannot be understood is refused.

use bytes::Bytes;
use hyper::Uri;
use percent_encoding::percent_decode_str;

use super::errors::ApiError;
use super::headers::whole;

/// The bytes that percent-encoded text stands for.
pub(super) fn decode(text: &str) -> Result<Bytes, ApiError> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        if !is_hex(bytes.get(at + 1)) || !is_hex(bytes.get(at + 2)) {
            return Err(ApiError::bad_input("'%' must be followed by two hexadecimal digits; write '%' itself as %25"));
        }
    }
    Ok(Bytes::from(percent_decode_str(text).collect::<Vec<u8>>()))
}

/// The parameters of a request.
pub(super) struct Query {
    pairs: Vec<(String, Bytes)>,
}

impl Query {
    /// The parameters of `uri`, each of which must be one of `known` and come once.
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Query, ApiError> {
        let mut pairs: Vec<(String, Bytes)> = Vec::new();
        for pair in uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("there is no parameter '{name}' here; those known are: {known}");
                return Err(ApiError::bad_input(message));
            }
            if pairs.iter().any(|(other, _)| other == name) {
                return Err(ApiError::bad_input(format!("the parameter '{name}' is given twice; give it once")));
            }
            // In a query, unlike in a path, a plus is a space.
            pairs.push((name.to_owned(), decode(&value.replace('+', "%20"))?));
        }
        Ok(Query { pairs })
    }

    /// The parameter's bytes, if it is there.
    pub(super) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    /// The parameter as a number, if it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        let number = std::str::from_utf8(&value).ok().and_then(whole);
        number.map(Some).ok_or_else(|| ApiError::bad_input(format!("the parameter '{name}' must be a whole number")))
    }

    /// Whether the parameter is there and says `1`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.bytes(name).as_deref() {
            None | Some(b"0") => Ok(false),
            Some(b"1") => Ok(true),
            Some(_) => Err(ApiError::bad_input(format!("the parameter '{name}' must be 0 or 1"))),
        }
    }
}

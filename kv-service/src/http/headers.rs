//! Request headers, read strictly: once each, plain text, numbers whole. `If-Match` and its kin, which may be lists, are in
//! [`super::conditions`].

use hyper::HeaderMap;

use super::errors::ApiError;

/// The header's text, if it is there.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(ApiError::bad_input(format!("the header {name} must be plain text"))),
        },
        (Some(_), Some(_)) => Err(ApiError::bad_input(format!("the header {name} is given twice; give it once"))),
    }
}

/// The header as a number, if it is there.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = single(headers, name)? else { return Ok(None) };
    whole(text).map(Some).ok_or_else(|| ApiError::bad_input(format!("the header {name} must be a whole number")))
}

/// The number that the text is, if it is nothing but digits: `parse` alone would take a sign.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

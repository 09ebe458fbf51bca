//! On which condition a write takes place, in the three ways in which a request can say it.
//!
//! ```text
//!   If-Match: "7"          the key was last changed at revision 7
//!   If-None-Match: *       the key does not exist
//!   ?expect_version=3      the key has been written three times; 0: it does not exist
//! ```

use hyper::HeaderMap;
use hyper::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use kv_client::protocol::EXPECT_VERSION_PARAMETER;
use kv_machine::Expect;

use super::errors::ApiError;
use super::query::Query;

/// The one condition of a write.
pub(super) fn expect(headers: &HeaderMap, query: &Query) -> Result<Expect, ApiError> {
    let mut conditions = Vec::new();
    if let Some(tag) = single(headers, &IF_MATCH)? {
        conditions.push(Expect::ModRevision(revision(tag).ok_or_else(|| {
            ApiError::bad_input("If-Match must be one quoted revision, as an ETag gives it, for example \"7\"")
        })?));
    }
    if let Some(tag) = single(headers, &IF_NONE_MATCH)? {
        if tag != "*" {
            return Err(ApiError::bad_input(
                "If-None-Match of a write must be *, which means: only if there is no such key",
            ));
        }
        conditions.push(Expect::Version(0));
    }
    if let Some(version) = query.number(EXPECT_VERSION_PARAMETER)? {
        conditions.push(Expect::Version(version));
    }
    match conditions[..] {
        [] => Ok(Expect::Any),
        [condition] => Ok(condition),
        _ => Err(ApiError::bad_input("give one of If-Match, If-None-Match and expect_version; for more, POST /v1/txn")),
    }
}

/// The revision at which a reader already knows the key, so that an unchanged value need not be sent again.
pub(super) fn known_revision(headers: &HeaderMap) -> Option<u64> {
    single(headers, &IF_NONE_MATCH).ok().flatten().and_then(revision)
}

/// The header's value, unless it comes twice.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
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

/// The number within a strong entity tag.
fn revision(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

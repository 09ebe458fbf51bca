//! Bytes in JSON: as a base64 string, with the standard alphabet and padding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that JSON carries as a base64 string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base64(pub Bytes);

impl<T: Into<Bytes>> From<T> for Base64 {
    fn from(bytes: T) -> Base64 {
        Base64(bytes.into())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes =
            STANDARD.decode(&text).map_err(|error| D::Error::custom(format!("\"{text}\" is no base64: {error}")))?;
        Ok(Base64(bytes.into()))
    }
}

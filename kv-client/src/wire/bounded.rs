//! Decoding that takes no more memory than a bound, whatever the bytes claim: an empty operation has two bytes in a frame
//! and many times that in memory.

use bincode::Decode;
use bincode::de::Decoder;
use bincode::error::DecodeError;

/// Decodes a vector of at most `max` items. It grows with what is there, not with what is claimed.
pub(super) fn at_most<T: Decode<C>, C, D: Decoder<Context = C>>(
    decoder: &mut D,
    max: usize,
) -> Result<Vec<T>, DecodeError> {
    each_of_at_most(decoder, max, |_| Ok(()))
}

/// The same; `look` sees every item as it comes, and may end it.
pub(super) fn each_of_at_most<T: Decode<C>, C, D: Decoder<Context = C>>(
    decoder: &mut D,
    max: usize,
    mut look: impl FnMut(&T) -> Result<(), DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = u64::decode(decoder)?;
    if count > max as u64 {
        return Err(DecodeError::OtherString(format!("{count} items, over the limit of {max}; send less at once")));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        let item = T::decode(decoder)?;
        look(&item)?;
        items.push(item);
    }
    Ok(items)
}

//! The page that shows a comparison.

use std::path::Path;

use super::results::Results;
use crate::replicas::Failure;

/// Writes the report of these results into a directory, compared with an earlier one where there is one.
pub fn write(_results: &Results, _earlier: Option<&Results>, _dir: &Path) -> Result<(), Failure> {
    Ok(())
}

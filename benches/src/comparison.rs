//! The side-by-side comparison: what to measure, what was measured, and the page that shows it.
//!
//! ```text
//!   plan (TOML) ──▶ runner ──▶ results (JSON) ──▶ report (HTML, Markdown)
//! ```

pub mod plan;
pub mod report;
pub mod results;

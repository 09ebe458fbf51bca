//! The side-by-side comparison: what to measure, what was measured, and the page that shows it.
//!
//! ```text
//!   plan (TOML) ──▶ runner ──▶ results (JSON) ──▶ report (HTML, Markdown)
//!
//!   runner:  check ──▶ courses ──▶ on a fresh cluster each ─┬─ steady: rates, one after the other ─┐
//!            plan      what is run     of processes         ├─ events: the leader is lost          ├─▶ points.jsonl
//!                      in which order                       └─ meanwhile: members change           ┘
//! ```

pub mod bench;
pub mod check;
pub mod conditions;
pub mod courses;
pub mod estimate;
pub mod events;
pub mod faults;
pub mod load;
pub mod logs;
pub mod machine;
pub mod meanwhile;
pub mod metrics;
pub mod networks;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod results;
pub mod runner;
pub mod sampling;
pub mod tail;
pub mod told;
pub mod verdict;

//! What a link does to packets, and how that is changed.
//!
//! | fault | what it does |
//! | --- | --- |
//! | `delay` | every packet takes so long |
//! | `jitter` | and a while more, drawn for each: exponential with this mean, so packets overtake each other |
//! | `loss` | this share never arrives |
//! | `duplicate` | this share arrives twice, each copy with a jitter of its own |
//! | `reorder` | this share is held back for [`REORDER_HOLD`](crate::link::REORDER_HOLD), and others overtake it |
//! | `rate` | packets pass one after another at this pace; behind them a queue, and what it cannot hold is lost |
//! | `cut` | nothing passes, and what is under way is lost too |

use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::RelayError;

/// The longest delay and the longest mean of the jitter.
const DELAY_US_MAX: u64 = 60_000_000;
/// A rate below this would hold a full packet for longer than any peer waits.
const RATE_MIN: u64 = 1_000;
/// The smallest queue holds one packet of the common size.
const QUEUE_BYTES_MIN: u64 = 1_500;
/// The largest queue.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// A time as it is typed: milliseconds, with at most three decimals. Returns microseconds.
///
/// # Errors
/// [`RelayError::MalformedTime`].
pub fn parse_ms(text: &str) -> Result<u64, RelayError> {
    let micros = || {
        let (whole, decimals) = match text.split_once('.') {
            Some((whole, decimals)) if (1..=3).contains(&decimals.len()) => (whole, decimals),
            Some(_) => return None,
            None => (text, "0"),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok());
        let thousandths = digits(&format!("{decimals:0<3}"))??;
        digits(whole)??.checked_mul(1000)?.checked_add(thousandths)
    };
    micros().ok_or_else(|| RelayError::MalformedTime { found: text.to_owned() })
}

/// Microseconds as they are typed, in milliseconds.
fn in_ms(micros: u64) -> String {
    match (micros / 1000, micros % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, thousandths) => format!("{whole}.{thousandths:03}").trim_end_matches('0').to_owned(),
    }
}

/// A share of packets, in thousandths; written `5%` or `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    permille: u16,
}

impl Share {
    /// None of them.
    pub const NONE: Share = Share { permille: 0 };

    /// So many of a thousand; more than a thousand are a thousand.
    pub fn of_thousand(permille: u16) -> Share {
        Share { permille: permille.min(1000) }
    }

    /// How many of a thousand, at most 1000.
    pub fn permille(self) -> u16 {
        self.permille
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.permille / 10, self.permille % 10) {
            (percent, 0) => write!(f, "{percent}%"),
            (percent, tenth) => write!(f, "{percent}.{tenth}%"),
        }
    }
}

impl FromStr for Share {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<Share, RelayError> {
        let permille = || {
            let (percent, tenth) = match text.strip_suffix('%')?.split_once('.') {
                Some((percent, tenth)) if tenth.len() == 1 => (percent, tenth),
                Some(_) => return None,
                None => (text.strip_suffix('%')?, "0"),
            };
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u16>().ok());
            let permille = digits(percent)??.checked_mul(10)?.checked_add(digits(tenth)??)?;
            (permille <= 1000).then_some(permille)
        };
        permille()
            .map(|permille| Share { permille })
            .ok_or_else(|| RelayError::MalformedShare { found: text.to_owned() })
    }
}

impl TryFrom<String> for Share {
    type Error = RelayError;

    fn try_from(text: String) -> Result<Share, RelayError> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

/// The faults of one link. The default has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// How long every packet takes, in microseconds.
    pub delay_us: u64,
    /// The mean of what is added to it, in microseconds.
    pub jitter_us: u64,
    /// Which share is lost.
    pub loss: Share,
    /// Which share arrives twice.
    pub duplicate: Share,
    /// Which share is held back, so that later packets overtake it.
    pub reorder: Share,
    /// How much passes, in bytes a second; zero is without limit.
    pub rate_bytes_per_s: u64,
    /// How much may queue where a rate is set, in bytes.
    pub queue_bytes: u64,
    /// Nothing passes.
    pub cut: bool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            delay_us: 0,
            jitter_us: 0,
            loss: Share::NONE,
            duplicate: Share::NONE,
            reorder: Share::NONE,
            rate_bytes_per_s: 0,
            queue_bytes: 256 << 10,
            cut: false,
        }
    }
}

/// A change of some faults; what is not named stays as it is.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[group(required = true, multiple = true)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// How long every packet takes, in milliseconds, for example 20 or 0.25
    #[arg(long = "delay-ms", value_name = "MS", value_parser = parse_ms)]
    pub delay_us: Option<u64>,
    /// The mean of a random delay on top (exponential), which also reorders, in milliseconds
    #[arg(long = "jitter-ms", value_name = "MS", value_parser = parse_ms)]
    pub jitter_us: Option<u64>,
    /// Which share of packets is lost
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<Share>,
    /// Which share of packets arrives twice
    #[arg(long, value_name = "PERCENT")]
    pub duplicate: Option<Share>,
    /// Which share of packets is held back for 5 ms, so that later ones overtake
    #[arg(long, value_name = "PERCENT")]
    pub reorder: Option<Share>,
    /// How much passes, in bytes a second; 0 is without limit
    #[arg(long = "rate", value_name = "BYTES")]
    pub rate_bytes_per_s: Option<u64>,
    /// How much may queue where a rate is set, in bytes; the rest is lost
    #[arg(long, value_name = "BYTES")]
    pub queue_bytes: Option<u64>,
    /// Nothing passes; see the commands cut and heal.
    #[arg(skip)]
    pub cut: Option<bool>,
}

impl Change {
    /// Cuts a link, or heals it; its other faults stay.
    pub fn cut(cut: bool) -> Change {
        Change { cut: Some(cut), ..Change::default() }
    }

    /// Loses this share.
    pub fn loss(share: Share) -> Change {
        Change { loss: Some(share), ..Change::default() }
    }
}

impl Faults {
    /// These faults with a change.
    ///
    /// # Errors
    /// [`RelayError::OutOfRange`] names the first number that cannot be.
    pub fn with(&self, change: &Change) -> Result<Faults, RelayError> {
        let changed = Faults {
            delay_us: change.delay_us.unwrap_or(self.delay_us),
            jitter_us: change.jitter_us.unwrap_or(self.jitter_us),
            loss: change.loss.unwrap_or(self.loss),
            duplicate: change.duplicate.unwrap_or(self.duplicate),
            reorder: change.reorder.unwrap_or(self.reorder),
            rate_bytes_per_s: change.rate_bytes_per_s.unwrap_or(self.rate_bytes_per_s),
            queue_bytes: change.queue_bytes.unwrap_or(self.queue_bytes),
            cut: change.cut.unwrap_or(self.cut),
        };
        changed.check()?;
        Ok(changed)
    }

    fn check(&self) -> Result<(), RelayError> {
        let wrong = |setting, found: String, range| Err(RelayError::OutOfRange { setting, found, range });
        if self.delay_us > DELAY_US_MAX {
            return wrong("delay-ms", in_ms(self.delay_us), "at most 60000");
        }
        if self.jitter_us > DELAY_US_MAX {
            return wrong("jitter-ms", in_ms(self.jitter_us), "at most 60000");
        }
        if self.rate_bytes_per_s != 0 && self.rate_bytes_per_s < RATE_MIN {
            return wrong("rate", self.rate_bytes_per_s.to_string(), "at least 1000 bytes a second, or 0 for no limit");
        }
        if !(QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&self.queue_bytes) {
            return wrong("queue-bytes", self.queue_bytes.to_string(), "between 1500 and 16777216");
        }
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |text: String, is_set: bool| is_set.then_some(text);
        let parts = [
            set("cut".to_owned(), self.cut),
            set(format!("delay {} ms", in_ms(self.delay_us)), self.delay_us > 0),
            set(format!("jitter {} ms", in_ms(self.jitter_us)), self.jitter_us > 0),
            set(format!("loss {}", self.loss), self.loss > Share::NONE),
            set(format!("duplicate {}", self.duplicate), self.duplicate > Share::NONE),
            set(format!("reorder {}", self.reorder), self.reorder > Share::NONE),
            set(format!("rate {} B/s, queue {} B", self.rate_bytes_per_s, self.queue_bytes), self.rate_bytes_per_s > 0),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "whole".to_owned() } else { parts.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_share_is_written_in_percent_with_a_tenth() {
        for (text, permille) in [("0%", 0), ("5%", 50), ("0.1%", 1), ("99.9%", 999), ("100%", 1000)] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.permille(), permille);
            assert_eq!(share.to_string(), text);
        }
        for wrong in ["", "%", "5", "101%", "0.01%", "-1%", "+5%", "five%", "5.%", "100.1%", "99999999%"] {
            let error = wrong.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains("for example 5%"), "{error}");
        }
    }

    #[test]
    fn a_time_is_typed_in_milliseconds_with_up_to_three_decimals() {
        for (text, micros) in [("0", 0), ("20", 20_000), ("0.25", 250), ("1.5", 1_500), ("0.001", 1), ("12.34", 12_340)]
        {
            assert_eq!(parse_ms(text).unwrap(), micros);
            assert_eq!(in_ms(micros), text);
        }
        assert_eq!(parse_ms("20.000").unwrap(), 20_000);
        for wrong in ["", ".", ".5", "5.", "0.0001", "-1", "+1", "1ms", "1,5", "1.+5", "18446744073709551615"] {
            let error = parse_ms(wrong).unwrap_err().to_string();
            assert!(error.contains("for example 0.25"), "{error}");
        }
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let slow = Faults { delay_us: 20_000, loss: Share::of_thousand(50), ..Faults::default() };
        let cut = slow.with(&Change::cut(true)).unwrap();
        assert!(cut.cut && cut.delay_us == 20_000);
        assert_eq!(cut.with(&Change::cut(false)).unwrap(), slow);
    }

    #[test]
    fn a_number_out_of_its_range_is_named() {
        for (change, setting) in [
            (Change { delay_us: Some(60_000_001), ..Change::default() }, "delay-ms"),
            (Change { jitter_us: Some(u64::MAX), ..Change::default() }, "jitter-ms"),
            (Change { rate_bytes_per_s: Some(999), ..Change::default() }, "rate"),
            (Change { queue_bytes: Some(0), ..Change::default() }, "queue-bytes"),
        ] {
            let error = Faults::default().with(&change).unwrap_err().to_string();
            assert!(error.starts_with(setting) && error.contains("must be"), "{error}");
        }
    }

    #[test]
    fn faults_are_shown_in_words_and_a_link_without_any_is_whole() {
        let faults = Faults { delay_us: 20_000, loss: Share::of_thousand(5), cut: true, ..Faults::default() };
        assert_eq!(faults.to_string(), "cut, delay 20 ms, loss 0.5%");
        assert_eq!(Faults::default().to_string(), "whole");
    }
}

//! What was asked under one number is done once, however often it was asked: each append in a session leaves a mark that no
//! other write leaves, and no value that anybody ever reads has a mark twice.

use std::collections::BTreeSet;

/// The marks of what was asked in sessions.
#[derive(Debug, Default)]
pub(super) struct Once {
    marks: BTreeSet<u64>,
}

impl Once {
    /// A write with this value is asked in a session.
    pub(super) fn asked(&mut self, value: &str) {
        self.marks.extend(marks(value));
    }

    /// The mark that stands in this value more than once.
    pub(super) fn twice(&self, value: &str) -> Option<u64> {
        let mut seen = BTreeSet::new();
        marks(value).find(|mark| self.marks.contains(mark) && !seen.insert(*mark))
    }
}

/// A value is a sequence of marks, each with a full stop behind it, and what fills it up.
fn marks(value: &str) -> impl Iterator<Item = u64> {
    value.split('.').filter_map(|part| part.trim_start_matches('x').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_a_session_may_stand_in_a_value_once() {
        let mut once = Once::default();
        once.asked("12.");
        once.asked("7.xxx");
        assert_eq!(once.twice("7.xxx12.112."), None);
        assert_eq!(once.twice("7.xxx12.112.12."), Some(12));
        assert_eq!(once.twice("7.7."), Some(7));
    }

    #[test]
    fn what_is_asked_twice_without_a_session_may_stand_there_twice() {
        assert_eq!(Once::default().twice("3.3."), None);
    }
}

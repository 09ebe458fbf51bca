//! What a misspelt word may have meant.

/// The most slips that are forgiven.
const SLIPS_MAX: usize = 2;

/// The name that is the fewest slips away; a slip is a letter too many, one missing, a wrong one, or two exchanged. `None`
/// where the word is too different from all.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (slips(word, name), name));
    // A word of two letters is two slips away from too much.
    let near = near.filter(|(slips, name)| *slips <= SLIPS_MAX && 2 * slips < name.chars().count().max(3));
    near.min_by_key(|(slips, _)| *slips).map(|(_, name)| name)
}

/// The least number of slips between two words (optimal string alignment).
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let wrong = usize::from(from[i - 1] != to[j - 1]);
                let least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + wrong);
                let exchanged = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if exchanged { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = ["put", "get", "delete", "status", "scan", "members"];

    #[test]
    fn exchanged_missing_wrong_and_additional_letters_are_forgiven() {
        for (word, name) in [
            ("gte", "get"),
            ("stauts", "status"),
            ("delet", "delete"),
            ("scann", "scan"),
            ("pit", "put"),
            ("mebmer", "members"),
        ] {
            assert_eq!(nearest(word, NAMES), Some(name), "{word}");
        }
    }

    #[test]
    fn a_word_that_is_like_none_means_none() {
        for word in ["", "x", "zebra", "xyz", "statistics"] {
            assert_eq!(nearest(word, NAMES), None, "{word}");
        }
    }
}

//! The names of links: `1:2` is what node 1 sends to node 2, and patterns such as `1:all` name several.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::RelayError;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName {
    /// Who sends.
    pub from: u64,
    /// Who receives.
    pub to: u64,
}

impl LinkName {
    /// The link `from:to`.
    pub fn new(from: u64, to: u64) -> LinkName {
        LinkName { from, to }
    }

    /// The other direction between the same two nodes.
    pub fn reverse(self) -> LinkName {
        LinkName { from: self.to, to: self.from }
    }

    /// Every link among these nodes.
    pub fn among(nodes: &[u64]) -> Vec<LinkName> {
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(|to| LinkName::new(*from, *to)));
        pairs.filter(|link| link.from != link.to).collect()
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.from, self.to)
    }
}

impl FromStr for LinkName {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<LinkName, RelayError> {
        match text.parse()? {
            LinkPattern { from: Some(from), to: Some(to) } => Ok(LinkName { from, to }),
            _ => Err(RelayError::MalformedLink { found: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for LinkName {
    type Error = RelayError;

    fn try_from(text: String) -> Result<LinkName, RelayError> {
        text.parse()
    }
}

impl From<LinkName> for String {
    fn from(link: LinkName) -> String {
        link.to_string()
    }
}

/// Some links: `1:2` one, `1:all` what node 1 sends, `all:1` what it receives, `all` every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkPattern {
    /// Who sends; `None` is anyone.
    pub from: Option<u64>,
    /// Who receives; `None` is anyone.
    pub to: Option<u64>,
}

impl LinkPattern {
    /// Every link.
    pub const ALL: LinkPattern = LinkPattern { from: None, to: None };

    /// All that a node sends.
    pub fn out_of(node: u64) -> LinkPattern {
        LinkPattern { from: Some(node), to: None }
    }

    /// All that a node receives.
    pub fn into(node: u64) -> LinkPattern {
        LinkPattern { from: None, to: Some(node) }
    }

    /// Whether the pattern names this link.
    pub fn matches(&self, link: LinkName) -> bool {
        self.from.is_none_or(|from| from == link.from) && self.to.is_none_or(|to| to == link.to)
    }
}

impl From<LinkName> for LinkPattern {
    fn from(link: LinkName) -> LinkPattern {
        LinkPattern { from: Some(link.from), to: Some(link.to) }
    }
}

impl fmt::Display for LinkPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: Option<u64>| end.map_or_else(|| "all".to_owned(), |node| node.to_string());
        match (self.from, self.to) {
            (None, None) => write!(f, "all"),
            (from, to) => write!(f, "{}:{}", end(from), end(to)),
        }
    }
}

impl FromStr for LinkPattern {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<LinkPattern, RelayError> {
        let wrong = || RelayError::MalformedLink { found: text.to_owned() };
        if text == "all" {
            return Ok(LinkPattern::ALL);
        }
        let end = |end: &str| match end {
            "all" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        };
        let (from, to) = text.split_once(':').ok_or_else(wrong)?;
        let pattern = LinkPattern { from: end(from)?, to: end(to)? };
        // No node has a link to itself.
        if pattern.from.is_some() && pattern.from == pattern.to { Err(wrong()) } else { Ok(pattern) }
    }
}

impl TryFrom<String> for LinkPattern {
    type Error = RelayError;

    fn try_from(text: String) -> Result<LinkPattern, RelayError> {
        text.parse()
    }
}

impl From<LinkPattern> for String {
    fn from(pattern: LinkPattern) -> String {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_pattern_names_one_link_one_side_or_all() {
        let matching = |pattern: &str| -> Vec<String> {
            let pattern: LinkPattern = pattern.parse().unwrap();
            LinkName::among(&[1, 2, 3])
                .into_iter()
                .filter(|link| pattern.matches(*link))
                .map(|link| link.to_string())
                .collect()
        };
        assert_eq!(matching("1:2"), ["1:2"]);
        assert_eq!(matching("1:all"), ["1:2", "1:3"]);
        assert_eq!(matching("all:1"), ["2:1", "3:1"]);
        assert_eq!(matching("all").len(), 6);
    }

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for text in ["1:2", "1:all", "all:2", "all"] {
            assert_eq!(text.parse::<LinkPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_link_is_answered_with_how_one_is_written() {
        for wrong in ["", "1", "1-2", "1:", "a:b", "1:1", "1:2:3"] {
            let error = wrong.parse::<LinkPattern>().unwrap_err().to_string();
            assert!(error.contains("FROM:TO") && error.contains("1:all"), "{error}");
        }
        assert!("1:all".parse::<LinkName>().is_err());
    }
}

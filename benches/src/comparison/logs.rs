//! What the nodes' log lines tell of roles, with their own times.
//!
//! A node that is started with `--log-format json` writes one line whenever its role changes:
//!
//! ```text
//!   {"timestamp":"2026-01-01T00:00:00.000001Z","message":"role","role":"candidate","ballot":"3.2",…}
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;

use crate::replicas::Failure;

/// A node's part in the cluster from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleLine {
    /// From when on.
    pub at: SystemTime,
    /// Its part.
    pub role: LoggedRole,
    /// In which ballot.
    pub ballot: String,
}

/// A part in the cluster, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedRole {
    /// It asks around, or for votes or promises.
    Candidate,
    /// It leads.
    Leader,
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct Line {
    timestamp: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    ballot: String,
}

/// How long a log is by now, in bytes: where to read on later.
pub fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The role lines of a log from this place on.
pub fn roles(path: &Path, from: u64) -> Result<Vec<RoleLine>, Failure> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        lines.extend(parse(&line?));
    }
    Ok(lines)
}

/// A line of another kind, or one that is not finished, is none.
fn parse(line: &str) -> Option<RoleLine> {
    if !line.contains("\"role\"") && !line.contains("\"campaign\"") {
        return None;
    }
    let Line { timestamp, message, role, ballot } = serde_json::from_str(line).ok()?;
    let role = match (message.as_str(), role.as_str()) {
        ("campaign", _) | ("role", "candidate") => LoggedRole::Candidate,
        ("role", "leader") => LoggedRole::Leader,
        ("role", _) => LoggedRole::Other,
        _ => return None,
    };
    Some(RoleLine { at: humantime::parse_rfc3339(&timestamp).ok()?, role, ballot })
}

/// How many campaigns these lines of one node tell of: each time that it begins to ask, and each time that it asks again
/// in a higher ballot than it has already campaigned in.
pub fn campaigns(lines: &[RoleLine]) -> u64 {
    let mut count = 0;
    let mut asking_in: Option<&str> = None;
    let mut raised = false;
    for line in lines {
        asking_in = match (line.role, asking_in) {
            (LoggedRole::Candidate, None) => {
                (count, raised) = (count + 1, false);
                Some(&line.ballot)
            }
            (LoggedRole::Candidate, Some(ballot)) => {
                // A pre-campaign raises the ballot once, when it becomes a campaign.
                if ballot != line.ballot {
                    count += u64::from(raised);
                    raised = true;
                }
                Some(&line.ballot)
            }
            _ => None,
        };
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(role: &str, ballot: &str) -> RoleLine {
        let text = format!(
            r#"{{"timestamp":"1970-01-01T00:00:01.000002Z","level":"INFO","message":"role","role":"{role}","leader":1,"ballot":"{ballot}","target":"replica::driver"}}"#
        );
        parse(&text).unwrap()
    }

    #[test]
    fn a_role_is_read_with_its_time_to_the_microsecond() {
        let line = line("candidate", "3.2");
        assert_eq!(line.at, UNIX_EPOCH + Duration::from_micros(1_000_002));
        assert_eq!((line.role, line.ballot.as_str()), (LoggedRole::Candidate, "3.2"));
    }

    #[test]
    fn other_lines_and_halves_of_lines_are_passed_over() {
        assert_eq!(parse(r#"{"timestamp":"1970-01-01T00:00:01Z","message":"contacts"}"#), None);
        assert_eq!(parse(r#"{"timestamp":"1970-01-01T00:00:01Z","message":"role","ro"#), None);
        assert_eq!(parse("quorate 0.1 role \"role\""), None);
    }

    #[test]
    fn a_pre_campaign_and_its_campaign_are_one_and_a_repeated_one_is_two() {
        let once = [line("candidate", "2.1"), line("candidate", "3.2"), line("leader", "3.2")];
        assert_eq!(campaigns(&once), 1);
        let twice =
            [line("candidate", "2.1"), line("follower", "2.1"), line("candidate", "2.1"), line("leader", "3.2")];
        assert_eq!(campaigns(&twice), 2);
        let again = [line("candidate", "2.1"), line("candidate", "3.2"), line("candidate", "4.2")];
        assert_eq!(campaigns(&again), 2);
        assert_eq!(campaigns(&[line("follower", "2.1")]), 0);
    }
}

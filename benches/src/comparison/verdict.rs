//! What the checker says of the recorded part of a history, within bounds.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use simulator::linearizability::{Doubt, Limits, Model, Operation, Verdict, check, read_history};

use super::results::History;
use crate::replicas::Failure;

/// When a search is given up.
const LIMITS: Limits = Limits { states_max: 2_000_000, time_max: Some(Duration::from_secs(10)) };
/// How much of an explanation is kept.
const WHY_CHARS_MAX: usize = 2_000;

/// The verdict on a file of the load generator's.
pub fn of_file(path: &Path) -> Result<History, Failure> {
    Ok(of(&read_history(BufReader::new(File::open(path)?))?))
}

/// The verdict on these operations.
pub fn of(operations: &[Operation]) -> History {
    if operations.is_empty() {
        return History::NotRecorded;
    }
    match check(operations, Model::Kv, &LIMITS) {
        Verdict::Linearizable => {
            let keys: BTreeSet<&str> = operations.iter().map(|operation| operation.action.key()).collect();
            History::Linearizable { keys: keys.len() as u64, operations: operations.len() as u64 }
        }
        Verdict::NotLinearizable(offence) => {
            let why = offence.describe(operations).chars().take(WHY_CHARS_MAX).collect();
            History::NotLinearizable { why }
        }
        Verdict::Unknown(doubt) => History::Undecided { why: in_words(&doubt) },
    }
}

fn in_words(doubt: &Doubt) -> String {
    match doubt {
        Doubt::StatesMax { key, states } => format!("key {key}: {states} states were visited"),
        Doubt::TimeMax { key } => format!("key {key}: time was up"),
        Doubt::NotInModel { operation } => format!("operation {operation} is not one of a key-value store"),
    }
}

#[cfg(test)]
mod tests {
    use simulator::linearizability::{Action, Outcome};

    use super::*;

    fn operation(action: Action, call: u64) -> Operation {
        Operation { client: call, action, call, returned: Some(call + 5), outcome: Outcome::Ok }
    }

    #[test]
    fn a_read_of_what_nobody_wrote_is_told_in_words() {
        let put = operation(Action::Put { key: "k".into(), value: "a".into() }, 0);
        let get = operation(Action::Get { key: "k".into(), value: Some("b".into()) }, 10);
        assert_eq!(of(std::slice::from_ref(&put)), History::Linearizable { keys: 1, operations: 1 });
        assert!(matches!(of(&[put, get]), History::NotLinearizable { why } if why.contains('k')));
        assert_eq!(of(&[]), History::NotRecorded);
    }
}

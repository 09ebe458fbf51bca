//! The bodies of `POST /v1/txn`.
//!
//! ```json
//! { "compare": [ { "key": "aw==", "version": 3, "relation": "=" } ],
//!   "then":    [ { "op": "put", "key": "aw==", "value": "dg==" } ],
//!   "else":    [ { "op": "get", "key": "aw==" } ] }
//! ```
//!
//! A field that is not known is refused where a slip would change the meaning: an `"els"` that is dropped in silence
//! is a transaction without an alternative.

use serde::{Deserialize, Serialize};

use crate::base64::Base64;
use crate::protocol::ScanItem;

/// If all comparisons hold, the one list of operations, otherwise the other; atomically, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxnRequest {
    /// All of these must hold; none always does.
    #[serde(default)]
    pub compare: Vec<Compare>,
    /// What is done then. No key may be written twice.
    #[serde(default)]
    pub then: Vec<Operation>,
    /// What is done otherwise. No key may be written twice.
    #[serde(default, rename = "else")]
    pub otherwise: Vec<Operation>,
}

/// *The key's property* `relation` *the target's*. The target is one field beside the key: `"version": 3`,
/// `"create_revision": 3`, `"mod_revision": 3` or `"value": "dg=="` (`null`: the key does not exist).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which key.
    pub key: Base64,
    /// Which property, and with what.
    #[serde(flatten)]
    pub target: Target,
    /// How they must stand. There is no default, so that a misspelt field cannot become one.
    pub relation: Relation,
}

/// A property of a key and what it is compared with. A key that does not exist has version and revisions zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// How often it was written since it was created.
    Version(u64),
    /// At which revision it was created.
    CreateRevision(u64),
    /// At which revision it was last changed.
    ModRevision(u64),
    /// Its value, by the order of the bytes; `None` is the value of a key that does not exist, below every other.
    Value(Option<Base64>),
}

/// How the key's property must stand to the constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The same.
    #[serde(rename = "=", alias = "equal")]
    Equal,
    /// Not the same.
    #[serde(rename = "!=", alias = "not_equal")]
    NotEqual,
    /// Below it.
    #[serde(rename = "<", alias = "less")]
    Less,
    /// Above it.
    #[serde(rename = ">", alias = "greater")]
    Greater,
}

/// One step of a transaction. Later steps see what earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Reads a key.
    Get {
        /// Which key.
        key: Base64,
    },
    /// Sets a key's value.
    Put {
        /// Which key.
        key: Base64,
        /// Its new value.
        value: Base64,
    },
    /// Sets a key's value, and lets the key vanish when the request's session ends.
    PutEphemeral {
        /// Which key.
        key: Base64,
        /// Its new value.
        value: Base64,
    },
    /// Appends to a key's value; a key that does not exist is created.
    Append {
        /// Which key.
        key: Base64,
        /// What is appended.
        suffix: Base64,
    },
    /// Removes a key.
    Delete {
        /// Which key.
        key: Base64,
    },
    /// Reads the keys of a range.
    Scan {
        /// The first key.
        #[serde(default)]
        start: Base64,
        /// The key before which it ends; without it, behind the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<Base64>,
        /// The most items that are returned.
        limit: u32,
    },
}

/// The answer to a transaction that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The revision of the changes; if there were none, the store's revision.
    pub revision: u64,
    /// One for each operation of the branch that was taken.
    pub results: Vec<OperationResult>,
}

/// What an operation found or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum OperationResult {
    /// What a get found; `null` where the key does not exist.
    Get {
        /// The key as it stands.
        item: Option<ScanItem>,
    },
    /// A put or append wrote this version of the key.
    Written {
        /// The key's version, from 1.
        version: u64,
    },
    /// A delete took place.
    Deleted {
        /// Whether the key existed.
        deleted: bool,
    },
    /// What a scan found.
    Scan {
        /// In order of the keys.
        items: Vec<ScanItem>,
        /// Whether there are more in the range.
        more: bool,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_transaction_reads_as_one_writes_it() {
        let body = json!({
            "compare": [
                {"key": "aw==", "version": 3, "relation": "="},
                {"key": "aw==", "create_revision": 1, "relation": ">"},
                {"key": "aw==", "mod_revision": 9, "relation": "<"},
                {"key": "aw==", "value": "dg==", "relation": "!="},
                {"key": "aw==", "value": null, "relation": "="},
            ],
            "then": [
                {"op": "put", "key": "aw==", "value": "dg=="},
                {"op": "append", "key": "bA==", "suffix": "dg=="},
                {"op": "delete", "key": "bQ=="},
            ],
            "else": [{"op": "get", "key": "aw=="}, {"op": "scan", "start": "aw==", "limit": 5}],
        });
        let compare = |target, relation| Compare { key: "k".into(), target, relation };
        let request = TxnRequest {
            compare: vec![
                compare(Target::Version(3), Relation::Equal),
                compare(Target::CreateRevision(1), Relation::Greater),
                compare(Target::ModRevision(9), Relation::Less),
                compare(Target::Value(Some("v".into())), Relation::NotEqual),
                compare(Target::Value(None), Relation::Equal),
            ],
            then: vec![
                Operation::Put { key: "k".into(), value: "v".into() },
                Operation::Append { key: "l".into(), suffix: "v".into() },
                Operation::Delete { key: "m".into() },
            ],
            otherwise: vec![
                Operation::Get { key: "k".into() },
                Operation::Scan { start: "k".into(), end: None, limit: 5 },
            ],
        };
        assert_eq!(from_value::<TxnRequest>(body.clone()).unwrap(), request);
        assert_eq!(to_value(&request).unwrap(), body);
    }

    #[test]
    fn relations_may_be_spelled_out() {
        let words = ["equal", "not_equal", "less", "greater"].map(|word| from_value::<Relation>(json!(word)).unwrap());
        assert_eq!(words, [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    }

    #[test]
    fn slips_that_would_change_the_meaning_are_refused() {
        for slip in [
            json!({"els": []}),
            json!({"compare": [{"key": "aw==", "version": 3, "relaton": "<"}]}),
            json!({"compare": [{"key": "aw==", "relation": "<"}]}),
            json!({"then": [{"op": "put", "key": "aw==", "val": "dg=="}]}),
            json!({"then": [{"op": "get", "key": "aw==", "version": 3}]}),
        ] {
            assert!(from_value::<TxnRequest>(slip.clone()).is_err(), "{slip} was taken");
        }
    }

    #[test]
    fn results_say_which_operation_they_answer() {
        let reply = TxnReply {
            succeeded: true,
            revision: 4,
            results: vec![OperationResult::Get { item: None }, OperationResult::Written { version: 2 }],
        };
        let body = json!({
            "succeeded": true,
            "revision": 4,
            "results": [{"op": "get", "item": null}, {"op": "written", "version": 2}],
        });
        assert_eq!(to_value(&reply).unwrap(), body);
        assert_eq!(from_value::<TxnReply>(body).unwrap(), reply);
    }
}

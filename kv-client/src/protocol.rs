//! What goes over HTTP: the JSON bodies, the names of headers and parameters, the error codes.
//!
//! A value that is read by itself travels as the raw body, with what is known of it in headers; everywhere else keys
//! and values are base64 ([`Base64`]), because they are bytes and JSON is text. The bodies of transactions are in
//! [`crate::txn`].

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::base64::Base64;

/// Answer header: the key's version.
pub const VERSION_HEADER: &str = "quorate-version";
/// Answer header: the store's revision when the read was served. (The key's own `mod_revision` is the `ETag`.)
pub const REVISION_HEADER: &str = "quorate-revision";
/// Answer header: the last entry that a downloaded snapshot covers.
pub const SNAPSHOT_INDEX_HEADER: &str = "quorate-snapshot-index";
/// Request parameter: which snapshot is to be downloaded.
pub const SNAPSHOT_ID_PARAMETER: &str = "id";
/// Request parameter: the version that the key must have; zero: it must not exist.
pub const EXPECT_VERSION_PARAMETER: &str = "expect_version";
/// Request parameter: how fresh a read must be, a [`Consistency`].
pub const CONSISTENCY_PARAMETER: &str = "consistency";

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// It sees every write that was acknowledged to anyone before it began.
    #[default]
    Linearizable,
    /// The same, by the leader's lease instead of a round of messages: as good as the clocks are within their bound.
    Lease,
    /// What the node that was asked happens to know.
    Stale,
}

impl Consistency {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Linearizable => "linearizable",
            Consistency::Lease => "lease",
            Consistency::Stale => "stale",
        }
    }
}

/// The answer to a put or an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReply {
    /// The key's version, from 1.
    pub version: u64,
    /// The revision of the change: the key's `mod_revision`.
    pub revision: u64,
}

/// The answer to a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// Whether the key existed.
    pub deleted: bool,
    /// The revision of the change; if there was none, the store's revision.
    pub revision: u64,
}

/// One key of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanItem {
    /// The key.
    pub key: Base64,
    /// Its value.
    pub value: Base64,
    /// How often it was written since it was created.
    pub version: u64,
    /// The revision at which it was created.
    pub create_revision: u64,
    /// The revision at which it was last changed.
    pub mod_revision: u64,
}

/// The answer to a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReply {
    /// In order of the keys.
    pub items: Vec<ScanItem>,
    /// Whether there are more in the range. The next page starts at the last key and a zero byte.
    pub more: bool,
    /// The revision that all of it was read at.
    pub revision: u64,
}

/// An epoch of leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BallotReply {
    /// Raft's term; the round of a Paxos ballot.
    pub round: u64,
    /// Whom a Raft node voted for or follows; the owner of a Paxos ballot. Zero: nobody.
    pub node: u64,
}

/// What a node is to the cluster at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleReply {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It follows without a vote.
    Learner,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReply {
    /// Its node id.
    pub id: u64,
    /// Where its peers find it.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
}

/// The answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// `raft` or `paxos`.
    pub engine: String,
    /// Which node answers.
    pub node_id: u64,
    /// The cluster's id, in hexadecimal.
    pub cluster_id: String,
    /// What it is at the moment.
    pub role: RoleReply,
    /// Who leads, if the node knows.
    pub leader_id: Option<u64>,
    /// The epoch that the node is in.
    pub ballot: BallotReply,
    /// Everything up to here is chosen, as far as the node knows.
    pub commit_index: u64,
    /// Everything up to here is in its tables.
    pub applied_index: u64,
    /// The last entry of its log.
    pub last_index: u64,
    /// What its last snapshot covers; zero without one.
    pub snapshot_index: u64,
    /// Who belongs to the cluster, in order of id.
    pub members: Vec<MemberReply>,
}

/// The answer to `GET /v1/digest`: what to compare nodes by. Equal at equal indexes, on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestReply {
    /// What the tables have applied.
    pub index: u64,
    /// A SHA-256 over all of them, in hexadecimal.
    pub digest: String,
}

/// The answer to `POST /v1/snapshot`: what can be downloaded now from the node that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReply {
    /// The last entry that the snapshot covers.
    pub snapshot_index: u64,
    /// How many bytes its files have together.
    pub bytes: u64,
    /// Its name, in hexadecimal: a hash over all that it holds.
    pub id: String,
}

/// Why a request failed, for programs. On the wire its name in lower case with underscores: `version_mismatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request makes no sense.
    BadInput,
    /// 404: no such key, or no such path.
    NotFound,
    /// 409: the session is not known any more; what it did before may have been done.
    SessionExpired,
    /// 412: the condition does not hold.
    VersionMismatch,
    /// 413: over a limit.
    TooLarge,
    /// 429: a bound of the node is reached; after `Retry-After` seconds it may do.
    TooBusy,
    /// 500: the node is broken.
    Internal,
    /// 501: the engine that runs cannot do this.
    Unsupported,
    /// 503: nobody leads; definitely not carried out.
    NoLeader,
    /// 503: there was no majority in time; definitely not carried out.
    NoQuorum,
    /// 503: the node is stopping; definitely not carried out.
    Stopping,
    /// 504: it may have been carried out, or may yet be.
    UnknownOutcome,
    /// One that this build does not know, or none at all.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::BadInput => 400,
            ErrorCode::NotFound => 404,
            ErrorCode::SessionExpired => 409,
            ErrorCode::VersionMismatch => 412,
            ErrorCode::TooLarge => 413,
            ErrorCode::TooBusy => 429,
            ErrorCode::Internal | ErrorCode::Other => 500,
            ErrorCode::Unsupported => 501,
            ErrorCode::NoLeader | ErrorCode::NoQuorum | ErrorCode::Stopping => 503,
            ErrorCode::UnknownOutcome => 504,
        }
    }
}

/// The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Why, for programs.
    pub error: ErrorCode,
    /// Why, for people, with what to do next.
    pub message: String,
    /// Who leads, if the node knows.
    #[serde(default)]
    pub leader: Option<u64>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_scan_carries_keys_and_values_in_base64() {
        let item = ScanItem {
            key: "k".into(),
            value: vec![0xff, 0x00].into(),
            version: 1,
            create_revision: 2,
            mod_revision: 3,
        };
        let body = json!({
            "items": [{"key": "aw==", "value": "/wA=", "version": 1, "create_revision": 2, "mod_revision": 3}],
            "more": false,
            "revision": 9,
        });
        let reply = ScanReply { items: vec![item], more: false, revision: 9 };
        assert_eq!(to_value(&reply).unwrap(), body);
        assert_eq!(from_value::<ScanReply>(body).unwrap(), reply);
    }

    #[test]
    fn what_is_no_base64_is_refused_by_name() {
        let error = from_value::<Base64>(json!("not base64!")).unwrap_err().to_string();
        assert!(error.contains("not base64!"), "{error}");
    }

    #[test]
    fn an_error_has_its_code_in_words_and_an_unknown_code_is_still_an_error() {
        let reply = ErrorReply { error: ErrorCode::VersionMismatch, message: "m".into(), leader: Some(2) };
        let body = json!({"error": "version_mismatch", "message": "m", "leader": 2});
        assert_eq!(to_value(&reply).unwrap(), body);
        let newer: ErrorReply = from_value(json!({"error": "on_holiday", "message": "m"})).unwrap();
        assert_eq!((newer.error, newer.leader), (ErrorCode::Other, None));
    }

    #[test]
    fn a_consistency_is_spelled_alike_in_a_parameter_and_in_json() {
        for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Stale] {
            assert_eq!(to_value(consistency).unwrap(), json!(consistency.as_str()));
        }
    }
}

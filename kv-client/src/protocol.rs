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

/// Request parameter: `1` has a node that does not lead answer with 307 and where the leader is found, rather than
/// forward.
pub const REDIRECT_PARAMETER: &str = "redirect";
/// Request parameter of a put: `1` lets the key vanish when the request's session ends.
pub const EPHEMERAL_PARAMETER: &str = "ephemeral";
/// Request parameter of scans and watches: what the keys begin with.
pub const PREFIX_PARAMETER: &str = "prefix";
/// Request parameter of a scan: the first key.
pub const START_PARAMETER: &str = "start";
/// Request parameter of a scan: the key before which it ends.
pub const END_PARAMETER: &str = "end";
/// Request parameter of a scan: the most items of a page.
pub const LIMIT_PARAMETER: &str = "limit";
/// Request parameter of a watch: the first revision whose changes are wanted.
pub const FROM_REVISION_PARAMETER: &str = "from_revision";
/// Request parameter of a change of members: how long it may take, in milliseconds. Without it: as long as any request.
pub const TIMEOUT_PARAMETER: &str = "timeout_ms";

/// Request header: the session that a write belongs to, 32 hexadecimal digits. Goes with [`REQUEST_HEADER`].
pub const SESSION_HEADER: &str = "quorate-session";
/// Request header: the write's number in its session, from 1, never used for another one.
pub const REQUEST_HEADER: &str = "quorate-request";
/// Request header: the client has the answers to all numbers below this one. Without it: below the request's own
/// number, which fits a client that has one request under way at a time.
pub const ACKED_BELOW_HEADER: &str = "quorate-acked-below";
/// Answer header: the session whose end the key vanishes with.
pub const EPHEMERAL_HEADER: &str = "quorate-ephemeral";
/// Request and answer header: by what name the request is found in the logs. Made by the node where it is not given.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Request header of a watch that goes on: the `id` of the last event that was received.
pub const LAST_EVENT_ID_HEADER: &str = "last-event-id";

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
    /// The session whose end it vanishes with, 32 hexadecimal digits; absent where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
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

/// The body of `POST /v1/sessions`. It may be left out, and so may each of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The session's id: 32 hexadecimal digits, best drawn at random. Without it the node draws one; but then a retry opens
    /// another session, so whoever may have to retry names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How long the session lives without a sign of its client, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// The answer to `POST /v1/sessions`, which opens a session or keeps one alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReply {
    /// The session's id, 32 hexadecimal digits.
    pub session: String,
    /// How long it lives without a sign of its client, in milliseconds; what was asked for, brought within the bounds.
    pub ttl_ms: u64,
}

/// The answer to `DELETE /v1/sessions/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEndReply {
    /// Whether it was open.
    pub ended: bool,
    /// The revision at which its ephemeral keys vanished; if it had none, the store's revision.
    pub revision: u64,
}

/// An event of a watch: a key was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutEvent {
    /// At which revision: the key's `mod_revision`.
    pub revision: u64,
    /// Which key.
    pub key: Base64,
    /// Its value now.
    pub value: Base64,
    /// How often it was written since it was created; 1: it was created by this.
    pub version: u64,
    /// The revision at which it was created.
    pub create_revision: u64,
    /// The session whose end it vanishes with, 32 hexadecimal digits; absent where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// An event of a watch: a key was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteEvent {
    /// At which revision.
    pub revision: u64,
    /// Which key.
    pub key: Base64,
}

/// An event of a watch: everything up to this revision has been sent. The first event of a watch says where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressEvent {
    /// Up to which revision.
    pub revision: u64,
}

/// The last event of a watch that fell behind what the node remembers: changes are lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactedEvent {
    /// The first revision whose changes are still there.
    pub first_revision: u64,
}

/// An event of `GET /v1/watch`, as its `event` and `data` lines tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// `event: put`
    Put(PutEvent),
    /// `event: delete`
    Delete(DeleteEvent),
    /// `event: progress`
    Progress(ProgressEvent),
    /// `event: compacted`
    Compacted(CompactedEvent),
}

impl WatchEvent {
    /// What stands on the `event` line.
    pub fn name(&self) -> &'static str {
        match self {
            WatchEvent::Put(_) => "put",
            WatchEvent::Delete(_) => "delete",
            WatchEvent::Progress(_) => "progress",
            WatchEvent::Compacted(_) => "compacted",
        }
    }

    /// What stands on the `data` line.
    ///
    /// # Errors
    /// None that these types can cause.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            WatchEvent::Put(event) => serde_json::to_string(event),
            WatchEvent::Delete(event) => serde_json::to_string(event),
            WatchEvent::Progress(event) => serde_json::to_string(event),
            WatchEvent::Compacted(event) => serde_json::to_string(event),
        }
    }

    /// The event of these two lines; `None` for one of a name that this build does not know, which is to be skipped.
    ///
    /// # Errors
    /// Where the data is not that of an event of this name.
    pub fn parse(name: &str, data: &str) -> Result<Option<WatchEvent>, serde_json::Error> {
        Ok(Some(match name {
            "put" => WatchEvent::Put(serde_json::from_str(data)?),
            "delete" => WatchEvent::Delete(serde_json::from_str(data)?),
            "progress" => WatchEvent::Progress(serde_json::from_str(data)?),
            "compacted" => WatchEvent::Compacted(serde_json::from_str(data)?),
            _ => return Ok(None),
        }))
    }
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
    /// Its data directory's own id, 32 hexadecimal digits.
    pub store: String,
    /// Whether it votes; while the members change, whether it will.
    pub voter: bool,
    /// Whether it votes only until the change under way is done.
    pub outgoing: bool,
    /// Up to where it is known to have the log; null where the answering node does not know. The leader knows it of
    /// everyone, and the others of themselves.
    pub matched_index: Option<u64>,
    /// By how many entries it is behind what is committed, as far as the answering node knows.
    pub behind: Option<u64>,
}

/// The answer to `GET /v1/members`, and to every request that changes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersReply {
    /// How often the members have changed since the cluster was founded. A change may name the version that it is meant
    /// for.
    pub version: u64,
    /// Whether they are about to change.
    pub changing: bool,
    /// Who leads, if the node knows.
    pub leader_id: Option<u64>,
    /// The cluster's id, in hexadecimal.
    pub cluster_id: String,
    /// In order of id.
    pub members: Vec<MemberReply>,
}

/// The body of `POST /v1/members`: a node that is to become a member, a learner that is to vote, or a member that has
/// moved. To ask for what is so already is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// Its node id.
    pub id: u64,
    /// Where its peers find it, `host:port`. A new member needs one; without it a known one stays where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its data directory's own id, 32 hexadecimal digits. A new member needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// It is to receive the log without a vote. Without this it votes as soon as it has caught up.
    #[serde(default)]
    pub learner: bool,
    /// The engine that it runs. Where it is given and is not the cluster's, the request is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// A member that the same change removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u64>,
    /// The version of the members that this is meant for; if they have changed since, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_version: Option<u64>,
}

/// One of those that founded the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FounderReply {
    /// Its node id.
    pub id: u64,
    /// Where its peers found it then.
    pub address: String,
    /// Its data directory's own id, 32 hexadecimal digits.
    pub store: String,
}

/// The answer to `POST /v1/members`: besides the members, what a node stamps that joins. The hash over it is the
/// cluster's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddedReply {
    /// Who belongs to the cluster now.
    #[serde(flatten)]
    pub members: MembersReply,
    /// Who founded it, in order of id.
    pub founders: Vec<FounderReply>,
    /// The snapshot that it was founded from, 32 hexadecimal digits; null where it began blank.
    pub restored_from: Option<String>,
}

/// The answer to `POST /v1/leader/transfer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferReply {
    /// Who leads now, if the node knows.
    pub leader_id: Option<u64>,
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
    /// How often the members have changed since the cluster was founded.
    pub members_version: u64,
    /// Whether they are about to change.
    pub members_changing: bool,
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
    /// 307: another node leads, at the answer's `Location`; said only where `redirect=1` asks for it.
    NotLeader,
    /// 400: the request makes no sense.
    BadInput,
    /// 404: no such key, or no such path.
    NotFound,
    /// 409: another change of members is under way; this one was not carried out, or not all of it: look at the members.
    ChangePending,
    /// 409: a learner is too far behind to vote, or was not caught up in time. It stays a learner, and the same request
    /// goes on from there.
    LearnerLags,
    /// 409: a learner with another data directory has this id, or one with another one has voted under it; nothing changed.
    IdInUse,
    /// 409: of those who are to vote no majority answers, and the cluster would stand still; not carried out, or not all of
    /// it: look at the members. It passes only where those who do not answer are started.
    NoLiveMajority,
    /// 409: the session is not known any more; what it did before may have been done.
    SessionExpired,
    /// 409: the client has said that it has the answer to this request; it was not carried out again.
    RequestForgotten,
    /// 410: the changes from this revision on are not all remembered any more; the answer names the first that is.
    Compacted,
    /// 412: the condition does not hold.
    VersionMismatch,
    /// 412: the members are not those that the change was meant for; it was not carried out, or not all of it: look at the
    /// members.
    MembersChanged,
    /// 413: over a limit.
    TooLarge,
    /// 429: a bound of the node is reached; after `Retry-After` seconds it may do. Not carried out; of a change of members
    /// steps may have been.
    TooBusy,
    /// 500: the node is broken.
    Internal,
    /// 501: the engine that runs cannot do this.
    Unsupported,
    /// 503: nobody leads; definitely not carried out. Of a change of members steps may have been: look at them.
    NoLeader,
    /// 503: there was no majority in time; definitely not carried out. Of a change of members steps may have been.
    NoQuorum,
    /// 503: the node is stopping; definitely not carried out.
    Stopping,
    /// 503: nobody took over in time, and as far as is known the leader leads on.
    TransferFailed,
    /// 504: it may have been carried out, or may yet be.
    UnknownOutcome,
    /// One that this build does not know, or none at all.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// Every code that a node can answer with.
    pub const ALL: [ErrorCode; 21] = [
        ErrorCode::NotLeader,
        ErrorCode::BadInput,
        ErrorCode::NotFound,
        ErrorCode::ChangePending,
        ErrorCode::LearnerLags,
        ErrorCode::IdInUse,
        ErrorCode::NoLiveMajority,
        ErrorCode::SessionExpired,
        ErrorCode::RequestForgotten,
        ErrorCode::Compacted,
        ErrorCode::VersionMismatch,
        ErrorCode::MembersChanged,
        ErrorCode::TooLarge,
        ErrorCode::TooBusy,
        ErrorCode::Internal,
        ErrorCode::Unsupported,
        ErrorCode::NoLeader,
        ErrorCode::NoQuorum,
        ErrorCode::Stopping,
        ErrorCode::TransferFailed,
        ErrorCode::UnknownOutcome,
    ];

    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::NotLeader => 307,
            ErrorCode::BadInput => 400,
            ErrorCode::NotFound => 404,
            ErrorCode::ChangePending
            | ErrorCode::LearnerLags
            | ErrorCode::IdInUse
            | ErrorCode::NoLiveMajority
            | ErrorCode::SessionExpired
            | ErrorCode::RequestForgotten => 409,
            ErrorCode::Compacted => 410,
            ErrorCode::VersionMismatch | ErrorCode::MembersChanged => 412,
            ErrorCode::TooLarge => 413,
            ErrorCode::TooBusy => 429,
            ErrorCode::Internal | ErrorCode::Other => 500,
            ErrorCode::Unsupported => 501,
            ErrorCode::NoLeader | ErrorCode::NoQuorum | ErrorCode::Stopping | ErrorCode::TransferFailed => 503,
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
    /// With [`ErrorCode::Compacted`]: the first revision whose changes are still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_revision: Option<u64>,
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
            session: None,
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
        let reply = ErrorReply {
            error: ErrorCode::VersionMismatch,
            message: "m".into(),
            leader: Some(2),
            first_revision: None,
        };
        let body = json!({"error": "version_mismatch", "message": "m", "leader": 2});
        assert_eq!(to_value(&reply).unwrap(), body);
        let newer: ErrorReply = from_value(json!({"error": "on_holiday", "message": "m"})).unwrap();
        assert_eq!((newer.error, newer.leader), (ErrorCode::Other, None));
    }

    #[test]
    fn a_member_is_asked_for_by_its_id_alone_and_a_misspelt_wish_is_refused() {
        let request: MemberRequest = from_value(json!({"id": 4})).unwrap();
        assert_eq!(request, MemberRequest { id: 4, ..MemberRequest::default() });
        assert_eq!(to_value(&request).unwrap(), json!({"id": 4, "learner": false}));
        let error = from_value::<MemberRequest>(json!({"id": 4, "lerner": true})).unwrap_err().to_string();
        assert!(error.contains("lerner"), "{error}");
    }

    #[test]
    fn whoever_is_added_is_told_the_members_and_who_founded_the_cluster_in_one_object() {
        let member = json!({
            "id": 1, "address": "127.0.0.1:7001", "store": "0b", "voter": true, "outgoing": false,
            "matched_index": 120, "behind": null,
        });
        let body = json!({
            "version": 3, "changing": false, "leader_id": 1, "cluster_id": "0c", "members": [member],
            "founders": [{"id": 1, "address": "127.0.0.1:7001", "store": "0b"}], "restored_from": null,
        });
        let reply: MemberAddedReply = from_value(body.clone()).unwrap();
        assert_eq!((reply.members.version, reply.members.members[0].matched_index), (3, Some(120)));
        assert_eq!(to_value(&reply).unwrap(), body);
        assert_eq!(from_value::<MembersReply>(body).unwrap(), reply.members);
    }

    #[test]
    fn a_consistency_is_spelled_alike_in_a_parameter_and_in_json() {
        for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Stale] {
            assert_eq!(to_value(consistency).unwrap(), json!(consistency.as_str()));
        }
    }

    #[test]
    fn an_event_of_a_watch_survives_its_two_lines_and_one_of_a_later_build_is_skipped() {
        let put = PutEvent {
            revision: 7,
            key: "k".into(),
            value: "v".into(),
            version: 2,
            create_revision: 5,
            session: Some("0f".repeat(16)),
        };
        for event in [
            WatchEvent::Put(put.clone()),
            WatchEvent::Put(PutEvent { session: None, ..put }),
            WatchEvent::Delete(DeleteEvent { revision: 8, key: "k".into() }),
            WatchEvent::Progress(ProgressEvent { revision: 8 }),
            WatchEvent::Compacted(CompactedEvent { first_revision: 3 }),
        ] {
            assert_eq!(WatchEvent::parse(event.name(), &event.data().unwrap()).unwrap(), Some(event));
        }
        assert_eq!(WatchEvent::parse("lunch", "{}").unwrap(), None);
        assert!(WatchEvent::parse("put", "{}").is_err());
    }

    #[test]
    fn every_code_has_the_status_of_an_answer_that_is_no_success() {
        for code in ErrorCode::ALL {
            assert!((300..600).contains(&code.status()), "{code:?}");
        }
    }
}

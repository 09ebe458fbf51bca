//! On which conditions a request takes place, in the three ways in which it can say so (RFC 9110, §13.1).
//!
//! ```text
//!                        a write                                       a read
//!   If-Match: "7"        the key was last changed at revision 7        the same, or 412
//!   If-Match: *          the key exists                                always holds
//!   If-None-Match: *     the key does not exist                        304
//!   If-None-Match: "7"   it was not last changed at revision 7         304 if it was
//!   ?expect_version=3    it was written three times; 0: there is none  –
//! ```
//!
//! All that are given must hold. One that the machine's short forms know travels in one of them; any other as a
//! transaction that compares.
//!
//! A list in `If-Match` says "any of these". Tags are revisions, and a key's revision only grows: of several tags that
//! were given out for a key, only the newest can still be its own. So the newest stands for the list, and the machine
//! decides in one step, also when the request is repeated within a session. A weak tag never matches there (§8.8.3.2), and
//! neither does a tag that no node has given out.

use consensus_api::Blob;
use hyper::HeaderMap;
use hyper::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use kv_client::protocol::EXPECT_VERSION_PARAMETER;
use kv_machine::{Command, Compare, Expect, Operation, OperationResult, Relation, Reply, Target, Txn};

use super::errors::ApiError;
use super::query::Query;

/// No key is ever changed at this revision.
const NEVER: u64 = u64::MAX;

/// What must hold of a key for a write to take place: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions(Vec<(Target, Relation)>);

impl Conditions {
    /// The conditions of a write.
    pub(super) fn of_write(headers: &HeaderMap, query: &Query) -> Result<Conditions, ApiError> {
        let mut all = Vec::new();
        match Tags::parse(headers, &IF_MATCH)? {
            None => {}
            Some(Tags::Any) => all.push((Target::Version(0), Relation::Greater)),
            Some(Tags::Listed(tags)) => {
                let newest = tags.iter().filter(|tag| !tag.weak).filter_map(|tag| tag.revision).max();
                all.push((Target::ModRevision(newest.unwrap_or(NEVER)), Relation::Equal));
            }
        }
        match Tags::parse(headers, &IF_NONE_MATCH)? {
            None => {}
            Some(Tags::Any) => all.push((Target::Version(0), Relation::Equal)),
            Some(Tags::Listed(tags)) => {
                let others = tags.iter().filter_map(|tag| tag.revision);
                all.extend(others.map(|revision| (Target::ModRevision(revision), Relation::NotEqual)));
            }
        }
        if let Some(version) = query.number(EXPECT_VERSION_PARAMETER)? {
            all.push((Target::Version(version), Relation::Equal));
        }
        Ok(Conditions(all))
    }

    /// The one condition that a short form can carry, if that is all there is.
    pub(super) fn short(&self) -> Option<Expect> {
        match self.0[..] {
            [] => Some(Expect::Any),
            [(Target::Version(version), Relation::Equal)] => Some(Expect::Version(version)),
            [(Target::ModRevision(revision), Relation::Equal)] => Some(Expect::ModRevision(revision)),
            _ => None,
        }
    }

    /// The operation on `key` under these conditions; where they do not hold, the key is read. [`settled`] makes of the
    /// reply what a short form would have been answered.
    pub(super) fn guard(self, key: Blob, operation: Operation) -> Command {
        let compare = |(target, relation)| Compare { key: key.clone(), target, relation };
        let compare = self.0.into_iter().map(compare).collect();
        Command::Txn(Txn { compare, then: vec![operation], otherwise: vec![Operation::Get { key }] })
    }
}

/// The reply to a guarded operation as that to a short form; any other as it is.
pub(super) fn settled(reply: Reply) -> Result<Reply, ApiError> {
    let Reply::Txn { succeeded, revision, results } = reply else { return Ok(reply) };
    match (succeeded, &results[..]) {
        (true, [OperationResult::Written { version }]) => Ok(Reply::Written { version: *version, revision }),
        (true, [OperationResult::Deleted { deleted }]) => Ok(Reply::Deleted { deleted: *deleted, revision }),
        (false, [OperationResult::Got(item)]) => {
            let (version, mod_revision) = item.as_ref().map_or((0, 0), |item| (item.version, item.mod_revision));
            Err(ApiError::mismatch(version, mod_revision))
        }
        _ => Ok(Reply::Txn { succeeded, revision, results }),
    }
}

/// What a reader of a key that exists is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The value.
    Whole,
    /// Not the value: the reader has it.
    Unchanged,
    /// Nothing: it is not what the reader wants to read on.
    Refused,
}

/// What a reader has and wants.
#[derive(Debug)]
pub(super) struct ReadConditions {
    wanted: Option<Tags>,
    known: Option<Tags>,
}

impl ReadConditions {
    /// The conditions of a read.
    pub(super) fn parse(headers: &HeaderMap) -> Result<ReadConditions, ApiError> {
        Ok(ReadConditions { wanted: Tags::parse(headers, &IF_MATCH)?, known: Tags::parse(headers, &IF_NONE_MATCH)? })
    }

    /// What to answer about a key that was last changed at this revision (RFC 9110, §13.2.2).
    pub(super) fn judge(&self, mod_revision: u64) -> Reading {
        if self.wanted.as_ref().is_some_and(|tags| !tags.contain(mod_revision, Comparison::Strong)) {
            return Reading::Refused;
        }
        if self.known.as_ref().is_some_and(|tags| tags.contain(mod_revision, Comparison::Weak)) {
            return Reading::Unchanged;
        }
        Reading::Whole
    }
}

/// How entity tags are compared (RFC 9110, §8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// What stands in `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Listed(Vec<Tag>),
}

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// `None` where no node has given it out.
    revision: Option<u64>,
}

impl Tags {
    /// The header's tags, over all its lines; `None` where it is not there.
    fn parse(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
        let malformed =
            || ApiError::bad_input(format!("{name} must be * or entity tags as an ETag gives them, for example \"7\""));
        let mut any = false;
        let mut listed = Vec::new();
        for line in headers.get_all(name) {
            let mut rest = line.to_str().map_err(|_| malformed())?.trim();
            if rest == "*" {
                any = true;
                continue;
            }
            while !rest.is_empty() {
                let (tag, after) = Tag::parse(rest).ok_or_else(malformed)?;
                listed.push(tag);
                let after = after.trim_start();
                rest = match after.strip_prefix(',') {
                    Some(after) => after.trim_start_matches([',', ' ', '\t']),
                    None if after.is_empty() => after,
                    None => return Err(malformed()),
                };
            }
        }
        match (any, listed.is_empty()) {
            (true, true) => Ok(Some(Tags::Any)),
            (false, false) => Ok(Some(Tags::Listed(listed))),
            (false, true) if !headers.contains_key(name) => Ok(None),
            _ => Err(malformed()),
        }
    }

    fn contain(&self, revision: u64, comparison: Comparison) -> bool {
        match self {
            Tags::Any => true,
            Tags::Listed(tags) => {
                let counts = |tag: &&Tag| comparison == Comparison::Weak || !tag.weak;
                tags.iter().filter(counts).any(|tag| tag.revision == Some(revision))
            }
        }
    }
}

impl Tag {
    /// The tag at the beginning of the text, and what follows it.
    fn parse(text: &str) -> Option<(Tag, &str)> {
        let (weak, text) = text.strip_prefix("W/").map_or((false, text), |text| (true, text));
        let (opaque, after) = text.strip_prefix('"')?.split_once('"')?;
        if opaque.bytes().any(|byte| byte <= b' ') {
            return None;
        }
        let revision = opaque.parse().ok().filter(|revision: &u64| *revision > 0 && revision.to_string() == opaque);
        Some((Tag { weak, revision }, after))
    }
}

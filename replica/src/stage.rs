//! For tests: a handle without a driver. What it asks is answered by hand, and the role and the members are told by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{
    Applied, Ballot, EngineName, EngineStatus, LogIndex, Member, Membership, NodeId, Refusal, RequestId, Role,
    RoleChange, StoreId,
};
use tokio::sync::{mpsc, watch};

use crate::driver::{Outlook, Request, Standing};
use crate::handle::Replica;
use crate::pending::{Answer, Pending};

/// Long enough that a test which needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long one attempt at a change, or at a transfer, is waited for.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(2);

/// The stage, and who stands in for the engine.
pub(crate) struct Stage {
    pub(crate) replica: Replica,
    pub(crate) asked: mpsc::Receiver<Request>,
    /// By which the replica tells that it has stopped.
    pub(crate) stopped: watch::Sender<Option<Result<(), String>>>,
}

/// What node 1 sees once this node leads.
pub(crate) fn led_by(leader: u64) -> RoleChange {
    let node = NodeId(leader);
    let role = if leader == 1 { Role::Leader } else { Role::Follower };
    RoleChange { role, leader: Some(node), ballot: Ballot::new(leader, node) }
}

/// What node 1 sees while nobody leads.
pub(crate) fn led_by_nobody() -> RoleChange {
    RoleChange { role: Role::Follower, leader: None, ballot: Ballot::new(1, NodeId(1)) }
}

/// These members, of which each has a disk and an address of its own.
pub(crate) fn members(version: u64, voters: &[u64], learners: &[u64]) -> Membership {
    let member = |node: &u64| {
        (NodeId(*node), Member { address: format!("127.0.0.1:{node}"), store: StoreId(u128::from(*node)) })
    };
    let mut members = Membership { version, ..Membership::of_voters(voters.iter().map(member)) };
    members.learners = learners.iter().copied().map(NodeId).collect();
    members.members.extend(learners.iter().map(member));
    members
}

impl Stage {
    /// Node 1, led by node 2, in a cluster of nodes 1 to 3.
    pub(crate) fn new() -> Stage {
        let (requests, asked) = mpsc::channel(64);
        let (stopped, stops) = watch::channel(None);
        let role = led_by(2);
        let engine = EngineStatus {
            role: role.role,
            leader: role.leader,
            ballot: role.ballot,
            commit_index: LogIndex::ZERO,
            last_index: LogIndex::ZERO,
            base_index: LogIndex::ZERO,
            membership: Arc::new(members(0, &[1, 2, 3], &[])),
            is_changing: false,
            progress: Default::default(),
        };
        let standing = Standing { engine, applied_index: LogIndex::ZERO, snapshot_index: LogIndex::ZERO };
        let replica = Replica {
            engine_name: EngineName::new("none"),
            node: NodeId(1),
            patience: ATTEMPT,
            requests,
            jobs: std::sync::mpsc::channel().0,
            pending: Arc::new(Pending::new(NodeId(1), 1, 64)),
            outlook: Outlook::new(standing, role),
            stopped: stops,
        };
        Stage { replica, asked, stopped }
    }
}

/// The next change that is asked for.
pub(crate) async fn next_change(asked: &mut mpsc::Receiver<Request>) -> (RequestId, Arc<Membership>) {
    match asked.recv().await {
        Some(Request::ChangeMembership { id, target }) => (id, target),
        _ => panic!("a change of members is asked for"),
    }
}

impl Replica {
    /// The node has these members, and perhaps a change of them under way.
    pub(crate) fn has(&self, present: Membership, is_changing: bool) {
        let mut standing = self.outlook.read();
        (standing.engine.membership, standing.engine.is_changing) = (Arc::new(present), is_changing);
        standing.applied_index = standing.applied_index.next();
        self.outlook.write(standing);
    }

    /// The node sees this.
    pub(crate) fn sees(&self, role: RoleChange) {
        let mut standing = self.outlook.read();
        (standing.engine.role, standing.engine.leader) = (role.role, role.leader);
        self.outlook.write(standing);
        self.outlook.role.send_replace(role);
    }

    /// The request was not carried out.
    pub(crate) fn refuse(&self, id: RequestId, reason: Refusal) {
        self.pending.answer([(id, Answer::Refused(reason))]);
    }

    /// The request's entry was applied.
    pub(crate) fn applied(&self, id: RequestId, reply: &'static [u8]) {
        let applied = Applied { index: LogIndex(1), reply: Bytes::from_static(reply) };
        self.pending.answer([(id, Answer::Applied(applied))]);
    }
}

//! What stories of members ask for, and how they get there.

use std::time::Duration;

use consensus_api::membership_change::next_step;
use consensus_api::{Limits, Membership, NodeId, RequestId};
use simulator::WorldConfig;

use super::{Stage, Words, holds};

/// How long an operator waits before it looks again.
const LOOKS_EVERY: Duration = Duration::from_millis(10);
/// How often it looks before a change is taken for one that never ends.
const LOOKS_MAX: u32 = 2_000;

/// So many founders, and others that are blank; in Multi-Paxos a change comes into force `window` slots behind its own.
pub(crate) fn with_blank_nodes(nodes: u64, blank: u64, window: u64) -> WorldConfig {
    let limits = Limits { reconfiguration_window: window, ..Limits::default() };
    WorldConfig { nodes, blank, limits, trace_max: 1_000_000, ..WorldConfig::default() }
}

impl<P: Words> Stage<P> {
    /// An operator asks the node for these, to follow the members that it goes by.
    pub(crate) fn ask_for_members(&mut self, node: NodeId, voters: &[NodeId], learners: &[NodeId]) -> RequestId {
        let version = self.membership(node).version;
        let target = self.world.members(version, voters.iter().copied(), learners.iter().copied());
        holds(self.world.change_membership(node, target)).expect("the node runs")
    }

    pub(crate) fn membership(&self, node: NodeId) -> Membership {
        (*self.world.status(node).expect("the node runs").membership).clone()
    }

    /// An operator asks whoever leads for the next step to these members, until they are in force.
    #[track_caller]
    pub(crate) fn change_members(&mut self, voters: &[NodeId], learners: &[NodeId]) {
        for _ in 0..LOOKS_MAX {
            if self.takes_a_step(voters, learners) {
                return;
            }
            self.run_for(LOOKS_EVERY);
        }
        panic!("{voters:?} with {learners:?} are not the members: {:?}", self.world.settled_members());
    }

    /// Asks for the next step, if none is under way. True where there is none any more.
    pub(crate) fn takes_a_step(&mut self, voters: &[NodeId], learners: &[NodeId]) -> bool {
        let Some(leader) = self.world.leader() else { return false };
        let present = self.membership(leader);
        let target = self.world.members(present.version, voters.iter().copied(), learners.iter().copied());
        match next_step(&present, &target) {
            None => self.world.are_members_settled(),
            Some(step) => {
                holds(self.world.change_membership(leader, step));
                false
            }
        }
    }

    /// Goes on in small steps until that is so.
    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, is_so: impl Fn(&Stage<P>) -> bool) {
        for _ in 0..200_000 {
            if is_so(self) {
                return;
            }
            self.run_for(Duration::from_micros(20));
        }
        panic!("it never comes to this: {what}");
    }
}

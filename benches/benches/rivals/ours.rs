//! Our engines, in the [`Cluster`] that they are also profiled in.

use benches::Cluster;
use consensus_api::{Engine, Limits, NodeId};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use super::{Failover, Subject};

/// Whoever leads after the first.
const SECOND: NodeId = NodeId(2);
/// As many entries as the largest open tail needs. In service a leader has no more than 4,096 open.
const OPEN_MAX: u64 = 1 << 18;

/// What an engine is called in the figures.
pub(crate) trait Named: Engine {
    const NAME_HERE: &'static str;
}

impl Named for Raft {
    const NAME_HERE: &'static str = "raft";
}

impl Named for MultiPaxos {
    const NAME_HERE: &'static str = "paxos";
}

impl<E: Named> Subject for Cluster<E> {
    const NAME: &'static str = E::NAME_HERE;

    fn elected(voters: u64) -> Cluster<E> {
        Cluster::elected(voters).unwrap()
    }

    fn commit(&mut self, count: u64, data: &[u8]) {
        Cluster::commit(self, count, data);
    }

    fn applied_bytes(&self) -> Vec<u64> {
        Cluster::applied_bytes(self)
    }
}

impl<E: Named> Failover for Cluster<E> {
    const NAME: &'static str = E::NAME_HERE;

    fn with_open_tail(entries: u64, data: &[u8]) -> Cluster<E> {
        let limits =
            Limits { open_entries_max: OPEN_MAX as usize, reconfiguration_window: OPEN_MAX, ..Limits::default() };
        let mut cluster = Cluster::elected_within(3, &limits).unwrap();
        cluster.leave_open(entries, data);
        cluster
    }

    fn elect(&mut self) {
        self.campaign(SECOND);
        self.settle_until(|cluster| cluster.leads(SECOND));
        assert!(self.leads(SECOND), "the second engine leads");
    }

    fn finish(&mut self) -> u64 {
        self.settle();
        Cluster::applied_bytes(self)[1]
    }
}

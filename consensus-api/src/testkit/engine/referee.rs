//! Takes effects and looks at each of them: what holds at every moment of every test is checked here and nowhere else.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::codec;
use crate::engine::{Effects, Engine, ReadReady, Refused};
use crate::entry::SharedEntry;
use crate::ids::{Ballot, LogIndex, NodeId, WriteId};

use super::world::World;

impl<E: Engine> World<E> {
    /// Takes a node's effects, checks them, and puts each where it belongs.
    pub(crate) fn take(&mut self, node: NodeId) {
        let Some(engine) = &mut self.node_mut(node).engine else { return };
        let effects = engine.take_effects();
        self.note(node, &effects);
        let Effects { write, messages, committed, reads_ready, refused, read_back, snapshots, role: _, contacts: _ } =
            effects;
        let there = self.node_mut(node);
        if let Some(write) = write {
            assert_eq!(write.id, WriteId(there.last_write.0 + 1), "writes are numbered one by one");
            there.last_write = write.id;
            there.unsynced.push_back(write);
        }
        for outgoing in &messages {
            assert!(outgoing.to != node, "{node} writes to itself");
            assert!(outgoing.after <= there.last_write, "a message waits for {}, which does not exist", outgoing.after);
            let bytes = codec::encode(&outgoing.message).expect("a message can be encoded");
            assert!(
                codec::decode::<E::Message>(&bytes).as_ref() == Ok(&outgoing.message),
                "a message is changed by the wire"
            );
        }
        there.held.extend(messages);
        there.read_backs.extend(read_back);
        self.post(node);
        for entry in committed {
            self.hand_out(node, entry);
        }
        for ready in reads_ready {
            self.serve(ready);
        }
        for refused in refused {
            self.refuse(refused);
        }
        self.snapshots.extend(snapshots.into_iter().map(|wanted| (node, wanted)));
    }

    fn note(&mut self, node: NodeId, effects: &Effects<E::Message>) {
        let mut hasher = DefaultHasher::new();
        (self.transcript, node, format!("{effects:?}")).hash(&mut hasher);
        self.transcript = hasher.finish();
    }

    /// An entry is handed out in order and once, is on the node's own disk and on those of a majority, is what everybody
    /// else was handed out there, and answers a request that was neither answered before nor refused.
    fn hand_out(&mut self, node: NodeId, entry: SharedEntry) {
        let there = self.node_mut(node);
        let before = there.unapplied.last().map_or(there.tables.applied, |last| last.index);
        assert_eq!(entry.index, before.next(), "{node} is handed out entries with a gap or twice");
        assert!(there.disk.holds(&entry), "{node} is handed out {}, which its own disk does not hold", entry.index);
        there.unapplied.push(entry.clone());
        if let Some(known) = self.chosen.get(&entry.index) {
            let (known, found) = (known.under(Ballot::ZERO), entry.under(Ballot::ZERO));
            assert_eq!(known, found, "two entries are committed at {}", entry.index);
            return;
        }
        assert_eq!(entry.index, self.last_chosen().next(), "{} is committed before what precedes it", entry.index);
        let holds = |node| self.nodes.get(&node).is_some_and(|node| node.disk.holds(&entry));
        assert!(self.founders.quorums().reached(holds), "{} is committed, and on no majority of disks", entry.index);
        if let Some(id) = entry.payload.request_id() {
            assert!(!self.done.contains_key(&id), "{id} is carried out twice");
            assert!(!self.refused.contains_key(&id), "{id} is carried out, and was refused");
            self.done.insert(id, entry.index);
        }
        self.chosen.insert(entry.index, entry);
    }

    /// A read sees at least what anybody was handed out before it was asked for.
    fn serve(&mut self, ready: ReadReady) {
        let least = self.reads.get(&ready.id).copied().unwrap_or(LogIndex(u64::MAX));
        assert!(
            ready.index >= least,
            "read {} may be served from {}, and {least} was acknowledged",
            ready.id,
            ready.index
        );
        self.ready.insert(ready.id, ready.index);
    }

    fn refuse(&mut self, refused: Refused) {
        let Refused { id, reason } = refused;
        assert!(!self.done.contains_key(&id), "{id} is refused ({reason}), and was carried out");
        self.refused.insert(id, reason);
    }
}

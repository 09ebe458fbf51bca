//! The order of effects: what waits for the disk, and what waits for the tables.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use consensus_api::*;
use replica::core::Core;

/// An engine that hands out what the test has put into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Puppet {
    messages: Vec<Outgoing<u8>>,
    reads_ready: Vec<ReadReady>,
}

impl Engine for Puppet {
    type Message = u8;
    const NAME: EngineName = EngineName::new("puppet");

    fn recover(_: EngineConfig, _: Recovered, _: MonoTime) -> Result<Puppet, EngineError> {
        Ok(Puppet::default())
    }

    /// A message 0–9 is sent after the write of that number; the read 10 + n is ready at index n.
    fn step(&mut self, _: MonoTime, input: Input<u8>) {
        let Input::Message { message, .. } = input else { return };
        match message.checked_sub(10) {
            None => self.messages.push(Outgoing {
                to: NodeId(2),
                lane: Lane::Control,
                after: WriteId(u64::from(message)),
                message,
            }),
            Some(index) => self.reads_ready.push(ReadReady { id: read(index), index: LogIndex(u64::from(index)) }),
        }
    }

    fn take_effects(&mut self) -> Effects<u8> {
        let Puppet { messages, reads_ready } = std::mem::take(self);
        Effects { messages, reads_ready, ..Effects::default() }
    }

    fn deadline(&self) -> MonoTime {
        MonoTime::NEVER
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            role: Role::Follower,
            leader: None,
            ballot: Ballot::ZERO,
            commit_index: LogIndex::ZERO,
            last_index: LogIndex::ZERO,
            base_index: LogIndex::ZERO,
            membership: Arc::default(),
            is_changing: false,
            progress: Default::default(),
        }
    }
}

fn read(index: u8) -> RequestId {
    RequestId { origin: NodeId(1), boot: 1, sequence: u64::from(index) }
}

fn say(core: &mut Core<Puppet>, message: u8) {
    core.step(MonoTime::default(), Input::Message { from: NodeId(2), message });
}

fn sent(core: &mut Core<Puppet>) -> Vec<u8> {
    core.take().messages.iter().map(|outgoing| outgoing.message).collect()
}

#[test]
fn a_message_waits_for_the_write_that_it_names_and_no_longer() {
    let mut core = Core::new(Puppet::default(), LogIndex::ZERO);
    for message in [2, 0, 1, 3] {
        say(&mut core, message);
    }
    assert_eq!(sent(&mut core), [0], "what waits for nothing passes what waits");
    core.step(MonoTime::default(), Input::Persisted { write: WriteId(1) });
    assert_eq!(sent(&mut core), [1]);
    core.step(MonoTime::default(), Input::Persisted { write: WriteId(3) });
    assert_eq!(sent(&mut core), [2, 3], "in the order in which they were given");
    say(&mut core, 2);
    assert_eq!(sent(&mut core), [2], "what is durable already holds nothing up");
}

#[test]
#[should_panic(expected = "completed after")]
fn writes_complete_in_order() {
    let mut core = Core::new(Puppet::default(), LogIndex::ZERO);
    core.step(MonoTime::default(), Input::Persisted { write: WriteId(2) });
    core.step(MonoTime::default(), Input::Persisted { write: WriteId(1) });
}

#[test]
fn a_read_waits_until_the_tables_have_come_to_its_index() {
    let mut core = Core::new(Puppet::default(), LogIndex(4));
    for index in [14, 16, 15] {
        say(&mut core, index);
    }
    assert_eq!(core.take().reads, [read(4)]);
    core.step(MonoTime::default(), Input::Applied { through: LogIndex(5) });
    assert_eq!(core.take().reads, [read(5)]);
    core.step(MonoTime::default(), Input::Applied { through: LogIndex(9) });
    assert_eq!(core.take().reads, [read(6)]);
}

#[test]
fn a_read_that_waits_is_served_from_the_snapshot_that_was_installed_meanwhile() {
    let mut core = Core::new(Puppet::default(), LogIndex(4));
    for index in [15, 19] {
        say(&mut core, index);
    }
    assert_eq!(core.take().reads, []);
    let base = LogPosition { index: LogIndex(8), ballot: Ballot::ZERO };
    let membership = AppliedMembership::founded(Arc::default());
    core.step(MonoTime::default(), Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
    assert_eq!((core.take().reads, core.applied()), (vec![read(5)], LogIndex(8)));
}

#[test]
fn a_disk_that_hangs_holds_up_a_bounded_number_of_messages_and_the_newest_are_kept() {
    let mut core = Core::new(Puppet::default(), LogIndex::ZERO);
    for _ in 0..10_000 {
        say(&mut core, 1);
        assert_eq!(sent(&mut core), []);
    }
    say(&mut core, 2);
    assert_eq!(sent(&mut core), []);
    core.step(MonoTime::default(), Input::Persisted { write: WriteId(2) });
    let released = sent(&mut core);
    assert_eq!((released.len(), released.last()), (4096, Some(&2)));
}

#[test]
fn tables_that_hang_hold_up_a_bounded_number_of_reads_and_the_rest_are_refused() {
    let mut core = Core::new(Puppet::default(), LogIndex::ZERO);
    let mut refused = 0;
    for _ in 0..300 {
        (0..1000).for_each(|_| say(&mut core, 11));
        refused += core.take().refused.len();
    }
    core.step(MonoTime::default(), Input::Applied { through: LogIndex(1) });
    let served = core.take().reads.len();
    assert_eq!((served, refused), (262_144, 300_000 - 262_144));
    say(&mut core, 11);
    assert_eq!(core.take().reads.len(), 1, "there is room again");
}

//! The suite finds out engines that do one thing wrong, each by the claim that says so.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use consensus_api::testkit::engine::{Claims, durability, ordinary, reads, schedules, without_leader};
use consensus_api::*;
use engine_fixed::{FixedLeader, Message};

const CLAIMS: Claims = Claims { survives_loss_of_leader: false, changes_members: false, hands_over: false };

// What an engine does wrong.
const ANSWERS_BEFORE_ITS_WRITE: u8 = 1;
const TAKES_SENT_FOR_DECIDED: u8 = 2;
const READS_FROM_THE_START: u8 = 3;
const NEVER_REFUSES: u8 = 4;
const IGNORES_SILENCE: u8 = 5;
const ASKS_A_CLOCK: u8 = 6;

/// A fixed leader with one bug.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct With<const BUG: u8>(FixedLeader);

impl<const BUG: u8> Engine for With<BUG> {
    type Message = Message;
    const NAME: EngineName = EngineName::new("bug");

    fn recover(mut config: EngineConfig, recovered: Recovered, now: MonoTime) -> Result<Self, EngineError> {
        if BUG == NEVER_REFUSES {
            config.limits.open_entries_max = usize::MAX;
        }
        Ok(With(FixedLeader::recover(config, recovered, now)?))
    }

    fn step(&mut self, now: MonoTime, input: Input<Message>) {
        if BUG == TAKES_SENT_FOR_DECIDED
            && let Input::Message { from, message: Message::Append { ballot, entries, .. } } = &input
            && let Some(last) = entries.last()
        {
            let (from, through) = (*from, last.index);
            let all = Message::Append { ballot: *ballot, entries: entries.clone(), commit: through };
            return self.0.step(now, Input::Message { from, message: all });
        }
        self.0.step(now, input);
    }

    fn take_effects(&mut self) -> Effects<Message> {
        let mut effects = self.0.take_effects();
        match BUG {
            ANSWERS_BEFORE_ITS_WRITE => effects.messages.iter_mut().for_each(|outgoing| outgoing.after = WriteId(0)),
            READS_FROM_THE_START => effects.reads_ready.iter_mut().for_each(|ready| ready.index = LogIndex::ZERO),
            IGNORES_SILENCE => effects.refused.clear(),
            ASKS_A_CLOCK => {
                let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
                effects.read_back.push(ReadBack {
                    id: ReadBackId(u64::MAX),
                    first: LogIndex(1),
                    last: LogIndex(1),
                    bytes_max: nanos as usize,
                });
            }
            _ => {}
        }
        effects
    }

    fn deadline(&self) -> MonoTime {
        self.0.deadline()
    }

    fn status(&self) -> EngineStatus {
        self.0.status()
    }
}

fn is_found(claim: fn(Claims)) {
    assert!(catch_unwind(AssertUnwindSafe(|| claim(CLAIMS))).is_err(), "the claim holds for a wrong engine");
}

#[test]
fn an_engine_that_answers_before_its_write_is_found() {
    is_found(durability::a_disk_that_hangs_counts_for_nothing::<With<ANSWERS_BEFORE_ITS_WRITE>>);
    is_found(schedules::no_schedule_changes_what_is_committed::<With<ANSWERS_BEFORE_ITS_WRITE>>);
}

#[test]
fn an_engine_that_takes_what_it_is_sent_for_decided_is_found() {
    is_found(schedules::no_schedule_changes_what_is_committed::<With<TAKES_SENT_FOR_DECIDED>>);
}

#[test]
fn an_engine_whose_reads_are_old_is_found() {
    is_found(reads::a_read_sees_what_was_acknowledged::<With<READS_FROM_THE_START>>);
}

#[test]
fn an_engine_that_queues_without_end_is_found() {
    is_found(ordinary::what_is_too_much_is_refused::<With<NEVER_REFUSES>>);
}

#[test]
fn an_engine_that_leaves_clients_without_an_answer_is_found() {
    is_found(without_leader::others_go_on_when_the_leader_is_gone::<With<IGNORES_SILENCE>>);
}

#[test]
fn an_engine_that_asks_a_clock_is_found() {
    is_found(schedules::the_same_inputs_give_the_same_effects::<With<ASKS_A_CLOCK>>);
}

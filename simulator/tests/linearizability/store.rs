//! The model of the whole store: the same as the machine, and its search the same as an oracle.

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use consensus_api::{Ballot, Blob, Entry, LogIndex, LogTime, NodeId, Payload, RequestId, StateMachine};
use kv_machine::{
    Command, Compare, Expect, KvMachine, MemoryTables, Operation, Relation, Reply, ScanLimits, ScanRange, Target, Txn,
};
use simulator::linearizability::Limits;
use simulator::linearizability::whole_store::{
    Answer, Request, STORE_OPERATIONS_MAX, Store, StoreOperation, StoreVerdict, check_store,
};

fn blob(text: &str) -> Blob {
    Blob(Bytes::copy_from_slice(text.as_bytes()))
}

fn key(random: &mut SeededRandom) -> Blob {
    // Now and then one that is refused.
    let names = if random.below(20) == 0 { ["", "a"].as_slice() } else { &["a", "b", "ab", "c"] };
    blob(names[random.below(names.len() as u64) as usize])
}

fn value(random: &mut SeededRandom) -> Blob {
    blob(["x", "y", "xy", ""][random.below(4) as usize])
}

fn expect(random: &mut SeededRandom) -> Expect {
    match random.below(6) {
        0 => Expect::Version(random.below(3)),
        1 => Expect::ModRevision(random.below(6)),
        _ => Expect::Any,
    }
}

fn step(random: &mut SeededRandom) -> Operation {
    let key = key(random);
    match random.below(5) {
        0 => Operation::Get { key },
        1 => Operation::Put { key, value: value(random) },
        2 => Operation::Append { key, suffix: value(random) },
        3 => Operation::Delete { key },
        _ => Operation::Scan { start: key, end: Some(blob("b")), limit: random.below(3) as u32 },
    }
}

fn compare(random: &mut SeededRandom) -> Compare {
    let target = match random.below(4) {
        0 => Target::Version(random.below(3)),
        1 => Target::CreateRevision(random.below(6)),
        2 => Target::ModRevision(random.below(6)),
        _ => Target::Value((random.below(3) > 0).then(|| value(random))),
    };
    let relations = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater];
    Compare { key: key(random), target, relation: relations[random.below(4) as usize] }
}

fn request(random: &mut SeededRandom) -> Request {
    let key = key(random);
    Request::Command(match random.below(8) {
        0 => return Request::Get { key: key.0 },
        1 => return Request::Scan { range: ScanRange::prefix(key.0), items_max: random.below(3) as usize },
        2 | 3 => Command::Put { key, value: value(random), expect: expect(random) },
        4 => Command::Append { key, suffix: value(random), expect: expect(random) },
        5 => Command::Delete { key, expect: expect(random) },
        _ => Command::Txn(Txn {
            compare: (0..random.below(3)).map(|_| compare(random)).collect(),
            then: (0..random.below(4)).map(|_| step(random)).collect(),
            otherwise: (0..random.below(3)).map(|_| step(random)).collect(),
        }),
    })
}

/// What the real machine answers.
fn machine_answer(machine: &mut KvMachine<MemoryTables>, request: &Request) -> Answer {
    match request {
        Request::Get { key } => Answer::Item(machine.reader().get(key).unwrap()),
        Request::Scan { range, items_max } => {
            let limits = ScanLimits { items_max: *items_max, ..ScanLimits::default() };
            Answer::Page(machine.reader().scan(range, limits).unwrap())
        }
        Request::Command(command) => {
            let index = LogIndex(machine.applied().unwrap().position.index.0 + 1);
            let payload = Payload::Command { id: RequestId::default(), data: Blob(command.encode().unwrap()) };
            let ballot = Ballot::new(1, NodeId(1));
            let entry = Entry { index, ballot, log_time: LogTime { millis: index.0 }, payload };
            Answer::Reply(Reply::decode(&machine.apply(&[Arc::new(entry)]).unwrap()[0]).unwrap())
        }
    }
}

#[test]
fn the_model_answers_as_the_machine_does() {
    let mut refused = 0;
    for seed in 0..200 {
        let mut random = SeededRandom::new(seed);
        let mut machine = KvMachine::open(Arc::new(MemoryTables::new())).unwrap();
        let mut store = Store::default();
        for _ in 0..100 {
            let request = request(&mut random);
            let answer = machine_answer(&mut machine, &request);
            assert_eq!(store.answer(&request), answer, "seed {seed}: {request:?}");
            refused += usize::from(matches!(answer, Answer::Reply(Reply::Malformed | Reply::Mismatch { .. })));
        }
    }
    assert!(refused > 200, "hardly a command was refused");
}

/// A legal history: each operation takes effect at a moment between its call and its return.
fn recorded(random: &mut SeededRandom, operations: u64, longest: u64) -> Vec<StoreOperation> {
    let mut times: Vec<(u64, u64, u64)> = (0..operations)
        .map(|number| {
            let call = 3 * number + random.below(longest);
            let effect = call + random.below(longest);
            (effect, call, effect + random.below(longest))
        })
        .collect();
    times.sort_unstable();
    let mut store = Store::default();
    let mut operation = |(client, (_, call, end)): (u64, (u64, u64, u64))| {
        let request = request(random);
        let fate = random.below(10);
        let answer = if fate == 0 { Answer::Refused } else { store.clone().answer(&request) };
        if fate > 1 {
            store.answer(&request);
        }
        // The one that is lost on the way and the one that is carried out look the same to who gets no answer.
        let is_known = fate == 0 || fate > 2;
        StoreOperation {
            client,
            request,
            answer: is_known.then_some(answer),
            call,
            returned: (is_known || random.below(2) == 0).then_some(end),
        }
    };
    (0..).zip(times).map(&mut operation).collect()
}

/// Gives one operation the answer that the same request has elsewhere in the history, or as if nothing were there.
fn spoil(history: &mut [StoreOperation], random: &mut SeededRandom) {
    let mut store = Store::default();
    let upto = random.below(history.len() as u64) as usize;
    for operation in &history[..upto] {
        store.answer(&operation.request);
    }
    let at = random.below(history.len() as u64) as usize;
    // What was refused was not, then.
    history[at].answer = Some(store.answer(&history[at].request));
}

/// Every order of every subset: the oracle.
fn explains(history: &[StoreOperation], placed: u64, store: &Store) -> bool {
    let settled = |operation: &StoreOperation| {
        operation.returned.is_some() && !matches!(operation.answer, None | Some(Answer::Refused))
    };
    let open = |at: usize| placed >> at & 1 == 0;
    if (0..history.len()).all(|at| !open(at) || !settled(&history[at])) {
        return true;
    }
    let earliest = (0..history.len())
        .filter(|at| open(*at) && settled(&history[*at]))
        .filter_map(|at| history[at].returned)
        .min()
        .unwrap();
    (0..history.len()).filter(|at| open(*at)).any(|at| {
        let operation = &history[at];
        if operation.call > earliest || operation.answer == Some(Answer::Refused) {
            return false;
        }
        let mut after = store.clone();
        let answer = after.answer(&operation.request);
        (!settled(operation) || operation.answer == Some(answer)) && explains(history, placed | 1 << at, &after)
    })
}

#[test]
fn histories_of_a_whole_store_are_judged_as_the_oracle_judges_them() {
    let (mut linearizable, mut not) = (0, 0);
    for seed in 0..6_000 {
        let mut random = SeededRandom::new(seed);
        let mut history = recorded(&mut random, 6, 12);
        if seed % 3 > 0 {
            spoil(&mut history, &mut random);
        }
        let expected = explains(&history, 0, &Store::default());
        assert!(expected || seed % 3 > 0, "seed {seed}: the oracle accuses a true store");
        let verdict = check_store(&history, &Limits::default()).unwrap();
        match verdict {
            StoreVerdict::Linearizable => {
                assert!(expected, "seed {seed}: {history:#?}");
                linearizable += 1;
            }
            StoreVerdict::NotLinearizable { breaks_at } => {
                assert!(!expected, "seed {seed}: {history:#?}");
                assert!(history[breaks_at].returned.is_some());
                not += 1;
            }
            StoreVerdict::Unknown => panic!("seed {seed}: no verdict"),
        }
    }
    println!("whole store: {linearizable} linearizable, {not} not");
    assert!(linearizable > 3_000 && not > 800, "one of the verdicts is rare");
}

#[test]
fn a_scan_that_misses_what_an_earlier_one_saw_is_found() {
    let put = |name: &str| Request::Command(Command::Put { key: blob(name), value: blob("v"), expect: Expect::Any });
    let scan = Request::Scan { range: ScanRange::prefix(""), items_max: 10 };
    let mut store = Store::default();
    let mut history = Vec::new();
    let mut record = |request: &Request, answer: Answer, call: u64| {
        let request = request.clone();
        history.push(StoreOperation { client: 1, request, answer: Some(answer), call, returned: Some(call + 1) });
    };
    let first = store.answer(&put("a"));
    let one = store.answer(&scan);
    let second = store.answer(&put("b"));
    let two = store.answer(&scan);
    record(&put("a"), first, 0);
    record(&put("b"), second, 10);
    record(&scan, two, 20);
    record(&scan, one, 30);
    assert_eq!(check_store(&history, &Limits::default()), Ok(StoreVerdict::NotLinearizable { breaks_at: 3 }));
    history.pop();
    assert_eq!(check_store(&history, &Limits::default()), Ok(StoreVerdict::Linearizable));
}

#[test]
fn a_history_at_the_bound_is_checked_and_one_beyond_it_refused() {
    let mut random = SeededRandom::new(3);
    let mut history = recorded(&mut random, STORE_OPERATIONS_MAX as u64, 12);
    assert_eq!(check_store(&history, &Limits::default()), Ok(StoreVerdict::Linearizable));
    history.extend(recorded(&mut random, 1, 12));
    let error = check_store(&history, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("65 operations"), "{error}");
}

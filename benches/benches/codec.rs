//! What stands on disks and in frames, encoded and decoded: entries, the engines' messages that carry most, and the frames
//! of the client protocol.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use benches::entries::commands;
use bincode::{Decode, Encode};
use consensus_api::{Ballot, Blob, LogIndex, LogPosition, NodeId, codec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine_multipaxos::message as paxos;
use engine_raft::message as raft;
use kv_client::Expect;
use kv_client::wire::{
    Answer, Answered, Command, FrameReader, Numbered, Request, Requests, SessionId, Tag, ToClient, append_frame,
};

const BALLOT: Ballot = Ballot { round: 3, node: NodeId(1) };
/// How many entries, or requests, travel together.
const TOGETHER: u64 = 64;
const VALUE_BYTES: usize = 256;

/// Both ways through the codec.
fn both_ways<T: Encode + Decode<()>>(criterion: &mut Criterion, name: &str, value: &T) {
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    let encoded = codec::encode(value).unwrap();
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| codec::encode(black_box(value)).unwrap()));
    group.bench_function("decode", |bencher| bencher.iter(|| codec::decode::<T>(black_box(&encoded)).unwrap()));
    group.finish();
}

/// The same in a frame of the client protocol, read as from a stream.
fn framed<T: Encode + Decode<()>>(criterion: &mut Criterion, name: &str, value: &T) {
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    let mut frame = Vec::new();
    append_frame(value, &mut frame).unwrap();
    group.throughput(Throughput::Bytes(frame.len() as u64));
    let mut out = Vec::with_capacity(frame.len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            append_frame(black_box(value), &mut out).unwrap();
        });
    });
    let mut reader = FrameReader::new();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            reader.push(black_box(&frame));
            reader.next_message::<T>().unwrap().unwrap()
        });
    });
    group.finish();
}

fn entries(criterion: &mut Criterion) {
    both_ways(criterion, "one-entry-16-bytes", &commands(1, 1, 16));
    both_ways(criterion, "64-entries-256-bytes", &commands(1, TOGETHER, VALUE_BYTES));
    both_ways(criterion, "16-entries-64-KiB", &commands(1, 16, 64 << 10));
}

fn messages(criterion: &mut Criterion) {
    let (entries, through) = (commands(1, TOGETHER, VALUE_BYTES), LogIndex(TOGETHER));
    let prev = LogPosition::default();
    let append = raft::Append { ballot: BALLOT, prev, entries: entries.clone(), commit: LogIndex::ZERO };
    both_ways(criterion, "raft-append", &raft::Message::Append(append));
    let outcome = raft::AppendOutcome::Matched { through };
    both_ways(
        criterion,
        "raft-append-reply",
        &raft::Message::AppendReply(raft::AppendReply { ballot: BALLOT, outcome }),
    );
    let accept = paxos::Accept { ballot: BALLOT, entries, chosen_through: LogIndex::ZERO };
    both_ways(criterion, "paxos-accept", &paxos::Message::Accept(accept));
    let slots = vec![(LogIndex(1), through)];
    let accepted = paxos::Accepted { ballot: BALLOT, slots, chosen_through: LogIndex::ZERO };
    both_ways(criterion, "paxos-accepted", &paxos::Message::Accepted(accepted));
}

fn client_frames(criterion: &mut Criterion) {
    let put = |id| {
        let (key, value) = (format!("key{id:012}").into_bytes().into(), vec![7; VALUE_BYTES].into());
        let tag = Some(Tag { session: SessionId(7), number: id, acked_below: 1 });
        let command = Command::Put { key: Blob(key), value: Blob(value), expect: Expect::Any };
        Numbered { id, request: Request::Write { tag, command } }
    };
    let requests = Requests { patience_ms: 5_000, requests: (1..=TOGETHER).map(put).collect() };
    framed(criterion, "client-64-puts", &requests);
    let written = |id| Answered { id, answer: Answer::Written { version: 1, revision: id } };
    framed(criterion, "client-64-answers", &ToClient::Replies((1..=TOGETHER).map(written).collect()));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = entries, messages, client_frames
}
criterion_main!(benches);

//! Real nodes under a nemesis: what twenty Clerks saw in a minute, held against every order that could explain it.
//!
//! ```text
//!   Clerk × 20 ──put, append, cas, delete, get──▶ node 1 ── relay ── node 2 ── relay ── node 3
//!        │                                          ▲ kill -9 and start · SIGSTOP and SIGCONT · links cut
//!        └──▶ history ──▶ linearizability check      └── nemesis
//! ```
//!
//! Keys come and go: each is written and read for a few seconds only, so that the search of each stays small however long
//! the run is. Every value is written once, so that a write that was carried out twice shows.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use kv_client::{Clerk, ClerkError, TlsFiles};
use link_relay::{Change, LinkPattern};
use simulator::linearizability::{Action, Limits, Model, Operation, Outcome, Verdict, check, write_history};

use crate::harness::{Cluster, PATIENCE, signal};
use crate::load::nodes_agree;
use crate::relay::{change, relayed_with};

const CLERKS: u64 = 20;
/// How many keys are in use at a time.
const KEYS: u64 = 8;
/// How long a key is in use.
const KEY_LIFE: Duration = Duration::from_secs(2);
/// How long a Clerk tries. Longer than an election, so that most operations come through; some give up.
const DEADLINE: Duration = Duration::from_secs(3);
/// A Clerk's rest between two operations is drawn up to this.
const REST_MS: u64 = 8;

/// How long the nemesis rages, in seconds.
const RAGE: Duration = Duration::from_secs(60);

/// What every Clerk shares.
struct Scene {
    began: Instant,
    history: Mutex<Vec<Operation>>,
    done: AtomicBool,
    written: AtomicU64,
}

impl Scene {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    /// The key that is in use now, in one of the places.
    fn key(&self, place: u64) -> String {
        format!("{place}-{}", self.began.elapsed().as_millis() / KEY_LIFE.as_millis())
    }
}

/// What became of an operation, as the history has it.
fn outcome<R>(answer: &Result<R, ClerkError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(ClerkError::Maybe { .. }) => Outcome::Unknown,
        // Whatever else it is, the Clerk says that it was not carried out.
        Err(_) => Outcome::Fail,
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

/// One client, until it is told to stop.
async fn live(number: u64, clerk: Clerk, scene: Arc<Scene>) {
    let mut random = SeededRandom::new(number);
    let mut seen: Option<(String, Option<String>)> = None;
    while !scene.done.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(random.below(REST_MS))).await;
        let key = scene.key(random.below(KEYS));
        let value = format!("{}.", scene.written.fetch_add(1, Ordering::SeqCst));
        let bytes = Bytes::from(value.clone());
        let call = scene.now();
        let (action, outcome) = match random.below(10) {
            0..=3 => {
                let answer = clerk.get(key.clone()).await;
                let value = answer.as_ref().ok().and_then(|found| found.as_ref()).map(|found| text(&found.value.0));
                if answer.is_ok() {
                    seen = Some((key.clone(), value.clone()));
                }
                // A read that failed claims nothing, and did nothing.
                let outcome = if answer.is_ok() { Outcome::Ok } else { Outcome::Fail };
                (Action::Get { key, value }, outcome)
            }
            4..=5 => {
                let answer = clerk.put(key.clone(), bytes).await;
                (Action::Put { key, value }, outcome(&answer))
            }
            6..=7 => {
                let answer = clerk.append(key.clone(), bytes).await;
                (Action::Append { key, value }, outcome(&answer))
            }
            8 => match seen.take() {
                Some((key, from)) => {
                    let outcome = match &from {
                        Some(from) => match clerk.cas(key.clone(), from.clone(), bytes).await {
                            Ok(false) => Outcome::Fail,
                            answer => outcome(&answer),
                        },
                        None => outcome(&clerk.put_if_version(key.clone(), bytes, 0).await),
                    };
                    (Action::Cas { key, from, to: value }, outcome)
                }
                None => continue,
            },
            _ => {
                let answer = clerk.delete(key.clone()).await;
                (Action::Delete { key }, outcome(&answer))
            }
        };
        let returned = (outcome != Outcome::Unknown).then(|| scene.now());
        scene.history.lock().unwrap().push(Operation { client: number, action, call, returned, outcome });
    }
}

/// How often the nemesis has done what.
#[derive(Debug, Default)]
struct Deeds {
    kills: u64,
    pauses: u64,
    cuts: u64,
}

/// Breaks something, mends it, and again, one thing at a time and now and then two.
async fn rage(cluster: &mut Cluster, seed: u64, span: Duration) -> Deeds {
    let mut random = SeededRandom::new(seed);
    let mut deeds = Deeds::default();
    let began = Instant::now();
    while began.elapsed() < span {
        tokio::time::sleep(Duration::from_millis(500 + random.below(1000))).await;
        // The leader more often than chance would have it.
        let leader = cluster.status(1 + random.below(3)).await.and_then(|status| status.leader_id);
        let victim = leader.filter(|_| random.below(2) == 0).unwrap_or(1 + random.below(3));
        let lasts = Duration::from_millis(200 + random.below(1800));
        match (deeds.kills + deeds.pauses + deeds.cuts) % 3 {
            0 => {
                deeds.kills += 1;
                cluster.kill(victim);
                tokio::time::sleep(lasts).await;
                cluster.run(victim);
            }
            1 => {
                deeds.pauses += 1;
                signal(cluster.pid(victim), "STOP");
                tokio::time::sleep(lasts).await;
                signal(cluster.pid(victim), "CONT");
            }
            _ => {
                deeds.cuts += 1;
                let patterns = match random.below(3) {
                    0 => vec![LinkPattern::out_of(victim)],
                    1 => vec![LinkPattern::into(victim)],
                    _ => vec![LinkPattern::out_of(victim), LinkPattern::into(victim)],
                };
                for pattern in &patterns {
                    change(cluster, *pattern, &Change::cut(true));
                }
                tokio::time::sleep(lasts).await;
                change(cluster, LinkPattern::ALL, &Change::cut(false));
            }
        }
    }
    deeds
}

async fn clerks_see_one_order(engine: &'static str, reads: &str) {
    let mut cluster = relayed_with(engine, &["--reads", reads]).await;
    let state = cluster.directory.path().join("state/quorate");
    let tls = TlsFiles { ca: state.join("ca.pem"), cert: state.join("client.pem"), key: state.join("client.key") };
    let scene = Arc::new(Scene {
        began: Instant::now(),
        history: Mutex::default(),
        done: AtomicBool::new(false),
        written: AtomicU64::new(0),
    });
    let mut clerks = Vec::new();
    for number in 0..CLERKS {
        let endpoints = (0..3).map(|turn| cluster.nodes[&(1 + (number + turn) % 3)].listen);
        let builder = Clerk::builder().endpoints(endpoints.map(|port| format!("127.0.0.1:{port}"))).tls(tls.clone());
        let clerk = builder.request_timeout(DEADLINE).connect().await.unwrap();
        clerks.push(tokio::spawn(live(number, clerk, scene.clone())));
    }
    let seed = u64::from(std::process::id());
    let deeds = rage(&mut cluster, seed, RAGE).await;
    scene.done.store(true, Ordering::SeqCst);
    for clerk in clerks {
        clerk.await.unwrap();
    }

    let history = std::mem::take(&mut *scene.history.lock().unwrap());
    let count = |outcome| history.iter().filter(|operation| operation.outcome == outcome).count();
    let (ok, failed, unknown) = (count(Outcome::Ok), count(Outcome::Fail), count(Outcome::Unknown));
    println!("{engine}, reads by {reads}, seed {seed}: {ok} ok, {failed} failed, {unknown} unknown; {deeds:?}");
    assert!(ok > 5_000, "only {ok} operations succeeded; {}", cluster.logs());
    assert!(deeds.kills >= 5 && deeds.pauses >= 5 && deeds.cuts >= 5, "{deeds:?}");
    let limits = Limits { time_max: Some(PATIENCE), ..Limits::default() };
    match check(&history, Model::Kv, &limits) {
        Verdict::Linearizable => {}
        other => {
            let kept = std::env::temp_dir().join(format!("history-{engine}-{reads}-{seed}.jsonl"));
            write_history(fs::File::create(&kept).unwrap(), &history).unwrap();
            panic!("{engine}, reads by {reads}: {other:?}; the history is in {}", kept.display());
        }
    }
    cluster.leader().await;
    nodes_agree(&cluster).await;
}

macro_rules! clerks_see_one_order {
    ($($name:ident: $engine:literal by $reads:literal,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            clerks_see_one_order($engine, $reads).await;
        }
    )*};
}

clerks_see_one_order! {
    raft_is_linearizable_under_kills_pauses_and_cuts_with_index_reads: "raft" by "index",
    raft_is_linearizable_under_kills_pauses_and_cuts_with_lease_reads: "raft" by "lease",
    raft_is_linearizable_under_kills_pauses_and_cuts_with_log_reads: "raft" by "log",
    paxos_is_linearizable_under_kills_pauses_and_cuts_with_index_reads: "paxos" by "index",
    paxos_is_linearizable_under_kills_pauses_and_cuts_with_lease_reads: "paxos" by "lease",
    paxos_is_linearizable_under_kills_pauses_and_cuts_with_log_reads: "paxos" by "log",
    paxos_is_linearizable_under_kills_pauses_and_cuts_with_quorum_reads: "paxos" by "quorum",
}

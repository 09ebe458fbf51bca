//! Clerks as witnesses: each writes and reads what the others do, and what all of them saw is the history of the run, to
//! be held against every order that could explain it.
//!
//! Keys come and go: each is written and read for a few seconds only, so that the search of each stays small however long
//! the run is. Every value is written once, so that a write that was carried out twice shows. At the end every key is read
//! once more, so that a write that was acknowledged and is lost shows even where nobody had looked in time.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use kv_client::{Clerk, ClerkError, TlsFiles};
use simulator::linearizability::{Action, Limits, Model, Operation, Outcome, Verdict, check, write_history};
use tokio::task::JoinHandle;

use crate::harness::{Cluster, GLANCE, PATIENCE};

/// How many keys are in use at a time.
const KEYS: u64 = 8;
/// How long a key is in use.
const KEY_LIFE: Duration = Duration::from_secs(2);
/// How long a Clerk tries. Longer than an election, so that most operations come through; some give up.
const DEADLINE: Duration = Duration::from_secs(3);
/// A Clerk's rest between two operations is drawn up to this.
const REST_MS: u64 = 8;

/// Clerks that write and read until they are told to stop.
pub struct Witnesses {
    scene: Arc<Scene>,
    clerks: Vec<JoinHandle<()>>,
}

/// What every Clerk shares.
struct Scene {
    began: Instant,
    history: Mutex<Vec<Operation>>,
    done: AtomicBool,
    written: AtomicU64,
    /// When each Clerk began what last succeeded.
    served: Vec<AtomicU64>,
}

impl Witnesses {
    /// Starts `count` Clerks that are given these nodes, each in another order.
    pub async fn start(cluster: &Cluster, count: u64, nodes: &[u64]) -> Witnesses {
        let tls = TlsFiles::in_dir(cluster.directory.path().join("state/quorate"));
        let scene = Arc::new(Scene {
            began: Instant::now(),
            history: Mutex::default(),
            done: AtomicBool::new(false),
            written: AtomicU64::new(0),
            served: (0..count).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut clerks = Vec::new();
        for number in 0..count {
            let turns = (0..nodes.len()).map(|turn| nodes[(number as usize + turn) % nodes.len()]);
            let endpoints = turns.map(|id| format!("127.0.0.1:{}", cluster.nodes[&id].listen));
            let builder = Clerk::builder().endpoints(endpoints).tls(tls.clone()).request_timeout(DEADLINE);
            clerks.push(tokio::spawn(live(number, builder.connect().await.unwrap(), scene.clone())));
        }
        Witnesses { scene, clerks }
    }

    /// Waits until every Clerk has succeeded with something that it began from now on; returns for how long.
    pub async fn all_are_served(&self, cluster: &Cluster) -> Duration {
        let (since, now) = (Instant::now(), self.scene.now());
        let waits = |clerk: &AtomicU64| clerk.load(Ordering::SeqCst) < now;
        while let Some(clerk) = self.scene.served.iter().position(waits) {
            assert!(since.elapsed() < PATIENCE, "Clerk {clerk} is not served; {}", cluster.logs());
            tokio::time::sleep(GLANCE).await;
        }
        since.elapsed()
    }

    /// Ends them, and has `reader`, who should not fail, look at every key once more.
    pub async fn finish(self, reader: &Clerk) -> Vec<Operation> {
        self.scene.done.store(true, Ordering::SeqCst);
        let readers_number = self.clerks.len() as u64;
        for clerk in self.clerks {
            clerk.await.unwrap();
        }
        let mut history = std::mem::take(&mut *self.scene.history.lock().unwrap());
        let keys: BTreeSet<String> = history.iter().map(|operation| key_of(&operation.action).to_owned()).collect();
        for key in keys {
            let call = self.scene.now();
            let value = reader.get(key.clone()).await.unwrap().map(|found| text(&found.value.0));
            let (action, outcome) = (Action::Get { key, value }, Outcome::Ok);
            let returned = Some(self.scene.now());
            history.push(Operation { client: readers_number, action, call, returned, outcome });
        }
        history
    }
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

/// How many operations came out so.
pub fn count(history: &[Operation], outcome: Outcome) -> usize {
    history.iter().filter(|operation| operation.outcome == outcome).count()
}

/// The history is linearizable; one that is not is kept under this name.
pub fn judge(name: &str, history: &[Operation]) {
    let limits = Limits { time_max: Some(PATIENCE), ..Limits::default() };
    match check(history, Model::Kv, &limits) {
        Verdict::Linearizable => {}
        other => {
            let kept = std::env::temp_dir().join(format!("history-{name}.jsonl"));
            write_history(fs::File::create(&kept).unwrap(), history).unwrap();
            panic!("{name}: {other:?}; the history is in {}", kept.display());
        }
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

fn key_of(action: &Action) -> &str {
    match action {
        Action::Get { key, .. }
        | Action::Put { key, .. }
        | Action::Append { key, .. }
        | Action::Delete { key }
        | Action::Cas { key, .. }
        | Action::CasRefused { key, .. } => key,
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
        if outcome == Outcome::Ok {
            scene.served[number as usize].store(call, Ordering::SeqCst);
        }
        scene.history.lock().unwrap().push(Operation { client: number, action, call, returned, outcome });
    }
}

//! Real nodes under a nemesis: what twenty Clerks saw in a minute, held against every order that could explain it.
//!
//! ```text
//!   Clerk × 20 ──put, append, cas, delete, get──▶ node 1 ── relay ── node 2 ── relay ── node 3
//!        │                                          ▲ kill -9 and start · SIGSTOP and SIGCONT · links cut
//!        └──▶ history ──▶ linearizability check      └── nemesis
//! ```

use std::time::{Duration, Instant};

use consensus_api::random::SeededRandom;
use link_relay::{Change, LinkPattern};
use simulator::linearizability::Outcome;

use crate::harness::{Cluster, signal};
use crate::load::nodes_agree;
use crate::relay::{change, relayed_with};
use crate::witnesses::{Witnesses, count, judge};

const CLERKS: u64 = 20;
/// How long the nemesis rages, in seconds.
const RAGE: Duration = Duration::from_secs(60);

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
    let witnesses = Witnesses::start(&cluster, CLERKS, &[1, 2, 3]).await;
    let seed = u64::from(std::process::id());
    let deeds = rage(&mut cluster, seed, RAGE).await;
    cluster.leader().await;
    let history = witnesses.finish(&cluster.clerk(&[1, 2, 3]).await).await;

    let (ok, failed) = (count(&history, Outcome::Ok), count(&history, Outcome::Fail));
    let unknown = count(&history, Outcome::Unknown);
    println!("{engine}, reads by {reads}, seed {seed}: {ok} ok, {failed} failed, {unknown} unknown; {deeds:?}");
    assert!(ok > 5_000, "only {ok} operations succeeded; {}", cluster.logs());
    assert!(deeds.kills >= 5 && deeds.pauses >= 5 && deeds.cuts >= 5, "{deeds:?}");
    judge(&format!("{engine}-{reads}-{seed}"), &history);
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

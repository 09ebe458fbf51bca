//! Members that come and go under load, while a nemesis kills whomever it likes.
//!
//! ```text
//!   founded: 1 ──▶ 2 and 3 join ──▶ 4 and 5 join ──▶ the leader is removed ──▶ another one is ──▶ three members
//!                  Clerks write and read, at members and at those that were removed
//!                  nemesis: kill -9 at a random moment of every step, and start again
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::pin::pin;
use std::time::{Duration, Instant};

use consensus_api::random::SeededRandom;
use kv_client::ClientError;
use kv_client::protocol::{BallotReply, ErrorCode, MemberRequest, MembersReply};
use simulator::linearizability::Outcome;

use crate::harness::{Client, Cluster, GLANCE, PATIENCE, wait_for_end};
use crate::load::{Load, check};
use crate::witnesses::{Witnesses, count, judge};

const CLERKS: u64 = 8;
/// How long the nemesis goes on after each step.
const RAGE: Duration = Duration::from_secs(3);
/// The longest that all of it may take.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Quick elections, and snapshots so often that some newcomers need one.
const QUICK: [&str; 6] = ["--election-timeout-ms", "300", "--snapshot-entries", "1000", "--log-tail-entries", "100"];
/// Several of the election timeouts above: whoever means to disturb has done it by then.
const QUIET: Duration = Duration::from_millis(1500);

/// One or two voters can do nothing while one of them is dead, so they must be let live now and then.
const OF_ONE_OR_TWO: (u64, u64) = (1500, 2500);
const OF_THREE_AND_MORE: (u64, u64) = (300, 900);

/// Kills members and starts them again.
struct Nemesis {
    random: SeededRandom,
    /// Whom it may kill.
    members: BTreeSet<u64>,
    /// Who is dead, and until when.
    dead: Vec<(u64, Instant)>,
    strike_at: Instant,
    /// How long it rests between two strikes, in milliseconds: at least, and at most.
    rest_ms: (u64, u64),
    kills: u64,
}

impl Nemesis {
    fn new(seed: u64, members: &[u64]) -> Nemesis {
        Nemesis {
            random: SeededRandom::new(seed),
            members: members.iter().copied().collect(),
            dead: Vec::new(),
            strike_at: Instant::now(),
            rest_ms: OF_ONE_OR_TWO,
            kills: 0,
        }
    }

    /// Rages for as long as this takes, from a random moment of it on.
    async fn during<R>(&mut self, cluster: &mut Cluster, deed: impl Future<Output = R>) -> R {
        let mut deed = pin!(deed);
        self.strike_at = Instant::now() + self.millis(0, 300);
        loop {
            let turns = self.dead.iter().map(|(_, until)| *until).chain([self.strike_at]);
            let turn = turns.min().unwrap_or(self.strike_at);
            tokio::select! {
                done = &mut deed => return done,
                () = tokio::time::sleep_until(turn.into()) => self.turn(cluster).await,
            }
        }
    }

    async fn turn(&mut self, cluster: &mut Cluster) {
        let now = Instant::now();
        self.revive(cluster, |until| until <= now);
        if self.strike_at > now {
            return;
        }
        self.strike_at = now + self.millis(self.rest_ms.0, self.rest_ms.1);
        // A minority of those that are members or about to be; of one or two, one for a short while.
        let dead_max = if self.members.len() < 5 { 1 } else { 2 };
        if self.dead.len() >= dead_max {
            return;
        }
        let alive: Vec<u64> =
            self.members.iter().copied().filter(|id| self.dead.iter().all(|(dead, _)| dead != id)).collect();
        let chosen = alive[self.random.below(alive.len() as u64) as usize];
        // The leader more often than chance would have it.
        let leader = cluster.status(chosen).await.and_then(|status| status.leader_id);
        let leader = leader.filter(|leader| alive.contains(leader) && self.random.below(2) == 0);
        let victim = leader.unwrap_or(chosen);
        cluster.kill(victim);
        self.kills += 1;
        let until = Instant::now() + self.millis(100, 800);
        self.dead.push((victim, until));
    }

    fn revive(&mut self, cluster: &mut Cluster, is_due: impl Fn(Instant) -> bool) {
        self.dead.retain(|(id, until)| {
            let is_due = is_due(*until);
            if is_due {
                cluster.run(*id);
            }
            !is_due
        });
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.random.below(most - least))
    }
}

fn voters(members: &MembersReply) -> BTreeSet<u64> {
    members.members.iter().filter(|member| member.voter).map(|member| member.id).collect()
}

/// Waits until whoever answers says that the members stand so.
async fn until(client: &Client, what: &str, stands: impl Fn(&MembersReply) -> bool) {
    let since = Instant::now();
    loop {
        let found = client.members().await;
        if found.as_ref().is_ok_and(&stands) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: {found:?}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// Removes a member, however often that has to be asked for: with members that die it may well be refused, or its answer
/// be lost.
async fn remove(client: &Client, id: u64) {
    let since = Instant::now();
    loop {
        match client.remove_member(id).await {
            Ok(_) => return,
            Err(error) if error.code() == Some(ErrorCode::NotFound) => return,
            Err(error) => {
                assert!(may_pass(&error) && since.elapsed() < PATIENCE, "node {id} is not removed: {error}");
            }
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Whether the same request may come through later.
fn may_pass(error: &ClientError) -> bool {
    use ErrorCode::{BadInput, IdInUse, Internal, Other, Unsupported};
    !matches!(error.code(), Some(BadInput | IdInUse | Internal | Other | Unsupported))
}

/// The highest epoch that one of these is in.
async fn epoch(cluster: &Cluster, members: &[u64]) -> BallotReply {
    let mut highest = BallotReply::default();
    for id in members {
        highest = highest.max(cluster.status(*id).await.map_or(highest, |status| status.ballot));
    }
    highest
}

/// All tables of these, which are the only nodes that run, are the same.
async fn agree(cluster: &Cluster, members: &[u64]) {
    let digests = cluster.digests().await;
    assert!(digests.keys().eq(members), "{digests:?}");
    let differing: BTreeSet<&String> = digests.values().collect();
    assert_eq!(differing.len(), 1, "tables differ: {digests:?}");
}

async fn from_one_to_three_to_five_to_three(engine: &'static str) {
    let (began, seed) = (Instant::now(), u64::from(std::process::id()));
    println!("{engine}, seed {seed}");
    let mut cluster = Cluster::start_with(engine, 1, &QUICK).await;
    for id in 2..=5 {
        cluster.invite(id, 1, &[]);
    }
    let everyone = [1, 2, 3, 4, 5];
    let client = cluster.client(&everyone);
    // They are told of the first node only, which does not stay.
    let witnesses = Witnesses::start(&cluster, CLERKS, &[1]).await;
    let mut nemesis = Nemesis::new(seed, &[1]);
    nemesis.during(&mut cluster, tokio::time::sleep(RAGE)).await;

    for newcomers in [[2, 3], [4, 5]] {
        for id in newcomers {
            cluster.run(id);
            nemesis.members.insert(id);
        }
        let all_vote = |members: &MembersReply| {
            let voters = voters(members);
            !members.changing && newcomers.iter().all(|id| voters.contains(id))
        };
        nemesis.during(&mut cluster, until(&client, "newcomers do not come to vote", all_vote)).await;
        println!("{engine}: {newcomers:?} vote after {:?}", began.elapsed());
        nemesis.rest_ms = OF_THREE_AND_MORE;
        nemesis.during(&mut cluster, tokio::time::sleep(RAGE)).await;
    }

    let leader = cluster.leader_of(&everyone).await;
    let other = if leader == 1 { 2 } else { 1 };
    for gone in [leader, other] {
        nemesis.members.remove(&gone);
        let staying: Vec<u64> = nemesis.members.iter().copied().collect();
        let client = cluster.client(&staying);
        nemesis.during(&mut cluster, remove(&client, gone)).await;
        println!("{engine}: {gone} is removed after {:?}", began.elapsed());
        nemesis.during(&mut cluster, tokio::time::sleep(RAGE)).await;
    }
    nemesis.revive(&mut cluster, |_| true);

    let members: Vec<u64> = nemesis.members.iter().copied().collect();
    cluster.leader_of(&members).await;
    let client = cluster.client(&members);
    until(&client, "others are members", |found| !found.changing && voters(found) == nemesis.members).await;
    println!("{engine}: all Clerks have found them after {:?}", witnesses.all_are_served(&cluster).await);
    let history = witnesses.finish(&cluster.clerk(&members).await).await;
    let (ok, failed) = (count(&history, Outcome::Ok), count(&history, Outcome::Fail));
    let (unknown, kills) = (count(&history, Outcome::Unknown), nemesis.kills);
    println!("{engine}: {ok} ok, {failed} failed, {unknown} unknown; {kills} kills; {:?}", began.elapsed());
    // Those that were removed run on, and nobody notices.
    let leader = cluster.leader_of(&members).await;
    let before = epoch(&cluster, &members).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!((cluster.leader_of(&members).await, epoch(&cluster, &members).await), (leader, before));
    for gone in everyone.into_iter().filter(|id| !members.contains(id)) {
        cluster.kill(gone);
    }
    agree(&cluster, &members).await;
    judge(&format!("reconfiguration-{engine}-{seed}"), &history);
    assert!(ok > 1_000 && kills >= 10, "{ok} ok, {kills} kills");
    assert!(began.elapsed() < RUN_MAX, "took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_grows_from_one_to_five_and_shrinks_to_three_while_its_members_are_killed() {
    from_one_to_three_to_five_to_three("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_grows_from_one_to_five_and_shrinks_to_three_while_its_members_are_killed() {
    from_one_to_three_to_five_to_three("paxos").await;
}

async fn a_dead_node_is_replaced(engine: &'static str) {
    let mut cluster = Cluster::start(engine, 3).await;
    let load = Load::start_gently(&cluster);
    load.progress(50, &cluster).await;
    cluster.kill(2);
    let kept = cluster.directory.path().join("kept");
    fs::rename(cluster.data_dir(2), &kept).unwrap();
    cluster.leader_of(&[1, 3]).await;

    // A new disk under the old id has forgotten what the old one promised.
    cluster.nodes.get_mut(&2).unwrap().joins = Some(vec!["--join".to_owned(), cluster.http(1)]);
    let mark = cluster.mark(2);
    cluster.run(2);
    assert_eq!(wait_for_end(&mut cluster, 2).code(), Some(1), "{}", cluster.logs());
    let said = cluster.lines_since(mark).join("\n");
    assert!(said.contains("has voted with another disk"), "{said}");
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();

    // So another node takes its place.
    cluster.invite(7, 1, &["--learner"]);
    cluster.run(7);
    let client = cluster.client(&[1, 3]);
    let is_learner = |members: &MembersReply| members.members.iter().any(|member| member.id == 7 && !member.voter);
    until(&client, "node 7 does not learn", is_learner).await;
    load.progress(50, &cluster).await;
    let request = MemberRequest { id: 7, replaces: Some(2), ..MemberRequest::default() };
    let reply = client.add_member(&request).await.unwrap();
    assert_eq!(voters(&reply.members), BTreeSet::from([1, 3, 7]), "{reply:?}");
    assert!(reply.members.members.iter().all(|member| member.id != 2), "{reply:?}");

    // It is as good as the one that it replaces: another one may die now.
    let leader = cluster.leader_of(&[1, 3, 7]).await;
    let victim = if leader == 7 { 1 } else { leader };
    cluster.kill(victim);
    load.progress(100, &cluster).await;

    // Whoever was replaced does not come back.
    fs::rename(&kept, cluster.data_dir(2)).unwrap();
    cluster.nodes.get_mut(&2).unwrap().joins = None;
    let mark = cluster.mark(2);
    cluster.run(2);
    cluster.line(mark, "node 2 is not a member").await;
    load.progress(100, &cluster).await;
    cluster.kill(2);

    cluster.run(victim);
    cluster.leader_of(&[1, 3, 7]).await;
    let journals = load.finish().await;
    check(&cluster, &journals).await;
    agree(&cluster, &[1, 3, 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_replaces_a_dead_node_and_survives_the_death_of_another() {
    a_dead_node_is_replaced("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_replaces_a_dead_node_and_survives_the_death_of_another() {
    a_dead_node_is_replaced("paxos").await;
}

//! Histories that a seed decides: clients go on while everything around them breaks, and then everything is repaired and
//! the cluster must come back.
//!
//! ```text
//!   calm ──▶ faults ───────────────────────────────▶ repaired ──▶ a proposal and reads at every node succeed,
//!   clients propose and read at random nodes          all links     within a bound, and all tables are equal
//!   loss, duplication, reordering, delay              whole, all
//!   crashes, cuts, pauses, trims, elections           nodes up
//! ```
//!
//! The seed draws every knob as well ([`Knobs`]): one run loses many messages and has fast disks, another has tiny
//! buffers and cuts all the time. A run in which nothing happened proves nothing, and fails as vacuous.

mod knobs;
mod outcome;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use consensus_api::{Blob, LogIndex, MonoTime, NodeId, RequestId};
use kv_machine::{Command, Expect, KvError};

use crate::checks::Violation;
use crate::faults::Survivors;
use crate::protocol::Protocol;
use crate::transcript;
use crate::world::{LinkFaults, SpanUs, World};

pub use knobs::Knobs;
pub use outcome::{Failure, Report};

/// How long nothing is broken on purpose, at first; longer where by then nothing was acknowledged and read.
const CALM: Duration = Duration::from_millis(1500);
/// How often the calm is prolonged.
const CALMS_MAX: u32 = 20;
/// How long things break.
const FAULTS: Duration = Duration::from_secs(6);
/// Within how many election timeouts the repaired cluster must work again.
const RECOVERY_TIMEOUTS_MAX: u32 = 30;
/// How many keys clients write.
const KEYS: u64 = 16;
/// How much of the history a failure shows.
const HISTORY_MAX: usize = 400;

/// Why a run ends early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("liveness: {0}")]
    NotLive(String),
    #[error("vacuous: the run had no {0}; its knobs promise some")]
    Vacuous(&'static str),
    #[error("the client cannot encode its command: {0}")]
    Client(#[from] KvError),
}

/// Runs the history of one seed.
pub fn run_seed<P: Protocol>(seed: u64) -> Result<Report, Failure> {
    let knobs = Knobs::draw(seed);
    let failure = |what, history| Failure { engine: P::NAME, seed, what, knobs: Box::new(knobs.clone()), history };
    let world = World::new(knobs.world(seed, HISTORY_MAX)).map_err(|found| failure(found.to_string(), Vec::new()))?;
    let mut run = Run::<P> {
        world,
        random: SeededRandom::new(seed ^ 0x5eed_cafe),
        knobs: knobs.clone(),
        acts: BTreeMap::new(),
        entered: 0,
        proposals: 0,
    };
    // A broken `assert!` of an engine is a finding like any other.
    let what = match catch_unwind(AssertUnwindSafe(|| run.live())) {
        Ok(Ok(recovered_in)) => {
            let (counts, fingerprint) = (run.world.counts(), run.world.trace().fingerprint());
            return Ok(Report { engine: P::NAME, seed, counts, recovered_in, fingerprint });
        }
        Ok(Err(broken)) => broken.to_string(),
        Err(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => format!("panic: {text}"),
            (_, Some(text)) => format!("panic: {text}"),
            _ => "panic".into(),
        },
    };
    Err(failure(what, transcript::timed_lines::<P>(&run.world.trace().take())))
}

/// What the seed makes happen.
#[derive(Clone, Copy, Debug)]
enum Act {
    Propose,
    Read,
    Campaign,
    Crash,
    Restart(NodeId),
    Cut,
    Heal,
    Pause,
    Resume(NodeId),
    Housekeep,
}

struct Run<P: Protocol> {
    world: World<P>,
    random: SeededRandom,
    knobs: Knobs,
    acts: BTreeMap<(MonoTime, u64), Act>,
    entered: u64,
    proposals: u64,
}

impl<P: Protocol> Run<P> {
    fn live(&mut self) -> Result<Duration, Broken> {
        self.plan(Duration::ZERO, Act::Propose);
        self.plan(Duration::ZERO, Act::Read);
        self.be_calm()?;
        for act in [Act::Campaign, Act::Crash, Act::Cut, Act::Pause, Act::Housekeep] {
            self.plan_next(act);
        }
        self.act_until(self.world.now() + FAULTS)?;
        self.check_not_vacuous()?;
        self.recover()
    }

    /// Messages are lost, doubled and late, but nobody crashes and no link is cut: so the cluster must work.
    fn be_calm(&mut self) -> Result<(), Broken> {
        for _ in 0..CALMS_MAX {
            self.act_until(self.world.now() + CALM)?;
            let counts = self.world.counts();
            if counts.acknowledged > 0 && counts.reads_served > 0 {
                return Ok(());
            }
        }
        Err(Broken::NotLive(format!("nothing is acknowledged and read in {CALMS_MAX} times {CALM:?} of calm")))
    }

    fn act_until(&mut self, until: MonoTime) -> Result<(), Broken> {
        while let Some(entry) = self.acts.first_entry() {
            let due = entry.key().0;
            if due > until {
                break;
            }
            let act = entry.remove();
            self.world.run_until(due)?;
            self.act(act)?;
            self.plan_next(act);
        }
        Ok(self.world.run_until(until)?)
    }

    fn plan(&mut self, after: Duration, act: Act) {
        self.entered += 1;
        self.acts.insert((self.world.now() + after, self.entered), act);
    }

    /// What recurs recurs after a time that is drawn around its knob.
    fn plan_next(&mut self, act: Act) {
        let every_ms = match act {
            Act::Propose => self.knobs.propose_every_ms,
            Act::Read => self.knobs.read_every_ms,
            Act::Campaign => self.knobs.campaign_every_ms,
            Act::Crash => self.knobs.crash_every_ms,
            Act::Cut => self.knobs.cut_every_ms,
            Act::Pause => self.knobs.pause_every_ms,
            Act::Housekeep => self.knobs.housekeep_every_ms,
            Act::Restart(_) | Act::Heal | Act::Resume(_) => return,
        };
        let after_us = self.random.below(2 * every_ms * 1000);
        self.plan(Duration::from_micros(after_us), act);
    }

    fn act(&mut self, act: Act) -> Result<(), Broken> {
        match act {
            Act::Propose => self.propose().map(|_| ()),
            Act::Read => {
                let node = self.any_node();
                Ok(self.world.read(node).map(|_| ())?)
            }
            Act::Campaign => {
                // Now and then several at once.
                for _ in 0..=self.random.below(2) {
                    let node = self.any_node();
                    self.world.campaign(node)?;
                }
                Ok(())
            }
            Act::Crash => self.crash(),
            Act::Restart(node) => Ok(self.world.restart(node)?),
            Act::Cut => {
                self.cut();
                Ok(())
            }
            Act::Heal => {
                self.world.heal();
                Ok(())
            }
            Act::Pause => {
                let node = self.any_node();
                if self.world.is_up(node) {
                    self.world.pause(node);
                    let after = self.fault_span();
                    self.plan(after, Act::Resume(node));
                }
                Ok(())
            }
            Act::Resume(node) => {
                self.world.resume(node);
                Ok(())
            }
            Act::Housekeep => self.housekeep(),
        }
    }

    /// Any node, but every other time the leader: that is where it hurts.
    fn any_node(&mut self) -> NodeId {
        let any = NodeId(1 + self.random.below(self.knobs.nodes));
        if self.random.below(2) == 0 { self.world.leader().unwrap_or(any) } else { any }
    }

    /// How long a fault lasts.
    fn fault_span(&mut self) -> Duration {
        Duration::from_micros(1000 + self.random.below(self.knobs.fault_span_ms_max * 1000))
    }

    fn propose(&mut self) -> Result<Option<RequestId>, Broken> {
        self.proposals += 1;
        let key = Blob::from(format!("k{}", self.random.below(KEYS)).into_bytes());
        let text = format!("{}.{}", self.proposals, "x".repeat(self.random.below(self.knobs.value_bytes_max) as usize));
        let suffix = Blob::from(text.into_bytes());
        // An append that is applied twice, or in another order, leaves a trace in the digest; now and then a put keeps
        // the values short.
        let command = if self.random.below(8) == 0 {
            Command::Put { key, value: suffix, expect: Expect::Any }
        } else {
            Command::Append { key, suffix, expect: Expect::Any }
        };
        let data: Bytes = command.encode()?;
        let node = self.any_node();
        Ok(self.world.propose(node, data)?)
    }

    fn crash(&mut self) -> Result<(), Broken> {
        let victims = match self.random.below(20) {
            0 => (1..=self.knobs.nodes).map(NodeId).collect(),
            _ => vec![self.any_node()],
        };
        for node in victims {
            let at_stake = self.world.at_stake(node);
            let survivors = Survivors {
                writes: self.random.below(at_stake.writes as u64 + 1) as usize,
                batches: self.random.below(at_stake.batches as u64 + 1) as usize,
            };
            self.world.crash(node, survivors)?;
            let after = self.fault_span();
            self.plan(after, Act::Restart(node));
        }
        Ok(())
    }

    fn cut(&mut self) {
        let one = self.any_node();
        let nodes: Vec<NodeId> = (1..=self.knobs.nodes).map(NodeId).collect();
        let kind = self.random.below(4);
        let halves = self.random.next_u64();
        let in_half = |node: NodeId| halves >> (node.0 % 64) & 1 == 1;
        for from in &nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                let apart = match kind {
                    // It hears nobody, or nobody hears it, or both; or the nodes fall into two halves.
                    0 => *to == one,
                    1 => *from == one,
                    2 => *from == one || *to == one,
                    _ => in_half(*from) != in_half(*to),
                };
                if apart {
                    self.world.cut(*from, *to);
                }
            }
        }
        let after = self.fault_span();
        self.plan(after, Act::Heal);
    }

    fn housekeep(&mut self) -> Result<(), Broken> {
        for node in self.world.ids() {
            self.world.compare_digest(node)?;
            if self.random.below(2) == 0 {
                self.world.flush_tables(node);
            }
        }
        if self.knobs.trims {
            let node = self.any_node();
            self.world.trim(node)?;
        }
        Ok(())
    }

    fn check_not_vacuous(&self) -> Result<(), Broken> {
        let counts = self.world.counts();
        let promised = [
            (counts.elections, "election"),
            (counts.crashes, "crash"),
            (counts.restarts, "restart"),
            (counts.acknowledged, "acknowledged proposal"),
            (counts.reads_served, "read"),
        ];
        match promised.iter().find(|(count, _)| *count == 0) {
            Some((_, what)) => Err(Broken::Vacuous(what)),
            None => Ok(()),
        }
    }
}

/// After the faults.
impl<P: Protocol> Run<P> {
    /// Repairs everything, and tells how long it took until a new proposal was acknowledged.
    fn recover(&mut self) -> Result<Duration, Broken> {
        self.acts.clear();
        self.world.heal();
        self.world.set_links(LinkFaults { delay: SpanUs::new(100, 1000), ..LinkFaults::default() });
        for node in self.world.ids() {
            self.world.resume(node);
            self.world.restart(node)?;
        }
        let repaired_at = self.world.now();
        let mut asked = Vec::new();
        self.wait("no proposal is acknowledged", |run| {
            asked.extend(run.propose()?);
            Ok(asked.iter().any(|id| run.world.acknowledged_at(*id).is_some()))
        })?;
        let recovered_in = self.world.now().since(repaired_at);
        self.wait("the nodes do not all apply what is committed", |run| Ok(run.all_have_applied_everything()))?;
        for node in self.world.ids() {
            let mut asked = Vec::new();
            // Again and again, because a bound on reads may be met.
            self.wait("a read is not served", |run| {
                asked.extend(run.world.read(node)?);
                Ok(asked.iter().any(|id| run.world.is_read_served(*id)))
            })?;
        }
        for node in self.world.ids() {
            self.world.compare_digest(node)?;
        }
        Ok(recovered_in)
    }

    fn all_have_applied_everything(&self) -> bool {
        let last = self.world.last_committed();
        let applied: Vec<Option<LogIndex>> = self.world.ids().iter().map(|node| self.world.applied(*node)).collect();
        applied.iter().all(|applied| *applied == Some(last))
    }

    /// Lets time run until `done`, as long as there is progress: a backlog may take its time, a standstill may not.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Run<P>) -> Result<bool, Broken>) -> Result<(), Broken> {
        let patience = Duration::from_millis(self.knobs.election_timeout_ms) * RECOVERY_TIMEOUTS_MAX;
        let (mut progress, mut progressed_at) = (self.progress(), self.world.now());
        while !done(self)? {
            if self.world.now().since(progressed_at) >= patience {
                return Err(Broken::NotLive(format!(
                    "{what} in {RECOVERY_TIMEOUTS_MAX} election timeouts of standstill"
                )));
            }
            self.world.run_until(self.world.now() + Duration::from_millis(self.knobs.election_timeout_ms / 4))?;
            if self.progress() > progress {
                (progress, progressed_at) = (self.progress(), self.world.now());
            }
        }
        Ok(())
    }

    /// Grows with everything that any node logs or applies. Not with what is applied alone: a Raft leader that has taken
    /// a backlog over commits nothing of it before its own first entry, at the end of it, has reached a quorum.
    fn progress(&self) -> u64 {
        let ids = self.world.ids();
        let applied = ids.iter().filter_map(|node| self.world.applied(*node));
        let logged = ids.iter().filter_map(|node| self.world.status(*node)).map(|status| status.last_index);
        applied.chain(logged).map(|index| index.0).sum()
    }
}

//! The life of one run, phase by phase.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus_api::random::SeededRandom;
use consensus_api::{Blob, LogIndex, MonoTime, NodeId, ReadMode, RequestId};
use kv_machine::{Command, Expect, KvError};

use super::{Case, Knobs, Operations, Report};
use crate::checks::Violation;
use crate::clients::{ClientError, Clients};
use crate::linearizability::{self, Model, Outcome, Verdict};
use crate::operator::Operator;
use crate::plan::{FaultPlan, Planned, Promise};
use crate::protocol::Protocol;
use crate::trace::Counts;
use crate::world::{LinkFaults, SpanUs, World};

/// How long nothing is broken on purpose, at first; longer where by then nothing was acknowledged and read.
const CALM: Duration = Duration::from_millis(1000);
/// How often the calm is prolonged.
const CALMS_MAX: u32 = 30;
/// Within how many election timeouts without any progress a repaired majority must have come back.
const RECOVERY_TIMEOUTS_MAX: u32 = 30;
/// How much longer it may take for each entry that was not applied everywhere when it was repaired: where each entry
/// travels alone, it is a round trip for each.
const RECOVERY_PER_ENTRY: Duration = Duration::from_millis(10);
/// How many operations clients may begin in each turn.
const OPERATIONS_PER_TURN: usize = 25;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(100);
/// For how many turns what was promised and has not come about is tried again.
const PROMISE_TURNS_MAX: u32 = 100;
/// How often all clients nap until a session has expired.
const NAPS_MAX: u32 = 5;
/// For how many election timeouts nothing may happen where all is well.
const QUIET_TIMEOUTS: u32 = 8;
/// How many states the search for an order may visit for one key.
const STATES_MAX: usize = 200_000;

/// Why a run ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("liveness: {0}")]
    NotLive(String),
    #[error("vacuous: the run had no {0}, which its profile or its knobs promise")]
    Vacuous(String),
    #[error("linearizability: {0}")]
    NotLinearizable(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a probe has no form on the wire: {0}")]
    Wire(#[from] KvError),
}

/// How a run ended well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    recovered_in: Option<Duration>,
    undecided: bool,
}

/// Something that is due in a run besides what its clients do.
#[derive(Clone, Debug)]
enum Act {
    Inflict(Planned),
    Relieve(Planned),
    Housekeep,
    /// Clients may do some more.
    Allow,
}

pub(super) struct Life<P: Protocol> {
    pub(super) world: World<P>,
    pub(super) clients: Clients,
    operator: Option<Operator>,
    random: SeededRandom,
    knobs: Knobs,
    plan: FaultPlan,
    acts: BTreeMap<(MonoTime, u64), Act>,
    entered: u64,
    probes: u64,
    /// What had happened before anything went wrong.
    calm: Counts,
}

impl<P: Protocol> Life<P> {
    pub(super) fn new(case: &Case, knobs: &Knobs, plan: &FaultPlan, events_max: usize) -> Result<Life<P>, Violation> {
        let mut world = World::new(knobs.world(case.seed, events_max))?;
        world.listen();
        Ok(Life {
            world,
            clients: Clients::new(knobs.habits.clone(), knobs.nodes + knobs.blank, case.seed ^ 0xc11e_4715),
            operator: None,
            random: SeededRandom::new(case.seed ^ 0x5eed_cafe),
            knobs: knobs.clone(),
            plan: plan.clone(),
            acts: BTreeMap::new(),
            entered: 0,
            probes: 0,
            calm: Counts::default(),
        })
    }

    pub(super) fn live(&mut self) -> Result<Ending, Broken> {
        self.enter(Duration::ZERO, Act::Housekeep);
        self.enter(Duration::ZERO, Act::Allow);
        self.be_calm()?;
        self.suffer()?;
        let mut recovered_in = None;
        // Nobody promises anything without a quorum; but what clients have seen must still be linearizable.
        if let Some(operator) = &mut self.operator {
            operator.stop();
        }
        if let Some(majority) = self.world.majority_to_repair(self.random.next_u64()) {
            recovered_in = Some(self.recover(&majority)?);
            self.converge()?;
        }
        self.check_not_vacuous()?;
        let undecided = self.check_history()?;
        Ok(Ending { recovered_in, undecided })
    }

    pub(super) fn report(&mut self, case: &Case, ending: Ending) -> Report {
        let mut operations = Operations::default();
        for operation in self.clients.history() {
            match operation.outcome {
                Outcome::Ok => operations.done += 1,
                Outcome::Fail => operations.failed += 1,
                Outcome::Unknown => operations.unknown += 1,
            }
        }
        Report {
            engine: P::NAME,
            case: case.clone(),
            counts: self.world.counts(),
            operations,
            recovered_in: ending.recovered_in,
            lasted: self.world.now().since(MonoTime::default()),
            undecided: ending.undecided,
            fingerprint: self.world.trace().fingerprint(),
        }
    }

    /// Messages are lost, doubled and late, but nobody crashes and no link is cut: so the cluster must work.
    fn be_calm(&mut self) -> Result<(), Broken> {
        for _ in 0..CALMS_MAX {
            self.go_on_until(self.world.now() + CALM)?;
            let counts = self.world.counts();
            if counts.acknowledged > 0 && counts.reads_served > 0 {
                return Ok(());
            }
        }
        Err(Broken::NotLive(format!("nothing is acknowledged and read in {CALMS_MAX} times {CALM:?} of calm")))
    }

    /// What was planned goes wrong.
    fn suffer(&mut self) -> Result<(), Broken> {
        let began = self.world.now();
        self.calm = self.world.counts();
        let habits = self.knobs.operator.clone();
        self.operator = habits.map(|habits| Operator::new(habits, began, self.random.next_u64()));
        for planned in self.plan.faults.clone() {
            self.enter(planned.at, Act::Inflict(planned));
        }
        self.go_on_until(began + self.plan.lasts)?;
        self.keep_promises()
    }

    /// What was promised and found nobody whom it could hit, as where every synced record was trimmed, tries again.
    fn keep_promises(&mut self) -> Result<(), Broken> {
        if self.knobs.takes_snapshots && self.world.counts().snapshots_taken == 0 {
            self.world.ids().into_iter().for_each(|node| self.world.order_snapshot(node));
            self.go_on_until(self.world.now() + TURN)?;
        }
        for _ in 0..PROMISE_TURNS_MAX {
            if self.lacks_expiry() || self.missing().is_none() {
                break;
            }
            self.go_on_until(self.world.now() + TURN)?;
        }
        // No client says a word until its session has expired: that takes ticks.
        for _ in 0..NAPS_MAX {
            let Some(sessions) = self.knobs.habits.sessions.clone().filter(|_| self.lacks_expiry()) else { break };
            self.clients.nap(self.world.now());
            self.go_on_until(self.world.now() + sessions.ttl * 2)?;
        }
        for _ in 0..PROMISE_TURNS_MAX {
            let Some(broken) = self.broken_promise() else { break };
            let kept_by = |planned: &&Planned| planned.promised && broken.0.contains(&planned.fault.kind());
            let again: Vec<Planned> = self.plan.faults.iter().filter(kept_by).copied().collect();
            for planned in again {
                // Where it has begun and not struck, it is provoked once more.
                self.act(Act::Relieve(planned))?;
                if self.broken_promise() == Some(broken) {
                    self.act(Act::Inflict(planned))?;
                }
            }
            self.go_on_until(self.world.now() + TURN)?;
        }
        Ok(())
    }

    fn broken_promise(&self) -> Option<Promise> {
        let counts = self.world.counts();
        self.plan.promises().into_iter().find(|promise| promise.count(&counts) == 0)
    }

    /// Whether time has not been told, or no session has expired that should have.
    fn lacks_expiry(&self) -> bool {
        let (counts, sessions) = (self.world.counts(), &self.knobs.habits.sessions);
        let expires = sessions.as_ref().is_some_and(|sessions| sessions.naps_permille > 0);
        expires && (counts.ticks == 0 || counts.sessions_expired == 0)
    }

    /// What the knobs promise and has not come about.
    fn missing(&self) -> Option<&'static str> {
        let counts = self.world.counts();
        let promises = self.knobs.promises(P::READS.contains(&ReadMode::Quorum));
        promises.into_iter().find(|(_, count)| count(&counts) == 0).map(|(what, _)| what)
    }

    /// A majority is repaired, and the rest stays broken; tells how long it took until a new command was committed.
    fn recover(&mut self, majority: &BTreeSet<NodeId>) -> Result<Duration, Broken> {
        self.acts.retain(|_, act| matches!(act, Act::Housekeep | Act::Allow));
        self.world.repair(majority)?;
        self.world.set_links(LinkFaults { delay: SpanUs::new(100, 1000), ..LinkFaults::default() });
        let repaired_at = self.world.now();
        let mut asked = Vec::new();
        self.wait("no new command is committed by a repaired majority", |life| {
            for node in majority {
                asked.extend(life.probe(*node)?);
            }
            Ok(asked.iter().any(|id| life.world.acknowledged_at(*id).is_some()))
        })?;
        Ok(self.world.now().since(repaired_at))
    }

    /// Everything that can be is repaired: then all nodes apply all that is committed, and every key is read at each.
    fn converge(&mut self) -> Result<(), Broken> {
        self.world.repair_all()?;
        self.acts.retain(|_, act| matches!(act, Act::Housekeep));
        self.clients.stop();
        self.wait("a change of members that was under way does not end", |life| Ok(life.world.are_members_settled()))?;
        let nodes = self.world.whole_members();
        let mut probes = Vec::new();
        self.wait("the nodes do not all apply what is committed", |life| {
            // A new command carries the commit index of the ones before it to those who missed it.
            if probes.is_empty() {
                probes.extend(life.probe(nodes[0])?);
            }
            Ok(life.all_have_applied_everything(&nodes))
        })?;
        self.clients.audit(&nodes, self.world.now());
        self.wait("not every key is read at every node", |life| Ok(life.clients.are_done()))?;
        self.stay_calm()?;
        for node in nodes {
            self.world.compare_digest(node)?;
        }
        Ok(())
    }

    /// All is well, and stays so: whoever was removed and runs on disturbs nobody.
    fn stay_calm(&mut self) -> Result<(), Broken> {
        if self.knobs.operator.is_none() || !self.world.is_safe_from_strays() {
            return Ok(());
        }
        let before = self.world.counts().elections;
        self.go_on_until(self.world.now() + Duration::from_millis(self.knobs.election_timeout_ms) * QUIET_TIMEOUTS)?;
        match self.world.counts().elections - before {
            0 => Ok(()),
            times => Err(Broken::NotLive(format!("where all is well somebody is elected, {times} times"))),
        }
    }

    /// Since the faults began.
    fn check_not_vacuous(&self) -> Result<(), Broken> {
        let (counts, before) = (self.world.counts(), &self.calm);
        if counts.acknowledged == before.acknowledged {
            return Err(Broken::Vacuous("acknowledged command".to_owned()));
        }
        if counts.reads_served == before.reads_served {
            return Err(Broken::Vacuous("read".to_owned()));
        }
        if let Some(what) = self.missing() {
            return Err(Broken::Vacuous(what.to_owned()));
        }
        match self.broken_promise() {
            Some(broken) => Err(Broken::Vacuous(broken.to_string())),
            None => Ok(()),
        }
    }

    /// True where the search was given up.
    pub(super) fn check_history(&self) -> Result<bool, Broken> {
        let limits = linearizability::Limits { states_max: STATES_MAX, time_max: None };
        let history = self.clients.history();
        match linearizability::check(history, Model::Kv, &limits) {
            Verdict::Linearizable => Ok(false),
            Verdict::Unknown(_) => Ok(true),
            Verdict::NotLinearizable(offence) => Err(Broken::NotLinearizable(offence.describe(history))),
        }
    }
}

/// What goes on in every phase.
impl<P: Protocol> Life<P> {
    fn enter(&mut self, after: Duration, act: Act) {
        self.entered += 1;
        self.acts.insert((self.world.now() + after, self.entered), act);
    }

    /// The world, its clients and what is due go on.
    fn go_on_until(&mut self, until: MonoTime) -> Result<(), Broken> {
        loop {
            let act_due = self.acts.first_key_value().map_or(MonoTime::NEVER, |(place, _)| place.0);
            let operator_due = self.operator.as_ref().map_or(MonoTime::NEVER, Operator::wakes_at);
            let due = act_due.min(self.clients.wakes_at()).min(operator_due).min(until);
            self.world.run_until_answered(due)?;
            self.clients.hear(&mut self.world)?;
            let now = self.world.now();
            if now < due {
                continue;
            }
            while let Some(entry) = self.acts.first_entry().filter(|entry| entry.key().0 <= now) {
                let act = entry.remove();
                self.act(act)?;
            }
            self.clients.wake(&mut self.world)?;
            if let Some(operator) = &mut self.operator {
                operator.wake(&mut self.world)?;
            }
            if now >= until {
                return Ok(());
            }
        }
    }

    fn act(&mut self, act: Act) -> Result<(), Broken> {
        match act {
            Act::Inflict(planned) => {
                if self.world.inflict(&planned)? {
                    self.enter(planned.lasting, Act::Relieve(planned));
                }
                Ok(())
            }
            Act::Relieve(planned) => Ok(self.world.relieve(&planned)?),
            Act::Housekeep => self.housekeep(),
            Act::Allow => {
                self.clients.allow(OPERATIONS_PER_TURN, self.world.now());
                self.enter(TURN, Act::Allow);
                Ok(())
            }
        }
    }

    fn housekeep(&mut self) -> Result<(), Broken> {
        for node in self.world.ids() {
            self.world.compare_digest(node)?;
            if self.random.below(2) == 0 {
                self.world.flush_tables(node)?;
            }
            if self.random.below(1000) < self.knobs.demands_permille {
                self.world.order_snapshot(node);
            }
        }
        let after_us = self.random.below(2 * self.knobs.housekeep_every_ms * 1000);
        self.enter(Duration::from_micros(after_us), Act::Housekeep);
        Ok(())
    }

    /// A command under a key that no client knows.
    fn probe(&mut self, node: NodeId) -> Result<Option<RequestId>, Broken> {
        self.probes += 1;
        let (key, value) = (Blob::from(b"probe".to_vec()), Blob::from(self.probes.to_string().into_bytes()));
        let command = Command::Put { key, value, expect: Expect::Any };
        Ok(self.world.propose(node, command.encode()?)?)
    }

    fn all_have_applied_everything(&self, nodes: &[NodeId]) -> bool {
        let last = self.world.last_committed();
        nodes.iter().all(|node| self.world.applied(*node) == Some(last))
    }

    /// Goes on until `done`, within a bound, and as long as there is progress: a backlog may take its time, a standstill
    /// may not. Progress alone is not enough: leaders that follow each other log something each time, for ever.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Life<P>) -> Result<bool, Broken>) -> Result<(), Broken> {
        let patience = Duration::from_millis(self.knobs.election_timeout_ms) * RECOVERY_TIMEOUTS_MAX;
        let (began, bound) = (self.world.now(), patience * 2 + RECOVERY_PER_ENTRY * self.backlog());
        let (mut progress, mut progressed_at) = (self.progress(), self.world.now());
        while !done(self)? {
            let now = self.world.now();
            if now.since(progressed_at) >= patience || now.since(began) >= bound {
                return Err(Broken::NotLive(format!(
                    "{what}: {:?} after the repair, {:?} after the last progress; the bounds are {bound:?} and {patience:?}",
                    now.since(began),
                    now.since(progressed_at)
                )));
            }
            self.go_on_until(now + Duration::from_millis(self.knobs.election_timeout_ms / 4))?;
            if self.progress() > progress {
                (progress, progressed_at) = (self.progress(), self.world.now());
            }
        }
        Ok(())
    }

    /// How much some node has to catch up with.
    fn backlog(&self) -> u32 {
        let ids = self.world.whole_members();
        let last = ids.iter().filter_map(|node| self.world.status(*node)).map(|status| status.last_index.0).max();
        let behind = |node: &NodeId| last.unwrap_or(0).saturating_sub(self.world.applied(*node).unwrap_or_default().0);
        ids.iter().map(|node| u32::try_from(behind(node)).unwrap_or(u32::MAX)).max().unwrap_or(0)
    }

    /// Grows with everything that any node logs or applies. Not with what is applied alone: a Raft leader that has taken
    /// a backlog over commits nothing of it before its own first entry, at the end of it, has reached a quorum.
    fn progress(&self) -> u64 {
        let ids = self.world.ids();
        let applied = ids.iter().filter_map(|node| self.world.applied(*node));
        let logged = ids.iter().filter_map(|node| self.world.status(*node)).map(|status| status.last_index);
        applied.chain(logged).map(|index: LogIndex| index.0).sum()
    }
}

//! Runs the search and tells what came of it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use consensus_api::EngineError;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::model::cluster::Cluster;
use crate::model::{Flaw, Scope};
use crate::protocol::Protocol;

/// How often the search is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Different states so far.
    pub states: usize,
    /// Since when it runs.
    pub elapsed: Duration,
}

/// A path that shows something.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The property that it bears on.
    pub property: &'static str,
    /// Whether it breaks the property; otherwise it shows that the model is not vacuous.
    pub is_violation: bool,
    /// The choices that lead there, in words.
    pub path: Vec<String>,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The engine's name.
    pub engine: &'static str,
    /// What was searched.
    pub scope: Scope,
    /// Different states.
    pub states: usize,
    /// Steps that were taken, those to a known state included.
    pub steps: usize,
    /// The length of the longest of the paths that were taken, which need not be the shortest to where they lead.
    pub depth: usize,
    /// Different states of one node: so many times the engine was in a new situation.
    pub local_states: usize,
    /// Different messages.
    pub messages: usize,
    /// Whether there was nothing left to search.
    pub is_complete: bool,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Examples that should exist and were not found.
    pub unseen: Vec<&'static str>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether nothing was violated, and everything was seen that shows the model to be alive.
    pub fn is_good(&self) -> bool {
        self.unseen.is_empty() && self.violations().next().is_none()
    }

    /// What was violated.
    pub fn violations(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_violation)
    }

    /// The path on which this flaw was found.
    pub fn found(&self, flaw: Flaw) -> Option<&Finding> {
        self.violations().find(|finding| finding.property == flaw.property())
    }
}

/// Searches everything within the scope; `look` is called now and then.
///
/// # Errors
///
/// Where the engine does not start from a blank disk.
pub fn check<P>(scope: Scope, look: impl FnMut(Progress)) -> Result<Report, EngineError>
where
    P: Protocol<Message: Sync> + Sync,
{
    let wanted = |flaw: Flaw| HasDiscoveries::AnyOf(BTreeSet::from([flaw.property()]));
    let until = scope.seek.map_or(HasDiscoveries::AnyFailures, wanted);
    let (is_depth_first, threads) = (scope.depth_first, scope.threads.max(1));
    let cluster = Cluster::<P>::new(scope)?;
    let search = cluster.checker().threads(threads).finish_when(until);
    Ok(if is_depth_first { watch(search.spawn_dfs(), look) } else { watch(search.spawn_bfs(), look) })
}

/// Looks on until the search ends, and ends it at the bound.
fn watch<P>(mut search: impl Checker<Cluster<P>>, mut look: impl FnMut(Progress)) -> Report
where
    P: Protocol<Message: Sync> + Sync,
{
    let begin = Instant::now();
    let mut is_stopped = false;
    let threads = search.handles();
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(LOOK_EVERY);
        let states = search.unique_state_count();
        look(Progress { states, elapsed: begin.elapsed() });
        if states >= search.model().scope().states_max {
            is_stopped = true;
            search.model().set_stopped(true);
        }
    }
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    // Or the paths to what was found could not be walked again.
    search.model().set_stopped(false);
    report(&search, is_stopped, begin.elapsed())
}

fn report<P>(search: &impl Checker<Cluster<P>>, is_stopped: bool, elapsed: Duration) -> Report
where
    P: Protocol<Message: Sync> + Sync,
{
    let cluster = search.model();
    let mut discoveries = search.discoveries();
    let (mut findings, mut unseen) = (Vec::new(), Vec::new());
    for property in cluster.properties() {
        let is_violation = property.expectation != Expectation::Sometimes;
        match discoveries.remove(property.name) {
            Some(path) => {
                let path = path.into_actions().into_iter().map(|choice| cluster.describe(choice)).collect();
                findings.push(Finding { property: property.name, is_violation, path });
            }
            None if !is_violation => unseen.push(property.name),
            None => {}
        }
    }
    Report {
        engine: P::NAME.as_str(),
        scope: cluster.scope().clone(),
        states: search.unique_state_count(),
        steps: search.state_count(),
        depth: search.max_depth(),
        local_states: cluster.local_states(),
        messages: cluster.messages(),
        is_complete: !is_stopped && findings.iter().all(|finding| !finding.is_violation),
        findings,
        unseen,
        elapsed,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { campaigns, commands, crashes, slow_disks, .. } = self.scope;
        let seconds = self.elapsed.as_secs_f64();
        let extent = if self.is_complete { "complete" } else { "not complete" };
        writeln!(
            f,
            "{}: {campaigns} campaigns, {commands} commands, {crashes} crashes, {slow_disks} slow disks: {extent}",
            self.engine
        )?;
        writeln!(
            f,
            "  {} states, {} steps, paths of up to {} steps, in {seconds:.1} s ({:.0} states/s)",
            self.states,
            self.steps,
            self.depth,
            self.states as f64 / seconds
        )?;
        writeln!(f, "  {} states of one node, {} messages", self.local_states, self.messages)?;
        for finding in &self.findings {
            let word = if finding.is_violation { "VIOLATED" } else { "seen" };
            writeln!(f, "  {word}: {} ({} steps)", finding.property, finding.path.len())?;
            if finding.is_violation {
                finding.path.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
            }
        }
        self.unseen.iter().try_for_each(|property| writeln!(f, "  never seen: {property}"))
    }
}

//! The smallest part of a history that no order explains, and why.
//!
//! First the shortest beginning of the history that has no order. Then every operation that it does not take is loosened:
//! a get is forgotten, a write may take effect at any time or never. Each of these asks for less, so what still has no
//! order is a proof for the whole; a write must not simply be left out, or a get of its value would look like an offence.

use std::ops::Range;

use super::plan::{Effect, Step, relevant};
use super::search::{Budget, Found, search};
use super::states::{State, States};
use super::{Action, Operation, quoted};

/// What all searches for the smallest part may visit together, and each one.
const STATES_MAX: usize = 500_000;
const STATES_EACH_MAX: usize = 20_000;
/// The most searches for the smallest part.
const TRIALS_MAX: usize = 4_000;
/// The most values that are tried in place of one that was read.
const ALTERNATIVES_MAX: usize = 32;

/// Operations of one key that no order explains, though the least is asked of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Which key.
    pub key: String,
    /// Where they stand in the history, in the order of their calls.
    pub operations: Vec<usize>,
    /// Those of them that matter only because they may have taken effect, whenever that was.
    pub at_any_time: Vec<usize>,
    /// With the return of which of them it breaks: up to just before it, there is an order.
    pub breaks_at: usize,
    /// If that is a get: values that it could have read instead; not necessarily all.
    pub would_fit: Vec<Option<String>>,
    /// If that is a get: whether nobody had begun by then to bring about what it read.
    pub from_nowhere: bool,
}

/// Finds the smallest part of the key's steps, which have no order.
pub(super) fn find(key: &str, steps: Vec<Step>, states: &mut States, budget: Budget) -> Offence {
    let mut trials = Trials { states, budget, left: TRIALS_MAX, states_left: STATES_MAX };
    let steps = trials.shortest_beginning(&steps);
    let mut steps = trials.loosen(steps);
    steps.sort_by_key(|step| (step.call, step.operation));
    let breaks_at = steps.iter().filter(|step| step.deadline.is_some()).max_by_key(|step| step.deadline);
    // Without a step that must take effect every order would do.
    let breaks_at = breaks_at.map_or(0, |step| step.operation);
    let would_fit = trials.would_fit(&steps, breaks_at);
    Offence {
        key: key.to_string(),
        operations: steps.iter().map(|step| step.operation).collect(),
        at_any_time: steps.iter().filter(|step| step.deadline.is_none()).map(|step| step.operation).collect(),
        breaks_at,
        would_fit,
        from_nowhere: steps.len() == 1,
    }
}

struct Trials<'a> {
    states: &'a mut States,
    budget: Budget,
    left: usize,
    states_left: usize,
}

impl Trials<'_> {
    /// Whether it is certain that the steps have no order.
    fn fails(&mut self, steps: &[Step]) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let states = STATES_EACH_MAX.min(self.states_left);
        let found = search(steps, self.states, Budget { states, ..self.budget });
        if found == Found::Spent(super::Spent::States) {
            self.states_left = self.states_left.saturating_sub(states);
        }
        found == Found::None
    }

    /// What had been called by the earliest return at which there was no order any more.
    fn shortest_beginning(&mut self, steps: &[Step]) -> Vec<Step> {
        let mut returns: Vec<u64> = steps.iter().filter_map(|step| step.deadline).collect();
        returns.sort_unstable();
        returns.dedup();
        let (mut works, mut breaks) = (0, returns.len().saturating_sub(1));
        while works < breaks {
            let middle = usize::midpoint(works, breaks);
            if self.fails(&beginning(steps, returns[middle])) {
                breaks = middle;
            } else {
                works = middle + 1;
            }
        }
        returns.get(breaks).map_or_else(Vec::new, |end| beginning(steps, *end))
    }

    /// Loosens all that can be loosened: large parts first, then one by one.
    fn loosen(&mut self, steps: Vec<Step>) -> Vec<Step> {
        let mut steps = relevant(steps, self.states);
        steps.sort_by_key(|step| (step.call, step.operation));
        let mut size = steps.len().max(1);
        loop {
            let mut at = 0;
            while at < steps.len() {
                let range = at..(at + size).min(steps.len());
                let asks = steps[range.clone()].iter().any(|step| step.deadline.is_some());
                let looser = relevant(loosened(&steps, range), self.states);
                let fewer = looser.len() < steps.len();
                if asks && self.fails(&looser) {
                    steps = looser;
                    at += if fewer { 0 } else { size };
                } else {
                    at += size;
                }
            }
            if size == 1 {
                return steps;
            }
            size /= 2;
        }
    }

    /// What the step that breaks could have read instead.
    fn would_fit(&mut self, steps: &[Step], breaks_at: usize) -> Vec<Option<String>> {
        let Some(get) = steps.iter().position(|step| step.operation == breaks_at) else { return Vec::new() };
        if !matches!(steps[get].effect, Effect::Read(_)) {
            return Vec::new();
        }
        let mut values = vec![State::ABSENT];
        values.extend(steps.iter().filter(|step| step.operation != breaks_at).filter_map(|step| match step.effect {
            Effect::Write(state) | Effect::Cas { to: state, .. } | Effect::Read(state) => Some(state),
            Effect::Append(_) => None,
        }));
        values.sort_unstable();
        values.dedup();
        values.truncate(ALTERNATIVES_MAX);
        let mut steps = steps.to_vec();
        values.retain(|value| {
            steps[get].effect = Effect::Read(*value);
            search(&steps, self.states, Budget { states: STATES_EACH_MAX, ..self.budget }) == Found::Order
        });
        values.into_iter().map(|value| self.states.text(value).map(|text| text.to_string())).collect()
    }
}

/// What is known when the clock stands at `end`: what returns later may as well never have been seen.
fn beginning(steps: &[Step], end: u64) -> Vec<Step> {
    let called = steps.iter().filter(|step| step.call <= end);
    let known = |step: &Step| {
        if step.deadline.is_some_and(|deadline| deadline > end) { loose(step) } else { Some(*step) }
    };
    called.filter_map(known).collect()
}

fn loosened(steps: &[Step], range: Range<usize>) -> Vec<Step> {
    let each = steps.iter().enumerate();
    each.filter_map(|(at, step)| if range.contains(&at) { loose(step) } else { Some(*step) }).collect()
}

/// The step if nothing is asked of it: nothing at all where it only reads.
fn loose(step: &Step) -> Option<Step> {
    let reads = matches!(step.effect, Effect::Read(_));
    (!reads).then_some(Step { deadline: None, ..*step })
}

impl Offence {
    /// The offence in words, several lines. `history` is the one that was checked.
    pub fn describe(&self, history: &[Operation]) -> String {
        let count = match self.operations.len() {
            1 => "this operation".to_string(),
            count => format!("these {count} operations"),
        };
        let mut lines = vec![format!("key {}: no order explains {count}:", quoted(Some(&self.key)))];
        let line = |index: &usize| {
            let operation = history.get(*index)?;
            Some(format!("  client {}: {}, {}", operation.client, operation.action, operation.fate()))
        };
        let (loose, firm): (Vec<usize>, Vec<usize>) =
            self.operations.iter().partition(|index| self.at_any_time.contains(index));
        lines.extend(firm.iter().filter_map(line));
        if !loose.is_empty() {
            lines.push("not even if each of these may take effect at any time after its call, or never:".to_string());
            lines.extend(loose.iter().filter_map(line));
        }
        lines.push(self.reason(history));
        lines.join("\n")
    }

    /// Where it breaks, in a sentence.
    pub fn reason(&self, history: &[Operation]) -> String {
        let Some(operation) = history.get(self.breaks_at) else { return String::new() };
        let at = operation.returned.unwrap_or(operation.call);
        let start = format!("It breaks at {at} ns, when client {}'s {} returns", operation.client, operation.action);
        match &operation.action {
            Action::CasRefused { from, found, .. } if from.as_ref() == Some(found) => {
                format!("{start}: it says that it failed on the very value that it expected.")
            }
            Action::Get { .. } | Action::CasRefused { .. } | Action::Cas { .. } if self.from_nowhere => {
                format!("{start}: nobody had begun by then to write what it saw.")
            }
            _ if !self.would_fit.is_empty() => {
                let values: Vec<String> = self.would_fit.iter().map(|value| quoted(value.as_deref())).collect();
                format!("{start}: it could have seen {}, and not what it saw.", values.join(" or "))
            }
            _ => format!("{start}: up to then there was an order, from then on there is none."),
        }
    }
}

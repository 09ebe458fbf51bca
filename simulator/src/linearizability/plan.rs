//! What is known of a key's operations before any order is tried.
//!
//! Nothing here decides anything; it is what lets the search leave out orders that cannot be needed, or cannot work:
//!
//! - *producers*: who can bring about a value that somebody must have seen. If the value is gone, and whoever could
//!   bring it about again is called too late for somebody who still has to see it, the order is lost.
//! - *lands on*: if an append is the only one that can bring about a value that must be seen, it must bring about just
//!   that, and so what it is appended to must be seen as well, and so on down to the first piece.
//! - *observable*: whether any claim could tell that a write took effect. One that is not, and that need not have taken
//!   effect, is left out: if it took effect, then every operation from there to the next put or delete claims nothing
//!   (a claim would tell), so they do as well without it.
//! - *private*: a put whose value is only ever looked at as it is, by gets.

mod claims;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::states::{State, States};
use super::{Action, Operation};
pub(super) use claims::Claims;

/// What an operation does to the state of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// It saw this, and changed nothing.
    Read(State),
    /// It makes this of any state. To delete is to make a key absent.
    Write(State),
    /// It appends this piece.
    Append(State),
    /// It saw the one and made the other.
    Cas { from: State, to: State },
}

/// An operation as the search sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its place in the history.
    pub(super) operation: usize,
    pub(super) call: u64,
    /// When it must have taken effect by; without one, it may as well never do.
    pub(super) deadline: Option<u64>,
    pub(super) effect: Effect,
}

/// The steps of a key's operations. Those that neither claim anything nor can have an effect are left out.
pub(super) fn steps_of(history: &[Operation], indexes: &[usize], states: &mut States) -> Vec<Step> {
    let mut steps = Vec::with_capacity(indexes.len());
    for &operation in indexes {
        let Operation { action, call, outcome, .. } = &history[operation];
        let deadline = history[operation].deadline();
        let effect = match action {
            Action::Get { value, .. } => Effect::Read(states.of_value(value.as_deref())),
            Action::Put { value, .. } => Effect::Write(states.of_text(value)),
            Action::Append { value, .. } => Effect::Append(states.of_text(value)),
            Action::Delete { .. } => Effect::Write(State::ABSENT),
            Action::Cas { from, to, .. } => match (states.of_value(from.as_deref()), states.of_text(to)) {
                (from, to) if from == to => Effect::Read(from),
                (from, to) => Effect::Cas { from, to },
            },
            Action::CasRefused { from, found, .. } if from.as_ref() == Some(found) => Effect::Read(State::NEVER),
            Action::CasRefused { found, .. } => Effect::Read(states.of_text(found)),
        };
        let reads = matches!(effect, Effect::Read(_));
        if deadline.is_some() || (!reads && *outcome != super::Outcome::Fail) {
            steps.push(Step { operation, call: *call, deadline, effect });
        }
    }
    steps
}

/// The steps without those that need not have taken effect and that nobody could have noticed.
pub(super) fn relevant(mut steps: Vec<Step>, states: &States) -> Vec<Step> {
    // To leave out a compare-and-set is to leave out its claim, and then others may be unobservable too.
    loop {
        let claims = Claims::of(&steps, states);
        let before = steps.len();
        steps.retain(|step| step.deadline.is_some() || claims.observe(step.effect, states));
        leave_out_surplus(&mut steps);
        if steps.len() == before {
            return steps;
        }
    }
}

/// Leaves out steps without a deadline of which there are more of a kind than can be of use.
///
/// Between two steps that must take effect, all before the last put or delete is in vain, and so is what leads from a
/// state back to it; so no such kind is needed twice there, and the ones that were called first serve as well as any.
/// Appends are not of this sort: each makes the value longer.
fn leave_out_surplus(steps: &mut Vec<Step>) {
    let mandatory = steps.iter().filter(|step| step.deadline.is_some()).count();
    let mut calls: HashMap<Effect, Vec<u64>> = HashMap::new();
    for step in steps.iter().filter(|step| step.deadline.is_none()) {
        calls.entry(step.effect).or_default().push(step.call);
    }
    calls.values_mut().for_each(|calls| calls.sort_unstable());
    let mut left: HashMap<Effect, usize> = calls.keys().map(|effect| (*effect, mandatory)).collect();
    steps.retain(|step| {
        let is_append = matches!(step.effect, Effect::Append(_));
        if step.deadline.is_some() || is_append || calls[&step.effect].len() <= mandatory {
            return true;
        }
        let is_early = step.call <= calls[&step.effect][mandatory.max(1) - 1];
        let left = left.entry(step.effect).or_default();
        let is_kept = is_early && *left > 0;
        *left -= usize::from(is_kept);
        is_kept
    });
}

/// What is known of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Steps of the same class have the same effect.
    pub(super) class: usize,
    /// The state that it must meet, if it must take effect at all.
    pub(super) needs: Option<State>,
    /// The state that it must bring about.
    pub(super) lands_on: Option<State>,
    /// The states that somebody needs and that it can bring about.
    pub(super) produces: Vec<State>,
    pub(super) observable: bool,
    pub(super) private: bool,
}

/// The steps and what is known of them. A step's id is its place here.
#[derive(Debug)]
pub(super) struct Plan {
    /// First those with a deadline, the earliest first; then the others.
    pub(super) steps: Vec<Step>,
    /// How many have a deadline.
    pub(super) mandatory: usize,
    /// The ids in order of their calls.
    pub(super) by_call: Vec<usize>,
    /// For each deadline, one above the highest id with a deadline that is called by then.
    pub(super) reach: Vec<usize>,
    pub(super) facts: Vec<Facts>,
    /// Who needs each state, by its slot; the earliest deadline first.
    pub(super) needed_by: Vec<Vec<usize>>,
    /// Who can bring about each state that is needed, by its slot; the earliest call first.
    pub(super) produced_by: Vec<Vec<usize>>,
    pub(super) claims: Claims,
}

/// Somebody saw what nobody could have brought about.
#[derive(Debug)]
pub(super) struct Contradiction;

impl Plan {
    pub(super) fn new(steps: &[Step], states: &mut States) -> Result<Plan, Contradiction> {
        let mut steps = relevant(steps.to_vec(), states);
        steps.sort_by_key(|step| (step.deadline.is_none(), step.deadline, step.call));
        let mandatory = steps.iter().take_while(|step| step.deadline.is_some()).count();
        let mut by_call: Vec<usize> = (0..steps.len()).collect();
        by_call.sort_by_key(|id| steps[*id].call);
        let claims = Claims::of(&steps, states);
        let mut plan = Plan {
            facts: facts_of(&steps, &claims, states),
            reach: reach(&steps, mandatory, &by_call),
            needed_by: Vec::new(),
            produced_by: Vec::new(),
            steps,
            mandatory,
            by_call,
            claims,
        };
        plan.find_producers(states)?;
        plan.needed_by = vec![Vec::new(); states.len()];
        plan.produced_by = vec![Vec::new(); states.len()];
        for (id, facts) in plan.facts.iter().enumerate() {
            facts.needs.iter().for_each(|state| plan.needed_by[state.slot()].push(id));
        }
        for &id in &plan.by_call {
            plan.facts[id].produces.iter().for_each(|state| plan.produced_by[state.slot()].push(id));
        }
        Ok(plan)
    }

    /// Finds who can bring about each state that is needed, and what follows where only one step can.
    fn find_producers(&mut self, states: &mut States) -> Result<(), Contradiction> {
        let makers = Makers::of(&self.steps, states);
        let mut found = BTreeSet::new();
        let mut needed: Vec<State> = self.facts.iter().filter_map(|facts| facts.needs).collect();
        while let Some(state) = needed.pop() {
            if !found.insert(state) {
                continue;
            }
            let producers = makers.of_state(state, states);
            for id in &producers {
                self.facts[*id].produces.push(state);
            }
            match producers[..] {
                // Every key begins absent.
                _ if state == State::ABSENT => {}
                [] => return Err(Contradiction),
                [only] => needed.extend(self.force(only, state, states)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes that the step must bring about the state; returns the state that it must therefore meet.
    fn force(&mut self, id: usize, state: State, states: &mut States) -> Result<Option<State>, Contradiction> {
        let facts = &mut self.facts[id];
        match self.steps[id].effect {
            Effect::Append(_) if facts.lands_on.is_some_and(|other| other != state) => return Err(Contradiction),
            Effect::Append(piece) => {
                facts.lands_on = Some(state);
                let whole = states.text(state).zip(states.text(piece)).and_then(|(whole, piece)| {
                    whole.strip_suffix(&*piece).filter(|rest| !rest.is_empty()).map(str::to_string)
                });
                // The whole piece and nothing before it can come from an absent or from an empty value: either will do.
                facts.needs = whole.map(|whole| states.of_text(&whole));
            }
            Effect::Cas { from, .. } => facts.needs = Some(from),
            Effect::Read(_) | Effect::Write(_) => {}
        }
        Ok(facts.needs)
    }
}

fn facts_of(steps: &[Step], claims: &Claims, states: &States) -> Vec<Facts> {
    let mut classes: HashMap<Effect, usize> = HashMap::new();
    let facts = |step: &Step| {
        let next = classes.len();
        Facts {
            class: *classes.entry(step.effect).or_insert(next),
            needs: match step.effect {
                Effect::Read(state) => Some(state),
                Effect::Cas { from, .. } => step.deadline.map(|_| from),
                Effect::Write(_) | Effect::Append(_) => None,
            },
            lands_on: None,
            produces: Vec::new(),
            observable: claims.observe(step.effect, states),
            private: matches!(step.effect, Effect::Write(state) if claims.only_gets(state, states)),
        }
    };
    steps.iter().map(facts).collect()
}

fn reach(steps: &[Step], mandatory: usize, by_call: &[usize]) -> Vec<usize> {
    let mut called = by_call.iter().peekable();
    let mut highest = 0;
    let reach = |step: &Step| {
        while let Some(id) = called.next_if(|id| Some(steps[**id].call) <= step.deadline) {
            highest = if *id < mandatory { highest.max(id + 1) } else { highest };
        }
        highest
    };
    steps[..mandatory].iter().map(reach).collect()
}

/// The steps by what they can bring about.
struct Makers {
    of_value: HashMap<State, Vec<usize>>,
    of_suffix: HashMap<Arc<str>, Vec<usize>>,
    suffix_bytes: BTreeSet<usize>,
}

impl Makers {
    fn of(steps: &[Step], states: &States) -> Makers {
        let mut makers = Makers { of_value: HashMap::new(), of_suffix: HashMap::new(), suffix_bytes: BTreeSet::new() };
        for (id, step) in steps.iter().enumerate() {
            match step.effect {
                Effect::Read(_) => {}
                Effect::Write(value) | Effect::Cas { to: value, .. } => {
                    makers.of_value.entry(value).or_default().push(id);
                }
                Effect::Append(piece) => {
                    let Some(piece) = states.text(piece) else { continue };
                    makers.suffix_bytes.insert(piece.len());
                    makers.of_suffix.entry(piece).or_default().push(id);
                }
            }
        }
        makers
    }

    fn of_state(&self, state: State, states: &States) -> Vec<usize> {
        let mut producers = self.of_value.get(&state).cloned().unwrap_or_default();
        let Some(text) = states.text(state) else { return producers };
        for &bytes in &self.suffix_bytes {
            // An empty piece brings about nothing but an empty value.
            let suffix = text.len().checked_sub(bytes).and_then(|start| text.get(start..));
            let suffix = suffix.filter(|suffix| !suffix.is_empty() || text.is_empty());
            producers.extend(suffix.and_then(|suffix| self.of_suffix.get(suffix)).into_iter().flatten());
        }
        producers
    }
}

//! The search for an order: Wing & Gong's, with Lowe's two refinements ("Testing for linearizability", 2017).
//!
//! ```text
//!   the next return ──► its operation is linearized already? ──yes──► the one after it
//!        ▲                       │ no
//!        │                       ▼
//!        └── it is its turn ── one of those that are called and not linearized takes effect
//! ```
//!
//! An operation takes effect just in time: when it returns, or when one that must come after it does. This loses no
//! order, for whatever takes effect earlier can as well wait for the first return that needs it. A pair of (linearized
//! set, state) that was met before leads nowhere new.
//!
//! What keeps the choices few, each of them with no loss (`C` is where the search stands, and from it some completion
//! leads to the end):
//!
//! - A get takes effect as soon as it has been called and the state is what it saw: in the completion it can be moved to
//!   here, since it changes nothing.
//! - Of those with the same effect, the one with the earliest deadline goes first: in the completion the two can be
//!   exchanged.
//! - Before a put or delete takes effect, others do whose traces it wipes out at once: writes that nobody can notice, and
//!   private ones of which all gets have been called. Without them the rest of the completion works as well, because
//!   from their places in it to the next put or delete nobody claims anything.
//! - Where a state is left that somebody still must see and that nobody can bring about again in time, the order is lost.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::plan::{Contradiction, Effect, Plan, Step};
use super::states::{State, States};

/// How often the clock is looked at, in visited states.
const CLOCK_EVERY: usize = 256;

/// What one search may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) states: usize,
    pub(super) until: Option<Instant>,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An order; it was replayed.
    Order,
    /// There is none.
    None,
    /// Nothing, and the budget is spent.
    Spent(Spent),
}

/// Which part of the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    States,
    Time,
}

/// Searches an order of the steps of one key, which begins absent.
pub(super) fn search(steps: &[Step], states: &mut States, budget: Budget) -> Found {
    match Plan::new(steps, states) {
        Ok(plan) => Search::new(&plan, states).run(budget),
        Err(Contradiction) => Found::None,
    }
}

/// A choice that was made, and what else there was to choose.
struct Choice {
    candidates: Vec<usize>,
    next: usize,
    state: State,
    due: usize,
    linearized: usize,
}

struct Search<'a> {
    plan: &'a Plan,
    states: &'a mut States,
    waiting: Waiting,
    linearized: Vec<bool>,
    order: Vec<usize>,
    state: State,
    /// The step with the earliest deadline that is not linearized.
    due: usize,
    /// By the slot of a state, how many still need it.
    needs: Vec<u32>,
    /// By the slot of a state: up to where in the plan's lists all are linearized.
    needed: Vec<Cell<usize>>,
    produced: Vec<Cell<usize>>,
    begins_claim: HashMap<State, bool>,
    visited: HashSet<Box<[u64]>>,
}

impl<'a> Search<'a> {
    fn new(plan: &'a Plan, states: &'a mut States) -> Search<'a> {
        Search {
            waiting: Waiting::new(&plan.by_call),
            linearized: vec![false; plan.steps.len()],
            order: Vec::with_capacity(plan.steps.len()),
            state: State::ABSENT,
            due: 0,
            needs: plan.needed_by.iter().map(|by| by.len() as u32).collect(),
            needed: vec![Cell::new(0); plan.needed_by.len()],
            produced: vec![Cell::new(0); plan.produced_by.len()],
            begins_claim: HashMap::new(),
            visited: HashSet::new(),
            plan,
            states,
        }
    }

    fn run(mut self, budget: Budget) -> Found {
        if self.plan.facts.iter().filter_map(|facts| facts.needs).any(|state| self.comes_too_late(state)) {
            return Found::None;
        }
        if self.advance() {
            self.assert_order();
            return Found::Order;
        }
        let mut choices = vec![self.choice()];
        while let Some(choice) = choices.last_mut() {
            let Some(&id) = choice.candidates.get(choice.next) else {
                choices.pop();
                continue;
            };
            choice.next += 1;
            let (state, due, linearized) = (choice.state, choice.due, choice.linearized);
            self.back_to(state, due, linearized);
            if !self.take(id) {
                continue;
            }
            if self.advance() {
                self.assert_order();
                return Found::Order;
            }
            if !self.visited.insert(self.place()) {
                continue;
            }
            if self.visited.len() >= budget.states {
                return Found::Spent(Spent::States);
            }
            let look = self.visited.len().is_multiple_of(CLOCK_EVERY);
            if look && budget.until.is_some_and(|until| Instant::now() >= until) {
                return Found::Spent(Spent::Time);
            }
            choices.push(self.choice());
        }
        Found::None
    }

    /// Linearizes the gets that see what they saw, and goes on to the first return that is not satisfied. Returns whether
    /// there is none.
    fn advance(&mut self) -> bool {
        loop {
            while self.due < self.plan.mandatory && self.linearized[self.due] {
                self.due += 1;
            }
            if self.due == self.plan.mandatory {
                return true;
            }
            for id in self.called() {
                if self.plan.steps[id].effect == Effect::Read(self.state) {
                    self.linearize(id);
                }
            }
            if !self.linearized[self.due] {
                return false;
            }
        }
    }

    /// Those that were called before the due return and are not linearized, in the order of their calls.
    fn called(&self) -> Vec<usize> {
        let Some(deadline) = self.plan.steps.get(self.due).and_then(|step| step.deadline) else { return Vec::new() };
        self.waiting.iter().take_while(|id| self.plan.steps[*id].call <= deadline).collect()
    }

    /// What could take effect next: the due step first, then what it waits for, then the others by their deadlines.
    fn choice(&mut self) -> Choice {
        let mut called = self.called();
        called.sort_unstable();
        let wanted = self.plan.facts[self.due].needs;
        let mut classes = HashSet::new();
        let mut candidates = Vec::new();
        for id in called {
            if matches!(self.plan.steps[id].effect, Effect::Read(_)) || !classes.insert(self.plan.facts[id].class) {
                continue;
            }
            if let Some(after) = self.after(id)
                && (id == self.due || self.is_worth_a_try(id, after))
            {
                candidates.push((id != self.due, Some(after) != wanted, id));
            }
        }
        candidates.sort_unstable();
        let candidates = candidates.into_iter().map(|(_, _, id)| id).collect();
        Choice { candidates, next: 0, state: self.state, due: self.due, linearized: self.order.len() }
    }

    /// Whether anything can be gained if the step takes effect before it is due.
    fn is_worth_a_try(&self, id: usize, after: State) -> bool {
        // One that nobody can notice can as well wait until it is due, or until a put or delete wipes it out. Not so a
        // compare-and-set, which needs what is there now.
        if !self.is_noticed(id) && !matches!(self.plan.steps[id].effect, Effect::Cas { .. }) {
            return false;
        }
        // One that may as well never take effect need not do it in vain; but a put or delete that leaves the state as it
        // is may still wipe out what others made of it.
        let changes = after != self.state || matches!(self.plan.steps[id].effect, Effect::Write(_));
        id < self.plan.mandatory || (changes && after != State::DARK)
    }

    /// Whether anybody who is still to be linearized can notice the step.
    fn is_noticed(&self, id: usize) -> bool {
        let facts = &self.plan.facts[id];
        match self.plan.steps[id].effect {
            Effect::Write(state) if facts.private => self.needs_of(state) > 0,
            _ => facts.observable,
        }
    }

    /// The state after the step, if it can take effect now.
    fn after(&mut self, id: usize) -> Option<State> {
        let noticed = self.is_noticed(id);
        match self.plan.steps[id].effect {
            Effect::Read(state) => (state == self.state).then_some(state),
            Effect::Write(state) => Some(if noticed { state } else { State::DARK }),
            Effect::Cas { from, to } => (from == self.state).then_some(if noticed { to } else { State::DARK }),
            Effect::Append(piece) => {
                let lands_on = self.plan.facts[id].lands_on;
                if !noticed || (self.state == State::DARK && lands_on.is_none()) {
                    return Some(State::DARK);
                }
                let state = self.states.append(self.state, piece);
                match lands_on {
                    Some(lands_on) => (lands_on == state).then_some(state),
                    None => Some(if self.begins_claim(state) { state } else { State::DARK }),
                }
            }
        }
    }

    fn begins_claim(&mut self, state: State) -> bool {
        let (claims, states) = (&self.plan.claims, &*self.states);
        *self.begins_claim.entry(state).or_insert_with(|| claims.begin_with(state, states))
    }

    /// Lets the step take effect. Returns whether the order can still work out.
    fn take(&mut self, id: usize) -> bool {
        let before = self.state;
        let Some(after) = self.after(id) else { return false };
        if matches!(self.plan.steps[id].effect, Effect::Write(_)) {
            self.take_what_is_wiped_out(id);
        }
        self.linearize(id);
        self.state = after;
        !self.comes_too_late(before) && !self.plan.facts[id].produces.iter().any(|state| self.comes_too_late(*state))
    }

    /// Whether somebody still must see the state, which is not there now, and nobody is called early enough to bring it
    /// about.
    fn comes_too_late(&self, state: State) -> bool {
        if state == self.state || self.needs_of(state) == 0 {
            return false;
        }
        let slot = state.slot();
        let first_open = |list: &[usize], cursor: &Cell<usize>| {
            let open = list[cursor.get()..].iter().position(|id| !self.linearized[*id]);
            cursor.set(open.map_or(list.len(), |ahead| cursor.get() + ahead));
            list.get(cursor.get()).copied()
        };
        let Some(needing) = first_open(&self.plan.needed_by[slot], &self.needed[slot]) else { return false };
        let producer = first_open(&self.plan.produced_by[slot], &self.produced[slot]);
        let called = producer.map(|id| self.plan.steps[id].call);
        called.is_none_or(|call| self.plan.steps[needing].deadline.is_some_and(|deadline| deadline < call))
    }

    /// Linearizes what leaves no trace if it takes effect right before a put or delete, with the gets that see it.
    fn take_what_is_wiped_out(&mut self, by: usize) {
        let called = self.called();
        for &id in called.iter().filter(|id| **id != by) {
            let mandatory = id < self.plan.mandatory;
            match self.plan.steps[id].effect {
                Effect::Write(_) | Effect::Append(_) if mandatory && !self.is_noticed(id) => self.linearize(id),
                Effect::Write(state) if self.plan.facts[id].private && self.needs_of(state) > 0 => {
                    let sees = |id: &usize| !self.linearized[*id] && self.plan.steps[*id].effect == Effect::Read(state);
                    let gets: Vec<usize> = called.iter().copied().filter(sees).collect();
                    if gets.len() == self.needs_of(state) as usize {
                        self.linearize(id);
                        gets.into_iter().for_each(|get| self.linearize(get));
                    }
                }
                _ => {}
            }
        }
    }

    fn needs_of(&self, state: State) -> u32 {
        self.needs.get(state.slot()).copied().unwrap_or(0)
    }

    fn linearize(&mut self, id: usize) {
        assert!(!self.linearized[id], "an operation takes effect once");
        self.linearized[id] = true;
        self.order.push(id);
        self.waiting.remove(id);
        let facts = &self.plan.facts[id];
        facts.needs.iter().for_each(|state| self.needs[state.slot()] -= 1);
    }

    /// Undoes everything since that many were linearized.
    fn back_to(&mut self, state: State, due: usize, linearized: usize) {
        for id in self.order.drain(linearized..).rev() {
            self.linearized[id] = false;
            self.waiting.restore(id);
            let facts = &self.plan.facts[id];
            if let Some(state) = facts.needs {
                self.needs[state.slot()] += 1;
                let at = self.plan.needed_by[state.slot()].partition_point(|other| *other < id);
                let cursor = &self.needed[state.slot()];
                cursor.set(cursor.get().min(at));
            }
            for state in &facts.produces {
                let called_before = |other: &usize| self.plan.steps[*other].call < self.plan.steps[id].call;
                let at = self.plan.produced_by[state.slot()].partition_point(called_before);
                let cursor = &self.produced[state.slot()];
                cursor.set(cursor.get().min(at));
            }
        }
        (self.state, self.due) = (state, due);
    }

    /// The linearized set and the state, as a key of the memo. All with a deadline before the due one are in the set, and
    /// none beyond its reach, so only those between are written out, and the ones without a deadline up to the last.
    fn place(&self) -> Box<[u64]> {
        let window = &self.linearized[self.due..self.plan.reach[self.due].max(self.due)];
        let optional = &self.linearized[self.plan.mandatory..];
        let optional = &optional[..optional.iter().rposition(|linearized| *linearized).map_or(0, |last| last + 1)];
        let mut place = vec![self.due as u64, self.state.number()];
        for bits in [window, optional] {
            let word = |bits: &[bool]| bits.iter().rev().fold(0, |word, bit| word << 1 | u64::from(*bit));
            place.extend(bits.chunks(64).map(word));
        }
        place.into()
    }

    /// Replays the order: whatever the search left out, what it accepts is linearizable.
    fn assert_order(&mut self) {
        let mut state = State::ABSENT;
        let mut latest_call = 0;
        for &id in &self.order {
            let step = self.plan.steps[id];
            latest_call = latest_call.max(step.call);
            assert!(step.deadline.is_none_or(|deadline| latest_call <= deadline), "one came before it was called");
            state = match step.effect {
                Effect::Write(state) => state,
                Effect::Append(piece) => self.states.append(state, piece),
                Effect::Read(seen) | Effect::Cas { from: seen, .. } if seen != state => {
                    panic!("the order found contradicts what operation {} saw", step.operation)
                }
                Effect::Read(seen) => seen,
                Effect::Cas { to, .. } => to,
            };
        }
    }
}

/// The steps that are not linearized, in the order of their calls: a list from which any is taken out, and put back in
/// the opposite order, in no time (Knuth's dancing links).
struct Waiting {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Waiting {
    fn new(by_call: &[usize]) -> Waiting {
        let head = by_call.len();
        let mut waiting = Waiting { next: vec![head; head + 1], previous: vec![head; head + 1] };
        for &id in by_call {
            let last = waiting.previous[head];
            (waiting.next[last], waiting.previous[id]) = (id, last);
            (waiting.next[id], waiting.previous[head]) = (head, id);
        }
        waiting
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let head = self.next.len() - 1;
        std::iter::successors(Some(self.next[head]), |id| Some(self.next[*id])).take_while(move |id| *id != head)
    }

    fn remove(&mut self, id: usize) {
        let (previous, next) = (self.previous[id], self.next[id]);
        (self.next[previous], self.previous[next]) = (next, previous);
    }

    fn restore(&mut self, id: usize) {
        let (previous, next) = (self.previous[id], self.next[id]);
        (self.next[previous], self.previous[next]) = (id, id);
    }
}

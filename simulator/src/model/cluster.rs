//! The state space: three nodes, everything that was ever sent, and the choices that lead on.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consensus_api::{EngineError, NodeId};
use stateright::{Model, Property};

use crate::model::Scope;
use crate::model::catalogue::{Catalogue, Memo};
use crate::model::history::{Deeds, Flaw, Flaws, History};
use crate::model::node::{Envelope, Happening, NODES, Node};
use crate::protocol::Protocol;

/// A number in a catalogue.
type Number = u32;

/// Everything that tells one state from another, by numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: [Number; NODES],
    // What was ever sent to each, in order of number.
    inboxes: [Vec<Number>; NODES],
    history: Number,
    flaws: Flaws,
    campaigns: u8,
    commands: u8,
    crashes: u8,
}

/// Something that may happen next, at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Choice {
    node: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Campaign,
    Propose(u8),
    Hear(Number),
    Sync,
    Crash,
}

/// What a node becomes, and what it does on the way.
#[derive(Debug)]
struct Effect {
    node: Number,
    // Whether its disk is another one afterwards.
    writes: bool,
    // To which node, which message.
    sent: Vec<(usize, Number)>,
    deeds: Deeds,
}

/// A cluster of three under one scope.
pub(crate) struct Cluster<P: Protocol> {
    scope: Scope,
    nodes: Catalogue<Node<P>>,
    messages: Catalogue<Envelope<P::Message>>,
    histories: Catalogue<History>,
    // None: nothing changes.
    effects: Memo<(Number, What), Option<Arc<Effect>>>,
    initial: State,
    // No state has successors any more: the search is to end.
    is_stopped: AtomicBool,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Cluster<P> {
    pub(crate) fn new(scope: Scope) -> Result<Cluster<P>, EngineError> {
        let (nodes, histories) = (Catalogue::new(), Catalogue::new());
        let mut numbers = [0; NODES];
        for (id, number) in (1..).zip(&mut numbers) {
            *number = nodes.number(Node::blank(NodeId(id))?);
        }
        let initial = State {
            nodes: numbers,
            inboxes: Default::default(),
            history: histories.number(History::default()),
            flaws: Flaws::default(),
            campaigns: 0,
            commands: 0,
            crashes: 0,
        };
        Ok(Cluster {
            scope,
            nodes,
            messages: Catalogue::new(),
            histories,
            effects: Memo::new(),
            initial,
            is_stopped: AtomicBool::new(false),
            protocol: PhantomData,
        })
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Ends the search, or lets paths be walked again once it has ended.
    pub(crate) fn set_stopped(&self, stopped: bool) {
        self.is_stopped.store(stopped, Ordering::Relaxed);
    }

    /// How many different nodes there were, in all states together.
    pub(crate) fn local_states(&self) -> usize {
        self.nodes.len()
    }

    /// How many different messages.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// A choice in words.
    pub(crate) fn describe(&self, choice: Choice) -> String {
        let node = choice.node + 1;
        match choice.what {
            What::Campaign => format!("{node} campaigns"),
            What::Propose(number) => format!("{node} is given command {number}"),
            What::Hear(message) => {
                let envelope = self.messages.value(message);
                format!("{node} hears {}: {}", envelope.from, P::describe(&envelope.message))
            }
            What::Sync => format!("{node} has its oldest write on disk"),
            What::Crash => format!("{node} loses power and starts again"),
        }
    }

    /// What the choice does to the node; the same whatever the others are.
    fn effect(&self, node: Number, what: What) -> Option<Arc<Effect>> {
        self.effects.recall(node as usize, (node, what), || {
            let happening = match what {
                What::Campaign => Happening::Campaign,
                What::Propose(number) => Happening::Propose(number),
                What::Hear(message) => Happening::Hear(self.messages.value(message)),
                What::Sync => Happening::Sync,
                What::Crash => Happening::Crash,
            };
            let before = self.nodes.value(node);
            let reaction = before.react(happening, &self.scope);
            let writes = before.platter() != reaction.node.platter();
            let becomes = self.nodes.number(reaction.node);
            let sent: Vec<(usize, Number)> = reaction.sent.into_iter().map(|envelope| self.post(envelope)).collect();
            let is_same = becomes == node && sent.is_empty() && reaction.deeds.flaws == Flaws::default();
            (!is_same).then(|| Arc::new(Effect { node: becomes, writes, sent, deeds: reaction.deeds }))
        })
    }

    fn post(&self, envelope: Envelope<P::Message>) -> (usize, Number) {
        let to = envelope.to.0 as usize - 1;
        (to, self.messages.number(envelope))
    }

    /// Adds what was done to the history of a state, and what is wrong with it to its flaws.
    fn note(&self, state: &mut State, effect: &Effect) {
        let mut history = self.histories.value(state.history);
        let is_news = !history.knows(&effect.deeds);
        if is_news {
            let mut longer = (*history).clone();
            state.flaws.join(longer.add::<P>(&effect.deeds, state.crashes > 0));
            history = Arc::new(longer);
            state.history = self.histories.number(history.clone());
        }
        if (is_news || effect.writes) && self.is_missing(state, &history) {
            state.flaws.insert(Flaw::Missing);
        }
    }

    /// Whether something that anybody has applied is not on the disks of a majority.
    fn is_missing(&self, state: &State, history: &History) -> bool {
        let nodes = state.nodes.map(|node| self.nodes.value(node));
        history.applied().any(|(index, payload)| {
            let holds = |node: &&Arc<Node<P>>| node.platter().entry(index).is_some_and(|it| it.payload == *payload);
            nodes.iter().filter(holds).count() <= NODES / 2
        })
    }

    fn history(&self, state: &State) -> Arc<History> {
        self.histories.value(state.history)
    }
}

impl<P: Protocol<Message: Sync> + Sync> Model for Cluster<P> {
    type State = State;
    type Action = Choice;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Choice>) {
        const CANDIDATES: u8 = 2;
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        for (node, inbox) in (0..).zip(&state.inboxes) {
            let mut offer = |what| actions.push(Choice { node, what });
            if node < CANDIDATES && state.campaigns < self.scope.campaigns {
                offer(What::Campaign);
            }
            if node < CANDIDATES && state.commands < self.scope.commands {
                offer(What::Propose(state.commands + 1));
            }
            if state.crashes < self.scope.crashes {
                offer(What::Crash);
            }
            offer(What::Sync);
            inbox.iter().for_each(|message| offer(What::Hear(*message)));
        }
    }

    fn next_state(&self, state: &State, choice: Choice) -> Option<State> {
        let at = usize::from(choice.node);
        let effect = self.effect(state.nodes[at], choice.what)?;
        let is_news = |(to, message): &(usize, Number)| state.inboxes[*to].binary_search(message).is_err();
        let is_same = effect.node == state.nodes[at] && effect.deeds.flaws == Flaws::default();
        if is_same && !effect.sent.iter().any(is_news) {
            return None;
        }
        let mut next = state.clone();
        next.nodes[at] = effect.node;
        match choice.what {
            What::Campaign => next.campaigns += 1,
            What::Propose(_) => next.commands += 1,
            What::Crash => next.crashes += 1,
            What::Hear(_) | What::Sync => {}
        }
        for (to, message) in &effect.sent {
            if let Err(place) = next.inboxes[*to].binary_search(message) {
                next.inboxes[*to].insert(place, *message);
            }
        }
        next.flaws.join(effect.deeds.flaws);
        self.note(&mut next, &effect);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            always(Flaw::Agreement, |_, state| !state.flaws.contains(Flaw::Agreement)),
            always(Flaw::Leadership, |_, state| !state.flaws.contains(Flaw::Leadership)),
            always(Flaw::Proposals, |_, state| !state.flaws.contains(Flaw::Proposals)),
            always(Flaw::Missing, |_, state| !state.flaws.contains(Flaw::Missing)),
            always(Flaw::BallotLowered, |_, state| !state.flaws.contains(Flaw::BallotLowered)),
            always(Flaw::Contradiction, |_, state| !state.flaws.contains(Flaw::Contradiction)),
        ];
        if self.scope.campaigns > 0 {
            properties
                .push(Property::sometimes("a leader is elected", |it: &Self, state| it.history(state).has_leader()));
        }
        if self.scope.campaigns > 0 && self.scope.commands > 0 {
            properties.push(Property::sometimes("every command is chosen", |it: &Self, state| {
                it.history(state).commands() == usize::from(it.scope.commands)
            }));
        }
        if self.scope.campaigns > 1 && self.scope.commands > 0 && self.scope.crashes > 0 {
            properties.push(Property::sometimes(
                "after a crash a second leader gets a command chosen",
                |it: &Self, state| it.history(state).has_takeover(),
            ));
        }
        properties
    }
}

/// The property that this flaw breaks.
fn always<P>(flaw: Flaw, holds: fn(&Cluster<P>, &State) -> bool) -> Property<Cluster<P>>
where
    P: Protocol<Message: Sync> + Sync,
{
    Property::always(flaw.property(), holds)
}

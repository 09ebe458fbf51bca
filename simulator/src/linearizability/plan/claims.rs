//! What the operations of a key claim to have seen, all together: enough to say who cannot have been noticed.
//!
//! Every answer errs on one side: a write is called unobservable only if that is certain.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::states::{State, States};
use super::{Effect, Step};

/// The most work, in bytes to look through, that is spent on whether the pieces of appends occur in any claim. Beyond
/// it all of them count as observable.
const LOOKED_THROUGH_MAX: usize = 1 << 30;

/// The states that some operation claims to have seen, or would have to see.
#[derive(Debug)]
pub(in super::super) struct Claims {
    seen: HashSet<State>,
    by_cas: HashSet<State>,
    /// Their values in order, where appends make it matter what they begin with.
    texts: Vec<Arc<str>>,
    /// Those of them that no other begins with.
    longest: Vec<Arc<str>>,
    has_appends: bool,
    /// Whether an append to an absent key could be seen.
    append_shows_absence: bool,
    pieces_are_looked_up: bool,
}

impl Claims {
    pub(super) fn of(steps: &[Step], states: &States) -> Claims {
        let (mut seen, mut by_cas, mut pieces) = (HashSet::new(), HashSet::new(), HashSet::new());
        for step in steps {
            match step.effect {
                Effect::Read(state) => _ = seen.insert(state),
                Effect::Cas { from, .. } => _ = by_cas.insert(from),
                Effect::Append(piece) => _ = pieces.insert(piece),
                Effect::Write(_) => {}
            }
        }
        seen.extend(&by_cas);
        let has_appends = !pieces.is_empty();
        let mut texts: Vec<Arc<str>> = Vec::new();
        if has_appends {
            texts.extend(seen.iter().filter_map(|state| states.text(*state)));
            texts.sort_unstable();
        }
        let followed = |at: usize| texts.get(at + 1).is_some_and(|next| next.starts_with(&*texts[at]));
        let longest: Vec<Arc<str>> = (0..texts.len()).filter(|at| !followed(*at)).map(|at| texts[at].clone()).collect();
        let bytes: usize = longest.iter().map(|text| text.len()).sum();
        let pieces_are_looked_up = pieces.len().saturating_mul(bytes) <= LOOKED_THROUGH_MAX;
        let mut claims =
            Claims { seen, by_cas, texts, longest, has_appends, append_shows_absence: false, pieces_are_looked_up };
        claims.append_shows_absence = pieces.iter().any(|piece| claims.begin_with(*piece, states));
        claims
    }

    /// Whether some claim could tell that the effect took place.
    pub(super) fn observe(&self, effect: Effect, states: &States) -> bool {
        match effect {
            Effect::Read(_) => true,
            Effect::Write(state) | Effect::Cas { to: state, .. } => self.begin_with(state, states),
            Effect::Append(piece) => self.contain(piece, states),
        }
    }

    /// Whether some claim is this state or what appends could make of it.
    pub(in super::super) fn begin_with(&self, state: State, states: &States) -> bool {
        if self.seen.contains(&state) || !self.has_appends {
            return self.seen.contains(&state);
        }
        match states.text(state) {
            None => state == State::ABSENT && self.append_shows_absence,
            Some(text) => {
                let at = self.texts.partition_point(|claim| **claim < *text);
                self.texts.get(at).is_some_and(|claim| claim.starts_with(&*text))
            }
        }
    }

    /// Whether nobody but gets can look at this state, and at nothing that appends could make of it.
    pub(super) fn only_gets(&self, state: State, states: &States) -> bool {
        if self.by_cas.contains(&state) || !self.has_appends {
            return !self.by_cas.contains(&state);
        }
        match states.text(state) {
            None => !self.append_shows_absence,
            Some(text) => {
                let longer = self.texts.partition_point(|claim| **claim <= *text);
                !self.texts.get(longer).is_some_and(|claim| claim.starts_with(&*text))
            }
        }
    }

    /// Whether the piece is part of some claim.
    fn contain(&self, piece: State, states: &States) -> bool {
        let Some(piece) = states.text(piece) else { return true };
        // An empty piece shows too: it makes an absent key exist.
        !self.pieces_are_looked_up || piece.is_empty() || self.longest.iter().any(|claim| claim.contains(&*piece))
    }
}

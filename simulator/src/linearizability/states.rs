//! What can stand under a key, each value once: two states are the same exactly when their numbers are.
//!
//! A thousand appends make values of kilobytes, and the search meets each of them many times. So a value that an append
//! made is kept as *what it was appended to* and *the piece*, found again by its length and a rolling hash, and compared
//! byte by byte only when both agree. A get's claim is a state like any other, so comparing it is comparing numbers, and
//! yet exact.

use std::collections::HashMap;
use std::sync::Arc;

/// The modulus of the rolling hash, a Mersenne prime. A collision costs time, never a verdict.
const MODULUS: u64 = (1 << 61) - 1;
const BASE: u64 = 0x0123_4567_89ab_cdef;

/// A value, or none, or one of two marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State(u32);

impl State {
    /// The key does not exist.
    pub(crate) const ABSENT: State = State(0);
    /// Some value that no operation can have looked at. All of these are alike.
    pub(crate) const DARK: State = State(1);
    /// What no key ever holds: the claim of an operation that contradicts itself.
    pub(crate) const NEVER: State = State(2);

    /// Where the state stands in a table by state.
    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }

    /// The state as a number, for a key of the memo.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

#[derive(Debug)]
enum Form {
    Mark,
    Text(Arc<str>),
    Appended { whole: State, piece: State },
}

#[derive(Debug)]
struct Node {
    form: Form,
    bytes: u64,
    hash: u64,
}

/// All states that were met so far.
#[derive(Debug)]
pub(crate) struct States {
    nodes: Vec<Node>,
    by_hash: HashMap<(u64, u64), Vec<State>>,
    appended: HashMap<(State, State), State>,
}

impl States {
    pub(crate) fn new() -> States {
        let marks = [State::ABSENT, State::DARK, State::NEVER];
        let nodes = marks.iter().map(|_| Node { form: Form::Mark, bytes: 0, hash: 0 }).collect();
        States { nodes, by_hash: HashMap::new(), appended: HashMap::new() }
    }

    /// How many there are; every state's slot is below it.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The state of a key that holds `text`.
    pub(crate) fn of_text(&mut self, text: &str) -> State {
        let (bytes, hash) = (text.len() as u64, hash_of(text));
        let known = self.by_hash.get(&(bytes, hash)).into_iter().flatten();
        let found = known.copied().find(|state| self.text(*state).as_deref() == Some(text));
        found.unwrap_or_else(|| self.add(Form::Text(text.into()), bytes, hash))
    }

    /// The state of a key that holds `value`, or does not exist.
    pub(crate) fn of_value(&mut self, value: Option<&str>) -> State {
        value.map_or(State::ABSENT, |text| self.of_text(text))
    }

    /// What `whole` becomes when `piece` is appended to it. To a key that does not exist, an append is a put.
    pub(crate) fn append(&mut self, whole: State, piece: State) -> State {
        match whole {
            State::ABSENT => return piece,
            State::DARK | State::NEVER => return State::DARK,
            _ if self.bytes(piece) == 0 => return whole,
            _ => {}
        }
        if let Some(known) = self.appended.get(&(whole, piece)) {
            return *known;
        }
        let (front, back) = (&self.nodes[whole.slot()], &self.nodes[piece.slot()]);
        let bytes = front.bytes + back.bytes;
        let hash = add(multiply(front.hash, power(back.bytes)), back.hash);
        let state = match self.by_hash.get(&(bytes, hash)) {
            Some(alike) => {
                let text = self.text(whole).zip(self.text(piece)).map(|(whole, piece)| [&*whole, &*piece].concat());
                alike.iter().copied().find(|state| self.text(*state).as_deref() == text.as_deref())
            }
            None => None,
        };
        let state = state.unwrap_or_else(|| self.add(Form::Appended { whole, piece }, bytes, hash));
        self.appended.insert((whole, piece), state);
        state
    }

    /// The value; `None` for a mark.
    pub(crate) fn text(&self, state: State) -> Option<Arc<str>> {
        let mut pieces: Vec<&Arc<str>> = Vec::new();
        let mut rest = vec![state];
        while let Some(state) = rest.pop() {
            match &self.nodes[state.slot()].form {
                Form::Mark => return None,
                Form::Text(text) => pieces.push(text),
                Form::Appended { whole, piece } => rest.extend([*whole, *piece]),
            }
        }
        if let [text] = pieces[..] {
            return Some(text.clone());
        }
        Some(pieces.iter().rev().map(|piece| &***piece).collect::<String>().into())
    }

    /// The value's length in bytes; zero for a mark.
    pub(crate) fn bytes(&self, state: State) -> u64 {
        self.nodes[state.slot()].bytes
    }

    fn add(&mut self, form: Form, bytes: u64, hash: u64) -> State {
        assert!(self.nodes.len() < u32::MAX as usize, "the search's own bound comes long before this one");
        let state = State(self.nodes.len() as u32);
        self.nodes.push(Node { form, bytes, hash });
        self.by_hash.entry((bytes, hash)).or_default().push(state);
        state
    }
}

fn hash_of(text: &str) -> u64 {
    // A zero byte must count, or "a" and "\0a" would differ by their length alone.
    text.bytes().fold(0, |hash, byte| add(multiply(hash, BASE), u64::from(byte) + 1))
}

fn power(exponent: u64) -> u64 {
    let (mut result, mut square, mut rest) = (1, BASE, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        rest >>= 1;
    }
    result
}

fn multiply(left: u64, right: u64) -> u64 {
    (u128::from(left) * u128::from(right) % u128::from(MODULUS)) as u64
}

fn add(left: u64, right: u64) -> u64 {
    (left + right) % MODULUS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_state_however_it_was_made() {
        let mut states = States::new();
        let [a, b, ab, c, bc] = ["a", "b", "ab", "c", "bc"].map(|text| states.of_text(text));
        assert_eq!(states.append(a, b), ab);
        let left = states.append(ab, c);
        assert_eq!(states.append(a, bc), left);
        assert_eq!(states.of_text("abc"), left);
        assert_eq!(states.text(left).as_deref(), Some("abc"));
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let mut states = States::new();
        let empty = states.of_text("");
        assert_ne!(empty, State::ABSENT);
        assert_eq!(states.append(State::ABSENT, empty), empty);
        let a = states.of_text("a");
        assert_eq!(states.append(empty, a), a);
        assert_eq!(states.append(a, empty), a);
    }

    #[test]
    fn what_differs_in_bytes_of_zero_differs() {
        let mut states = States::new();
        assert_ne!(states.of_text("\0"), states.of_text("\0\0"));
        assert_ne!(states.of_text("a\0"), states.of_text("\0a"));
    }
}

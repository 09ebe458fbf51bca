//! The oracle: every subset of the unknown operations, every order that respects real time. Slow, and too simple to be
//! wrong; it shares nothing with the checker but the types.

use simulator::linearizability::{Action, Operation, Outcome};

/// Whether some order explains the history, which is of one key.
pub(crate) fn explains(history: &[Operation]) -> bool {
    let certain = |operation: &&Operation| operation.outcome == Outcome::Ok && operation.returned.is_some();
    let mut certain: Vec<&Operation> = history.iter().filter(certain).collect();
    certain.extend(history.iter().filter(|operation| {
        operation.outcome == Outcome::Fail
            && operation.returned.is_some()
            && matches!(operation.action, Action::CasRefused { .. })
    }));
    let open = |operation: &&Operation| {
        operation.outcome == Outcome::Unknown || (operation.outcome == Outcome::Ok && operation.returned.is_none())
    };
    let open: Vec<Operation> = history.iter().filter(open).map(forever).collect();
    (0..1 << open.len()).any(|subset| {
        let chosen = (0..open.len()).filter(|at| subset >> at & 1 == 1).map(|at| &open[at]);
        let operations: Vec<&Operation> = certain.iter().copied().chain(chosen).collect();
        place(&operations, &mut vec![false; operations.len()], None)
    })
}

/// The operation as one that may take effect at any time; what a get of it would have seen, nobody knows.
fn forever(operation: &Operation) -> Operation {
    Operation { returned: None, outcome: Outcome::Unknown, ..operation.clone() }
}

/// Whether those that are not placed can be placed in some order, from this state on.
fn place(operations: &[&Operation], placed: &mut Vec<bool>, state: Option<&str>) -> bool {
    if placed.iter().all(|placed| *placed) {
        return true;
    }
    for next in 0..operations.len() {
        // It may come next unless another that is not placed returned before it was called.
        let follows = |other: usize| operations[other].returned.is_some_and(|end| end < operations[next].call);
        if placed[next] || (0..operations.len()).any(|other| !placed[other] && follows(other)) {
            continue;
        }
        if let Some(after) = step(operations[next], state) {
            placed[next] = true;
            if place(operations, placed, after.as_deref()) {
                placed[next] = false;
                return true;
            }
            placed[next] = false;
        }
    }
    false
}

fn step(operation: &Operation, state: Option<&str>) -> Option<Option<String>> {
    let same = state.map(str::to_string);
    match &operation.action {
        Action::Get { value, .. } => {
            (operation.outcome == Outcome::Unknown || value.as_deref() == state).then_some(same)
        }
        Action::Put { value, .. } => Some(Some(value.clone())),
        Action::Append { value, .. } => Some(Some(state.unwrap_or("").to_string() + value)),
        Action::Delete { .. } => Some(None),
        Action::Cas { from, to, .. } => (from.as_deref() == state).then(|| Some(to.clone())),
        Action::CasRefused { from, found, .. } => {
            let refused = from.as_deref() != state && Some(found.as_str()) == state;
            (refused || operation.outcome == Outcome::Unknown).then_some(same)
        }
    }
}

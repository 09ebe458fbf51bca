//! Long stretches in a few lines: the news, and how many messages of each name there were.

use std::collections::BTreeMap;

use consensus_api::MonoTime;

use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::transcript;

/// Clients' requests and answers beyond this many of a kind are counted instead of listed.
const LISTED_MAX: usize = 4;

/// The kinds of happenings that come in crowds.
fn crowd<M>(happening: &Happening<M>) -> Option<&'static str> {
    match happening {
        Happening::Proposed(..) => Some("proposals"),
        Happening::Acknowledged(..) => Some("acknowledgements"),
        Happening::Refused(_) => Some("refusals"),
        Happening::Committed(..) => Some("commits"),
        Happening::EntriesRead(..) => Some("read-backs"),
        Happening::ReadBackWanted(..) => Some("wishes to read back"),
        _ => None,
    }
}

/// The news among these, and a count of the messages sent.
pub(super) fn lines<P: Protocol>(happenings: &[(MonoTime, Happening<P::Message>)]) -> Vec<String> {
    let mut crowds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for kind in happenings.iter().filter_map(|(_, happening)| crowd(happening)) {
        *crowds.entry(kind).or_default() += 1;
    }
    let is_listed = |happening: &Happening<P::Message>| {
        let alone = crowd(happening).is_none_or(|kind| crowds.get(kind).is_none_or(|count| *count <= LISTED_MAX));
        alone && transcript::is_news(happening)
    };
    let news: Vec<_> = happenings.iter().filter(|(_, happening)| is_listed(happening)).cloned().collect();
    let mut lines: Vec<String> =
        transcript::lines::<P>(&news).into_iter().map(|line| line.trim_start().to_owned()).collect();
    lines.extend(
        crowds.into_iter().filter(|(_, count)| *count > LISTED_MAX).map(|(kind, count)| format!("{count} {kind}")),
    );
    lines.extend(messages::<P>(happenings));
    lines
}

fn messages<P: Protocol>(happenings: &[(MonoTime, Happening<P::Message>)]) -> Option<String> {
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for (_, happening) in happenings {
        if let Happening::Sent(parcel) = happening {
            *sent.entry(P::name(&parcel.message)).or_default() += 1;
        }
    }
    let counts: Vec<String> = sent.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    (!counts.is_empty()).then(|| format!("messages: {}", counts.join(", ")))
}

//! All links of a relay: to look at, and to change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::carrier::Carrier;
use crate::error::RelayError;
use crate::faults::{Change, Faults};
use crate::link::Counters;
use crate::names::{LinkName, LinkPattern};

/// How a link stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Which one.
    pub link: LinkName,
    /// What it does to packets.
    pub faults: Faults,
    /// What it has seen.
    pub counters: Counters,
    /// Packets that are under way.
    pub waiting_packets: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}

impl fmt::Display for LinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { packets, bytes, duplicated, reordered, .. } = self.counters;
        let dropped = self.counters.dropped();
        let waiting = self.waiting_packets;
        write!(
            f,
            "{:<6} {packets:>10} packets {bytes:>13} bytes {dropped:>8} dropped {duplicated:>8} duplicated {reordered:>8} reordered {waiting:>6} waiting   {}",
            self.link.to_string(),
            self.faults
        )
    }
}

/// A handle to the links of a relay; copies are the same links.
#[derive(Clone, Debug)]
pub struct Links {
    carriers: Arc<BTreeMap<LinkName, Arc<Carrier>>>,
}

impl Links {
    pub(crate) fn new(carriers: BTreeMap<LinkName, Arc<Carrier>>) -> Links {
        Links { carriers: Arc::new(carriers) }
    }

    /// Changes the faults of all links that a pattern names. Packets that come after it see the change.
    ///
    /// # Errors
    /// [`RelayError::NoSuchLink`], and [`RelayError::OutOfRange`]; then no link is changed.
    pub fn change(&self, patterns: &[LinkPattern], change: &Change) -> Result<Vec<LinkReport>, RelayError> {
        let chosen = self.choose(patterns)?;
        // A number is out of its range for all links or for none.
        for carrier in &chosen {
            carrier.change(change)?;
        }
        Ok(chosen.into_iter().map(Carrier::report).collect())
    }

    /// Takes all faults of these links away.
    ///
    /// # Errors
    /// [`RelayError::NoSuchLink`]; then no link is changed.
    pub fn clear(&self, patterns: &[LinkPattern]) -> Result<Vec<LinkReport>, RelayError> {
        let chosen = self.choose(patterns)?;
        chosen.iter().for_each(|carrier| carrier.clear());
        Ok(chosen.into_iter().map(Carrier::report).collect())
    }

    /// How these links stand.
    ///
    /// # Errors
    /// [`RelayError::NoSuchLink`].
    pub fn show(&self, patterns: &[LinkPattern]) -> Result<Vec<LinkReport>, RelayError> {
        Ok(self.choose(patterns)?.into_iter().map(Carrier::report).collect())
    }

    /// The links that any pattern names, each once; each pattern must name one.
    fn choose(&self, patterns: &[LinkPattern]) -> Result<Vec<&Carrier>, RelayError> {
        for pattern in patterns {
            if !self.carriers.keys().any(|link| pattern.matches(*link)) {
                let known = self.carriers.keys().map(LinkName::to_string).collect::<Vec<_>>().join(", ");
                return Err(RelayError::NoSuchLink { pattern: *pattern, known });
            }
        }
        let named = |link: &LinkName| patterns.iter().any(|pattern| pattern.matches(*link));
        Ok(self.carriers.iter().filter(|(link, _)| named(link)).map(|(_, carrier)| &**carrier).collect())
    }
}

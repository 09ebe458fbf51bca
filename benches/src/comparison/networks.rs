//! Networks by name: those that every plan may use, and how a network becomes faults of links and flags of nodes.
//!
//! | network | what it is |
//! | --- | --- |
//! | `loopback` | nodes reach each other directly |
//! | `relay` | through a relay that does nothing: what the relay itself costs |
//! | `lan` | 0.5 ms there and back |
//! | `wan20`, `wan80` | 20 and 80 ms there and back, each way with a random delay on top, a tenth of its own on average |
//! | `loss0.1`, `loss1`, `loss5` | `lan`, and this share of packets is lost |
//! | `slow-link` | `relay`, and what node 1 sends node 2 takes 20 ms |
//! | `slow-follower` | `relay`, and all that node 3 sends or receives takes 20 ms |
//! | `slow-disk`, `slow-leader-disk` | `relay`, and each write of the log takes 10 ms longer at node 3, or at node 1 |
//!
//! Node 1 leads, wherever one node or link differs from the others.

use std::collections::BTreeMap;

use link_relay::{Change, LinkPattern, Links};

use super::plan::{Network, Plan};
use crate::replicas::Failure;

/// The networks that every plan may use.
pub fn built_in() -> Vec<Network> {
    let lossy = |name: &str, loss: &str| Network { loss: Some(loss.to_owned()), round_trip_ms: 0.5, ..empty(name) };
    let slow_links = |name: &str, links: &[&str]| Network {
        round_trip_ms: 40.0,
        links: links.iter().map(|link| (*link).to_owned()).collect(),
        ..empty(name)
    };
    let slow_disk = |name: &str, node| Network { log_delay_ms: 10, log_delay_at: Some(node), ..empty(name) };
    vec![
        Network { relay: false, ..empty("loopback") },
        empty("relay"),
        Network { round_trip_ms: 0.5, ..empty("lan") },
        Network { round_trip_ms: 20.0, jitter_ms: 1.0, ..empty("wan20") },
        Network { round_trip_ms: 80.0, jitter_ms: 4.0, ..empty("wan80") },
        lossy("loss0.1", "0.1%"),
        lossy("loss1", "1%"),
        lossy("loss5", "5%"),
        slow_links("slow-link", &["1:2"]),
        slow_links("slow-follower", &["3:all", "all:3"]),
        slow_disk("slow-disk", 3),
        slow_disk("slow-leader-disk", 1),
    ]
}

fn empty(name: &str) -> Network {
    Network {
        name: name.to_owned(),
        relay: true,
        round_trip_ms: 0.0,
        jitter_ms: 0.0,
        loss: None,
        links: Vec::new(),
        log_delay_ms: 0,
        log_delay_at: None,
    }
}

impl Plan {
    /// The network of this name; the plan's own win over the built-in ones.
    pub fn network(&self, name: &str) -> Option<Network> {
        self.networks.iter().cloned().chain(built_in()).find(|network| network.name == name)
    }
}

impl Network {
    /// Whether it matters which node leads.
    pub fn is_uneven(&self) -> bool {
        !self.links.is_empty() || self.log_delay_at.is_some()
    }

    /// What some nodes are told, of so many.
    pub fn flags(&self, nodes: u64) -> BTreeMap<u64, Vec<String>> {
        if self.log_delay_ms == 0 {
            return BTreeMap::new();
        }
        let slow = (1..=nodes).filter(|id| self.log_delay_at.is_none_or(|at| at == *id));
        slow.map(|id| (id, vec!["--log-delay-ms".to_owned(), self.log_delay_ms.to_string()])).collect()
    }

    /// Which links are like that.
    pub fn patterns(&self) -> Result<Vec<LinkPattern>, Failure> {
        if self.links.is_empty() {
            return Ok(vec![LinkPattern::ALL]);
        }
        Ok(self.links.iter().map(|link| link.parse()).collect::<Result<_, _>>()?)
    }

    /// What happens on them.
    pub fn change(&self) -> Result<Change, Failure> {
        let microseconds = |ms: f64| Some((ms * 1000.0).round() as u64);
        Ok(Change {
            delay_us: microseconds(self.round_trip_ms / 2.0),
            jitter_us: microseconds(self.jitter_ms),
            loss: Some(self.loss.as_deref().unwrap_or("0%").parse()?),
            ..Change::default()
        })
    }

    /// Makes a relay's links so.
    pub fn apply(&self, links: &Links) -> Result<(), Failure> {
        links.change(&self.patterns()?, &self.change()?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn network(name: &str) -> Network {
        built_in().into_iter().find(|network| network.name == name).unwrap()
    }

    #[test]
    fn a_packet_takes_half_of_a_round_trip() {
        let lan = network("lan").change().unwrap();
        assert_eq!((lan.delay_us, lan.jitter_us), (Some(250), Some(0)));
        let wan = network("wan80").change().unwrap();
        assert_eq!((wan.delay_us, wan.jitter_us), (Some(40_000), Some(4_000)));
        assert_eq!(network("loss0.1").change().unwrap().loss.unwrap().permille(), 1);
    }

    #[test]
    fn links_and_disks_that_differ_are_named() {
        assert_eq!(network("slow-follower").patterns().unwrap(), [LinkPattern::out_of(3), LinkPattern::into(3)]);
        assert_eq!(network("relay").patterns().unwrap(), [LinkPattern::ALL]);
        let flags = network("slow-leader-disk").flags(3);
        assert_eq!(flags, [(1, vec!["--log-delay-ms".to_owned(), "10".to_owned()])].into());
        assert!(network("slow-link").is_uneven() && !network("loss5").is_uneven());
    }

    #[test]
    fn a_plans_own_network_wins_over_a_built_in_one() {
        let text = "[[network]]\nname = \"lan\"\nround_trip_ms = 2.0\n";
        let plan: Plan = toml::from_str(text).unwrap();
        assert_eq!(plan.network("lan").unwrap().round_trip_ms, 2.0);
        assert!(plan.network("loopback").is_some_and(|network| !network.relay));
        assert!(plan.network("moon").is_none());
    }
}

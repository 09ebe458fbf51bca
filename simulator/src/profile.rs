//! What kind of trouble a run is about.

use std::fmt;
use std::str::FromStr;

/// A kind of run. Each draws from its own set of faults, and promises some of them in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Messages take their time, and nothing breaks: the cluster must simply work.
    Calm,
    /// A mixture that is drawn anew for each seed.
    Swarm,
    /// Disks fail: syncs, reads, space, records.
    Disk,
    /// Links fail: cuts, partitions of every shape, clogs, loss.
    Partition,
    /// Clocks disagree, nodes pause and crawl.
    Clock,
    /// Leaders read by leases: clocks disagree no more than is allowed, nodes pause past the end of a lease, elections are
    /// forced, voters restart.
    Lease,
    /// An operator changes the members and the leader all the time, while nodes crash, links fail and disks are replaced.
    Members,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 7] = [
        Profile::Calm,
        Profile::Swarm,
        Profile::Disk,
        Profile::Partition,
        Profile::Clock,
        Profile::Lease,
        Profile::Members,
    ];

    /// What a user types.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Swarm => "swarm",
            Profile::Disk => "disk",
            Profile::Partition => "partition",
            Profile::Clock => "clock",
            Profile::Lease => "lease",
            Profile::Members => "members",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No profile has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile \"{name}\"; the profiles are {}", Profile::ALL.map(Profile::name).join(", "))]
pub struct UnknownProfile {
    name: String,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        let found = Profile::ALL.into_iter().find(|profile| profile.name() == name);
        found.ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }
}

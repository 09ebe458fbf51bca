//! Plans in words, as they are printed with a failure.

use std::fmt;
use std::time::Duration;

use super::{Fault, FaultPlan, Kind, Moment, Planned, Promise, Target};
use crate::network::LinkFaults;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "node {node}"),
            Target::Leader => f.write_str("the leader"),
            Target::Follower(nth) => write!(f, "follower no. {nth}"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Now => "at once",
            Moment::NextSend => "just after it has sent",
            Moment::NextWriteBegun => "just after it has begun to write",
            Moment::NextSyncDone => "just after a sync",
            Moment::NextElected => "just after its election",
            Moment::NextApply => "just after it has applied",
            Moment::NextAnswer => "just after it has answered a client",
            Moment::NextSnapshotTaken => "just after it has taken a snapshot",
            Moment::NextTrim => "just after its log is trimmed",
            Moment::NextChunkSent => "just after it has sent a piece of a snapshot",
            Moment::NextChunkReceived => "just after it has stored a piece of a snapshot",
            Moment::NextInstall => "just before it installs a snapshot",
            Moment::NextSwap => "just after a snapshot has taken the place of its tables",
            Moment::NextInstalled => "just after its engine has heard of an installation",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Crash => "crash",
            Kind::CrashAll => "crash of all",
            Kind::TornWrite => "torn write",
            Kind::Pause => "pause",
            Kind::SlowNode => "slow node",
            Kind::SlowDisk => "slow disk",
            Kind::SyncFails => "failed sync",
            Kind::ReadsFail => "failed read",
            Kind::DiskFull => "full disk",
            Kind::Corrupt => "corrupt record",
            Kind::Misplaced => "misplaced record",
            Kind::LostRecord => "lost record",
            Kind::Wipe => "wiped disk",
            Kind::Partition => "partition",
            Kind::OneWayCut => "one-way cut",
            Kind::Clog => "clog",
            Kind::Weather => "bad weather",
            Kind::Drift => "clock drift",
            Kind::Campaign => "forced election",
            Kind::SnapshotCrash => "crash in the life of a snapshot",
            Kind::NoRoom => "lack of room for snapshots",
            Kind::SpoiltSnapshot => "spoilt snapshot",
        })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.0.iter().map(Kind::to_string).collect();
        f.write_str(&kinds.join(" or "))
    }
}

impl fmt::Display for LinkFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkFaults { loss_permille, duplicate_permille, delay, tail_mean_us, spikes_permille, .. } = self;
        write!(f, "{loss_permille} ‰ lost, {duplicate_permille} ‰ doubled, {}–{} µs", delay.least_us, delay.most_us)?;
        write!(f, " and {tail_mean_us} µs on average, {spikes_permille} ‰ spikes, ")?;
        f.write_str(if self.in_order { "in order" } else { "in any order" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(target, moment) | Fault::CrashAll(target, moment) => {
                write!(f, "{} at {target}, {moment}", self.kind())
            }
            Fault::SlowNode(target, times) | Fault::SlowDisk(target, times) => {
                write!(f, "{}: {target}, {times} times", self.kind())
            }
            Fault::Partition(target, shape) | Fault::Clog(target, shape) => {
                write!(f, "{}: {shape} around {target}", self.kind())
            }
            Fault::Weather(faults) => write!(f, "{}: {faults}", self.kind()),
            Fault::Drift(target, ppm) => write!(f, "{} of {ppm} ppm: {target}", self.kind()),
            Fault::TornWrite(target)
            | Fault::Pause(target)
            | Fault::Disk(target, _)
            | Fault::Damage(target, _)
            | Fault::Wipe(target)
            | Fault::NoRoom(target)
            | Fault::Spoil(target)
            | Fault::Campaign(target) => write!(f, "{}: {target}", self.kind()),
        }
    }
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:03}ms", micros / 1000, micros % 1000)
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no. {} after {}, for {}: {}", self.number, ms(self.at), ms(self.lasting), self.fault)?;
        if self.promised { f.write_str(" (promised)") } else { Ok(()) }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} plan among {} nodes:", self.profile, self.nodes)?;
        if self.faults.is_empty() {
            return f.write_str(" nothing breaks");
        }
        self.faults.iter().try_for_each(|planned| write!(f, "\n  {planned}"))
    }
}

//! What the machine and each node have used, read again and again while a load runs.
//!
//! ```text
//!   load generator   │ connects, writes keys │ warm-up │ measured ────────────── │ ends
//!   readings         ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·
//!   costs                                              ◀─ the difference here ─▶    between readings: interpolated
//! ```
//!
//! The load generator tells afterwards when its measured time was; so nothing has to be started at a given moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::machine::{MachineTime, ProcessUse};
use super::metrics::Counters;
use super::results::Cost;
use crate::processes::Processes;
use crate::replicas::Failure;

/// Between two readings. One costs a node some 100 µs.
const BETWEEN: Duration = Duration::from_millis(200);
/// The most readings that are kept: what is longer keeps its latest.
const READINGS_MAX: usize = 20_000;

/// A node's figures at one moment.
#[derive(Clone, Debug, Default)]
struct NodeReading {
    used: ProcessUse,
    /// `None` where the node did not tell them in time: the reading before and the one after stand in.
    counters: Option<Counters>,
}

/// All figures at one moment.
#[derive(Clone, Debug)]
struct Reading {
    at: Instant,
    machine: MachineTime,
    runner_cpu_s: f64,
    nodes: BTreeMap<u64, NodeReading>,
}

/// Readings that go on until they are asked for.
pub struct Sampling {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Readings, Failure>>,
}

/// All readings of a while.
pub struct Readings(Vec<Reading>);

/// Where a node is found: its process and its HTTP address.
type Place = (u64, u32, String);

impl Sampling {
    /// Begins to read, of every node that runs now.
    pub fn begin(cluster: &Processes) -> Sampling {
        let places: Vec<Place> =
            cluster.running().filter_map(|id| Some((id, cluster.pid(id)?, cluster.http(id)))).collect();
        let (stop, stopped) = oneshot::channel();
        Sampling { stop, task: tokio::spawn(read_on(places, stopped)) }
    }

    /// Reads a last time.
    pub async fn finish(self) -> Result<Readings, Failure> {
        // It may have failed already, and then tells so.
        let _ = self.stop.send(());
        self.task.await?
    }
}

async fn read_on(places: Vec<Place>, mut stopped: oneshot::Receiver<()>) -> Result<Readings, Failure> {
    let mut readings = Vec::new();
    loop {
        readings.push(read(&places).await?);
        if readings.len() > READINGS_MAX {
            readings.drain(..READINGS_MAX / 2);
        }
        if tokio::time::timeout(BETWEEN, &mut stopped).await.is_ok() {
            readings.push(read(&places).await?);
            return Ok(Readings(readings));
        }
    }
}

async fn read(places: &[Place]) -> Result<Reading, Failure> {
    let mut nodes = BTreeMap::new();
    for (id, pid, http) in places {
        // A node that is gone meanwhile costs nothing any more; that it is gone is looked at after the load.
        let used = ProcessUse::read(&pid.to_string()).unwrap_or_default();
        let counters = Counters::ask(http).await.ok();
        nodes.insert(*id, NodeReading { used, counters });
    }
    let runner_cpu_s = ProcessUse::read("self")?.cpu_s;
    Ok(Reading { at: Instant::now(), machine: MachineTime::read()?, runner_cpu_s, nodes })
}

impl Readings {
    /// How busy the machine was between two moments, all of its cores 1.0.
    pub fn busy(&self, from: Instant, to: Instant) -> f64 {
        let total = self.difference(from, to, &|reading| Some(reading.machine.total as f64));
        let busy = self.difference(from, to, &|reading| Some(reading.machine.busy as f64));
        if total > 0.0 { busy / total } else { 0.0 }
    }

    /// Processor time of this process, with the relay in it, in seconds.
    pub fn runner_cpu_s(&self, from: Instant, to: Instant) -> f64 {
        self.difference(from, to, &|reading| Some(reading.runner_cpu_s))
    }

    /// What each node spent.
    pub fn costs(&self, from: Instant, to: Instant) -> BTreeMap<u64, Cost> {
        let Some(last) = self.0.iter().rfind(|reading| reading.at <= to).or(self.0.last()) else {
            return BTreeMap::new();
        };
        let cost = |id: &u64, latest: &NodeReading| {
            let node = |figure: &dyn Fn(&NodeReading) -> Option<f64>| {
                self.difference(from, to, &|reading| reading.nodes.get(id).and_then(figure))
            };
            let counted = |name: &str| node(&|reading| Some(reading.counters.as_ref()?.get(name))).round() as u64;
            Cost {
                cpu_s: node(&|reading| Some(reading.used.cpu_s)),
                memory_bytes: latest.used.memory_bytes,
                syncs: counted("quorate_log_syncs_total"),
                log_bytes: counted("quorate_log_bytes_total"),
                messages: counted("quorate_sent_messages_total"),
                bytes: counted("quorate_sent_bytes_total"),
                wire_bytes: counted("quorate_wire_sent_bytes_total"),
            }
        };
        last.nodes.iter().map(|(id, latest)| (*id, cost(id, latest))).collect()
    }

    /// Whether the nodes told their counters.
    pub fn has_counters(&self) -> bool {
        let told = |node: &NodeReading| node.counters.as_ref().is_none_or(|counters| !counters.is_empty());
        self.0.iter().all(|reading| reading.nodes.values().all(told))
    }

    /// How much a figure that never falls has grown between two moments, by the readings that have it.
    fn difference(&self, from: Instant, to: Instant, figure: &dyn Fn(&Reading) -> Option<f64>) -> f64 {
        let points: Vec<(Instant, f64)> =
            self.0.iter().filter_map(|reading| Some((reading.at, figure(reading)?))).collect();
        (at(&points, to) - at(&points, from)).max(0.0)
    }
}

/// A figure between its readings: on the straight line from one to the next.
fn at(points: &[(Instant, f64)], moment: Instant) -> f64 {
    let next = points.partition_point(|(at, _)| *at < moment);
    match (next.checked_sub(1).and_then(|last| points.get(last)), points.get(next)) {
        (Some((before, low)), Some((after, high))) => {
            let span = (*after - *before).as_secs_f64();
            let share = if span > 0.0 { (moment - *before).as_secs_f64() / span } else { 1.0 };
            low + (high - low) * share
        }
        (Some((_, only)), None) | (None, Some((_, only))) => *only,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_readings_a_figure_is_on_the_line_and_beyond_them_it_stands_still() {
        let zero = Instant::now();
        let after = |ms| zero + Duration::from_millis(ms);
        let points = [(after(100), 10.0), (after(200), 20.0), (after(300), 60.0)];
        assert_eq!(at(&points, after(200)), 20.0);
        assert_eq!(at(&points, after(250)), 40.0);
        assert_eq!(at(&points, zero), 10.0);
        assert_eq!(at(&points, after(999)), 60.0);
        assert_eq!(at(&[], zero), 0.0);
    }
}

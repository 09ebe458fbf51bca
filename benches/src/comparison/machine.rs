//! What the kernel tells of the machine and of a process: `/proc`.
//!
//! Processor time there is counted in ticks of 10 ms, so a share over 300 ms is good to some percent, and a process's time
//! over seconds to less than one.

use std::fs;
use std::time::Duration;

use crate::replicas::Failure;

/// Ticks in a second: what Linux promises to programs on every architecture that this runs on.
const TICKS_PER_S: f64 = 100.0;
/// A page, where nothing else is said.
const PAGE_BYTES: u64 = 4096;

/// Processor time of the whole machine since it was started, all cores together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineTime {
    /// What was used.
    pub busy: u64,
    /// What there was.
    pub total: u64,
}

impl MachineTime {
    /// As it stands now.
    pub fn read() -> Result<MachineTime, Failure> {
        parse_machine(&fs::read_to_string("/proc/stat")?).ok_or_else(|| "/proc/stat has no line of all cores".into())
    }

    /// The busy share since an earlier reading: all cores are 1.0.
    pub fn share_since(self, earlier: MachineTime) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 { 0.0 } else { self.busy.saturating_sub(earlier.busy) as f64 / total as f64 }
    }

    /// The busy share over so long from now.
    pub async fn share_over(span: Duration) -> Result<f64, Failure> {
        let earlier = MachineTime::read()?;
        tokio::time::sleep(span).await;
        Ok(MachineTime::read()?.share_since(earlier))
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUse {
    /// Processor time since its start, in seconds.
    pub cpu_s: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
}

impl ProcessUse {
    /// As a process stands now; `self` names this one.
    pub fn read(pid: &str) -> Result<ProcessUse, Failure> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        parse_process(&text).ok_or_else(|| format!("/proc/{pid}/stat is not of the known form").into())
    }
}

/// The line `cpu  user nice system idle iowait irq softirq steal …`. What waits for the disk is idle; what another machine
/// took away (steal) was not ours to use, and counts as busy.
fn parse_machine(text: &str) -> Option<MachineTime> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let total = ticks.iter().sum();
    let idle: u64 = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some(MachineTime { busy: total - idle, total })
}

/// The fields after the name, which is in brackets and may itself hold some: utime is the 14th of all, stime the 15th, rss
/// the 24th.
fn parse_process(text: &str) -> Option<ProcessUse> {
    let (_, after) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    let cpu_s = (number(14)? + number(15)?) as f64 / TICKS_PER_S;
    Some(ProcessUse { cpu_s, memory_bytes: number(24)? * PAGE_BYTES })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_waits_for_the_disk_is_idle_and_what_was_stolen_is_busy() {
        let earlier = parse_machine("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(earlier, MachineTime { busy: 150, total: 1000 });
        let later = parse_machine("cpu  110 0 60 850 70 0 0 10 0 0\n").unwrap();
        assert_eq!(later.share_since(earlier), 0.3);
        assert_eq!(earlier.share_since(earlier), 0.0);
    }

    #[test]
    fn a_process_with_brackets_in_its_name_is_read() {
        let text =
            "7 (kv (x) y) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 12345 99999999 2048 18446744073709551615";
        let used = parse_process(text).unwrap();
        assert_eq!(used, ProcessUse { cpu_s: 3.0, memory_bytes: 2048 * 4096 });
        assert_eq!(parse_process("nothing of the kind"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(ProcessUse::read("self").unwrap().memory_bytes > 0);
        assert!(MachineTime::read().unwrap().total > 0);
    }
}

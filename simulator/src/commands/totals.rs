//! What took place in many runs.

use std::fmt::Write;
use std::time::Duration;

use crate::plan::Kind;
use crate::schedule::{Failure, Operations, Report};
use crate::trace::Counts;

/// Sums over runs.
#[derive(Debug, Default)]
pub(super) struct Totals {
    runs: u64,
    pub(super) failures: u64,
    undecided: u64,
    operations: Operations,
    lasted: Duration,
    slowest_recovery: Duration,
    counts: Counts,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: &Result<Report, Box<Failure>>) {
        self.runs += 1;
        let Ok(report) = outcome else {
            self.failures += 1;
            return;
        };
        self.undecided += u64::from(report.undecided);
        self.operations.done += report.operations.done;
        self.operations.failed += report.operations.failed;
        self.operations.unknown += report.operations.unknown;
        self.lasted += report.lasted;
        self.slowest_recovery = self.slowest_recovery.max(report.recovered_in.unwrap_or_default());
        self.counts.add(&report.counts);
    }

    /// The summary.
    pub(super) fn describe(&self, took: Duration) -> String {
        let (counts, seconds) = (&self.counts, took.as_secs_f64().max(1e-9));
        let mut text = format!(
            "{} runs, {} failed, {} histories undecided, in {seconds:.1} s\n",
            self.runs, self.failures, self.undecided
        );
        let Operations { done, failed, unknown } = self.operations;
        let _ = writeln!(text, "operations      {done} done, {failed} failed, {unknown} unknown");
        let _ = writeln!(text, "elections       {}", counts.elections);
        let faults: Vec<String> = Kind::ALL
            .iter()
            .map(|kind| (counts.of(*kind), kind))
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        let _ = writeln!(text, "faults          {}", faults.join(", "));
        let _ = writeln!(text, "messages        {} sent, {} lost", counts.sent, counts.lost);
        let _ = writeln!(
            text,
            "log             {} committed, {} read back, {} trims",
            counts.committed, counts.read_backs, counts.trims
        );
        let _ = writeln!(
            text,
            "snapshots       {} taken, {} without room, {} begun to be sent, {} chunks garbled, {} installed, {} refused, \
             {} entries trimmed",
            counts.snapshots_taken,
            counts.snapshots_without_room,
            counts.transfers,
            counts.chunks_garbled,
            counts.snapshots_installed,
            counts.snapshots_refused,
            counts.entries_trimmed
        );
        let _ = writeln!(
            text,
            "reads           {} served, {} of them by leases, {} by quorums without a leader, {} through the log; {} stale",
            counts.reads_served, counts.lease_reads, counts.quorum_reads, counts.log_reads, counts.stale_reads
        );
        let _ = writeln!(
            text,
            "sessions        {} opened, {} expired, {} duplicates answered, {} refused as forgotten, {} ticks",
            counts.sessions_opened, counts.sessions_expired, counts.duplicates, counts.forgotten, counts.ticks
        );
        let _ = writeln!(
            text,
            "members         {} changes, {} joint ones on the way, {} interrupted by a crash, {} void, {} too late, {} learners \
             promoted; {} transfers, {} failed",
            counts.members_changed,
            counts.members_joint,
            counts.changes_interrupted,
            counts.changes_void,
            counts.changes_moved,
            counts.learners_promoted,
            counts.transfers_done,
            counts.transfers_failed
        );
        let _ =
            writeln!(text, "slowest return  {} ms after a majority was repaired", self.slowest_recovery.as_millis());
        let _ = write!(
            text,
            "speed           {:.0} seeds a minute, {:.0} operations a second, {:.0} virtual seconds a second",
            self.runs as f64 * 60.0 / seconds,
            (done + failed + unknown) as f64 / seconds,
            self.lasted.as_secs_f64() / seconds
        );
        text
    }
}

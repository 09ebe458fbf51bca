//! Points of events: the leader or some links are lost, again and again, while a probe shows when there is service.
//!
//! ```text
//!          settled, node 1 leads   [open tail]      ▼ lost                                  ▼ whole again
//!   ───────────────────────────────────────────────┼───────────────────────────────────────┼──────────────▶
//!   probe  │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ │ ╳ ╳ ╳ ╳ ╳ ╳ ╳ │ │ │ │ │ │ │ │ │ │ │ │ │ │ reads
//!                       ◀───── BEFORE_MS ─────────▶ detected, elected, served … AFTER_MS
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use kv_client::protocol::RoleReply;
use link_relay::{Change, LinkPattern};
use simulator::linearizability::Operation;

use super::faults::Loss;
use super::load::{Measured, offence};
use super::logs::{self, LoggedRole, RoleLine};
use super::machine::MachineTime;
use super::metrics::Counters;
use super::probe::{Ack, Probe};
use super::results::{Event, Found, Setting};
use super::tail::{self, OpenTail};
use super::verdict;
use crate::processes::Processes;
use crate::replicas::Failure;

/// How many events may be tried again because they have missed the leader.
const AGAIN_MAX: u32 = 5;
/// How often a node is asked for its counters.
const ASKED_MAX: u32 = 5;
/// How long the probe runs before the part of it that is shown: its connections are made.
const WARM_UP: Duration = Duration::from_millis(200);

/// Loses what the setting says, so many times.
pub async fn measure(loss: Loss, times: u32, setting: &Setting, cluster: &mut Processes) -> Result<Measured, Failure> {
    let (earlier, epoch) = (MachineTime::read()?, Instant::now());
    let (mut events, mut history) = (Vec::new(), Vec::new());
    let mut has_counters = true;
    let mut invalid = Vec::new();
    for number in 0..times + AGAIN_MAX {
        if events.len() == times as usize {
            break;
        }
        let scene = Scene { loss, setting, number, epoch };
        // Where leadership has moved before it could be lost, it is tried again.
        let Some((event, counted)) = scene.play(cluster, &mut history).await? else { continue };
        has_counters &= counted;
        events.push(event);
    }
    if events.len() < times as usize {
        invalid.push(format!("only {} of {times} events hit the leader: leadership moved by itself", events.len()));
    }
    let busy = MachineTime::read()?.share_since(earlier);
    let history = tokio::task::spawn_blocking(move || verdict::of(&history)).await?;
    invalid.extend(offence(&history));
    Ok(Measured { found: Found::Events { events }, history, busy, invalid, has_counters })
}

/// One event.
struct Scene<'a> {
    loss: Loss,
    setting: &'a Setting,
    number: u32,
    epoch: Instant,
}

/// When it happened, by both clocks.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    wall: SystemTime,
}

impl Scene<'_> {
    /// The event, and whether the nodes have counters; `None` where who was to be lost did not lead any more.
    async fn play(
        &self,
        cluster: &mut Processes,
        history: &mut Vec<Operation>,
    ) -> Result<Option<(Event, bool)>, Failure> {
        let leader = cluster.lead_from(1).await?;
        let ids: Vec<u64> = cluster.running().collect();
        // Whom the leader's loss leaves, or all.
        let watched: Vec<u64> = ids.iter().copied().filter(|id| !self.loss.loses_leader() || *id != leader).collect();
        let logs: BTreeMap<u64, u64> = watched.iter().map(|id| (*id, logs::length(&cluster.log(*id)))).collect();
        let nodes: Vec<String> = watched.iter().map(|id| cluster.http(*id)).collect();
        let Setting { rate_per_s, value_bytes, open_tail, .. } = *self.setting;
        let name = self.number.to_string();
        let probe = Probe::begin(&nodes, rate_per_s, value_bytes, name.clone(), self.epoch)?;
        tokio::time::sleep(WARM_UP + Duration::from_millis(Event::BEFORE_MS)).await;
        let tail = match open_tail {
            0 => None,
            count => Some(OpenTail::open(cluster, leader, count, value_bytes, &name).await?),
        };
        let before = counters(&nodes).await?;
        if cluster.status(leader).await.is_none_or(|status| status.role != RoleReply::Leader) {
            self.heal_links(cluster)?;
            history.extend(probe.finish().await?.history);
            return Ok(None);
        }
        let moment = self.lose(cluster, leader, &ids)?;
        if let Some(tail) = tail {
            tail.forget();
        }
        let over = moment.at + Duration::from_millis(Event::AFTER_MS);
        let served = tokio::time::timeout_at(over.into(), probe.served_after(moment.at)).await.is_ok();
        let at_service = counters(&nodes).await?;
        tokio::time::sleep_until(over.into()).await;
        let after = counters(&nodes).await?;
        self.heal(cluster, leader)?;
        cluster.settled().await?;
        let probed = probe.finish().await?;
        history.extend(probed.history);

        let mut event = of_acks(&probed.acks, moment.at);
        let grown = |later: &[Counters], name: &str| (sum(later, name) - sum(&before, name)).max(0.0) as u64;
        event.open_tail = if open_tail > 0 { tail::survivors(&nodes[0], &name).await? } else { 0 };
        event.moved_bytes = grown(if served { &at_service } else { &after }, "quorate_sent_bytes_total");
        event.rewritten_entries = grown(&after, "quorate_log_rewritten_entries_total");
        event.rewritten_bytes = grown(&after, "quorate_log_rewritten_bytes_total");
        let mut roles = BTreeMap::new();
        for (id, from) in logs {
            roles.insert(id, logs::roles(&cluster.log(id), from)?);
        }
        tell_roles(&mut event, &roles, moment.wall, leader);
        Ok(Some((event, before.iter().all(|counters| !counters.is_empty()))))
    }

    fn lose(&self, cluster: &mut Processes, leader: u64, nodes: &[u64]) -> Result<Moment, Failure> {
        let moment = Moment { at: Instant::now(), wall: SystemTime::now() };
        match self.loss {
            Loss::Kill => cluster.kill(leader)?,
            Loss::Pause => cluster.pause(leader)?,
            _ => {}
        }
        let lost = self.loss.links(leader, nodes);
        if let Some(links) = cluster.links() {
            if !self.loss.cuts_links() {
                // An open tail has cut some; that is no part of the event.
                links.change(&[LinkPattern::ALL], &Change::cut(false))?;
            } else if !lost.is_empty() {
                links.change(&lost, &Change::cut(true))?;
            }
        }
        Ok(moment)
    }

    fn heal(&self, cluster: &mut Processes, leader: u64) -> Result<(), Failure> {
        match self.loss {
            Loss::Kill => cluster.start(leader)?,
            Loss::Pause => cluster.resume(leader)?,
            _ => {}
        }
        self.heal_links(cluster)
    }

    fn heal_links(&self, cluster: &Processes) -> Result<(), Failure> {
        if let Some(links) = cluster.links() {
            links.change(&[LinkPattern::ALL], &Change::cut(false))?;
        }
        Ok(())
    }
}

/// The counters of all of these. A missing one would be taken for zero, so it is asked for again, and then is an error.
async fn counters(nodes: &[String]) -> Result<Vec<Counters>, Failure> {
    let mut all = Vec::new();
    for node in nodes {
        let mut told = Counters::ask(node).await;
        for _ in 1..ASKED_MAX {
            if told.is_ok() {
                break;
            }
            told = Counters::ask(node).await;
        }
        all.push(told?);
    }
    Ok(all)
}

fn sum(counters: &[Counters], name: &str) -> f64 {
    counters.iter().map(|counters| counters.get(name)).sum()
}

/// What acknowledged puts, by the time of their acknowledgement, tell of an event.
fn of_acks(acks: &[Ack], moment: Instant) -> Event {
    let end = moment + Duration::from_millis(Event::AFTER_MS);
    let ms = |later: Instant| later.saturating_duration_since(moment).as_secs_f64() * 1000.0;
    let served = acks.iter().filter(|ack| ack.begun > moment && ack.acked <= end).map(|ack| ack.acked).min();
    let mut silence_ms: f64 = 0.0;
    let mut last = moment;
    for acked in acks.iter().map(|ack| ack.acked).filter(|acked| (moment..=end).contains(acked)).chain([end]) {
        silence_ms = silence_ms.max((acked - last).as_secs_f64() * 1000.0);
        last = acked;
    }
    let slices = (Event::BEFORE_MS + Event::AFTER_MS) / Event::SLICE_MS;
    let mut timeline = vec![0; slices as usize];
    let begin = moment.checked_sub(Duration::from_millis(Event::BEFORE_MS)).unwrap_or(moment);
    for ack in acks {
        let slice = ack.acked.checked_duration_since(begin).map(|since| since.as_millis() as u64 / Event::SLICE_MS);
        if let Some(count) = slice.and_then(|slice| timeline.get_mut(slice as usize)) {
            *count += 1;
        }
    }
    Event { served_ms: served.map(ms), silence_ms, timeline, ..Event::default() }
}

/// What the nodes' role lines tell of an event.
fn tell_roles(event: &mut Event, roles: &BTreeMap<u64, Vec<RoleLine>>, moment: SystemTime, old: u64) {
    let end = moment + Duration::from_millis(Event::AFTER_MS);
    let ms = |at: SystemTime| at.duration_since(moment).ok().map(|since| since.as_secs_f64() * 1000.0);
    let during: BTreeMap<u64, Vec<RoleLine>> = roles
        .iter()
        .map(|(id, lines)| (*id, lines.iter().filter(|line| (moment..=end).contains(&line.at)).cloned().collect()))
        .collect();
    let first = |role: LoggedRole, but: Option<u64>| {
        let of_others = during.iter().filter(|(id, _)| Some(**id) != but);
        of_others.flat_map(|(_, lines)| lines).filter(|line| line.role == role).map(|line| line.at).min()
    };
    let asked = [LoggedRole::PreCandidate, LoggedRole::Candidate].map(|role| first(role, None));
    event.detected_ms = asked.into_iter().flatten().min().and_then(ms);
    event.elected_ms = first(LoggedRole::Leader, Some(old)).and_then(ms);
    event.campaigns = during.values().map(|lines| logs::campaigns(lines)).sum();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn service_is_back_with_the_first_put_that_began_after_the_event() {
        let moment = Instant::now() + Duration::from_secs(10);
        let at = |ms: i64| {
            let span = Duration::from_millis(ms.unsigned_abs());
            if ms < 0 { moment - span } else { moment + span }
        };
        let ack = |begun, acked| Ack { begun: at(begun), acked: at(acked) };
        // The second was under way at the moment of the event.
        let acks = [ack(-20, -15), ack(-2, 3), ack(600, 700), ack(690, 705), ack(2000, 2100)];
        let event = of_acks(&acks, moment);
        assert_eq!(event.served_ms, Some(700.0));
        assert_eq!(event.silence_ms, 2100.0 - 705.0);
        assert_eq!(event.timeline.len(), 170);
        assert_eq!(event.timeline.iter().sum::<u32>(), 5);
        assert_eq!(event.timeline[((400 - 15) / 20) as usize], 1);
        assert_eq!(of_acks(&acks[..2], moment).served_ms, None);
        assert_eq!(of_acks(&[], moment).silence_ms, 3000.0);
    }

    #[test]
    fn who_suspects_first_and_who_leads_next_is_told_by_the_logs() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let line = |role, ms, ballot: &str| RoleLine {
            at: moment + Duration::from_millis(ms),
            role,
            ballot: ballot.to_owned(),
        };
        let roles = BTreeMap::from([
            (1, vec![line(LoggedRole::Leader, 1, "1.1"), line(LoggedRole::Other, 500, "1.1")]),
            (2, vec![line(LoggedRole::PreCandidate, 612, "1.1"), line(LoggedRole::Candidate, 615, "2.2")]),
            (3, vec![line(LoggedRole::PreCandidate, 700, "1.1"), line(LoggedRole::Leader, 710, "2.3")]),
        ]);
        let mut event = Event::default();
        tell_roles(&mut event, &roles, moment, 1);
        assert_eq!((event.detected_ms, event.elected_ms, event.campaigns), (Some(612.0), Some(710.0), 2));
    }
}

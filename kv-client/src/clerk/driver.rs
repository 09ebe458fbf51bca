//! The one task that owns a Clerk's state: it hands requests to the ledger, frames to the links, answers to the callers,
//! and keeps a link to the leader.
//!
//! ```text
//!   callers ── requests ──▶ ┌────────┐ ── frames ──▶ active link ═══▶ the leader, or whoever answers
//!           ◀─ answers ──── │ driver │ ◀── news ───  retiring links   (they still owe answers)
//!                           └────────┘ ── dials ──▶ one node at a time
//! ```
//!
//! A Clerk that hears of another leader dials it and moves there once it is connected; until then the node that it has
//! forwards. A node that refuses because it has no leader or no quorum, or that owes answers and says nothing, is doubted:
//! the next endpoint is dialed, and the Clerk moves there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::ClusterId;
use consensus_api::random::SeededRandom;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::clock;
use super::error::ClerkError;
use super::ledger::{Ask, Ledger, LinkId, Outcome, Waiter};
use super::link::{Doubt, Link, News};
use crate::backoff::Pauses;
use crate::quic::{DialError, Dialed, Dialer};
use crate::wire::{Answer, Failure, Leader, SessionId, append_frame};

/// The waits after every endpoint was tried in vain.
const REDIAL: Pauses = Pauses { first: Duration::from_millis(20), last: Duration::from_millis(500) };
/// How long after a leader could not be dialed it is dialed again, while another node serves.
const LEADER_REDIAL: Duration = Duration::from_secs(1);
/// A node that owes answers and says nothing for so long is doubted.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long a node is given before it can be doubted: longer with each that was left in doubt since one did well, or the
/// Clerk would go round in circles where no node can do anything.
const DOUBT_REST: Pauses = Pauses { first: Duration::from_millis(250), last: Duration::from_secs(4) };
/// The most endpoints that are tried, with those that were heard of.
const ENDPOINTS_MAX: usize = 32;
/// The most links that still owe answers.
const RETIRING_MAX: usize = 4;
/// How many requests are taken from the callers at once.
const SUBMISSIONS: usize = 1024;
/// News that wait for the driver.
const NEWS_MAX: usize = 64;

/// One caller, waiting.
pub(super) struct Caller {
    pub(super) answer: oneshot::Sender<Outcome>,
    /// Its place in the window; `None` for what the Clerk does for itself.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

impl Waiter for Caller {
    fn has_left(&self) -> bool {
        self.answer.is_closed()
    }
}

/// A request on its way to the driver.
pub(super) struct Submission {
    pub(super) ask: Ask,
    pub(super) deadline: Instant,
    pub(super) caller: Caller,
}

/// What others may see of the driver.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The connection in use; `None` while there is none.
    pub(super) connection: Option<quinn::Connection>,
    /// The session that is open.
    pub(super) session: Option<SessionId>,
    /// Why the last attempt to connect failed, until one succeeds.
    pub(super) failure: Option<ClerkError>,
    /// How many endpoints were tried in vain since the last success.
    pub(super) failures: u32,
}

struct Attempt {
    address: String,
    is_leader: bool,
    task: JoinHandle<Result<Dialed, DialError>>,
}

/// The driver.
pub(super) struct Driver {
    dialer: Arc<Dialer>,
    endpoints: Vec<String>,
    /// Which endpoint is dialed next.
    turn: usize,
    ledger: Ledger<Caller>,
    active: Option<Link>,
    /// With when each was last heard of, or began to retire.
    retiring: Vec<(Link, Instant)>,
    attempt: Option<Attempt>,
    next_link: LinkId,
    cluster: Option<ClusterId>,
    leader: Leader,
    /// No dialing before.
    dial_due: Instant,
    leader_due: Instant,
    failures: u32,
    /// How many nodes were left in doubt since one did well.
    doubted: u32,
    /// How long the machine was suspended, as far as is known.
    asleep: Duration,
    /// When the active link last said something, or was last asked something while it owed nothing.
    heard: Instant,
    random: SeededRandom,
    news: mpsc::Sender<(LinkId, News)>,
    standing: watch::Sender<Standing>,
}

impl Driver {
    pub(super) fn new(
        dialer: Arc<Dialer>,
        endpoints: Vec<String>,
        ledger: Ledger<Caller>,
        seed: u64,
    ) -> (Driver, mpsc::Receiver<(LinkId, News)>, watch::Receiver<Standing>) {
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let (standing, seen) = watch::channel(Standing::default());
        let now = Instant::now();
        let driver = Driver {
            dialer,
            turn: (seed % endpoints.len().max(1) as u64) as usize,
            endpoints,
            ledger,
            active: None,
            retiring: Vec::new(),
            attempt: None,
            next_link: 1,
            cluster: None,
            leader: Leader::default(),
            dial_due: now,
            leader_due: now,
            failures: 0,
            doubted: 0,
            asleep: clock::asleep(),
            heard: now,
            random: SeededRandom::new(seed),
            news,
            standing,
        };
        (driver, heard, seen)
    }

    /// Until `submissions` end: every Clerk is gone, or one of them was closed.
    pub(super) async fn run(
        mut self,
        mut submissions: mpsc::UnboundedReceiver<Submission>,
        mut news: mpsc::Receiver<(LinkId, News)>,
    ) {
        let mut taken = Vec::with_capacity(SUBMISSIONS);
        loop {
            let now = Instant::now();
            self.notice_sleep();
            self.ledger.turn(now);
            let is_blocked = self.send(now);
            self.dial(now);
            self.drop_silent(now);
            self.settle();
            let wake = self.next_turn(now);
            let blocked = self.active.as_ref().filter(|_| is_blocked).map(Link::writer);
            tokio::select! {
                count = submissions.recv_many(&mut taken, SUBMISSIONS) => {
                    if count == 0 {
                        break;
                    }
                    let mut is_over = false;
                    for Submission { ask, deadline, caller } in taken.drain(..) {
                        match ask {
                            Ask::End => is_over = true,
                            ask => self.ledger.submit(ask, Some(caller), Some(deadline)),
                        }
                    }
                    if is_over {
                        break;
                    }
                }
                Some((link, message)) = news.recv() => {
                    self.hear(link, message);
                    while let Ok((link, message)) = news.try_recv() {
                        self.hear(link, message);
                    }
                }
                outcome = dialed(&mut self.attempt) => self.dialed(outcome),
                () = has_place(blocked) => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.ledger.give_up_all("the clerk was closed");
        self.settle();
        self.standing.send_replace(Standing::default());
        (self.active, self.retiring) = (None, Vec::new());
        self.dialer.flush().await;
    }

    /// A session ages while the machine is suspended.
    fn notice_sleep(&mut self) {
        let asleep = clock::asleep();
        self.ledger.slept(asleep.saturating_sub(self.asleep));
        self.asleep = self.asleep.max(asleep);
    }

    /// When to look again without any event.
    fn next_turn(&self, now: Instant) -> Instant {
        const LONGEST: Duration = Duration::from_secs(1);
        let dial = match &self.active {
            _ if self.attempt.is_some() => None,
            None => Some(self.dial_due),
            Some(active) if active.doubt.is_some() => Some(self.dial_due),
            Some(_) => Some(self.leader_due).filter(|due| *due > now),
        };
        let turns = [self.ledger.next_turn(), dial, Some(now + LONGEST)];
        turns.into_iter().flatten().min().unwrap_or(now).max(now)
    }

    /// Hands the active link as much as it takes; whether more waits for the link's writer.
    fn send(&mut self, now: Instant) -> bool {
        let Some(link) = &self.active else { return false };
        while self.ledger.is_ready() {
            let Some(place) = link.place() else { return true };
            if self.ledger.in_flight(link.id) == 0 {
                self.heard = now;
            }
            let requests = self.ledger.next_frame(link.id, link.window(), now);
            if requests.requests.is_empty() {
                // Only the window can be full, or all that was ready waits for the session.
                break;
            }
            let mut frame = Vec::with_capacity(4096);
            if let Err(error) = append_frame(&requests, &mut frame) {
                // Sizes are checked before anything is submitted; what slipped through must not be sent for ever.
                tracing::error!(%error, "requests cannot be encoded");
            }
            place.send(Bytes::from(frame));
        }
        false
    }

    /// Gives the callers their answers.
    fn settle(&mut self) {
        for (caller, outcome) in self.ledger.take_done() {
            // One who has left needs none.
            let _ = caller.answer.send(outcome);
        }
        let session = self.ledger.open_session();
        self.standing.send_if_modified(|standing| std::mem::replace(&mut standing.session, session) != session);
        let ledger = &self.ledger;
        self.retiring.retain(|(link, _)| ledger.in_flight(link.id) > 0);
    }

    fn hear(&mut self, link: LinkId, message: News) {
        let now = Instant::now();
        let is_active = self.active.as_ref().is_some_and(|active| active.id == link);
        if is_active {
            self.heard = now;
        } else if let Some((_, heard)) = self.retiring.iter_mut().find(|(retiring, _)| retiring.id == link) {
            *heard = now;
        }
        match message {
            News::Replies(replies) => {
                let mut doubt = false;
                for reply in replies {
                    doubt |= is_doubtful(&reply.answer);
                    self.ledger.answered(link, reply.id, reply.answer, now);
                }
                if !doubt {
                    self.doubted = 0;
                }
                if let Some(active) = self.active.as_mut().filter(|_| is_active) {
                    // One that does well again is as good as any.
                    active.doubt = doubt.then_some(active.doubt.unwrap_or(Doubt::Refuses));
                }
            }
            News::Leader(leader) if is_active => {
                self.follow(leader);
                self.leader_due = now;
            }
            News::Leader(_) => {}
            News::Lost(reason) => {
                tracing::debug!(reason, "link lost");
                self.ledger.lost(link, &format!("the connection was lost: {reason}"));
                self.retiring.retain(|(retiring, _)| retiring.id != link);
                if is_active {
                    self.drop_active(now);
                }
            }
        }
    }

    /// Takes note of who leads. Where that is found, a node is; so it is an endpoint, too.
    fn follow(&mut self, leader: Leader) {
        if let Some(address) = &leader.address
            && self.endpoints.len() < ENDPOINTS_MAX
            && !self.endpoints.contains(address)
        {
            self.endpoints.push(address.clone());
        }
        self.leader = leader;
    }

    /// A retiring link that says nothing any more is given up; what it owes is asked again.
    fn drop_silent(&mut self, now: Instant) {
        let ledger = &mut self.ledger;
        self.retiring.retain(|(link, heard)| {
            let is_silent = now.saturating_duration_since(*heard) >= SILENCE_MAX;
            if is_silent {
                ledger.lost(link.id, "the node did not answer");
            }
            !is_silent
        });
    }

    fn drop_active(&mut self, now: Instant) {
        let Some(link) = self.active.take() else { return };
        // Whoever led there may be gone with it; and the one that is lost comes last.
        if link.leads(&self.leader) {
            self.leader = Leader::default();
        }
        if self.endpoints.get(self.turn % self.endpoints.len()) == Some(&link.address) {
            self.turn += 1;
        }
        // The first that is lost as soon as it is there may be chance; a node that does no better is left alone for a while.
        let is_at_once = now < self.dial_due;
        if !is_at_once || self.doubted == 0 {
            self.dial_due = now;
        }
        self.doubted += u32::from(is_at_once);
        self.standing.send_modify(|standing| standing.connection = None);
    }

    /// Begins to dial, where there is a reason to.
    fn dial(&mut self, now: Instant) {
        if self.attempt.is_some() {
            return;
        }
        if let Some(active) = &mut self.active
            && self.ledger.in_flight(active.id) > 0
            && now.saturating_duration_since(self.heard) >= SILENCE_MAX
        {
            active.doubt = Some(Doubt::Silent);
        }
        let leader = self.leader.address.clone();
        let (address, is_leader) = match &self.active {
            None if now < self.dial_due => return,
            // Once: where that fails, the endpoints are next.
            None => match leader.filter(|_| self.failures == 0) {
                Some(address) => (address, true),
                None => (self.next_endpoint(None), false),
            },
            Some(active) if active.doubt.is_some() && now >= self.dial_due => {
                let there = active.address.clone();
                (self.next_endpoint(Some(&there)), false)
            }
            Some(active) if !active.leads(&self.leader) && now >= self.leader_due => match leader {
                Some(address) if address != active.address => (address, true),
                _ => return,
            },
            Some(_) => return,
        };
        let (dialer, cluster, target) = (self.dialer.clone(), self.cluster, address.clone());
        let task = tokio::spawn(async move { dialer.dial(&target, cluster).await });
        self.attempt = Some(Attempt { address, is_leader, task });
    }

    /// The endpoints in turn, other than this one where there is another.
    fn next_endpoint(&mut self, other_than: Option<&str>) -> String {
        for _ in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[self.turn % self.endpoints.len()];
            self.turn += 1;
            if Some(endpoint.as_str()) != other_than {
                return endpoint.clone();
            }
        }
        self.endpoints[0].clone()
    }

    fn dialed(&mut self, (address, is_leader, outcome): (String, bool, Result<Dialed, DialError>)) {
        let now = Instant::now();
        match outcome {
            Ok(dialed) => self.connected(address, is_leader, dialed, now),
            Err(error) => {
                tracing::debug!(address, %error, "not connected");
                self.failures += 1;
                self.leader_due = now + LEADER_REDIAL;
                // Every endpoint has its chance before a wait.
                if self.failures.is_multiple_of(self.endpoints.len() as u32) {
                    let round = self.failures / self.endpoints.len() as u32;
                    self.dial_due = now + REDIAL.after(round, self.random.next_u64());
                }
                let failures = self.failures;
                let failure = if error.is_final() {
                    ClerkError::Misfit { reason: error.to_string() }
                } else {
                    ClerkError::Unreachable { reason: error.to_string() }
                };
                self.standing.send_modify(|standing| {
                    (standing.failure, standing.failures) = (Some(failure), failures);
                });
            }
        }
    }

    fn connected(&mut self, address: String, is_leader: bool, dialed: Dialed, now: Instant) {
        let id = self.next_link;
        self.next_link += 1;
        let link = Link::start(id, address, dialed, self.news.clone());
        tracing::debug!(node = link.welcome.node.0, address = link.address, "connected");
        self.failures = 0;
        self.cluster = Some(link.welcome.cluster);
        self.leader_due = now + if is_leader { LEADER_REDIAL } else { Duration::ZERO };
        self.follow(link.welcome.leader.clone());
        self.heard = now;
        let connection = link.connection.clone();
        if let Some(before) = self.active.replace(link) {
            self.doubted += u32::from(before.doubt.is_some());
            self.retire(before);
        }
        self.dial_due = now + DOUBT_REST.after(self.doubted, self.random.next_u64());
        self.standing.send_modify(|standing| {
            *standing =
                Standing { connection: Some(connection), session: standing.session, failure: None, failures: 0 };
        });
    }

    /// Another link takes over. What a doubtful one owes is asked again there; the others answer yet.
    fn retire(&mut self, link: Link) {
        if link.doubt == Some(Doubt::Silent) {
            self.ledger.lost(link.id, "the node did not answer");
            return;
        }
        self.retiring.push((link, Instant::now()));
        if self.retiring.len() > RETIRING_MAX {
            let (oldest, _) = self.retiring.remove(0);
            self.ledger.lost(oldest.id, "the node did not answer before others had led");
        }
    }
}

/// Whether another node should be tried.
fn is_doubtful(answer: &Answer) -> bool {
    match answer {
        Answer::Failed(Failure::Refused { why, .. }) => why.is_the_nodes(),
        Answer::Failed(Failure::Unknown { .. }) => true,
        _ => false,
    }
}

/// Waits for the attempt that is under way, if one is, and takes it out.
async fn dialed(attempt: &mut Option<Attempt>) -> (String, bool, Result<Dialed, DialError>) {
    let Some(under_way) = attempt else { return std::future::pending().await };
    let outcome = (&mut under_way.task).await;
    let outcome = outcome.unwrap_or_else(|error| Err(DialError::Unreachable(error.to_string())));
    let (address, is_leader) = (std::mem::take(&mut under_way.address), under_way.is_leader);
    *attempt = None;
    (address, is_leader, outcome)
}

/// Waits until the writer takes a frame; for ever where there is none to take.
async fn has_place(writer: Option<mpsc::Sender<Bytes>>) {
    match writer {
        // A link that is lost says so by its news.
        Some(writer) => match writer.reserve().await {
            Ok(_) => {}
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

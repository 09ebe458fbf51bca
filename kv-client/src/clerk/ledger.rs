//! Every request that has no answer yet, and what may be said of each. Without I/O: time is told, and what is to be sent is
//! returned, so each rule can be tested by itself.
//!
//! ```text
//!              ┌────────── again, a little later: refused, or outcome unknown ──────────┐
//!              ▼                                                                        │
//!   submit ─▶ ready ─▶ (a write: until it may have a number) ─▶ sent on a link ▶ answer ┴─▶ done
//!              ▲                                                 │
//!              └──── at once, with the same number: link lost ───┘        deadline ─▶ done: Maybe or NotApplied
//! ```
//!
//! **The one rule that must never break**: a write of which any copy was sent and not definitely refused is never said to
//! be not applied. A copy counts as sent from the moment at which it is handed to a link. A definite refusal speaks for
//! the copy that it answers; copies whose end is unknown set [`Pending::maybe`], and only an answer of the machine itself,
//! which knows the number, clears the doubt.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use consensus_api::random::SeededRandom;

use super::error::ClerkError;
use super::session::{Phase, Session};
use crate::backoff::Pauses;
use crate::wire::{Answer, Command, FRAME_REQUESTS_MAX, Failure, Numbered, Refused, Request, Requests, SessionId};

/// The waits before a request is sent again.
pub(super) const RETRY: Pauses = Pauses { first: Duration::from_millis(10), last: Duration::from_millis(500) };
/// A request that has less time than this left is not sent again.
const RETRY_REST: Duration = Duration::from_millis(50);
/// How long a node may take to open or refresh a session.
const OPEN_PATIENCE: Duration = Duration::from_secs(4);
/// The requests of one frame, in bytes, unless one alone has more.
const FRAME_BYTES_AIM: usize = 256 << 10;

/// Names a connection; never used twice.
pub(super) type LinkId = u64;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Changes something, in the session.
    Write(Command),
    /// Changes nothing.
    Read(Request),
    /// Opens the session, or carries its life forward. Nobody waits for it.
    Open,
    /// Ends the session.
    Close,
    /// Ends the driver; never gets here.
    End,
}

impl Ask {
    /// About how much it takes in a frame.
    pub(super) fn bytes(&self) -> usize {
        const FLAT: usize = 64;
        match self {
            Ask::Write(command) => FLAT + command.bytes(),
            Ask::Read(request) => request.bytes(),
            Ask::Open | Ask::Close | Ask::End => FLAT,
        }
    }
}

/// Whoever waits for an answer.
pub(super) trait Waiter {
    /// Whether the answer is of no interest any more.
    fn has_left(&self) -> bool;
}

/// An answer, or why there is none.
pub(super) type Outcome = Result<Answer, ClerkError>;

#[derive(Debug)]
struct Pending<W> {
    ask: Ask,
    /// About how much it takes in a frame.
    bytes: usize,
    waiter: Option<W>,
    deadline: Option<Instant>,
    /// Its session and number, from the first time that it was sent.
    number: Option<(SessionId, u64)>,
    /// Where a copy is under way.
    on: Option<LinkId>,
    attempts: u32,
    /// Why it may have been carried out, where a copy ended so that nobody knows.
    maybe: Option<String>,
    /// Why it was last refused.
    refusal: Option<String>,
}

/// The requests without an answer.
pub(super) struct Ledger<W> {
    pending: HashMap<u64, Pending<W>>,
    next_id: u64,
    ready: VecDeque<u64>,
    /// Writes that wait until the session is open, or until one may draw a number of it.
    numberless: VecDeque<u64>,
    retries: BTreeSet<(Instant, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
    in_flight: HashMap<LinkId, usize>,
    session: Session,
    session_ttl: Duration,
    draw_session: Box<dyn FnMut() -> SessionId + Send>,
    random: SeededRandom,
    /// Outcomes that nobody has fetched.
    done: Vec<(W, Outcome)>,
}

impl<W: Waiter> Ledger<W> {
    /// An empty one. `draw_session` names each session that is needed.
    pub(super) fn new(
        session_ttl: Duration,
        seed: u64,
        mut draw_session: Box<dyn FnMut() -> SessionId + Send>,
    ) -> Ledger<W> {
        let session = Session::new(draw_session());
        Ledger {
            pending: HashMap::new(),
            next_id: 1,
            ready: VecDeque::new(),
            numberless: VecDeque::new(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            in_flight: HashMap::new(),
            session,
            session_ttl,
            draw_session,
            random: SeededRandom::new(seed),
            done: Vec::new(),
        }
    }

    /// The session, while it is open.
    pub(super) fn open_session(&self) -> Option<SessionId> {
        (self.session.phase == Phase::Open).then_some(self.session.id)
    }

    /// What has been decided since the last call.
    pub(super) fn take_done(&mut self) -> Vec<(W, Outcome)> {
        std::mem::take(&mut self.done)
    }

    /// Takes a request in.
    pub(super) fn submit(&mut self, ask: Ask, waiter: Option<W>, deadline: Option<Instant>) {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        let pending = Pending {
            bytes: ask.bytes(),
            ask,
            waiter,
            deadline,
            number: None,
            on: None,
            attempts: 0,
            maybe: None,
            refusal: None,
        };
        self.pending.insert(id, pending);
        self.ready.push_back(id);
    }

    /// When to call [`Ledger::turn`] again, at the latest.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, u64)>| set.first().map(|(at, _)| *at);
        [first(&self.retries), first(&self.deadlines), self.session.next_turn()].into_iter().flatten().min()
    }

    /// Time has passed: what is overdue is given up, what has waited long enough is ready again.
    pub(super) fn turn(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            self.give_up(id, "no answer within the request's time");
        }
        while let Some((at, id)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.remove(&(at, id));
            self.ready.push_back(id);
        }
        self.forget_given_up();
        self.session.rest(now);
        if self.session.is_overdue(now) {
            self.session_ended();
        } else if self.session.begins_refresh(now) {
            self.submit(Ask::Open, None, None);
        }
    }

    /// The machine was suspended for so long, of which the time that [`Ledger::turn`] is told knows nothing.
    pub(super) fn slept(&mut self, asleep: Duration) {
        self.session.slept(asleep);
    }

    /// Drops the names of requests that were given up while they waited, before they are more than those that still do.
    fn forget_given_up(&mut self) {
        const FEW: usize = 64;
        for queue in [&mut self.ready, &mut self.numberless] {
            if queue.len() > 2 * self.pending.len() + FEW {
                queue.retain(|id| self.pending.contains_key(id));
            }
        }
    }

    /// How many names of requests wait to be sent, those included that were given up.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.numberless.len()
    }

    /// Whether something could be sent now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || (!self.numberless.is_empty() && self.session.may_draw())
    }

    /// The next that could be sent: those that waited for a number go before those that came later.
    fn pop_ready(&mut self) -> Option<u64> {
        let numberless = if self.session.may_draw() { self.numberless.pop_front() } else { None };
        numberless.or_else(|| self.ready.pop_front())
    }

    /// How many requests are under way on a link.
    pub(super) fn in_flight(&self, link: LinkId) -> usize {
        self.in_flight.get(&link).copied().unwrap_or(0)
    }

    /// Takes out what is to be sent on this link now: no more than a frame has room for, and than the node takes.
    pub(super) fn next_frame(&mut self, link: LinkId, window: usize, now: Instant) -> Requests {
        let room = window.saturating_sub(self.in_flight(link)).min(FRAME_REQUESTS_MAX);
        let mut frame = Vec::new();
        let mut bytes = 0;
        let mut patience = Duration::ZERO;
        while frame.len() < room {
            let Some(id) = self.pop_ready() else { break };
            let Some(pending) = self.pending.get(&id) else { continue };
            if pending.waiter.as_ref().is_some_and(W::has_left) {
                self.finish(id);
                continue;
            }
            let is_write = matches!(pending.ask, Ask::Write(_));
            let is_numberless = is_write && pending.number.is_none();
            if (is_write && self.session.phase != Phase::Open) || (is_numberless && !self.session.may_draw()) {
                self.numberless.push_back(id);
                if self.session.phase == Phase::Unopened {
                    self.session.phase = Phase::Opening;
                    self.submit(Ask::Open, None, None);
                }
                continue;
            }
            if !frame.is_empty() && bytes + pending.bytes > FRAME_BYTES_AIM {
                let queue = if is_numberless { &mut self.numberless } else { &mut self.ready };
                queue.push_front(id);
                break;
            }
            bytes += pending.bytes;
            let left = pending.deadline.map_or(OPEN_PATIENCE, |deadline| deadline.saturating_duration_since(now));
            patience = patience.max(left);
            let Some(request) = self.sent(id, link, now) else { continue };
            frame.push(Numbered { id, request });
        }
        if !frame.is_empty() {
            *self.in_flight.entry(link).or_default() += frame.len();
        }
        // Less than there is: a refusal that comes in time is worth more than an answer that comes too late.
        let patience_ms = u32::try_from((patience * 3 / 4).as_millis()).unwrap_or(u32::MAX);
        Requests { patience_ms, requests: frame }
    }

    /// From here on a copy of this request is under way.
    fn sent(&mut self, id: u64, link: LinkId, now: Instant) -> Option<Request> {
        let pending = self.pending.get_mut(&id)?;
        pending.on = Some(link);
        pending.attempts += 1;
        Some(match &pending.ask {
            Ask::Write(command) => {
                let (of, number) = *pending.number.get_or_insert_with(|| (self.session.id, self.session.draw()));
                // One of an earlier session keeps its place there: elsewhere it would be another request.
                let tag = if of == self.session.id {
                    self.session.tag(number)
                } else {
                    crate::wire::Tag { session: of, number, acked_below: 1 }
                };
                Request::Write { tag: Some(tag), command: command.clone() }
            }
            Ask::Read(request) => request.clone(),
            // The cast is exact: the builder bounds it.
            Ask::Open => Request::OpenSession {
                session: self.session.id,
                ttl_ms: self.session_ttl.as_millis() as u64,
                acked_below: self.session.ask(now),
            },
            Ask::Close | Ask::End => Request::CloseSession { session: self.session.id },
        })
    }

    /// A link has brought an answer. One that nobody waits for there is ignored.
    pub(super) fn answered(&mut self, link: LinkId, id: u64, answer: Answer, now: Instant) {
        let Some(pending) = self.pending.get_mut(&id).filter(|pending| pending.on == Some(link)) else { return };
        pending.on = None;
        self.landed(link);
        match answer {
            answer if matches!(self.pending[&id].ask, Ask::Open) => self.session_answered(id, answer, now),
            Answer::Failed(failure) => self.failed(id, failure, now),
            answer => self.conclude(id, Ok(answer)),
        }
        self.session.rest(now);
    }

    fn failed(&mut self, id: u64, failure: Failure, now: Instant) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        match failure {
            Failure::Refused { why, message } if why.is_worth_a_retry() => {
                pending.refusal = Some(message);
                self.retry(id, now);
            }
            Failure::Refused { why, message } => {
                let error = match (&pending.maybe, why) {
                    (Some(reason), _) => ClerkError::Maybe { reason: format!("{reason}; a later copy: {message}") },
                    (None, Refused::TooLarge) => ClerkError::TooLarge { message },
                    (None, Refused::BadInput) => ClerkError::BadInput { message },
                    (None, _) => ClerkError::Unsupported { message },
                };
                self.conclude(id, Err(error));
            }
            Failure::Unknown { message } => {
                pending.maybe = Some(message);
                self.retry(id, now);
            }
            Failure::SessionExpired => {
                let of = pending.number.map(|(session, _)| session);
                let error = match pending.maybe.take() {
                    Some(reason) => ClerkError::Maybe { reason: format!("{reason}; then the session ended") },
                    None => ClerkError::SessionExpired,
                };
                self.conclude(id, Err(error));
                if of == Some(self.session.id) {
                    self.session_ended();
                }
            }
            // Only a number whose reply we have is acknowledged; so this cluster has lost track of the session.
            Failure::Forgotten => {
                let reason = "the cluster takes its reply for acknowledged".to_owned();
                self.conclude(id, Err(ClerkError::Maybe { reason }));
            }
        }
    }

    /// The answer to the opening of the session, or to its refreshing.
    fn session_answered(&mut self, id: u64, answer: Answer, now: Instant) {
        match answer {
            Answer::SessionOpened { ttl_ms } => {
                self.finish(id);
                self.session.opened(now, Duration::from_millis(ttl_ms));
                self.release_numberless();
            }
            Answer::Failed(Failure::Refused { why, .. }) if why.is_worth_a_retry() => self.retry(id, now),
            Answer::Failed(Failure::Unknown { .. }) => self.retry(id, now),
            Answer::Failed(Failure::SessionExpired) => {
                self.finish(id);
                self.session_ended();
            }
            answer => {
                self.finish(id);
                self.session.phase = Phase::Unopened;
                let message = match answer {
                    Answer::Failed(Failure::Refused { message, .. }) => message,
                    answer => format!("the node answers the opening of a session with {answer:?}"),
                };
                for id in std::mem::take(&mut self.numberless) {
                    let maybe = self.pending.get(&id).and_then(|pending| pending.maybe.clone());
                    let error = match maybe {
                        Some(reason) => ClerkError::Maybe { reason },
                        None => ClerkError::NotApplied { reason: format!("no session could be opened: {message}") },
                    };
                    self.conclude(id, Err(error));
                }
            }
        }
    }

    /// The session is no more; later writes run in another.
    fn session_ended(&mut self) {
        self.session = Session::new((self.draw_session)());
        // An opening of the old one that is under way would be taken for the new one's.
        let stale: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| matches!(pending.ask, Ask::Open)).map(|(id, _)| *id).collect();
        for id in stale {
            self.finish(id);
        }
        self.release_numberless();
    }

    /// What waited for the session is looked at again, before what came later.
    fn release_numberless(&mut self) {
        self.numberless.append(&mut self.ready);
        std::mem::swap(&mut self.numberless, &mut self.ready);
    }

    fn retry(&mut self, id: u64, now: Instant) {
        let Some(pending) = self.pending.get(&id) else { return };
        if pending.waiter.as_ref().is_some_and(W::has_left) {
            return self.finish(id);
        }
        let at = now + RETRY.after(pending.attempts, self.random.next_u64());
        if pending.deadline.is_some_and(|deadline| at + RETRY_REST >= deadline) {
            // Another copy would be under way when the time is over, and what is known now would be in doubt again.
            return self.give_up(id, "refused within the request's time");
        }
        self.retries.insert((at, id));
    }

    /// A link is lost: what was under way there may have arrived. It is ready again at once.
    pub(super) fn lost(&mut self, link: LinkId, reason: &str) {
        let on_it = |pending: &Pending<W>| pending.on == Some(link);
        let mut ids: Vec<u64> = self.pending.iter().filter(|(_, p)| on_it(p)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.on = None;
            match pending.ask {
                Ask::Write(_) => pending.maybe = Some(reason.to_owned()),
                _ => pending.refusal = Some(reason.to_owned()),
            }
            self.ready.push_back(id);
        }
        self.in_flight.remove(&link);
    }

    /// Nothing will be answered any more.
    pub(super) fn give_up_all(&mut self, reason: &str) {
        let mut ids: Vec<u64> = self.pending.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.give_up(id, reason);
        }
    }

    fn give_up(&mut self, id: u64, reason: &str) {
        let Some(pending) = self.pending.get(&id) else { return };
        let because = |detail: &Option<String>| match detail {
            Some(detail) => format!("{reason}; last: {detail}"),
            None => reason.to_owned(),
        };
        let error = match pending.ask {
            Ask::Write(_) if pending.on.is_some() || pending.maybe.is_some() => {
                ClerkError::Maybe { reason: because(&pending.maybe) }
            }
            Ask::Write(_) => ClerkError::NotApplied { reason: because(&pending.refusal) },
            Ask::Read(_) | Ask::Open | Ask::Close | Ask::End => {
                ClerkError::NoAnswer { reason: because(&pending.refusal) }
            }
        };
        self.conclude(id, Err(error));
    }

    fn conclude(&mut self, id: u64, outcome: Outcome) {
        if let Some(waiter) = self.remove(id) {
            self.done.push((waiter, outcome));
        }
    }

    fn finish(&mut self, id: u64) {
        // Whoever waited has left.
        let _ = self.remove(id);
    }

    fn remove(&mut self, id: u64) -> Option<W> {
        let pending = self.pending.remove(&id)?;
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some((session, number)) = pending.number
            && session == self.session.id
        {
            self.session.answered(number);
        }
        if let Some(link) = pending.on {
            self.landed(link);
        }
        pending.waiter
    }

    fn landed(&mut self, link: LinkId) {
        if let Some(count) = self.in_flight.get_mut(&link) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&link);
            }
        }
    }
}

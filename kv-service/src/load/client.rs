//! One client of the closed loop.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Answer, Connection, Failure};
use super::tally::Tally;
use super::targets::Targets;
use super::workload::{Kind, Workload};

/// How long a client rests after a failure, so that a cluster without a leader is not hammered.
const REST: Duration = Duration::from_millis(20);

/// When the load runs, and from when on it counts.
#[derive(Clone, Copy)]
pub(super) struct Window {
    measured_from: Instant,
    until: Instant,
}

impl Window {
    /// A warm-up from `now` on, and the measured time behind it.
    pub(super) fn starting_in(now: Instant, warmup: Duration, measured: Duration) -> Window {
        Window { measured_from: now + warmup, until: now + warmup + measured }
    }
}

/// One client.
pub(super) struct Client {
    number: u32,
    attempt: u32,
    connection: Option<Connection>,
    targets: Rc<Targets>,
    workload: Rc<Workload>,
    tally: Rc<RefCell<Tally>>,
    timeout: Duration,
}

impl Client {
    /// A client that is not connected yet.
    pub(super) fn new(
        number: u32,
        targets: Rc<Targets>,
        workload: Rc<Workload>,
        tally: Rc<RefCell<Tally>>,
        timeout: Duration,
    ) -> Client {
        Client { number, attempt: 0, connection: None, targets, workload, tally, timeout }
    }

    /// Sends one request after the other until the window closes. What is answered within the measured time counts.
    pub(super) async fn run(mut self, window: Window) {
        let mut dice = self.workload.dice(self.number);
        loop {
            let Some(host) = self.connected().await else {
                if Instant::now() >= window.until {
                    return;
                }
                continue;
            };
            let (kind, request) = self.workload.next(&mut dice, &host);
            let sent = Instant::now();
            if sent >= window.until {
                return;
            }
            let outcome = self.ask(request).await;
            let answered = Instant::now();
            if (window.measured_from..window.until).contains(&answered) {
                self.note(kind, answered - sent, &outcome);
            }
            self.recover(&outcome).await;
        }
    }

    /// Writes the keys that `next` hands out, each until it is written or nothing is left to hope for.
    pub(super) async fn write_each(mut self, next: Rc<RefCell<Range<u32>>>) {
        const FAILURES_MAX: u32 = 100;
        let mut failures = 0;
        loop {
            let Some(key) = next.borrow_mut().next() else { return };
            loop {
                if failures > FAILURES_MAX {
                    return;
                }
                let Some(host) = self.connected().await else {
                    failures += 1;
                    continue;
                };
                let request = self.workload.put(key as usize, &host);
                let outcome = self.ask(request).await;
                self.note(Kind::Put, Duration::ZERO, &outcome);
                self.recover(&outcome).await;
                if matches!(outcome, Ok(StatusCode::OK)) {
                    break;
                }
                failures += 1;
            }
        }
    }

    /// Connects if need be, and says under which name the node is asked.
    async fn connected(&mut self) -> Option<HeaderValue> {
        if self.connection.is_none() {
            let endpoint = self.targets.endpoint(self.number, self.attempt).to_owned();
            match timeout(self.timeout, Connection::open(&endpoint)).await {
                Ok(Ok(connection)) => self.connection = Some(connection),
                _ => {
                    self.tally.borrow_mut().failed(Failure::Connect.kind().to_owned());
                    self.attempt = self.attempt.wrapping_add(1);
                    sleep(REST).await;
                }
            }
        }
        self.connection.as_ref().map(|connection| connection.host.clone())
    }

    /// The status of the answer, or what went wrong.
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
        let Some(connection) = &mut self.connection else { return Err(Failure::Lost.kind().to_owned()) };
        match timeout(self.timeout, connection.ask(request)).await {
            Ok(Ok(answer)) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => Ok(answer.status),
            Ok(Ok(answer)) => Err(error_kind(&answer)),
            Ok(Err(failure)) => Err(failure.kind().to_owned()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn note(&self, kind: Kind, latency: Duration, outcome: &Result<StatusCode, String>) {
        match outcome {
            Ok(_) => self.tally.borrow_mut().succeeded(kind, latency),
            Err(kind) => self.tally.borrow_mut().failed(kind.clone()),
        }
    }

    /// After a failure, rests and goes on with another node.
    async fn recover(&mut self, outcome: &Result<StatusCode, String>) {
        if outcome.is_err() {
            self.connection = None;
            self.attempt = self.attempt.wrapping_add(1);
            sleep(REST).await;
        }
    }
}

/// The kind under which an error answer is counted: status and code.
fn error_kind(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Error {
        error: String,
    }
    match serde_json::from_slice::<Error>(&answer.body) {
        Ok(error) => format!("{} {}", answer.status.as_u16(), error.error),
        Err(_) => answer.status.as_u16().to_string(),
    }
}

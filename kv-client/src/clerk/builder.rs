//! How a Clerk is to behave, and its start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::SecureRandom;
use tokio::sync::{Semaphore, mpsc};

use super::driver::Driver;
use super::error::ClerkError;
use super::ledger::Ledger;
use super::{Clerk, Inner};
use crate::quic::{Dialer, Identity, TlsFiles};
use crate::wire::SessionId;

/// How long a request may take unless the builder says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests may be under way unless the builder says otherwise, and at the most.
const WINDOW: usize = 1024;
const WINDOW_MAX: usize = 65_536;
/// How long a session lives without a sign of its Clerk unless the builder says otherwise, and its bounds.
const SESSION_TTL: Duration = Duration::from_secs(60);
const SESSION_TTL_MIN: Duration = Duration::from_secs(1);
const SESSION_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a [`Clerk`].
///
/// ```no_run
/// use std::time::Duration;
/// use kv_client::{Clerk, TlsFiles};
///
/// # async fn example() -> Result<(), kv_client::ClerkError> {
/// let clerk = Clerk::builder()
///     .endpoints(["10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001"])
///     .tls(TlsFiles::in_dir("/etc/orders/quorate"))
///     .request_timeout(Duration::from_secs(5))
///     .session_ttl(Duration::from_secs(30))
///     .window(4096)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClerkBuilder {
    endpoints: Vec<String>,
    tls: Option<TlsFiles>,
    request_timeout: Duration,
    window: usize,
    session_ttl: Duration,
}

impl ClerkBuilder {
    pub(super) fn new() -> ClerkBuilder {
        ClerkBuilder {
            endpoints: Vec::new(),
            tls: None,
            request_timeout: REQUEST_TIMEOUT,
            window: WINDOW,
            session_ttl: SESSION_TTL,
        }
    }

    /// Where nodes listen for their peers, `host:port` each: one is enough, several survive its failure. Nodes that lead
    /// are found from there.
    #[must_use]
    pub fn endpoints<S: Into<String>>(mut self, endpoints: impl IntoIterator<Item = S>) -> ClerkBuilder {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Uses the development certificates of this user, which nodes without `--tls-dir` have made. The default.
    #[must_use]
    pub fn development(mut self) -> ClerkBuilder {
        self.tls = None;
        self
    }

    /// Uses these certificates.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> ClerkBuilder {
        self.tls = Some(files);
        self
    }

    /// How long a request may take, all its attempts and its wait for a place in the window together. 10 s by default.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> ClerkBuilder {
        self.request_timeout = timeout;
        self
    }

    /// The most requests that are under way at a time; further ones wait for their turn. 1,024 by default. Of writes no more
    /// are under way than a session has room for, 4,096 counted from the first without an answer, whatever is said here.
    #[must_use]
    pub fn window(mut self, requests: usize) -> ClerkBuilder {
        self.window = requests;
        self
    }

    /// How long the Clerk's session, and with it its ephemeral keys, outlives the last sign of the Clerk. 60 s by default;
    /// at least 1 s, at most a day. The Clerk gives a sign three times as often.
    #[must_use]
    pub fn session_ttl(mut self, ttl: Duration) -> ClerkBuilder {
        self.session_ttl = ttl;
        self
    }

    /// Connects to one of the endpoints. Within a tokio runtime.
    ///
    /// # Errors
    /// [`ClerkError::Settings`], [`ClerkError::Tls`]; [`ClerkError::Misfit`] where the nodes speak another version;
    /// [`ClerkError::Unreachable`] where no node answers within the request timeout.
    pub async fn connect(self) -> Result<Clerk, ClerkError> {
        self.check()?;
        let files = self.tls.clone().map_or_else(TlsFiles::development, Ok)?;
        let dialer = Arc::new(Dialer::new(&Identity::read(&files)?));
        let seed = chance().map(|bytes| bytes as u64)?;
        // Drawn now, so that a source of chance that fails does so here; one that fails later leaves names beside the first.
        let first = chance()?;
        let mut sessions = 0_u128;
        let draw = move || {
            sessions += 1;
            SessionId(chance().unwrap_or_else(|_| first.wrapping_add(sessions)))
        };
        let ledger = Ledger::new(self.session_ttl, seed, Box::new(draw));
        let (driver, news, mut standing) = Driver::new(dialer, self.endpoints.clone(), ledger, seed);
        let (submissions, submitted) = mpsc::unbounded_channel();
        tokio::spawn(driver.run(submitted, news));
        let clerk = Clerk {
            inner: Arc::new(Inner {
                submissions,
                standing: standing.clone(),
                window: Arc::new(Semaphore::new(self.window)),
                request_timeout: self.request_timeout,
            }),
        };
        let is_decided = |standing: &super::driver::Standing| {
            standing.connection.is_some() || matches!(standing.failure, Some(ClerkError::Misfit { .. }))
        };
        let deadline = Instant::now() + self.request_timeout;
        // Late or not, what stands now is the answer.
        let _ = tokio::time::timeout_at(deadline.into(), standing.wait_for(is_decided)).await;
        let standing = standing.borrow().clone();
        match (standing.connection, standing.failure) {
            (Some(_), _) => Ok(clerk),
            (None, Some(failure)) => Err(failure),
            (None, None) => {
                Err(ClerkError::Unreachable { reason: format!("no answer within {:?}", self.request_timeout) })
            }
        }
    }

    fn check(&self) -> Result<(), ClerkError> {
        let refused = |reason: String| Err(ClerkError::Settings { reason });
        if self.endpoints.is_empty() {
            return refused("no endpoints; give host:port of one node or more, as in 127.0.0.1:7001".to_owned());
        }
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        let is_endpoint =
            |endpoint: &str| endpoint.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
        if let Some(wrong) = self.endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            return refused(format!("\"{wrong}\" is no endpoint; give host:port, as in 127.0.0.1:7001"));
        }
        if !(1..=WINDOW_MAX).contains(&self.window) {
            return refused(format!("a window of {}; give 1 to {WINDOW_MAX} requests", self.window));
        }
        if !(SESSION_TTL_MIN..=SESSION_TTL_MAX).contains(&self.session_ttl) {
            return refused(format!("a session of {:?}; give 1 s to 24 h", self.session_ttl));
        }
        if self.request_timeout.is_zero() {
            return refused("no time for a request; give more than zero".to_owned());
        }
        Ok(())
    }
}

/// 128 bits from the system's source.
fn chance() -> Result<u128, ClerkError> {
    let mut bytes = [0; 16];
    let random: &dyn SecureRandom = rustls::crypto::ring::default_provider().secure_random;
    let failed =
        |_| ClerkError::Settings { reason: "the system has no chance to give; see its random source".to_owned() };
    random.fill(&mut bytes).map_err(failed)?;
    Ok(u128::from_le_bytes(bytes))
}

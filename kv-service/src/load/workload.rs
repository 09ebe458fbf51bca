//! What is asked for: keys, the value, the share of gets. Prepared before the clock starts.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};

use super::BenchArgs;
use crate::error::ServiceError;

/// Either kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A write of the whole value.
    Put,
    /// A read.
    Get,
}

/// Requests, ready to be sent.
pub(super) struct Workload {
    put_paths: Vec<Uri>,
    get_paths: Vec<Uri>,
    value: Bytes,
    reads_percent: u64,
    seed: u64,
}

/// A small generator of its own for each client (xorshift64*, Marsaglia 2003 and Vigna 2016).
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The high bits are the good ones; multiplied, not divided, into the range.
        ((u128::from(word) * u128::from(sides)) >> 64) as u64
    }
}

impl Workload {
    /// Prepares the requests.
    pub(super) fn new(arguments: &BenchArgs) -> Result<Workload, ServiceError> {
        let path = |text: String| {
            let path = PathAndQuery::try_from(text).map_err(|error| ServiceError::Usage(error.to_string()))?;
            Ok(Uri::from(path))
        };
        let paths = |query: &str| -> Result<Vec<Uri>, ServiceError> {
            (0..arguments.keys).map(|key| path(format!("/v1/kv/bench-{key:08}{query}"))).collect()
        };
        let mut dice = Dice(arguments.seed | 1);
        Ok(Workload {
            put_paths: paths("")?,
            get_paths: if arguments.reads == 0 {
                Vec::new()
            } else {
                paths(&format!("?consistency={}", arguments.consistency))?
            },
            // Noise, so that compression beneath the service gains nothing.
            value: (0..arguments.value_bytes).map(|_| dice.roll(256) as u8).collect(),
            reads_percent: arguments.reads.into(),
            seed: arguments.seed,
        })
    }

    /// The dice of a client.
    pub(super) fn dice(&self, client: u32) -> Dice {
        let mut dice = Dice((self.seed ^ (u64::from(client) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first rolls of neighbouring seeds resemble each other.
        (0..8).for_each(|_| _ = dice.roll(2));
        dice
    }

    /// A client's next request.
    pub(super) fn next(&self, dice: &mut Dice, host: &HeaderValue) -> (Kind, Request<Full<Bytes>>) {
        let key = dice.roll(self.put_paths.len() as u64) as usize;
        if dice.roll(100) < self.reads_percent {
            (Kind::Get, request(Method::GET, &self.get_paths[key], host, Bytes::new()))
        } else {
            (Kind::Put, self.put(key, host))
        }
    }

    /// The write of one key.
    pub(super) fn put(&self, key: usize, host: &HeaderValue) -> Request<Full<Bytes>> {
        request(Method::PUT, &self.put_paths[key], host, self.value.clone())
    }
}

fn request(method: Method, path: &Uri, host: &HeaderValue, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.clone();
    request.headers_mut().insert(HOST, host.clone());
    request
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn workload(arguments: &[&str]) -> Workload {
        match Cli::try_parse_from(["kv-service", "bench"].iter().chain(arguments)).unwrap().command {
            Some(Command::Bench(arguments)) => Workload::new(&arguments).unwrap(),
            other => panic!("not a bench: {other:?}"),
        }
    }

    fn sequence(workload: &Workload, client: u32) -> Vec<(Kind, String)> {
        let (mut dice, host) = (workload.dice(client), HeaderValue::from_static("h"));
        let next = || {
            let (kind, request) = workload.next(&mut dice, &host);
            (kind, request.uri().path().to_owned())
        };
        std::iter::repeat_with(next).take(2000).collect()
    }

    #[test]
    fn a_client_repeats_itself_under_the_same_seed_and_differs_from_its_neighbour() {
        let workload = workload(&["--reads", "50", "--seed", "7"]);
        assert_eq!(sequence(&workload, 3), sequence(&workload, 3));
        assert_ne!(sequence(&workload, 3), sequence(&workload, 4));
    }

    #[test]
    fn the_share_of_gets_is_what_was_asked_for() {
        let gets = |reads: &str| {
            let workload = workload(&["--reads", reads, "--keys", "10"]);
            sequence(&workload, 0).iter().filter(|(kind, _)| *kind == Kind::Get).count()
        };
        assert_eq!((gets("0"), gets("100")), (0, 2000));
        assert!((400..600).contains(&gets("25")), "{} of 2000", gets("25"));
    }

    #[test]
    fn every_key_is_used() {
        let mut keys: Vec<_> = sequence(&workload(&["--keys", "10"]), 0).into_iter().map(|(_, key)| key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10);
    }
}

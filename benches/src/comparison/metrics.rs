//! What a node tells of itself under `GET /metrics`, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::replicas::Failure;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A node's counters at one moment: the sum of each over its labels. Those that it does not have are zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Asks a node, by its HTTP address.
    pub async fn ask(address: &str) -> Result<Counters, Failure> {
        tokio::time::timeout(TIMEOUT, fetch(address)).await.map_err(|_| format!("{address} does not answer in time"))?
    }

    /// One of them.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer without keep-alive and without chunks: HTTP/1.0.
async fn fetch(address: &str) -> Result<Counters, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200")) => Ok(parse(body)),
        _ => Ok(Counters::default()),
    }
}

/// Lines such as `name{label="x"} 12`; a comment begins with `#`.
fn parse(text: &str) -> Counters {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, rest) = match line.split_once('{') {
            Some((name, rest)) => (name, rest.rsplit_once('}').map_or("", |(_, rest)| rest)),
            None => line.split_once(' ').unwrap_or((line, "")),
        };
        // Behind the value there may be a time.
        if let Some(value) = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok()) {
            *sums.entry(series.to_owned()).or_default() += value;
        }
    }
    Counters(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_with_labels_is_summed_over_them() {
        let text = "# TYPE quorate_sent_bytes counter\nquorate_sent_bytes_total{lane=\"control\"} 10\n\
            quorate_sent_bytes_total{lane=\"bulk\",note=\"a } b\"} 32 1700000000\nquorate_log_syncs_total 7\n# EOF\n";
        let counters = parse(text);
        assert_eq!(counters.get("quorate_sent_bytes_total"), 42.0);
        assert_eq!(counters.get("quorate_log_syncs_total"), 7.0);
        assert_eq!(counters.get("quorate_log_writes_total"), 0.0);
    }

    #[test]
    fn what_is_no_figure_is_left_out() {
        assert!(parse("not found\n\nname{open 1\n").is_empty());
    }
}

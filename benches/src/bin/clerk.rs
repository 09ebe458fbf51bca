//! How many puts and gets one Clerk, over one connection, has carried out in a second, with so many under way.
//!
//! `cargo run --release --bin clerk -- --endpoints 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --seconds 6 --in-flight 1000`
//!
//! The cluster must run already, with development certificates; `make cluster` starts one. Prints one line for the puts and
//! one for the gets: rate, median and 99th percentile of the time from call to answer.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use kv_client::Clerk;
use kv_client::protocol::Consistency;

/// Puts and gets of one Clerk.
#[derive(Parser)]
struct Arguments {
    /// Where nodes listen for their peers, host:port each
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7001")]
    endpoints: Vec<String>,
    /// How many requests are under way at a time
    #[arg(long, default_value_t = 1000)]
    in_flight: usize,
    /// How long each of the two runs takes
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// How large a value is, in bytes
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many keys there are
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Read what the node has, without asking anybody
    #[arg(long)]
    stale: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let clerk = Clerk::builder()
        .endpoints(arguments.endpoints.clone())
        .development()
        .window(arguments.in_flight)
        .connect()
        .await?;
    let value = Bytes::from(vec![b'v'; arguments.value_bytes]);
    // The session opens with the first, which is not measured.
    clerk.put("clerk/first", "").await?;
    let consistency = if arguments.stale { Consistency::Stale } else { Consistency::Linearizable };
    let keys = arguments.keys.max(1);
    let key = move |number: u64| format!("clerk/{:08}", number % keys);
    let puts = run(&arguments, |number| {
        let put = clerk.put(key(number), value.clone());
        async move { put.await.map(drop) }
    });
    println!("put {}", puts.await?);
    let gets = run(&arguments, |number| {
        let get = clerk.get_as(key(number), consistency);
        async move { get.await.map(drop) }
    });
    println!("get {}", gets.await?);
    Ok(clerk.close().await?)
}

/// Keeps so many requests under way until the time is over; the line to print.
async fn run<F>(arguments: &Arguments, request: impl Fn(u64) -> F) -> Result<String, Box<dyn Error>>
where
    F: Future<Output = Result<(), kv_client::ClerkError>>,
{
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut under_way = FuturesUnordered::new();
    let timed = |number: u64| {
        let request = request(number);
        async move {
            let begun = Instant::now();
            request.await.map(|()| begun.elapsed())
        }
    };
    let (begun, length) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let mut sent = 0;
    while sent < arguments.in_flight as u64 {
        under_way.push(timed(sent));
        sent += 1;
    }
    while let Some(took) = under_way.next().await {
        micros.saturating_record(took?.as_micros() as u64);
        if begun.elapsed() < length {
            under_way.push(timed(sent));
            sent += 1;
        }
    }
    let rate = micros.len() as f64 / begun.elapsed().as_secs_f64();
    let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
    let in_flight = arguments.in_flight;
    Ok(format!("{in_flight} in flight: {rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99)))
}

//! `kv-service bench`: a load generator for any running cluster.
//!
//! ```text
//!   args ─▶ plan                                    ┌─ http: a pool of kept connections ─┐
//!             │                                     │                                    ▼
//!   pace ─────┼──▶ client × N ── operation ──▶ link ┴─ quic: Clerks ───────────────▶ the cluster
//!   schedule  │      │    ▲                                                              │
//!             │      │    └ workload: mix, keys, values        tally ◀───── answer ──────┤
//!             │      │                                           ├─▶ progress, report    │
//!             ▼      └──▶ crew: before, during, after            └─▶ hdr    history ◀────┘
//! ```
//!
//! In a *closed loop* a client starts its next operation when one has ended. So a cluster that stalls is asked less
//! meanwhile, and the slowest percentiles flatter it. In an *open loop* (`--rate`) each operation has an intended start, and
//! its latency counts from there, whatever holds it up.
//!
//! One thread does everything, because the cluster usually shares the machine. What is kept in memory has a bound that
//! doesn't depend on how long it runs.

mod args;
mod client;
mod connection;
mod crew;
mod dice;
mod hdr;
mod history;
mod http;
mod keys;
mod link;
mod pace;
mod progress;
mod quic;
mod report;
mod schedule;
mod tally;
mod targets;
mod values;
mod workload;
mod zipf;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::LocalSet;

use crate::error::ServiceError;
use args::{Plan, Protocol};
use client::Ground;
use crew::Crew;
use dice::Dice;
use hdr::IntervalLog;
use history::History;
use http::HttpLink;
use keys::Keys;
use link::Link;
use pace::{Measured, Pace, Phases};
use quic::QuicLink;
use report::Facts;
use schedule::Schedule;
use tally::Tally;
use targets::Found;
use values::Values;
use workload::{Operation, Workload};

pub use args::BenchArgs;

/// Dice of the run itself, beside those of the clients.
const VALUES_DICE: u64 = u32::MAX as u64;
const ARRIVALS_DICE: u64 = VALUES_DICE - 1;

/// Runs the load and prints what came of it.
pub async fn run(arguments: BenchArgs) -> Result<(), ServiceError> {
    let plan = Plan::of(&arguments)?;
    LocalSet::new().run_until(drive(&arguments, &plan)).await
}

async fn drive(arguments: &BenchArgs, plan: &Plan) -> Result<(), ServiceError> {
    let found = targets::find(&arguments.endpoints, arguments.spread, plan.timeout).await?;
    let (engine, targets) = (found.engine.clone(), described(arguments, &found));
    let keys = Keys::new(arguments.keys.into(), plan.distribution);
    let sampled =
        if arguments.history.is_some() { keys.sample(arguments.history_keys.into()) } else { BTreeSet::new() };
    let history = arguments.history.as_deref().map(|path| History::create(path, sampled.clone(), run_number()));
    let log = arguments.hdr.as_deref().map(IntervalLog::create).transpose()?;
    let values = Values::new(arguments.value_bytes, Dice::new(arguments.seed, VALUES_DICE));
    let ground = Rc::new(Ground {
        link: connect(arguments, plan, found).await?,
        workload: Workload::new(plan.mix, keys, values),
        history: history.transpose()?.map(RefCell::new),
        patience: plan.timeout,
        conflicts: Cell::new(0),
    });
    let crew = Crew {
        in_flight: plan.in_flight,
        clients: arguments.clients as usize,
        seed: arguments.seed,
        staggered_over: if plan.rate_per_s.is_some() { Duration::ZERO } else { plan.ramp_up },
    };
    // What is read is there; and of what is recorded the history knows from when on.
    if plan.mix.reads() {
        crew.each(&ground, 0..u64::from(arguments.keys), Operation::Put).await?;
    } else {
        crew.each(&ground, sampled.clone().into_iter(), Operation::Put).await?;
    }

    let pace = Rc::new(pace(arguments, plan));
    let (tally, cpu_s) = measure(arguments, &crew, &ground, &pace, log).await;
    // So that a write that was acknowledged and is lost shows even where nobody has read it.
    crew.each(&ground, sampled.clone().into_iter(), Operation::Get).await?;
    ground.link.close().await;

    let not_started = pace.owed().await;
    let mut tally = tally.borrow_mut();
    tally.finish()?;
    let mut written = 0;
    if let Some(history) = &ground.history {
        let mut history = history.borrow_mut();
        history.finish()?;
        written = history.written();
    }
    let facts = Facts {
        engine: &engine,
        targets,
        measured_from_unix_us: unix_us(pace.phases.measured_from),
        seconds: seconds(plan, &pace, &tally),
        cpu_s,
        not_started,
        conflicts: ground.conflicts.get(),
        history: arguments.history.as_deref().map(|path| (sampled.len(), written, path)),
    };
    report::print(arguments, plan, &facts, &tally)
}

/// Puts the load on; what was measured, and what it cost of the processors, in seconds.
async fn measure(
    arguments: &BenchArgs,
    crew: &Crew,
    ground: &Rc<Ground>,
    pace: &Rc<Pace>,
    mut log: Option<IntervalLog>,
) -> (Rc<RefCell<Tally>>, f64) {
    let from = pace.phases.measured_from;
    if let Some(log) = &mut log {
        log.begin(SystemTime::now() + from.saturating_duration_since(Instant::now()));
    }
    let tally = Rc::new(RefCell::new(Tally::new(from, log)));
    let telling = (arguments.progress || progress::is_wanted())
        .then(|| tokio::task::spawn_local(progress::tell(pace.clone(), tally.clone())));
    let cpu_before = tokio::task::spawn_local(async move {
        tokio::time::sleep_until(from.into()).await;
        cpu_s()
    });
    crew.work(ground, pace, &tally).await;
    let cpu = cpu_s() - cpu_before.await.unwrap_or_default();
    if let Some(telling) = telling {
        telling.abort();
    }
    (tally, cpu)
}

async fn connect(arguments: &BenchArgs, plan: &Plan, found: Found) -> Result<Link, ServiceError> {
    Ok(match arguments.protocol {
        Protocol::Http => Link::Http(HttpLink::new(found.targets, plan.connections, plan.consistency, plan.timeout)),
        Protocol::Quic => Link::Quic(QuicLink::open(&found.addresses, arguments.tls_dir.as_ref(), plan).await?),
    })
}

/// Whom the load is for, in words.
fn described(arguments: &BenchArgs, found: &Found) -> String {
    match &found.leader {
        _ if arguments.spread => "all endpoints".to_owned(),
        Some(leader) => format!("the leader, {leader}"),
        None if arguments.protocol == Protocol::Http => "endpoints of which none leads".to_owned(),
        None => "whoever leads".to_owned(),
    }
}

fn pace(arguments: &BenchArgs, plan: &Plan) -> Pace {
    let phases = Phases::new(Instant::now(), plan.ramp_up, plan.warmup, plan.measured);
    let Some(rate_per_s) = plan.rate_per_s else { return Pace::closed(phases) };
    let dice = Dice::new(arguments.seed, ARRIVALS_DICE);
    let schedule = Schedule::new(rate_per_s, plan.ramp_up, arguments.arrivals, dice);
    Pace::open(phases, schedule)
}

/// How long was measured: as long as was asked for, or until the last operation ended.
fn seconds(plan: &Plan, pace: &Pace, tally: &Tally) -> f64 {
    match plan.measured {
        Measured::For(time) => time.as_secs_f64(),
        Measured::Count(_) => {
            let took = tally.last.map(|last| last.saturating_duration_since(pace.phases.measured_from));
            took.unwrap_or_default().as_secs_f64().max(1e-6)
        }
    }
}

/// What this process has taken of the processors, in seconds.
fn cpu_s() -> f64 {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    taken.tv_sec as f64 + taken.tv_nsec as f64 / 1e9
}

/// A moment that is past, in microseconds since 1970.
fn unix_us(moment: Instant) -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_1970.saturating_sub(moment.elapsed()).as_micros() as u64
}

/// Tells the values of this run from those of others.
fn run_number() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_micros() as u32) ^ std::process::id().rotate_left(16)
}

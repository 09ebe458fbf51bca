//! A point as one line, for who watches the comparison run.

use super::results::{Event, Found, History, Load, Point, Setting};

/// The point in a line.
pub fn line(point: &Point) -> String {
    let Setting { network, nodes, sync, what, value_bytes, rate_per_s, open_tail } = &point.key.setting;
    let mut setting = format!("{what}, {network}, {nodes} nodes, {value_bytes} B, {rate_per_s}/s");
    if !sync {
        setting.push_str(", no sync");
    }
    if *open_tail > 0 {
        setting.push_str(&format!(", open tail {open_tail}"));
    }
    let found = match &point.found {
        Found::Load(load) => of_load(load),
        Found::Events { events } => of_events(events),
        Found::Meanwhile { before, meanwhile, lasted_ms } => {
            format!("before {}; meanwhile {}; {lasted_ms:.0} ms", of_load(before), of_load(meanwhile))
        }
    };
    let history = match &point.history {
        History::Linearizable { operations, .. } => format!("{operations} operations linearizable"),
        History::NotLinearizable { .. } => "NOT LINEARIZABLE".to_owned(),
        History::Undecided { .. } => "history undecided".to_owned(),
        History::NotRecorded => "no history".to_owned(),
    };
    let invalid = if point.is_valid() { String::new() } else { format!("  INVALID: {}", point.invalid.join("; ")) };
    format!(
        "{} [{setting}] round {} {}: {found}; busy {:.0} %, {history}{invalid}",
        point.key.experiment,
        point.key.round,
        point.key.subject,
        point.busy * 100.0
    )
}

fn of_load(load: &Load) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    format!("{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", load.rate_per_s, ms(load.all.p50_us), ms(load.all.p99_us))
}

fn of_events(events: &[Event]) -> String {
    let mut served: Vec<f64> = events.iter().filter_map(|event| event.served_ms).collect();
    served.sort_by(f64::total_cmp);
    match served.get(served.len() / 2) {
        Some(median) => format!("{} of {} served again, median {median:.0} ms", served.len(), events.len()),
        None => format!("none of {} served again", events.len()),
    }
}

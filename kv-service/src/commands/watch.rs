//! `watch`: every change as it happens, until Ctrl-C.
//!
//! ```text
//!   7   put     config/timeout  30 s
//!   8   delete  config/retries
//! ```
//!
//! In a pipe the columns are parted by tabs; with `--json` each change is an object on a line of its own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Args;
use kv_client::http::{Change, WatchRequest};
use serde::Serialize;
use serde_json::{Value, json};

use super::desk::Desk;
use super::output;
use super::table::Tone;
use super::text::{hex, readable, shown};
use crate::error::ServiceError;

/// What is watched.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// What the keys begin with; without it, all keys
    prefix: Option<OsString>,
    /// Begin with the changes of this revision, if they are still remembered; without it, with the next one
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    from_revision: Option<u64>,
    /// End after this many changes
    #[arg(long, value_name = "CHANGES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print keys and values in hexadecimal
    #[arg(long)]
    hex: bool,
}

/// Prints changes until there have been enough, or nobody reads them any more.
pub async fn watch(arguments: WatchArgs, desk: &Desk) -> Result<(), ServiceError> {
    let WatchArgs { prefix, from_revision, count, hex } = arguments;
    let prefix = prefix.unwrap_or_default().into_vec().into();
    let mut watch = desk.client.watch(WatchRequest { prefix, from_revision, timeout: desk.timeout }).await?;
    if !desk.json && output::is_terminal() {
        eprintln!("{}", Tone::Dim.paint("watching; Ctrl-C ends it", output::coloured()));
    }
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let change = watch.next().await?;
        let line = if desk.json { object(&change)?.to_string() } else { text(&change, hex) };
        if !output::stream_line(&line)? {
            break;
        }
        left -= 1;
    }
    Ok(())
}

/// The change with what has happened in the field `event`.
fn object(change: &Change) -> Result<Value, ServiceError> {
    let (event, fields) = match change {
        Change::Put(put) => ("put", fields(put)?),
        Change::Delete(delete) => ("delete", fields(delete)?),
    };
    let mut object = json!({ "event": event });
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    Ok(object)
}

fn fields(event: &impl Serialize) -> Result<Value, ServiceError> {
    serde_json::to_value(event).map_err(|error| ServiceError::io("cannot write the result as JSON")(error.into()))
}

fn text(change: &Change, in_hex: bool) -> String {
    let terminal = output::is_terminal();
    let bytes: fn(&[u8]) -> String = match (in_hex, terminal) {
        (true, _) => hex,
        (false, true) => shown,
        (false, false) => readable,
    };
    let (name, tone, value) = match change {
        Change::Put(put) => ("put", Tone::Good, Some(bytes(&put.value.0))),
        Change::Delete(_) => ("delete", Tone::Bad, None),
    };
    let (revision, key) = (change.revision(), bytes(change.key()));
    if !terminal {
        return format!("{revision}\t{name}\t{key}{}", value.map_or_else(String::new, |value| format!("\t{value}")));
    }
    let name = tone.paint(&format!("{name:<6}"), output::coloured());
    format!("{revision:>8}  {name}  {key}{}", value.map_or_else(String::new, |value| format!("  {value}")))
}

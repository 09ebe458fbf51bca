//! The commands about keys: put, append, get, delete, cas, scan, and kv, which lists keys without their values.
//!
//! Keys and values are bytes. Typed on a command line they are what the shell makes of them; `get` prints them as they are
//! into a pipe, and readable on a terminal.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use kv_client::protocol::{Consistency, PutReply, ScanItem, ScanReply};
use kv_client::txn::{Compare, Operation, OperationResult, Relation, Target, TxnReply, TxnRequest};
use kv_client::{Base64, Expect, ScanRequest, WriteOptions};
use serde_json::json;

use super::desk::Desk;
use super::output;
use super::table::Table;
use super::text::{hex, readable, shown};
use crate::error::ServiceError;

/// A node refuses more than this, whatever it is configured for.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Freshness {
    /// It sees every write that was acknowledged before it began
    #[default]
    Linearizable,
    /// The same, by the leader's lease, as good as the clocks
    Lease,
    /// What the node that is asked happens to know
    Stale,
}

impl From<Freshness> for Consistency {
    fn from(freshness: Freshness) -> Consistency {
        match freshness {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Lease => Consistency::Lease,
            Freshness::Stale => Consistency::Stale,
        }
    }
}

/// On which condition a write takes place
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct Condition {
    /// Only if the key has this version; 0: only if it does not exist
    #[arg(long, visible_alias = "if-version", value_name = "VERSION")]
    pub expect_version: Option<u64>,
    /// Only if the key was last changed at this revision
    #[arg(long, value_name = "REVISION")]
    pub if_revision: Option<u64>,
    /// Only if the key does not exist
    #[arg(long)]
    pub if_absent: bool,
}

impl Condition {
    /// What it asks of the key.
    pub fn expect(&self) -> Expect {
        match (self.expect_version, self.if_revision, self.if_absent) {
            (Some(version), ..) => Expect::Version(version),
            (_, Some(revision), _) => Expect::ModRevision(revision),
            (.., true) => Expect::Version(0),
            _ => Expect::Any,
        }
    }

    fn options(&self, timeout: Duration) -> WriteOptions {
        WriteOptions { expect: self.expect(), ephemeral: false, timeout }
    }
}

/// A key and what is written there.
#[derive(Args, Clone, Debug)]
pub struct WriteArgs {
    /// The key
    pub key: OsString,
    /// The value; '-' reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub value: OsString,
    /// On which condition.
    #[command(flatten)]
    pub condition: Condition,
}

/// Which key is read, and how.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// The key
    key: OsString,
    /// How fresh the value must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Freshness,
    /// Print the value in hexadecimal
    #[arg(long)]
    hex: bool,
}

/// Which key is removed.
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    /// The key
    key: OsString,
    /// On which condition.
    #[command(flatten)]
    condition: Condition,
}

/// A value for another.
#[derive(Args, Clone, Debug)]
pub struct CasArgs {
    /// The key
    key: OsString,
    /// The value that it must have
    #[arg(allow_hyphen_values = true)]
    old: OsString,
    /// The value that it gets then
    #[arg(allow_hyphen_values = true)]
    new: OsString,
}

/// Which keys are listed.
#[derive(Args, Clone, Debug)]
pub struct ScanArgs {
    /// What the keys begin with; without it, all keys
    prefix: Option<OsString>,
    /// The first key
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// The key before which the list ends
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// List no more than this
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// How fresh the list must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Freshness,
    /// Print keys and values in hexadecimal
    #[arg(long)]
    hex: bool,
}

/// Sets a key's value.
pub async fn put(arguments: WriteArgs, desk: &Desk) -> Result<(), ServiceError> {
    let WriteArgs { key, value, condition } = arguments;
    let (key, value) = (key_of(key)?, value_of(value)?);
    written(desk, desk.put(&key, value, condition.options(desk.timeout)).await?)
}

/// Sets a key's value for as long as the desk's session lives.
pub async fn put_ephemeral(arguments: WriteArgs, desk: &Desk) -> Result<(), ServiceError> {
    let WriteArgs { key, value, condition } = arguments;
    let (key, value) = (key_of(key)?, value_of(value)?);
    let options = WriteOptions { ephemeral: true, ..condition.options(desk.timeout) };
    written(desk, desk.put(&key, value, options).await?)
}

/// Appends to a key's value.
pub async fn append(arguments: WriteArgs, desk: &Desk) -> Result<(), ServiceError> {
    let WriteArgs { key, value, condition } = arguments;
    let (key, suffix) = (key_of(key)?, value_of(value)?);
    written(desk, desk.append(&key, suffix, condition.options(desk.timeout)).await?)
}

fn written(desk: &Desk, reply: PutReply) -> Result<(), ServiceError> {
    desk.print(&reply, || format!("version {}, revision {}", reply.version, reply.revision))
}

/// Prints a key's value.
pub async fn get(arguments: GetArgs, desk: &Desk) -> Result<(), ServiceError> {
    let key = key_of(arguments.key)?;
    let found = desk.client.get(&key, desk.read(arguments.consistency.into())).await?;
    let found = found.ok_or_else(|| ServiceError::KeyNotFound { key: readable(&key) })?;
    if desk.json {
        let (version, mod_revision, revision) = (found.version, found.mod_revision, found.revision);
        let (key, value) = (Base64(key), Base64(found.value));
        return output::line(
            &json!({ "key": key, "value": value, "version": version, "mod_revision": mod_revision, "revision": revision })
                .to_string(),
        );
    }
    if arguments.hex {
        return output::line(&hex(&found.value));
    }
    // A prompt should not stand behind the value, nor bytes upset the terminal; a file or pipe gets the value alone.
    if output::is_terminal() {
        return output::line(&legible(&found.value));
    }
    output::write(&found.value)?;
    // In a pipe of commands the next result stands on a line of its own.
    if desk.is_one_of_many() { output::write(b"\n") } else { Ok(()) }
}

/// A value on a terminal: text over as many lines as it has, anything else escaped.
fn legible(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(|char| char.is_control() && char != '\n' && char != '\t') => text.to_owned(),
        _ => value.escape_ascii().to_string(),
    }
}

/// Removes a key.
pub async fn delete(arguments: DeleteArgs, desk: &Desk) -> Result<(), ServiceError> {
    let key = key_of(arguments.key)?;
    let reply = desk.delete(&key, arguments.condition.options(desk.timeout)).await?;
    if reply.deleted || desk.json {
        desk.print(&reply, || format!("deleted, revision {}", reply.revision))?;
    }
    if reply.deleted { Ok(()) } else { Err(ServiceError::KeyNotFound { key: readable(&key) }) }
}

/// Sets a key's value if it has another one that is given.
pub async fn cas(arguments: CasArgs, desk: &Desk) -> Result<(), ServiceError> {
    let key = key_of(arguments.key)?;
    let (old, new) = (Bytes::from(arguments.old.into_vec()), Bytes::from(arguments.new.into_vec()));
    let named = || Base64(key.clone());
    let request = TxnRequest {
        compare: vec![Compare { key: named(), target: Target::Value(Some(Base64(old))), relation: Relation::Equal }],
        then: vec![Operation::Put { key: named(), value: Base64(new) }],
        otherwise: vec![Operation::Get { key: named() }],
    };
    let reply = desk.txn(&request).await?;
    let version = match reply.results.first() {
        Some(OperationResult::Written { version }) => *version,
        _ => return Err(swap_refused(desk, &key, &reply)?),
    };
    written(desk, PutReply { version, revision: reply.revision })
}

fn swap_refused(desk: &Desk, key: &[u8], reply: &TxnReply) -> Result<ServiceError, ServiceError> {
    let found = match reply.results.first() {
        Some(OperationResult::Get { item: Some(item) }) => format!("its value is '{}'", shown(&item.value.0)),
        _ => "there is no such key".to_owned(),
    };
    if desk.json {
        desk.print(reply, String::new)?;
    }
    Ok(ServiceError::NotSwapped { key: readable(key), found })
}

/// Lists keys and values.
pub async fn scan(arguments: ScanArgs, desk: &Desk) -> Result<(), ServiceError> {
    let as_text: fn(&[u8]) -> String = if arguments.hex { hex } else { readable };
    let in_table: fn(&[u8]) -> String = if arguments.hex { hex } else { shown };
    let all = read(arguments, desk).await?;
    desk.print_table(&all, || {
        if !output::is_terminal() {
            let line = |item: &ScanItem| format!("{}\t{}\n", as_text(&item.key.0), as_text(&item.value.0));
            return all.items.iter().map(line).collect();
        }
        let mut table = Table::new(["key", "value", ">version", ">revision"]);
        for item in &all.items {
            let (key, value) = (as_text(&item.key.0), in_table(&item.value.0));
            table.row([key.into(), value.into(), item.version.into(), item.mod_revision.into()]);
        }
        table.render(output::coloured())
    })
}

/// Lists keys with what is known of them, without their values.
pub async fn kv(arguments: ScanArgs, desk: &Desk) -> Result<(), ServiceError> {
    let as_text: fn(&[u8]) -> String = if arguments.hex { hex } else { readable };
    let all = read(arguments, desk).await?;
    desk.print_table(&all, || {
        let mut table = Table::new(["key", ">bytes", ">version", ">created", ">changed", "session"]);
        for item in &all.items {
            let session = item.session.as_deref().unwrap_or("-");
            table.row([
                as_text(&item.key.0).into(),
                item.value.0.len().into(),
                item.version.into(),
                item.create_revision.into(),
                item.mod_revision.into(),
                session.into(),
            ]);
        }
        format!("{}{} keys, revision {}\n", table.render(output::coloured()), all.items.len(), all.revision)
    })
}

/// Reads page after page until the limit; each page is of one moment, the whole need not be.
async fn read(arguments: ScanArgs, desk: &Desk) -> Result<ScanReply, ServiceError> {
    let bytes = |text: Option<OsString>| text.map(|text| Bytes::from(text.into_vec()));
    let request = ScanRequest {
        prefix: bytes(arguments.prefix),
        start: bytes(arguments.start),
        end: bytes(arguments.end),
        limit: Some(arguments.limit),
    };
    let mut scan = desk.client.scan_all(request, desk.read(arguments.consistency.into()));
    let mut items = Vec::new();
    while let Some(item) = scan.next().await? {
        items.push(item);
    }
    if scan.more() && !desk.json {
        eprintln!("kv-service: there are more keys; raise --limit, or name a longer prefix");
    }
    Ok(ScanReply { items, more: scan.more(), revision: scan.revision() })
}

/// The bytes of a key.
pub fn key_of(key: OsString) -> Result<Bytes, ServiceError> {
    if key.is_empty() {
        return Err(ServiceError::Usage("the key is empty; name a key of at least one byte".to_owned()));
    }
    Ok(key.into_vec().into())
}

fn value_of(value: OsString) -> Result<Bytes, ServiceError> {
    if value != "-" {
        return Ok(value.into_vec().into());
    }
    let mut bytes = Vec::new();
    let outcome = io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut bytes);
    outcome.map_err(ServiceError::io("cannot read the value from standard input"))?;
    Ok(bytes.into())
}

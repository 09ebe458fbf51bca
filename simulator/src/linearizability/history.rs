//! Histories as text: one JSON object a line.
//!
//! ```text
//!   {"client":3,"op":"put","key":"k","value":"v","call":100,"return":250,"outcome":"ok"}
//!   {"client":4,"op":"get","key":"k","value":null,"call":120,"return":240,"outcome":"ok"}         null: absent
//!   {"client":3,"op":"cas","key":"k","from":"v","to":"w","call":300,"return":null,"outcome":"unknown"}
//!   {"client":5,"op":"cas","key":"k","value":"x","from":"v","to":"w","call":310,"return":400,"outcome":"fail"}
//! ```
//!
//! `call` and `return` are whole nanoseconds. A cas that failed tells with `value` what it found instead; without one, or
//! with null, it claims nothing. Blank lines are skipped; whatever else is not of this form is refused, by its line.

use std::io::{self, BufRead, Read, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Action, Model, Operation, Outcome};

/// The most operations that a history may have.
pub const OPERATIONS_MAX: usize = 1_000_000;
/// The longest line, in bytes: an operation with two values at the service's limit, every byte of them escaped.
const LINE_BYTES_MAX: u64 = 16 << 20;
const FIELDS: [&str; 9] = ["client", "op", "key", "value", "from", "to", "call", "return", "outcome"];

/// Why a text is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A line is not an operation.
    #[error("{line}: {what}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong, and what is expected.
        what: String,
    },
    /// There are more than [`OPERATIONS_MAX`] operations.
    #[error("{line}: a history has at most {OPERATIONS_MAX} operations; check it in parts, key by key")]
    TooMany {
        /// The line of the first that is too many.
        line: usize,
    },
    /// It cannot be read.
    #[error("{line}: cannot be read: {error}")]
    Read {
        /// The line that was to be read.
        line: usize,
        /// Why not.
        error: io::Error,
    },
}

/// Reads a history.
///
/// # Errors
/// [`HistoryError`], with the number of the line.
pub fn read_history(input: impl BufRead) -> Result<Vec<Operation>, HistoryError> {
    read_history_for(Model::Kv, input)
}

/// Reads a history of which every operation must be one of the model's.
///
/// # Errors
/// As [`read_history`], and for an operation that the model does not have.
pub fn read_history_for(model: Model, mut input: impl BufRead) -> Result<Vec<Operation>, HistoryError> {
    let mut history = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|error| HistoryError::Read { line, error })? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if history.len() == OPERATIONS_MAX {
            return Err(HistoryError::TooMany { line });
        }
        let operation = parse(&bytes).and_then(|operation| admit(model, operation));
        history.push(operation.map_err(|what| HistoryError::Line { line, what })?);
    }
    Ok(history)
}

/// Writes a history, as [`read_history`] reads it.
///
/// # Errors
/// Those of the output.
pub fn write_history(mut output: impl Write, history: &[Operation]) -> io::Result<()> {
    for operation in history {
        serde_json::to_writer(&mut output, &Line::of(operation))?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn admit(model: Model, operation: Operation) -> Result<Operation, String> {
    if model.has(&operation.action) {
        return Ok(operation);
    }
    let op = Line::of(&operation).op;
    Err(format!("a register has no {op}, only get, put and cas; check the history with --model kv"))
}

fn parse(bytes: &[u8]) -> Result<Operation, String> {
    if bytes.len() as u64 > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let expected = "expected one JSON object, such as \
        {\"client\":1,\"op\":\"get\",\"key\":\"k\",\"value\":\"v\",\"call\":10,\"return\":20,\"outcome\":\"ok\"}";
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON ({error}); {expected}"))?;
    let Value::Object(fields) = value else { return Err(expected.to_string()) };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!("\"{}\" is no field; expected {}", unknown.escape_debug(), FIELDS.join(", ")));
    }
    Fields(&fields).operation()
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn operation(&self) -> Result<Operation, String> {
        let outcome = match self.text("outcome")?.as_str() {
            "ok" => Outcome::Ok,
            "fail" => Outcome::Fail,
            "unknown" => Outcome::Unknown,
            other => return Err(format!("{other:?} is no outcome; expected ok, fail or unknown")),
        };
        let action = self.action(outcome)?;
        let (call, returned) = (self.number("call")?, self.nullable("return", Self::number)?);
        if let Some(returned) = returned.filter(|returned| *returned < call) {
            return Err(format!("it returned at {returned}, before it was called at {call}"));
        }
        Ok(Operation { client: self.number("client")?, action, call, returned, outcome })
    }

    fn action(&self, outcome: Outcome) -> Result<Action, String> {
        let op = self.text("op")?;
        let key = self.text("key")?;
        if op != "cas" {
            self.has_none(&op, &["from", "to"])?;
        }
        Ok(match op.as_str() {
            "get" if outcome == Outcome::Ok => Action::Get { key, value: self.nullable("value", Self::text)? },
            "get" => Action::Get { key, value: self.optional("value")? },
            "put" => Action::Put { key, value: self.text("value")? },
            "append" => Action::Append { key, value: self.text("value")? },
            "delete" => {
                self.has_none("delete", &["value"])?;
                Action::Delete { key }
            }
            "cas" => {
                let (from, to) = (self.nullable("from", Self::text)?, self.text("to")?);
                match self.optional("value")? {
                    None => Action::Cas { key, from, to },
                    Some(found) if outcome == Outcome::Fail => Action::CasRefused { key, from, to, found },
                    Some(_) => return Err("only a cas that failed has a \"value\": what it found".to_string()),
                }
            }
            other => return Err(format!("{other:?} is no operation; expected get, put, append, delete or cas")),
        })
    }

    fn field(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("\"{name}\" is missing"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.field(name)? {
            Value::String(text) => Ok(text.clone()),
            other => Err(format!("\"{name}\" is {}; expected a string", kind(other))),
        }
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.field(name)?;
        let unit = if name == "client" { "" } else { " of nanoseconds" };
        let wrong = || format!("\"{name}\" is {}; expected a whole number{unit}, not below zero", kind(value));
        value.as_u64().ok_or_else(wrong)
    }

    /// The field, which must be there, and may be null.
    fn nullable<T>(&self, name: &str, read: impl Fn(&Self, &str) -> Result<T, String>) -> Result<Option<T>, String> {
        if self.field(name)?.is_null() {
            return Ok(None);
        }
        read(self, name).map(Some).map_err(|what| format!("{what}, or null"))
    }

    /// The text of a field that may be null or missing.
    fn optional(&self, name: &str) -> Result<Option<String>, String> {
        if self.0.contains_key(name) { self.nullable(name, Self::text) } else { Ok(None) }
    }

    fn has_none(&self, op: &str, names: &[&str]) -> Result<(), String> {
        let present = |name: &&&str| self.0.get(**name).is_some_and(|value| !value.is_null());
        match names.iter().find(present) {
            Some(name) => Err(format!("a {op} has no \"{name}\"; leave it out, or null")),
            None => Ok(()),
        }
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) => "a boolean".to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_string(),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "an object".to_string(),
    }
}

/// An operation as it is written. A field that is `Some(None)` is written as null.
#[derive(Serialize)]
struct Line<'a> {
    client: u64,
    op: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    call: u64,
    #[serde(rename = "return")]
    returned: Option<u64>,
    outcome: &'static str,
}

impl<'a> Line<'a> {
    fn of(operation: &'a Operation) -> Line<'a> {
        let (op, value, from, to) = match &operation.action {
            Action::Get { value, .. } => ("get", Some(value.as_deref()), None, None),
            Action::Put { value, .. } => ("put", Some(Some(&**value)), None, None),
            Action::Append { value, .. } => ("append", Some(Some(&**value)), None, None),
            Action::Delete { .. } => ("delete", None, None, None),
            Action::Cas { from, to, .. } => ("cas", None, Some(from.as_deref()), Some(&**to)),
            Action::CasRefused { from, to, found, .. } => {
                ("cas", Some(Some(&**found)), Some(from.as_deref()), Some(&**to))
            }
        };
        let outcome = match operation.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
        };
        let Operation { client, call, returned, .. } = *operation;
        Line { client, op, key: operation.action.key(), value, from, to, call, returned, outcome }
    }
}

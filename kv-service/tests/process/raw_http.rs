//! HTTP as bytes, for what the client library would never send and does not read: other headers, odd heads, streams.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::PATIENCE;

/// An answer, as far as it was read.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    stream: BufReader<TcpStream>,
}

impl Answer {
    /// The header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).1
    }

    /// The whole body.
    pub fn body(mut self) -> String {
        let mut body = String::new();
        self.stream.read_to_string(&mut body).unwrap();
        body
    }

    /// The whole body as JSON.
    pub fn json(self) -> Value {
        let body = self.body();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
    }

    /// The body of an error, which must have this status and code.
    #[track_caller]
    pub fn into_error(self, status: u16, code: &str) -> Value {
        let found = self.status;
        let body = self.json();
        assert_eq!((found, &body["error"]), (status, &Value::from(code)), "{body}");
        body
    }

    /// The next line of a stream; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            // Whoever was killed says no goodbye.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }
}

/// Asks a node, `host:port`, with these headers.
pub fn ask(node: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    // Under 1.0 a body ends with its connection, and so needs no unpacking.
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {node}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    send(node, format!("{head}\r\n{body}").as_bytes())
}

/// Sends these bytes, whatever they are, and reads the head of the answer.
pub fn send(node: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A node may have said all that it has to say, and hung up, before it has read everything.
    let _ = stream.write_all(bytes);
    let mut stream = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a head within the time");
        line.trim_end().to_owned()
    };
    let status_line = line();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {status_line:?}"));
    let mut headers = Vec::new();
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    Answer { status, headers, stream }
}

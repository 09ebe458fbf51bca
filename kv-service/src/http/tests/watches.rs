//! Watches: every change in order, none lost, none twice, wherever a client comes back.

use http_body_util::BodyExt;
use kv_client::protocol::{PutEvent, WatchEvent};
use kv_machine::ScanRange;

use super::*;

/// The events of a watch, as they come.
struct Events {
    body: Body,
    text: String,
}

/// An event with its id.
type Event = (Option<String>, WatchEvent);

impl Events {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (parse(event), rest.to_owned());
                self.text = rest;
                return Some(event);
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("no event came");
            let data = frame?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.next().await.expect("the watch has ended"));
        }
        events
    }

    /// The beginning, and the revision behind which it is.
    async fn begins_behind(&mut self) -> u64 {
        match self.next().await {
            Some((_, WatchEvent::Progress(progress))) => progress.revision,
            other => panic!("{other:?} is no beginning"),
        }
    }
}

fn parse(event: &str) -> Event {
    let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let parsed = WatchEvent::parse(&line("event: ").unwrap(), &line("data: ").unwrap()).unwrap();
    (line("id: "), parsed.unwrap())
}

/// In short: the id and what happened.
fn told(events: &[Event]) -> Vec<String> {
    let text = |bytes: &kv_client::Base64| String::from_utf8(bytes.0.to_vec()).unwrap();
    let tell = |(id, event): &Event| {
        let id = id.as_deref().unwrap_or("-");
        match event {
            WatchEvent::Put(put) => format!("{id} {}={}", text(&put.key), text(&put.value)),
            WatchEvent::Delete(delete) => format!("{id} {}", text(&delete.key)),
            WatchEvent::Progress(progress) => format!("{id} at {}", progress.revision),
            WatchEvent::Compacted(compacted) => format!("{id} from {}", compacted.first_revision),
        }
    };
    events.iter().map(tell).collect()
}

impl Node {
    async fn watch(&self, query: &str, last: Option<&str>) -> Events {
        let request = Request::get(format!("/v1/watch{query}"));
        let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), text: String::new() }
    }

    /// Revisions 1 to 4: `a/1` written, then three keys at once, then `b` written, then `a/1` removed.
    async fn with_history() -> Node {
        let node = Node::new();
        node.put("/v1/kv/a/1", "one").await.ok();
        // In the order in which they are written: a/3, b, a/2.
        let txn = r#"{"then":[
            {"op":"put","key":"YS8z","value":"Mw=="},
            {"op":"put","key":"Yg==","value":"Mg=="},
            {"op":"put","key":"YS8y","value":"Mg=="}]}"#;
        node.post("/v1/txn", txn).await.ok();
        node.put("/v1/kv/b", "again").await.ok();
        node.delete("/v1/kv/a/1").await.ok();
        node
    }
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_now_and_says_where() {
    let node = Node::with_history().await;
    let mut events = node.watch("", None).await;
    assert_eq!(events.begins_behind().await, 4);
    assert_eq!(node.log.barriers.load(Ordering::Relaxed), 1, "as fresh as a linearizable read");
    node.put("/v1/kv/c", "v").await.ok();
    let put =
        PutEvent { revision: 5, key: "c".into(), value: "v".into(), version: 1, create_revision: 5, session: None };
    assert_eq!(events.next().await, Some((Some("5".into()), WatchEvent::Put(put))));
    node.delete("/v1/kv/absent").await.ok();
    node.delete("/v1/kv/c").await.ok();
    assert_eq!(told(&events.take(1).await), ["6 c"], "what changed nothing is nothing to tell");
}

#[tokio::test]
async fn a_watch_from_a_revision_tells_every_change_since() {
    let node = Node::with_history().await;
    let mut events = node.watch("?from_revision=1", None).await;
    assert_eq!(events.begins_behind().await, 0);
    let all = told(&events.take(6).await);
    assert_eq!(all[0], "1 a/1=one");
    assert_eq!(all[4..], ["3 b=again", "4 a/1"]);
    let ids: Vec<&str> = all[1..4].iter().map(|event| event.split_once(' ').unwrap().0).collect();
    assert_eq!(ids, ["2.0", "2.1", "2"]);
    node.put("/v1/kv/z", "live").await.ok();
    assert_eq!(told(&events.take(1).await), ["5 z=live"]);
    let mut to_come = node.watch("?from_revision=7", None).await;
    for key in ["x", "y"] {
        node.put(&format!("/v1/kv/{key}"), "v").await.ok();
    }
    assert_eq!(to_come.begins_behind().await, 6);
    assert_eq!(told(&to_come.take(1).await), ["7 y=v"]);
}

#[tokio::test]
async fn a_prefix_leaves_out_what_is_elsewhere() {
    let node = Node::with_history().await;
    let mut events = node.watch("?from_revision=1&prefix=a/", None).await;
    events.begins_behind().await;
    let all = told(&events.take(4).await);
    assert_eq!((&all[0][..], &all[3][..]), ("1 a/1=one", "4 a/1"));
    assert!(all[1].starts_with("2.0 a/") && all[2].starts_with("2 a/"), "{all:?}");
    node.put("/v1/kv/b", "elsewhere").await.ok();
    node.put("/v1/kv/a/9", "here").await.ok();
    assert_eq!(told(&events.take(1).await), ["6 a/9=here"]);
}

#[tokio::test]
async fn a_watch_goes_on_behind_any_event_with_nothing_lost_and_nothing_twice() {
    let node = Node::with_history().await;
    for (query, count) in [("?from_revision=1", 6), ("?from_revision=1&prefix=a/", 4)] {
        let mut events = node.watch(query, None).await;
        events.begins_behind().await;
        let all = events.take(count).await;
        for (at, (id, _)) in all.iter().enumerate().take(count - 1) {
            // What the address says is what it said at first; the id is newer.
            let mut resumed = node.watch(query, id.as_deref()).await;
            resumed.begins_behind().await;
            assert_eq!(told(&resumed.take(count - at - 1).await), told(&all[at + 1..]), "behind {id:?}");
        }
    }
}

#[tokio::test]
async fn the_end_of_a_session_is_one_revision_of_its_keys() {
    let node = Node::new();
    let session = "000102030405060708090a0b0c0d0e0f";
    node.post("/v1/sessions", format!(r#"{{"session":"{session}"}}"#)).await.ok();
    for (number, key) in [("1", "x"), ("2", "y")] {
        let headers = [("quorate-session", session), ("quorate-request", number)];
        node.ask_with(Method::PUT, &format!("/v1/kv/{key}?ephemeral=1"), &headers, "v").await.ok();
    }
    let mut events = node.watch("?from_revision=2", None).await;
    events.begins_behind().await;
    match events.next().await.unwrap().1 {
        WatchEvent::Put(put) => assert_eq!(put.session.as_deref(), Some(session)),
        other => panic!("{other:?}"),
    }
    node.delete(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(told(&events.take(2).await), ["3.0 x", "3 y"]);
}

#[tokio::test]
async fn a_revision_that_is_gone_is_named_before_the_watch_begins() {
    let node = Node::new();
    node.log.machine.lock().unwrap().keep_changes(1);
    for value in ["1", "2", "3"] {
        node.put("/v1/kv/k", value).await.ok();
    }
    let answer = node.get("/v1/watch?from_revision=1").await;
    assert_eq!(answer.is_error(410, ErrorCode::Compacted).first_revision, Some(3));
    let answer = node.ask_if(Method::GET, "/v1/watch", ("last-event-id", "1"), "").await;
    answer.is_error(410, ErrorCode::Compacted);
    let mut events = node.watch("?from_revision=3", None).await;
    events.begins_behind().await;
    assert_eq!(told(&events.take(1).await), ["3 k=3"]);
}

#[tokio::test]
async fn a_watch_that_falls_behind_is_told_and_ends() {
    let node = Node::new();
    node.log.machine.lock().unwrap().keep_changes(1);
    let mut events = node.watch("", None).await;
    assert_eq!(events.begins_behind().await, 0);
    // Nobody reads meanwhile, and only the last of these is kept.
    for value in ["1", "2", "3"] {
        node.put("/v1/kv/k", value).await.ok();
    }
    assert_eq!(told(&events.take(1).await), ["- from 3"]);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn ids_that_no_event_has_are_refused() {
    let node = Node::new();
    for id in ["x", "1.", ".1", "1.2.3", "-1", "+1", "18446744073709551615", "1.18446744073709551615"] {
        let answer = node.ask_if(Method::GET, "/v1/watch", ("last-event-id", id), "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}");
    }
    let twice = [("last-event-id", "1"), ("last-event-id", "2")];
    node.ask_with(Method::GET, "/v1/watch", &twice, "").await.is_error(400, ErrorCode::BadInput);
    node.watch("?from_revision=1", Some("")).await;
}

#[tokio::test]
async fn watchers_are_counted_and_a_place_becomes_free_when_one_goes() {
    let node = Node::new();
    let mut watches = Vec::new();
    for _ in 0..crate::watch::WATCHERS_MAX {
        watches.push(node.watch("?from_revision=1", None).await);
    }
    let answer = node.get("/v1/watch?from_revision=1").await;
    answer.is_error(429, ErrorCode::TooBusy);
    assert_eq!(answer.header("retry-after"), "1");
    watches.pop();
    node.watch("?from_revision=1", None).await;
}

#[tokio::test]
async fn a_node_that_stops_ends_its_watches_and_takes_no_more() {
    let node = Node::new();
    let mut events = node.watch("", None).await;
    events.begins_behind().await;
    node.service.watches.stop();
    assert_eq!(events.next().await, None);
    let mut late = node.watch("?from_revision=1", None).await;
    late.begins_behind().await;
    assert_eq!(late.next().await, None);
}

#[tokio::test]
async fn a_watch_without_a_revision_needs_a_quorum_and_one_with_a_revision_does_not() {
    let node = Node::new();
    node.next_fails(Refusal::NoLeader);
    node.get("/v1/watch").await.is_error(503, ErrorCode::NoLeader);
    node.next_fails(Refusal::NoLeader);
    node.watch("?from_revision=1", None).await;
}

#[tokio::test]
async fn a_watch_that_has_nothing_to_say_says_how_far_it_has_come() {
    let node = Node::new();
    node.put("/v1/kv/elsewhere", "v").await.ok();
    let watcher = node.service.watches.watch(&node.service.kv, ScanRange::prefix(Bytes::from("k")), 1).await.unwrap();
    let start = watch::Start { revision: 1, skipped: 0 };
    let interval = Duration::from_millis(1);
    let context = Arc::new(Context::new(node.service.clone()));
    let mut events =
        Events { body: Body::from_stream(watch::events(context, watcher, start, interval)), text: String::new() };
    assert_eq!(told(&events.take(2).await), ["0 at 0", "1 at 1"], "changes elsewhere count as told");
    node.put("/v1/kv/k", "v").await.ok();
    // However often it has said so meanwhile.
    let mut last = events.next().await.unwrap();
    while told(std::slice::from_ref(&last)) == ["1 at 1"] {
        last = events.next().await.unwrap();
    }
    assert_eq!(told(&[last]), ["2 k=v"]);
}

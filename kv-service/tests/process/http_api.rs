//! The HTTP API between processes: what holds at one node holds at all of them, and when nodes die.

use serde_json::{Value, json};

use crate::harness::{Cluster, GLANCE, PATIENCE};
use crate::raw_http::{Answer, ask, send};

const SESSION: &str = "000102030405060708090a0b0c0d0e0f";
const ENGINES: [&str; 2] = ["raft", "paxos"];

/// A write with this number in the session.
fn write(node: &str, number: u64, method: &str, path: &str, body: &str) -> Answer {
    ask(node, method, path, &[("Quorate-Session", SESSION), ("Quorate-Request", &number.to_string())], body)
}

fn open(node: &str, ttl_ms: u64) {
    let answer = ask(node, "POST", "/v1/sessions", &[], &json!({"session": SESSION, "ttl_ms": ttl_ms}).to_string());
    assert_eq!((answer.status, answer.json()), (200, json!({"session": SESSION, "ttl_ms": ttl_ms})));
}

/// Repeats a request that may be repeated until it is answered otherwise than by "not now" or "not known".
async fn until_answered(mut request: impl FnMut() -> Answer) -> Answer {
    let since = std::time::Instant::now();
    loop {
        let answer = request();
        if !matches!(answer.status, 503 | 504) {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "{}", answer.body());
        tokio::time::sleep(GLANCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_repeated_at_every_node_and_under_every_leader_is_carried_out_once() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        let nodes: Vec<String> = (1..=3).map(|id| cluster.http(id)).collect();
        open(&nodes[0], 600_000);
        let first = write(&nodes[1], 1, "POST", "/v1/kv/k/append", "x").json();
        for node in &nodes {
            let again = until_answered(|| write(node, 1, "POST", "/v1/kv/k/append", "x")).await;
            assert_eq!(again.json(), first, "{engine}");
        }
        let leader = cluster.leader().await;
        cluster.kill(leader);
        let other = cluster.http(cluster.running()[0]);
        let again = until_answered(|| write(&other, 1, "POST", "/v1/kv/k/append", "x")).await;
        assert_eq!(again.json(), first, "{engine}: under the next leader");
        // And when all of them have been down.
        cluster.kill_all();
        cluster.run_all();
        cluster.leader().await;
        let again = until_answered(|| write(&nodes[0], 1, "POST", "/v1/kv/k/append", "x")).await;
        assert_eq!(again.json(), first, "{engine}: after a restart");
        assert_eq!(cluster.client(&[1]).get("k").await.unwrap().as_deref(), Some("x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expired_or_was_ended_is_a_409_and_its_keys_are_gone() {
    for engine in ENGINES {
        let cluster = Cluster::start(engine, 3).await;
        let node = cluster.http(2);
        open(&node, 1_000);
        assert_eq!(write(&node, 1, "PUT", "/v1/kv/lock?ephemeral=1", "mine").status, 200);
        assert_eq!(ask(&node, "GET", "/v1/kv/lock", &[], "").header("quorate-ephemeral"), SESSION);
        // Time passes with the log.
        let since = std::time::Instant::now();
        while ask(&node, "GET", "/v1/kv/lock", &[], "").status == 200 {
            assert!(since.elapsed() < PATIENCE, "{engine}: the session does not expire");
            cluster.client(&[1]).put("clock", "tick").await.unwrap();
            tokio::time::sleep(GLANCE).await;
        }
        for number in [1, 2] {
            write(&node, number, "PUT", "/v1/kv/k", "v").into_error(409, "session_expired");
        }
        let again = json!({"session": SESSION}).to_string();
        ask(&node, "POST", "/v1/sessions", &[], &again).into_error(409, "session_expired");
        assert_eq!(cluster.client(&[1]).get("k").await.unwrap(), None);
        let ended = ask(&node, "DELETE", &format!("/v1/sessions/{SESSION}"), &[], "").json();
        assert_eq!(ended["ended"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sends_to_the_leader_wherever_that_is() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        for _ in 0..2 {
            let leader = cluster.leader().await;
            for id in cluster.running().into_iter().filter(|id| *id != leader) {
                let path = "/v1/kv/a%2Fb?redirect=1";
                let answer = until_answered(|| ask(&cluster.http(id), "PUT", path, &[], "v")).await;
                let location = answer.header("location").to_owned();
                assert_eq!(answer.into_error(307, "not_leader")["leader"], leader);
                assert_eq!(location, format!("http://{}{path}", cluster.http(leader)));
                assert_eq!(ask(&cluster.http(leader), "PUT", path, &[], "v").status, 200);
            }
            cluster.kill(leader);
        }
    }
}

/// The events of a watch: the id of each, and its data.
struct Events(Answer);

impl Events {
    fn open(node: &str, query: &str, last_id: &str) -> Events {
        let answer = ask(node, "GET", &format!("/v1/watch{query}"), &[("Last-Event-ID", last_id)], "");
        assert_eq!(answer.status, 200);
        Events(answer)
    }

    /// The next change: its id, its revision, and its value in base64.
    fn next(&mut self) -> Option<(String, u64, Value)> {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let line = self.0.line()?;
            if let Some(found) = line.strip_prefix("event: ") {
                name = found.to_owned();
            } else if let Some(found) = line.strip_prefix("id: ") {
                id = found.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ")
                && name != "progress"
            {
                let data: Value = serde_json::from_str(data).unwrap();
                return Some((id, data["revision"].as_u64().unwrap(), data["value"].clone()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_goes_from_node_to_dying_node_sees_every_change_once_and_in_order() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        let (mut last_id, mut seen) = (String::new(), Vec::new());
        for round in 0..6_u64 {
            let at = 1 + round % 3;
            let mut events = Events::open(&cluster.http(at), "?prefix=k&from_revision=1", &last_id);
            let others: Vec<u64> = (1..=3).filter(|id| *id != at).collect();
            for n in 0..5 {
                let value = format!("{round}.{n}");
                cluster.client(&others).put("k", &value).await.unwrap();
                cluster.client(&others).put("elsewhere", &value).await.unwrap();
            }
            // All but the last are read before the node dies.
            for _ in 0..4 + u64::from(round > 0) {
                let (id, revision, value) = events.next().expect("the watch goes on");
                last_id = id;
                seen.push((revision, value));
            }
            cluster.kill(at);
            while events.next().is_some() {}
            cluster.run(at);
            cluster.leader().await;
        }
        let mut events = Events::open(&cluster.http(1), "?prefix=k", &last_id);
        let (_, revision, value) = events.next().unwrap();
        seen.push((revision, value));
        // Each round's put is two revisions, the second elsewhere.
        let revisions: Vec<u64> = seen.iter().map(|(revision, _)| *revision).collect();
        assert_eq!(revisions, (0..30).map(|n| 1 + 2 * n).collect::<Vec<_>>(), "{engine}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_stop_does_not_wait_for_its_watches() {
    let mut cluster = Cluster::start("raft", 1).await;
    let mut events = Events::open(&cluster.http(1), "?from_revision=1", "");
    let pid = i32::try_from(cluster.pid(1)).unwrap();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-TERM", &pid.to_string()]).status().unwrap().success());
    assert_eq!(events.next(), None);
    assert!(crate::harness::wait_for_end(&mut cluster, 1).success());
    assert!(!cluster.log_of(1).contains("connections cut"), "{}", cluster.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_what_needs_one_says_so_and_the_rest_goes_on() {
    for engine in ENGINES {
        let mut cluster = Cluster::start_with(engine, 3, &["--request-timeout-ms", "1500"]).await;
        cluster.client(&[1, 2, 3]).put("k", "v").await.unwrap();
        let leader = cluster.leader().await;
        let last = cluster.running().into_iter().find(|id| *id != leader).unwrap();
        let node = cluster.http(last);
        // What is read here without asking anyone must have arrived here.
        assert_eq!(cluster.client(&[last]).get("k").await.unwrap().as_deref(), Some("v"));
        for id in cluster.running().into_iter().filter(|id| *id != last) {
            cluster.kill(id);
        }
        // Whoever led until now may not have been missed yet: then the outcome is not known.
        let since = std::time::Instant::now();
        loop {
            let answer = ask(&node, "PUT", "/v1/kv/k", &[], "w");
            let status = answer.status;
            let code = answer.json()["error"].clone();
            assert!(status == 503 || (status, &code) == (504, &json!("unknown_outcome")), "{status} {code}");
            if status == 503 {
                assert!(code == "no_leader" || code == "no_quorum", "{code}");
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{engine}: never a clear refusal");
        }
        for path in ["/v1/kv/k", "/v1/kv", "/v1/watch", "/v1/kv/k?consistency=lease"] {
            let answer = ask(&node, "GET", path, &[], "");
            assert_eq!(answer.status, 503, "{engine} {path}");
            let code = answer.json()["error"].clone();
            assert!(code == "no_leader" || code == "no_quorum", "{engine} {path}: {code}");
        }
        ask(&node, "PUT", "/v1/kv/k?redirect=1", &[], "w").into_error(503, "no_leader");
        assert_eq!(ask(&node, "GET", "/v1/kv/k?consistency=stale", &[], "").body(), "v");
        assert_eq!(ask(&node, "GET", "/v1/kv?consistency=stale", &[], "").status, 200);
        assert_eq!(Events::open(&node, "?from_revision=1", "").next().unwrap().1, 1);
        assert_eq!(ask(&node, "GET", "/v1/status", &[], "").status, 200);
    }
}

/// Status and code of the answer; method, path, headers and body of the request.
type Mistake<'a> = (u16, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_of_a_client_has_its_answer_and_changes_nothing() {
    for engine in ENGINES {
        let cluster =
            Cluster::start_with(engine, 1, &["--request-timeout-ms", "1000", "--value-bytes-max", "100"]).await;
        let node = cluster.http(1);
        let session = ("Quorate-Session", SESSION);
        let long = "x".repeat(101);
        let long_key = format!("/v1/kv/{}", "k".repeat(4097));
        let zero = ("Quorate-Request", "0");
        let over = ("Quorate-Request", "18446744073709551616");
        let one = ("Quorate-Request", "1");
        #[rustfmt::skip]
        let mistakes: &[Mistake<'_>] = &[
            (400, "bad_input", "PUT", "/v1/kv/", &[], "v"),
            (400, "bad_input", "PUT", "/v1/kv/%zz", &[], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k?expect=1", &[], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[session], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[one], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[session, zero], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[session, over], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[session, one, one], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[("Quorate-Session", "\u{e9}"), one], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k?ephemeral=1", &[], "v"),
            (400, "bad_input", "PUT", "/v1/kv/k", &[("If-Match", "7")], "v"),
            (400, "bad_input", "POST", "/v1/txn", &[], "{"),
            (400, "bad_input", "POST", "/v1/sessions", &[], "{\"session\":\"short\"}"),
            (400, "bad_input", "GET", "/v1/kv?limit=0", &[], ""),
            (400, "bad_input", "GET", "/v1/watch", &[("Last-Event-ID", "yesterday")], ""),
            (404, "not_found", "GET", "/v1/kv/absent", &[], ""),
            (404, "not_found", "GET", "/v3", &[], ""),
            (405, "bad_input", "PATCH", "/v1/kv/k", &[], ""),
            (409, "session_expired", "PUT", "/v1/kv/k", &[session, one], "v"),
            (412, "version_mismatch", "PUT", "/v1/kv/k?expect_version=1", &[], "v"),
            (412, "version_mismatch", "PUT", "/v1/kv/k", &[("If-Match", "\"1\"")], "v"),
            (412, "version_mismatch", "DELETE", "/v1/kv/k", &[("If-Match", "*")], ""),
            (413, "too_large", "PUT", "/v1/kv/k", &[], &long),
            (413, "too_large", "PUT", &long_key, &[], "v"),
            (400, "bad_input", "POST", "/v1/members", &[], "{\"id\":2,\"engine\":\"zab\"}"),
            (400, "bad_input", "POST", "/v1/members", &[], "{\"id\":2}"),
            (400, "bad_input", "POST", "/v1/members", &[], "{\"id\":1,\"learner\":true}"),
            (400, "bad_input", "DELETE", "/v1/members/1", &[], ""),
            (400, "bad_input", "POST", "/v1/leader/transfer?to=2", &[], ""),
            (404, "not_found", "DELETE", "/v1/members/2", &[], ""),
            (409, "id_in_use", "POST", "/v1/members", &[], "{\"id\":1,\"store\":\"1\"}"),
            (412, "members_changed", "POST", "/v1/members", &[], "{\"id\":1,\"address\":\"127.0.0.1:9\",\"expect_version\":7}"),
            (503, "transfer_failed", "POST", "/v1/leader/transfer", &[], ""),
        ];
        for (status, code, method, path, headers, body) in mistakes {
            let answer = ask(&node, method, path, headers, body);
            assert!(!answer.header("x-request-id").is_empty());
            let said = answer.status;
            let body = answer.json();
            assert_eq!((said, &body["error"]), (*status, &json!(code)), "{engine} {method} {path} {headers:?}: {body}");
        }
        assert_eq!(ask(&node, "GET", "/v1/kv", &[], "").json()["revision"], 0);
        assert_eq!(ask(&node, "GET", "/v1/members", &[], "").json()["version"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_no_http_or_too_long_and_a_body_that_does_not_come_end_in_an_answer() {
    let cluster = Cluster::start_with("paxos", 1, &["--request-timeout-ms", "300"]).await;
    let node = cluster.http(1);
    for garbage in ["PUT\r\n\r\n", "GARBAGE nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        assert_eq!(send(&node, garbage.as_bytes()).status, 400, "{garbage:?}");
    }
    let long = format!("GET /v1/kv/k HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    assert_eq!(send(&node, long.as_bytes()).status, 431);
    let many = format!("GET /v1/kv/k HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(send(&node, many.as_bytes()).status, 431);
    let far = format!("GET /v1/kv/{} HTTP/1.0\r\n\r\n", "k".repeat(65_534));
    assert!(matches!(send(&node, far.as_bytes()).status, 414 | 431));
    let answer = send(&node, b"PUT /v1/kv/k HTTP/1.0\r\nContent-Length: 10\r\n\r\nslow");
    let error = answer.into_error(400, "bad_input");
    assert!(error["message"].as_str().unwrap().contains("in time"), "{error}");
    assert_eq!(cluster.client(&[1]).get("k").await.unwrap(), None);
}

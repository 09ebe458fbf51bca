//! The OpenAPI document says what the node does: held against the routes, what the handlers take, and what they answer.

use std::collections::{BTreeMap, BTreeSet};

use kv_client::protocol::{
    ACKED_BELOW_HEADER, LAST_EVENT_ID_HEADER, REQUEST_HEADER, REQUEST_ID_HEADER, SESSION_HEADER, WatchEvent,
};
use serde_json::json;

use super::*;

const SESSION: &str = "000102030405060708090a0b0c0d0e0f";

/// The document, with its references followed.
struct Document(Value);

impl Document {
    fn new() -> Document {
        Document(serde_json::from_str(openapi::DOCUMENT).unwrap())
    }

    /// What a reference stands for, or the thing itself.
    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => value,
        }
    }

    /// Every operation: method in capitals, path, and what is said of it, its path's parameters included.
    fn operations(&self) -> Vec<(Method, String, Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                let mut operation = operation.clone();
                let own = operation["parameters"].as_array().cloned().unwrap_or_default();
                let shared = item["parameters"].as_array().unwrap().iter().cloned();
                operation["parameters"] = own.into_iter().chain(shared).collect();
                operations.push((
                    Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                    path.clone(),
                    operation,
                ));
            }
        }
        operations
    }

    /// The names of an operation's parameters in the query, or in headers (in lower case).
    fn parameters(&self, operation: &Value, place: &str) -> BTreeSet<String> {
        let all = operation["parameters"].as_array().unwrap().iter().map(|parameter| self.follow(parameter));
        all.filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().unwrap().to_lowercase())
            .collect()
    }

    fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// What is wrong with a value under a schema: as much of JSON Schema as the document uses.
    fn mismatch(&self, schema: &Value, value: &Value) -> Option<String> {
        let schema = self.follow(schema);
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let fitting = choices.iter().filter(|choice| self.mismatch(choice, value).is_none()).count();
            return (fitting != 1).then(|| format!("{value} fits {fitting} of {}", schema["oneOf"]));
        }
        if let Some(wanted) = schema.get("const").filter(|wanted| *wanted != value) {
            return Some(format!("{value} is not {wanted}"));
        }
        if schema.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
            return Some(format!("{value} is none of {}", schema["enum"]));
        }
        let is = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("{other} is no type"),
        };
        let fits = match schema.get("type") {
            Some(Value::String(name)) => is(name),
            Some(Value::Array(names)) => names.iter().any(|name| is(name.as_str().unwrap())),
            _ => true,
        };
        if !fits {
            return Some(format!("{value} is no {}", schema["type"]));
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            return values.iter().find_map(|value| self.mismatch(items, value));
        }
        let (Some(properties), Some(fields)) = (schema.get("properties").and_then(Value::as_object), value.as_object())
        else {
            return None;
        };
        let required = schema["required"].as_array().into_iter().flatten();
        if let Some(missing) = required.map(|name| name.as_str().unwrap()).find(|name| !fields.contains_key(*name)) {
            return Some(format!("{missing} is missing in {value}"));
        }
        // Unknown fields may be added later, but here they are what the document does not say.
        if let Some(unknown) = fields.keys().find(|name| !properties.contains_key(*name)) {
            return Some(format!("{unknown} is not said to be in {value}"));
        }
        fields.iter().find_map(|(name, value)| self.mismatch(&properties[name], value))
    }

    #[track_caller]
    fn check(&self, schema: &Value, value: &Value) {
        if let Some(mismatch) = self.mismatch(schema, value) {
            panic!("{mismatch}");
        }
    }
}

/// A path with something in each of its places.
fn filled(path: &str) -> String {
    path.replace("/sessions/{id}", &format!("/sessions/{SESSION}")).replace("{id}", "2").replace("{key}", "k")
}

#[tokio::test]
async fn the_document_is_served_as_it_is() {
    let answer = Node::new().get("/v1/openapi.json").await.ok();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body, openapi::DOCUMENT);
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1."));
}

#[test]
fn every_route_is_in_the_document_and_everything_in_it_is_a_route() {
    let routes: BTreeSet<(String, String)> = routes::operations::<MemoryTables>()
        .iter()
        .map(|operation| (format!("{:?}", operation.method).to_uppercase(), operation.path.to_owned()))
        .collect();
    let documented: BTreeSet<(String, String)> =
        Document::new().operations().into_iter().map(|(method, path, _)| (method.to_string(), path)).collect();
    assert_eq!(routes, documented);
}

#[tokio::test]
async fn every_operation_is_answered_where_the_document_says() {
    let node = Node::new();
    for (method, path, _) in Document::new().operations() {
        let response = node
            .router
            .clone()
            .oneshot(Request::builder().method(method.clone()).uri(filled(&path)).body(Body::empty()).unwrap());
        let status = response.await.unwrap().status();
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
    for (path, allowed) in [
        ("/v1/kv/k", "DELETE GET HEAD POST PUT"),
        ("/v1/kv", "GET HEAD"),
        ("/v1/txn", "POST"),
        ("/v1/watch", "GET HEAD"),
        ("/v1/sessions", "POST"),
        ("/v1/members", "GET HEAD POST"),
    ] {
        let answer = node.ask(Method::PATCH, path, "").await;
        answer.is_error(405, ErrorCode::BadInput);
        let named: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
        assert_eq!(named.into_iter().collect::<Vec<_>>().join(" "), allowed, "{path}");
    }
}

/// A handler that is asked for a parameter that it does not know names those that it knows.
#[tokio::test]
async fn every_parameter_that_a_handler_takes_is_in_the_document_and_no_other() {
    let document = Document::new();
    let node = Node::new();
    for (method, path, operation) in document.operations() {
        // Probes may add whatever they like to their question.
        if path.starts_with("/health/") {
            assert_eq!(document.parameters(&operation, "query"), BTreeSet::new());
            continue;
        }
        let answer = node.ask(method.clone(), &format!("{}?no_such=1", filled(&path)), "{}").await;
        let error = answer.is_error(400, ErrorCode::BadInput);
        let (_, known) = error.message.split_once("those known are: ").unwrap();
        let known: BTreeSet<String> = known.split(", ").filter(|name| *name != "none").map(str::to_owned).collect();
        assert_eq!(known, document.parameters(&operation, "query"), "{method} {path}");
    }
}

/// A handler that takes a header refuses it in a form that makes no sense, by its name.
#[tokio::test]
async fn every_header_that_a_handler_takes_is_in_the_document_and_no_other() {
    let document = Document::new();
    let node = Node::new();
    let bad = [
        ("if-match", "7"),
        ("if-none-match", "7"),
        (SESSION_HEADER, "\u{e9}"),
        (REQUEST_HEADER, "\u{e9}"),
        (ACKED_BELOW_HEADER, "\u{e9}"),
        (LAST_EVENT_ID_HEADER, "\u{e9}"),
    ];
    for (method, path, operation) in document.operations() {
        let mut taken = BTreeSet::from([REQUEST_ID_HEADER.to_owned()]);
        for (name, value) in bad {
            let request = Request::builder().method(method.clone()).uri(filled(&path)).header(name, value);
            let response = node.router.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
            if response.status() != StatusCode::BAD_REQUEST {
                continue;
            }
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let message = serde_json::from_slice::<ErrorReply>(&body).unwrap().message;
            let refused_altogether = message.contains("leave it out") || message.contains("takes no");
            if message.contains(name) && !refused_altogether {
                taken.insert(name.to_owned());
            }
        }
        assert_eq!(taken, document.parameters(&operation, "header"), "{method} {path}");
    }
}

#[test]
fn every_error_code_is_in_the_document_with_an_example_under_its_status() {
    let document = Document::new();
    let named = &document.schema("Error")["properties"]["error"]["enum"];
    let all: Vec<Value> = ErrorCode::ALL.iter().map(|code| serde_json::to_value(code).unwrap()).collect();
    assert_eq!(named, &Value::from(all));
    let mut by_code: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, _, operation) in document.operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let examples = document.follow(response)["content"]["application/json"]["examples"].as_object();
            for code in examples.into_iter().flatten().map(|(code, _)| code.clone()) {
                by_code.entry(code).or_default().insert(status.clone());
            }
        }
    }
    for code in ErrorCode::ALL {
        let name = serde_json::to_value(code).unwrap();
        let statuses = &by_code[name.as_str().unwrap()];
        assert_eq!(statuses, &BTreeSet::from([code.status().to_string()]), "{code:?}");
    }
}

#[test]
fn every_example_is_what_its_schema_says() {
    let document = Document::new();
    let mut checked = 0;
    for (_, _, operation) in document.operations() {
        let responses = operation["responses"].as_object().unwrap().values();
        for place in responses.chain(operation.get("requestBody")) {
            let Some(content) = document.follow(place)["content"].get("application/json") else { continue };
            let examples = content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
            for example in examples.chain(content.get("example")) {
                document.check(&content["schema"], example);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} examples");
}

#[tokio::test]
async fn real_answers_are_what_the_document_says() {
    let document = Document::new();
    let node = Node::new();
    let session = [("quorate-session", SESSION), ("quorate-request", "1")];
    let open = json!({"session": SESSION}).to_string();
    let check = |name: &str, answer: Answer| document.check(document.schema(name), &answer.json());
    check("SessionReply", node.post("/v1/sessions", open).await.ok());
    check("PutReply", node.ask_with(Method::PUT, "/v1/kv/k?ephemeral=1", &session, "v").await.ok());
    check("PutReply", node.post("/v1/kv/k2/append", "v").await.ok());
    check("ScanReply", node.get("/v1/kv").await.ok());
    let txn = json!({
        "compare": [{"key": "aw==", "version": 1, "relation": "="}],
        "then": [
            {"op": "get", "key": "aw=="},
            {"op": "get", "key": "eA=="},
            {"op": "put", "key": "bA==", "value": "dg=="},
            {"op": "delete", "key": "bQ=="},
            {"op": "scan", "limit": 9},
        ],
    });
    document.check(document.schema("TxnRequest"), &txn);
    check("TxnReply", node.post("/v1/txn", txn.to_string()).await.ok());
    check("DeleteReply", node.delete("/v1/kv/k2").await.ok());
    check("StatusReply", node.get("/v1/status").await.ok());
    check("MembersReply", node.get("/v1/members").await.ok());
    let member = json!({"id": 2, "address": "127.0.0.1:7002", "store": "2a", "learner": true, "expect_version": 0});
    document.check(document.schema("MemberRequest"), &member);
    check("MemberAddedReply", node.post("/v1/members", member.to_string()).await.ok());
    check("MembersReply", node.delete("/v1/members/2").await.ok());
    check("Error", node.delete("/v1/members/2").await);
    check("Ready", node.get("/health/ready").await.ok());
    check("TransferReply", node.post("/v1/leader/transfer?to=1", "").await.ok());
    check("SessionEndReply", node.delete(&format!("/v1/sessions/{SESSION}")).await.ok());
    check("Error", node.get("/v1/kv/absent").await);
    node.log.machine.lock().unwrap().keep_changes(1);
    node.put("/v1/kv/k", "v").await.ok();
    check("Error", node.get("/v1/watch?from_revision=1").await);
}

#[test]
fn the_events_of_the_example_and_of_each_kind_are_what_the_document_says() {
    let document = Document::new();
    let example =
        &document.0["paths"]["/v1/watch"]["get"]["responses"]["200"]["content"]["text/event-stream"]["example"];
    let mut kinds = BTreeSet::new();
    for event in example.as_str().unwrap().trim_end().split("\n\n") {
        let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let (name, data) = (line("event: "), line("data: "));
        WatchEvent::parse(name, data).unwrap().expect("a known event");
        let schema = format!("{}Event", name[..1].to_uppercase() + &name[1..]);
        document.check(document.schema(&schema), &serde_json::from_str(data).unwrap());
        kinds.insert(name);
    }
    assert_eq!(kinds, BTreeSet::from(["progress", "put"]));
}

//! Conditions on reads and writes, as RFC 9110 has them.

use super::*;

/// A node where `k` was written at revisions 1 to 3.
async fn node() -> Node {
    let node = Node::new();
    for value in ["one", "two", "three"] {
        node.put("/v1/kv/k", value).await.ok();
    }
    node
}

#[tokio::test]
async fn what_cannot_be_understood_is_never_ignored() {
    let node = node().await;
    for name in ["if-match", "if-none-match"] {
        for value in ["7", "", "*, \"7\"", "\"7", "W/7", "w/\"7\"", "\"7\" \"8\"", "\"7\";", "\"a b\""] {
            for method in [Method::PUT, Method::DELETE, Method::GET] {
                let answer = node.ask_if(method.clone(), "/v1/kv/k", (name, value), "x").await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {name}: {value}");
            }
        }
        let twice = [(name, "*"), (name, "\"3\"")];
        node.ask_with(Method::PUT, "/v1/kv/k", &twice, "x").await.is_error(400, ErrorCode::BadInput);
    }
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "three");
}

#[tokio::test]
async fn if_match_takes_a_star_for_any_key_that_exists() {
    let node = node().await;
    for (method, path) in [(Method::PUT, ""), (Method::POST, "/append"), (Method::DELETE, "")] {
        let absent = format!("/v1/kv/absent{path}");
        node.ask_if(method.clone(), &absent, ("if-match", "*"), "x").await.is_error(412, ErrorCode::VersionMismatch);
        node.ask_if(method, &format!("/v1/kv/k{path}"), ("if-match", "*"), "x").await.ok();
    }
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
    node.get("/v1/kv/absent").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn if_match_takes_the_newest_of_a_list_over_all_its_lines() {
    let node = node().await;
    let put = async |tags: &[&str]| {
        let headers: Vec<_> = tags.iter().map(|tag| ("if-match", *tag)).collect();
        node.ask_with(Method::PUT, "/v1/kv/k", &headers, "x").await.status.as_u16()
    };
    assert_eq!(put(&["\"1\", \"2\""]).await, 412);
    assert_eq!(put(&["\"1\",, \"3\" ,\"2\","]).await, 200);
    assert_eq!(put(&["\"1\"", "\"4\""]).await, 200);
}

#[tokio::test]
async fn a_tag_that_is_weak_or_was_never_given_out_matches_no_write() {
    let node = node().await;
    for tag in ["W/\"3\"", "\"three\"", "\"03\"", "\"+3\"", "\"\"", "\"0\"", "\"18446744073709551616\""] {
        for path in ["/v1/kv/k", "/v1/kv/absent"] {
            let answer = node.ask_if(Method::PUT, path, ("if-match", tag), "x").await;
            assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{path} {tag}");
        }
    }
    node.get("/v1/kv/absent").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn if_none_match_of_a_write_keeps_off_what_it_names() {
    let node = node().await;
    for (tags, status) in [("\"3\"", 412), ("W/\"3\"", 412), ("\"1\", \"3\"", 412), ("\"1\", \"2\"", 200)] {
        let answer = node.ask_if(Method::PUT, "/v1/kv/k", ("if-none-match", tags), "x").await;
        assert_eq!(answer.status.as_u16(), status, "{tags}");
    }
    node.ask_if(Method::PUT, "/v1/kv/new", ("if-none-match", "\"3\""), "no such key has no tag").await.ok();
}

#[tokio::test]
async fn all_conditions_of_a_write_must_hold() {
    let node = node().await;
    let tag = ("if-match", "\"3\"");
    node.ask_if(Method::PUT, "/v1/kv/k?expect_version=2", tag, "x").await.is_error(412, ErrorCode::VersionMismatch);
    let other = ("if-none-match", "\"2\"");
    let answer = node.ask_with(Method::PUT, "/v1/kv/k?expect_version=3", &[tag, other], "x").await.ok();
    assert_eq!((answer.json()["version"].clone(), answer.header("etag")), (4.into(), "\"4\""));
    // Under several conditions, too, a refusal says how the key stands.
    let error = node.ask_with(Method::PUT, "/v1/kv/k?expect_version=3", &[tag], "x").await;
    let error = error.is_error(412, ErrorCode::VersionMismatch);
    assert!(error.message.contains("version 4") && error.message.contains("revision 4"), "{error:?}");
    let answer = node.ask_with(Method::DELETE, "/v1/kv/k?expect_version=4", &[other], "").await.ok();
    assert_eq!(answer.json(), serde_json::json!({"deleted": true, "revision": 5}));
}

#[tokio::test]
async fn a_reader_says_what_it_has_and_what_it_wants() {
    let node = node().await;
    for (name, tags, status) in [
        ("if-none-match", "\"3\"", 304),
        ("if-none-match", "W/\"3\"", 304),
        ("if-none-match", "\"1\", \"3\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"1\", \"2\"", 200),
        ("if-none-match", "\"three\"", 200),
        ("if-match", "\"3\"", 200),
        ("if-match", "\"2\", \"3\"", 200),
        ("if-match", "*", 200),
        ("if-match", "\"2\"", 412),
        ("if-match", "W/\"3\"", 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = node.ask_if(method.clone(), "/v1/kv/k", (name, tags), "").await;
            assert_eq!(answer.status.as_u16(), status, "{method} {name}: {tags}");
            let is_whole = method == Method::GET && status == 200;
            assert_eq!(answer.body.starts_with(b"three"), is_whole, "{method} {name}: {tags}");
            if status != 412 {
                assert_eq!(answer.header("etag"), "\"3\"");
            }
        }
        // Conditions are about what would be there otherwise.
        node.ask_if(Method::GET, "/v1/kv/absent", (name, tags), "").await.is_error(404, ErrorCode::NotFound);
    }
    let both = [("if-match", "\"2\""), ("if-none-match", "\"3\"")];
    node.ask_with(Method::GET, "/v1/kv/k", &both, "").await.is_error(412, ErrorCode::VersionMismatch);
}

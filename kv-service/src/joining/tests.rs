//! What a node asks for that joins, whom it believes, and what it makes of each refusal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kv_client::protocol::MembersReply;

use super::*;
use crate::settings::Settings;

fn founder(id: u64, store: u128) -> FounderReply {
    FounderReply { id, address: format!("127.0.0.1:{id}"), store: StoreId(store).to_string() }
}

/// The answer of a cluster that these have founded.
fn answer(founders: &[FounderReply], restored_from: Option<u128>) -> MemberAddedReply {
    let members = founders.iter().map(|founder| {
        let store = StoreId(u128::from_str_radix(&founder.store, 16).unwrap());
        (NodeId(founder.id), Member { address: founder.address.clone(), store })
    });
    let cluster = cluster_id(&members.collect::<Vec<_>>(), restored_from.map(SnapshotId));
    MemberAddedReply {
        members: MembersReply {
            version: 7,
            changing: false,
            leader_id: Some(1),
            cluster_id: cluster.to_string(),
            members: vec![],
        },
        founders: founders.to_vec(),
        restored_from: restored_from.map(|id| format!("{id:032x}")),
    }
}

fn api(code: ErrorCode) -> ClientError {
    ClientError::Api { status: code.status(), code, message: "m".into(), leader: None }
}

#[test]
fn what_is_stamped_is_what_the_clusters_id_is_the_hash_of() {
    let founders = [founder(2, 22), founder(1, 11)];
    for restored_from in [None, Some(5)] {
        let (cluster, origin) = origin_of(&answer(&founders, restored_from)).unwrap();
        assert_eq!(cluster, cluster_id(&origin.founders, origin.restored_from));
        assert_eq!(origin.founders.iter().map(|(node, _)| node.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(origin.restored_from, restored_from.map(SnapshotId));
    }
}

#[test]
fn founders_that_do_not_make_up_the_cluster_are_not_believed() {
    let good = answer(&[founder(1, 11), founder(2, 22)], Some(5));
    let change = |change: fn(&mut MemberAddedReply)| {
        let mut answer = good.clone();
        change(&mut answer);
        origin_of(&answer).unwrap_err()
    };
    assert!(change(|answer| answer.founders[1].store = StoreId(23).to_string()).contains("founders"));
    assert!(change(|answer| answer.founders[1].address = "127.0.0.1:9".into()).contains("founders"));
    assert!(change(|answer| drop(answer.founders.pop())).contains("founders"));
    assert!(change(|answer| answer.restored_from = None).contains("founders"));
    assert!(change(|answer| answer.members.cluster_id = "none".into()).contains("'none' is no id"));
    assert!(origin_of(&answer(&[], None)).is_err(), "nobody founds nothing");
}

#[test]
fn what_may_pass_by_itself_is_waited_for_and_what_needs_somebody_ends_it() {
    let ends =
        [ErrorCode::BadInput, ErrorCode::NotFound, ErrorCode::IdInUse, ErrorCode::TooLarge, ErrorCode::Unsupported];
    for code in ErrorCode::ALL {
        assert_eq!(is_final(&api(code)), ends.contains(&code), "{code:?}");
    }
    let foreign = |status| ClientError::Api { status, code: ErrorCode::Other, message: "<html>".into(), leader: None };
    assert!(is_final(&foreign(404)) && !is_final(&foreign(502)));
    assert!(is_final(&ClientError::InvalidReply { endpoint: "e".into(), reason: "r".into() }));
    for passing in [
        ClientError::Unreachable { tried: "t".into() },
        ClientError::Unknown { reason: "r".into() },
        ClientError::Timeout { waited_ms: 1 },
    ] {
        assert!(!is_final(&passing), "{passing}");
    }
}

#[test]
fn a_newcomer_asks_for_a_place_without_a_vote_under_its_own_store_and_address() {
    let settings = Settings {
        engine: Some("paxos".into()),
        id: Some(4),
        join: Some(vec!["127.0.0.1:8001".into()]),
        ..Settings::default()
    };
    let config = NodeConfig::check(settings).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let request = request(&config, &store.stamp(), "127.0.0.1:7004".into());
    let store = store.stamp().store.to_string();
    let expected = MemberRequest {
        id: 4,
        address: Some("127.0.0.1:7004".into()),
        store: Some(store),
        learner: true,
        engine: Some("paxos".into()),
        replaces: None,
        expect_version: None,
    };
    assert_eq!(request, expected);
}

#[test]
fn a_directory_that_was_made_from_a_snapshot_joins_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let stamp = open(directory.path()).stamp();
    assert!(refuse_restored(&stamp).is_ok());
    let restored = Stamp { restored_from: Some(SnapshotId(5)), ..stamp };
    let error = refuse_restored(&restored).unwrap_err().to_string();
    assert!(error.contains("blank directory") && !error.contains('\n'), "{error}");
}

#[test]
fn a_node_that_joined_can_tell_the_next_one_what_its_cluster_began_with() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, origin) = origin_of(&answer(&[founder(1, 11)], Some(5))).unwrap();
    let store = open(directory.path());
    store.stamp_joined(cluster, &origin.founders, origin.restored_from).unwrap();
    drop(store);
    let stamp = open(directory.path()).stamp();
    assert_eq!((stamp.cluster, stamp.restored_from), (Some(cluster), Some(SnapshotId(5))));
    assert_eq!(cluster_id(&stamp.founders, stamp.restored_from), cluster);
}

fn open(directory: &std::path::Path) -> Store {
    use consensus_api::{EngineName, Era, GroupId};
    use storage_rocks::{Expected, StoreOptions};
    let expected = Expected { node: NodeId(4), engine: EngineName::new("paxos"), group: GroupId(0), era: Era(0) };
    let options = StoreOptions { sync: false, tables: &kv_machine::schema::TABLES };
    Store::open(&directory.join("data"), expected, options).unwrap()
}

/// A member that answers each of these in turn, and then no more.
async fn member(answers: Vec<(u16, String)>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let head = format!("HTTP/1.1 {status} Any\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    address
}

fn error(code: ErrorCode, message: &str) -> (u16, String) {
    let reply =
        kv_client::protocol::ErrorReply { error: code, message: message.into(), leader: None, first_revision: None };
    (code.status(), serde_json::to_string(&reply).unwrap())
}

fn ask_at(endpoints: &[&str]) -> Join {
    Join { endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(), learner: false }
}

#[tokio::test]
async fn while_nobody_leads_it_asks_on_and_says_what_it_waits_for_until_a_member_takes_it_in() {
    let taken_in = answer(&[founder(1, 11)], None);
    let pending = error(ErrorCode::ChangePending, "another change is under way");
    let member = member(vec![pending, (200, serde_json::to_string(&taken_in).unwrap())]).await;
    let nobody = member_that_is_gone().await;
    let (saying, mut waiting_for) = watch::channel(String::new());
    let request = MemberRequest { id: 4, ..MemberRequest::default() };
    let join = ask_at(&[&nobody, &member]);
    let asked = tokio::spawn(async move { ask(&join, &request, &saying).await });
    let mut said = String::new();
    while waiting_for.changed().await.is_ok() {
        said.push_str(&waiting_for.borrow_and_update());
    }
    let (endpoint, reply) = asked.await.unwrap().unwrap();
    assert_eq!((endpoint, reply), (member.clone(), taken_in));
    assert!(said.contains(&member), "{said}");
}

#[tokio::test]
async fn a_refusal_for_good_ends_it_with_the_members_own_words_and_what_to_do() {
    for code in [ErrorCode::IdInUse, ErrorCode::BadInput] {
        let member = member(vec![error(code, "remove it first")]).await;
        let saying = watch::Sender::new(String::new());
        let refused = ask(&ask_at(&[&member]), &MemberRequest::default(), &saying).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&member) && text.contains("remove it first") && text.contains("again"), "{text}");
        assert_eq!(refused.exit_status(), 1);
    }
}

/// An address where nobody listens.
async fn member_that_is_gone() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

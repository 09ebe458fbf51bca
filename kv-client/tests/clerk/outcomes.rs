//! What a caller is told, whatever the nodes do.

use std::time::Duration;

use consensus_api::ClusterId;
use kv_client::wire::{
    Answer, ClientHello, Failure, Refused, Request, SESSION_NUMBERS_MAX, ServerHello, Tag, ToClient, hello,
};
use kv_client::{ClerkError, Written};

use crate::node::{Site, within};

fn tag(request: &Request) -> Tag {
    match request {
        Request::Write { tag: Some(tag), .. } => *tag,
        other => panic!("no write in a session: {other:?}"),
    }
}

fn written(version: u64) -> Answer {
    Answer::Written { version, revision: version }
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_under_the_same_number() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let append = tokio::spawn(async move { clerk.append("k", "s").await });
    let first = tag(&talk.next_besides_sessions().await.request);
    talk.cut();
    let mut talk = node.accept().await;
    let again = talk.next_besides_sessions().await;
    assert_eq!(tag(&again.request), first);
    // The node has it in its tables, and says what it said the first time.
    talk.answer(again.id, written(1)).await;
    assert_eq!(within(append).await.unwrap(), Ok(Written { version: 1, revision: 1 }));
}

#[tokio::test]
async fn a_write_without_an_answer_is_maybe_and_one_that_was_refused_is_not() {
    let site = Site::new();
    let node = site.node(1).leading();
    let builder = site.builder(&[&node]).request_timeout(Duration::from_millis(400));
    let (clerk, mut talk) = tokio::join!(builder.connect(), node.accept());
    let clerk = clerk.unwrap();
    let put = clerk.put("k", "v");
    let silence = async {
        talk.next_besides_sessions().await;
    };
    let (outcome, ()) = tokio::join!(put, silence);
    assert!(matches!(outcome, Err(ClerkError::Maybe { .. })), "{outcome:?}");
    let put = clerk.put("k", "v");
    let refusals = async {
        loop {
            let request = talk.next_besides_sessions().await;
            let busy = Failure::Refused { why: Refused::Busy, message: "busy".into() };
            talk.answer(request.id, Answer::Failed(busy)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = put => outcome,
        () = refusals => panic!("they do not end"),
    };
    assert!(matches!(outcome, Err(ClerkError::NotApplied { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_mismatch_and_a_reply_out_of_place_are_told_apart() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let answer = async |talk: &mut crate::node::Talk, answer| {
        let request = talk.next_besides_sessions().await;
        talk.answer(request.id, answer).await;
    };
    let mismatch = Answer::Mismatch { version: 3, mod_revision: 9 };
    let (outcome, ()) = tokio::join!(clerk.put_if_version("k", "v", 2), answer(&mut talk, mismatch));
    assert_eq!(outcome, Err(ClerkError::VersionMismatch { version: 3, mod_revision: 9 }));
    let (outcome, ()) = tokio::join!(clerk.put("k", "v"), answer(&mut talk, Answer::Got { item: None }));
    assert!(matches!(outcome, Err(ClerkError::Maybe { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_request_that_is_dropped_holds_up_no_other() {
    let site = Site::new();
    let node = site.node(1).leading();
    let builder = site.builder(&[&node]).window(1);
    let (clerk, mut talk) = tokio::join!(builder.connect(), node.accept());
    let clerk = clerk.unwrap();
    let first = {
        let clerk = clerk.clone();
        tokio::spawn(async move { clerk.put("k", "1").await })
    };
    let sent = talk.next_besides_sessions().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The one place is free as soon as the answer is there that nobody reads.
    talk.answer(sent.id, written(1)).await;
    let answer = async {
        let second = talk.next_besides_sessions().await;
        assert_eq!((tag(&second.request).number, tag(&second.request).acked_below), (2, 2));
        talk.answer(second.id, written(2)).await;
    };
    let (outcome, ()) = within(async { tokio::join!(clerk.put("k", "2"), answer) }).await;
    assert_eq!(outcome.unwrap().version, 2);
}

#[tokio::test]
async fn answers_in_any_order_find_their_requests() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let puts = (1..=10_u64).map(|number| {
        let clerk = clerk.clone();
        async move { clerk.put("k", number.to_string()).await.unwrap().version }
    });
    let answer = async {
        let mut asked = Vec::new();
        for _ in 0..10 {
            asked.push(talk.next_besides_sessions().await);
        }
        for request in asked.into_iter().rev() {
            let number = tag(&request.request).number;
            talk.answer(request.id, written(number)).await;
        }
    };
    let (versions, ()) = within(async { tokio::join!(futures_util::future::join_all(puts), answer) }).await;
    assert_eq!(versions, (1..=10).collect::<Vec<_>>(), "numbers go out in the order of the requests");
}

#[tokio::test]
async fn the_clerk_goes_where_the_leader_is() {
    let site = Site::new();
    let (leader, mut follower) = (site.node(2).leading(), site.node(1));
    follower.leader = leader.as_leader();
    let (clerk, _talk) = tokio::join!(site.builder(&[&follower]).connect(), follower.accept());
    let clerk = clerk.unwrap();
    let mut talk = leader.accept().await;
    let answer = async {
        let request = talk.next_besides_sessions().await;
        talk.answer(request.id, written(1)).await;
        talk
    };
    // Part of it may have gone to the follower, which says nothing: then it is asked again where the Clerk is now.
    let (outcome, mut talk) = within(async { tokio::join!(clerk.put("k", "v"), answer) }).await;
    assert!(outcome.is_ok());
    // It hears that another leads, and goes there.
    let third = site.node(3).leading();
    talk.say(&ToClient::Leader(third.as_leader())).await;
    third.accept().await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_said_and_replaced() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let expire = async {
        let request = talk.next_besides_sessions().await;
        talk.answer(request.id, Answer::Failed(Failure::SessionExpired)).await;
        tag(&request.request).session
    };
    let (outcome, first) = within(async { tokio::join!(clerk.put("k", "v"), expire) }).await;
    assert_eq!(outcome, Err(ClerkError::SessionExpired));
    within(clerk.session_ended(first)).await;
    let answer = async {
        let request = talk.next_besides_sessions().await;
        talk.answer(request.id, written(1)).await;
        tag(&request.request).session
    };
    let (outcome, second) = within(async { tokio::join!(clerk.put("k", "v"), answer) }).await;
    assert!(outcome.is_ok());
    assert_ne!(first, second);
    assert_eq!(clerk.session_id(), Some(second));
}

#[tokio::test]
async fn garbage_ends_the_connection_and_not_the_request() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let put = tokio::spawn(async move { clerk.put("k", "v").await });
    talk.next_besides_sessions().await;
    talk.send_bytes(vec![0xa5; 4096]).await;
    let mut talk = node.accept().await;
    let again = talk.next_besides_sessions().await;
    talk.answer(again.id, written(1)).await;
    assert!(within(put).await.unwrap().is_ok());
}

#[tokio::test]
async fn another_version_is_named() {
    let site = Site::new();
    let node = site.node(1);
    let serve = async {
        let connection = node.accept_raw().await;
        let (mut send, mut receive) = within(connection.accept_bi()).await.unwrap();
        within(hello::read::<ClientHello>(&mut receive)).await.unwrap();
        let mut bytes = hello::encode(&node.welcome()).unwrap();
        bytes[2] = 99;
        send.write_all(&bytes).await.unwrap();
        connection.closed().await;
    };
    let (outcome, ()) = within(async { tokio::join!(site.builder(&[&node]).connect(), serve) }).await;
    let error = outcome.unwrap_err();
    assert!(matches!(&error, ClerkError::Misfit { reason } if reason.contains("99")), "{error}");
}

#[tokio::test]
async fn a_node_of_another_cluster_is_not_talked_to() {
    let site = Site::new();
    let (one, mut other) = (site.node(1).leading(), site.node(2).leading());
    other.cluster = ClusterId(8);
    let (clerk, talk) = tokio::join!(site.builder(&[&one]).connect(), one.accept());
    let clerk = clerk.unwrap();
    let mut talk = talk;
    talk.say(&ToClient::Leader(other.as_leader())).await;
    let connection = other.accept_raw().await;
    let (mut send, mut receive) = within(connection.accept_bi()).await.unwrap();
    let said: ClientHello = within(hello::read(&mut receive)).await.unwrap();
    assert_eq!(said.cluster, Some(crate::node::CLUSTER));
    within(hello::write::<ServerHello>(&mut send, &other.welcome())).await.unwrap();
    within(connection.closed()).await;
    // The first is still good.
    let answer = async {
        let request = talk.next_besides_sessions().await;
        talk.answer(request.id, written(1)).await;
    };
    let (outcome, ()) = within(async { tokio::join!(clerk.put("k", "v"), answer) }).await;
    assert!(outcome.is_ok());
}

#[tokio::test]
async fn only_a_node_of_the_same_cluster_is_believed() {
    let site = Site::new();
    for name in ["node-1.other.quorate", "client-ada.orders.quorate", "example.org"] {
        let node = site.node_named(1, name);
        let builder = site.builder(&[&node]).request_timeout(Duration::from_millis(300));
        // The handshake fails; the node need only look at it.
        let refused = async {
            loop {
                let _ = node.try_accept().await;
            }
        };
        let outcome = tokio::select! {
            outcome = builder.connect() => outcome,
            () = refused => panic!("it does not end"),
        };
        assert!(matches!(outcome, Err(ClerkError::Unreachable { .. })), "{name}: {outcome:?}");
    }
    let strangers = Site::new();
    let node = strangers.node(1);
    let builder = site.builder(&[&node]).request_timeout(Duration::from_millis(300));
    let outcome = tokio::select! {
        outcome = builder.connect() => outcome,
        () = async { loop { let _ = node.try_accept().await; } } => panic!("it does not end"),
    };
    assert!(matches!(outcome, Err(ClerkError::Unreachable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn wrong_settings_and_missing_certificates_are_named() {
    let site = Site::new();
    let node = site.node(1);
    let settings = [
        site.builder(&[]),
        site.builder(&[&node]).endpoints(["localhost"]),
        site.builder(&[&node]).window(0),
        site.builder(&[&node]).session_ttl(Duration::from_millis(10)),
    ];
    for builder in settings {
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, ClerkError::Settings { .. }), "{error}");
    }
    std::fs::remove_file(site.path().join("client.key")).unwrap();
    let error = site.builder(&[&node]).connect().await.unwrap_err().to_string();
    assert!(error.contains("client.key"), "{error}");
}

#[tokio::test]
async fn a_write_that_was_lost_once_holds_up_no_more_than_the_session_has_room_for() {
    const WRITES: u64 = 10_000;
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, mut talk) = tokio::join!(site.builder(&[&node]).window(WRITES as usize).connect(), node.accept());
    let clerk = clerk.unwrap();
    let puts = (0..WRITES).map(|_| {
        let clerk = clerk.clone();
        async move { clerk.put("k", "v").await }
    });
    let serve = async {
        let mut first = None;
        let (mut answered, mut is_lost) = (0, false);
        while answered < WRITES {
            let request = talk.next_besides_sessions().await;
            let Tag { number, acked_below, .. } = tag(&request.request);
            assert!(number < acked_below + SESSION_NUMBERS_MAX, "a full session would refuse {number}");
            if number == 1 && !is_lost {
                is_lost = true;
                talk.answer(request.id, Answer::Failed(Failure::Unknown { message: "lost".into() })).await;
            } else if number == 1 {
                first = Some(request.id);
            } else {
                talk.answer(request.id, written(number)).await;
                answered += 1;
            }
            // The others go on meanwhile, as far as there is room.
            if answered == SESSION_NUMBERS_MAX - 1 && first.is_none() {
                let request = talk.next_besides_sessions().await;
                assert_eq!(tag(&request.request).number, 1);
                first = Some(request.id);
            }
            if answered == SESSION_NUMBERS_MAX - 1
                && let Some(id) = first.take()
            {
                talk.answer(id, written(1)).await;
                answered += 1;
            }
        }
    };
    let (outcomes, ()) = within(async { tokio::join!(futures_util::future::join_all(puts), serve) }).await;
    assert!(outcomes.iter().all(Result::is_ok));
}

#[tokio::test]
async fn where_no_node_can_do_anything_the_clerk_does_not_go_round_in_circles() {
    let site = Site::new();
    let (one, two) = (site.node(1), site.node(2));
    let builder = site.builder(&[&one, &two]).request_timeout(Duration::from_millis(2500));
    let connections = std::cell::Cell::new(0);
    // Has no quorum, like the other.
    let serve = async |node: &crate::node::Node| {
        loop {
            let mut talk = node.accept().await;
            connections.set(connections.get() + 1);
            while let Some(request) = talk.next_or_end().await {
                let why = Failure::Refused { why: Refused::NoQuorum, message: "no quorum".into() };
                talk.answer(request.id, Answer::Failed(why)).await;
            }
        }
    };
    let put = async { builder.connect().await.unwrap().put("k", "v").await };
    let outcome = tokio::select! {
        outcome = put => outcome,
        () = async { tokio::join!(serve(&one), serve(&two)); } => panic!("they do not end"),
    };
    assert!(matches!(outcome, Err(ClerkError::NotApplied { .. })), "{outcome:?}");
    // At rests of an eighth of a second, a quarter, a half and one second at the least.
    assert!(connections.get() <= 6, "{} connections", connections.get());
}

//! A watch: resumed without loss, without a change twice, and honest where it cannot go on.

use std::time::Duration;

use consensus_api::Blob;
use kv_client::wire::{Change, Refused, WatchEvent};
use kv_client::{Clerk, ClerkError, Watch};

use crate::node::{Site, Talk, Watcher, within};

/// The most streams that a scripted node lets a client have: what its transport does unless it is told.
const STREAMS_MAX: usize = 100;

fn change(revision: u64, key: &'static str) -> Change {
    Change { revision, key: Blob::from(key), item: None }
}

/// A watch of everything, from now on, that has begun at revision 5.
async fn begun(clerk: &Clerk, talk: &Talk) -> (Watch, Watcher) {
    let begin = async {
        let (request, mut watcher) = talk.watch().await;
        assert_eq!(request.from_revision, None);
        watcher.say(&WatchEvent::Started { from_revision: 5 }).await;
        watcher
    };
    let (watch, watcher) = within(async { tokio::join!(clerk.watch("", None), begin) }).await;
    (watch.unwrap(), watcher)
}

fn failed(why: Refused) -> WatchEvent {
    WatchEvent::Failed { why, message: format!("{why:?}") }
}

#[tokio::test]
async fn a_watch_that_breaks_within_a_revision_goes_on_behind_the_last_change() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let (mut watch, mut watcher) = begun(&clerk.unwrap(), &talk).await;
    let changes = vec![change(5, "a"), change(7, "a")];
    // The revision 7 changed more, which does not come: `through` stays below it.
    watcher.say(&WatchEvent::Changes { changes, through: 6 }).await;
    for revision in [5, 7] {
        assert_eq!(within(watch.next()).await.unwrap().unwrap(), change(revision, "a"));
    }
    talk.cut();
    let talk = node.accept().await;
    let (request, mut watcher) = talk.watch().await;
    assert_eq!(request.from_revision, Some(7));
    watcher.say(&WatchEvent::Started { from_revision: 7 }).await;
    let changes = vec![change(7, "a"), change(7, "b"), change(8, "a")];
    watcher.say(&WatchEvent::Changes { changes, through: 8 }).await;
    for expected in [change(7, "b"), change(8, "a")] {
        assert_eq!(within(watch.next()).await.unwrap().unwrap(), expected);
    }
    talk.cut();
    let talk = node.accept().await;
    assert_eq!(talk.watch().await.0.from_revision, Some(9));
}

#[tokio::test]
async fn a_watch_that_broke_before_anything_came_still_begins_where_it_began() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let (mut watch, mut watcher) = begun(&clerk.unwrap(), &talk).await;
    watcher.say(&failed(Refused::Stopping)).await;
    let (request, mut watcher) = talk.watch().await;
    assert_eq!(request.from_revision, Some(5));
    watcher.say(&WatchEvent::Changes { changes: vec![change(6, "a")], through: 6 }).await;
    assert_eq!(within(watch.next()).await.unwrap().unwrap(), change(6, "a"));
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_said_and_ends_the_watch() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let refuse = async {
        let (request, mut watcher) = talk.watch().await;
        assert_eq!((&request.start.0[..], request.from_revision), (&b"a"[..], Some(3)));
        watcher.say(&WatchEvent::Compacted { first: 10 }).await;
    };
    let (watch, ()) = within(async { tokio::join!(clerk.watch("a", Some(3)), refuse) }).await;
    assert_eq!(watch.unwrap_err(), ClerkError::Compacted { first: 10 });
    // One that has begun says so in its place.
    let (mut watch, mut watcher) = begun(&clerk, &talk).await;
    watcher.say(&WatchEvent::Compacted { first: 10 }).await;
    assert_eq!(within(watch.next()).await, Some(Err(ClerkError::Compacted { first: 10 })));
    assert_eq!(within(watch.next()).await, None);
}

#[tokio::test]
async fn a_watch_has_begun_when_the_node_has_said_so_and_not_before() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let watch = clerk.watch("", None);
    tokio::pin!(watch);
    let (_, mut watcher) = tokio::select! {
        _ = &mut watch => panic!("the node has said nothing yet"),
        asked = talk.watch() => asked,
    };
    watcher.say(&WatchEvent::Started { from_revision: 5 }).await;
    assert!(within(watch).await.is_ok());
}

#[tokio::test]
async fn a_node_that_has_too_many_watches_is_asked_again_and_then_the_bound_is_named() {
    let site = Site::new();
    let node = site.node(1).leading();
    let builder = site.builder(&[&node]).request_timeout(Duration::from_millis(600));
    let (clerk, talk) = tokio::join!(builder.connect(), node.accept());
    let clerk = clerk.unwrap();
    let crowd = async {
        loop {
            talk.watch().await.1.say(&failed(Refused::Busy)).await;
        }
    };
    let watch = tokio::select! {
        watch = clerk.watch("", None) => watch,
        () = crowd => panic!("it does not end"),
    };
    assert_eq!(watch.unwrap_err(), ClerkError::TooManyWatches { message: "Busy".into() });
    // A place that becomes free meanwhile is taken.
    let free = async {
        talk.watch().await.1.say(&failed(Refused::Busy)).await;
        let mut watcher = talk.watch().await.1;
        watcher.say(&WatchEvent::Started { from_revision: 5 }).await;
        watcher
    };
    let (watch, _watcher) = within(async { tokio::join!(clerk.watch("", None), free) }).await;
    assert!(watch.is_ok());
}

#[tokio::test]
async fn a_range_that_no_node_takes_is_an_error_at_once() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let clerk = clerk.unwrap();
    let refuse = async {
        talk.watch().await.1.say(&failed(Refused::TooLarge)).await;
    };
    let (watch, ()) = within(async { tokio::join!(clerk.watch("", None), refuse) }).await;
    assert!(matches!(watch, Err(ClerkError::TooLarge { .. })), "{watch:?}");
}

#[tokio::test]
async fn more_watches_than_a_connection_may_have_are_an_error_that_says_so() {
    let site = Site::new();
    let node = site.node(1).leading();
    let builder = site.builder(&[&node]).request_timeout(Duration::from_millis(600));
    let (clerk, talk) = tokio::join!(builder.connect(), node.accept());
    let clerk = clerk.unwrap();
    // As many as the node's transport allows; one is the conversation.
    let mut watches = Vec::new();
    for _ in 1..STREAMS_MAX {
        watches.push(begun(&clerk, &talk).await);
    }
    let error = within(clerk.watch("", None)).await.unwrap_err();
    assert!(matches!(error, ClerkError::TooManyWatches { .. }), "{error}");
}

//! A watch: resumed without loss, without a change twice, and honest where it cannot go on.

use consensus_api::Blob;
use kv_client::ClerkError;
use kv_client::wire::{Change, WatchEvent};

use crate::node::{Site, within};

fn change(revision: u64, key: &'static str) -> Change {
    Change { revision, key: Blob::from(key), item: None }
}

#[tokio::test]
async fn a_watch_that_breaks_within_a_revision_goes_on_behind_the_last_change() {
    let site = Site::new();
    let node = site.node(1).leading();
    let (clerk, talk) = tokio::join!(site.builder(&[&node]).connect(), node.accept());
    let mut watch = clerk.unwrap().watch("", None);
    let (request, mut watcher) = talk.watch().await;
    assert_eq!(request.from_revision, None);
    watcher.say(&WatchEvent::Started { from_revision: 5 }).await;
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
    let clerk = clerk.unwrap();
    let mut watch = clerk.watch("", None);
    let (_, mut watcher) = talk.watch().await;
    watcher.say(&WatchEvent::Started { from_revision: 5 }).await;
    watcher.say(&WatchEvent::Failed { message: "stopping".into() }).await;
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
    let mut watch = clerk.unwrap().watch("a", Some(3));
    let (request, mut watcher) = talk.watch().await;
    assert_eq!((&request.start.0[..], request.from_revision), (&b"a"[..], Some(3)));
    watcher.say(&WatchEvent::Compacted { first: 10 }).await;
    assert_eq!(within(watch.next()).await, Some(Err(ClerkError::Compacted { first: 10 })));
    assert_eq!(within(watch.next()).await, None);
}

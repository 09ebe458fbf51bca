//! A scan: pages of a range, one after the other, as a stream of items.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use consensus_api::Blob;
use futures_core::Stream;

use super::ledger::Ask;
use super::{Clerk, ClerkError, KeyRange, misplaced_read};
use crate::protocol::Consistency;
use crate::wire::{Answer, Request, ScanItem};

/// The most items of a page.
const PAGE_ITEMS: u32 = 1000;

/// A page, and what is left of the range behind it.
type Page = Result<(Vec<ScanItem>, Option<KeyRange>), ClerkError>;

/// The keys of a range, in order; see [`Clerk::scan`]. Ends after an error.
pub struct Scan {
    clerk: Clerk,
    /// What is left of the range, where no page is being read.
    rest: Option<KeyRange>,
    reading: Option<Pin<Box<dyn Future<Output = Page> + Send>>>,
    items: VecDeque<ScanItem>,
}

impl Scan {
    pub(super) fn new(clerk: Clerk, range: KeyRange) -> Scan {
        Scan { clerk, rest: Some(range), reading: None, items: VecDeque::new() }
    }

    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<ScanItem, ClerkError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("rest", &self.rest).field("items", &self.items.len()).finish_non_exhaustive()
    }
}

impl Stream for Scan {
    type Item = Result<ScanItem, ClerkError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if let Some(reading) = &mut self.reading {
                let Poll::Ready(page) = reading.as_mut().poll(context) else { return Poll::Pending };
                self.reading = None;
                match page {
                    Ok((items, rest)) => (self.items, self.rest) = (items.into(), rest),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                continue;
            }
            let Some(range) = self.rest.take() else { return Poll::Ready(None) };
            self.reading = Some(Box::pin(read(self.clerk.clone(), range)));
        }
    }
}

async fn read(clerk: Clerk, range: KeyRange) -> Page {
    let request = Request::Scan {
        start: Blob(range.start),
        end: range.end.clone().map(Blob),
        limit: PAGE_ITEMS,
        consistency: Consistency::Linearizable,
    };
    match clerk.ask(Ask::Read(request)).await? {
        Answer::Scanned { items, more, .. } => {
            let last = items.last().map(|last| last.key.0.clone()).filter(|_| more);
            // The least key above `last` is `last` and a zero byte.
            let rest = last.map(|last| KeyRange { start: Bytes::from([&last[..], &[0]].concat()), end: range.end });
            Ok((items, rest))
        }
        other => Err(misplaced_read(&other)),
    }
}

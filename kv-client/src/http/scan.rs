//! A scan of any length, page by page.

use std::collections::vec_deque::VecDeque;

use bytes::Bytes;

use super::client::{HttpClient, ReadOptions, ScanRequest};
use crate::error::ClientError;
use crate::protocol::{ScanItem, ScanReply};

/// A scan that is under way. Each page is of one moment; the whole need not be: what changes meanwhile is seen as it is
/// when its page is read.
#[derive(Debug)]
pub struct Scan {
    client: HttpClient,
    request: ScanRequest,
    options: ReadOptions,
    items: VecDeque<ScanItem>,
    more: bool,
    revision: u64,
}

impl HttpClient {
    /// Reads the keys of a range, all of them or as many as the request's limit, a page at a time.
    pub fn scan_all(&self, request: ScanRequest, options: ReadOptions) -> Scan {
        Scan { client: self.clone(), request, options, items: VecDeque::new(), more: true, revision: 0 }
    }
}

impl Scan {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// As [`HttpClient::scan`]. It may be called again, and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<ScanItem>, ClientError> {
        while self.items.is_empty() && self.more && self.request.limit != Some(0) {
            let page = self.client.scan(&self.request, self.options).await?;
            self.take(page);
        }
        Ok(self.items.pop_front())
    }

    /// Whether there were more keys in the range when the last page was read. At the end of a scan: the limit was reached.
    pub fn more(&self) -> bool {
        self.more || !self.items.is_empty()
    }

    /// The store's revision when the last page was read; zero before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn take(&mut self, page: ScanReply) {
        self.revision = page.revision;
        // A page without items is the last, whatever it says: it would be asked for again for ever.
        self.more = page.more && !page.items.is_empty();
        if let Some(last) = page.items.last() {
            // The least key behind the last one.
            self.request.start = Some(Bytes::from([&last.key.0[..], &[0]].concat()));
        }
        if let Some(limit) = &mut self.request.limit {
            *limit = limit.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
        }
        self.items = page.items.into();
    }
}

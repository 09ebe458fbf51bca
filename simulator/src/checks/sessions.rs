//! Exactly-once, judged beside the machine: what is asked under one number of a session is carried out once, all copies
//! hear the first answer, and nothing is carried out in a session that is over, of which the log's time alone decides
//! (Raft thesis §6.3). Replicas give the same answers, also where they apply an entry again after a crash.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use consensus_api::{LogIndex, LogTime, NodeId, Payload, SharedEntry};
use kv_machine::{Batch, Command, Replies, Reply, SessionId, SessionTag};

use super::Violation;

/// What an entry meant for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionNews {
    /// It is open.
    Opened(SessionId),
    /// For the first time a client of it hears that it is over.
    Expired(SessionId),
    /// What was carried out before is answered once more.
    Answered {
        /// In which session.
        session: SessionId,
        /// Which request.
        number: u64,
    },
    /// A copy of what was answered and acknowledged is refused.
    Forgotten {
        /// In which session.
        session: SessionId,
        /// Which request.
        number: u64,
    },
}

/// What is known of a session.
#[derive(Debug)]
struct Life {
    ttl_ms: u64,
    last_sign: LogTime,
    is_over: bool,
    is_told: bool,
    acked_below: u64,
    /// The first answer to each number.
    answers: BTreeMap<u64, Reply>,
}

impl Life {
    fn is_over(&mut self, now: LogTime) -> bool {
        self.is_over |= self.last_sign.millis.saturating_add(self.ttl_ms) < now.millis;
        self.is_over
    }
}

/// All sessions, and what every entry was answered.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Up to where entries were looked at.
    through: LogIndex,
    now: LogTime,
    replies: BTreeMap<LogIndex, u64>,
    lives: BTreeMap<SessionId, Life>,
}

impl Sessions {
    /// A node has applied an entry and answers this.
    pub(super) fn replied(
        &mut self,
        node: NodeId,
        entry: &SharedEntry,
        reply: &Bytes,
    ) -> Result<Vec<SessionNews>, Violation> {
        let index = entry.index;
        let mut hasher = DefaultHasher::new();
        reply.hash(&mut hasher);
        let hash = hasher.finish();
        if *self.replies.entry(index).or_insert(hash) != hash {
            let what = format!("gives another answer than was given before: {:?}", Replies::decode(reply));
            return Err(Violation::Session { node, index, what });
        }
        if index <= self.through {
            return Ok(Vec::new());
        }
        self.through = index;
        self.now = self.now.max(entry.log_time);
        let mut news = Vec::new();
        let Payload::Command { data, .. } = &entry.payload else { return Ok(news) };
        let (Ok(batch), Ok(replies)) = (Batch::decode(&data.0), Replies::decode(reply)) else { return Ok(news) };
        for (request, reply) in batch.requests.iter().zip(&replies.replies) {
            let found = match (&request.session, &request.command) {
                (tag, Command::OpenSession { session, .. }) => {
                    let acked_below = tag.filter(|tag| tag.session == *session).map_or(0, |tag| tag.acked_below);
                    self.opened(*session, acked_below, reply)
                }
                (_, Command::CloseSession { session }) => {
                    if *reply != Reply::SessionFull
                        && let Some(life) = self.lives.get_mut(session)
                    {
                        life.is_over = true;
                    }
                    Ok(None)
                }
                (Some(tag), _) => self.asked(tag, reply),
                (None, _) => Ok(None),
            };
            news.extend(found.map_err(|what| Violation::Session { node, index, what })?);
        }
        Ok(news)
    }

    fn opened(&mut self, id: SessionId, acked_below: u64, reply: &Reply) -> Result<Option<SessionNews>, String> {
        let now = self.now;
        let is_over = self.lives.get_mut(&id).is_some_and(|life| life.is_over(now));
        match reply {
            Reply::SessionOpened { .. } if is_over => Err(format!("opens session {id} again, which is over")),
            Reply::SessionOpened { ttl_ms } => {
                let is_new = !self.lives.contains_key(&id);
                let life = self.lives.entry(id).or_insert_with(|| Life {
                    ttl_ms: *ttl_ms,
                    last_sign: now,
                    is_over: false,
                    is_told: false,
                    acked_below: 1,
                    answers: BTreeMap::new(),
                });
                (life.ttl_ms, life.last_sign) = (*ttl_ms, now);
                life.acked_below = life.acked_below.max(acked_below);
                Ok(is_new.then_some(SessionNews::Opened(id)))
            }
            Reply::SessionExpired if !is_over => Err(format!("calls session {id} expired before its time")),
            Reply::SessionExpired => Ok(self.told(id)),
            _ => Ok(None),
        }
    }

    fn told(&mut self, id: SessionId) -> Option<SessionNews> {
        let life = self.lives.get_mut(&id)?;
        (!std::mem::replace(&mut life.is_told, true)).then_some(SessionNews::Expired(id))
    }

    fn asked(&mut self, tag: &SessionTag, reply: &Reply) -> Result<Option<SessionNews>, String> {
        let (now, SessionTag { session, number, acked_below }) = (self.now, *tag);
        let Some(life) = self.lives.get_mut(&session) else {
            return match reply {
                Reply::SessionExpired => Ok(None),
                reply => Err(format!("answers {number} of session {session}, which is not open, with {reply:?}")),
            };
        };
        if life.is_over(now) {
            return match reply {
                Reply::SessionExpired => Ok(self.told(session)),
                reply => Err(format!("answers {number} of session {session}, which is over, with {reply:?}")),
            };
        }
        if *reply == Reply::SessionExpired {
            return Err(format!("calls session {session} expired before its time, to {number}"));
        }
        life.last_sign = now;
        life.acked_below = life.acked_below.max(acked_below);
        if number < life.acked_below {
            return match reply {
                Reply::Forgotten => Ok(Some(SessionNews::Forgotten { session, number })),
                reply => Err(format!("answers {number} of session {session}, which is acknowledged, with {reply:?}")),
            };
        }
        match (life.answers.get(&number), reply) {
            (Some(first), reply) if first == reply => Ok(Some(SessionNews::Answered { session, number })),
            (Some(first), reply) => Err(format!(
                "answers {number} of session {session} with {reply:?}, where {first:?} was its first answer"
            )),
            (None, Reply::Forgotten) => Err(format!("has forgotten {number} of session {session} before its time")),
            (None, reply) if reply.may_come_again() => Ok(None),
            (None, reply) => {
                life.answers.insert(number, reply.clone());
                Ok(None)
            }
        }
    }
}

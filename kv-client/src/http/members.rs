//! Who belongs to the cluster, who leads it, and how both are changed.
//!
//! ```text
//!   members ───────▶ a node ─ 307 ─▶ the leader, which knows how far everyone is   (or what the node itself knows)
//!   add_member ────▶ a node ── forwarded ──▶ the leader: one change, or none where it is so already
//!   remove_member ─▶    "                         "
//!   transfer ──────▶    "                    hands over
//! ```
//!
//! To ask twice for a change is to ask once: what is so already is no error. So these requests are sent again where an answer
//! is lost, and a caller that was interrupted begins anew with the same ones.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::client::{HttpClient, json_of, push_parameter};
use super::endpoints::{Call, Effect};
use crate::error::ClientError;
use crate::protocol::{ErrorCode, MemberAddedReply, MemberRequest, MembersReply, REDIRECT_PARAMETER, TransferReply};

const MEMBERS_PATH: &str = "/v1/members";
const TRANSFER_PATH: &str = "/v1/leader/transfer";
/// Request parameter of a transfer: who is to lead.
const TO_PARAMETER: &str = "to";

/// What became of a member that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is a member no more; these are.
    Done(MembersReply),
    /// It was none.
    NoMember,
}

impl HttpClient {
    /// Who belongs to the cluster, and how far each of them is: as the leader knows it, or where that cannot be asked, what
    /// the first node that answers knows.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use kv_client::{ClientError, HttpClient};
    /// # async fn example() -> Result<(), ClientError> {
    /// let client = HttpClient::new(["127.0.0.1:8001", "127.0.0.1:8002"])?;
    /// for member in client.members(Duration::from_secs(5)).await?.members {
    ///     match member.behind {
    ///         Some(behind) => println!("{} at {}: {behind} entries behind", member.id, member.address),
    ///         None => println!("{} at {}", member.id, member.address),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`].
    pub async fn members(&self, timeout: Duration) -> Result<MembersReply, ClientError> {
        let mut to_leader = MEMBERS_PATH.to_owned();
        push_parameter(&mut to_leader, REDIRECT_PARAMETER, b"1");
        // Half of the time: a leader that nobody can reach must leave some for the others.
        let asked = self.endpoints.send_once(&call(Method::GET, to_leader, timeout / 2)).await;
        match asked {
            Ok(answer) => json_of(&answer),
            // It may be the leader that is out of reach, or that there is none.
            Err(_) => {
                let of_anyone = call(Method::GET, MEMBERS_PATH.to_owned(), timeout / 2);
                json_of(&self.endpoints.send(&of_anyone).await?)
            }
        }
    }

    /// Makes a node a member, a learner a voter, or tells where a member has moved to: see [`MemberRequest`]. A node that is to
    /// vote becomes a learner first, and a voter once it has caught up.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use kv_client::{ClientError, HttpClient};
    /// use kv_client::protocol::{ErrorCode, MemberRequest};
    ///
    /// # async fn example(client: HttpClient) -> Result<(), ClientError> {
    /// let fourth = MemberRequest {
    ///     id: 4,
    ///     address: Some("10.0.0.4:7001".to_owned()),
    ///     store: Some("5e1f20c8a94b4c0f8d7e6a5b4c3d2e1f".to_owned()),
    ///     ..MemberRequest::default()
    /// };
    /// match client.add_member(&fourth, Duration::from_secs(30)).await {
    ///     Ok(reply) => println!("it votes; the members are at version {}", reply.members.version),
    ///     Err(error) if error.code() == Some(ErrorCode::LearnerLags) => println!("not yet, ask again: {error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`]. These say what to do next:
    ///
    /// * [`ErrorCode::LearnerLags`], [`ErrorCode::ChangePending`]: ask again in a while.
    /// * [`ErrorCode::MembersChanged`]: look at the members, then decide anew.
    /// * [`ErrorCode::NoLiveMajority`]: start those who do not answer, or remove them instead.
    /// * [`ErrorCode::IdInUse`]: remove the member of that id, if there is one, and give the new one an id that was never used.
    ///
    /// The first steps of a change that was refused may have been taken; the members show it.
    ///
    /// Where no answer came in time, the change may have taken place, or may yet: ask again, or look.
    pub async fn add_member(
        &self,
        request: &MemberRequest,
        timeout: Duration,
    ) -> Result<MemberAddedReply, ClientError> {
        self.json(Effect::Read, Method::POST, MEMBERS_PATH.to_owned(), Some(request), timeout, None).await
    }

    /// Removes a member. A leader that is removed hands over.
    ///
    /// # Errors
    /// As [`HttpClient::add_member`].
    pub async fn remove_member(&self, id: u64, timeout: Duration) -> Result<Removal, ClientError> {
        let removed = self.endpoints.send(&call(Method::DELETE, format!("{MEMBERS_PATH}/{id}"), timeout)).await;
        match removed {
            Ok(answer) => json_of(&answer).map(Removal::Done),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(Removal::NoMember),
            Err(error) => Err(error),
        }
    }

    /// Has the leader hand over: to this voter, or to the one that is furthest. Returns who leads then, as far as the node
    /// that answers knows.
    ///
    /// # Errors
    /// [`ErrorCode::TransferFailed`] where nobody took over in time: as far as is known the old leader leads on. [`ErrorCode::BadInput`] where `to` does
    /// not vote. [`ClientError::Unknown`] only without `to`: asked again, that may mean another one.
    pub async fn transfer(&self, to: Option<u64>, timeout: Duration) -> Result<TransferReply, ClientError> {
        let mut path_and_query = TRANSFER_PATH.to_owned();
        if let Some(to) = to {
            push_parameter(&mut path_and_query, TO_PARAMETER, to.to_string().as_bytes());
        }
        let effect = if to.is_some() { Effect::Read } else { Effect::Write };
        self.json(effect, Method::POST, path_and_query, None::<&()>, timeout, None).await
    }
}

fn call(method: Method, path_and_query: String, timeout: Duration) -> Call {
    Call { effect: Effect::Read, method, path_and_query, headers: vec![], body: Bytes::new(), timeout }
}

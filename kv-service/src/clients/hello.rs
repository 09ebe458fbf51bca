//! The first words to a client: who this is, who leads, how much may be asked at a time.

use consensus_api::Tables;
use kv_client::wire::hello::{read, write};
use kv_client::wire::{ClientHello, HelloError, HelloRefused, Leader, ServerHello, Welcome};
use transport_quic::{RecvStream, SendStream};

use super::backlog::WINDOW;
use crate::service::Service;

/// Whom this node takes for the leader, and where that is found.
pub(super) fn leader<T: Tables>(service: &Service<T>) -> Leader {
    let status = service.log.status().engine;
    let address =
        status.leader.and_then(|node| status.membership.members.get(&node)).map(|member| member.address.clone());
    Leader { node: status.leader, address }
}

/// Hears the client's hello and answers it; whether the client is served.
pub(super) async fn exchange<T: Tables>(
    service: &Service<T>,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), HelloError> {
    let answer = match read::<ClientHello>(receive).await {
        Ok(hello) => answer(service, &hello),
        // The answer's prefix tells the client which version is spoken here.
        Err(error @ HelloError::Version { .. }) => {
            write(send, &ServerHello::Welcome(welcome(service))).await?;
            arrived(send).await;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    write(send, &answer).await?;
    match answer {
        ServerHello::Welcome(_) => Ok(()),
        ServerHello::Refused(refused) => {
            arrived(send).await;
            Err(HelloError::Refused(refused))
        }
    }
}

/// Waits until the client has everything: what is under way when a connection is closed is lost. The caller limits the time.
async fn arrived(send: &mut SendStream) {
    if send.finish().is_ok() {
        // A connection that is lost needs no waiting for.
        let _ = send.stopped().await;
    }
}

fn answer<T: Tables>(service: &Service<T>, hello: &ClientHello) -> ServerHello {
    let ours = service.identity.cluster_id;
    match hello.cluster {
        Some(theirs) if theirs != ours => {
            ServerHello::Refused(HelloRefused::OtherCluster { node: ours, client: theirs })
        }
        _ => ServerHello::Welcome(welcome(service)),
    }
}

fn welcome<T: Tables>(service: &Service<T>) -> Welcome {
    let identity = service.identity;
    Welcome {
        node: identity.node,
        cluster: identity.cluster_id,
        engine: identity.engine,
        leader: leader(service),
        // The cast is exact: a small constant.
        window: WINDOW as u32,
    }
}

//! The transfers of one node, with its store of snapshots beneath: what a thread runs in service and the world in
//! simulation.
//!
//! ```text
//!   SendSnapshot ──▶┐                     ┌──▶ messages for peers
//!   messages ──────▶├─▶ Courier ── work ──┼──▶ one snapshot to install ──▶ whoever owns the machine ──▶ installed
//!   the clock ─────▶┘     │               └──▶ "take a new one"
//!                      read, receive, append
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use consensus_api::{
    LogIndex, Membership, MonoTime, NodeId, SendSnapshot, SnapshotId, SnapshotManifest, SnapshotStore,
};

use super::TransferSettings;
use super::message::{RefusedBecause, TransferMessage};
use super::rate::Rate;
use super::receiving::{Deed, Receiving};
use super::sending::{Ended, Sending, Wish};

/// The most snapshots that are remembered as not to be sent again.
const DOUBTFUL_MAX: usize = 8;

/// What is to be done beyond the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// To be sent on the bulk lane.
    pub messages: Vec<(NodeId, TransferMessage)>,
    /// To be installed; the outcome is told with [`Courier::installed`].
    pub install: Option<Arc<SnapshotManifest>>,
    /// Somebody needs a snapshot, and none that is kept will do.
    pub take: bool,
}

/// What must be kept for the peers' sake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The log is trimmed no further than this.
    pub log_from: Option<LogIndex>,
    /// These are being sent.
    pub sending: Vec<SnapshotId>,
}

/// A peer that a transfer has ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    until: MonoTime,
    /// What it goes on from, where it has arrived, and how long the log is kept for that.
    log_from: Option<(LogIndex, MonoTime)>,
}

/// The transfers of a node.
#[derive(Debug)]
pub struct Courier<N> {
    store: Arc<N>,
    settings: TransferSettings,
    rate: Rate,
    sending: BTreeMap<NodeId, Sending>,
    resting: BTreeMap<NodeId, Rest>,
    /// Snapshots that could not be read here or not be installed there.
    doubtful: VecDeque<SnapshotId>,
    receiving: Receiving,
    work: Work,
}

impl<N: SnapshotStore> Courier<N> {
    /// Nothing is under way; the tables have applied `applied`.
    pub fn new(store: Arc<N>, settings: TransferSettings, applied: LogIndex) -> Courier<N> {
        Courier {
            store,
            rate: Rate::new(settings.bytes_per_second),
            receiving: Receiving::new(settings.clone(), applied),
            settings,
            sending: BTreeMap::new(),
            resting: BTreeMap::new(),
            doubtful: VecDeque::new(),
            work: Work::default(),
        }
    }

    /// The tables have come to here.
    pub fn applied(&mut self, through: LogIndex) {
        self.receiving.applied(through);
    }

    /// A peer needs a snapshot. Ignored while one is on its way to it, and for a little while afterwards.
    pub fn wanted(&mut self, now: MonoTime, wanted: SendSnapshot) {
        let is_resting = self.resting.get(&wanted.to).is_some_and(|rest| now < rest.until);
        if is_resting || self.sending.contains_key(&wanted.to) {
            return;
        }
        let kept = match self.store.kept() {
            Ok(kept) => kept,
            Err(error) => return tracing::warn!(%error, "kept snapshots not listed"),
        };
        let will_do = |manifest: &&Arc<SnapshotManifest>| {
            manifest.position.index >= wanted.at_least && !self.doubtful.contains(&manifest.id)
        };
        let Some(manifest) = kept.iter().find(will_do) else {
            // If the one that is taken is the same again, it was not the snapshot's fault.
            self.doubtful.clear();
            self.work.take = true;
            return;
        };
        let (index, bytes) = (manifest.position.index.0, manifest.bytes());
        tracing::info!(to = wanted.to.0, index, bytes, "sending a snapshot");
        self.sending.insert(wanted.to, Sending::new(manifest.clone(), self.settings.clone(), now));
    }

    /// Takes in a peer's message.
    pub fn hear(&mut self, now: MonoTime, from: NodeId, message: TransferMessage) {
        if !message.is_from_sender() {
            if let Some(sending) = self.sending.get_mut(&from) {
                sending.hear(now, &message);
            }
            return;
        }
        let mut deeds = Vec::new();
        self.receiving.hear(now, from, message, &mut deeds);
        self.perform(deeds);
    }

    /// From now on only these are peers: what was on its way to others ends, and nothing is kept for them any more.
    pub fn stay_with(&mut self, contacts: &Membership) {
        let stays = |peer: &NodeId| contacts.members.contains_key(peer);
        self.sending.retain(|peer, sending| {
            if !stays(peer) {
                let index = sending.manifest().position.index.0;
                tracing::info!(to = peer.0, index, "snapshot given up: the peer has left");
            }
            stays(peer)
        });
        self.resting.retain(|peer, _| stays(peer));
    }

    /// How the installation that [`Work::install`] asked for has ended.
    pub fn installed(&mut self, id: SnapshotId, outcome: Result<LogIndex, String>) {
        let mut deeds = Vec::new();
        self.receiving.installed(id, outcome, &mut deeds);
        self.perform(deeds);
    }

    /// What is to be done now.
    pub fn work(&mut self, now: MonoTime) -> Work {
        let mut deeds = Vec::new();
        self.receiving.drop_needless(&mut deeds);
        self.perform(deeds);
        // One chunk to each in turn, so that all have their share of the rate.
        let mut is_idle = false;
        while !is_idle {
            is_idle = true;
            let peers: Vec<NodeId> = self.sending.keys().copied().collect();
            for peer in peers {
                is_idle &= !self.advance(now, peer);
            }
        }
        self.resting.retain(|_, rest| now < rest.until || rest.log_from.is_some_and(|(_, until)| now < until));
        std::mem::take(&mut self.work)
    }

    /// When [`Courier::work`] is wanted at the latest.
    pub fn deadline(&self) -> MonoTime {
        let due = self.sending.values().map(|sending| sending.deadline(&self.rate)).min();
        let ends = self.resting.values().filter_map(|rest| rest.log_from).map(|(_, until)| until).min();
        due.into_iter().chain(ends).min().unwrap_or(MonoTime::NEVER)
    }

    /// What must be kept for the peers' sake.
    pub fn held(&self, now: MonoTime) -> Held {
        let sent = self.sending.values().map(|sending| sending.manifest().position.index);
        let arrived = self.resting.values().filter_map(|rest| rest.log_from);
        let arrived = arrived.filter(|(_, until)| now < *until).map(|(index, _)| index);
        Held {
            log_from: sent.chain(arrived).min(),
            sending: self.sending.values().map(|sending| sending.manifest().id).collect(),
        }
    }

    /// Lets one transfer do one thing; whether it did.
    fn advance(&mut self, now: MonoTime, peer: NodeId) -> bool {
        let Some(sending) = self.sending.get_mut(&peer) else { return false };
        let message = match sending.next(now, &self.rate) {
            Some(Wish::Send(message)) => Some(message),
            Some(Wish::Read { id, offset, bytes_max }) => match self.store.read(id, offset, bytes_max) {
                Ok(bytes) => {
                    let bytes = bytes.unwrap_or_default();
                    self.rate.spend(now, bytes.len());
                    let (through, of) = (offset + bytes.len() as u64, sending.manifest().bytes());
                    tracing::trace!(to = peer.0, through, of, "snapshot part sent");
                    sending.chunk(bytes)
                }
                Err(error) => {
                    tracing::warn!(to = peer.0, %error, "snapshot not read");
                    sending.lost();
                    self.doubt(id);
                    None
                }
            },
            None => None,
        };
        let did = message.is_some();
        self.work.messages.extend(message.map(|message| (peer, message)));
        self.conclude(now, peer);
        did
    }

    /// Puts a transfer away that has ended.
    fn conclude(&mut self, now: MonoTime, peer: NodeId) {
        let Some(ended) = self.sending.get(&peer).and_then(Sending::ended).cloned() else { return };
        let Some(sending) = self.sending.remove(&peer) else { return };
        let index = sending.manifest().position.index;
        let mut rest = Rest { until: now + self.settings.rest, log_from: None };
        match ended {
            Ended::Installed(applied) => {
                tracing::info!(to = peer.0, index = index.0, applied = applied.0, "snapshot sent");
                rest.log_from = Some((index, now + self.settings.keep_log_for));
            }
            Ended::Refused(why) => {
                tracing::warn!(to = peer.0, index = index.0, %why, "snapshot refused");
                if matches!(why, RefusedBecause::NotInstalled(_)) {
                    self.doubt(sending.manifest().id);
                }
            }
            Ended::Silent => tracing::warn!(to = peer.0, index = index.0, "snapshot given up: the peer is silent"),
            Ended::Lost => tracing::warn!(to = peer.0, index = index.0, "snapshot given up: it is kept no longer"),
        }
        self.resting.insert(peer, rest);
    }

    /// Sends it no more, and has a new one taken: here or there it is not what it should be.
    fn doubt(&mut self, id: SnapshotId) {
        if !self.doubtful.contains(&id) {
            self.doubtful.push_back(id);
        }
        if self.doubtful.len() > DOUBTFUL_MAX {
            self.doubtful.pop_front();
        }
        self.work.take = true;
    }

    fn perform(&mut self, deeds: Vec<Deed>) {
        let mut deeds = VecDeque::from(deeds);
        while let Some(deed) = deeds.pop_front() {
            let mut more = Vec::new();
            match deed {
                Deed::Send { to, message } => self.work.messages.push((to, message)),
                Deed::Begin(manifest) => {
                    let (index, bytes) = (manifest.position.index.0, manifest.bytes());
                    let outcome = self.store.receive(&manifest).map_err(|error| error.to_string());
                    tracing::info!(index, bytes, from_byte = ?outcome, "receiving a snapshot");
                    self.receiving.begun(manifest.id, outcome, &mut more);
                }
                Deed::Append { id, offset, bytes } => {
                    let outcome = self.store.append(id, offset, &bytes).map_err(|error| error.to_string());
                    match &outcome {
                        Ok(through) => {
                            let of = self.receiving.incoming().map_or(0, |manifest| manifest.bytes());
                            tracing::trace!(through, of, "snapshot part received");
                        }
                        Err(error) => tracing::warn!(%error, "snapshot not received"),
                    }
                    self.receiving.appended(id, outcome, &mut more);
                }
                Deed::GiveUp => self.store.give_up(),
                Deed::Install(manifest) => {
                    tracing::info!(index = manifest.position.index.0, "installing a snapshot");
                    self.work.install = Some(manifest);
                }
            }
            deeds.extend(more);
        }
    }
}

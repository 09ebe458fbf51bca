//! A snapshot that was received takes the place of the tables, in turn with what is applied: the applier's part of it.

use std::sync::Arc;

use consensus_api::{NodeId, SnapshotManifest, SnapshotStore, StateMachine};

use super::Report;
use crate::applier::Job;
use crate::checks::Violation;
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

impl<P: Protocol> World<P> {
    /// The applier is to install it, after everything that was handed to it before.
    pub(super) fn hand_in_installation(&mut self, id: NodeId, manifest: Arc<SnapshotManifest>) {
        self.hand_in_job(id, Job::Install(manifest));
    }

    /// Installs a snapshot, unless the tables have come as far meanwhile.
    pub(crate) fn install(&mut self, id: NodeId, manifest: &SnapshotManifest) -> Result<(), Violation> {
        if self.moment(id, Moment::NextInstall)? {
            return Ok(());
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let applied = process.tables_at();
        let outcome = if manifest.position.index <= applied {
            Ok(applied)
        } else {
            node.snapshots.install(manifest.id).map(|()| manifest.position.index).map_err(|error| error.to_string())
        };
        match &outcome {
            Ok(index) if *index > applied => {
                if self.go_on_from(id, manifest)? {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(why) => self.note(Happening::NotInstalled(id, why.clone())),
        }
        self.with_courier(id, |courier, _| courier.installed(manifest.id, outcome))
    }

    /// Goes on from the tables that were installed; true where a crash was waiting for that.
    fn go_on_from(&mut self, id: NodeId, manifest: &SnapshotManifest) -> Result<bool, Violation> {
        let Some(process) = self.process_mut(id) else { return Ok(true) };
        let state = process.machine.reopened();
        let state = state.map_err(|error| Violation::Engine { node: id, what: error.to_string() })?;
        process.epoch += 1;
        self.checks.installed(id, manifest, &state)?;
        self.note(Happening::SnapshotInstalled(id, state.position.index));
        self.compare_digest(id)?;
        self.keep_time(id);
        if self.moment(id, Moment::NextSwap)? {
            return Ok(true);
        }
        self.report(id, Report::Installed(state));
        Ok(false)
    }
}

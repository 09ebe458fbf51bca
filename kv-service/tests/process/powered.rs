//! Clusters whose nodes can lose their power, or run out of room. See the crate `power-loss`.

use std::collections::BTreeMap;
use std::path::Path;

use power_loss::{Disk, Loss, Remains, library_beside};

use crate::harness::{Cluster, PROGRAM};

/// A cluster whose nodes run on disks that forget.
pub struct Powered {
    pub cluster: Cluster,
    pub disks: BTreeMap<u64, Disk>,
}

impl Powered {
    pub async fn start(engine: &'static str, count: u64, flags: &[&str]) -> Powered {
        let mut powered = Powered::new(engine, count, flags);
        powered.cluster.run_all();
        powered.cluster.leader().await;
        powered
    }

    pub fn new(engine: &'static str, count: u64, flags: &[&str]) -> Powered {
        let library = library_beside(Path::new(PROGRAM)).unwrap_or_else(|error| panic!("{error}"));
        let mut cluster = Cluster::new(engine, count, flags);
        let mut disks = BTreeMap::new();
        for (id, node) in &mut cluster.nodes {
            let disk = Disk::new(&cluster.directory.path().join(format!("disk{id}"))).unwrap();
            node.data_dir = disk.root().join("data");
            node.environment = disk.environment(&library).into();
            disks.insert(*id, disk);
        }
        Powered { cluster, disks }
    }

    /// What is left on the disk of a node that does not run any more.
    pub fn lose_power(&self, id: u64, remains: Remains) -> Loss {
        let loss = self.disks[&id].lose_power(remains).unwrap();
        println!("{} node {id}, {remains:?}: {loss:?}", self.cluster.engine);
        loss
    }

    /// All nodes at once, in the middle of whatever they do.
    pub fn lose_power_everywhere(&mut self, remains: impl Fn(u64) -> Remains) -> Loss {
        self.cluster.kill_all();
        let mut all = Loss::default();
        for id in self.disks.keys() {
            let loss = self.lose_power(*id, remains(*id));
            all.bytes += loss.bytes;
            all.names += loss.names;
            all.returned += loss.returned;
        }
        all
    }
}

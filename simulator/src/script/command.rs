//! The words of a script.

use consensus_api::{LeaseTiming, NodeId, ReadMode, Timing};

use super::ScriptError;
use crate::faults::Which;
use crate::world::WorldConfig;

/// What a script can say. Node ids are plain numbers.
#[derive(Clone, Debug, goldenscript::Command)]
pub enum Command {
    /// Begins anew: `cluster nodes=5 pre_check=false`.
    Cluster {
        /// How many nodes; three without it.
        #[arg(key)]
        nodes: Option<u64>,
        /// How many more that are no members yet.
        #[arg(key)]
        blank: Option<u64>,
        /// How many slots behind its own a change of members comes into force, in Multi-Paxos.
        #[arg(key)]
        window: Option<u64>,
        /// Whether candidates ask around first; yes without it.
        #[arg(key)]
        pre_check: Option<bool>,
        /// Whether leaders mind their quorum; yes without it.
        #[arg(key)]
        check_quorum: Option<bool>,
        /// Leaders hold leases, and clocks gain or lose no more than so many parts of a million.
        #[arg(key)]
        lease_ppm: Option<u32>,
        /// How many bytes of recent entries engines keep in memory.
        #[arg(key)]
        window_bytes: Option<usize>,
        /// How many bytes of entries a message takes.
        #[arg(key)]
        message_bytes: Option<usize>,
    },
    /// These nodes' timers go off: `tick 1 2`.
    Tick(Vec<u64>),
    /// Milliseconds pass, for timers alone: `elapse 600`.
    Elapse(u64),
    /// Milliseconds pass, and everything happens in them: `run 600`.
    Run {
        /// How many.
        ms: u64,
        /// The whole transcript instead of a summary.
        #[arg(key)]
        full: Option<bool>,
    },
    /// These nodes are told to start an election: `campaign 1`.
    Campaign(Vec<u64>),
    /// A client of the node puts keys, all in one batch: `propose 1 a b` or `propose 1 count=1000`.
    Propose {
        /// Which node.
        node: u64,
        /// The keys.
        #[arg(pos, many, optional)]
        keys: Vec<String>,
        /// How many more.
        #[arg(key)]
        count: Option<u64>,
    },
    /// A client of the node reads: `read 2` or `read 2 mode=lease`.
    Read {
        /// Which node.
        node: u64,
        /// By which means: index (a round), lease, log or quorum; index without it.
        #[arg(key)]
        mode: Option<String>,
    },
    /// An operator asks for these voters, by one change: `members 1 2 3`, `members 1 2 3 learner=4`.
    Members {
        /// Who is to vote.
        voters: Vec<u64>,
        /// Who is to learn.
        #[arg(key)]
        learner: Option<u64>,
        /// Which node is asked; the leader without it.
        #[arg(key)]
        node: Option<u64>,
        /// The version that is to be changed; the one that this node goes by without it.
        #[arg(key)]
        version: Option<u64>,
    },
    /// An operator asks for another leader: `transfer 2`.
    Transfer {
        /// Which one; the most advanced voter without it.
        to: Option<u64>,
        /// Which node is asked; the leader without it.
        #[arg(key)]
        node: Option<u64>,
    },
    /// Delivers what is on its way, but not what is sent in answer: `deliver to=2 kind=Accept nth=2`.
    Deliver {
        /// Only from this node.
        #[arg(key)]
        from: Option<u64>,
        /// Only to this node.
        #[arg(key)]
        to: Option<u64>,
        /// Only messages of this name.
        #[arg(key)]
        kind: Option<String>,
        /// Only the how-manyth.
        #[arg(key)]
        nth: Option<usize>,
    },
    /// Loses what is on its way: `drop from=1`.
    Drop {
        /// Only from this node.
        #[arg(key)]
        from: Option<u64>,
        /// Only to this node.
        #[arg(key)]
        to: Option<u64>,
        /// Only messages of this name.
        #[arg(key)]
        kind: Option<String>,
        /// Only the how-manyth.
        #[arg(key)]
        nth: Option<usize>,
    },
    /// Doubles what is on its way: `duplicate kind=Propose`.
    Duplicate {
        /// Only from this node.
        #[arg(key)]
        from: Option<u64>,
        /// Only to this node.
        #[arg(key)]
        to: Option<u64>,
        /// Only messages of this name.
        #[arg(key)]
        kind: Option<String>,
        /// Only the how-manyth.
        #[arg(key)]
        nth: Option<usize>,
    },
    /// Delivers and writes everything until all is quiet; no time passes: `stabilize`.
    Stabilize {
        /// A summary instead of the whole transcript.
        #[arg(key)]
        brief: Option<bool>,
    },
    /// The disk performs the oldest writes, or all: `persist 1 count=1`.
    Persist {
        /// Which node.
        node: u64,
        /// How many.
        #[arg(key)]
        count: Option<usize>,
    },
    /// The power fails; the oldest `keep` of the pending writes survive, none without it: `crash 1 keep=1`.
    Crash {
        /// Which node.
        node: u64,
        /// How many writes survive.
        #[arg(key)]
        keep: Option<usize>,
    },
    /// Nodes that are down run again: `restart 1`.
    Restart(Vec<u64>),
    /// A node stands still: `pause 1`.
    Pause(u64),
    /// It goes on: `resume 1`.
    Resume(u64),
    /// Nothing gets through between two nodes, or in one direction only: `cut 1 2`, `cut from=1 to=2`.
    Cut {
        /// Both directions between these.
        #[arg(pos, many, optional)]
        between: Vec<u64>,
        /// From this one
        #[arg(key)]
        from: Option<u64>,
        /// to this one.
        #[arg(key)]
        to: Option<u64>,
    },
    /// Nothing gets through between this node and all others: `isolate 1`.
    Isolate(u64),
    /// All links are whole: `heal`.
    Heal,
    /// How the nodes stand.
    Status,
    /// What the disks hold.
    Log,
}

impl Command {
    /// The new cluster that the command asks for, if it does.
    pub(super) fn new_cluster(&self) -> Option<WorldConfig> {
        let Command::Cluster { nodes, blank, window, pre_check, check_quorum, lease_ppm, window_bytes, message_bytes } =
            self
        else {
            return None;
        };
        let (nodes, blank) = (nodes.unwrap_or(3), blank.unwrap_or(0));
        let mut config = WorldConfig { nodes, blank, ..WorldConfig::default() };
        config.timing = Timing {
            pre_check: pre_check.unwrap_or(true),
            check_quorum: check_quorum.unwrap_or(true),
            lease: lease_ppm.map(|clock_drift_ppm| LeaseTiming { clock_drift_ppm }),
            ..config.timing
        };
        let limits = &mut config.limits;
        limits.reconfiguration_window = window.unwrap_or(limits.reconfiguration_window);
        limits.window_bytes_max = window_bytes.unwrap_or(limits.window_bytes_max);
        limits.message_bytes_max = message_bytes.unwrap_or(limits.message_bytes_max);
        Some(config)
    }

    /// By which means it reads, if it does.
    pub(super) fn read_mode(&self) -> Result<ReadMode, ScriptError> {
        let Command::Read { mode: Some(mode), .. } = self else { return Ok(ReadMode::Index) };
        match mode.as_str() {
            "index" => Ok(ReadMode::Index),
            "lease" => Ok(ReadMode::Lease),
            "log" => Ok(ReadMode::Log),
            "quorum" => Ok(ReadMode::Quorum),
            other => Err(ScriptError::NoSuchMode(other.to_owned())),
        }
    }

    /// Whether it shows a table with a line for each node.
    pub(super) fn is_table(&self) -> bool {
        matches!(self, Command::Status | Command::Log)
    }

    /// Whether a summary is shown.
    pub(super) fn is_brief(&self) -> bool {
        match self {
            Command::Run { full, .. } => !full.unwrap_or(false),
            Command::Stabilize { brief } => brief.unwrap_or(false),
            Command::Propose { count, .. } => count.is_some(),
            _ => false,
        }
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> Vec<u64> {
        match self {
            Command::Tick(nodes) | Command::Campaign(nodes) | Command::Restart(nodes) => nodes.clone(),
            Command::Propose { node, .. }
            | Command::Persist { node, .. }
            | Command::Crash { node, .. }
            | Command::Read { node, .. }
            | Command::Pause(node)
            | Command::Resume(node)
            | Command::Isolate(node) => vec![*node],
            Command::Cut { between, from, to } => between.iter().chain(from).chain(to).copied().collect(),
            Command::Deliver { from, to, .. }
            | Command::Drop { from, to, .. }
            | Command::Duplicate { from, to, .. } => from.iter().chain(to).copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it makes no sense where neither engine has such a message on its way.
    pub(super) fn needs_messages(&self) -> bool {
        matches!(self, Command::Deliver { .. } | Command::Duplicate { .. })
    }

    /// The messages that it means.
    pub(super) fn which(&self) -> Which {
        match self {
            Command::Deliver { from, to, kind, nth }
            | Command::Drop { from, to, kind, nth }
            | Command::Duplicate { from, to, kind, nth } => {
                Which { from: from.map(NodeId), to: to.map(NodeId), kind: kind.clone(), nth: *nth }
            }
            _ => Which::default(),
        }
    }

    /// The directed links that it cuts.
    pub(super) fn cuts(&self, all: &[NodeId]) -> Vec<(NodeId, NodeId)> {
        let mut links = Vec::new();
        for from in all {
            for to in all.iter().filter(|to| *to != from) {
                let meant = match self {
                    Command::Isolate(node) => from.0 == *node || to.0 == *node,
                    Command::Cut { from: Some(one), to: Some(other), .. } => (from.0, to.0) == (*one, *other),
                    Command::Cut { between, .. } => between.contains(&from.0) && between.contains(&to.0),
                    _ => false,
                };
                if meant {
                    links.push((*from, *to));
                }
            }
        }
        links
    }
}

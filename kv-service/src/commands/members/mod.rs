//! `members`: who belongs to the cluster, and how a person changes that.
//!
//! ```text
//!   goal ─▶ look at the members ─▶ what is missing? ─▶ ask for it ──┐      a step, see `steps`
//!                  ▲                     │ nothing: done            │
//!                  └──────── wait ◀──────┴──────────────────────────┘      told on the way, see `progress`
//! ```
//!
//! Nothing is remembered between the rounds, and to ask twice for a step is to ask once. So a command that was interrupted
//! goes on where it was when it is run again.

mod progress;
mod steps;

use std::io::Stderr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use consensus_api::NodeId;
use kv_client::protocol::{ErrorCode, MemberReply, MembersReply};
use kv_client::{ClientError, Removal};

use super::desk::Desk;
use super::output;
use super::table::{Cell, Table, Tone};
use crate::address;
use crate::error::ServiceError;
use progress::Progress;
use steps::{Goal, Next, Request, Step, Waits};

/// Between two looks at what has no event to wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The least time for one request of many: a node takes up to its own timeout, and another one may have to be asked.
const REQUEST_TIMEOUT_LEAST: Duration = Duration::from_secs(20);

const VOTER: &str = "voter";
const LEARNER: &str = "learner";

/// What is done with the members: shown, unless there is a command. `C` is what each command needs besides.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct MembersArgs<C: Args> {
    #[command(subcommand)]
    command: Option<MembersCommand<C>>,
    #[command(flatten)]
    context: C,
}

/// How the members are changed.
#[derive(Clone, Debug, Subcommand)]
pub enum MembersCommand<C: Args> {
    /// Add a node: as a learner, and once it has caught up as a voter
    Add(Change<AddArgs, C>),
    /// Make a learner a voter, once it has caught up
    Promote(Change<WhichArgs, C>),
    /// Make a voter a learner: it receives everything and decides nothing
    Demote(Change<WhichArgs, C>),
    /// Remove a node; a leader hands over
    Remove(Change<WhichArgs, C>),
    /// Have one node vote instead of another, once it has caught up, in one change
    Replace(Change<ReplaceArgs, C>),
}

/// A change, how long it may take, and what it needs besides.
#[derive(Args, Clone, Debug)]
pub struct Change<A: Args, C: Args> {
    #[command(flatten)]
    arguments: A,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    context: C,
}

/// Which member
#[derive(Args, Clone, Copy, Debug)]
pub struct WhichArgs {
    /// The node's id
    id: u64,
}

/// Which node is added
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// The node's id
    id: u64,
    /// Where its peers find it, HOST:PORT: what it was given as --listen
    address: String,
    /// The id of its data directory, which 'kv-service inspect' shows
    #[arg(long, value_name = "HEX", value_parser = store)]
    store: Option<String>,
    /// Leave it a learner: it receives everything and decides nothing
    #[arg(long)]
    learner: bool,
}

/// Which node takes whose place
#[derive(Args, Clone, Debug)]
pub struct ReplaceArgs {
    /// The node that goes
    old: u64,
    /// The node that comes; a learner already, or with --address and --store
    new: u64,
    /// Where the peers of the new one find it, HOST:PORT
    #[arg(long, value_name = "HOST:PORT", requires = "store")]
    address: Option<String>,
    /// The id of the new one's data directory, which 'kv-service inspect' shows
    #[arg(long, value_name = "HEX", value_parser = store, requires = "address")]
    store: Option<String>,
}

/// How long all of it may take
#[derive(Args, Clone, Copy, Debug)]
pub struct Patience {
    /// How long all of it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// Why the members are not as they were to be.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// There is no such member.
    #[error("node {node} is no member; 'members' lists those there are")]
    NoMember {
        /// The node.
        node: u64,
    },
    /// A node that is to take another's place is unknown.
    #[error(
        "node {node} is no member yet; start it with --join HTTP_ADDRESS --learner, or say where it is with --address and --store"
    )]
    NotJoined {
        /// The node.
        node: u64,
    },
    /// What was done is not so any more.
    #[error(
        "somebody else changed the members meanwhile: {step} was reached at version {done}, and is not so at version {now}; \
         look at them ('members'), and run the same again where it is still wanted"
    )]
    Undone {
        /// What was done.
        step: String,
        /// The version of the members by which it was done.
        done: u64,
        /// The version by which it is not.
        now: u64,
    },
    /// It takes longer than was allowed.
    #[error("not done within {allowed_s} s: {state}; run the same again, it goes on from there")]
    Unfinished {
        /// How long it was allowed to take.
        allowed_s: u64,
        /// How far it has come.
        state: String,
    },
    /// Somebody broke it off.
    #[error("broken off; what was done stays, and the same command goes on from there")]
    BrokenOff,
}

impl<C: Args> MembersArgs<C> {
    /// What is to be reached, if anything is to be changed, and what the command needs besides.
    pub fn split(self) -> Result<(Option<(Goal, Patience)>, C), ServiceError> {
        use MembersCommand::{Add, Demote, Promote, Remove, Replace};
        let Some(command) = self.command else { return Ok((None, self.context)) };
        let (goal, patience, context) = match command {
            Add(Change { arguments, patience, context }) => (arguments.goal()?, patience, context),
            Promote(Change { arguments, patience, context }) => (Goal::Promote { id: arguments.id }, patience, context),
            Demote(Change { arguments, patience, context }) => (Goal::Demote { id: arguments.id }, patience, context),
            Remove(Change { arguments, patience, context }) => (Goal::Remove { id: arguments.id }, patience, context),
            Replace(Change { arguments, patience, context }) => (arguments.goal()?, patience, context),
        };
        Ok((Some((goal, patience)), context))
    }

    /// Whether anything is to be changed.
    pub fn changes(&self) -> bool {
        self.command.is_some()
    }
}

impl AddArgs {
    fn goal(self) -> Result<Goal, ServiceError> {
        let AddArgs { id, address, store, learner } = self;
        let Some(store) = store else {
            return Err(ServiceError::Usage(format!(
                "whoever adds node {id} says which data directory it has: start the node with --join HTTP_ADDRESS, which does all \
                 of this by itself, or give --store HEX, which 'kv-service inspect DIR' shows"
            )));
        };
        check_address(id, &address)?;
        Ok(Goal::Add { id, address, store, learner })
    }
}

impl ReplaceArgs {
    fn goal(self) -> Result<Goal, ServiceError> {
        let ReplaceArgs { old, new, address, store } = self;
        if old == new {
            return Err(ServiceError::Usage(format!(
                "node {old} cannot take its own place; where it lost its disk, start a node with a new id with --join HTTP_ADDRESS \
                 --learner, and give that id here"
            )));
        }
        if let Some(address) = &address {
            check_address(new, address)?;
        }
        Ok(Goal::Replace { old, new, place: address.zip(store) })
    }
}

/// Lists the members, or changes them.
pub async fn run(wish: Option<(Goal, Patience)>, desk: &Desk) -> Result<(), ServiceError> {
    match wish {
        None => list(desk).await,
        Some((goal, patience)) => reach(&goal, Duration::from_secs(patience.timeout), desk).await,
    }
}

async fn list(desk: &Desk) -> Result<(), ServiceError> {
    let members = desk.client.members(desk.timeout).await?;
    desk.print_table(&members, || table(&members).render(output::coloured()))
}

fn table(reply: &MembersReply) -> Table {
    let mut table = Table::new([">node", "address", "part", ">behind", ""]);
    for member in &reply.members {
        let behind = member.behind.map_or_else(|| "-".into(), |behind| Cell::toned(behind, tone(behind)));
        let mut row: Vec<Cell> = vec![member.id.into(), (&member.address).into(), part(member).into(), behind];
        row.push(if reply.leader_id == Some(member.id) { Cell::toned("leads", Tone::Good) } else { "".into() });
        table.row(row);
    }
    table
}

fn tone(behind: u64) -> Tone {
    if steps::is_near(behind) { Tone::Plain } else { Tone::Bad }
}

/// What a member's part is called.
fn part(member: &MemberReply) -> &'static str {
    match (member.voter, member.outgoing) {
        (true, _) => VOTER,
        (false, true) => "leaving",
        (false, false) => LEARNER,
    }
}

/// Asks for one step after the other until the goal is reached.
async fn reach(goal: &Goal, allowed: Duration, desk: &Desk) -> Result<(), ServiceError> {
    let members = desk.client.members(desk.timeout).await?;
    let until = Instant::now() + allowed;
    let mut way =
        Way { goal, desk, until, allowed, members, trouble: None, asked: None, progress: Progress::on_stderr() };
    while way.round().await? {}
    let Way { members, asked, .. } = way;
    let said = if asked.is_none() { goal.reached_already() } else { goal.reached() };
    desk.print(&members, || format!("{said}; {}", summary(&members)))
}

/// The way to a goal.
struct Way<'a> {
    goal: &'a Goal,
    desk: &'a Desk,
    until: Instant,
    allowed: Duration,
    /// As they were seen last.
    members: MembersReply,
    /// Why they could not be seen since.
    trouble: Option<Waits>,
    /// The last step that was done.
    asked: Option<Asked>,
    progress: Progress<Stderr>,
}

/// A step that was done.
struct Asked {
    step: Step,
    /// The version of the members that showed it; `None` where nobody showed any.
    version: Option<u64>,
}

impl Asked {
    /// What there is to wait for where the members do not show it: a node that shows them as they were has not heard of the
    /// change yet.
    fn waits_for(&self, now: &MembersReply) -> Result<Waits, MembersError> {
        match self.version {
            Some(done) if now.version > done => {
                Err(MembersError::Undone { step: self.step.to_string(), done, now: now.version })
            }
            _ => Ok(Waits::Change),
        }
    }
}

impl Way<'_> {
    /// Does what is missing. False where nothing is.
    async fn round(&mut self) -> Result<bool, ServiceError> {
        let waits = match self.trouble.take() {
            Some(trouble) => trouble,
            None => match self.goal.next(&self.members)? {
                Next::Done => return Ok(false),
                Next::Wait(waits) => waits,
                Next::Ask(step) => match &self.asked {
                    Some(asked) if asked.step == step => asked.waits_for(&self.members)?,
                    _ => match self.ask(step).await {
                        Ok(()) => return Ok(true),
                        Err(error) => Waits::after(error)?,
                    },
                },
            },
        };
        self.progress.waits(&waits);
        if Instant::now() >= self.until {
            let (allowed_s, state) = (self.allowed.as_secs(), waits.to_string());
            return Err(MembersError::Unfinished { allowed_s, state }.into());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        match self.desk.client.members(self.desk.timeout).await {
            Ok(members) => self.members = members,
            Err(error) => self.trouble = Some(Waits::after(error)?),
        }
        Ok(true)
    }

    async fn ask(&mut self, step: Step) -> Result<(), ClientError> {
        if let Some(note) = step.warning(&self.members) {
            self.progress.note(&note);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        let timeout = left.clamp(LOOK_INTERVAL, self.desk.timeout.max(REQUEST_TIMEOUT_LEAST));
        let shown = match &step.request {
            Request::Add(request) => Some(self.desk.client.add_member(request, timeout).await?.members),
            Request::Remove(id) => match self.desk.client.remove_member(*id, timeout).await? {
                Removal::Done(members) => Some(members),
                Removal::NoMember => None,
            },
        };
        let version = shown.as_ref().map(|members| members.version);
        // The leader knows when whoever was removed may stop; whoever has answered may not.
        self.members = self.desk.client.members(timeout).await?;
        // The last step is told as the result.
        if self.goal.next(&self.members).is_ok_and(|next| next != Next::Done) {
            self.progress.done(&step.to_string());
        }
        self.asked = Some(Asked { step, version });
        Ok(())
    }
}

/// Who votes and who learns, in a line.
fn summary(reply: &MembersReply) -> String {
    let ids = |wanted: &str| -> Vec<String> {
        let those = reply.members.iter().filter(|member| part(member) == wanted);
        those.map(|member| member.id.to_string()).collect()
    };
    let (voters, learners) = (ids(VOTER), ids(LEARNER));
    let learners = if learners.is_empty() { String::new() } else { format!(", learners {}", learners.join(" ")) };
    format!("version {}: voters {}{learners}", reply.version, voters.join(" "))
}

impl Waits {
    /// What an error leaves to be waited for; it stays one where waiting does not help.
    fn after(error: ClientError) -> Result<Waits, ClientError> {
        match error.code() {
            Some(ErrorCode::ChangePending | ErrorCode::MembersChanged) => Ok(Waits::Other),
            Some(
                ErrorCode::LearnerLags
                | ErrorCode::NoLeader
                | ErrorCode::NoQuorum
                | ErrorCode::Stopping
                | ErrorCode::TooBusy
                | ErrorCode::NotLeader
                | ErrorCode::UnknownOutcome,
            ) => Ok(Waits::Trouble(error.to_string())),
            None if matches!(error, ClientError::Timeout { .. } | ClientError::Unreachable { .. }) => {
                Ok(Waits::Trouble(error.to_string()))
            }
            _ => Err(error),
        }
    }
}

/// Refuses what the cluster would refuse, before it is asked.
fn check_address(node: u64, address: &str) -> Result<(), ServiceError> {
    address::check(NodeId(node), address).map_err(|refusal| ServiceError::Usage(refusal.to_string()))
}

fn store(text: &str) -> Result<String, String> {
    match u128::from_str_radix(text, 16) {
        Ok(id) if id > 0 && !text.starts_with('+') => Ok(format!("{id:032x}")),
        _ => Err("a data directory's id has up to 32 hexadecimal digits; 'kv-service inspect DIR' shows it".to_owned()),
    }
}

//! Somebody who changes the members all the time, and the leader: by single changes that are tried again, at moments that
//! suit nobody, with disks that come back as they were or blank.
//!
//! ```text
//!          ┌───────────────────── think ◀─────────────────────┐
//!          ▼                                                  │ reached · given up
//!   draw a goal ──▶ ask some node what the members are ──▶ next step ──▶ ask a node for it
//!                          ▲                                                  │
//!                          └── done · refused · no answer ◀───────────────────┘
//! ```
//!
//! It asks for nothing that no cluster would survive: there is always a quorum of disks that are not lost, in whatever
//! it asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus_api::membership_change::next_step;
use consensus_api::random::SeededRandom;
use consensus_api::{Membership, MonoTime, NodeId, RequestId};

use crate::checks::Violation;
use crate::faults::Survivors;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// How often a goal is tried for before it is given up.
const TRIES_MAX: u32 = 25;
/// The most learners that it has at a time.
const LEARNERS_MAX: usize = 2;

/// What an operator is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorHabits {
    /// How long it thinks between two goals, on average.
    pub think: Duration,
    /// How long it waits for an answer.
    pub patience: Duration,
    /// Whether it replaces disks.
    pub wipes: bool,
}

/// What it wants.
#[derive(Clone, Debug)]
enum Goal {
    /// These voters and learners.
    Members(BTreeSet<NodeId>, BTreeSet<NodeId>),
    /// This leader, or another one than this.
    Leader(Option<NodeId>, Option<NodeId>),
}

/// Who changes the members of a run.
#[derive(Debug)]
pub struct Operator {
    habits: OperatorHabits,
    random: SeededRandom,
    goal: Option<Goal>,
    /// The goals that follow this one.
    next: Vec<Goal>,
    tries: u32,
    awaited: Option<(RequestId, MonoTime)>,
    wakes_at: MonoTime,
}

impl Operator {
    /// Begins now.
    pub fn new(habits: OperatorHabits, now: MonoTime, seed: u64) -> Operator {
        let random = SeededRandom::new(seed);
        Operator {
            habits,
            random,
            goal: None,
            next: vec![Goal::Leader(None, None)],
            tries: 0,
            awaited: None,
            wakes_at: now,
        }
    }

    /// When it wants to do something next.
    pub fn wakes_at(&self) -> MonoTime {
        self.wakes_at
    }

    /// Wants nothing any more; what it has begun is left as it is.
    pub fn stop(&mut self) {
        self.wakes_at = MonoTime::NEVER;
    }

    /// Does what it has come to, if its time has come.
    pub fn wake<P: Protocol>(&mut self, world: &mut World<P>) -> Result<(), Violation> {
        let now = world.now();
        if self.wakes_at > now {
            return Ok(());
        }
        self.wakes_at = now + Duration::from_micros(2_000 + self.random.below(20_000));
        if let Some((id, until)) = self.awaited {
            if world.acknowledged_at(id).is_none() && !world.is_refused(id) && now < until && !self.is_led(world) {
                return Ok(());
            }
            self.awaited = None;
        }
        if self.goal.is_none() {
            self.tries = 0;
            self.goal = if self.next.is_empty() { self.draw(world)? } else { Some(self.next.remove(0)) };
            if let Some(Goal::Leader(_, before)) = &mut self.goal {
                *before = world.leader();
            }
        }
        let Some(goal) = self.goal.clone() else {
            self.think(now);
            return Ok(());
        };
        self.tries += 1;
        let is_over = match &goal {
            Goal::Members(voters, learners) => self.change(world, voters, learners)?,
            Goal::Leader(to, _) => self.transfer(world, *to)?,
        };
        if is_over || self.tries >= TRIES_MAX {
            self.goal = None;
            self.tidy_up(world)?;
            self.think(now);
        }
        Ok(())
    }

    fn think(&mut self, now: MonoTime) {
        let average_us = u64::try_from(self.habits.think.as_micros()).unwrap_or(u64::MAX / 4);
        self.wakes_at = now + Duration::from_micros(self.random.below(2 * average_us + 1));
    }

    fn one_of(&mut self, nodes: &[NodeId]) -> Option<NodeId> {
        let place = self.random.next_u64().checked_rem(nodes.len() as u64)?;
        nodes.get(place as usize).copied()
    }

    /// Whom to ask: as a rule the leader, now and then somebody who may know nothing.
    fn whom_to_ask<P: Protocol>(&mut self, world: &World<P>) -> Option<NodeId> {
        let up: Vec<NodeId> = world.ids().into_iter().filter(|node| world.is_up(*node)).collect();
        world.leader().filter(|_| self.random.below(3) > 0).or_else(|| self.one_of(&up))
    }
}

/// What it asks for.
impl Operator {
    /// True where the goal is reached, or is none any more.
    fn change<P: Protocol>(
        &mut self,
        world: &mut World<P>,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Result<bool, Violation> {
        let Some(asked) = self.whom_to_ask(world) else { return Ok(false) };
        let Some(status) = world.status(asked) else { return Ok(false) };
        let present = status.membership;
        let mut target = world.members(present.version, voters.iter().copied(), learners.iter().copied());
        // Who votes with a disk that is gone leaves before it comes back.
        let has_another_disk = |node: &NodeId| {
            let store = |members: &Membership| members.members.get(node).map(|member| member.store);
            present.is_voter(*node) && store(&target).is_some_and(|disk| store(&present) != Some(disk))
        };
        let leave: BTreeSet<NodeId> = voters.union(learners).copied().filter(has_another_disk).collect();
        if !leave.is_empty() {
            target = (*present).clone();
            target.outgoing.clear();
            target.voters.retain(|node| !leave.contains(node));
            target.members.retain(|node, _| !leave.contains(node));
        }
        let Some(mut step) = next_step(&present, &target) else { return Ok(!status.is_changing) };
        if !is_survivable(world, &step) {
            return Ok(true);
        }
        // Somebody who has looked at the members too long ago.
        if self.random.below(12) == 0 {
            step.version = step.version.saturating_sub(1);
        }
        self.await_answer(world.change_membership(asked, step)?, world.now());
        Ok(false)
    }

    fn transfer<P: Protocol>(&mut self, world: &mut World<P>, to: Option<NodeId>) -> Result<bool, Violation> {
        if self.is_led(world) && self.tries > 1 {
            world.note(Happening::Transferred(world.leader().unwrap_or(NodeId::NONE)));
            return Ok(true);
        }
        // Two are enough: it may have failed, and that may be all there is to it.
        if self.tries > 3 {
            return Ok(true);
        }
        let Some(asked) = self.whom_to_ask(world) else { return Ok(true) };
        self.await_answer(world.transfer_leadership(asked, to)?, world.now());
        Ok(false)
    }

    fn await_answer(&mut self, asked: Option<RequestId>, now: MonoTime) {
        self.awaited = asked.map(|id| (id, now + self.habits.patience));
    }

    /// Whether the leader that it wants leads.
    fn is_led<P: Protocol>(&self, world: &World<P>) -> bool {
        match &self.goal {
            Some(Goal::Leader(Some(to), _)) => world.leader() == Some(*to),
            Some(Goal::Leader(None, before)) => world.leader().is_some_and(|leader| Some(leader) != *before),
            _ => false,
        }
    }
}

/// Whether so many of the voters have their disks that they could decide.
fn is_survivable<P: Protocol>(world: &World<P>, members: &Membership) -> bool {
    members.quorums().reached(|node| {
        let store = members.members.get(&node).map(|member| member.store);
        world.store(node) == store && !world.atlas().is_lost(node)
    })
}

/// What it comes up with.
impl Operator {
    fn draw<P: Protocol>(&mut self, world: &mut World<P>) -> Result<Option<Goal>, Violation> {
        world.update_atlas();
        let settled = world.settled_members();
        let whole: Vec<NodeId> = world.ids().into_iter().filter(|node| !world.atlas().is_lost(*node)).collect();
        let voters: Vec<NodeId> = settled.voters.iter().copied().collect();
        let learners: Vec<NodeId> = settled.learners.iter().copied().collect();
        let others: Vec<NodeId> = whole.iter().copied().filter(|node| !settled.contains(*node)).collect();
        let mut goal = (settled.voters.clone(), settled.learners.clone());
        match self.random.below(10) {
            0 | 1 => goal = self.anything(&whole),
            2 => goal.1.extend(self.one_of(&others).filter(|_| learners.len() < LEARNERS_MAX)),
            3 => {
                let promoted = self.one_of(&learners).or_else(|| self.one_of(&others));
                goal.1.retain(|node| Some(*node) != promoted);
                goal.0.extend(promoted);
            }
            4 => {
                let all: Vec<NodeId> = settled.members.keys().copied().collect();
                let removed = self.one_of(&all);
                goal.0.retain(|node| Some(*node) != removed);
                goal.1.retain(|node| Some(*node) != removed);
            }
            5 => {
                if let Some((out, new)) = self.one_of(&voters).zip(self.one_of(&others)) {
                    goal.0.remove(&out);
                    goal.0.insert(new);
                }
            }
            6 if self.habits.wipes => return self.replace_disk(world, &voters),
            _ => {
                let any = self.one_of(&whole);
                let to = if self.random.below(3) == 0 { None } else { self.one_of(&voters).or(any) };
                return Ok(Some(Goal::Leader(to, world.leader())));
            }
        }
        // Who is to be a member runs: as it was, or with a blank disk.
        for node in goal.0.iter().chain(&goal.1).copied().collect::<Vec<_>>() {
            self.bring_in(world, node, settled.contains(node))?;
        }
        Ok((!goal.0.is_empty()).then_some(Goal::Members(goal.0, goal.1)))
    }

    fn anything(&mut self, whole: &[NodeId]) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let mut left = whole.to_vec();
        let size = 1 + self.random.below(left.len().max(1) as u64);
        let mut voters = BTreeSet::new();
        for _ in 0..size.min(left.len() as u64) {
            voters.insert(left.swap_remove(self.random.below(left.len() as u64) as usize));
        }
        let learners = if self.random.below(3) == 0 { left.into_iter().take(1).collect() } else { BTreeSet::new() };
        (voters, learners)
    }

    /// A voter's disk is dead. It leaves, and comes back with a blank one.
    fn replace_disk<P: Protocol>(
        &mut self,
        world: &mut World<P>,
        voters: &[NodeId],
    ) -> Result<Option<Goal>, Violation> {
        let Some(node) = self.one_of(voters).filter(|node| world.atlas().may_lose_for_good(*node)) else {
            return Ok(None);
        };
        let settled = world.settled_members();
        if settled.voters.len() < 2 {
            return Ok(None);
        }
        world.replace_disk(node)?;
        let without: BTreeSet<NodeId> = settled.voters.iter().copied().filter(|voter| *voter != node).collect();
        self.next = vec![Goal::Members(settled.voters.clone(), settled.learners.clone())];
        Ok(Some(Goal::Members(without, settled.learners.clone())))
    }

    fn bring_in<P: Protocol>(&mut self, world: &mut World<P>, node: NodeId, is_member: bool) -> Result<(), Violation> {
        let is_used = world
            .disk(node)
            .is_some_and(|disk| disk.durable_hard_state().is_some() || !disk.durable_entries().is_empty());
        if !is_member && is_used && self.habits.wipes && self.random.below(3) == 0 && world.can_spare(node) {
            return world.replace_disk(node);
        }
        if !is_member && !world.is_running(node) { world.restart(node) } else { Ok(()) }
    }

    /// Who is no member any more is stopped, or runs on.
    fn tidy_up<P: Protocol>(&mut self, world: &mut World<P>) -> Result<(), Violation> {
        let settled = world.settled_members();
        for node in world.ids() {
            let is_out = !settled.contains(node) && world.is_running(node) && world.can_spare(node);
            if is_out && self.random.below(3) == 0 {
                world.crash(node, Survivors::default())?;
            }
        }
        Ok(())
    }
}

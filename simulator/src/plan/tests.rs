//! What every plan is like.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use super::*;

const SEEDS: std::ops::Range<u64> = 0..200;

fn plans(profile: Profile, nodes: u64) -> Vec<FaultPlan> {
    SEEDS.map(|seed| FaultPlan::draw(seed, profile, nodes)).collect()
}

#[test]
fn a_seed_always_draws_the_same_plan() {
    for profile in Profile::ALL {
        assert_eq!(plans(profile, 3), plans(profile, 3));
    }
}

#[test]
fn every_plan_holds_what_its_profile_promises() {
    for profile in Profile::ALL {
        for nodes in [1, 2, 3, 5] {
            for (seed, plan) in SEEDS.zip(plans(profile, nodes)) {
                for Promise(any) in plan.promises() {
                    let keeps = |planned: &&Planned| planned.promised && any.contains(&planned.fault.kind());
                    assert_eq!(plan.faults.iter().filter(keeps).count(), 1, "{profile} seed {seed}, {any:?}: {plan}");
                }
            }
        }
    }
}

#[test]
fn what_is_promised_does_not_overlap() {
    for profile in Profile::ALL {
        for plan in plans(profile, 3) {
            let promised: Vec<_> = plan.faults.iter().filter(|planned| planned.promised).collect();
            for pair in promised.windows(2) {
                assert!(pair[0].at + pair[0].lasting < pair[1].at, "{plan}");
            }
        }
    }
}

#[test]
fn nothing_breaks_in_the_calm_and_no_disk_for_good_in_the_swarm() {
    assert!(plans(Profile::Calm, 3).iter().all(|plan| plan.faults.is_empty()));
    let mut swarm = plans(Profile::Swarm, 5).into_iter().flat_map(|plan| plan.faults);
    assert!(swarm.all(|planned| !planned.fault.kind().is_for_good()));
}

#[test]
fn all_kinds_shapes_and_moments_are_drawn() {
    let faults: Vec<Fault> = Profile::ALL
        .into_iter()
        .flat_map(|profile| plans(profile, 5))
        .flat_map(|plan| plan.faults)
        .map(|planned| planned.fault)
        .collect();
    let kinds: BTreeSet<Kind> = faults.iter().map(Fault::kind).collect();
    assert_eq!(kinds, BTreeSet::from(Kind::ALL));
    let shapes: BTreeSet<Shape> = faults
        .iter()
        .filter_map(|fault| if let Fault::Partition(_, shape) = fault { Some(*shape) } else { None })
        .collect();
    assert_eq!(shapes, BTreeSet::from(Shape::ALL));
    let moments: BTreeSet<Moment> = faults
        .iter()
        .filter_map(|fault| if let Fault::Crash(_, moment) = fault { Some(*moment) } else { None })
        .collect();
    assert_eq!(moments, Moment::ALL.into_iter().chain(Moment::OF_SNAPSHOTS).collect());
}

#[test]
fn runs_differ_in_kind() {
    let kinds = |plan: &FaultPlan| plan.faults.iter().map(|planned| planned.fault.kind()).collect::<BTreeSet<Kind>>();
    let sets: BTreeSet<BTreeSet<Kind>> = plans(Profile::Swarm, 3).iter().map(kinds).collect();
    assert!(sets.len() > 150, "only {} sets of kinds in 200 plans", sets.len());
}

#[test]
fn kinds_count_in_their_own_order() {
    assert!(Kind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
}

#[test]
fn a_plan_reads_as_words() {
    let fault = Fault::Crash(Target::Leader, Moment::NextSend);
    let (at, lasting) = (Duration::from_micros(1_500), Duration::from_millis(20));
    let planned = Planned { number: 4, at, lasting, fault, seed: 9, promised: true };
    let plan = FaultPlan { profile: Profile::Swarm, nodes: 3, lasts: at + lasting, faults: vec![planned] };
    assert_eq!(
        plan.to_string(),
        "swarm plan among 3 nodes:\n  no. 4 after 1.500ms, for 20.000ms: crash at the leader, just after it has sent \
         (promised)"
    );
}

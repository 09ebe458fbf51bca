//! The fixed leader does what every engine must, but for what it says it does not.

use consensus_api::testkit::engine::Claims;

consensus_api::engine_conformance!(
    engine_fixed::FixedLeader,
    Claims { survives_loss_of_leader: false, changes_members: false, hands_over: false }
);

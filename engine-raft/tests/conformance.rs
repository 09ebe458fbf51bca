//! Raft does what every engine must.

consensus_api::engine_conformance!(engine_raft::Raft, consensus_api::testkit::engine::Claims::ALL);

//! Multi-Paxos does what every engine must.

consensus_api::engine_conformance!(engine_multipaxos::MultiPaxos, consensus_api::testkit::engine::Claims::ALL);

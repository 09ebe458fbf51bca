//! A whole comparison, as small as can be: plan, clusters, load, a killed leader, results, report.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use benches::comparison::results::{Found, History, Results};
use tempfile::TempDir;

/// The program that is measured, which another package builds: `cargo build` puts it beside this one.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_compare"))
}

#[test]
fn a_whole_comparison_finds_valid_points_with_linearizable_histories_and_an_end_of_the_outage() {
    let kv_service = program().with_file_name("kv-service");
    assert!(
        kv_service.exists(),
        "{} is not there; build it first: cargo build --release --package kv-service",
        kv_service.display()
    );
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("smoke");
    // Other tests run at the same time, so the machine is not quiet; here no figure matters.
    let run = || {
        let mut command = Command::new(program());
        command.args(["--busy-max", "1.0", "--plan"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/smoke.toml")).arg("--out").arg(&out);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = run();
    assert!(said.starts_with("Does the comparison itself work?\n4 points, some"), "{said}");

    let results = Results::read(&out.join("results.json")).unwrap();
    assert_eq!(results.points.len(), 4);
    assert!(results.conditions.cores > 0 && results.conditions.fsync_us > 0);
    for point in &results.points {
        assert!(point.is_valid(), "{point:?}");
        assert!(matches!(point.history, History::Linearizable { operations: 1.., .. }), "{point:?}");
        match &point.found {
            Found::Load(load) => {
                assert!(load.operations > 0 && load.all.p50_us > 0 && load.costs.len() == 3, "{load:?}");
            }
            Found::Events { events } => {
                assert!(events.len() == 1 && events[0].served_ms.is_some(), "{events:?}");
                assert!(events[0].elected_ms.is_some() && events[0].campaigns > 0, "{events:?}");
            }
            Found::Meanwhile { .. } => panic!("the plan has no such experiment"),
        }
    }
    assert!(!run().contains("clusters"), "what is measured is not measured again");
}

//! What was measured so far, on disk, so that an interrupted comparison goes on where it stood.
//!
//! ```text
//!   <out>/run.json       the plan and the conditions that it began under
//!   <out>/points.jsonl   a point a line, synced one by one; a half line at the end is a point that was not measured
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::results::{Conditions, FORMAT, Point, PointKey, Results};
use crate::replicas::Failure;

/// A comparison under way.
pub struct Record {
    directory: PathBuf,
    points: File,
    run: Run,
    measured: Vec<Point>,
}

#[derive(Serialize, Deserialize)]
struct Run {
    format: u32,
    plan: Plan,
    conditions: Conditions,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It belongs to another plan.
    #[error("{directory} holds points of another plan; give --fresh to begin anew, or another --out")]
    OtherPlan {
        /// Where.
        directory: String,
    },
    /// It is of another version.
    #[error("{file} has format {found}, and this program reads {FORMAT}; give --fresh to begin anew, or another --out")]
    OtherFormat {
        /// Which file.
        file: String,
        /// Its format.
        found: u32,
    },
}

impl Record {
    /// Goes on with what the directory holds, or begins there. `conditions` are found only for a new one.
    ///
    /// # Errors
    /// [`RecordError`] where it holds something else; without `fresh`, nothing is ever removed.
    pub fn open(
        directory: &Path,
        plan: &Plan,
        fresh: bool,
        conditions: impl FnOnce() -> Result<Conditions, Failure>,
    ) -> Result<Record, Failure> {
        fs::create_dir_all(directory)?;
        let (run_path, points_path) = (directory.join("run.json"), directory.join("points.jsonl"));
        if fresh {
            remove(&points_path)?;
            remove(&run_path)?;
        }
        let run = match fs::read(&run_path) {
            Ok(bytes) => checked(serde_json::from_slice(&bytes)?, plan, directory)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let run = Run { format: FORMAT, plan: plan.clone(), conditions: conditions()? };
                write_whole(&run_path, &serde_json::to_vec_pretty(&run)?)?;
                run
            }
            Err(error) => return Err(error.into()),
        };
        let mut points = File::options().create(true).append(true).read(true).open(&points_path)?;
        let text = fs::read_to_string(&points_path)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        points.set_len(whole as u64)?;
        points.flush()?;
        let measured = text[..whole].lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Record { directory: directory.to_owned(), points, run, measured })
    }

    /// Which points there are.
    pub fn keys(&self) -> BTreeSet<PointKey> {
        self.measured.iter().map(|point| point.key.clone()).collect()
    }

    /// Adds a point, durably.
    pub fn add(&mut self, point: Point) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&point)?;
        line.push(b'\n');
        self.points.write_all(&line)?;
        self.points.sync_data()?;
        self.measured.push(point);
        Ok(())
    }

    /// Notes a further fact about the conditions.
    pub fn note(&mut self, name: &str, fact: &str) {
        self.run.conditions.further.insert(name.to_owned(), fact.to_owned());
    }

    /// All of it, also as `results.json`.
    pub fn finish(self, ended: String) -> Result<Results, Failure> {
        let conditions = Conditions { ended, ..self.run.conditions };
        let results = Results { format: FORMAT, plan: self.run.plan, conditions, points: self.measured };
        write_whole(&self.directory.join("results.json"), &serde_json::to_vec_pretty(&results)?)?;
        Ok(results)
    }
}

impl Results {
    /// Reads what an earlier comparison has written.
    pub fn read(path: &Path) -> Result<Results, Failure> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| format!("{name}: {error}; give a results.json"))?;
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head =
            serde_json::from_slice(&bytes).map_err(|error| format!("{name} is no results.json: {error}"))?;
        if head.format != FORMAT {
            return Err(RecordError::OtherFormat { file: name, found: head.format }.into());
        }
        Ok(serde_json::from_slice(&bytes).map_err(|error| format!("{name} is no results.json: {error}"))?)
    }
}

fn checked(run: Run, plan: &Plan, directory: &Path) -> Result<Run, RecordError> {
    let directory = directory.display().to_string();
    if run.format != FORMAT {
        return Err(RecordError::OtherFormat { file: format!("{directory}/run.json"), found: run.format });
    }
    if run.plan != *plan { Err(RecordError::OtherPlan { directory }) } else { Ok(run) }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Either the old file or the whole new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(beside, path)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::results::{Found, History, Load};
    use super::*;

    fn plan(rates: &str) -> Plan {
        toml::from_str(&format!("rounds = 1\n[[curve]]\nname = \"c\"\nrates_per_s = {rates}\n")).unwrap()
    }

    fn point(key: PointKey) -> Point {
        Point {
            key,
            began: String::new(),
            busy_before: 0.1,
            busy: 0.5,
            invalid: Vec::new(),
            history: History::NotRecorded,
            found: Found::Load(Load { rate_per_s: 123.25, ..Load::default() }),
        }
    }

    fn open(directory: &Path, plan: &Plan, fresh: bool) -> Result<Record, Failure> {
        Record::open(directory, plan, fresh, || Ok(Conditions::default()))
    }

    #[test]
    fn an_interrupted_comparison_goes_on_with_whole_points_and_measures_half_a_point_again() {
        let (directory, plan) = (tempfile::tempdir().unwrap(), plan("[10, 20]"));
        let keys: Vec<PointKey> = plan.courses().iter().flat_map(|course| course.points()).collect();
        open(directory.path(), &plan, false).unwrap().add(point(keys[0].clone())).unwrap();
        let path = directory.path().join("points.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"key\":{\"exper"].concat()).unwrap();

        let mut record = open(directory.path(), &plan, false).unwrap();
        assert_eq!(record.keys(), [keys[0].clone()].into());
        record.add(point(keys[1].clone())).unwrap();
        let results = record.finish("then".to_owned()).unwrap();
        assert_eq!(results.points, [point(keys[0].clone()), point(keys[1].clone())]);
        assert_eq!(Results::read(&directory.path().join("results.json")).unwrap(), results);
    }

    #[test]
    fn points_of_another_plan_are_left_alone_unless_it_is_to_begin_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (plan("[10]"), plan("[20]"));
        let key = one.courses()[0].points()[0].clone();
        open(directory.path(), &one, false).unwrap().add(point(key)).unwrap();
        let error = open(directory.path(), &other, false).err().unwrap().to_string();
        assert!(error.contains("--fresh") && error.contains("--out"), "{error}");
        assert!(open(directory.path(), &other, true).unwrap().keys().is_empty());
    }

    #[test]
    fn what_is_no_results_file_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        fs::write(&path, "{\"format\":99}").unwrap();
        assert!(Results::read(&path).unwrap_err().to_string().contains("format 99"));
        fs::write(&path, "[]").unwrap();
        assert!(Results::read(&path).unwrap_err().to_string().contains("no results.json"));
    }
}

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
    /// It was measured with another program, or on another machine.
    #[error(
        "{directory} holds points of another {what}, and they cannot be compared; give --fresh to begin anew, or another \
         --out"
    )]
    OtherCircumstances {
        /// Where.
        directory: String,
        /// What differs.
        what: &'static str,
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
    /// Goes on with what the directory holds, or begins there. Points that broke down or found the machine busy are not
    /// there yet: they are measured again, and the later one counts.
    ///
    /// # Errors
    /// [`RecordError`] where it holds something else; without `fresh`, nothing is ever removed.
    pub fn open(directory: &Path, plan: &Plan, fresh: bool, conditions: Conditions) -> Result<Record, Failure> {
        fs::create_dir_all(directory)?;
        let (run_path, points_path) = (directory.join("run.json"), directory.join("points.jsonl"));
        if fresh {
            remove(&points_path)?;
            remove(&run_path)?;
        }
        let run = match fs::read(&run_path) {
            Ok(bytes) => checked(serde_json::from_slice(&bytes)?, plan, &conditions, directory)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let run = Run { format: FORMAT, plan: plan.clone(), conditions };
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
        let mut record = Record { directory: directory.to_owned(), points, run, measured: Vec::new() };
        for line in text[..whole].lines() {
            record.keep(serde_json::from_str(line).map_err(|error| format!("{}: {error}", points_path.display()))?);
        }
        Ok(record)
    }

    /// Which points there are, but for those that are to be measured again.
    pub fn keys(&self) -> BTreeSet<PointKey> {
        self.measured.iter().filter(|point| !point.wants_another_try()).map(|point| point.key.clone()).collect()
    }

    /// Of two points of the same key the later one counts.
    fn keep(&mut self, point: Point) {
        self.measured.retain(|earlier| earlier.key != point.key);
        self.measured.push(point);
    }

    /// Adds a point, durably.
    pub fn add(&mut self, point: Point) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&point)?;
        line.push(b'\n');
        self.points.write_all(&line)?;
        self.points.sync_data()?;
        self.keep(point);
        Ok(())
    }

    /// Notes a further fact about the conditions, durably.
    pub fn note(&mut self, name: &str, fact: &str) -> Result<(), Failure> {
        self.run.conditions.further.insert(name.to_owned(), fact.to_owned());
        write_whole(&self.directory.join("run.json"), &serde_json::to_vec_pretty(&self.run)?)
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

fn checked(run: Run, plan: &Plan, now: &Conditions, directory: &Path) -> Result<Run, RecordError> {
    let directory = directory.display().to_string();
    if run.format != FORMAT {
        return Err(RecordError::OtherFormat { file: format!("{directory}/run.json"), found: run.format });
    }
    if run.plan != *plan {
        return Err(RecordError::OtherPlan { directory });
    }
    let then = &run.conditions;
    let differs = [
        ("program", then.program_digest != now.program_digest),
        ("processor", then.processor != now.processor),
        ("kernel", then.kernel != now.kernel),
        ("disk", then.disk != now.disk),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((what, _)) => Err(RecordError::OtherCircumstances { directory, what }),
        None => Ok(run),
    }
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

    use super::super::results::{BROKE_DOWN, Found, History, Load};
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
        Record::open(directory, plan, fresh, Conditions::default())
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
    fn a_point_that_broke_down_is_measured_again_and_the_later_one_counts() {
        let (directory, plan) = (tempfile::tempdir().unwrap(), plan("[10]"));
        let key = plan.courses()[0].points()[0].clone();
        let broken = Point { invalid: vec![format!("{BROKE_DOWN}: no port")], ..point(key.clone()) };
        open(directory.path(), &plan, false).unwrap().add(broken).unwrap();
        let mut record = open(directory.path(), &plan, false).unwrap();
        assert!(record.keys().is_empty());
        record.add(point(key.clone())).unwrap();
        assert_eq!(open(directory.path(), &plan, false).unwrap().finish(String::new()).unwrap().points, [point(key)]);
    }

    #[test]
    fn points_of_another_program_are_left_alone() {
        let (directory, plan) = (tempfile::tempdir().unwrap(), plan("[10]"));
        open(directory.path(), &plan, false).unwrap();
        let other = Conditions { program_digest: "00".to_owned(), ..Conditions::default() };
        let error = Record::open(directory.path(), &plan, false, other).err().unwrap().to_string();
        assert!(error.contains("another program") && error.contains("--fresh"), "{error}");
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

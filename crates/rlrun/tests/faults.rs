//! Whichever file operation of a run fails: the error names the file, nothing older is lost, and the
//! run that goes on ends with the bits of one that never failed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use std::path::Path;

use rlrun::prelude::*;
use rlrun::train::disk::fault::{self, Fault};
use small_runs::assert_same_run;

const RUN_FILE: &str = "\
algorithm = \"ppo\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { n_steps = 16, batch_size = 16, net_arch = [8] }
train = { total_timesteps = 192, log_freq = 50, eval_freq = 96, n_eval_episodes = 2, \
          n_rescore_episodes = 2, save_freq = 48, keep_checkpoints = 2 }
";

fn train(dir: &Path) -> Result<(), ConfigError> {
    Ok(Run::load(RUN_FILE, ALGORITHMS, &[])?.create(dir)?.run()?)
}

fn resume(dir: &Path) -> Result<(), ConfigError> {
    Ok(Run::resume(dir, &[], ALGORITHMS, &[])?.run()?)
}

/// Lets every operation of `act` meet a fault, one after the other, and finishes the run each time.
fn meet_every_fault(
    whole: &Path,
    begin: impl Fn(&Path),
    act: fn(&Path) -> Result<(), ConfigError>,
) {
    let faults: [fn() -> Fault; 4] =
        [|| Fault::from_os(28), || Fault::from_os(5), || Fault::from_os(24), || Fault::Short];
    for number in 0.. {
        let parent = tempfile::tempdir().unwrap();
        let run = parent.path().join("run");
        begin(&run);
        let fault = faults[number as usize % faults.len()]();
        let is_short = matches!(fault, Fault::Short);
        let ended = fault::with(number, fault, || act(&run));
        let done = fault::operations() <= number;
        assert_eq!(ended.is_ok(), done || is_short, "operation {number}: {ended:?}");
        if let Err(error) = &ended {
            let text = format!("{error:?}");
            let cause = ["os error 28", "os error 5", "os error 24"];
            assert!(cause.iter().any(|cause| text.contains(cause)), "{number}: {text}");
            assert!(text.contains('`') && !text.contains("damaged"), "{number}: {text}");
        }
        if run.join("run.toml").exists() { resume(&run) } else { train(&run) }.unwrap();
        assert_same_run(whole, &run);
        let beside = std::fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(beside, 1, "operation {number} left something beside the run");
        if done {
            assert!(number > 100, "{number} operations only");
            return;
        }
    }
}

#[test]
fn a_run_ends_equal_whichever_of_its_file_operations_fails() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    train(&whole).unwrap();
    meet_every_fault(&whole, |_| {}, train);
}

#[test]
fn a_run_ends_equal_whichever_file_operation_of_its_continuation_fails() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    train(&whole).unwrap();
    let begin = |run: &Path| {
        let mut trainer = Run::load(RUN_FILE, ALGORITHMS, &[]).unwrap().create(run).unwrap();
        while trainer.timesteps() < 120 {
            trainer.step().unwrap();
        }
    };
    meet_every_fault(&whole, begin, resume);
}

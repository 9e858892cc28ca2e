//! The agents in `checkpoints/` can be evaluated right after a clone, and pass their thresholds.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

#[test]
fn every_shipped_agent_passes_its_threshold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checkpoints");
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let agents: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(!agents.is_empty());
    for agent in agents {
        let mut eval = Command::new(env!("CARGO_BIN_EXE_rlrun"));
        let output = eval.args(["eval", "--json", "--checkpoint"]).arg(&agent).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let evaluation: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(evaluation["passed"], true, "{}: {evaluation}", agent.display());
    }
}

//! Runs the built command in a folder of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A folder for one test, removed when dropped.
pub(crate) struct Scratch(PathBuf);

/// What a command printed and how it ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("cli-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the build's folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("writable");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.0.join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Paths of all files below `folder`, sorted, with their bytes.
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        collect(&self.0.join(folder), Path::new(""), &mut found);
        found.sort();
        found
    }

    /// Runs `hpasim` with `args` in the folder.
    pub(crate) fn hpasim(&self, args: &[&str]) -> Ended {
        self.hpasim_reading(args, "")
    }

    /// Runs `hpasim` with `args` in the folder and `input` on standard input.
    pub(crate) fn hpasim_reading(&self, args: &[&str], input: &str) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hpasim"))
            .args(args)
            .current_dir(&self.0)
            .env_remove("RUST_BACKTRACE")
            .env("COLUMNS", "100")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        // A command that does not read it closes the pipe.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the command ends");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Ended {
    /// Panics with everything printed unless the code is `code`.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

fn collect(root: &Path, below: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries {
        let name = below.join(entry.expect("readable").file_name());
        if root.join(&name).is_dir() {
            collect(root, &name, found);
        } else {
            let bytes = fs::read(root.join(&name)).expect("readable");
            found.push((name.to_string_lossy().into_owned(), bytes));
        }
    }
}

/// A manifest with one Pods metric.
pub(crate) const HPA: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: x}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}
  maxReplicas: 3
  metrics:
  - type: Pods
    pods: {metric: {name: 'vllm:num_requests_running'}, target: {type: AverageValue, averageValue: '8'}}
";

/// Half an hour on L4 nodes: one replica carries the load, low targets ask for more.
pub(crate) const TINY: &str = r#"
schema = 1
name = "tiny"
seed = 7
duration = "30m"
warmup = "1m"
[model]
profile = "l4-llama-3.1-8b"
[engine]
max_model_len = 4096
[workload.poisson]
rate_rps = 1.5
prompt_tokens = 400
output_tokens = 150
[cluster]
min_nodes = 1
max_nodes = 4
[hpa]
min_replicas = 1
max_replicas = 4
[slo]
ttft = "10s"
tpot = "250ms"
attainment = 0.5
[sweep]
replications = 2
[[sweep.metrics]]
name = "vllm:num_requests_running"
targets = [8, 24, 200]
"#;

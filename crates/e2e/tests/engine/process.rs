//! An engine alone, as a process; and Python scripts that talk to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use remora_e2e::{program, repository};
use remora_testing::{free_port, wait_for};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for a model of some megabytes, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// The folder of the demo model's forms.
pub(crate) fn demo() -> PathBuf {
    repository().join("crates/engine/models/demo")
}

/// A running `remora engine`; killed when dropped.
pub(crate) struct Engine {
    _child: Child,
    _home: TempDir,
    pub(crate) url: String,
}

impl Engine {
    /// Starts an engine and waits until its model, under this name, is loaded.
    pub(crate) async fn ready(name: &str, model: &Path) -> Self {
        let (port, home) = (free_port(), tempfile::tempdir().unwrap());
        let log = home.path().join("log");
        let mut child = Command::new(program("remora"))
            .args(["engine", "--served-model-name", name, "--port", &port.to_string(), "--model"])
            .arg(model)
            // As `remora up` starts it.
            .envs([("OMP_WAIT_POLICY", "passive"), ("GGML_NO_BACKTRACE", "1")])
            .env("REMORA_STATE_DIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let health = format!("{url}/health");
        wait_for(LIMIT, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the engine ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        Self { _child: child, _home: home, url }
    }
}

/// The Python of vLLM's environment, which has torch, transformers and PEFT.
pub(crate) fn torch_python() -> PathBuf {
    let vllm = std::env::var_os("REMORA_TEST_VLLM").map(PathBuf::from);
    vllm.expect("REMORA_TEST_VLLM is not set; scripts/test installs vLLM and sets it").with_file_name("python")
}

/// Runs a script that says by its exit status whether all is well.
pub(crate) async fn run(python: &Path, script: &str, arguments: &[&str]) {
    let mut command = Command::new(python);
    command.arg(repository().join(script)).args(arguments).env("HF_HUB_OFFLINE", "1").kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

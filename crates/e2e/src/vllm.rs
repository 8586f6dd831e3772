//! A real vLLM on the CPU, serving the demo model's safetensors form.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use remora_testing::{free_port, wait_for};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::repository;

/// Importing torch and compiling nothing takes about a minute on two cores.
const LIMIT: Duration = Duration::from_secs(280);

/// A running `vllm serve`; killed when dropped.
#[derive(Debug)]
pub struct Vllm {
    child: Child,
    url: String,
    _home: TempDir,
}

impl Vllm {
    /// Starts vLLM with the demo model under the name `remora-demo` and waits until it is healthy.
    pub async fn ready() -> Self {
        let program = std::env::var_os("REMORA_TEST_VLLM").map(PathBuf::from);
        let program = program.expect("REMORA_TEST_VLLM is not set; scripts/test installs vLLM and sets it");
        let port = free_port();
        let home = tempfile::tempdir().expect("a temporary folder");
        let (log, errors) = (home.path().join("log"), home.path().join("errors"));
        let mut child = Command::new(program)
            .arg("serve")
            .arg(repository().join("crates/engine/models/demo/safetensors"))
            .args(["--served-model-name", "remora-demo", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--enable-auto-tool-choice", "--tool-call-parser", "hermes"])
            .args(["--dtype", "float32", "--enforce-eager", "--enable-lora", "--max-lora-rank", "16"])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            .env("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("HF_HUB_OFFLINE", "1")
            .env("XDG_CACHE_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).expect("a writable temporary folder"))
            .stderr(std::fs::File::create(&errors).expect("a writable temporary folder"))
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .expect("vllm starts");
        let url = format!("http://127.0.0.1:{port}");
        let health = format!("{url}/health");
        wait_for(LIMIT, async || {
            if let Some(status) = child.try_wait().expect("the child is ours") {
                panic!("vLLM ended with {status}: {}", std::fs::read_to_string(&errors).unwrap_or_default());
            }
            reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        Self { child, url, _home: home }
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Vllm {
    fn drop(&mut self) {
        // Its engine is a process of its own, which outlives a server that is killed, with two gigabytes.
        let group = self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

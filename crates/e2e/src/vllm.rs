//! A real vLLM on the CPU, serving the demo model's safetensors form.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use remora_testing::wait_until;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::repository;

/// Importing torch and compiling nothing takes about a minute on two cores.
const LIMIT: Duration = Duration::from_secs(280);

/// A running `vllm serve`; killed when dropped.
#[derive(Debug)]
pub struct Vllm {
    _child: Child,
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
        let log = home.path().join("log");
        let child = Command::new(program)
            .arg("serve")
            .arg(repository().join("crates/engine/models/demo/safetensors"))
            .args(["--served-model-name", "remora-demo", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--dtype", "float32", "--enforce-eager", "--enable-lora", "--max-lora-rank", "16"])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            .env("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("HF_HUB_OFFLINE", "1")
            .env("XDG_CACHE_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).expect("a writable temporary folder"))
            .stderr(std::fs::File::create(home.path().join("errors")).expect("a writable temporary folder"))
            .kill_on_drop(true)
            .spawn()
            .expect("vllm starts");
        let url = format!("http://127.0.0.1:{port}");
        let health = format!("{url}/health");
        wait_until(LIMIT, || async { reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()) })
            .await;
        Self { _child: child, url, _home: home }
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A port that was free a moment ago; vLLM cannot be asked for port 0.
fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("it is bound").port()
}

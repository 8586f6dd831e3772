//! The built binary: its arguments, its signals, what it leaves behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

mod support;

use std::path::PathBuf;
use std::process::{Output, Stdio};

use remora_api_client::Client;
use remora_api_client::engines::Engines;
use remora_model_manager::CommandLine;
use remora_testing::{free_port, wait_until};
use remora_types::engines::EngineState;
use rustix::process::{Pid, Signal, kill_process};
use support::child::{Options, command};
use support::{LIMIT, is_alive, kill};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The binary with its settings in a folder of its own.
struct Setup {
    folder: TempDir,
    port: u16,
}

impl Setup {
    fn new(engine: &CommandLine, engine_port: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let words: Vec<String> = engine.clone().into();
        let toml = format!(
            "[model_manager]\nlisten = \"127.0.0.1:{port}\"\n[[model_manager.engines]]\nid = \"slot-0\"\nslot = 0\n\
             address = \"http://127.0.0.1:{engine_port}\"\ncommand = {words:?}\nstdin = \"lifeline\"\n"
        );
        std::fs::write(folder.path().join("remora.toml"), toml).unwrap();
        Self { folder, port }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("remora.toml")
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remora-model-manager"));
        command.arg("--config").arg(self.config()).kill_on_drop(true).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until its engine is ready, and gives the engine's process id.
    async fn engine_pid(&self) -> u32 {
        let client = Client::new(&format!("http://127.0.0.1:{}", self.port)).unwrap();
        let engines = Engines::new(client.clone());
        wait_until(LIMIT, async || engines.list().await.is_ok_and(|list| list.engines[0].state == EngineState::Ready))
            .await;
        let status = client.status().await.unwrap();
        u32::try_from(status.details["supervised"]["slot-0"]["pid"].as_u64().unwrap()).unwrap()
    }
}

async fn check(setup: &Setup) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora-model-manager"));
    command.arg("--check").arg("--config").arg(setup.config()).output().await.unwrap()
}

#[tokio::test]
async fn check_validates_the_settings_and_starts_nothing() {
    let setup = Setup::new(&CommandLine::new("/nowhere/engine", [""; 0]), free_port());
    let good = check(&setup).await;
    assert!(good.status.success() && good.stdout.is_empty(), "{good:?}");
    let text = std::fs::read_to_string(setup.config()).unwrap();
    std::fs::write(setup.config(), text.replace("slot-0", "slot 0")).unwrap();
    let bad = check(&setup).await;
    assert!(!bad.status.success());
    let message = String::from_utf8(bad.stderr).unwrap();
    assert!(message.contains("\"slot 0\" is not a valid engine id"), "{message}");
}

#[tokio::test]
async fn a_signal_stops_the_engine_and_then_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let farewell = folder.path().join("farewell");
    let port = free_port();
    let setup = Setup::new(&command(port, &Options { farewell: Some(farewell.clone()), ..Options::default() }), port);
    let mut process = setup.start();
    let engine = setup.engine_pid().await;
    let pid = Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::time::timeout(LIMIT, process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(!is_alive(engine));
    assert!(farewell.exists(), "it was stopped in order");
}

#[tokio::test]
async fn a_kill_leaves_no_engine_behind_that_holds_a_lifeline() {
    let port = free_port();
    let setup = Setup::new(&command(port, &Options { lifeline: true, ..Options::default() }), port);
    let mut process = setup.start();
    let engine = setup.engine_pid().await;
    assert!(is_alive(engine));
    kill(process.id().unwrap());
    process.wait().await.unwrap();
    wait_until(LIMIT, async || !is_alive(engine)).await;
}

//! The program that the tests supervise: this very test binary, as a fake engine in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use remora_model_manager::CommandLine;
use remora_testing::FakeEngine;
use remora_testing::fake_engine::{Behaviour, Health};
use remora_types::engines::EngineAddress;
use tokio::signal::unix::{SignalKind, signal};

/// How a child behaves; told through its environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// It does not stop when asked.
    pub(crate) deaf: bool,
    /// It stops when its standard input ends.
    pub(crate) lifeline: bool,
    /// It says that it loads for so long.
    pub(crate) loading_ms: u64,
    /// It starts a process of its own, and writes that one's id here.
    pub(crate) grandchild: Option<PathBuf>,
    /// It writes `stopped` here when it has stopped as asked.
    pub(crate) farewell: Option<PathBuf>,
}

/// The command that runs a fake engine on this port.
pub(crate) fn command(port: u16, options: &Options) -> CommandLine {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut words = vec![
        format!("CHILD_PORT={port}"),
        format!("CHILD_DEAF={}", options.deaf),
        format!("CHILD_LIFELINE={}", options.lifeline),
        format!("CHILD_LOADING_MS={}", options.loading_ms),
        format!("CHILD_GRANDCHILD={}", path(&options.grandchild)),
        format!("CHILD_FAREWELL={}", path(&options.farewell)),
        std::env::current_exe().unwrap().display().to_string(),
    ];
    words.extend(["support::child::engine", "--exact", "--ignored", "--nocapture"].map(ToOwned::to_owned));
    CommandLine::new("env", words)
}

#[tokio::test]
#[ignore = "not a test: the program that the tests supervise"]
async fn engine() {
    let variable = |name: &str| std::env::var(format!("CHILD_{name}")).unwrap_or_default();
    // Run with all the ignored tests, it has nothing to do.
    let Ok(port) = variable("PORT").parse() else { return };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    if !variable("GRANDCHILD").is_empty() {
        let sleeper = tokio::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(variable("GRANDCHILD"), sleeper.id().unwrap().to_string()).unwrap();
    }
    let engine = FakeEngine::start_with(&EngineAddress::loopback(port), Behaviour::default()).await;
    let loading: u64 = variable("LOADING_MS").parse().unwrap_or_default();
    if loading > 0 {
        engine.set(|b| b.health = Health::Loading("the model is being loaded (40 %)".into()));
        tokio::time::sleep(Duration::from_millis(loading)).await;
        engine.set(|b| b.health = Health::Ready);
    }
    let deaf = variable("DEAF") == "true";
    let asked_to_stop = async { while terminate.recv().await.is_some() && deaf {} };
    let input_ended = async {
        if variable("LIFELINE") == "true" {
            tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = asked_to_stop => {}
        () = input_ended => {}
    }
    if !variable("FAREWELL").is_empty() {
        std::fs::write(variable("FAREWELL"), "stopped").unwrap();
    }
    // At once: a thread that reads standard input cannot be joined.
    std::process::exit(0);
}

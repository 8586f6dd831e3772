//! The built binary: its arguments, its log, its signals.
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use remora_api_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora-agents-server"));
    command
        .arg("--config")
        .arg(folder.join("remora.toml"))
        .current_dir(folder)
        .env_clear()
        .env("REMORA_STATE_DIR", folder)
        .kill_on_drop(true);
    command
}

async fn check(folder: &Path, toml: &str) -> Output {
    std::fs::write(folder.join("remora.toml"), toml).unwrap();
    binary(folder).arg("--check").output().await.unwrap()
}

/// Starts it on a free port and reads from its log which one that is.
async fn start(folder: &Path) -> (Child, Client, Lines<BufReader<ChildStderr>>) {
    let toml = "[agents_server]\nlisten = '127.0.0.1:0'\n[log]\nformat = 'json'\n";
    std::fs::write(folder.join("remora.toml"), toml).unwrap();
    let mut child = binary(folder).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = tokio::time::timeout(LIMIT, async {
        loop {
            let line: serde_json::Value = serde_json::from_str(&log.next_line().await.unwrap().unwrap()).unwrap();
            if line["fields"]["message"] == "listening" {
                break line["fields"]["listen"].as_str().unwrap().to_owned();
            }
        }
    });
    let client = Client::new(&address.await.unwrap()).unwrap();
    (child, client, log)
}

#[tokio::test]
async fn check_validates_the_settings_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let good = check(folder.path(), "[agents_server]\nroot = 'elsewhere'\nlimits.depth = 3\n").await;
    assert!(good.status.success() && good.stdout.is_empty(), "{good:?}");
    for (toml, word) in [
        ("[agents_server]\nrot = 'x'\n", "rot"),
        ("[agents_server]\npoll_interval_ms = 1\n", "agents_server.poll_interval_ms"),
        ("[agents_server]\nlimits.dept = 1\n", "dept"),
        ("[agents_server]\nwatch = 'never'\n", "never"),
    ] {
        let bad = check(folder.path(), toml).await;
        let message = String::from_utf8(bad.stderr).unwrap();
        assert!(!bad.status.success() && message.contains(word), "{toml}: {message}");
    }
}

#[tokio::test]
async fn it_serves_its_folder_and_a_signal_stops_it_with_an_open_stream() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("agents/lint")).unwrap();
    std::fs::write(folder.path().join("agents/lint/bundle.yaml"), "name: lint\n").unwrap();
    let (mut child, client, _log) = start(folder.path()).await;
    assert_eq!(client.agents().await.unwrap().bundles[0].name.as_str(), "lint");
    assert!(client.ready().await.unwrap().ready);
    let events = client.agents_events().await.unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    drop(events);
}

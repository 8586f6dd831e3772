//! The built binary.

#![expect(clippy::unwrap_used, reason = "the helpers of tests panic as tests do")]

use std::process::{Command, Stdio};

use remora_testing::{FakeEngine, fake_engine::MODEL, free_port, wait_for, wait_until};
use tokio::net::TcpStream;

fn binary(folder: &std::path::Path, toml: &str) -> Command {
    let file = folder.join("remora.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora-gateway"));
    command.current_dir(folder).arg("--config").arg(file).env_clear().env("REMORA_STATE_DIR", folder);
    command
}

#[test]
fn check_says_what_is_wrong_and_nothing_when_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    assert!(binary(folder.path(), "[gateway]\n").arg("--check").status().unwrap().success());
    let output = binary(folder.path(), "[gateway]\nlistn = 'x'\n").arg("--check").output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("listn"), "{stderr}");
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_stop() {
    let engine = FakeEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let toml = format!(
        "[gateway]\nlisten = '127.0.0.1:{port}'\n[[gateway.engines]]\nid = 'e'\naddress = '{}'\n",
        engine.address()
    );
    let mut process = binary(folder.path(), &toml).stderr(Stdio::null()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(10);
    wait_until(limit, async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = format!(r#"{{"model":"{MODEL}","messages":[]}}"#);
    wait_until(limit, async || {
        let url = format!("http://127.0.0.1:{port}/v1/chat/completions");
        client.post(url).body(body.clone()).send().await.unwrap().status() == 200
    })
    .await;
    let stopped = Command::new("kill").arg("-TERM").arg(process.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let status = wait_for(limit, async || process.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
}

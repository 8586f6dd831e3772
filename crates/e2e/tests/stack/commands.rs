//! `remora status`, `ctl` and friends against a running stack.

use std::process::Output;

use remora_e2e::{Up, program, repository};
use serde_json::Value;
use tokio::process::Command;

async fn remora(arguments: &[&str]) -> Output {
    Command::new(program("remora")).args(arguments).current_dir(repository()).output().await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn status_shows_every_service_and_the_engine() {
    let up = Up::ready().await;
    let status: Value = serde_json::from_str(&stdout(&remora(&["status", "--json"]).await)).unwrap();
    let pid = up.pid().as_raw_nonzero().get();
    let mine = status["processes"].as_array().unwrap().iter().find(|p| p["pid"] == pid).expect("this stack is listed");
    let names: Vec<_> = mine["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gateway", "agents-server", "model-manager"]);

    let text = stdout(&remora(&["status"]).await);
    assert!(text.contains("gateway") && text.contains("remora-demo") && text.contains("ready"), "{text}");
}

#[tokio::test]
async fn ctl_shows_and_stops_one_process() {
    let up = Up::ready().await;
    let socket = up.control_socket();
    let socket = socket.to_str().unwrap();
    let status: Value =
        serde_json::from_str(&stdout(&remora(&["ctl", "status", "--socket", socket, "--json"]).await)).unwrap();
    assert_eq!(status["name"], "up");
    let shutdown = remora(&["ctl", "shutdown", "--socket", socket]).await;
    assert!(shutdown.status.success(), "{shutdown:?}");
    assert!(up.exited().await.status.success());
    let gone = remora(&["ctl", "status", "--socket", socket]).await;
    assert_eq!(gone.status.code(), Some(5), "{gone:?}");
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_holder() {
    let up = Up::ready().await;
    let port = up.gateway().rsplit(':').next().unwrap().to_owned();
    let second = remora(&["up", "--port", &format!("gateway={port}")]).await;
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(
        text.contains(&format!("127.0.0.1:{port} is taken by remora (pid {})", up.pid().as_raw_nonzero())),
        "{text}"
    );
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_told_before_anything_starts() {
    let output = remora(&["up", "--model", "/no/such/model.gguf"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/no/such/model.gguf"), "{text}");
}

#[tokio::test]
async fn agents_are_listed_shown_and_pulled() {
    let up = Up::ready().await;
    let server = up.url("agents_server").to_owned();
    let list = stdout(&remora(&["agent", "list", "--server", &server]).await);
    for name in ["assistant", "docstring", "lint", "test"] {
        assert!(list.contains(name), "{list}");
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().to_str().unwrap();
    let pulled = remora(&["agent", "pull", "lint", "--dir", target, "--server", &server]).await;
    assert!(pulled.status.success(), "{pulled:?}");
    let bytes = std::fs::read(folder.path().join("lint/bundle.yaml")).unwrap();
    assert_eq!(bytes, std::fs::read(repository().join("agents/lint/bundle.yaml")).unwrap());
}

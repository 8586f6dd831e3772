//! How a stack stops.

use std::time::{Duration, Instant};

use remora_e2e::Up;
use rustix::process::Signal;
use serde_json::json;

/// The grace periods of answers and tasks, and room for a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

#[tokio::test]
async fn sigterm_with_an_open_stream_exits_0_within_the_limit() {
    let up = Up::ready().await;
    let body = json!({
        "model": "default", "stream": true, "max_tokens": 1500, "ignore_eos": true,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let mut stream =
        reqwest::Client::new().post(format!("{}/v1/chat/completions", up.gateway())).json(&body).send().await.unwrap();
    stream.chunk().await.unwrap().expect("a first token");
    let mut events = reqwest::get(format!("{}/engines/events", up.url("model_manager"))).await.unwrap();
    events.chunk().await.unwrap().expect("a first event");

    let engine = up.engine_pid();
    let socket = up.control_socket();
    let asked = Instant::now();
    up.signal(Signal::TERM);
    let ended = up.exited().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
    assert!(!socket.exists(), "the control socket is gone");
    assert!(procfs::process::Process::new(engine.as_raw_nonzero().get()).is_err(), "the engine is gone");
}

#[tokio::test]
async fn ctrl_c_stops_cleanly() {
    let up = Up::ready().await;
    up.signal(Signal::INT);
    let ended = up.exited().await;
    assert!(ended.status.success(), "{ended:?}");
}

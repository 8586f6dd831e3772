//! kill -9 of the engine: the client hears of it, and the next request is answered.

use std::time::Duration;

use remora_e2e::Up;
use remora_testing::wait_until;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

fn endless(text: &str) -> Value {
    json!({
        "model": "default", "stream": true, "max_tokens": 1500, "ignore_eos": true,
        "messages": [{"role": "user", "content": text}],
    })
}

#[tokio::test]
async fn a_stream_ends_with_an_error_event_and_the_next_request_succeeds() {
    let up = Up::ready().await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/chat/completions", up.gateway());
    let mut stream = client.post(&url).json(&endless("hello")).send().await.unwrap();
    let mut seen = Vec::from(stream.chunk().await.unwrap().expect("a first token"));

    let before = up.engine_pid();
    kill_process(before, Signal::KILL).unwrap();
    while let Some(chunk) = stream.chunk().await.expect("the stream ends cleanly, not with a broken connection") {
        seen.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(seen).unwrap();
    let last = text.split("\n\n").filter(|event| event.starts_with("data: {")).last().expect("an event");
    let last: Value = serde_json::from_str(last.trim_start_matches("data: ")).expect("a whole event");
    assert!(last["error"]["message"].is_string(), "the last event is an error: {last}");

    let answered = || async {
        let body = json!({"model": "default", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]});
        client.post(&url).json(&body).send().await.is_ok_and(|answer| answer.status().is_success())
    };
    wait_until(LIMIT, answered).await;
    assert_ne!(up.engine_pid(), before, "a new engine answers");
}

#[tokio::test]
async fn an_engine_does_not_outlive_a_killed_parent() {
    let up = Up::ready().await;
    let engine = up.engine_pid();
    up.signal(Signal::KILL);
    up.exited().await;
    wait_until(LIMIT, || async {
        // A zombie waits for its reaper and holds nothing.
        procfs::process::Process::new(engine.as_raw_nonzero().get())
            .and_then(|p| p.stat())
            .map_or(true, |stat| stat.state == 'Z')
    })
    .await;
}

use futures::future::{join_all, select_all};
use remora_testing::wait_until;
use serde_json::json;

use crate::support::{LIMIT, TestEngine, chat, with};

/// A request that generates until the context is full.
fn endless() -> serde_json::Value {
    with(chat("hello"), json!({"ignore_eos": true, "max_tokens": 2000}))
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let engine = TestEngine::with(|config| config.slots = Some(2)).await;
    let mut stream = engine.post("/v1/chat/completions", &with(endless(), json!({"stream": true}))).await;
    assert!(stream.chunk().await.unwrap().is_some());
    assert!(engine.metric("vllm:num_requests_running").await >= 1);
    drop(stream);
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_running").await == 0).await;
    assert!(engine.metric("vllm:generation_tokens_total").await < 2000, "it did not run to its end");
}

#[tokio::test]
async fn so_does_one_that_waits_for_a_whole_answer() {
    let engine = TestEngine::with(|config| config.slots = Some(1)).await;
    let answer = engine.client.post(format!("{}/v1/chat/completions", engine.url)).json(&endless()).send();
    let mut answer = Box::pin(answer);
    tokio::select! {
        _ = &mut answer => panic!("it cannot be done yet"),
        () = wait_until(LIMIT, async || engine.metric("vllm:num_requests_running").await == 1) => {}
    }
    drop(answer);
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_running").await == 0).await;
    assert!(engine.metric("vllm:generation_tokens_total").await < 2000, "it did not run to its end");
}

#[tokio::test]
async fn a_full_house_queues_and_then_refuses() {
    let engine = TestEngine::with(|config| (config.slots, config.max_queue) = (Some(1), 2)).await;
    let open = async || engine.post("/v1/chat/completions", &with(endless(), json!({"stream": true}))).await;
    let mut first = open().await;
    assert!(first.chunk().await.unwrap().is_some());
    let second = open().await;
    let third = open().await;
    assert_eq!(
        (second.status().as_u16(), third.status().as_u16()),
        (200, 200),
        "those who wait have their status line"
    );
    let refused = open().await;
    assert_eq!(refused.status().as_u16(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    insta::assert_snapshot!(refused.text().await.unwrap(), @r#"{"error":{"message":"The engine is busy: 2 requests wait already. Try again in a moment.","type":"RateLimitError","param":null,"code":429}}"#);
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_waiting").await == 2).await;
    drop(third);
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_waiting").await == 1).await;
    drop(first);
    let mut second = second;
    assert!(second.chunk().await.unwrap().is_some(), "the next in the queue gets the slot");
}

#[tokio::test]
async fn a_stop_lets_answers_finish() {
    let engine = TestEngine::start().await;
    let mut stream = engine.post("/v1/chat/completions", &with(chat("hello"), json!({"stream": true}))).await;
    let mut text = stream.chunk().await.unwrap().unwrap().to_vec();
    engine.running.stop().request();
    while let Some(more) = stream.chunk().await.unwrap() {
        text.extend_from_slice(&more);
    }
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    engine.running.wait().await.unwrap();
}

/// Resident memory of this process, which the engine is part of, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn streams_that_are_left_leave_no_trace() {
    let engine = TestEngine::with(|config| config.slots = Some(4)).await;
    let leave = async |count: usize| {
        // As many again as there are slots, so that some leave while they wait.
        for round in 0..count / 8 {
            let request = with(endless(), json!({"stream": true, "temperature": 1, "n": 1 + round % 2}));
            let post = || engine.post("/v1/chat/completions", &request);
            let mut streams = join_all(std::iter::repeat_with(post).take(8)).await;
            let (first, ..) = select_all(streams.iter_mut().map(|stream| Box::pin(stream.chunk()))).await;
            assert!(first.unwrap().is_some());
        }
        for gauge in ["vllm:num_requests_running", "vllm:num_requests_waiting"] {
            wait_until(LIMIT, async || engine.metric(gauge).await == 0).await;
        }
        resident_kib()
    };
    let warm = leave(160).await;
    let after = leave(STREAMS).await;
    assert!(after < warm + 16 * 1024, "{warm} KiB before, {after} KiB after {STREAMS} streams");
    let answer = engine.ask("/v1/chat/completions", &chat("hello")).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "every slot is free for others");
}

/// 10,000 of them show no more growth than these.
const STREAMS: usize = 480;

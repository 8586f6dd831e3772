//! Streams: unbuffered, cancelled at once, ended well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use remora_testing::fake_engine::{FakeEngine, MODEL};
use remora_testing::wait_until;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::support::{Gateway, RAW_MODEL, RawEngine, SOON, chat, config};

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn the_first_chunk_arrives_while_the_engine_holds_the_second() {
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let engine = RawEngine::start(move |_, mut stream| {
        let held = held.clone();
        async move {
            stream.write_all((EVENTS.to_owned() + &chunk("data: 1\n\n")).as_bytes()).await.unwrap();
            held.notified().await;
            stream
                .write_all((chunk("data: 2\n\n") + &chunk("data: [DONE]\n\n") + "0\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    let answer = gateway.request("/v1/chat/completions", chat(RAW_MODEL, true)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut pieces = answer.bytes_stream();
    let first = tokio::time::timeout(SOON, pieces.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, "data: 1\n\n");
    go.notify_one();
    let rest: Vec<u8> = pieces.map(|piece| piece.unwrap()).collect::<Vec<_>>().await.concat();
    assert_eq!(rest, b"data: 2\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_it() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.delay = Duration::from_mins(1));
    let gateway = Gateway::before(&engine.address()).await;
    let mut request = JoinSet::new();
    request.spawn(gateway.request("/v1/chat/completions", chat(MODEL, false)).send());
    wait_until(SOON, async || engine.in_flight() == 1).await;
    let left = Instant::now();
    request.abort_all();
    wait_until(SOON, async || engine.cancelled() == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    let outcome = format!(r#"remora_gateway_requests_total{{model="{MODEL}",engine="e0",outcome="Cancelled"}}"#);
    wait_until(SOON, async || gateway.metric(&outcome).await == Some(1.0)).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_cancels_it() {
    // The engine sends nothing more: the gateway must notice the client by itself, not by a failed write.
    let left = Arc::new(Notify::new());
    let noticed = left.clone();
    let engine = RawEngine::start(move |_, mut stream| {
        let noticed = noticed.clone();
        async move {
            stream.write_all((EVENTS.to_owned() + &chunk("data: 1\n\n")).as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0]).await;
            noticed.notify_one();
        }
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    let answer = gateway.request("/v1/chat/completions", chat(RAW_MODEL, true)).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    pieces.next().await.unwrap().unwrap();
    let began = Instant::now();
    drop(pieces);
    tokio::time::timeout(SOON, left.notified()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let outcome = format!(r#"remora_gateway_requests_total{{model="{RAW_MODEL}",engine="e0",outcome="Cancelled"}}"#);
    wait_until(SOON, async || gateway.metric(&outcome).await == Some(1.0)).await;
}

#[tokio::test]
async fn two_hundred_streams_run_side_by_side() {
    // None ends before all have begun: a gateway that serialised any two would wait for ever.
    let (go, held) = watch::channel(false);
    let engine = RawEngine::start(move |_, mut stream| {
        let mut held = held.clone();
        async move {
            stream.write_all((EVENTS.to_owned() + &chunk("data: 1\n\n")).as_bytes()).await.unwrap();
            held.wait_for(|go| *go).await.unwrap();
            stream.write_all((chunk("data: [DONE]\n\n") + "0\r\n\r\n").as_bytes()).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    let streams = (0..200).map(|_| async {
        let answer = gateway.request("/v1/chat/completions", chat(RAW_MODEL, true)).send().await.unwrap();
        answer.text().await.unwrap()
    });
    let all_begun = async {
        wait_until(SOON, async || engine.received().len() == 200).await;
        go.send(true).unwrap();
    };
    let (texts, ()) = futures::join!(join_all(streams), all_begun);
    assert!(texts.iter().all(|text| text == "data: 1\n\ndata: [DONE]\n\n"));
}

/// An engine that sends this and then closes its connection.
async fn breaking_off(text: String) -> (RawEngine, Gateway) {
    let engine = RawEngine::start(move |_, mut stream| {
        let text = text.clone();
        async move { stream.write_all(text.as_bytes()).await.unwrap() }
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    (engine, gateway)
}

/// The error event at the end of a stream, read as a client reads it.
fn last_event(text: &str) -> Value {
    let event = text.strip_suffix("\n\n").unwrap().rsplit("\n\n").next().unwrap();
    serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()
}

#[tokio::test]
async fn a_stream_that_has_not_begun_is_a_failure_with_a_status() {
    let (_engine, gateway) = breaking_off(EVENTS.to_owned()).await;
    let answer = gateway.post("/v1/chat/completions", chat(RAW_MODEL, true)).await;
    assert_eq!(answer.failure(), (502, "upstream_failed".to_owned()));
}

#[tokio::test]
async fn a_stream_whose_engine_dies_ends_with_an_error_event() {
    for (sent, before) in
        [(chunk("data: 1\n\n"), "data: 1\n\n"), (chunk("data: 1\n\nda") + "5\r\nta:", "data: 1\n\ndata:\n\n")]
    {
        let (_engine, gateway) = breaking_off(EVENTS.to_owned() + &sent).await;
        let answer = gateway.post("/v1/chat/completions", chat(RAW_MODEL, true)).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.starts_with(before) && !text.contains("[DONE]"), "{text}");
        let error = &last_event(&text)["error"];
        assert_eq!((&error["code"], &error["type"]), (&"upstream_failed".into(), &"server_error".into()), "{text}");
        let outcome = format!(r#"remora_gateway_requests_total{{model="{RAW_MODEL}",engine="e0",outcome="Broken"}}"#);
        assert_eq!(gateway.metric(&outcome).await, Some(1.0));
    }
}

#[tokio::test]
async fn half_a_json_answer_breaks_the_connection() {
    let cut = [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"a\":1}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
            + &chunk("{\"a\":1}"),
        // An event stream whose length is promised, or that is compressed, cannot be added to.
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\ndata: 1\n\n".to_owned(),
    ];
    for text in cut {
        let (_engine, gateway) = breaking_off(text.clone()).await;
        let answer = gateway.request("/v1/chat/completions", chat(RAW_MODEL, false)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_with_an_error_event() {
    let engine = FakeEngine::start().await;
    engine.set(|b| (b.chunks, b.delay) = (100, Duration::from_millis(40)));
    let mut settings = config(&[&engine.address()]);
    settings.idle_timeout_ms = 400;
    let gateway = Gateway::started(settings).await;
    let whole = gateway.post("/v1/chat/completions", chat(MODEL, true)).await;
    assert!(whole.body.ends_with(b"data: [DONE]\n\n"), "a stream may last longer than a silence");

    engine.set(|b| (b.chunks, b.delay) = (2, Duration::from_mins(1)));
    let answer = gateway.post("/v1/chat/completions", chat(MODEL, true)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(last_event(&text)["error"]["code"], "upstream_timeout");
    wait_until(SOON, async || engine.in_flight() == 0).await;
}

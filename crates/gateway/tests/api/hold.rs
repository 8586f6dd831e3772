//! Requests that wait for their engine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use remora_gateway::Config;
use remora_testing::fake_engine::{Behaviour, FakeEngine, Health, MODEL};
use remora_testing::wait_until;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::support::{Gateway, RAW_MODEL, RawEngine, SOON, chat, config, plain};

fn waiting(engines: &[&FakeEngine], hold_ms: u64) -> Config {
    let addresses: Vec<_> = engines.iter().map(|engine| engine.address()).collect();
    Config { hold_ms, ..config(&addresses.iter().collect::<Vec<_>>()) }
}

fn loading(engine: &FakeEngine) {
    engine.set(|b| b.health = Health::Loading("reading weights".into()));
}

async fn held(gateway: &Gateway) -> Option<f64> {
    gateway.metric("remora_gateway_requests_held ").await
}

#[tokio::test]
async fn a_request_waits_while_the_model_loads() {
    let engine = FakeEngine::start().await;
    loading(&engine);
    let gateway = Gateway::start(waiting(&[&engine], 30_000)).await;
    let ready = async {
        wait_until(SOON, async || held(&gateway).await == Some(1.0)).await;
        wait_until(SOON, async || gateway.states().await == ["loading"]).await;
        let status = gateway.get("/v1/status").await.json();
        assert_eq!((&status["waiting"], &status["engines"][0]["id"]), (&1.into(), &"e0".into()));
        assert_eq!(status["engines"][0]["detail"], "reading weights", "{status}");
        engine.set(|b| b.health = Health::Ready);
    };
    let (answer, ()) = tokio::join!(gateway.chat(MODEL), ready);
    assert_eq!(answer.status, 200);
    assert_eq!(held(&gateway).await, Some(0.0));
}

#[tokio::test]
async fn a_wait_ends_with_the_reason_and_what_waiting_cannot_help_fails_at_once() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(waiting(&[&engine], 300)).await;
    let began = Instant::now();
    assert_eq!(gateway.chat("no-such-model").await.failure(), (404, "model_not_found".into()));
    loading(&engine);
    wait_until(SOON, async || gateway.states().await == ["loading"]).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!(answer.failure(), (503, "model_not_ready".into()));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn only_so_many_wait_and_a_client_that_leaves_makes_room() {
    let engine = FakeEngine::start().await;
    loading(&engine);
    let gateway = Gateway::start(Config { max_held: 1, ..waiting(&[&engine], 30_000) }).await;
    let mut first = JoinSet::new();
    first.spawn(gateway.request("/v1/chat/completions", chat(MODEL, false)).send());
    wait_until(SOON, async || held(&gateway).await == Some(1.0)).await;
    assert_eq!(gateway.chat(MODEL).await.failure(), (503, "model_not_ready".into()));
    first.abort_all();
    wait_until(SOON, async || held(&gateway).await == Some(0.0)).await;
}

#[tokio::test]
async fn a_stream_that_waits_long_is_kept_alive_and_then_answered() {
    let engine = FakeEngine::start().await;
    loading(&engine);
    let gateway = Gateway::start(waiting(&[&engine], 60_000)).await;
    let request = gateway.request("/v1/chat/completions", chat(MODEL, true));
    // The status line comes while the engine still loads.
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(first, ": waiting for the engine\n\n");
    engine.set(|b| b.health = Health::Ready);
    let rest = response.text().await.unwrap();
    assert!(rest.contains("token0") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn a_refusal_after_the_status_line_is_an_event() {
    let engine = FakeEngine::start().await;
    loading(&engine);
    let gateway = Gateway::start(waiting(&[&engine], 60_000)).await;
    let mut response = gateway.request("/v1/chat/completions", chat(MODEL, true)).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    engine.set(|b| {
        b.failure = Some((400, "{\"error\":{\n\"message\":\"too long\",\"code\":400}}".into()));
        b.health = Health::Ready;
    });
    let rest = response.text().await.unwrap();
    let event = rest.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let error: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(error["error"]["message"], "too long", "{rest}");
}

#[tokio::test]
async fn no_request_is_lost_while_its_engine_is_killed_again_and_again() {
    const KILLS: usize = 20;
    const CLIENTS: usize = 50;
    let engine = FakeEngine::start().await;
    let mut settings = waiting(&[&engine], 30_000);
    settings.limits.breaker_rest_ms = 50;
    let gateway = Gateway::started(settings).await;
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(async |_| {
        while !over.load(Ordering::Relaxed) {
            let answer = gateway.chat(MODEL).await;
            assert_eq!(answer.status, 200, "{}", answer.json());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    let storm = async {
        let mut engine = engine;
        for kill in 0..KILLS {
            let before = answered.load(Ordering::Relaxed);
            wait_until(SOON, async || answered.load(Ordering::Relaxed) > before + CLIENTS).await;
            let address = engine.kill().await;
            // Sometimes the engine is back at once, sometimes the probes see that it was gone.
            if kill % 4 == 0 {
                wait_until(SOON, async || gateway.states().await != ["ready"]).await;
            }
            let behaviour = Behaviour { started_unix_s: Some(1000 + kill as u64), ..Behaviour::default() };
            engine = FakeEngine::start_with(&address, behaviour).await;
        }
        over.store(true, Ordering::Relaxed);
        engine
    };
    let (_, _engine) = tokio::join!(join_all(clients), storm);
}

#[tokio::test]
async fn what_has_not_begun_to_be_answered_is_asked_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for (first, stream) in
        [(head.to_owned(), true), (plain("503 Loading", "{}"), true), (plain("503 Loading", "{}"), false)]
    {
        let asked = AtomicUsize::new(0);
        let engine = RawEngine::start(move |_, mut connection| {
            let again = asked.fetch_add(1, Ordering::Relaxed) > 0;
            let answer = if !again {
                first.clone()
            } else if stream {
                format!("{head}9\r\ndata: 1\n\n\r\n0\r\n\r\n")
            } else {
                plain("200 OK", "{}")
            };
            async move { connection.write_all(answer.as_bytes()).await.unwrap() }
        })
        .await;
        let gateway = Gateway::started(Config { hold_ms: 30_000, ..config(&[&engine.address]) }).await;
        let answer = gateway.post("/v1/chat/completions", chat(RAW_MODEL, stream)).await;
        let expected: &[u8] = if stream { b"data: 1\n\n" } else { b"{}" };
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, expected));
        assert_eq!(engine.received().len(), 2);
    }
}

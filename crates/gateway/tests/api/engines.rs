//! Engines that are dead, slow, or speak nonsense.

use std::time::{Duration, Instant};

use remora_testing::fake_engine::{Behaviour, FakeEngine, Health, MODEL};
use remora_testing::wait_until;
use tokio::io::AsyncWriteExt;

use crate::support::{Gateway, RAW_MODEL, RawEngine, SOON, config};

#[tokio::test]
async fn a_dead_engine_is_a_503_until_it_is_back() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    assert_eq!(gateway.chat(MODEL).await.status, 200);

    let address = engine.kill().await;
    let answer = gateway.chat(MODEL).await;
    let (status, code) = answer.failure();
    assert!(matches!((status, code.as_str()), (503, "upstream_unreachable")), "{status} {code}");
    assert!(answer.headers.contains_key("retry-after"));
    // Soon the probes know too, and the client hears why without a connection being tried.
    wait_until(SOON, async || gateway.chat(MODEL).await.failure().1 == "model_not_ready").await;
    let message = gateway.chat(MODEL).await.message();
    assert!(message.starts_with("the engine of `fake-model`, e0, is failed (nothing answers at http://"), "{message}");
    assert_eq!(gateway.get("/ready").await.status, 503);
    assert_eq!(gateway.metric(r#"remora_gateway_engine_ready{engine="e0"}"#).await, Some(0.0));

    let again = FakeEngine::start_with(&address, Behaviour::default()).await;
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 200).await;
    assert_eq!(gateway.get("/ready").await.status, 200);
    drop(again);
}

#[tokio::test]
async fn an_engine_killed_between_two_requests_costs_no_stale_connection() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    for _ in 0..20 {
        assert_eq!(gateway.chat(MODEL).await.status, 200);
    }
    let address = engine.kill().await;
    let _again = FakeEngine::start_with(&address, Behaviour::default()).await;
    // Pooled connections to the old process are closed; every request finds a new one.
    for _ in 0..20 {
        assert_eq!(gateway.chat(MODEL).await.status, 200);
    }
}

#[tokio::test]
async fn an_engine_that_is_loading_says_what_it_is_at() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.health = Health::Loading("reading weights".into()));
    let gateway = Gateway::start(config(&[&engine.address()])).await;
    wait_until(SOON, async || gateway.states().await == ["loading"]).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!(answer.failure(), (503, "model_not_ready".to_owned()));
    assert_eq!(answer.message(), "no engine serves `fake-model` yet; e0 is loading (reading weights)");
    engine.set(|b| b.health = Health::Ready);
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 200).await;
}

#[tokio::test]
async fn a_slow_engine_is_a_504_and_is_let_go() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.delay = Duration::from_mins(1));
    let mut settings = config(&[&engine.address()]);
    settings.first_byte_timeout_ms = 100;
    let gateway = Gateway::started(settings).await;
    let began = Instant::now();
    let answer = gateway.chat(MODEL).await;
    assert_eq!(answer.failure(), (504, "upstream_timeout".to_owned()));
    assert_eq!(answer.message(), "engine e0 did not begin to answer within 0.1 s");
    assert!(began.elapsed() < SOON);
    wait_until(SOON, async || engine.cancelled() == 1 && engine.in_flight() == 0).await;
    let outcome = format!(r#"remora_gateway_requests_total{{model="{MODEL}",engine="e0",outcome="Timeout"}}"#);
    assert_eq!(gateway.metric(&outcome).await, Some(1.0));
}

#[tokio::test]
async fn nonsense_is_a_502() {
    let nonsense: [&'static [u8]; 5] = [
        b"\x00\x01\x02 this is not HTTP\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"",
    ];
    for bytes in nonsense {
        let engine = RawEngine::start(move |_, mut stream| async move {
            stream.write_all(bytes).await.unwrap();
        })
        .await;
        let gateway = Gateway::before(&engine.address).await;
        let answer = gateway.chat(RAW_MODEL).await;
        assert_eq!(answer.failure(), (502, "upstream_failed".to_owned()), "{}", String::from_utf8_lossy(bytes));
        assert_eq!(engine.received().len(), 1, "what an engine has heard is not said twice");
    }
}

#[tokio::test]
async fn a_reset_is_a_502() {
    let engine = RawEngine::start(|_, stream| async move {
        #[expect(deprecated, reason = "a reset is what is wanted")]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    assert_eq!(gateway.chat(RAW_MODEL).await.failure(), (502, "upstream_failed".to_owned()));
}

#[tokio::test]
async fn a_refused_key_is_the_gateways_fault_not_the_clients() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.failure = Some((401, r#"{"error":"Unauthorized"}"#.into())));
    let gateway = Gateway::before(&engine.address()).await;
    assert_eq!(gateway.chat(MODEL).await.failure(), (502, "upstream_unauthorized".to_owned()));
}

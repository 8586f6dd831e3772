//! What is refused, and in which words.

use std::time::{Duration, Instant};

use futures::stream;
use remora_testing::fake_engine::{FakeEngine, MODEL};
use remora_types::engines::Capability;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, chat, config};

async fn one() -> (FakeEngine, Gateway) {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    (engine, gateway)
}

#[tokio::test]
async fn bodies_that_are_not_an_object_with_one_model() {
    let (engine, gateway) = one().await;
    let before = engine.received().len();
    let cases = [
        ("", "malformed_json"),
        ("model=fake-model", "malformed_json"),
        ("{\"model\":\"fake-model\",", "malformed_json"),
        ("{\"model\":\"fake-model\"}}", "malformed_json"),
        ("[1]", "invalid_body"),
        ("{\"model\":7}", "invalid_body"),
        ("{\"model\":\"a\",\"model\":\"b\"}", "invalid_body"),
    ];
    for (body, code) in cases {
        let answer = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(answer.failure(), (400, code.to_owned()), "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let forwarded = engine.received()[before..].iter().filter(|r| r.line.starts_with("POST")).count();
    assert_eq!(forwarded, 0, "no engine hears of a malformed body");
}

#[tokio::test]
async fn an_unknown_model_names_what_there_is() {
    let (_engine, gateway) = one().await;
    let answer = gateway.chat("gpt-9").await;
    assert_eq!(answer.failure(), (404, "model_not_found".to_owned()));
    insta::assert_snapshot!(answer.json(), @r#"{"error":{"message":"the model `gpt-9` does not exist; there are: fake-model","type":"invalid_request_error","code":"model_not_found","param":"model"}}"#);
    assert_eq!(gateway.metric(r#"remora_gateway_refused_total{code="model_not_found"}"#).await, Some(1.0));
    let hostile = "x".repeat(1 << 20);
    assert!(gateway.chat(&hostile).await.body.len() < 1000, "a name is not echoed at any length");
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_said() {
    let engine = FakeEngine::start().await;
    engine.set(|b| {
        b.capabilities.0.remove(&Capability::Embeddings);
    });
    let gateway = Gateway::before(&engine.address()).await;
    let answer = gateway.post("/v1/embeddings", format!(r#"{{"model":"{MODEL}","input":"x"}}"#)).await;
    assert_eq!(answer.failure(), (400, "unsupported_by_engine".to_owned()));
    assert_eq!(answer.message(), "the engine that serves `fake-model` cannot do embeddings");
}

#[tokio::test]
async fn oversized_bodies_are_refused_before_they_are_kept() {
    let engine = FakeEngine::start().await;
    let mut settings = config(&[&engine.address()]);
    settings.body_limit_bytes = 1000;
    let gateway = Gateway::started(settings).await;

    let fits = format!("{:<1000}", chat(MODEL, false));
    assert_eq!(gateway.post("/v1/chat/completions", fits.clone()).await.status, 200);
    let announced = gateway.post("/v1/chat/completions", format!("{fits} ")).await;
    assert_eq!(announced.failure(), (413, "body_too_large".to_owned()));
    let chunks = stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let chunked = gateway.post("/v1/chat/completions", reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(chunked.failure(), (413, "body_too_large".to_owned()));
    // Far more than sockets hold: the client is still sending when it is refused, and must hear why.
    let huge = gateway.post("/v1/chat/completions", vec![b' '; 32 << 20]).await;
    assert_eq!(huge.failure(), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn an_announced_size_is_enough_to_be_refused() {
    let (_engine, gateway) = one().await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut stream = TcpStream::connect(gateway.url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\n{expect}content-length: 99999999999\r\n\r\n");
        let began = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn administrative_paths_never_reach_the_engine() {
    let (engine, gateway) = one().await;
    let paths = [
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/adapters",
        "/adapters/a",
        "/invocations",
        "/ping",
        "/version",
        "/load",
        "/sleep?level=2",
        "/wake_up",
        "/is_sleeping",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/server_info",
        "/pause",
        "/update_weights",
        "/abort_requests",
        "/scale_elastic_ep",
        "/start_profile",
        "/tokenizer_info",
        "/kv_event_sources",
        "/inference/v1/generate",
        "/score",
        "/rerank",
        "/v1/rerank",
        "/pooling",
        "/v1/chat/completions/batch",
        "/v1/chat/completions/",
        "/v1/chat/completions/../../adapters",
        "/v1/chat/completions/%2e%2e/%2e%2e/adapters",
        "//adapters",
        "/v1/../adapters",
        "/V1/load_lora_adapter",
    ];
    let body = format!(r#"{{"model":"{MODEL}","lora_name":"a","lora_path":"/x","messages":[]}}"#);
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            // Written by hand: clients tidy paths up before they send them.
            let mut stream = TcpStream::connect(gateway.url.strip_prefix("http://").unwrap()).await.unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{method} {path}: {answer}");
        }
    }
    let own = ["/metrics", "/health", "/openapi.json", "/docs"];
    for path in own {
        assert_eq!(gateway.get(path).await.status, 200, "{path} is the gateway's own");
    }
    // What the engine did hear is the probes' work, which ask with an empty object.
    let heard = engine.received();
    let beyond = heard.iter().filter(|r| !r.body.is_empty() && r.body != "{}" && !r.line.ends_with("/tokenize"));
    assert_eq!(beyond.count(), 0, "{heard:#?}");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_told_as_openai_tells_them() {
    let (_engine, gateway) = one().await;
    let unknown = gateway.get("/v1/files").await;
    assert_eq!(unknown.failure(), (404, "unknown_url".to_owned()));
    let wrong = gateway.get("/v1/chat/completions").await;
    assert_eq!(wrong.failure(), (405, "method_not_supported".to_owned()));
    let wrong = gateway.post("/v1/models", "{}").await;
    assert_eq!(wrong.failure(), (405, "method_not_supported".to_owned()));
}

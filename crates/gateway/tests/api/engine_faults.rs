//! Every way in which an engine can fail, in both dialects, streamed and not: what comes out is always well-formed.

use std::time::Duration;

use remora_gateway::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Gateway, RAW_MODEL, RawEngine, config, plain};

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const PIECE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What an engine sends, and whether it then keeps the connection open in silence.
struct Fault {
    name: &'static str,
    sends: String,
    stalls: bool,
}

fn faults() -> Vec<Fault> {
    let fault = |name, sends: String, stalls| Fault { name, sends, stalls };
    let error = |status: &str, body: &str| plain(status, body);
    vec![
        fault("silence", String::new(), true),
        fault("half a status line", "HTTP/1.1 2".into(), true),
        fault("half the headers", "HTTP/1.1 200 OK\r\ncontent-ty".into(), false),
        fault("a close", String::new(), false),
        fault("garbage", "\x01\x02 not HTTP\r\n\r\n".into(), false),
        fault("a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".into(), false),
        fault("less than its length", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"a\":1}".into(), false),
        fault("less than its length, then silence", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".into(), true),
        fault("500", error("500 Oh", "{\"error\":{\"message\":\"sick\"}}"), false),
        fault("500 in HTML", error("500 Oh", "<html>"), false),
        fault("503 without a body", error("503 No", ""), false),
        fault("a stream that stops", EVENTS.to_owned() + &chunk(PIECE), true),
        fault("a stream that breaks", EVENTS.to_owned() + &chunk(PIECE), false),
        fault("a stream that breaks in a chunk", EVENTS.to_owned() + &chunk(PIECE) + "ff\r\ndata: {\"cho", false),
        fault("a stream of garbage chunks", EVENTS.to_owned() + &chunk(PIECE) + "zz\r\n", false),
        fault("a stream without a word", EVENTS.to_owned() + "0\r\n\r\n", false),
    ]
}

async fn behind(fault: &Fault) -> (RawEngine, Gateway) {
    let (sends, stalls) = (fault.sends.clone(), fault.stalls);
    let engine = RawEngine::start(move |_, mut stream| {
        let sends = sends.clone();
        async move {
            let _ = stream.write_all(sends.as_bytes()).await;
            if stalls {
                let _ = stream.read(&mut [0]).await;
            }
        }
    })
    .await;
    let mut settings = Config { first_byte_timeout_ms: 400, idle_timeout_ms: 400, ..config(&[&engine.address]) };
    settings.limits.breaker_failures = 0;
    let gateway = Gateway::started(settings).await;
    (engine, gateway)
}

/// The answer, or nothing where the connection broke in the middle of it.
async fn asked(gateway: &Gateway, path: &str, stream: bool) -> Option<Answer> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": RAW_MODEL, "max_tokens": 9, "messages": messages, "stream": stream}).to_string();
    let response = gateway.request(path, body).send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.ok()?;
    Some(Answer { status, headers, body })
}

/// The data of each event; whatever is no event fails.
fn events(text: &str, fault: &str) -> Vec<String> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    let data = |block: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix("data:"));
        line.unwrap_or_else(|| panic!("{fault}: {text}")).trim().to_owned()
    };
    blocks.map(data).collect()
}

#[tokio::test]
async fn whole_answers() {
    for fault in faults() {
        let name = fault.name;
        let (_engine, gateway) = behind(&fault).await;
        // Half an answer in OpenAI's dialect, which goes through as it comes, breaks the connection; an event stream is
        // ended with an event even where none was asked for.
        if let Some(answer) = asked(&gateway, "/v1/chat/completions", false).await
            && answer.status.as_u16() >= 400
        {
            let own = answer.headers["content-type"] == "application/json" && answer.status.as_u16() >= 502;
            assert!(!own || answer.body.is_empty() || answer.json()["error"]["message"].is_string(), "{name}");
        }
        let answer = asked(&gateway, "/v1/messages", false).await.unwrap();
        let body = answer.json();
        assert!(answer.status.as_u16() >= 500, "{name}: {body}");
        assert!(body["type"] == "error" && body["error"]["type"].is_string(), "{name}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{name}: {body}");
    }
}

#[tokio::test]
async fn streams_in_openais_dialect() {
    for fault in faults() {
        let name = fault.name;
        let (_engine, gateway) = behind(&fault).await;
        let Some(answer) = asked(&gateway, "/v1/chat/completions", true).await else {
            assert!(name.starts_with("less than"), "{name}");
            continue;
        };
        let is_stream = answer.headers["content-type"].to_str().unwrap().starts_with("text/event-stream");
        if !is_stream {
            assert!(answer.status.as_u16() >= 500, "{name}");
            continue;
        }
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        if name == "a stream without a word" {
            assert_eq!(text, "", "what an engine ends by itself is passed on as it is");
            continue;
        }
        assert!(text.starts_with(PIECE) && !text.contains("[DONE]"), "{name}: {text}");
        let last: Value = serde_json::from_str(events(&text, name).last().unwrap()).unwrap();
        assert!(last["error"]["message"].is_string() && last["error"]["code"].is_string(), "{name}: {text}");
    }
}

#[tokio::test]
async fn streams_in_anthropics_dialect() {
    for fault in faults() {
        let name = fault.name;
        let (_engine, gateway) = behind(&fault).await;
        let answer = asked(&gateway, "/v1/messages", true).await.unwrap();
        if answer.status != 200 {
            assert_eq!(answer.json()["type"], "error", "{name}");
            continue;
        }
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("message_stop"), "{name}: {text}");
        let last: Value = serde_json::from_str(events(&text, name).last().unwrap()).unwrap();
        assert_eq!(last["type"], "error", "{name}: {text}");
        assert!(last["error"]["message"].is_string(), "{name}: {text}");
    }
}

#[tokio::test]
async fn slow_headers_are_waited_for_up_to_the_limit() {
    let engine = RawEngine::start(|_, mut stream| async move {
        for byte in plain("200 OK", "{}").bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let gateway = Gateway::before(&engine.address).await;
    assert_eq!(gateway.chat(RAW_MODEL).await.body, "{}");
}

//! Bytes go through as they came, and nothing else does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use remora_testing::{FakeEngine, fake_engine::MODEL};
use remora_types::engines::EngineAddress;

use crate::support::{Gateway, RAW_MODEL, RawEngine, config};

/// An answer that no JSON library would write like this.
const ODD_ANSWER: &str = "{ \"id\" :\t\"x\\u00e9\\/\" ,\n\n \"n\":1.50E+3,\"n\":2 }\r\n";

fn odd_engine_answer() -> String {
    format!(
        "HTTP/1.1 203 Odd\r\ncontent-type: application/json; charset=UTF-8\r\nx-engine: yes\r\nset-cookie: a=b\r\n\
         connection: close, x-hop\r\nx-hop: 1\r\ncontent-length: {}\r\n\r\n{ODD_ANSWER}",
        ODD_ANSWER.len()
    )
}

#[tokio::test]
async fn hostile_spacing_escapes_and_headers_pass_both_ways() {
    let engine = RawEngine::answering(odd_engine_answer()).await;
    let gateway = Gateway::before(&engine.address).await;
    // The model's name is escaped, doubled keys elsewhere are the engine's to judge, and the text is not even NFC.
    let body = "\r\n{ \"messages\" : [ {\"role\":\"user\",\"content\":\"e\u{301}\\u0000\\ud83d\\ude00 \\\"model\\\":\\\"x\\\"\"} ],\t\
                \"n\":1e0 ,\"n\":1,  \"model\"\n:\n\"r\\u0061w\\/model\" , \"x\":{\"model\":3}}\n ";
    let request = gateway.request("/v1/chat/completions", body);
    let answer = gateway.send(request.header("x-request-id", "mine-1").header("accept", "a/b")).await;

    assert_eq!(answer.status, 203);
    assert_eq!(answer.body, ODD_ANSWER.as_bytes());
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert_eq!(answer.headers["x-engine"], "yes");
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    for dropped in ["set-cookie", "x-hop", "connection"] {
        assert!(!answer.headers.contains_key(dropped), "{dropped}");
    }
    let received = &engine.received()[0];
    assert_eq!(received.body, body.as_bytes());
    assert!(received.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", received.head);
    assert_eq!(received.header("x-request-id"), Some("mine-1"));
    assert_eq!(received.header("accept"), Some("a/b"));
}

#[tokio::test]
async fn an_engine_sees_nothing_of_who_the_client_is() {
    let engine = RawEngine::answering(odd_engine_answer()).await;
    let mut settings = config(&[&engine.address]);
    settings.engines[0].api_key = Some("sk-engine".into());
    let gateway = Gateway::started(settings).await;
    let request = gateway
        .request("/v1/completions?api-key=secret", format!(r#"{{"model":"{RAW_MODEL}","prompt":"x"}}"#))
        .header("authorization", "Bearer secret")
        .header("cookie", "session=secret")
        .header("x-api-key", "secret")
        .header("tailscale-user-login", "secret@example.org")
        .header("x-forwarded-for", "100.64.0.1")
        .header("x-anything", "secret");
    gateway.send(request).await;
    let received = &engine.received()[0];
    assert!(!received.head.contains("secret") && !received.head.contains("100.64"), "{}", received.head);
    assert!(received.head.starts_with("POST /v1/completions HTTP/1.1"), "{}", received.head);
    assert_eq!(received.header("authorization"), Some("Bearer sk-engine"));
    assert_eq!(received.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_body_of_many_megabytes_arrives_whole() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    let text = "0123456789abcd\\n".repeat(1 << 20);
    let body = format!(r#"{{"prompt":"{text}","model":"{MODEL}"}}"#);
    let answer = gateway.post("/v1/completions", body.clone()).await;
    assert_eq!(answer.status, 200);
    let received = engine.received().into_iter().find(|r| r.body.len() > 1000).unwrap();
    assert!(received.body == body.as_bytes());
}

#[tokio::test]
async fn every_path_reaches_an_engine_over_tcp_and_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let unix = FakeEngine::start_unix(&folder.path().join("engine.sock")).await;
    let tcp = FakeEngine::start().await;
    for engine in [unix, tcp] {
        let gateway = Gateway::before(&engine.address()).await;
        let bodies = [
            ("/v1/chat/completions", "messages"),
            ("/v1/completions", "prompt"),
            ("/v1/embeddings", "input"),
            ("/v1/responses", "input"),
            ("/tokenize", "prompt"),
            ("/detokenize", "tokens"),
        ];
        for (path, key) in bodies {
            let body = format!(r#"{{"model":"{MODEL}","{key}":"abc"}}"#);
            let answer = gateway.post(path, body.clone()).await;
            assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
            let received = engine.received();
            let last = received.iter().rfind(|r| r.line == format!("POST {path}")).unwrap();
            assert_eq!(last.body, body);
        }
    }
}

#[tokio::test]
async fn a_prefix_in_the_address_stands_before_every_path() {
    let engine = RawEngine::answering(odd_engine_answer()).await;
    let EngineAddress::Tcp { authority, .. } = &engine.address else { panic!("a TCP engine") };
    let prefixed: EngineAddress = format!("http://{authority}").parse().unwrap();
    let gateway = Gateway::before(&prefixed).await;
    gateway.chat(RAW_MODEL).await;
    assert_eq!(engine.received()[0].header("host"), Some(authority.as_str()));
}

#[tokio::test]
async fn an_engines_own_errors_pass_untouched() {
    let engine = FakeEngine::start().await;
    let text = r#"{"error": {"message":"too long","type":"BadRequestError","param":null,"code":400} }"#;
    engine.set(|b| b.failure = Some((400, text.into())));
    let gateway = Gateway::before(&engine.address()).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (400, text.as_bytes()));
}

#[tokio::test]
async fn aliases_default_and_no_model_become_the_real_name() {
    let engine = RawEngine::answering(odd_engine_answer()).await;
    let mut settings = config(&[&engine.address]);
    settings.aliases = aliases(&[("qwen-2.5-3b", "chain"), ("chain", RAW_MODEL)]);
    let gateway = Gateway::started(settings).await;
    let bodies = [
        (r#"{"model":"qwen-2.5-3b" ,"x": 1.0}"#, r#"{"model":"raw/model" ,"x": 1.0}"#),
        (r#"{"x":"\u0041", "model" :"default"}"#, r#"{"x":"\u0041", "model" :"raw/model"}"#),
        (r#"{"model":""}"#, r#"{"model":"raw/model"}"#),
        (r#"{"x":1,"model": null}"#, r#"{"x":1,"model": "raw/model"}"#),
        (r#"{ "x":1}"#, r#"{"model":"raw/model", "x":1}"#),
    ];
    for (sent, expected) in bodies {
        let answer = gateway.post("/v1/completions", sent).await;
        assert_eq!(answer.status, 203, "{:?}", answer.body);
        let received = engine.received().pop().unwrap();
        assert_eq!(String::from_utf8(received.body).unwrap(), expected);
    }
}

fn aliases(of: &[(&str, &str)]) -> BTreeMap<remora_types::ModelId, remora_types::ModelId> {
    of.iter().map(|(alias, target)| (alias.parse().unwrap(), target.parse().unwrap())).collect()
}

#[test]
fn any_body_reaches_the_engine_as_it_was_but_for_an_alias() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (engine, gateway) = runtime.block_on(async {
        let engine = FakeEngine::start().await;
        let mut settings = config(&[&engine.address()]);
        settings.aliases = aliases(&[("nick", MODEL)]);
        let gateway = Gateway::started(settings).await;
        (engine, gateway)
    });
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(text in "\\PC{0,200}", key in "[a-z]{1,8}", alias in any::<bool>(), pretty in any::<bool>())| {
        prop_assume!(key != "model");
        let name = if alias { "nick" } else { MODEL };
        let object = serde_json::json!({ key.as_str(): text, "model": name, "messages": [] });
        let body = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let answer = runtime.block_on(gateway.post("/v1/chat/completions", body.clone()));
        prop_assert_eq!(answer.status, 200);
        let received = engine.received().pop().unwrap();
        // "nick" is written by nobody but the alias, since keys and texts that hold it are JSON strings of their own.
        let expected = if alias { body.replacen(r#""nick""#, &format!(r#""{MODEL}""#), usize::MAX) } else { body };
        if !expected.contains(&format!(r#"\"{MODEL}"#)) {
            prop_assert_eq!(received.body, expected);
        }
    });
}

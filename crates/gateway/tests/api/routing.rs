//! Which of several engines with the same model is asked.

use remora_testing::fake_engine::{FakeEngine, MODEL, base_model};
use remora_testing::wait_until;
use remora_types::engines::EngineModel;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Gateway, SOON, config};

async fn three() -> (Vec<FakeEngine>, Gateway) {
    let engines = vec![FakeEngine::start().await, FakeEngine::start().await, FakeEngine::start().await];
    let addresses: Vec<_> = engines.iter().map(FakeEngine::address).collect();
    let gateway = Gateway::started(config(&addresses.iter().collect::<Vec<_>>())).await;
    (engines, gateway)
}

fn counts(engines: &[FakeEngine]) -> Vec<usize> {
    let asked = |engine: &FakeEngine| {
        // Probes ask with an empty object.
        let chats = engine.received().into_iter().filter(|request| request.line == "POST /v1/chat/completions");
        chats.filter(|request| request.body != "{}").count()
    };
    engines.iter().map(asked).collect()
}

/// A conversation that has gone on for so many turns.
fn conversation(name: &str, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "user", "content": format!("I am {name}")})];
    for turn in 0..turns {
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
    }
    json!(messages)
}

#[tokio::test]
async fn a_conversation_stays_with_its_engine_and_others_spread() {
    let (engines, gateway) = three().await;
    for name in 0..30 {
        let mut before = counts(&engines);
        let mut homes = std::collections::BTreeSet::new();
        for turns in 0..4 {
            let body = json!({"model": MODEL, "messages": conversation(&name.to_string(), turns)}).to_string();
            assert_eq!(gateway.post("/v1/chat/completions", body).await.status, 200);
            let after = counts(&engines);
            homes.insert((0..3).find(|engine| after[*engine] > before[*engine]).unwrap());
            before = after;
        }
        assert_eq!(homes.len(), 1, "conversation {name}");
    }
    assert!(counts(&engines).iter().all(|count| *count >= 12), "{:?}", counts(&engines));
}

#[tokio::test]
async fn claude_codes_billing_line_does_not_move_a_conversation() {
    let (engines, gateway) = three().await;
    for token in 0..12 {
        let system = json!([
            {"type": "text", "text": format!("x-anthropic-billing-header: cc_version=2; cch={token:05};")},
            {"type": "text", "text": "Be brief."},
        ]);
        let messages = conversation("one", token % 3);
        let body = json!({"model": MODEL, "max_tokens": 9, "system": system, "messages": messages}).to_string();
        assert_eq!(gateway.post("/v1/messages", body).await.status, 200);
    }
    let mut counts = counts(&engines);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 12]);
}

#[tokio::test]
async fn a_busy_engine_gives_work_away() {
    let (engines, gateway) = three().await;
    for engine in &engines {
        engine.set(|b| b.delay = std::time::Duration::from_mins(1));
    }
    let mut open = JoinSet::new();
    let body = json!({"model": MODEL, "messages": conversation("one", 0)}).to_string();
    for sent in 1..=12 {
        open.spawn(gateway.request("/v1/chat/completions", body.clone()).send());
        wait_until(SOON, async || counts(&engines).iter().sum::<usize>() == sent).await;
    }
    // A quarter above the share of four is five.
    let mut counts = counts(&engines);
    counts.sort_unstable();
    assert_eq!(counts.iter().max(), Some(&5), "{counts:?}");
    assert!(counts[0] >= 2, "{counts:?}");
}

#[tokio::test]
async fn models_adapters_agents_and_aliases_of_them_find_their_engine() {
    let (model, agents) = (FakeEngine::start().await, FakeEngine::start().await);
    let adapter = EngineModel { parent: Some(MODEL.to_owned()), id: "sql".parse().unwrap(), ..base_model("unused") };
    model.set(|b| b.models.push(adapter));
    agents.set(|b| b.models = vec![base_model("agent/assistant")]);
    let mut settings = config(&[&model.address(), &agents.address()]);
    for (alias, target) in [("quick", MODEL), ("query", "sql"), ("qwen-2.5-3b", "agent/assistant")] {
        settings.aliases.insert(alias.parse().unwrap(), target.parse().unwrap());
    }
    let gateway = Gateway::started(settings).await;
    let asked = |engine: &FakeEngine| {
        let received = engine.received();
        let last = received.iter().rfind(|request| request.line == "POST /v1/chat/completions").unwrap();
        serde_json::from_slice::<Value>(&last.body).unwrap()["model"].clone()
    };
    for (name, engine, own) in [
        (MODEL, &model, MODEL),
        ("quick", &model, MODEL),
        ("sql", &model, "sql"),
        ("query", &model, "sql"),
        ("agent/assistant", &agents, "agent/assistant"),
        ("qwen-2.5-3b", &agents, "agent/assistant"),
    ] {
        assert_eq!(gateway.chat(name).await.status, 200, "{name}");
        assert_eq!(asked(engine), own, "{name}");
        let body = json!({"model": name, "max_tokens": 9, "messages": conversation("one", 0)}).to_string();
        let answer = gateway.post("/v1/messages", body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["model"]), (200, &name.into()));
        assert_eq!(asked(engine), own, "{name}");
    }
}

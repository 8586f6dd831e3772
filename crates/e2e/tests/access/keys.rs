//! A key's life, over services that are processes of their own.

use std::fmt::Write;
use std::process::Output;
use std::time::Duration;

use jiff::Timestamp;
use remora_e2e::program;
use remora_testing::fake_engine::{MODEL, base_model};
use remora_testing::wait_until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::processes::Processes;
use crate::stack::{STRANGER, USER, code_of, from, outcome};
use crate::wire::Wire;

/// A second is promised; more is for a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn said(status: u16, code: &str) -> Vec<(u16, String)> {
    vec![(status, code.to_owned()); 3]
}

async fn remora(processes: &Processes, key: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("remora"));
    let server = processes.gateway();
    command.args(arguments).env_clear().env("REMORA_KEY", key).env("REMORA_SERVER", server);
    command.current_dir(processes.state.path()).output().await.unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_key_made_by_command_line_works_everywhere_until_it_is_revoked_there() {
    let processes = Processes::ready().await;
    let admin = text(&processes.create_key(&json!({"name": "root", "role": "admin"})).await["key"]);
    let options = ["key", "create", "--name", "ci", "--role", "use", "--expires", "90d"];
    let key = stdout(&remora(&processes, &admin, &options).await).trim().to_owned();
    let (prefix, secret) = key.rsplit_once('_').unwrap();
    assert!(prefix.starts_with("rmr_") && secret.len() == 64, "the key alone is on stdout");
    assert_eq!(processes.said_to(&key, STRANGER).await, said(200, ""));

    let list = stdout(&remora(&processes, &admin, &["key", "list"]).await);
    assert!(list.contains("ci") && !list.contains(secret), "{list}");
    let refused = remora(&processes, &key, &["key", "list"]).await;
    assert!(!refused.status.success(), "a key with use lists no keys: {refused:?}");

    // Connections that are open are no different.
    let mut kept = Wire::open_from(processes.gateway(), STRANGER).await;
    let header = format!("x-api-key: {key}");
    assert_eq!(kept.get("/v1/models", &[&header]).await.status, 200);
    assert!(remora(&processes, &admin, &["key", "revoke", "ci"]).await.status.success());
    let asked = std::time::Instant::now();
    for (name, url) in processes.services() {
        wait_until(SOON, async || {
            let said = outcome(from(USER).get(format!("{url}/status")).bearer_auth(&key)).await;
            assert!(said.0 == 200 || said == (401, "key_ended".into()), "{name}: {said:?}");
            said.0 == 401
        })
        .await;
    }
    assert!(asked.elapsed() < SOON, "all of them in the time that each has");
    assert_eq!(kept.get("/v1/models", &[&header]).await.status, 401);
    let list = stdout(&remora(&processes, &admin, &["key", "list"]).await);
    assert!(list.contains("revoked"), "{list}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_nowhere() {
    let processes = Processes::ready().await;
    let created = processes.create_key(&json!({"name": "once", "role": "use"})).await;
    let key = text(&created["key"]);
    let secret = key.rsplit('_').next().unwrap();
    assert_eq!(processes.said_to(&key, STRANGER).await, said(200, ""));
    let (status, list) = processes.administer(Method::GET, "/keys", None).await;
    assert_eq!((status, &list["keys"][0]["name"], &list["keys"][0]["key"]), (200, &json!("once"), &Value::Null));
    assert!(!list.to_string().contains(secret), "{list}");

    let raw = hex::decode(secret).unwrap();
    let mut files = 0;
    for folder in ["keys", "audit", "credentials"] {
        for file in std::fs::read_dir(processes.state.path().join(folder)).unwrap().flatten() {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            assert!(!holds(secret.as_bytes()) && !holds(&raw), "{} holds the secret", file.path().display());
            files += 1;
        }
    }
    assert!(files >= 3, "there are files to look into");
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        processes.state.path().join(path).metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("keys/keys.sqlite") & 0o007, 0, "others may not read it");
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let processes = Processes::ready().await;
    let end = Timestamp::now() + Duration::from_secs(4);
    let created = processes.create_key(&json!({"name": "short", "role": "use", "expires_at": end.to_string()})).await;
    let key = text(&created["key"]);
    assert_eq!(processes.said_to(&key, STRANGER).await, said(200, ""));
    wait_until(Duration::from_secs(20), async || processes.said_to(&key, USER).await == said(401, "key_ended")).await;
    assert!(Timestamp::now() >= end, "not before its end");
    let past = json!({"name": "past", "role": "use", "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(processes.administer(Method::POST, "/keys", Some(&past)).await.0, 400);
}

#[tokio::test]
async fn a_key_for_some_models_sees_and_asks_no_other() {
    let processes = Processes::ready().await;
    processes.engine.set(|behaviour| behaviour.models.push(base_model("secret-model")));
    let all = async |key: &str| {
        let answer = from(STRANGER).get(format!("{}/v1/models", processes.gateway())).bearer_auth(key).send().await;
        let list: Value = answer.unwrap().json().await.unwrap();
        list["data"].as_array().unwrap().iter().map(|model| text(&model["id"])).collect::<Vec<_>>()
    };
    let any = text(&processes.create_key(&json!({"name": "any", "role": "use"})).await["key"]);
    wait_until(Duration::from_secs(20), async || all(&any).await.len() == 2).await;
    let new = json!({"name": "some", "role": "use", "models": [MODEL]});
    let some = text(&processes.create_key(&new).await["key"]);
    assert_eq!(all(&some).await, [MODEL]);
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        let request = from(STRANGER).post(format!("{}/v1/chat/completions", processes.gateway()));
        outcome(request.bearer_auth(&some).json(&body)).await
    };
    assert_eq!(ask(MODEL).await.0, 200);
    assert_eq!(ask("secret-model").await, (403, "model_not_allowed".into()));
    let get = async |model: &str| {
        outcome(from(STRANGER).get(format!("{}/v1/models/{model}", processes.gateway())).bearer_auth(&some)).await.0
    };
    assert_eq!(get(MODEL).await, 200);
    assert!(matches!(get("secret-model").await, 403 | 404), "what the list hides is not told one by one either");
}

#[tokio::test]
async fn limits_a_minute_are_kept_and_say_when_to_come_back() {
    let processes = Processes::ready().await;
    let new = json!({"name": "slow", "role": "use", "requests_per_minute": 2});
    let key = text(&processes.create_key(&new).await["key"]);
    let get = || from(STRANGER).get(format!("{}/v1/models", processes.gateway())).bearer_auth(&key);
    for _ in 0..2 {
        assert_eq!(outcome(get()).await.0, 200);
    }
    let refused = get().send().await.unwrap();
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(code_of(refused).await.0, 429);

    let new = json!({"name": "brief", "role": "use", "tokens_per_minute": 1});
    let key = text(&processes.create_key(&new).await["key"]);
    let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let chat =
        || from(STRANGER).post(format!("{}/v1/chat/completions", processes.gateway())).bearer_auth(&key).json(&body);
    let answer = chat().send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("[DONE]"), "what was begun is finished");
    let refused = chat().send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.status(), 429);
}

#[tokio::test]
async fn guessing_gets_slow_for_the_one_who_guesses() {
    let processes = Processes::ready().await;
    let key = text(&processes.create_key(&json!({"name": "right", "role": "use"})).await["key"]);
    let id = key.split('_').nth(1).unwrap();
    let wrong = format!("rmr_{id}_{}", "0".repeat(64));
    let (guesser, other) = ("127.0.3.1", "127.0.3.2");
    for (name, url) in processes.services() {
        let ask = |address: &str, key: &str| outcome(from(address).get(format!("{url}/status")).bearer_auth(key));
        for guess in 0..6 {
            assert_eq!(ask(guesser, &wrong).await, (401, "invalid_key".into()), "{name}, guess {guess}");
        }
        assert_eq!(ask(guesser, &wrong).await, (429, "too_many_attempts".into()), "{name}");
        assert_eq!(ask(other, &key).await.0, 200, "{name}: others are not slowed");
        assert_eq!(outcome(from(guesser).get(format!("{url}/health"))).await.0, 200);
    }
    // Its time over, the right key is let in.
    let status = format!("{}/status", processes.gateway());
    wait_until(Duration::from_secs(20), async || outcome(from(guesser).get(&status).bearer_auth(&key)).await.0 == 200)
        .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_never_passed_over() {
    let processes = Processes::ready().await;
    let status = format!("{}/status", processes.gateway());
    let user = || from(USER).get(&status);
    assert_eq!(outcome(user()).await.0, 200);
    assert_eq!(outcome(user().bearer_auth("rmr_00000000_0000")).await, (401, "invalid_key".into()));
    assert_eq!(outcome(user().header("x-api-key", "rmr_")).await, (401, "invalid_key".into()));
    assert_eq!(outcome(user().header("x-remora-service", "x.y")).await, (401, "invalid_service_token".into()));
    // Editors insist on some key; that is nobody's business.
    assert_eq!(outcome(user().bearer_auth("sk-unused")).await.0, 200);
}

#[tokio::test]
async fn keys_and_tokens_are_not_told_anywhere() {
    let processes = Processes::ready().await;
    let right = text(&processes.create_key(&json!({"name": "quiet", "role": "use"})).await["key"]);
    let wrong = format!("rmr_deadbeef_{}", "5ec4e7".repeat(10) + "0123");
    let token = "c2VjcmV0LXRva2VuLW9mLWEtc2VydmljZQ.c2VjcmV0LXNpZ25hdHVyZQ";
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "a private question"}]});
    let mut told = String::new();
    for (_, url) in processes.services() {
        for path in ["/status", "/metrics", "/v1/chat/completions", "/no/such/path", "/whoami"] {
            let request = |address: &str| match path {
                "/v1/chat/completions" => from(address).post(format!("{url}{path}")).json(&body),
                _ => from(address).get(format!("{url}{path}")),
            };
            for request in [
                request(STRANGER).bearer_auth(&right),
                request(STRANGER).header("x-api-key", &right),
                request("127.0.3.1").bearer_auth(&wrong),
                request("127.0.3.2").header("x-remora-service", token),
            ] {
                let answer = request.send().await.unwrap();
                writeln!(told, "{:?}", answer.headers()).unwrap();
                told += &answer.text().await.unwrap();
            }
        }
    }
    let asked = processes.engine.received();
    let asked = asked.iter().filter(|request| request.body.windows(7).any(|window| window == b"private"));
    assert_eq!(asked.count(), 2, "the right key, in either header");
    for request in processes.engine.received() {
        // The engine is the one that is to know the question.
        writeln!(told, "{} {:?}", request.line, request.headers).unwrap();
    }
    for (name, _) in processes.services() {
        let log = processes.log(name);
        assert!(log.contains("DEBUG"), "{name} logs at debug level: {log}");
        told += &log;
    }
    for secret in [right.rsplit('_').next().unwrap(), wrong.rsplit('_').next().unwrap()] {
        assert!(!told.contains(secret), "a key is told: {}", around(&told, secret));
    }
    for secret in token.split('.').chain(["a private question"]) {
        assert!(!told.contains(secret), "{secret} is told: {}", around(&told, secret));
    }
    // Its own tokens are in none of its logs either: they begin with these claims.
    assert!(!told.contains("eyJrZXkiOi"), "a service token is told: {}", around(&told, "eyJrZXkiOi"));
}

fn around<'a>(text: &'a str, what: &str) -> &'a str {
    text.lines().find(|line| line.contains(what)).unwrap_or_default()
}

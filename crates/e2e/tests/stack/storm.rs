//! An engine that dies again and again under load: nobody who has heard nothing yet hears of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use remora_e2e::Up;
use remora_testing::{wait_for, wait_until};
use reqwest::Client;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const KILLS: usize = 20;
const CLIENTS: usize = 50;

/// For the whole storm; also longer than anything in it may wait.
const LIMIT: Duration = Duration::from_secs(85);

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Its answer had begun, and was ended as the dialect says.
    BrokenOff,
    /// Nothing of an answer had come, and it failed, as the dialect says.
    Failed(String),
    /// Not as the dialect says.
    Wrong(String),
}

/// What is asked, in turn.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Stream,
    Messages,
}

#[derive(Default)]
struct Storm {
    over: AtomicBool,
    /// Streams of which something has been heard and that are not at their end.
    flowing: AtomicUsize,
}

impl Storm {
    /// One client: one request after the other until the storm is over.
    async fn weather(&self, http: &Client, gateway: &str, number: usize) -> Vec<End> {
        let mut ends = Vec::new();
        for turn in number.. {
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let kind = [Kind::Plain, Kind::Stream, Kind::Messages][turn % 3];
            ends.push(self.ask(http, gateway, kind, turn).await);
        }
        ends
    }

    async fn ask(&self, http: &Client, gateway: &str, kind: Kind, turn: usize) -> End {
        let path = if matches!(kind, Kind::Messages) { "/v1/messages" } else { "/v1/chat/completions" };
        let body = json!({
            "model": "default", "max_tokens": 64, "ignore_eos": true, "stream": !matches!(kind, Kind::Plain),
            "messages": [{"role": "user", "content": format!("count to {}", turn % 20)}],
        });
        let mut answer = match http.post(format!("{gateway}{path}")).json(&body).send().await {
            Ok(answer) => answer,
            Err(error) => return End::Wrong(format!("{kind:?}: {error:?}")),
        };
        if answer.status() != 200 {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            let end = if is_error(&text) { End::Failed } else { End::Wrong };
            return end(format!("{kind:?}: {status}: {text}"));
        }
        if matches!(kind, Kind::Plain) {
            return match answer.json::<Value>().await {
                Ok(body) if body["choices"][0]["message"]["content"].is_string() => End::Whole,
                Ok(body) => End::Wrong(format!("{kind:?}: {body}")),
                // Half a body is never taken for a whole one: its connection breaks.
                Err(_) => End::BrokenOff,
            };
        }
        let (mut text, mut flows) = (String::new(), false);
        let end = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    text.push_str(&String::from_utf8_lossy(&chunk));
                    if !flows && has_begun(&text) {
                        flows = true;
                        self.flowing.fetch_add(1, Ordering::SeqCst);
                    }
                }
                Ok(None) => break ended(&text),
                Err(error) => break End::Wrong(format!("{kind:?}: {error:?} after {text}")),
            }
        };
        if flows {
            self.flowing.fetch_sub(1, Ordering::SeqCst);
        }
        end
    }
}

/// The events of a stream: their data.
fn events(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
}

fn is_error(data: &str) -> bool {
    serde_json::from_str::<Value>(data).is_ok_and(|event| event["error"]["message"].is_string())
}

/// Whether an engine has said something; comments, pings and failures are the gateway's own.
fn has_begun(text: &str) -> bool {
    events(text).any(|data| !is_error(data) && !data.contains("\"ping\""))
}

/// How a stream ended, in either dialect.
fn ended(text: &str) -> End {
    let Some(last) = events(text).last().filter(|_| text.ends_with("\n\n")) else {
        return End::Wrong(format!("a stream without an end: {text}"));
    };
    let whole = last == "[DONE]" || last.contains("\"message_stop\"");
    match (whole, is_error(last), has_begun(text)) {
        (true, _, _) => End::Whole,
        (false, true, true) => End::BrokenOff,
        (false, true, false) => End::Failed(format!("a stream of nothing but: {text}")),
        _ => End::Wrong(format!("a stream with a wrong end: {text}")),
    }
}

/// Kills the engine when answers flow, again and again.
async fn kill(up: &Up, http: &Client, storm: &Storm) {
    let engine = format!("{}/engines/slot-0", up.url("model_manager"));
    for _ in 0..KILLS {
        let flows = || storm.flowing.load(Ordering::SeqCst) > 0;
        let engine_pid = wait_for(LIMIT, async || up.living_engine().filter(|_| flows())).await;
        kill_process(engine_pid, Signal::KILL).unwrap();
        // What flowed has been told of it before the next life is looked for.
        wait_until(LIMIT, async || {
            let facts: Value = http.get(&engine).send().await.unwrap().json().await.unwrap();
            if facts["state"] == "failed" {
                // After many deaths the supervisor rests for up to 10 s; a restart by hand cuts that short.
                http.post(format!("{engine}/restart")).send().await.unwrap();
            }
            facts["state"] == "ready" && up.living_engine().is_some_and(|pid| pid != engine_pid)
        })
        .await;
    }
    storm.over.store(true, Ordering::SeqCst);
}

/// Lets the storm pass: how each request ended, and the counts in words.
async fn weathered() -> (Vec<End>, String) {
    let up = Up::ready().await;
    let (http, storm, began) = (Client::new(), Storm::default(), Instant::now());
    let clients = join_all((0..CLIENTS).map(|number| storm.weather(&http, up.gateway(), number)));
    let (ends, ()) = timeout(LIMIT, async { tokio::join!(clients, kill(&up, &http, &storm)) })
        .await
        .unwrap_or_else(|_| panic!("the storm did not pass in {LIMIT:?}; stderr:\n{}", up.stderr()));

    let ends: Vec<End> = ends.into_iter().flatten().collect();
    let count = |wanted: fn(&End) -> bool| ends.iter().filter(|end| wanted(end)).count();
    let whole = count(|end| *end == End::Whole);
    let broken_off = count(|end| *end == End::BrokenOff);
    let told = format!(
        "{KILLS} kills, {CLIENTS} clients, {} requests in {:.0} s: {whole} whole, {broken_off} broken off, {} failed \
         before they began, {} wrong",
        ends.len(),
        began.elapsed().as_secs_f64(),
        count(|end| matches!(end, End::Failed(_))),
        count(|end| matches!(end, End::Wrong(_))),
    );
    assert!(broken_off > 0 && whole > CLIENTS, "the storm hit something, and passed: {told}");
    (ends, told)
}

/// How often each thing was said by ends of one kind.
fn tally<'a>(ends: &'a [End], what: impl Fn(&'a End) -> Option<&'a String>) -> BTreeMap<&'a str, usize> {
    let mut tally = BTreeMap::new();
    for said in ends.iter().filter_map(what) {
        *tally.entry(said.as_str()).or_default() += 1;
    }
    tally
}

#[tokio::test]
async fn an_engine_killed_twenty_times_under_fifty_clients_fails_nothing_that_had_not_begun_to_be_answered() {
    let (ends, told) = weathered().await;
    println!("{told}");
    let failed = tally(&ends, |end| if let End::Failed(said) = end { Some(said) } else { None });
    assert!(failed.is_empty(), "{failed:#?}");
    let wrong = tally(&ends, |end| if let End::Wrong(said) = end { Some(said) } else { None });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

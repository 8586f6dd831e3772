//! What stays true of an engine as long as it lives.

use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use remora_types::engines::{Capabilities, Capability, EngineLimits, EngineModel};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, EngineClient, no_such_route};
use crate::ClientError;

/// The routes that are asked with an empty object, and what they stand for.
const ROUTES: [(Capability, &str); 5] = [
    (Capability::Chat, "/v1/chat/completions"),
    (Capability::Completions, "/v1/completions"),
    (Capability::Embeddings, "/v1/embeddings"),
    (Capability::Responses, "/v1/responses"),
    (Capability::LoadAdapters, "/v1/load_lora_adapter"),
];

/// What an engine can do and hold, and when it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it can do, found by asking.
    pub capabilities: Capabilities,
    /// What it can hold, as far as it says.
    pub limits: EngineLimits,
    /// When its process started, in milliseconds since 1970, where `/metrics` says it (`process_start_time_seconds`).
    pub started_unix_ms: Option<u64>,
}

/// vLLM's answer to `/tokenize`. llama-server has another on the same path, without `count`.
#[derive(Deserialize)]
struct Tokens {
    count: usize,
    tokens: Vec<u32>,
}

/// What is read from `/metrics`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    vllm: bool,
    started_unix_ms: Option<u64>,
    /// Our own engine says these; vLLM tells `max_loras` only once an adapter has been used, and the rest never.
    slots: Option<u32>,
    max_loras: Option<u32>,
    max_lora_rank: Option<u32>,
}

impl EngineClient {
    /// Finds out what the engine can do. `models` are those of the probe just made.
    ///
    /// Every route is asked with `{}`: a route that exists refuses it before it looks at a model, so nothing is
    /// computed, loaded or changed. `/tokenize` is asked for one letter, since only its answer shows whose it is. Fails
    /// only when the engine has gone; a route that does not answer in time counts as missing.
    pub async fn facts(&self, models: &[EngineModel]) -> Result<Facts, ClientError> {
        let routes = join_all(ROUTES.map(|(capability, path)| async move {
            let answer = self.post(path, &json!({})).await;
            Ok((capability, tolerate(answer)?.is_some_and(|answer| is_present(&answer))))
        }));
        let base = models.iter().find(|model| model.parent.is_none());
        let tokenize = async {
            let Some(base) = base else { return Ok((Capability::Tokenize, false)) };
            let answer = self.post("/tokenize", &json!({ "model": base.id, "prompt": "a" })).await;
            Ok((Capability::Tokenize, tolerate(answer)?.is_some_and(|answer| tokenizes(&answer))))
        };
        let (routes, tokenize, figures) = futures::join!(routes, tokenize, self.figures());
        let figures = figures?;
        let asked: Vec<(Capability, bool)> =
            routes.into_iter().chain([tokenize]).collect::<Result<_, ClientError>>()?;
        let found = asked.into_iter().chain([(Capability::Metrics, figures.vllm)]);
        Ok(Facts {
            capabilities: found.filter_map(|(capability, present)| present.then_some(capability)).collect(),
            limits: EngineLimits {
                context: base.and_then(|model| model.max_model_len),
                slots: figures.slots,
                max_loras: figures.max_loras,
                // What our engine has loaded is in memory, and any of it can be computed with.
                max_cpu_loras: figures.max_loras,
                max_lora_rank: figures.max_lora_rank,
            },
            started_unix_ms: figures.started_unix_ms,
        })
    }

    /// When the engine's process started, in milliseconds since 1970, where it says so.
    pub async fn started_unix_ms(&self) -> Result<Option<u64>, ClientError> {
        Ok(self.figures().await?.started_unix_ms)
    }

    async fn figures(&self) -> Result<Figures, ClientError> {
        let answer = tolerate(self.get("/metrics").await)?.filter(|answer| answer.status.is_success());
        Ok(answer.map(|answer| read_figures(&String::from_utf8_lossy(&answer.body))).unwrap_or_default())
    }
}

/// Any answer or none; only an engine that is gone is an error.
fn tolerate(answer: Result<Answer, ClientError>) -> Result<Option<Answer>, ClientError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_unreachable() => Err(error),
        Err(error) => {
            tracing::debug!(%error, "a route did not answer its probe");
            Ok(None)
        }
    }
}

/// Whether a route that was sent `{}` exists.
fn is_present(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body).to_lowercase();
    // vLLM: the route is there, the model it serves is of another kind.
    if text.contains("does not support") {
        return false;
    }
    match answer.status {
        // Ollama looks for the model first, and 404 is then about the model, not the route.
        StatusCode::NOT_FOUND => text.contains("model"),
        // LM Studio says 200 to what it does not know, and explains in words.
        StatusCode::OK => !text.contains("unexpected endpoint"),
        status => !no_such_route(status),
    }
}

fn tokenizes(answer: &Answer) -> bool {
    let tokens = serde_json::from_slice::<Tokens>(&answer.body);
    answer.status.is_success() && tokens.is_ok_and(|tokens| tokens.count == tokens.tokens.len() && tokens.count > 0)
}

/// Reads Prometheus' text format as far as it concerns us.
fn read_figures(text: &str) -> Figures {
    let mut figures = Figures::default();
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("process_start_time_seconds ") {
            let seconds = value.trim().parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
            figures.started_unix_ms = seconds.and_then(|s| u64::try_from(s.as_millis()).ok());
        } else if line.starts_with("vllm:") {
            figures.vllm = true;
        } else if let Some((name, value)) = line.strip_prefix("remora_engine_").and_then(labelled) {
            let figure = match name {
                "slots" => &mut figures.slots,
                "max_loras" => &mut figures.max_loras,
                "max_lora_rank" => &mut figures.max_lora_rank,
                _ => continue,
            };
            // 0 slots: it is still loading.
            *figure = value.filter(|&value| value > 0 || name != "slots");
        }
    }
    figures
}

/// Name and value of `name{labels} value`.
fn labelled(line: &str) -> Option<(&str, Option<u32>)> {
    let (name, rest) = line.split_once('{')?;
    let (_, value) = rest.rsplit_once("} ")?;
    Some((name, value.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(status: u16, body: &str) -> bool {
        is_present(&Answer { status: StatusCode::from_u16(status).unwrap(), body: body.into() })
    }

    #[test]
    fn a_refusal_of_the_body_means_that_the_route_is_there() {
        assert!(answers(400, r#"{"error":{"message":"messages: field required"}}"#));
        assert!(answers(422, "{}"));
        assert!(answers(500, r#"{"error":{"message":"key 'prompt' not found"}}"#), "llama-server");
        assert!(answers(404, r#"{"error":{"message":"model \"\" not found, try pulling it first"}}"#), "Ollama");
    }

    #[test]
    fn a_missing_route_is_told_in_many_ways() {
        assert!(!answers(404, r#"{"detail":"Not Found"}"#), "vLLM");
        assert!(!answers(404, "404 page not found"), "Ollama");
        assert!(!answers(404, r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#));
        assert!(!answers(405, r#"{"detail":"Method Not Allowed"}"#));
        assert!(!answers(501, r#"{"error":{"message":"This server does not support embeddings."}}"#));
        assert!(!answers(400, r#"{"error":{"message":"The model does not support Embeddings API"}}"#));
        assert!(!answers(200, r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#), "LM Studio");
    }

    #[test]
    fn only_vllms_shape_of_tokens_counts() {
        let tokenizes = |body: &str| tokenizes(&Answer { status: StatusCode::OK, body: body.into() });
        assert!(tokenizes(r#"{"count":1,"max_model_len":512,"tokens":[64],"token_strs":null}"#));
        assert!(!tokenizes(r#"{"tokens":[]}"#), "llama-server");
        assert!(!tokenizes(r#"{"count":2,"tokens":[1]}"#));
    }

    #[test]
    fn metrics_tell_whose_they_are_and_when_it_started() {
        let text = "# HELP process_start_time_seconds Start time\nprocess_start_time_seconds 1.7637510125e+09\n\
            # TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} 0.0\n";
        let expected = Figures { vllm: true, started_unix_ms: Some(1_763_751_012_500), ..Figures::default() };
        assert_eq!(read_figures(text), expected);
        let ours = "# TYPE remora_engine_slots gauge\nremora_engine_slots{model_name=\"a} b\",engine=\"0\"} 16\n\
            remora_engine_max_loras{model_name=\"a\",engine=\"0\"} 0\n\
            remora_engine_max_lora_rank{model_name=\"a\",engine=\"0\"} 64\nremora_engine_other{} 1\n";
        let expected = Figures { slots: Some(16), max_loras: Some(0), max_lora_rank: Some(64), ..Figures::default() };
        assert_eq!(read_figures(ours), expected);
        assert_eq!(read_figures("remora_engine_slots{} 0\n"), Figures::default(), "still loading");
        assert_eq!(read_figures("process_start_time_seconds NaN\nllamacpp:x 1\n"), Figures::default());
    }
}

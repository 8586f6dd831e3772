//! `remora test`: a gateway as its clients use it, step by step, with timings and with advice where a step fails.

mod advice;
mod steps;

use std::time::{Duration, Instant};

use clap::Args;
use owo_colors::{OwoColorize, Style};
use remora_api_client::Client;
use remora_types::ModelId;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Told, classify};
use crate::output;
use crate::servers::Servers;

use steps::Found;

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The gateway to test
    #[arg(long, value_name = "URL", env = "REMORA_SERVER", default_value = crate::args::GATEWAY)]
    server: String,
    /// The model to ask [default: the first of the gateway's]
    #[arg(long, value_name = "NAME")]
    model: Option<ModelId>,
    /// Most seconds for each step
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    /// It works, but not as an agent would need it.
    Warning,
    Failed,
}

/// One step, for people and for scripts.
#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    took_ms: f64,
    /// What was found, or what went wrong.
    told: String,
    /// What to do about it.
    advice: Option<String>,
    #[serde(flatten)]
    figures: Map<String, Value>,
    #[serde(skip)]
    exit: Exit,
}

/// A gateway under test.
struct Trial {
    gateway: Client,
    limit: Duration,
    json: bool,
    steps: Vec<Step>,
}

pub(crate) async fn run(args: TestArgs, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let address = args.server.trim_end_matches('/');
    let gateway = servers.client(address.strip_suffix("/v1").unwrap_or(address))?;
    let limit = Duration::from_secs(args.timeout);
    let mut trial = Trial { gateway, limit, json, steps: Vec::new() };
    let model = trial.all(args.model.as_ref().map(AsRef::as_ref)).await;

    let first_failure = trial.steps.iter().find(|step| step.outcome == Outcome::Failed).map(|step| step.exit);
    if json {
        let server = trial.gateway.server();
        let ok = first_failure.is_none();
        output::json(&json!({"server": server, "model": model, "ok": ok, "steps": trial.steps}))?;
    } else if let Some(model) = model.filter(|_| first_failure.is_none()) {
        output::note(&format!("{} is ready for {model}", trial.gateway.server()));
    }
    first_failure.map_or(Ok(()), |exit| Err(Told(exit).into()))
}

impl Trial {
    /// Every step; without a model there is nothing to ask. Returns the model.
    async fn all(&mut self, wanted: Option<&str>) -> Option<String> {
        let (gateway, limit) = (self.gateway.clone(), self.limit);
        let found = self.step("models", steps::models(&gateway, wanted)).await?;
        let model = found.figures["model"].as_str()?.to_owned();
        self.step("answer", steps::answer(&gateway, &model, limit)).await;
        self.step("stream", steps::stream(&gateway, &model, limit)).await;
        self.step("tool call", steps::tool_call(&gateway, &model, limit)).await;
        let counted = self.step("count_tokens", steps::count_tokens(&gateway, &model, limit)).await;
        let counted = counted.and_then(|found| found.figures["input_tokens"].as_u64());
        self.step("messages", steps::message(&gateway, &model, counted, limit)).await;
        Some(model)
    }

    /// Takes one step and tells of it.
    async fn step(&mut self, name: &'static str, step: impl Future<Output = anyhow::Result<Found>>) -> Option<Found> {
        let began = Instant::now();
        let result = tokio::time::timeout(self.limit, step).await.unwrap_or_else(|_| Err(advice::too_slow(self.limit)));
        let took_ms = (began.elapsed().as_secs_f64() * 1e4).round() / 10.0;
        let (step, found) = match result {
            Ok(found) => {
                let outcome = if found.warning.is_some() { Outcome::Warning } else { Outcome::Ok };
                let (told, advice, figures) = (found.told.clone(), found.warning.clone(), found.figures.clone());
                (Step { name, outcome, took_ms, told, advice, figures, exit: Exit::Failure }, Some(found))
            }
            Err(error) => {
                let advice = advice::on(&error, &self.gateway).await;
                let (told, figures, exit) = (told(&error), Map::new(), classify(&error).0);
                (Step { name, outcome: Outcome::Failed, took_ms, told, advice, figures, exit }, None)
            }
        };
        if !self.json {
            show(&step);
        }
        self.steps.push(step);
        found
    }
}

/// The error and what the system said of it.
fn told(error: &anyhow::Error) -> String {
    let root = error.root_cause().to_string();
    let text = error.to_string();
    if text.contains(&root) { text } else { format!("{text}: {root}") }
}

fn show(step: &Step) {
    let (mark, style) = match step.outcome {
        Outcome::Ok => ("✓", Style::new().green()),
        Outcome::Warning => ("!", Style::new().yellow()),
        Outcome::Failed => ("✗", Style::new().red()),
    };
    output::line(&format!("{} {:<12} {:>8.0} ms  {}", mark.style(style), step.name, step.took_ms, step.told));
    if let Some(advice) = &step.advice {
        output::line(&format!("{:>15}{advice}", "→ "));
    }
}

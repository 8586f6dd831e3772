//! vLLM's metrics, under vLLM's names, so that dashboards made for it work here.
//!
//! Names and bucket bounds are those of vLLM 0.32. What this engine has not (preemption, sleeping, speculative
//! decoding) is left out, but for a counter that dashboards divide by. What it can hold, which vLLM does not tell, has
//! names of its own.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use remora_protocol::openai::FinishReason;

use crate::scheduler::AdapterLimits;

const REQUEST_SECONDS: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const FIRST_TOKEN_SECONDS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const INTER_TOKEN_SECONDS: [f64; 18] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0];
const TOKENS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0, 100_000.0,
];
const STEP_TOKENS: [f64; 9] = [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Everything that is measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Gauge<f64, AtomicU64>,
    slots: Gauge,
    max_loras: Gauge,
    max_lora_rank: Gauge,
    lora_requests: Family<AdapterLabels, Gauge<f64, AtomicU64>>,
    /// What the one series of that says.
    lora_requests_told: Mutex<Option<AdapterLabels>>,
    running: Gauge,
    waiting: Gauge,
    cache_usage: Gauge<f64, AtomicU64>,
    prompt_tokens: Counter,
    prompt_tokens_cached: Counter,
    generation_tokens: Counter,
    preemptions: Counter,
    prefix_cache_queries: Counter,
    prefix_cache_hits: Counter,
    success: Family<FinishLabels, Counter>,
    /// Rows of each step.
    pub(crate) iteration_tokens: Histogram,
    queue_seconds: Histogram,
    first_token_seconds: Histogram,
    inter_token_seconds: Histogram,
    time_per_token_seconds: Histogram,
    e2e_seconds: Histogram,
    inference_seconds: Histogram,
    prefill_seconds: Histogram,
    decode_seconds: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    request_max_tokens: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    finished_reason: &'static str,
}

/// Which adapters are in use, as lists with commas.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdapterLabels {
    max_lora: i64,
    waiting_lora_adapters: String,
    running_lora_adapters: String,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reason: FinishReason,
    pub(crate) prompt_tokens: usize,
    pub(crate) generated_tokens: u32,
    pub(crate) max_tokens: u32,
    pub(crate) arrived: Instant,
    pub(crate) admitted: Instant,
    pub(crate) first_token: Instant,
    pub(crate) finished: Instant,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            started: Gauge::default(),
            slots: Gauge::default(),
            max_loras: Gauge::default(),
            max_lora_rank: Gauge::default(),
            lora_requests: Family::default(),
            lora_requests_told: Mutex::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            cache_usage: Gauge::default(),
            prompt_tokens: Counter::default(),
            prompt_tokens_cached: Counter::default(),
            generation_tokens: Counter::default(),
            preemptions: Counter::default(),
            prefix_cache_queries: Counter::default(),
            prefix_cache_hits: Counter::default(),
            success: Family::default(),
            iteration_tokens: Histogram::new(STEP_TOKENS),
            queue_seconds: Histogram::new(REQUEST_SECONDS),
            first_token_seconds: Histogram::new(FIRST_TOKEN_SECONDS),
            inter_token_seconds: Histogram::new(INTER_TOKEN_SECONDS),
            time_per_token_seconds: Histogram::new(INTER_TOKEN_SECONDS),
            e2e_seconds: Histogram::new(REQUEST_SECONDS),
            inference_seconds: Histogram::new(REQUEST_SECONDS),
            prefill_seconds: Histogram::new(REQUEST_SECONDS),
            decode_seconds: Histogram::new(REQUEST_SECONDS),
            request_prompt_tokens: Histogram::new(TOKENS),
            request_generation_tokens: Histogram::new(TOKENS),
            request_max_tokens: Histogram::new(TOKENS),
        }
    }

    /// Adds everything to a registry, labelled with the model's name as vLLM labels it.
    pub(crate) fn register(&self, registry: &mut Registry, model: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.started.set(seconds(now));
        // Without labels, as every Prometheus client names it: who watches for restarts looks for this line.
        registry.register("process_start_time_seconds", "When the engine was started", self.started.clone());
        // Without the model's labels, as vLLM has it.
        let help = "Adapters that requests use; the value is when that began";
        registry.register("vllm:lora_requests_info", help, self.lora_requests.clone());
        let labels = [("model_name".into(), model.to_owned().into()), ("engine".into(), "0".into())];
        let registry = registry.sub_registry_with_labels(labels.into_iter());
        registry.register(
            "remora_engine_slots",
            "Answers computed at the same time; 0 while loading",
            self.slots.clone(),
        );
        registry.register("remora_engine_max_loras", "Adapters that may be loaded", self.max_loras.clone());
        registry.register("remora_engine_max_lora_rank", "Highest rank of an adapter", self.max_lora_rank.clone());
        registry.register("vllm:num_requests_running", "Requests in slots", self.running.clone());
        registry.register("vllm:num_requests_waiting", "Requests in the queue", self.waiting.clone());
        registry.register(
            "vllm:kv_cache_usage_perc",
            "Used share of the context memory, 0 to 1",
            self.cache_usage.clone(),
        );
        for reason in [FinishReason::Stop, FinishReason::Length] {
            // So that it stands at 0 before the first answer.
            drop(self.success.get_or_create(&FinishLabels { finished_reason: reason.as_str() }));
        }
        registry.register("vllm:request_success", "Complete answers", self.success.clone());
        for (name, help, counter) in [
            ("vllm:prompt_tokens", "Prompt tokens, those found in the prefix cache too", &self.prompt_tokens),
            ("vllm:prompt_tokens_cached", "Prompt tokens that were not computed again", &self.prompt_tokens_cached),
            ("vllm:generation_tokens", "Tokens generated", &self.generation_tokens),
            ("vllm:num_preemptions", "Always 0: a request keeps its slot", &self.preemptions),
            ("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache", &self.prefix_cache_queries),
            ("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache", &self.prefix_cache_hits),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, histogram) in [
            ("vllm:iteration_tokens_total", "Tokens per step", &self.iteration_tokens),
            ("vllm:time_to_first_token_seconds", "Arrival to first token", &self.first_token_seconds),
            ("vllm:inter_token_latency_seconds", "Token to token", &self.inter_token_seconds),
            (
                "vllm:request_time_per_output_token_seconds",
                "Mean time per token after the first, by request",
                &self.time_per_token_seconds,
            ),
            ("vllm:e2e_request_latency_seconds", "Arrival to last token", &self.e2e_seconds),
            ("vllm:request_queue_time_seconds", "Arrival to slot", &self.queue_seconds),
            ("vllm:request_inference_time_seconds", "Slot to last token", &self.inference_seconds),
            ("vllm:request_prefill_time_seconds", "Slot to first token", &self.prefill_seconds),
            ("vllm:request_decode_time_seconds", "First token to last", &self.decode_seconds),
            ("vllm:request_prompt_tokens", "Prompt tokens by request", &self.request_prompt_tokens),
            ("vllm:request_generation_tokens", "Generated tokens by request", &self.request_generation_tokens),
            ("vllm:request_params_max_tokens", "Token limit by request", &self.request_max_tokens),
        ] {
            registry.register(name, help, histogram.clone());
        }
    }

    /// What the engine may hold of adapters.
    pub(crate) fn adapter_limits(&self, limits: AdapterLimits) {
        self.max_loras.set(i64::try_from(limits.adapters).unwrap_or(i64::MAX));
        self.max_lora_rank.set(limits.rank.into());
    }

    /// Which adapters the requests in slots and in the queue use. vLLM leaves a series for every combination there ever
    /// was, and readers take the one with the latest time; here there is only that one.
    pub(crate) fn adapters(&self, running: BTreeSet<&str>, waiting: BTreeSet<&str>) {
        let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(",");
        let labels = AdapterLabels {
            max_lora: self.max_loras.get(),
            waiting_lora_adapters: list(waiting),
            running_lora_adapters: list(running),
        };
        let mut told = self.lora_requests_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&labels) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.lora_requests.clear();
            self.lora_requests.get_or_create(&labels).set(seconds(now));
            *told = Some(labels);
        }
    }

    /// The model is loaded, with this many slots.
    pub(crate) fn loaded(&self, slots: u32) {
        self.slots.set(slots.into());
        self.adapters(BTreeSet::new(), BTreeSet::new());
    }

    /// A request got a slot after this time, with this much of its prompt in memory.
    pub(crate) fn admitted(&self, prompt: usize, known: usize, waited: Duration) {
        let (prompt, known) = (prompt as u64, known as u64);
        self.queue_seconds.observe(seconds(waited));
        self.prompt_tokens.inc_by(prompt);
        self.prompt_tokens_cached.inc_by(known);
        self.prefix_cache_queries.inc_by(prompt);
        self.prefix_cache_hits.inc_by(known);
    }

    /// A token of a request that arrived at `arrived` and had its last one at `previous`.
    pub(crate) fn token(&self, arrived: Instant, previous: Option<Instant>, now: Instant) {
        self.generation_tokens.inc();
        match previous {
            None => self.first_token_seconds.observe(seconds(now - arrived)),
            Some(previous) => self.inter_token_seconds.observe(seconds(now - previous)),
        }
    }

    /// A complete answer.
    pub(crate) fn answered(&self, answer: &Answered) {
        let labels = FinishLabels { finished_reason: answer.reason.as_str() };
        self.success.get_or_create(&labels).inc();
        let decode = seconds(answer.finished - answer.first_token);
        self.e2e_seconds.observe(seconds(answer.finished - answer.arrived));
        self.inference_seconds.observe(seconds(answer.finished - answer.admitted));
        self.prefill_seconds.observe(seconds(answer.first_token - answer.admitted));
        self.decode_seconds.observe(decode);
        if answer.generated_tokens > 1 {
            self.time_per_token_seconds.observe(decode / f64::from(answer.generated_tokens - 1));
        }
        #[expect(clippy::cast_precision_loss, reason = "prompts are far below 2^52 tokens")]
        self.request_prompt_tokens.observe(answer.prompt_tokens as f64);
        self.request_generation_tokens.observe(f64::from(answer.generated_tokens));
        self.request_max_tokens.observe(f64::from(answer.max_tokens));
    }

    /// A complete answer of vectors, after this time.
    pub(crate) fn embedded(&self, elapsed: Duration) {
        self.success.get_or_create(&FinishLabels { finished_reason: FinishReason::Stop.as_str() }).inc();
        self.e2e_seconds.observe(seconds(elapsed));
    }

    /// How full the engine is.
    pub(crate) fn occupancy(&self, running: usize, waiting: usize, cache_share: f64) {
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.cache_usage.set(cache_share);
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

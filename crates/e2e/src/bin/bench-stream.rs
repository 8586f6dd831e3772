//! Streaming load for `scripts/bench`: keeps K streams open for a while and tells what arrived, as one JSON line.
//!
//! Published load generators count answers; here the events inside an answer and the time to the first one count.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// Failures of one stream's requests after which it gives up.
const PATIENCE: u32 = 100;

#[derive(Parser)]
#[command(about = "Streaming load for scripts/bench")]
struct Args {
    /// Where to post, for example `http://127.0.0.1:8000/v1/chat/completions`, or the same with `/v1/messages`.
    #[arg(long)]
    url: Uri,
    /// The model to ask.
    #[arg(long, default_value = "bench")]
    model: String,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 1000)]
    max_tokens: u32,
    /// Streams open at the same time; each begins anew when its answer has ended.
    #[arg(long, default_value_t = 32)]
    streams: u32,
    /// The first requests are spread over this time, so that the streams do not run in step, in milliseconds.
    #[arg(long, default_value_t = 0)]
    spread_ms: u32,
    /// How long to go on.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What one stream saw.
#[derive(Default)]
struct Seen {
    ttft_ms: Vec<f64>,
    events: u64,
    completed: u64,
    failures: Vec<anyhow::Error>,
}

/// One stream after the other, over one kept connection.
struct Stream {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
    body: Bytes,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let messages = json!([{ "role": "user", "content": "Say hello to the bench." }]);
    // Anthropic's API wants a limit; the other's does not mind.
    let body = json!({ "model": args.model, "messages": messages, "stream": true, "max_tokens": args.max_tokens });
    let body: Bytes = body.to_string().into();
    let (begin, whole) = (Instant::now(), Duration::from_secs_f64(args.seconds));
    let mut streams = JoinSet::new();
    for nr in 0..args.streams {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let stream = Stream { client, url: args.url.clone(), body: body.clone() };
        let wait = Duration::from_millis((args.spread_ms * nr / args.streams).into());
        streams.spawn(async move {
            tokio::time::sleep(wait).await;
            stream.repeat_until(begin + whole).await
        });
    }
    report(&streams.join_all().await, begin.elapsed())
}

impl Stream {
    async fn repeat_until(self, end: Instant) -> Seen {
        let mut seen = Seen::default();
        while Instant::now() < end && seen.failures.len() < PATIENCE as usize {
            match timeout_at(end.into(), self.read_one(&mut seen)).await {
                Ok(Ok(())) => seen.completed += 1,
                Ok(Err(error)) => seen.failures.push(error),
                Err(_cut_at_the_end) => break,
            }
        }
        seen
    }

    async fn read_one(&self, seen: &mut Seen) -> anyhow::Result<()> {
        let request =
            Request::post(&self.url).header(CONTENT_TYPE, "application/json").body(Full::new(self.body.clone()))?;
        let asked = Instant::now();
        let mut response = self.client.request(request).await?;
        ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
        let mut events = EventCount::default();
        while let Some(frame) = response.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if events.total == 0 && !data.is_empty() {
                seen.ttft_ms.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            seen.events += events.take(&data);
        }
        ensure!(events.total > 0, "the answer had no events");
        Ok(())
    }
}

/// Counts the ends of events: a blank line, wherever the pieces are cut.
#[derive(Default)]
struct EventCount {
    after_newline: bool,
    total: u64,
}

impl EventCount {
    /// How many events ended in this piece.
    fn take(&mut self, piece: &[u8]) -> u64 {
        let before = self.total;
        for byte in piece {
            let newline = *byte == b'\n';
            if newline && self.after_newline {
                self.total += 1;
            }
            // A carriage return belongs to its line end.
            self.after_newline = newline || (self.after_newline && *byte == b'\r');
        }
        self.total - before
    }
}

fn report(streams: &[Seen], took: Duration) -> anyhow::Result<()> {
    let sum = |count: fn(&Seen) -> u64| streams.iter().map(count).sum::<u64>();
    let mut ttft_ms: Vec<f64> = streams.iter().flat_map(|seen| seen.ttft_ms.iter().copied()).collect();
    ttft_ms.sort_by(f64::total_cmp);
    let percentile = |p: usize| ttft_ms.get((ttft_ms.len() * p / 100).min(ttft_ms.len().saturating_sub(1)));
    let failure = streams.iter().find_map(|seen| seen.failures.first()).map(|error| format!("{error:#}"));
    let line = json!({
        "seconds": took.as_secs_f64(),
        "events": sum(|seen| seen.events),
        "completed": sum(|seen| seen.completed),
        "failed": sum(|seen| seen.failures.len() as u64),
        "failure": failure,
        "ttft_ms": { "count": ttft_ms.len(), "p50": percentile(50), "p99": percentile(99) },
    });
    writeln!(std::io::stdout(), "{line}").context("cannot write the report")
}

//! Logs: to stderr always, to a rotated file too where the settings say so.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

use crate::lifecycle::BoxError;
use crate::traces::{self, TracesGuard};

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What to log, in `tracing`'s filter syntax: `info`, `debug`, `warn,remora_gateway=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// A file to log to as well, rotated daily: `NAME.YYYY-MM-DD` beside it.
    pub file: Option<PathBuf>,
    /// How many rotated files are kept.
    pub keep_files: usize,
    /// An OpenTelemetry collector that gets a span for each request, over OTLP's HTTP: `http://localhost:4318`.
    pub traces: Option<Url>,
    /// The share of traces that it gets, in percent; those that a caller samples already are sent in any case.
    pub traces_percent: u8,
    /// Whether lines on stderr carry the time; not where a supervisor takes them over into its own log.
    #[serde(skip)]
    pub timed: bool,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
            file: None,
            keep_files: 7,
            traces: None,
            traces_percent: 100,
            timed: true,
        }
    }
}

/// Logs that cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A filter that does not parse.
    #[error("log.level {level:?} is not a log filter; write for example \"info\" or \"warn,remora_gateway=debug\"")]
    Level {
        /// As it was written.
        level: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// A collector that cannot be spoken to.
    #[error("cannot send traces to {url}")]
    Traces {
        /// The collector.
        url: Url,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// A log file that cannot be written.
    #[error("cannot log to {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoxError,
    },
}

/// Keeps the log file's writer and the traces' sender alive; what is buffered is written when it is dropped.
#[must_use = "lines still in the buffer are lost when this is dropped too early"]
pub struct LogGuard {
    _file: Option<WorkerGuard>,
    _traces: Option<TracesGuard>,
}

impl LogConfig {
    /// Whether the settings can be used.
    pub fn validate(&self) -> Result<EnvFilter, TelemetryError> {
        let level = |source: tracing_subscriber::filter::ParseError| TelemetryError::Level {
            level: self.level.clone(),
            source: source.into(),
        };
        EnvFilter::try_new(&self.level).map_err(level)
    }
}

/// Starts logging for the whole process; a second call keeps the first's settings.
pub fn init(config: &LogConfig) -> Result<LogGuard, TelemetryError> {
    let filter = config.validate()?;
    let json = config.format == LogFormat::Json;
    let (file, guard) = match &config.file {
        None => (None, None),
        Some(path) => {
            let (writer, guard) = tracing_appender::non_blocking(open(path, config.keep_files)?);
            let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
            (Some(if json { layer.json().boxed() } else { layer.boxed() }), Some(guard))
        }
    };
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let stderr = match (json, config.timed) {
        (true, _) => stderr.json().boxed(),
        (false, true) => stderr.with_ansi(colours()).boxed(),
        (false, false) => stderr.with_ansi(false).without_time().boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(stderr).with(file).try_init();
    let start = |url: &Url| {
        let failed = |source| TelemetryError::Traces { url: url.clone(), source };
        traces::init(url, config.traces_percent).map_err(failed)
    };
    let traces = config.traces.as_ref().map(start).transpose()?;
    Ok(LogGuard { _file: guard, _traces: traces })
}

fn open(path: &std::path::Path, keep: usize) -> Result<RollingFileAppender, TelemetryError> {
    let failed = |source: BoxError| TelemetryError::File { path: path.to_owned(), source };
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| failed("it names no file".into()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .max_log_files(keep.max(1))
        .build(folder)
        .map_err(|e| failed(e.into()))
}

/// Colours on a terminal, unless `NO_COLOR` forbids them.
fn colours() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    !forbidden && std::io::IsTerminal::is_terminal(&std::io::stderr())
}

//! `remora engine`: the embedded engine in a process of its own.

use remora_engine::EngineArgs;
use remora_service::config::Settings;
use remora_service::telemetry::{self, LogConfig};

pub(crate) async fn run(args: EngineArgs) -> anyhow::Result<()> {
    let log: LogConfig = Settings::load(None)?.section("log")?;
    // A supervisor takes over what its engine says on stderr: with its own time, into its own file.
    let log = if args.lifeline { LogConfig { file: None, timed: false, ..log } } else { log };
    let _logs = telemetry::init(&log)?;
    Ok(remora_engine::run(args).await?)
}

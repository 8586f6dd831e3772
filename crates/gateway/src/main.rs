//! The gateway as a program of its own: its container's entry point. `remora up` runs the same library.

use std::path::PathBuf;

use clap::Parser;
use remora_gateway::{Config, service};
use remora_service::config::Settings;
use remora_service::{Listener, Process, telemetry};

/// The front door: OpenAI's API over every engine.
#[derive(Debug, Parser)]
#[command(name = "remora-gateway", version)]
struct Arguments {
    /// Settings file; without it remora.toml in the working directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks the settings and exits.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings::load(arguments.config.as_deref())?;
    let config: Config = settings.section("gateway")?;
    let log: telemetry::LogConfig = settings.section("log")?;
    log.validate()?;
    config.validate()?;
    if arguments.check {
        return Ok(());
    }
    let _log = telemetry::init(&log)?;
    let listener = Listener::bind(&config.listen).await?;
    Process::new("gateway").add(service(&config, listener)?).run().await?;
    Ok(())
}

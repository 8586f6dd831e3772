//! model-manager as its own process, for its container.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use remora_model_manager::{Config, NAME, SECTION, service};
use remora_service::config::Settings;
use remora_service::identity::IdentityConfig;
use remora_service::telemetry::{self, LogConfig};
use remora_service::{Identity, Listener, Process, ServiceName, Stop};

/// Keeps the engine registry and supervises local engines.
#[derive(Debug, Parser)]
#[command(name = "remora-model-manager", version)]
struct Arguments {
    /// Settings; `remora.toml` in the working directory where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Validate the settings and exit
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up yet, or go elsewhere.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(arguments.config.as_deref())?;
    let (config, log): (Config, LogConfig) = (settings.section(SECTION)?, settings.section("log")?);
    let identity: IdentityConfig = settings.section("identity")?;
    log.validate()?;
    config.validate()?;
    identity.validate()?;
    if arguments.check {
        return Ok(());
    }
    let _log = telemetry::init(&log).context("cannot start logging")?;
    let (listener, stop) = (Listener::bind(&config.listen).await?, Stop::new());
    let identity = Identity::new(&identity)?.of_service(ServiceName::ModelManager).await?;
    let service = service(&config, listener, &identity, &stop)?;
    Ok(Process::new(NAME).stop(stop).add(service).run().await?)
}

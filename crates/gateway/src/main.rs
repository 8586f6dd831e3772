//! The gateway as a program of its own: its container's entry point. `remora up` runs the same library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use remora_gateway::{Config, service};
use remora_service::config::Settings;
use remora_service::identity::IdentityConfig;
use remora_service::telemetry::{self, LogConfig};
use remora_service::{Identity, Listener, Process, ServiceName};

/// The front door: OpenAI's API over every engine.
#[derive(Debug, Parser)]
#[command(name = "remora-gateway", version)]
struct Arguments {
    /// Settings; `remora.toml` in the working directory where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks the settings and exits.
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
    let (log, config): (LogConfig, Config) = (settings.section("log")?, settings.section("gateway")?);
    let identity: IdentityConfig = settings.section("identity")?;
    log.validate()?;
    config.validate()?;
    identity.validate()?;
    if arguments.check {
        return Ok(());
    }
    let _log = telemetry::init(&log).context("cannot start logging")?;
    let listener = Listener::bind(&config.listen).await?;
    let identity = Identity::new(&identity)?.of_service(ServiceName::Gateway).await?;
    Ok(Process::new("gateway").add(service(&config, listener, &identity).await?).run().await?)
}

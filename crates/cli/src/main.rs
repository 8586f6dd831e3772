//! `remora`: every verb, and `remora up`.
//!
//! Data goes to stdout, everything else to stderr. Exit codes are in [`failure::Exit`].

mod args;
mod commands;
mod failure;
mod output;
#[cfg(test)]
mod sample;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("cannot start the runtime"), false),
    };
    let json = cli.json;
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, json),
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Up(args) => commands::up::run(args, json).await,
        Command::Engine(args) => commands::engine::run(args).await,
        Command::Status => commands::status::run(json).await,
        Command::Ctl { command, socket } => commands::ctl::run(command, socket.as_deref(), json).await,
        Command::Agent { command, server } => commands::agent::run(command, &server, json).await,
        Command::Completions { shell } => commands::completions::run(shell),
    }
}

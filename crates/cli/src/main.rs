//! `remora`: every verb, and `remora up`.
//!
//! Data goes to stdout, everything else to stderr. Exit codes are in [`failure::Exit`].

mod args;
mod commands;
mod failure;
mod key;
mod output;
#[cfg(test)]
mod sample;
mod servers;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::servers::Servers;

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
    let (json, servers) = (cli.json, Servers::new(cli.key_file));
    match cli.command {
        Command::Up(args) => commands::up::run(args, json).await,
        Command::Engine(args) => commands::engine::run(args).await,
        Command::Status => commands::status::run(&servers, json).await,
        Command::Ctl { command, socket } => commands::ctl::run(command, socket.as_deref(), &servers, json).await,
        Command::Connect(args) => commands::connect::run(args, &servers, json).await,
        Command::Test(args) => commands::test::run(args, &servers, json).await,
        Command::Agent { command, server } => commands::agent::run(command, &server, &servers, json).await,
        Command::Key { command, server } => commands::key::run(command, &server, &servers, json).await,
        Command::Whoami { server } => commands::whoami::run(&server, &servers, json).await,
        Command::Usage(args) => commands::usage::run(args, &servers, json).await,
        Command::Audit(args) => commands::audit::run(args, &servers, json).await,
        Command::Credential { command } => commands::credential::run(command, &servers, json).await,
        Command::Completions { shell } => commands::completions::run(shell),
    }
}

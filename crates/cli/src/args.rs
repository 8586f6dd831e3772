//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::agent::AgentCommand;
use crate::commands::audit::AuditArgs;
use crate::commands::connect::ConnectArgs;
use crate::commands::credential::CredentialCommand;
use crate::commands::ctl::CtlCommand;
use crate::commands::key::KeyCommand;
use crate::commands::test::TestArgs;
use crate::commands::up::UpArgs;
use crate::commands::usage::UsageArgs;

/// The gateway of this machine.
pub(crate) const GATEWAY: &str = "http://127.0.0.1:8000";

/// A private model server for everything you own on your tailnet.
#[derive(Debug, Parser)]
#[command(name = "remora", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// A file with the key to show to servers, instead of the one in `REMORA_KEY`
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every service and an engine on this machine, in one process
    Up(UpArgs),
    /// Run the embedded llama.cpp engine alone (what `up` starts as its child)
    Engine(remora_engine::EngineArgs),
    /// Show what runs on this machine; exit code 5 when nothing does
    Status,
    /// Talk to a running process over its control socket
    Ctl {
        #[command(subcommand)]
        command: CtlCommand,
        /// The control socket; found by itself when only one process runs
        #[arg(long, global = true, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Print the settings with which another program reaches the gateway, or write them into its file
    Connect(ConnectArgs),
    /// Check a gateway the way its clients use it, with timings
    Test(TestArgs),
    /// List, inspect, check and fetch agent bundles
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
        /// The agents-server to ask
        #[arg(
            long,
            global = true,
            value_name = "URL",
            env = "REMORA_AGENTS_URL",
            default_value = "http://127.0.0.1:8001"
        )]
        server: String,
    },
    /// Make, list and revoke keys, for callers that the tailnet does not vouch for
    Key {
        #[command(subcommand)]
        command: KeyCommand,
        /// The gateway, which keeps the keys
        #[arg(long, global = true, value_name = "URL", env = "REMORA_SERVER", default_value = GATEWAY)]
        server: String,
    },
    /// Show who a server takes you for, what you may do there, and why
    Whoami {
        /// The server to ask: a gateway or any other service
        #[arg(long, value_name = "URL", env = "REMORA_SERVER", default_value = GATEWAY)]
        server: String,
    },
    /// Show who used how much of which model
    Usage(UsageArgs),
    /// Show who changed what, in one list over all services
    Audit(AuditArgs),
    /// Renew the keys with which services prove to each other who they are
    Credential {
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}

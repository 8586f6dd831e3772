//! `remora agent list | show | validate | pull`: bundles on a server, and in folders.

mod local;
mod pull;
mod show;
#[cfg(test)]
mod tests;
mod unpack;
mod validate;

use std::path::PathBuf;

use clap::Subcommand;
use remora_types::AgentName;

use crate::output;
use crate::servers::Servers;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the bundles of an agents-server
    List,
    /// Show one bundle: its tools, its files, and what is wrong with it
    Show {
        /// Which one
        name: AgentName,
    },
    /// Check a bundle, or a folder of bundles, without a server; exit code 7 when one has faults
    Validate {
        /// A folder with a bundle.yaml, or one that holds such folders
        dir: PathBuf,
    },
    /// Fetch a bundle into a folder; files of your own and files you changed stay
    Pull {
        /// Which one
        name: AgentName,
        /// Where to put it: it becomes DIR/NAME
        #[arg(long, value_name = "DIR", default_value = "agents")]
        dir: PathBuf,
    },
}

pub(crate) async fn run(command: AgentCommand, server: &str, servers: &Servers, json: bool) -> anyhow::Result<()> {
    match command {
        AgentCommand::Validate { dir } => validate::run(&dir, json),
        AgentCommand::List => {
            let list = servers.client(server)?.agents().await?;
            if json {
                return output::json(&list);
            }
            show::list(&list);
            Ok(())
        }
        AgentCommand::Show { name } => {
            let detail = servers.client(server)?.bundle(&name).await?;
            if json {
                return output::json(&detail);
            }
            show::bundle(&detail);
            Ok(())
        }
        AgentCommand::Pull { name, dir } => {
            let pulled = pull::pull(&servers.client(server)?, &name, &dir).await?;
            if json {
                return output::json(&pulled);
            }
            pull::show(&pulled);
            Ok(())
        }
    }
}

//! `remora ctl status | shutdown`: one process, through its control socket.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use remora_api_client::control::Control;
use remora_service::SOCKET_FOLDERS;
use tokio::time::{Instant, sleep};

use crate::commands::status::{View, nothing_runs, show};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::servers::Servers;

/// How long a process may take to stop: its answers' and its tasks' grace periods, and a little.
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CtlCommand {
    /// Show the process and its services
    Status,
    /// Stop it: answers in flight may finish; returns when it has stopped
    Shutdown,
}

pub(crate) async fn run(
    command: CtlCommand,
    socket: Option<&Path>,
    servers: &Servers,
    json: bool,
) -> anyhow::Result<()> {
    let control = match socket {
        Some(path) => Control::at(path),
        None => the_only_one().await?,
    };
    match command {
        CtlCommand::Status => {
            let status = control.status().await?;
            if json {
                return output::json(&status);
            }
            show(&View::of(status, servers).await?);
            Ok(())
        }
        CtlCommand::Shutdown => {
            control.shutdown().await?;
            wait_until_gone(&control).await?;
            output::note(&format!("stopped ({})", control.path().display()));
            Ok(())
        }
    }
}

/// The process to talk to where none was named.
async fn the_only_one() -> anyhow::Result<Control> {
    let mut live = Vec::new();
    for control in Control::find(&SOCKET_FOLDERS) {
        if control.status().await.is_ok() {
            live.push(control);
        }
    }
    match live.len() {
        0 => Err(nothing_runs().into()),
        1 => Ok(live.remove(0)),
        _ => {
            let paths: Vec<_> = live.iter().map(|c| format!("--socket {}", c.path().display())).collect();
            let failure = Failure::new(Exit::Usage, "several Remora processes run here; say which one");
            Err(failure.hint(paths.join("  or  ")).into())
        }
    }
}

async fn wait_until_gone(control: &Control) -> anyhow::Result<()> {
    let limit = Instant::now() + STOP_LIMIT;
    while control.path().exists() {
        if Instant::now() > limit {
            let failure =
                Failure::new(Exit::Timeout, format!("it heard the stop, but still runs after {STOP_LIMIT:?}"));
            return Err(failure.hint("its log says what it waits for").into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

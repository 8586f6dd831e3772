//! The driver for an engine that is a process on this machine: the embedded engine, `vllm serve`, any other server.
//!
//! A child gets its own process group. Ctrl-C in a terminal then reaches model-manager only, which stops its engines in
//! order; and whatever processes the engine made (vLLM's workers hold the GPU's memory) end with it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::BoxFuture;
use remora_service::{BindError, Listen, Listener};
use remora_types::EngineId;
use remora_types::engines::EngineAddress;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::driver::{Driver, Instance, StartError};
use super::output::{Tail, forward};
use crate::config::{CommandLine, Stdin};

/// How long to wait for the last output of a process that has ended: a stranger may still hold its pipes.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// Starts a program as an engine.
#[derive(Debug)]
pub struct ProcessDriver {
    /// For the log.
    pub engine: EngineId,
    /// Where it will answer; nobody else may do so before.
    pub address: EngineAddress,
    /// The program and its arguments.
    pub command: CommandLine,
    /// Variables besides our own environment.
    pub environment: BTreeMap<String, String>,
    /// What it gets as its standard input.
    pub stdin: Stdin,
}

/// A running child.
struct ProcessInstance {
    engine: EngineId,
    child: Child,
    /// The process group, until it has been cleared. Its id is the child's process id.
    group: Option<Pid>,
    /// Held open for the child's life. Not left in `child`, since waiting for a child closes its standard input.
    _lifeline: Option<ChildStdin>,
    readers: JoinSet<()>,
    tail: Tail,
}

impl Driver for ProcessDriver {
    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, StartError>> {
        Box::pin(async {
            expect_free(&self.address).await?;
            Ok(Box::new(self.spawn()?) as Box<dyn Instance>)
        })
    }
}

impl ProcessDriver {
    fn spawn(&self) -> Result<ProcessInstance, StartError> {
        let CommandLine { program, args } = &self.command;
        let stdin = match self.stdin {
            Stdin::Null => Stdio::null(),
            Stdin::Lifeline => Stdio::piped(),
        };
        let mut child = Command::new(program)
            .args(args)
            .envs(&self.environment)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| StartError::Program { program: program.clone(), source: source.into() })?;
        let (tail, mut readers) = (Tail::default(), JoinSet::new());
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(forward(self.engine.clone(), stdout, tail.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(forward(self.engine.clone(), stderr, tail.clone()));
        }
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let lifeline = child.stdin.take();
        Ok(ProcessInstance { engine: self.engine.clone(), child, group, _lifeline: lifeline, readers, tail })
    }
}

impl Instance for ProcessInstance {
    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    fn ended(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let status = self.child.wait().await;
            self.kill_group();
            self.read_last_output().await;
            explain(status, &self.tail)
        })
    }

    fn stop(mut self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // To the engine alone: it knows best in which order its own processes end.
            if let (Some(pid), Some(_)) = (self.group, self.child.id()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            if timeout(grace, self.child.wait()).await.is_err() {
                let grace_s = grace.as_secs();
                tracing::warn!(engine = %self.engine, grace_s, "engine did not stop in time, killing it");
            }
            self.kill_group();
            let _ = self.child.wait().await;
            self.read_last_output().await;
        })
    }
}

impl ProcessInstance {
    /// Ends every process of the group, once. The group's id cannot have been given to others: it is taken while the
    /// group has members, and process ids go round before one comes again.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    async fn read_last_output(&mut self) {
        let _ = timeout(LAST_OUTPUT, async { while self.readers.join_next().await.is_some() {} }).await;
    }
}

impl Drop for ProcessInstance {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Somebody who answers there would be taken for the engine, while the engine dies of the taken port.
async fn expect_free(address: &EngineAddress) -> Result<(), StartError> {
    let taken = match address {
        EngineAddress::Tcp { authority, .. } => match authority.parse() {
            Ok(socket) => Listener::bind(&Listen::Tcp(socket)).await.err(),
            // A name that a resolver must be asked for: the engine itself will say.
            Err(_) => None,
        },
        EngineAddress::Unix(path) => {
            let answered = UnixStream::connect(path).await.is_ok();
            answered.then(|| BindError::Taken { listen: Listen::Unix(path.clone()), holder: None })
        }
    };
    match taken {
        Some(taken @ BindError::Taken { .. }) => Err(StartError::AddressTaken(taken)),
        _ => Ok(()),
    }
}

fn explain(status: std::io::Result<ExitStatus>, tail: &Tail) -> String {
    let how = match &status {
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("ended, and its status is lost ({error})"),
    };
    // Who is killed from outside did not print why.
    let killed = status.is_ok_and(|status| status.signal() == Some(Signal::KILL.as_raw()));
    let line = if killed { None } else { tail.explanation() };
    line.map(|line| format!("{how}: {line}")).unwrap_or(how)
}

//! One running `remora up`.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::{program, repository};

/// Longest wait for anything a healthy stack does at once, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// `remora up` on free ports with a state folder of its own; killed when dropped.
#[derive(Debug)]
pub struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    started: Value,
    state: TempDir,
}

/// How a stack ended.
#[derive(Debug)]
pub struct Exited {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// How a stack is to be started.
#[derive(Debug, Default)]
pub struct Launch {
    settings: Option<String>,
    arguments: Vec<String>,
    through: Vec<String>,
}

impl Launch {
    /// With these settings, in TOML, instead of the repository's.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings = Some(toml.to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// By another command, which becomes the stack: `ip netns exec NAME`.
    #[must_use]
    pub fn through(mut self, command: &[&str]) -> Self {
        self.through = command.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts it and waits until it answers.
    pub async fn ready(self) -> Up {
        let mut up = self.start().await;
        let ready = up.next_event().await;
        assert_eq!(ready["event"], "ready", "{ready}");
        up
    }

    /// Starts it; returns when it listens, before its engine is ready.
    pub async fn start(self) -> Up {
        let state = tempfile::tempdir().expect("a temporary folder");
        let mut words = self.through;
        words.push(program("remora").to_str().expect("a plain path").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--json", "up"]);
        for service in ["gateway", "agents-server", "model-manager", "engine"] {
            command.args(["--port", &format!("{service}=0")]);
        }
        if let Some(settings) = self.settings {
            let file = state.path().join("remora.toml");
            std::fs::write(&file, settings).expect("a writable temporary folder");
            command.arg("--config").arg(file);
        }
        let mut child = command
            .args(self.arguments)
            .current_dir(repository())
            .env("REMORA_STATE_DIR", state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(state.path().join("stderr")).expect("a writable temporary folder"))
            .kill_on_drop(true)
            .spawn()
            .expect("remora starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut up = Up { child, lines: BufReader::new(stdout).lines(), started: Value::Null, state };
        up.started = up.next_event().await;
        assert_eq!(up.started["event"], "started", "{}", up.started);
        up
    }
}

impl Up {
    /// A stack to be started in its own way.
    #[must_use]
    pub fn launch() -> Launch {
        Launch::default()
    }

    /// Starts a stack with the demo model and waits until it answers.
    pub async fn ready() -> Self {
        Self::launch().ready().await
    }

    /// The same with more arguments.
    pub async fn ready_with(arguments: &[&str]) -> Self {
        Self::launch().arguments(arguments).ready().await
    }

    /// Starts a stack; returns when it listens, before its engine is ready.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::launch().arguments(arguments).start().await
    }

    /// The next line that `remora up --json` prints.
    pub async fn next_event(&mut self) -> Value {
        let line = timeout(LIMIT, self.lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => serde_json::from_str(&line).expect("every line is JSON"),
            other => panic!("no event: {other:?}; stderr:\n{}", self.stderr()),
        }
    }

    /// The gateway's URL.
    #[must_use]
    pub fn gateway(&self) -> &str {
        self.url("gateway")
    }

    /// A service's URL: `gateway`, `agents_server`, `model_manager`, `engine`.
    #[must_use]
    pub fn url(&self, service: &str) -> &str {
        self.started[service].as_str().expect("every service has a URL")
    }

    /// The control socket's path.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.url("control_socket").into()
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().expect("it has not been waited for");
        Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not zero")
    }

    /// The engine's process: the child of this one that runs `remora engine`.
    #[must_use]
    pub fn engine_pid(&self) -> Pid {
        self.living_engine().expect("an engine child is running")
    }

    /// The same, where one runs at this moment.
    #[must_use]
    pub fn living_engine(&self) -> Option<Pid> {
        let children = procfs::process::all_processes().expect("/proc").flatten();
        let mine = |p: &procfs::process::Process| p.stat().is_ok_and(|s| s.ppid == self.pid().as_raw_nonzero().get());
        let engine = |p: &procfs::process::Process| p.cmdline().is_ok_and(|words| words.iter().any(|w| w == "engine"));
        let found = children.into_iter().find(|p| mine(p) && engine(p))?;
        Pid::from_raw(found.pid)
    }

    /// Sends a signal to the parent only, as `kill` does.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits for the end.
    pub async fn exited(mut self) -> Exited {
        let status = timeout(LIMIT, self.child.wait()).await.expect("it ends in time").expect("it can be waited for");
        let mut rest = String::new();
        let _ = self.lines.into_inner().read_to_string(&mut rest).await;
        Exited { status, stderr: std::fs::read_to_string(self.state.path().join("stderr")).unwrap_or_default() }
    }

    /// What it has written to stderr so far: its log.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.state.path().join("stderr")).unwrap_or_default()
    }
}

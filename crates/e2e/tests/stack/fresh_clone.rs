//! A newcomer's first minute: a fresh copy of the repository, `scripts/up`, and the README's lines as they are printed.

use std::path::Path;
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use remora_e2e::{program, repository};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Our own crates are compiled again, since their path is another one; llama.cpp is not.
const BUILD_LIMIT: Duration = Duration::from_mins(20);

/// Copies what git tracks, and what it does not know yet but would not ignore.
fn copy_repository(target: &Path) {
    let list = StdCommand::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git runs");
    for name in String::from_utf8(list.stdout).unwrap().split_terminator('\0') {
        let (from, to) = (repository().join(name), target.join(name));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// The commands of the README's "Try it" block.
fn printed_lines() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let block = readme.split("<!-- as printed -->\n```sh\n").nth(1).expect("the README has the block");
    let block = block.split("```").next().unwrap().replace("\\\n", " ");
    block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn fresh_clone_answers_as_the_readme_prints() {
    let clone = tempfile::tempdir().unwrap();
    copy_repository(clone.path());
    let target = program("remora").ancestors().nth(2).unwrap().to_owned();
    let mut up = Command::new("scripts/up")
        .arg("--json")
        .current_dir(clone.path())
        .env("CARGO_TARGET_DIR", &target)
        .env("REMORA_STATE_DIR", clone.path().join(".state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    loop {
        let line = timeout(BUILD_LIMIT, lines.next_line()).await.expect("it starts in time").unwrap();
        let line = line.expect("scripts/up says that it is ready; its stderr is above");
        if line.contains(r#""event":"ready""#) {
            break;
        }
    }

    let printed = printed_lines();
    assert!(printed.len() >= 4, "{printed:?}");
    for line in printed {
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &line])
            .current_dir(clone.path())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.trim().is_empty() && !text.contains("\"error\""), "{line}\n{text}");
    }

    let pid = Pid::from_raw(i32::try_from(up.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = timeout(Duration::from_secs(40), up.wait()).await.expect("Ctrl-C stops it").unwrap();
    assert!(status.success(), "{status:?}");
}

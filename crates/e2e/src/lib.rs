//! Whole stacks as a user starts them: `remora up` as a process, the real engine, the demo model.
//!
//! These tests need the built `remora` beside them (`cargo build --release --workspace --bins`; `scripts/test` does it)
//! and, where they use the official SDKs or a real vLLM, `REMORA_TEST_PYTHON`,
//! `REMORA_TEST_NODE` and `REMORA_TEST_VLLM`. What is missing is a failure that says what to run.

mod sdks;
mod up;
mod vllm;

pub use sdks::Sdk;
pub use up::{Exited, Launch, Up};
pub use vllm::Vllm;

use std::path::PathBuf;

/// The repository.
#[must_use]
pub fn repository() -> PathBuf {
    // Asked when it runs: a target folder may be shared by several checkouts.
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for tests"));
    manifest.ancestors().nth(2).expect("the crate is two folders deep").to_owned()
}

/// A built program of the workspace, from the folder that this test was built into.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("a running test has a path");
    let folder = me.ancestors().nth(2).expect("tests lie in target/release/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; run: cargo build --release --workspace --bins", path.display());
    path
}

/// The Python with the official SDKs.
#[must_use]
pub fn python() -> PathBuf {
    let path = std::env::var_os("REMORA_TEST_PYTHON").map(PathBuf::from);
    path.expect("REMORA_TEST_PYTHON is not set; scripts/test makes the environment with the official SDKs and sets it")
}

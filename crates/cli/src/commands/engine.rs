//! `remora engine`: the embedded engine in a process of its own.

use remora_engine::EngineArgs;

pub(crate) async fn run(args: EngineArgs) -> anyhow::Result<()> {
    remora_engine::run(args).await
}

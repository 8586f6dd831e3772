//! The official OpenAI SDK against a whole stack.

use remora_e2e::{Up, python, repository};
use tokio::process::Command;

#[tokio::test]
async fn the_official_python_sdk_streams_cancels_and_understands_errors() {
    let up = Up::ready().await;
    let output = Command::new(python())
        .arg(repository().join("crates/e2e/python/openai_sdk.py"))
        .env("OPENAI_BASE_URL", format!("{}/v1", up.gateway()))
        .env("ENGINE_URL", up.url("engine"))
        .env("OPENAI_API_KEY", "unused")
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

//! Requests that nobody thought of: schemathesis over the committed API documents.

use remora_e2e::{python, repository};
use tokio::process::Command;

use crate::stack::{SERVICES, STRANGER, Stack, USER};

async fn fuzz(stack: &Stack, address: &str, role: &str) {
    for (service, _) in SERVICES {
        let output = Command::new(python())
            .arg(repository().join("crates/e2e/python/fuzz.py"))
            .arg(repository().join("crates").join(service).join("openapi.json"))
            .args([stack.url(service), address, role])
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{service}:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    }
}

#[tokio::test]
async fn no_request_of_a_stranger_gets_in_or_breaks_anything() {
    let stack = Stack::ready().await;
    fuzz(&stack, STRANGER, "none").await;
    assert!(!stack.up.stderr().contains(" ERROR "), "{}", stack.up.stderr());
}

#[tokio::test]
async fn no_request_of_a_user_breaks_anything() {
    let stack = Stack::ready().await;
    fuzz(&stack, USER, "use").await;
    assert!(!stack.up.stderr().contains(" ERROR "), "{}", stack.up.stderr());
}

//! tailscaled in trouble: whoever it would vouch for is refused, and nobody else notices.

use std::time::Duration;

use remora_testing::fake_tailscaled::{Fault, Peer};
use remora_testing::wait_until;
use remora_types::identity::Role;

use crate::stack::{SERVICES, STRANGER, Stack, USER, code_of, from, outcome};
use crate::wire::Wire;

const LIMIT: Duration = Duration::from_secs(30);

/// What holds while tailscaled cannot be asked.
async fn fails_closed(stack: &Stack, key: &str, what: &str) {
    for (service, _) in SERVICES {
        let at = |path: &str| format!("{}{path}", stack.url(service));
        for address in [USER, STRANGER] {
            let answer = from(address).get(at("/status")).send().await.unwrap();
            assert!(answer.headers().contains_key("retry-after"), "{what}, {service}: {answer:?}");
            assert_eq!(code_of(answer).await, (503, "identity_unavailable".into()), "{what}, {service}");
        }
        for path in ["/health", "/ready"] {
            assert_eq!(outcome(from(STRANGER).get(at(path))).await.0, 200, "{what}, {service} {path}");
        }
        assert_eq!(outcome(from(STRANGER).get(at("/status")).bearer_auth(key)).await.0, 200, "{what}, {service}");
    }
}

async fn works(stack: &Stack) {
    for (service, _) in SERVICES {
        let status = format!("{}/status", stack.url(service));
        assert_eq!(outcome(from(USER).get(&status)).await.0, 200, "{service}");
        assert_eq!(outcome(from(STRANGER).get(&status)).await.0, 401, "{service}");
    }
}

#[tokio::test]
async fn wrong_answers_open_nothing() {
    let stack = Stack::ready().await;
    let key = stack.key(Role::Use).await;
    for fault in [
        Fault::Status(500),
        Fault::Status(403),
        Fault::Status(400),
        Fault::Garbage,
        Fault::OtherShape,
        Fault::HalfABody,
    ] {
        stack.tailnet.set_fault(fault);
        fails_closed(&stack, &key, &format!("{fault:?}")).await;
        stack.tailnet.set_fault(Fault::None);
        works(&stack).await;
    }
}

#[tokio::test]
async fn slow_answers_open_nothing() {
    let stack = Stack::ready().await;
    let key = stack.key(Role::Use).await;
    stack.tailnet.set_fault(Fault::Slow(Duration::from_mins(1)));
    fails_closed(&stack, &key, "slow").await;
    stack.tailnet.set_fault(Fault::Slow(Duration::from_millis(300)));
    works(&stack).await;
}

#[tokio::test]
async fn a_tailscaled_that_is_gone_opens_nothing_and_is_found_when_it_is_back() {
    let mut stack = Stack::ready().await;
    let key = stack.key(Role::Use).await;
    let mut kept = Wire::open(stack.url("gateway")).await;
    stack.tailnet.add(&kept.local(), Peer::user("use@example.com"));
    assert_eq!(kept.get("/v1/models", &[]).await.status, 200);

    stack.tailnet.stop().await;
    fails_closed(&stack, &key, "stopped").await;
    wait_until(LIMIT, async || kept.get("/v1/models", &[]).await.status == 503).await;
    std::fs::remove_file(stack.tailnet.socket()).unwrap();
    fails_closed(&stack, &key, "without a socket").await;

    stack.tailnet.start_again().await;
    works(&stack).await;
    assert_eq!(kept.get("/v1/models", &[]).await.status, 200, "the kept connection too");
}

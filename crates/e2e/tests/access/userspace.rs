//! tailscaled in userspace mode: every peer comes from 127.0.0.1, and only its port tells who it is.

use std::time::Duration;

use remora_testing::fake_tailscaled::Peer;
use remora_testing::wait_until;

use crate::stack::{SERVICES, Stack};
use crate::wire::Wire;

/// Longer than a verdict about a connection holds, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_connection_is_whom_whois_says_and_the_next_one_is_nobody() {
    let stack = Stack::ready().await;
    for (service, _) in SERVICES {
        let url = stack.url(service);
        let mut known = Wire::open(url).await;
        stack.tailnet.add(&known.local(), Peer::user("use@example.com"));
        let answer = known.get("/whoami", &[]).await;
        assert_eq!((answer.status, &answer.json()["who"]["login"]), (200, &"use@example.com".into()), "{answer:?}");
        assert_eq!(answer.json()["peer"], known.local());

        for lie in [
            &[][..],
            &["tailscale-user-login: use@example.com", "tailscale-user-name: Ann"],
            &["x-forwarded-for: 127.0.0.11"],
            &["forwarded: for=127.0.0.11", "x-real-ip: 127.0.0.11"],
            &["x-remora-caller: {\"who\":{\"kind\":\"local\"},\"roles\":[\"admin\"],\"because\":[]}"],
            &["x-remora-service: gateway"],
            &["x-remora-service: eyJmcm9tIjoiZ2F0ZXdheSJ9.AAAA"],
            &["authorization: Bearer unused"],
            &["authorization: Basic YWRtaW46YWRtaW4="],
            &["host: localhost"],
        ] {
            let mut unknown = Wire::open(url).await;
            let answer = match lie {
                [host] if host.starts_with("host: ") => unknown.send("GET /status HTTP/1.1\r\n", lie).await,
                _ => unknown.get("/status", lie).await,
            };
            assert_eq!(answer.status, 401, "{service}, {lie:?}: {answer:?}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        }
        assert_eq!(known.get("/status", &[]).await.status, 200, "{service}: the known one is still known");
    }
}

#[tokio::test]
async fn a_port_that_another_connection_had_gives_nothing() {
    let stack = Stack::ready().await;
    let url = stack.url("gateway");
    let mut first = Wire::open(url).await;
    let local = first.local();
    stack.tailnet.add(&local, Peer::user("admin@example.com"));
    assert_eq!(first.get("/keys", &[]).await.status, 200);
    drop(first);
    stack.tailnet.remove(&local);
    let mut second = Wire::open_from(url, &local).await;
    assert_eq!(second.local(), local);
    assert_eq!(second.get("/keys", &[]).await.status, 401);

    stack.tailnet.add(&local, Peer::user("use@example.com"));
    let whoami = second.get("/whoami", &[]).await.json();
    assert_eq!(whoami["who"]["login"], "use@example.com", "a refusal is not kept");
}

#[tokio::test]
async fn a_kept_connection_is_asked_about_again() {
    let stack = Stack::ready().await;
    let mut kept = Wire::open(stack.url("gateway")).await;
    let local = kept.local();
    stack.tailnet.add(&local, Peer::user("use@example.com"));
    let asked = stack.tailnet.whois_calls();
    for _ in 0..20 {
        assert_eq!(kept.get("/v1/models", &[]).await.status, 200);
    }
    assert!(stack.tailnet.whois_calls() < asked + 20, "not with each request");
    assert!(stack.tailnet.asked().contains(&local), "with its port: {:?}", stack.tailnet.asked());
    stack.tailnet.remove(&local);
    wait_until(LIMIT, async || kept.get("/v1/models", &[]).await.status == 401).await;
}

//! Tailscale Serve: it brings requests over a socket of its own, and says for whom.

use remora_testing::FakeTailscaled;
use remora_testing::fake_tailscaled::Peer;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::stack::{SERVICES, Stack, outcome};

#[tokio::test]
async fn a_caller_is_whom_whois_says_at_the_address_that_serve_gives() {
    let folder = tempfile::tempdir().unwrap();
    let identity = format!("everyone = 'nothing'\nserve_folder = '{}'", folder.path().display());
    let stack = Stack::ready_with(&identity, FakeTailscaled::start().await).await;
    stack.tailnet.add("100.64.0.7", Peer::user("use@example.com"));
    stack.tailnet.add("100.64.0.8", Peer::user("admin@example.com"));
    stack.tailnet.add("fd7a:115c:a1e0::7", Peer::user("operate@example.com"));
    for (service, _) in SERVICES {
        // One client: Serve keeps its connections, and sends requests of several people over each.
        let client = Client::builder().unix_socket(folder.path().join(format!("{service}.sock"))).build().unwrap();
        let get = |path: &str| client.get(format!("http://remora-server.tail1234.ts.net{path}"));
        let whoami = async |request: RequestBuilder| -> Value { request.send().await.unwrap().json().await.unwrap() };
        for (address, login) in [
            ("100.64.0.7", "use@example.com"),
            ("100.64.0.8", "admin@example.com"),
            ("fd7a:115c:a1e0::7", "operate@example.com"),
            ("100.64.0.7", "use@example.com"),
        ] {
            // What Serve says about the person is not what counts.
            let request = get("/whoami").header("x-forwarded-for", address);
            let told = whoami(request.header("tailscale-user-login", "admin@example.com")).await;
            assert_eq!(told["who"]["login"], login, "{service}: {told}");
        }
        for (what, request) in [
            ("nobody named", get("/status")),
            ("a stranger", get("/status").header("x-forwarded-for", "100.64.0.99")),
            ("no address", get("/status").header("x-forwarded-for", "ann")),
            ("two addresses", get("/status").header("x-forwarded-for", "100.64.0.7, 100.64.0.8")),
            (
                "the public internet",
                get("/status").header("x-forwarded-for", "100.64.0.7").header("tailscale-funnel-request", "?1"),
            ),
        ] {
            assert_eq!(outcome(request).await, (401, "no_identity".into()), "{service}: {what}");
        }
        assert_eq!(outcome(get("/health")).await.0, 200);
    }
}

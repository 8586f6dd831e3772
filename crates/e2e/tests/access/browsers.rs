//! What pages of other sites make a browser send, and what is refused before anybody asks who is calling.

use crate::stack::{ADMIN, SERVICES, Stack, from, outcome};
use crate::wire::Wire;

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_before_whois() {
    let stack = Stack::ready().await;
    let before = stack.tailnet.whois_calls();
    for (service, _) in SERVICES {
        for path in ["/health", "/status", "/openapi.json", "/no/such/path"] {
            let get = || from(ADMIN).get(format!("{}{path}", stack.url(service)));
            assert_eq!(
                outcome(get().header("host", "evil.com")).await,
                (421, "unknown_host".into()),
                "{service}{path}"
            );
            for origin in ["https://evil.com", "null", "http://localhost:3000"] {
                let got = outcome(get().header("origin", origin)).await;
                assert_eq!(got, (403, "cross_origin".into()), "{service}{path} from {origin}");
            }
            let image = get().header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "no-cors");
            assert_eq!(outcome(image).await, (403, "cross_origin".into()), "{service}{path}");
        }
    }
    assert_eq!(stack.tailnet.whois_calls(), before);
}

#[tokio::test]
async fn no_foreign_origin_is_told_that_it_may() {
    let stack = Stack::ready_with("allowed_origins = ['https://chat.example.com']", Stack::ready().await.tailnet).await;
    for (service, _) in SERVICES {
        let url = format!("{}/status", stack.url(service));
        let ask = async |method: reqwest::Method, origin: &str| {
            let request = from(ADMIN).request(method, &url).header("origin", origin);
            let request = request.header("access-control-request-method", "GET");
            let request = request.header("access-control-request-headers", "authorization");
            let answer = request.send().await.unwrap();
            let told: Vec<_> =
                answer.headers().keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
            (answer.status().as_u16(), told)
        };
        for origin in ["https://evil.com", "null", "https://chat.example.com.evil.com", "http://chat.example.com"] {
            assert_eq!(ask(reqwest::Method::GET, origin).await, (403, vec![]), "{service} {origin}");
            assert_eq!(ask(reqwest::Method::OPTIONS, origin).await, (403, vec![]), "{service} {origin}");
        }
        let (status, told) = ask(reqwest::Method::GET, "https://chat.example.com").await;
        assert!(status == 200 && told.contains(&"access-control-allow-origin".parse().unwrap()), "{status} {told:?}");
        let (status, told) = ask(reqwest::Method::OPTIONS, "https://chat.example.com").await;
        assert!(status == 204 && told.contains(&"access-control-allow-methods".parse().unwrap()), "{status} {told:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_whois() {
    let stack = Stack::ready().await;
    let before = stack.tailnet.whois_calls();
    for (service, _) in SERVICES {
        let url = stack.url(service);
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000000\r\n";
        let answer = Wire::open_from(url, ADMIN).await.send(head, &[]).await;
        assert_eq!(answer.status, 413, "{service}: {answer:?}");

        // The limit is on what is read ahead of a whole head, so that one packet's worth more may pass.
        let long = format!("x-long: {}", "x".repeat(160 << 10));
        let answer = Wire::open_from(url, ADMIN).await.get("/status", &[&long]).await;
        assert!(matches!(answer.status, 400 | 431), "{service}: {answer:?}");
        let many: Vec<String> =
            (0..2000).map(|n| format!("x-header-{n}: a header among many others of its kind")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let answer = Wire::open_from(url, ADMIN).await.get("/status", &many).await;
        assert!(matches!(answer.status, 400 | 431), "{service}: {answer:?}");
    }
    assert_eq!(stack.tailnet.whois_calls(), before);
}

//! What a hostile web page can make its visitor's browser send.

use http::StatusCode;
use remora_service::Identity;
use remora_service::identity::IdentityConfig;

use crate::support::{Answer, get, send, start};

fn lets_in_chat() -> Identity {
    let config =
        IdentityConfig { allowed_origins: vec!["https://chat.example.com".into()], ..IdentityConfig::default() };
    Identity::new(&config).unwrap()
}

async fn preflight(url: &str, origin: &str) -> Answer {
    let request = reqwest::Client::new().request(http::Method::OPTIONS, format!("{url}/orders"));
    send(request.header("origin", origin).header("access-control-request-method", "POST")).await
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_turned_away_before_anybody_is_asked() {
    let (url, running) = start(|s| s).await;
    let client = reqwest::Client::new();
    let rebound = send(client.get(format!("{url}/health")).header("host", "evil.com")).await;
    assert_eq!(rebound.status, StatusCode::MISDIRECTED_REQUEST);
    assert!(rebound.body.contains("unknown_host") && rebound.body.contains("[identity]"), "{}", rebound.body);
    let posted = send(client.post(format!("{url}/orders")).header("origin", "https://evil.com").body("{}")).await;
    assert_eq!(posted.status, StatusCode::FORBIDDEN);
    assert!(posted.body.contains("cross_origin"), "{}", posted.body);
    let refused = preflight(&url, "https://evil.com").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for answer in [rebound, posted, refused] {
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{:?}", answer.headers);
    }
    running.stop().request();
}

#[tokio::test]
async fn a_page_that_the_settings_let_in_gets_its_answer() {
    let (url, _running) = start(|s| s.identity(&lets_in_chat())).await;
    let asked = preflight(&url, "https://chat.example.com").await;
    assert_eq!(asked.status, StatusCode::NO_CONTENT);
    assert_eq!(asked.headers["access-control-allow-origin"], "https://chat.example.com");
    let order = reqwest::Client::new().post(format!("{url}/orders")).header("origin", "https://chat.example.com");
    let answer = send(order.header("content-type", "application/json").body(r#"{"count": 3}"#)).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "3"));
    assert_eq!(answer.headers["access-control-allow-origin"], "https://chat.example.com");
    assert!(!get(&url, "/health").await.headers.contains_key("access-control-allow-origin"));
}

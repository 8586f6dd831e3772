use http::StatusCode;
use insta::assert_snapshot;
use remora_service::ApiError;

use crate::support::{get, send, start};

#[tokio::test]
async fn every_failure_speaks_the_same_dialect() {
    let (url, _running) = start(|s| s.body_limit(64)).await;
    let client = reqwest::Client::new();
    let post = |body: String| send(client.post(format!("{url}/orders")).body(body));

    let unknown = get(&url, "/nothing").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_snapshot!(unknown.body, @r#"{"error":{"message":"there is nothing at GET /nothing; GET /docs lists what there is","type":"invalid_request_error","code":"no_such_route","param":null}}"#);

    let method = get(&url, "/orders").await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(method.body.contains("method_not_allowed"), "{}", method.body);

    let malformed = post("{".into()).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert!(malformed.body.contains("malformed_json"), "{}", malformed.body);

    let wrong = post(r#"{"count":1,"colour":"red"}"#.into()).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.body.contains("colour"), "{}", wrong.body);

    let large = post(format!(r#"{{"count":{}1}}"#, " ".repeat(64))).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(large.body.contains("body_too_large"), "{}", large.body);

    let name = get(&url, "/agents/a%20b").await;
    assert_eq!(name.status, StatusCode::BAD_REQUEST);
    assert!(name.body.contains("is not a valid agent name"), "{}", name.body);

    assert_eq!(post(r#"{"count":7}"#.into()).await.body, "7");
}

#[tokio::test]
async fn causes_and_panics_are_logged_never_sent() {
    let (url, _running) = start(|s| s).await;
    for path in ["/panic", "/broken"] {
        let answer = get(&url, path).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(answer.body.contains("internal_error") && !answer.body.contains("secret"), "{}", answer.body);
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn retry_after_is_whole_seconds_rounded_up() {
    let (url, _running) = start(|s| s).await;
    let busy = get(&url, "/busy").await;
    assert_eq!((busy.status, busy.headers["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "2"));
}

#[tokio::test]
async fn a_dialect_rules_its_prefix_only() {
    fn shout(error: &ApiError, request_id: &str) -> axum::response::Response {
        let body = format!("{}! ({request_id})", error.code().to_uppercase());
        axum::response::IntoResponse::into_response((error.status(), body))
    }
    let (url, _running) = start(|s| s.dialect("/v1/", shout)).await;
    let shouted = get(&url, "/v1/nothing").await;
    assert!(shouted.body.starts_with("NO_SUCH_ROUTE! (req-"), "{}", shouted.body);
    assert!(get(&url, "/nothing").await.body.starts_with('{'));
}

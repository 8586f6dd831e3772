//! Who used how much.

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use remora_service::{ApiError, ApiQuery, Caller, Role};
use remora_types::error::ErrorBody;
use remora_types::gateway::{UsageGroup, UsageReport, UsageRow};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::IntoApi;
use crate::state::GatewayState;
use crate::usage::{Selection, UsageError};

/// Most rows of an answer.
const LIMIT: u32 = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// What to sum by, with commas between: `day`, `caller`, `model`. Default `day,model`.
    by: Option<String>,
    /// The first day, as `2026-11-20`, in UTC. Default 30 days ago.
    #[param(value_type = Option<String>)]
    from: Option<Date>,
    /// The last day. Default today.
    #[param(value_type = Option<String>)]
    to: Option<Date>,
    /// Of this caller only, as `by=caller` tells them.
    caller: Option<String>,
    /// Of this model only, by its own name.
    model: Option<String>,
    /// Most rows; at most 10000, default 1000.
    limit: Option<u32>,
}

/// Requests and tokens by day, caller and model. Whoever does not hold `operate` sees their own.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, body = UsageReport), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn usage(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    ApiQuery(query): ApiQuery<UsageQuery>,
) -> Result<Json<UsageReport>, ApiError> {
    let of = whose(&caller, query.caller)?;
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let to = query.to.unwrap_or(today);
    let from = query.from.unwrap_or_else(|| to.saturating_sub(30.days()));
    let limit = query.limit.unwrap_or(1000).clamp(1, LIMIT);
    let selection = Selection {
        by: groups(query.by.as_deref().unwrap_or("day,model"))?,
        from: from.to_string(),
        to: to.to_string(),
        caller: of.clone(),
        model: query.model,
        limit: limit + 1,
    };
    let mut rows = select(&state, &selection).await?;
    let truncated = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let total = select(&state, &Selection { by: Vec::new(), ..selection.clone() }).await?;
    let total = total.first().map(|row| row.sums).unwrap_or_default();
    Ok(Json(UsageReport { from: selection.from, to: selection.to, caller: of, rows, total, truncated }))
}

/// Whose usage a caller gets to see; none is everybody's.
fn whose(caller: &Caller, asked: Option<String>) -> Result<Option<String>, ApiError> {
    let own = caller.who().to_string();
    if caller.is_service() || caller.roles().contains(Role::Operate) {
        return Ok(asked);
    }
    match asked {
        Some(other) if other != own => {
            let message = format!("{own} sees its own usage only; that of others needs the role 'operate'");
            Err(ApiError::new(StatusCode::FORBIDDEN, "role_required", message).with_param("caller"))
        }
        _ => Ok(Some(own)),
    }
}

fn groups(by: &str) -> Result<Vec<UsageGroup>, ApiError> {
    let mut groups = Vec::new();
    for word in by.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let group = word.parse().map_err(|error: remora_types::gateway::InvalidUsageGroup| {
            ApiError::bad_request("invalid_query", error.to_string()).with_param("by")
        })?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(groups)
}

async fn select(state: &GatewayState, selection: &Selection) -> Result<Vec<UsageRow>, ApiError> {
    let none = || ApiError::not_found("usage_not_kept", "this gateway keeps no usage: gateway.usage_file is not set");
    state.usage.rows(selection).await.ok_or_else(none)?.map_err(IntoApi::into_api)
}

impl IntoApi for UsageError {
    fn into_api(self) -> ApiError {
        ApiError::internal(self)
    }
}

//! `/ws`: checks who may connect, and with which session. [`crate::ws`] implements the WebSocket
//! itself.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::{
    answer::HandlerResult,
    assets,
    call::Call,
    client::ClientAddress,
    error::{ApiError, Code},
    origin,
};
use crate::ws::{self, Refused, Shard, Viewer};

static ASYNCAPI: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let body = ws::asyncapi().to_string();
    let tag = assets::tag(body.as_bytes());
    (body.into(), tag)
});

/// Upgrades the connection to a WebSocket. No session is needed. With a session, the client also
/// receives the private events of its user.
///
/// Browsers let any page open a WebSocket, and a page of another origin on the same site also sends
/// the cookie, so the origin must be checked here.
pub async fn connect(shard: web::Data<Shard>, call: Call) -> HandlerResult {
    if origin::is_foreign(call.req.headers(), &call.state.context.origins) {
        return Err(ApiError::new(Code::CrossOrigin));
    }
    let viewer = call.session().await?.map(|session| Viewer {
        user: session.user,
        session: session.session,
        expires_at: session.expires_at,
    });
    let context = &call.state.context;
    let client = ClientAddress::of(call.req.peer_addr(), call.req.headers(), &context.proxies);
    let address = if context.limits.is_on() { client.address(&context.proxies) } else { None };
    ws::connect(&shard, &call.req, viewer, address).map_err(|refused| match refused {
        Refused::Handshake(_) => ApiError::new(Code::UpgradeRequired),
        Refused::Full => ApiError::unavailable(
            "The server accepts no more connections right now. Try again later.",
        ),
    })
}

/// Returns the AsyncAPI document of the WebSocket.
#[utoipa::path(get, path = "/api/asyncapi.json", tag = "operation", operation_id = "asyncapi",
    responses((status = 200, description = "AsyncAPI 3.", body = serde_json::Value, content_type = "application/json")))]
pub async fn asyncapi(req: HttpRequest) -> HttpResponse {
    let (body, tag) = &*ASYNCAPI;
    assets::serve_bytes(&req, body.clone(), "application/json", tag)
}

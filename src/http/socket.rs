//! `/ws`: who may connect, and as whom. What is said there is the business of [`crate::ws`].

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

/// Makes a WebSocket of the connection. Anybody may watch; with a session, its user's private events come too.
///
/// Browsers let any page open a socket and send the cookie along, so the origin is all that tells them apart.
pub async fn connect(shard: web::Data<Shard>, call: Call) -> HandlerResult {
    if origin::is_foreign(call.req.headers(), &call.state.context.origins) {
        return Err(ApiError::new(Code::CrossOrigin));
    }
    let viewer = call.session().await?.map(|who| Viewer { user: who.user, session: who.session, expires_at: who.expires_at });
    let context = &call.state.context;
    let client = ClientAddress::of(call.req.peer_addr(), call.req.headers(), &context.proxies);
    let address = if context.limits.is_on() { client.address(&context.proxies) } else { None };
    ws::connect(&shard, &call.req, viewer, address).map_err(|refused| match refused {
        Refused::Handshake(_) => ApiError::new(Code::UpgradeRequired),
        Refused::Full => ApiError::unavailable("No more connections are taken right now."),
    })
}

/// The document of the WebSocket.
#[utoipa::path(get, path = "/api/asyncapi.json", tag = "operation", operation_id = "asyncapi",
    responses((status = 200, description = "AsyncAPI 3.", body = serde_json::Value, content_type = "application/json")))]
pub async fn asyncapi(req: HttpRequest) -> HttpResponse {
    let (body, tag) = &*ASYNCAPI;
    assets::serve_bytes(&req, body.clone(), "application/json", tag)
}

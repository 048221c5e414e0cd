//! Application while the server starts: `/healthz` is 200, and everything else is 503 with the
//! reason.
//!
//! The HTTP server runs from the bind on. Each of its workers uses a small application until it can
//! build the full one, at the first request after [`Startup::finish`]. Connections stay open during
//! that change.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use actix_http::Request;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, always_ready, fn_factory_with_config,
};
use actix_web::{
    App, Error,
    dev::{AppConfig, ServiceResponse},
    error::ErrorInternalServerError,
    middleware::from_fn,
    web,
};
use futures_util::future::{Either, LocalBoxFuture};
use parking_lot::RwLock;
use tokio::sync::OnceCell;

use super::{AppState, HttpContext, answer::HandlerResult, error::ApiError, health, middleware};
use crate::config::Config;

/// Progress of the start, shared by all workers of all servers.
#[derive(Debug, Clone)]
pub struct Startup(Arc<StartupInner>);

#[derive(Debug)]
struct StartupInner {
    context: Arc<HttpContext>,
    reason: RwLock<Cow<'static, str>>,
    state: OnceLock<AppState>,
}

impl Startup {
    /// Creates the state of a start that begins now. The server listens on `addr`.
    pub fn new(config: &Config, addr: SocketAddr) -> Self {
        let inner = StartupInner {
            context: Arc::new(HttpContext::new(config, addr)),
            reason: RwLock::new("starting".into()),
            state: OnceLock::new(),
        };
        Self(Arc::new(inner))
    }

    /// Returns the context of requests, which is the same before and after the start.
    pub fn context(&self) -> Arc<HttpContext> {
        Arc::clone(&self.0.context)
    }

    /// Sets the reason of the 503 responses during the start.
    pub fn set_reason(&self, reason: impl Into<Cow<'static, str>>) {
        *self.0.reason.write() = reason.into();
    }

    /// Ends the start: from now on the full application handles the requests.
    pub fn finish(&self, state: AppState) {
        // There is one start, so the state is set once.
        let _ = self.0.state.set(state);
    }
}

/// Returns the application of a server: that of the start, then the one that `build` creates from
/// the state.
pub fn staged<B, I, A>(
    startup: Startup,
    build: B,
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = ServiceResponse,
    Error = Error,
    InitError = (),
    Service: Service<Request, Response = ServiceResponse, Error = Error, Future: 'static> + 'static,
>
where
    B: Fn(AppState) -> I + Clone + 'static,
    I: IntoServiceFactory<A, Request>,
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse, Error = Error>
        + 'static,
    A::InitError: fmt::Debug,
    A::Service: 'static,
    <A::Service as Service<Request>>::Future: 'static,
{
    fn_factory_with_config(move |config: AppConfig| {
        let (startup, build) = (startup.clone(), build.clone());
        async move {
            let starting = Rc::new(
                starting(startup.clone()).into_factory().new_service(config.clone()).await?,
            );
            let build: Build<A::Service> = Rc::new(move |state| {
                let running = build(state).into_factory().new_service(config.clone());
                Box::pin(async move {
                    running
                        .await
                        .map(Rc::new)
                        .map_err(|error| ErrorInternalServerError(format!("{error:?}")))
                })
            });
            Ok::<_, ()>(Staged { startup, starting, build, running: Rc::default() })
        }
    })
}

/// Returns the application of the start, where only `/healthz` is available.
fn starting(startup: Startup) -> App<impl super::Service> {
    let healthz = web::resource("/healthz")
        .route(web::get().to(health::alive))
        .route(web::head().to(health::alive))
        .default_service(web::to(not_ready));
    App::new()
        .app_data(web::Data::from(startup.context()))
        .app_data(web::Data::new(startup))
        .service(healthz)
        .default_service(web::to(not_ready))
        .wrap(from_fn(middleware::middleware))
}

async fn not_ready(startup: web::Data<Startup>) -> HandlerResult {
    Err(ApiError::unavailable(format!("Not ready: {}.", startup.0.reason.read())))
}

/// Function that builds the full application of a worker.
type Build<A> = Rc<dyn Fn(AppState) -> LocalBoxFuture<'static, Result<Rc<A>, Error>>>;

/// Application of one worker.
struct Staged<S, A> {
    startup: Startup,
    starting: Rc<S>,
    build: Build<A>,
    running: Rc<OnceCell<Rc<A>>>,
}

impl<S, A> Service<Request> for Staged<S, A>
where
    S: Service<Request, Response = ServiceResponse, Error = Error>,
    S::Future: 'static,
    A: Service<Request, Response = ServiceResponse, Error = Error> + 'static,
    A::Future: 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Either<A::Future, LocalBoxFuture<'static, Result<ServiceResponse, Error>>>;

    always_ready!();

    fn call(&self, request: Request) -> Self::Future {
        if let Some(running) = self.running.get() {
            return Either::Left(running.call(request));
        }
        let Some(state) = self.startup.0.state.get().cloned() else {
            return Either::Right(Box::pin(self.starting.call(request)));
        };
        let (build, running) = (Rc::clone(&self.build), Rc::clone(&self.running));
        Either::Right(Box::pin(async move {
            running.get_or_try_init(|| build(state)).await?.call(request).await
        }))
    }
}

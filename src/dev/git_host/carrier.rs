//! Requests straight into a host of this process.

use std::fmt;

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use reqwest::Url;
use tower::ServiceExt as _;
use url::Position;

use crate::source::Carrier;

/// The routers of a host, each at its address.
pub struct InProcess(Vec<(Url, Router)>);

impl InProcess {
    pub fn new(routers: Vec<(Url, Router)>) -> Self {
        Self(routers)
    }

    async fn ask(&self, request: reqwest::Request) -> Option<axum::http::Response<Vec<u8>>> {
        let url = request.url().clone();
        let (_, router) = self.0.iter().find(|(address, _)| address.origin() == url.origin())?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        let mut asked =
            Request::builder().method(request.method().clone()).uri(path).body(Body::from(body)).ok()?;
        *asked.headers_mut() = request.headers().clone();
        let Ok(answer) = router.clone().oneshot(asked).await;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.ok()?;
        Some(axum::http::Response::from_parts(parts, body.to_vec()))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

#[async_trait]
impl Carrier for InProcess {
    async fn carry(&self, request: reqwest::Request) -> reqwest::Result<reqwest::Response> {
        let nobody = || {
            let mut answer = axum::http::Response::new(Vec::new());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        };
        Ok(self.ask(request).await.unwrap_or_else(nobody).into())
    }
}

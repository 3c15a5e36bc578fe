//! Spaces in queries.

use std::sync::Arc;

use azure_core::http::{
    Context, Request,
    policies::{Policy, PolicyResult},
};

/// Writes the spaces in a query as `%20`. The SDK writes `+`, as forms do, which the service reads as a plus sign: it would list
/// the wrong prefix, and refuse a signature over the right one (Azure/azure-sdk-for-rust, issue 1284).
#[derive(Debug)]
pub(super) struct EncodeSpaces;

#[async_trait::async_trait]
impl Policy for EncodeSpaces {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        // A plus sign itself was written as %2B.
        let query =
            request.url().query().filter(|query| query.contains('+')).map(|query| query.replace('+', "%20"));
        if let Some(query) = query {
            request.url_mut().set_query(Some(&query));
        }
        next[0].send(context, request, &next[1..]).await
    }
}

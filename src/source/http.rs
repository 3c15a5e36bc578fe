//! Asking a git host over HTTP.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use factory_clock::Clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT},
    redirect::Policy,
};
use tokio::sync::OnceCell;

use super::SourceError;
use crate::azure::{is_loopback, without_queries};

/// As towards Azure.
const CONNECT_TIME_OUT: Duration = Duration::from_secs(20);
/// A host that sends nothing for so long will send nothing more.
const READ_TIME_OUT: Duration = Duration::from_secs(60);
/// For a whole answer: less than a message is locked for.
const CALL_TIME_OUT: Duration = Duration::from_secs(240);
/// Enough of a host's own words.
const LONGEST_REASON: usize = 300;
/// GitHub refuses callers without a name.
const OUR_NAME: HeaderValue = HeaderValue::from_static(concat!("image-factory/", env!("CARGO_PKG_VERSION")));
/// How many calls are left, and when there will be more, in seconds since 1970.
/// <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What takes requests to a git host instead of sockets, where the host lives in this process.
#[async_trait]
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Takes one there, and brings its answer back.
    ///
    /// # Errors
    /// As sockets have them.
    async fn carry(&self, request: Request) -> reqwest::Result<Response>;
}

/// Calls a git host.
#[derive(Debug)]
pub(super) struct Http {
    client: OnceCell<Client>,
    carrier: Option<Arc<dyn Carrier>>,
    clock: Clock,
}

/// What to ask for.
pub(super) struct Question<'a> {
    /// For people: what is asked for, of whom.
    pub place: &'a str,
    pub method: Method,
    pub url: Url,
    /// Sent to the URL's own host alone.
    pub headers: HeaderMap,
    pub most_bytes: u64,
    /// How often the host may lead on; where it does so once more, that is the answer.
    pub most_redirects: usize,
}

/// What came back; never trouble that passes.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The host's own words, if it gives any.
    pub fn reason(&self) -> String {
        let said = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let message = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or_default();
        let words: Vec<&str> = message.split_whitespace().collect();
        // A host may repeat what it was asked with.
        let message: String = without_queries(&words.join(" ")).chars().take(LONGEST_REASON).collect();
        match message.is_empty() {
            true => format!("HTTP status {}", self.status.as_u16()),
            false => format!("HTTP status {}, {message}", self.status.as_u16()),
        }
    }
}

impl Http {
    pub fn new(clock: Clock) -> Self {
        Self { client: OnceCell::new(), carrier: None, clock }
    }

    /// Sends everything this way.
    pub fn carried_by(self, carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier: Some(carrier), ..self }
    }

    async fn send(&self, place: &str, request: Request) -> Result<Response, SourceError> {
        let answer = match &self.carrier {
            Some(carrier) => carrier.carry(request).await,
            None => {
                let client = self.client.get_or_try_init(async || client(place, request.url())).await?;
                client.execute(request).await
            }
        };
        answer.map_err(|error| unanswered(place, &error))
    }

    /// Asks, and follows where the host leads. A header never reaches another host than the first: not even the token that is
    /// in one of them.
    ///
    /// # Errors
    /// If no answer comes, or one that says "not now", or too much.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, SourceError> {
        let Question { place, method, mut url, headers, most_bytes, most_redirects } = question;
        let own = url.origin();
        let mut redirects = 0;
        loop {
            require_private(place, &url)?;
            let mut request = Request::new(method.clone(), url.clone());
            if url.origin() == own {
                *request.headers_mut() = headers.clone();
            }
            request.headers_mut().insert(USER_AGENT, OUR_NAME);
            let answer = self.send(place, request).await?;
            self.refuse_trouble(place, &answer)?;
            let leads_on = answer.status().is_redirection() && redirects < most_redirects;
            let location = leads_on.then(|| answer.headers().get(LOCATION)).flatten();
            match location.and_then(|location| url.join(location.to_str().ok()?).ok()) {
                Some(next) => url = next,
                None => return read(place, answer, most_bytes).await,
            }
            redirects += 1;
        }
    }

    /// Refuses an answer that says "not now".
    fn refuse_trouble(&self, place: &str, answer: &Response) -> Result<(), SourceError> {
        let number = |name: HeaderName| answer.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let asked = number(RETRY_AFTER).map(Duration::from_secs);
        let is_used_up = number(RATE_LIMIT_REMAINING) == Some(0);
        let status = answer.status();
        let is_limited = match status.as_u16() {
            429 => true,
            // GitHub's limits; without either sign it is a matter of permissions.
            403 => asked.is_some() || is_used_up,
            _ => false,
        };
        if !is_limited && !status.is_server_error() && status != StatusCode::REQUEST_TIMEOUT {
            return Ok(());
        }
        let reset = || {
            let now = u64::try_from(self.clock.now().unix_timestamp()).ok()?;
            Some(Duration::from_secs(number(RATE_LIMIT_RESET)?.saturating_sub(now)))
        };
        let words = if is_limited { ", its rate limit" } else { "" };
        Err(SourceError::Unavailable {
            place: place.to_owned(),
            reason: format!("HTTP status {}{words}", status.as_u16()),
            retry_after: asked.or_else(|| if is_used_up { reset() } else { None }),
        })
    }
}

/// A client; for stand-ins on this machine one that passes by any proxy that the environment names.
fn client(place: &str, url: &Url) -> Result<Client, SourceError> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIME_OUT)
        .read_timeout(READ_TIME_OUT)
        .timeout(CALL_TIME_OUT)
        .redirect(Policy::none());
    let builder = if is_loopback(url) { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| SourceError::Malformed {
        place: place.to_owned(),
        reason: format!("an HTTP client cannot be made: {error}"),
    })
}

/// Refuses URLs on whose way tokens and files can be read or changed.
fn require_private(place: &str, url: &Url) -> Result<(), SourceError> {
    match url.scheme() == "https" || url.scheme() == "http" && is_loopback(url) {
        true => Ok(()),
        false => Err(SourceError::Malformed {
            place: place.to_owned(),
            reason: format!("{} is no https URL", without_queries(url.as_str())),
        }),
    }
}

async fn read(place: &str, mut answer: Response, most_bytes: u64) -> Result<Answer, SourceError> {
    let text = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let too_large = || SourceError::TooLarge {
        path: place.to_owned(),
        reason: format!("the answer has more than {most_bytes} bytes"),
    };
    if answer.content_length().is_some_and(|length| length > most_bytes) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(place, &error))? {
        if (body.len() + chunk.len()) as u64 > most_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: answer.status(), content_type, body })
}

/// No answer came, or not all of one. The URL stays out: the links that hosts lead to are secret for minutes.
fn unanswered(place: &str, error: &reqwest::Error) -> SourceError {
    let mut reason = if error.is_timeout() { "it takes too long".to_owned() } else { "no answer".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(&format!(": {}", without_queries(&error.to_string())));
        cause = error.source();
    }
    SourceError::Unavailable { place: place.to_owned(), reason, retry_after: None }
}

/// One name of a URL's path.
pub(super) fn encoded(name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, KEPT).to_string()
}

/// A header whose value is not printed.
pub(super) fn secret_header(place: &str, value: &str) -> Result<HeaderValue, SourceError> {
    let mut header = HeaderValue::from_str(value).map_err(|_| SourceError::Malformed {
        place: place.to_owned(),
        reason: "the token holds characters that no header can carry; copy it again".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

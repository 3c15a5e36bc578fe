//! What the HTTP interfaces answer instead of doing what they were asked for.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Chance, Draw};
use crate::{Request, Service, World, fault::HttpEffect, storage};

/// The kinds that strike requests, the one that prevails first. Each is drawn for every request, so that one that is turned
/// off does not move the others.
const KINDS: [Chance; 5] = [
    Chance::ResetBefore,
    Chance::Throttled,
    Chance::ThrottledSilently,
    Chance::ServerError,
    Chance::ResetAfter,
];
/// `Retry-After`, in seconds.
const RETRY_AFTER: (u64, u64) = (1, 60);

/// What a request to Resource Manager or Blob Storage suffers, if anything.
pub(crate) fn disturb(world: &mut World, service: &Service, request: &Request) -> Option<HttpEffect> {
    let is_taken = KINDS.iter().any(|kind| world.chances.takes(*kind));
    if !is_taken || *service == Service::Identity {
        return None;
    }
    let url = request.uri().to_string();
    let url = url.split('?').next().unwrap_or_default();
    let subject = format!("{} {url}", request.method());
    let mut first = None;
    for kind in KINDS {
        let draw = world.draw(kind, &subject);
        first = first.or(draw.map(|draw| (kind, draw)));
    }
    let (kind, draw) = first?;
    world.write_down(kind, &subject);
    let maker = Maker { draw, now: world.now(), is_blob: matches!(service, Service::Blob { .. }) };
    let effect = match kind {
        Chance::ResetBefore => return Some(HttpEffect::ResetBefore),
        Chance::ResetAfter => return Some(HttpEffect::ResetAfter),
        Chance::ServerError => maker.server_error(),
        _ => maker.throttled(kind == Chance::Throttled),
    };
    Some(without_body_for_head(request, effect))
}

fn without_body_for_head(request: &Request, effect: HttpEffect) -> HttpEffect {
    match effect {
        HttpEffect::Answer { status, headers, .. } if request.method() == http::Method::HEAD => {
            HttpEffect::Answer { status, headers, body: String::new() }
        }
        other => other,
    }
}

/// Makes answers.
struct Maker {
    draw: Draw,
    now: OffsetDateTime,
    is_blob: bool,
}

/// The envelopes in which Resource Manager's errors come.
#[derive(Clone, Copy)]
enum Envelope {
    /// `{"error": {…}}`.
    Nested,
    /// `{"code", "message"}`.
    Bare,
    /// The nested one, as a JSON string.
    Text,
}

impl Maker {
    fn throttled(mut self, says_when: bool) -> HttpEffect {
        let (least, most) = RETRY_AFTER;
        let seconds = least + self.draw.choice((most - least + 1) as usize) as u64;
        let mut effect = if self.is_blob {
            match self.draw.choice(3) {
                0 => self.blob(429, "TooManyRequests", "The request was throttled."),
                _ => self.blob(503, "ServerBusy", "The server is busy."),
            }
        } else if says_when && self.draw.coin() {
            let message = format!(
                "Number of requests for subscription exceeded. Please try again after '{seconds}' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for additional information."
            );
            self.arm(429, "SubscriptionRequestsThrottled", &message, Envelope::Nested)
        } else {
            let message = "The request is being throttled as the limit has been reached for operation type - Write_ObservationWindow_00:01:00. For more information, see - https://aka.ms/controlplanelimits";
            self.arm(429, "TooManyRequests", message, Envelope::Nested)
        };
        if let HttpEffect::Answer { headers, .. } = &mut effect
            && says_when
        {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        effect
    }

    fn server_error(mut self) -> HttpEffect {
        if self.is_blob {
            return match self.draw.choice(5) {
                0 => self.gateway(502, "Bad Gateway"),
                1 => self.gateway(504, "Gateway Time-out"),
                2 => self.blob(503, "ServerBusy", "The server is busy."),
                3 => {
                    let message = "Operation could not be completed within the specified time.";
                    self.blob(500, "OperationTimedOut", message)
                }
                _ => {
                    let message = "The server encountered an internal error. Please retry the request.";
                    self.blob(500, "InternalError", message)
                }
            };
        }
        let envelope = match self.draw.choice(4) {
            0 => Envelope::Bare,
            1 => Envelope::Text,
            _ => Envelope::Nested,
        };
        match self.draw.choice(6) {
            0 => self.gateway(502, "Bad Gateway"),
            1 => self.gateway(503, "Service Unavailable"),
            2 => {
                let message = "The service is temporarily unavailable. Please try again later.";
                self.arm(503, "ServiceUnavailable", message, envelope)
            }
            3 => {
                let message = "The gateway did not receive a response from the resource provider within the specified time period.";
                self.arm(504, "GatewayTimeout", message, envelope)
            }
            4 => self.arm(502, "BadGateway", "The upstream service could not be reached.", envelope),
            _ => {
                let message = "Encountered internal server error. Please retry the request after some time.";
                self.arm(500, "InternalServerError", message, envelope)
            }
        }
    }

    fn request_id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.draw.number(), self.draw.number())
    }

    fn arm(&mut self, status: u16, code: &str, message: &str, envelope: Envelope) -> HttpEffect {
        let bare = json!({"code": code, "message": message});
        let body = match envelope {
            Envelope::Bare => bare,
            Envelope::Nested => json!({"error": bare}),
            Envelope::Text => json!(json!({"error": bare}).to_string()),
        };
        let id = self.request_id().to_string();
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("x-ms-request-id", id.as_str()),
            ("x-ms-correlation-request-id", id.as_str()),
        ];
        answer(status, &headers, body.to_string())
    }

    fn blob(&mut self, status: u16, code: &'static str, message: &str) -> HttpEffect {
        let id = self.request_id().to_string();
        let body = storage::error_body(code, message, &id, self.now);
        let headers = [
            ("content-type", "application/xml"),
            ("server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"),
            ("x-ms-error-code", code),
            ("x-ms-request-id", id.as_str()),
        ];
        answer(status, &headers, body)
    }

    /// What a gateway in front of the service answers: no JSON, no XML, no ids.
    fn gateway(&mut self, status: u16, title: &str) -> HttpEffect {
        let body = format!(
            "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n<hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n</body>\r\n</html>\r\n"
        );
        answer(status, &[("content-type", "text/html")], body)
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: String) -> HttpEffect {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    HttpEffect::Answer { status, headers: headers.collect(), body }
}

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use factory_clock::Clock;
use serde_json::json;
use time::macros::datetime;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in pairs {
        headers.insert(HeaderName::from_static(name), (*value).to_owned());
    }
    headers
}

fn answer(status: u16, pairs: &[(&'static str, &str)], body: &str) -> AzureError {
    AzureError::from_answer("GET x", status, &headers(pairs), body.as_bytes(), &Clock::system())
}

#[test]
fn the_deepest_code_and_message_come_out_of_every_envelope() {
    let nested = json!({"error": {"code": "InvalidStorageAccountForLab", "message": "Invalid storage account for lab"}});
    let deployment = json!({"error": {
        "code": "DeploymentFailed", "message": "At least one resource deployment operation failed.",
        "details": [{"code": "Conflict", "message": nested.to_string()}, {"code": "Other", "message": "o"}],
    }});
    let table = [
        (json!({"error": {"code": "A", "message": "m"}}).to_string(), "A", "m"),
        (json!({"code": "A", "message": "m"}).to_string(), "A", "m"),
        (json!({"Code": "A", "Message": "m"}).to_string(), "A", "m"),
        // A whole document as a string in a string.
        (json!(json!({"error": {"code": "A", "message": "m"}}).to_string()).to_string(), "A", "m"),
        (deployment.to_string(), "InvalidStorageAccountForLab", "Invalid storage account for lab"),
        (
            json!({"error": {"code": "InvalidTemplateDeployment", "message": "see details", "details": [
                {"code": "QuotaExceeded", "message": "over quota"}]}}).to_string(),
            "QuotaExceeded",
            "over quota",
        ),
        // A detail without a message keeps the message above it; one without a code changes nothing.
        (json!({"error": {"code": "A", "message": "m", "details": [{"code": "B"}]}}).to_string(), "B", "m"),
        (json!({"error": {"code": "A", "message": "m", "details": [{}]}}).to_string(), "A", "m"),
        (json!({"error": {"code": "A", "message": "m", "details": []}}).to_string(), "A", "m"),
        (json!({"error": {"code": "A", "message": "m", "details": null}}).to_string(), "A", "m"),
        // A document quoted in a sentence.
        (
            json!({"code": "Conflict", "message": "The operation failed: {\"error\":{\"code\":\"B\",\"message\":\"n\"}}. Sorry."}).to_string(),
            "B",
            "n",
        ),
        // Braces that are no document.
        (json!({"code": "InvalidTemplate", "message": "Unable to parse '{x}' at {'a': 1}"}).to_string(), "InvalidTemplate", "Unable to parse '{x}' at {'a': 1}"),
        (json!({"error": {"code": "Forbidden", "message": "m", "innererror": {"code": "ForbiddenByRbac"}}}).to_string(), "ForbiddenByRbac", "m"),
        (json!({"error": "invalid_client", "error_description": "AADSTS7000215: bad secret"}).to_string(), "invalid_client", "AADSTS7000215: bad secret"),
        (json!({"properties": {"statusMessage": {"error": {"code": "A", "message": "m"}}}}).to_string(), "A", "m"),
        ("\u{feff}{\"error\":{\"code\":\"A\",\"message\":\"m\"}}".to_owned(), "A", "m"),
        (
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.\nRequestId:1\nTime:2</Message></Error>".to_owned(),
            "BlobNotFound",
            "The specified blob does not exist.",
        ),
        ("<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>".to_owned(), "BadRequest", "502 Bad Gateway"),
        ("<html><body><h1>Our services aren't\n available</h1></body></html>".to_owned(), "BadRequest", "Our services aren't available"),
        ("upstream connect error".to_owned(), "BadRequest", "upstream connect error"),
        (String::new(), "BadRequest", "HTTP status 400, with no message"),
        ("null".to_owned(), "BadRequest", "null"),
        ("{}".to_owned(), "BadRequest", "HTTP status 400, with no message"),
        ("[1,2]".to_owned(), "BadRequest", "HTTP status 400, with no message"),
        ("{\"error\": {\"code\": 7, \"message\": [1]}}".to_owned(), "BadRequest", "HTTP status 400, with no message"),
        ("{\"error\": {\"code\": \"A\", \"mess".to_owned(), "BadRequest", "{\"error\": {\"code\": \"A\", \"mess"),
    ];
    for (body, code, message) in table {
        let error = answer(400, &[], &body);
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
    }
}

#[test]
fn a_deep_envelope_is_read_once_and_not_twice_at_every_depth() {
    // Two readings of each would be 2^24 of the innermost.
    let deep = (0..24).fold(json!("no code"), |inner, _| json!([inner]));
    let error = answer(500, &[], &json!({"error": {"details": deep}}).to_string());
    assert_eq!(error.code, "InternalServerError");
}

#[test]
fn a_bottomless_envelope_is_read_without_harm() {
    let mut body = json!({"code": "Bottom", "message": "b"});
    for _ in 0..30 {
        body = json!({"error": {"code": "Level", "message": "m", "details": [body]}});
    }
    assert_eq!(answer(400, &[], &body.to_string()).code, "Level");
    // What is deeper still, the JSON parser refuses.
    assert_eq!(answer(400, &[], &"[".repeat(1_000_000)).code, "BadRequest");
    let mut text = "x".to_owned();
    for _ in 0..12 {
        text = json!({"code": "C", "message": text}).to_string();
    }
    assert_eq!(answer(400, &[], &text).message, "x");
}

#[test]
fn statuses_and_codes_tell_what_an_error_means() {
    let transient = ErrorKind::Transient { retry_after: None };
    let table = [
        (408, "RequestTimeout", "", transient.clone()),
        (429, "SubscriptionRequestsThrottled", "", transient.clone()),
        (500, "InternalServerError", "", transient.clone()),
        (503, "ServerBusy", "", transient.clone()),
        (404, "ResourceNotFound", "", ErrorKind::NotFound),
        (404, "CannotVerifyCopySource", "", ErrorKind::NotFound),
        (412, "ConditionNotMet", "", ErrorKind::Precondition),
        (409, "BlobAlreadyExists", "", ErrorKind::Precondition),
        (409, "AnotherOperationInProgress", "", transient.clone()),
        (409, "RetryableError", "", transient.clone()),
        (400, "RetryableErrorDueToAnotherOperation", "", transient.clone()),
        (409, "DeploymentActive", "", transient.clone()),
        (409, "ContainerBeingDeleted", "", transient.clone()),
        (409, "PendingCopyOperation", "", transient.clone()),
        (409, "Conflict", "Another operation is in progress on the VM.", transient.clone()),
        (409, "Conflict", "The disk has an outstanding SAS.", ErrorKind::Permanent),
        (409, "ScopeLocked", "", ErrorKind::Permanent),
        (409, "OperationNotAllowed", "exceeding approved cores quota", ErrorKind::Permanent),
        (400, "InvalidTemplate", "", ErrorKind::Permanent),
        (401, "ExpiredAuthenticationToken", "", transient),
        (401, "InvalidAuthenticationToken", "", ErrorKind::Permanent),
        (403, "AuthorizationFailed", "try again", ErrorKind::Permanent),
        (302, "Found", "", ErrorKind::Permanent),
    ];
    for (status, code, message, kind) in table {
        let error = answer(status, &[], &json!({"error": {"code": code, "message": message}}).to_string());
        assert_eq!(error.kind, kind, "{status} {code} {message}");
        assert_eq!(error.status, Some(status));
    }
}

#[test]
fn a_head_tells_its_code_in_a_header_only() {
    let pairs = [("x-ms-error-code", "BlobNotFound"), ("x-ms-request-id", "r-1")];
    let error = answer(404, &pairs, "");
    assert_eq!((error.code.as_str(), error.correlation_id.as_deref()), ("BlobNotFound", Some("r-1")));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_seconds_milliseconds_or_a_date_by_the_factorys_clock() {
    let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
    let table = [
        (vec![("retry-after", "17")], Some(Duration::from_secs(17))),
        (vec![("retry-after", " 0 ")], Some(Duration::ZERO)),
        (vec![("retry-after", "Sun, 22 Nov 2026 13:02:00 GMT")], Some(Duration::from_secs(120))),
        (vec![("retry-after", "Sun, 22 Nov 2026 12:00:00 GMT")], Some(Duration::ZERO)),
        (vec![("retry-after", "9"), ("x-ms-retry-after-ms", "1500")], Some(Duration::from_millis(1500))),
        (vec![("retry-after", "soon")], None),
        (vec![("retry-after", "-5")], None),
        (vec![], None),
    ];
    for (pairs, expected) in table {
        assert_eq!(retry_after(&headers(&pairs), &clock), expected, "{pairs:?}");
    }
}

#[test]
fn an_error_says_what_was_tried_what_azure_answered_and_under_which_id() {
    let body = json!({"error": {"code": "Conflict", "message": "It is\r\n  taken"}}).to_string();
    let error = answer(409, &[("x-ms-correlation-request-id", "c-1"), ("x-ms-request-id", "r-1")], &body);
    assert_eq!(error.to_string(), "GET x: Conflict: It is taken (correlation id c-1)");
    assert_eq!(
        answer(500, &[], "").to_string(),
        "GET x: InternalServerError: HTTP status 500, with no message"
    );
}

#[test]
fn no_signature_leaks_and_no_message_is_endless() {
    let table = [
        ("see https://a.b/c?sv=1&sig=SECRET.", "see https://a.b/c"),
        ("'https://a.b/c?sig=SECRET' and (http://d/e?sig=SECRET)", "'https://a.b/c' and (http://d/e)"),
        ("https://a.b/c?x=1#sig=SECRET", "https://a.b/c"),
        ("sv=1&SIG=SECRET&se=2", "sv=1&SIG=***&se=2"),
        ("token sig=SECRET then", "token sig=*** then"),
        ("plain? yes", "plain? yes"),
        ("https://é.b/ü?sig=SECRET ö", "https://é.b/ü ö"),
    ];
    for (text, expected) in table {
        assert_eq!(without_queries(text), expected);
        assert_eq!(without_queries(expected), expected, "what is masked stays so");
    }
    let error = answer(400, &[], &"é".repeat(10_000));
    assert!(error.message.chars().count() <= LONGEST_MESSAGE + 1);
    let long = json!({"code": "A", "message": "é".repeat(10_000)}).to_string();
    assert_eq!(answer(400, &[], &long).message.chars().count(), LONGEST_MESSAGE + 1);
}

#[test]
fn what_a_service_repeats_of_its_request_holds_no_credential() {
    let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl";
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let table = [
        (format!("authorization: Bearer {token}, x"), "authorization: Bearer ***, x"),
        (format!("Bearer%20{token}&x=1"), "Bearer%20***&x=1"),
        (format!("{{\"token\":\"{token}\"}}"), "{\"token\":\"***\"}"),
        ("Basic dXNlcjpodW50ZXIydXNlcjpodW50ZXIy x".to_owned(), "Basic *** x"),
        ("SharedKey acct:kXlyoqBCzLWY6hV5WNDdfD4O17zH3sam+0Zrt6udSok= x".to_owned(), "SharedKey acct:*** x"),
        (format!("<Value>{key}</Value>"), "<Value>***</Value>"),
        (format!("value={}", key.replace('/', "%2F").replace('=', "%3D")), "***"),
        ("ghs_16C7e42F292c6912E7710c838347Ae178B4a or".to_owned(), "*** or"),
        (
            "https%3A%2F%2Fa.b%2Fc%3Fsv%3D1%26sig%3Dabc%252Bd%253D%26se%3D2".to_owned(),
            "https%3A%2F%2Fa.b%2Fc%3Fsv%3D1%26sig%3D***%26se%3D2",
        ),
        ("source=x%253Fsig%253Dabc%25252B%2526se".to_owned(), "source=x%253Fsig%253D***%2526se"),
        (
            "Only authentication scheme Bearer is supported.".to_owned(),
            "Only authentication scheme Bearer is supported.",
        ),
        (
            "The KeyJournal of monkeyJungle2Windows-Server-2022".to_owned(),
            "The KeyJournal of monkeyJungle2Windows-Server-2022",
        ),
        ("MD5 rL0Y20zC+Fzt72VPzMSk2A== differs".to_owned(), "MD5 rL0Y20zC+Fzt72VPzMSk2A== differs"),
    ];
    for (text, expected) in table {
        assert_eq!(without_queries(&text), expected);
    }
    // Cut to a short text only after that: the end by which it is known as a key would be gone.
    let page = format!("{} {key}", "x".repeat(260));
    assert!(!answer(502, &[], &page).message.contains("Eby8"), "{}", answer(502, &[], &page));
    let html = format!("<html><body>{page}</body></html>");
    assert!(!answer(502, &[], &html).message.contains("Eby8"), "{}", answer(502, &[], &html));
}

#[test]
fn a_secret_that_was_sent_is_masked_wherever_a_refusal_repeats_it() {
    let secret = Secret::new("correct-horse".to_owned());
    let of = |message: &str| answer(400, &[], message).without(&secret).message;
    assert_eq!(of("'correct-horse' and correct-horse"), "'***' and ***");
    assert_eq!(of("it was correct-ho"), "it was ***", "a page that was cut");
    assert_eq!(of(&format!("{}correct-horse", "x".repeat(280))), format!("{}***", "x".repeat(280)));
    let long = json!({"code": "A", "message": format!("{} correct-horse", "x".repeat(1990))}).to_string();
    assert!(!answer(400, &[], &long).without(&secret).message.contains("correct"));
    assert_eq!(of("all is well"), "all is well");
}

#[test]
fn a_failed_operation_is_permanent_unless_its_code_says_otherwise() {
    let of = |code: &str| AzureError::from_failure("op", &json!({"code": code, "message": "m"}), None);
    assert_eq!(of("ResourceNotFound").kind, ErrorKind::Permanent, "what it needed was not there");
    assert!(of("RetryableError").is_transient());
    let nothing = AzureError::from_failure("op", &json!({}), None);
    assert_eq!(
        (nothing.code.as_str(), nothing.message.as_str()),
        ("OperationFailed", "Azure gave no reason")
    );
}

#[test]
fn a_credential_that_is_refused_is_permanent_and_one_out_of_reach_is_not() {
    use azure_core::{Error, error::ErrorKind as Sdk};
    let http = |status: u16| {
        let kind = Sdk::HttpResponse { status: status.into(), error_code: None, raw_response: None };
        Error::with_error(Sdk::Credential, Error::with_message(kind, "token endpoint said no"), "no token")
    };
    let of = |error: &Error| AzureError::from_sdk("GET x", error, &Clock::system());
    assert_eq!(of(&http(401)).kind, ErrorKind::Permanent);
    assert!(of(&http(429)).is_transient() && of(&http(503)).is_transient());
    let unreachable = of(&Error::with_message(Sdk::Credential, "no answer from the metadata endpoint"));
    assert!(unreachable.is_transient() && unreachable.message.contains("metadata endpoint"));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_back_is_read_without_harm(body in ".{0,300}", status in 300_u16..600) {
        let error = answer(status, &[], &body);
        proptest::prop_assert!(!error.code.is_empty() && !error.message.is_empty());
    }

    #[test]
    fn a_signature_in_a_url_never_survives(before in "[^s]{0,20}", path in "[a-z/.]{1,20}", after in "[ \"'<>)].{0,20}") {
        let text = format!("{before}https://a{path}?sv=1&sig=HUNTER2%3D{after}");
        proptest::prop_assert!(!without_queries(&text).contains("HUNTER2"));
    }
}

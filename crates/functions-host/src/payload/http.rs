//! The body for an `httpTrigger` that is not passed on as it is (Azure/azure-functions-host HttpRequestExtensions.cs
//! `GetRequestAsJObject`, azure-webjobs-sdk-extensions HttpTriggerAttributeBindingProvider.cs).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Arrays, BindingData, BindingValue, Sys, body, leak_properties};

/// A request, as far as a function sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `http://localhost:7071/api/order?x=1`, as the caller wrote it.
    pub url: String,
    /// `POST`
    pub method: String,
    /// Decoded parameters in the URL's order; a key may come more than once.
    pub query: Vec<(String, String)>,
    /// Headers in the order they came, with their usual spelling; a name may come more than once.
    pub headers: Vec<(String, String)>,
    /// The route's parameters.
    pub params: Vec<(String, String)>,
    /// The key that the caller gave, if it is a known one.
    pub key: Option<Key>,
    /// The body; `None` if the caller sent no Content-Length or a Content-Length of 0, for it is dropped then.
    pub body: Option<Vec<u8>>,
}

/// A key of the app, by which a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it allows, as .NET names it: `Function` or `Admin`.
    pub level: String,
    /// The key's name.
    pub name: String,
}

/// The body for a request.
pub fn invocation(name: &str, request: &Request, sys: &Sys<'_>) -> Vec<u8> {
    let query = joined(&request.query, |name, other| name == other);
    let headers = grouped(&request.headers, str::eq_ignore_ascii_case);
    let text = request.body.as_deref().map(String::from_utf8_lossy);

    let mut data = BindingData::default();
    if let Some(text) = &text {
        leak_properties(text, &mut data, Arrays::Taken);
    }
    // The function's key is no parameter of the function.
    for (key, value) in query.iter().filter(|(key, _)| !key.eq_ignore_ascii_case("code")) {
        data.set(key, BindingValue::Other(value.clone()));
    }
    for (key, value) in &request.params {
        data.set(key, BindingValue::text(Some(value)));
    }
    if !data.contains("Query") {
        data.set("Query", BindingValue::Object(query.clone()));
    }
    if !data.contains("Headers") {
        data.set("Headers", BindingValue::Object(joined(&request.headers, str::eq_ignore_ascii_case)));
    }
    data.set_sys(sys);

    let mut value = Map::new();
    value.insert("Url".into(), request.url.clone().into());
    value.insert("Method".into(), request.method.clone().into());
    value.insert("Query".into(), Value::Object(query));
    value.insert(
        "Headers".into(),
        Value::Object(headers.into_iter().map(|(name, values)| (name, json!(values))).collect()),
    );
    if !request.params.is_empty() {
        let params = request.params.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        value.insert("Params".into(), Value::Object(params));
    }
    value.insert("Identities".into(), json!([identity(request.key.as_ref())]));
    if let Some(bytes) = &request.body {
        let body = if is_octets_or_multipart(&request.headers) {
            STANDARD.encode(bytes)
        } else {
            text.unwrap_or_default().into_owned()
        };
        value.insert("Body".into(), body.into());
    }
    body(name, Value::Object(value), data.metadata())
}

/// A `ClaimsIdentity` as the JSON library writes its properties: of a key (AuthenticationLevelHandler.cs), or of nobody.
fn identity(key: Option<&Key>) -> Value {
    let claims =
        key.map_or_else(Vec::new, |key| vec![claim("authlevel", &key.level), claim("keyid", &key.name)]);
    json!({
        "AuthenticationType": key.map(|_| "WebJobsAuthLevel"),
        "IsAuthenticated": key.is_some(),
        "Actor": null,
        "BootstrapContext": null,
        "Claims": claims,
        "Label": null,
        "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}

/// A `Claim`; its `Subject` leads back to the identity and is left out.
fn claim(kind: &str, value: &str) -> Value {
    json!({
        "Issuer": "LOCAL AUTHORITY",
        "OriginalIssuer": "LOCAL AUTHORITY",
        "Properties": {},
        "Type": format!("http://schemas.microsoft.com/2017/07/functions/claims/{kind}"),
        "Value": value,
        "ValueType": "http://www.w3.org/2001/XMLSchema#string",
    })
}

fn grouped(pairs: &[(String, String)], same: impl Fn(&str, &str) -> bool) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in pairs {
        match groups.iter_mut().find(|(known, _)| same(known, name)) {
            Some((_, values)) => values.push(value.clone()),
            None => groups.push((name.clone(), vec![value.clone()])),
        }
    }
    groups
}

/// `StringValues.ToString()`: values of one name, joined with commas.
pub(crate) fn joined(pairs: &[(String, String)], same: impl Fn(&str, &str) -> bool) -> Map<String, Value> {
    grouped(pairs, same).into_iter().map(|(name, values)| (name, values.join(",").into())).collect()
}

/// `IsMediaTypeOctetOrMultipart`: bodies that travel as base64.
fn is_octets_or_multipart(headers: &[(String, String)]) -> bool {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Type")).is_some_and(|(_, value)| {
        let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media_type == "application/octet-stream" || media_type.contains("multipart/")
    })
}

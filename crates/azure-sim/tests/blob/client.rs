//! A small client that signs SharedKey by the letter of Microsoft's documentation.

use azure_sim::{
    Endpoints, Request, Response, Sim, SimOptions, identity,
    latency::{Profile, Span},
    storage,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use factory_clock::Clock;
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use time::{OffsetDateTime, macros::datetime};

/// When every test begins.
pub const START: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);
pub const VERSION: &str = "2023-11-03";

/// A client of one storage account.
#[derive(Clone)]
pub struct Client {
    pub sim: Sim,
    pub account: String,
}

/// An Azure where copies go 64 MiB per second within a region, a quarter of that between regions, and never falter.
pub fn azure() -> Sim {
    azure_with(Profile {
        copy_mib_per_second: Span::seconds(64.0, 64.0),
        cross_region_copy_mib_per_second: Span::seconds(16.0, 16.0),
        copy_stall_share: 0.0,
        ..Profile::default()
    })
}

pub fn azure_with(profile: Profile) -> Sim {
    Sim::new(SimOptions { seed: 7, clock: Clock::virtual_from(START), profile, endpoints: Endpoints::Azure })
}

/// A client of a new account in West Europe.
pub fn account(sim: &Sim, name: &str) -> Client {
    account_in(sim, name, "westeurope")
}

pub fn account_in(sim: &Sim, name: &str, location: &str) -> Client {
    let id = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{name}");
    storage::create_account(&mut sim.world(), &id, location);
    Client { sim: sim.clone(), account: name.to_owned() }
}

pub fn hmac(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key).unwrap()).unwrap();
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// A moment in RFC 1123, made without the simulator.
pub fn rfc1123(moment: OffsetDateTime) -> String {
    let weekday = &moment.weekday().to_string()[..3];
    let month = &moment.month().to_string()[..3];
    let (day, year) = (moment.day(), moment.year());
    let (hour, minute, second) = moment.to_hms();
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

impl Client {
    pub fn base(&self) -> String {
        format!("https://{}.blob.core.windows.net", self.account)
    }

    pub fn url(&self, target: &str) -> String {
        self.base() + target
    }

    pub fn key(&self, index: usize) -> String {
        self.sim.world().storage.accounts[&self.account].keys[index].clone()
    }

    /// A request as it stands, without any credential.
    pub async fn plain(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.sim.call(self.request(method, target, headers, body)).await.unwrap()
    }

    fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let mut request = http::Request::builder().method(method).uri(self.url(target));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::copy_from_slice(body)).unwrap()
    }

    /// A request signed with the first key.
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let key = self.key(0);
        let date = rfc1123(self.sim.clock().now());
        self.signed(&key, &date, method, target, headers, body).await
    }

    pub async fn signed(
        &self,
        key: &str,
        date: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut headers = headers.to_vec();
        headers.extend([("x-ms-date", date), ("x-ms-version", VERSION)]);
        let text = self.string_to_sign(method, target, &headers, body);
        let authorization = format!("SharedKey {}:{}", self.account, hmac(key, &text));
        headers.push(("authorization", &authorization));
        self.plain(method, target, &headers, body).await
    }

    /// Microsoft, "Authorize with Shared Key", version 2015-02-21 and later.
    fn string_to_sign(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let find = |name: &str| {
            let found = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map_or(String::new(), |(_, value)| (*value).to_owned())
        };
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let mut text = format!("{method}\n");
        text += &format!("{}\n{}\n{length}\n", find("content-encoding"), find("content-language"));
        text += &format!("{}\n{}\n\n", find("content-md5"), find("content-type"));
        for name in ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"] {
            text += &format!("{}\n", find(name));
        }
        let mut own: Vec<(&str, &str)> =
            headers.iter().copied().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        own.sort();
        for (name, value) in own {
            text += &format!("{name}:{value}\n");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        text += &format!("/{}{path}", self.account);
        let mut items: Vec<(&str, &str)> = query
            .split('&')
            .filter(|item| !item.is_empty())
            .map(|item| item.split_once('=').unwrap_or((item, "")))
            .collect();
        items.sort();
        for (name, value) in items {
            text += &format!("\n{name}:{}", percent_decode_str(value).decode_utf8().unwrap());
        }
        text
    }

    /// A bearer token of the managed identity.
    pub fn bearer(&self) -> String {
        let world = self.sim.world();
        let principal = world.identity.managed_identity.clone();
        let token =
            identity::issue(&world, &principal, identity::STORAGE, std::time::Duration::from_secs(3600));
        format!("Bearer {token}")
    }

    pub async fn create_container(&self, name: &str) {
        let response = self.send("PUT", &format!("/{name}?restype=container"), &[], b"").await;
        assert_eq!(status(&response), 201, "{}", text(&response));
    }

    pub async fn put(&self, target: &str, body: &[u8]) -> Response {
        self.send("PUT", target, &[("x-ms-blob-type", "BlockBlob")], body).await
    }

    pub async fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], b"").await
    }

    pub async fn head(&self, target: &str) -> Response {
        self.send("HEAD", target, &[], b"").await
    }

    pub async fn delete(&self, target: &str) -> Response {
        self.send("DELETE", target, &[], b"").await
    }

    pub async fn copy(&self, target: &str, source: &str) -> Response {
        self.send("PUT", target, &[("x-ms-copy-source", source)], b"").await
    }

    /// A read SAS of a blob, signed with the first key, for `sv` 2020-12-06 to 2023-11-03.
    pub fn service_sas(&self, target: &str, permissions: &str, expiry: &str) -> String {
        let resource = format!("/blob/{}{}", self.account, percent_decode_str(target).decode_utf8().unwrap());
        let lines =
            [permissions, "", expiry, &resource, "", "", "https", VERSION, "b", "", "", "", "", "", "", ""];
        let signature = encode(&hmac(&self.key(0), &lines.join("\n")));
        format!("sp={permissions}&se={}&spr=https&sv={VERSION}&sr=b&sig={signature}", encode(expiry))
    }
}

pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub fn status(response: &Response) -> u16 {
    response.status().as_u16()
}

pub fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

pub fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

/// Status and error code.
pub fn refusal(response: &Response) -> (u16, &str) {
    (status(response), header(response, "x-ms-error-code"))
}

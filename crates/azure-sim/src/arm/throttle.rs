//! How many requests Resource Manager takes: token buckets per subscription, principal and kind.
//!
//! Microsoft, "Understand how Azure Resource Manager throttles requests" (limits since 2024). Azure counts per region of
//! Resource Manager's own front end; all callers of this simulator come in through one region.

use std::collections::BTreeMap;

use http::Method;
use time::OffsetDateTime;

use super::error::ArmError;

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Read,
    Write,
    Delete,
}

impl Kind {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            Method::DELETE => Self::Delete,
            _ => Self::Write,
        }
    }

    fn limits(self, limits: &Limits) -> Limit {
        match self {
            Self::Read => limits.reads,
            Self::Write => limits.writes,
            Self::Delete => limits.deletes,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Delete => "deletes",
        }
    }
}

/// One bucket's size and refill.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// So many requests at once.
    pub bucket: f64,
    /// So many more each second.
    pub per_second: f64,
}

/// The limits of one principal in one subscription.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// GET and HEAD.
    pub reads: Limit,
    /// PUT, PATCH and POST.
    pub writes: Limit,
    /// DELETE.
    pub deletes: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |bucket, per_second| Limit { bucket, per_second };
        Self { reads: limit(250.0, 25.0), writes: limit(200.0, 10.0), deletes: limit(200.0, 10.0) }
    }
}

/// "The subscription limits are 15 times the limits of a principal", over all principals together.
const GLOBAL_FACTOR: f64 = 15.0;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: OffsetDateTime,
    since: OffsetDateTime,
    taken: u64,
    refused: u64,
}

/// How much of a principal's budget in a subscription was used.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// The subscription; empty for the tenant.
    pub subscription_id: String,
    /// The principal's object id.
    pub principal: String,
    /// `reads`, `writes` or `deletes`.
    pub kind: String,
    /// Requests that were taken.
    pub taken: u64,
    /// Requests that were refused with 429.
    pub refused: u64,
    /// When the first one came.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// So many at once.
    pub bucket: f64,
    /// So many more each second.
    pub per_second: f64,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Throttle {
    /// The limits in force.
    pub limits: Limits,
    /// By subscription, principal (empty for the whole subscription) and kind.
    buckets: BTreeMap<(String, String, Kind), Bucket>,
}

impl Throttle {
    /// Takes one request from the buckets; answers the headers that tell what is left.
    pub(crate) fn take(
        &mut self,
        subscription: &str,
        principal: &str,
        kind: Kind,
        now: OffsetDateTime,
    ) -> Result<Vec<(String, String)>, ArmError> {
        let limit = kind.limits(&self.limits);
        let global =
            Limit { bucket: limit.bucket * GLOBAL_FACTOR, per_second: limit.per_second * GLOBAL_FACTOR };
        let own = self.bucket(subscription, principal, kind, limit, now);
        let all = self.bucket(subscription, "", kind, global, now);
        for (bucket, limit) in [(own, limit), (all, global)] {
            if bucket.tokens < 1.0 {
                self.refuse(subscription, principal, kind, own);
                let seconds = ((1.0 - bucket.tokens) / limit.per_second).ceil().max(1.0) as u64;
                let operation = kind.plural().trim_end_matches('s').to_ascii_uppercase();
                let mut error = ArmError::new(
                    429,
                    "SubscriptionRequestsThrottled",
                    format!(
                        "Number of '{operation}' requests for subscription '{subscription}' actor '{principal}' exceeded. Please try again after '{seconds}' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for additional information."
                    ),
                );
                error.retry_after = Some(seconds);
                return Err(error);
            }
        }
        let own = self.spend(subscription, principal, kind, own);
        let all = self.spend(subscription, "", kind, all);
        let scope = if subscription.is_empty() { "tenant" } else { "subscription" };
        Ok(vec![
            (format!("x-ms-ratelimit-remaining-{scope}-{}", kind.plural()), own),
            (format!("x-ms-ratelimit-remaining-{scope}-global-{}", kind.plural()), all),
        ])
    }

    fn bucket(
        &self,
        subscription: &str,
        principal: &str,
        kind: Kind,
        limit: Limit,
        now: OffsetDateTime,
    ) -> Bucket {
        let key = (subscription.to_owned(), principal.to_owned(), kind);
        let full = Bucket { tokens: limit.bucket, at: now, since: now, taken: 0, refused: 0 };
        match self.buckets.get(&key) {
            Some(bucket) => {
                let gained = (now - bucket.at).as_seconds_f64().max(0.0) * limit.per_second;
                Bucket { tokens: (bucket.tokens + gained).min(limit.bucket), at: now, ..*bucket }
            }
            None => full,
        }
    }

    fn spend(&mut self, subscription: &str, principal: &str, kind: Kind, bucket: Bucket) -> String {
        let tokens = bucket.tokens - 1.0;
        let key = (subscription.to_owned(), principal.to_owned(), kind);
        self.buckets.insert(key, Bucket { tokens, taken: bucket.taken + 1, ..bucket });
        format!("{}", tokens.floor() as u64)
    }

    fn refuse(&mut self, subscription: &str, principal: &str, kind: Kind, bucket: Bucket) {
        let key = (subscription.to_owned(), principal.to_owned(), kind);
        self.buckets.insert(key, Bucket { refused: bucket.refused + 1, ..bucket });
    }

    /// How much of each principal's budget was used so far.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let of_principals = self.buckets.iter().filter(|((_, principal, _), _)| !principal.is_empty());
        let budget = |((subscription, principal, kind), bucket): (&(String, String, Kind), &Bucket)| {
            let limit = kind.limits(&self.limits);
            Budget {
                subscription_id: subscription.clone(),
                principal: principal.clone(),
                kind: kind.plural().to_owned(),
                taken: bucket.taken,
                refused: bucket.refused,
                since: bucket.since,
                bucket: limit.bucket,
                per_second: limit.per_second,
            }
        };
        of_principals.map(budget).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_burst_empties_the_bucket_and_seconds_refill_it() {
        let mut throttle = Throttle::default();
        let start = datetime!(2026-11-22 13:00 UTC);
        for left in (0..200).rev() {
            let headers = throttle.take("s", "p", Kind::Write, start).unwrap();
            assert_eq!(
                headers[0],
                ("x-ms-ratelimit-remaining-subscription-writes".to_owned(), left.to_string())
            );
        }
        let refused = throttle.take("s", "p", Kind::Write, start).unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
        // Others have their own buckets.
        assert!(throttle.take("s", "other", Kind::Write, start).is_ok());
        assert!(throttle.take("s", "p", Kind::Read, start).is_ok());
        let later = start + time::Duration::seconds(1);
        let passed = (0..20).filter(|_| throttle.take("s", "p", Kind::Write, later).is_ok()).count();
        assert_eq!(passed, 10);
        let writes =
            throttle.budgets().into_iter().find(|budget| budget.principal == "p" && budget.kind == "writes");
        let writes = writes.unwrap();
        assert_eq!((writes.taken, writes.refused, writes.since), (210, 11, start));
    }
}

//! Everything goes wrong at once, as the seed wants it.

use azure_sim::fault::{HttpEffect, HttpFault};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::factory::{Factory, Files, Unkind, answer, assert_made_once, http_fault, scenario};

/// Seeds that every test run tries; more with `SCENARIO_SEEDS=100`.
const SEEDS: u64 = 4;
/// So many requests suffer, about one in twenty.
const FAULTS: usize = 150;

fn faults(seed: u64) -> Vec<HttpFault> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fault = || {
        let effect = match random.random_range(0..5) {
            0 => HttpEffect::ResetBefore,
            1 | 2 => HttpEffect::ResetAfter,
            3 => {
                answer(429, serde_json::json!({"error": {"code": "TooManyRequests", "message": "slow down"}}))
            }
            _ => answer(
                503,
                serde_json::json!({"error": {"code": "ServiceUnavailable", "message": "try later"}}),
            ),
        };
        let only_writes = [None, Some("PUT"), Some("DELETE"), Some("POST")];
        let method = only_writes[random.random_range(0..only_writes.len())];
        http_fault(method, "https://", random.random_range(0..20), 1, effect)
    };
    (0..FAULTS).map(|_| fault()).collect()
}

#[test]
fn a_run_comes_through_when_messages_invocations_and_calls_all_go_wrong() {
    let seeds = std::env::var("SCENARIO_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 1..=seeds.unwrap_or(SEEDS) {
        scenario(async {
            let unkind = Unkind { repeats: seed % 2 == 0, shuffles: seed % 3 == 0, kills: seed % 5 != 0 };
            let factory = Factory::seeded(&Files::new(), seed).await.unkind(unkind);
            factory.http_faults(faults(seed));
            let outcome = factory.run().await;
            assert_made_once(&factory, &outcome);
        });
    }
}

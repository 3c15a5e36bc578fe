//! Throttling, server trouble and broken connections: nothing of it may fail an item, make something twice or leave
//! something behind.

use std::time::Duration;

use azure_sim::fault::{HttpEffect, HttpFault};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::factory::{Factory, Files, answer, http_fault, scenario, throttled};

const RESOURCE_MANAGER: &str = "https://management.azure.com";
const BLOBS: &str = ".blob.core.windows.net";
const LEDGER: &str = "imagefactoryledger";

fn server_busy() -> HttpEffect {
    HttpEffect::Answer {
        status: 503,
        headers: Vec::new(),
        body: "<?xml version=\"1.0\"?><Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>"
            .to_owned(),
    }
}

/// Of every `one_in` requests one suffers, `times` times.
fn now_and_then(url_part: &str, one_in: u32, times: usize, effect: &HttpEffect) -> Vec<HttpFault> {
    vec![http_fault(None, url_part, one_in - 1, 1, effect.clone()); times]
}

/// A run under these faults; it must come out as if there were none.
fn survives(faults: Vec<HttpFault>) -> Factory {
    let mut result = None;
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.http_faults(faults);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        result = Some(factory);
    });
    result.unwrap()
}

/// How many of the faults were not used up.
fn unused(factory: &Factory) -> usize {
    let faults = &factory.host.sim.world().faults.http;
    faults.iter().filter(|fault| fault.times > 0).count()
}

/// Everything is answered like this from one moment of the run to ten minutes later.
fn ten_minutes_of(url_part: &'static str, from_minute: u64, effect: HttpEffect) {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        factory.after(minutes(from_minute), move |factory| {
            factory.http_faults([http_fault(None, url_part, 0, u32::MAX, effect)]);
        });
        factory.after(minutes(from_minute + 10), |factory| factory.http_faults([]));
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert!(outcome.virtual_seconds > 60.0 * (from_minute + 10) as f64);
    });
}

#[test]
fn ten_minutes_of_429_with_retry_after_are_waited_out() {
    ten_minutes_of(RESOURCE_MANAGER, 0, throttled(Some(45)));
}

#[test]
fn ten_minutes_of_429_without_retry_after_are_waited_out() {
    ten_minutes_of(RESOURCE_MANAGER, 5, throttled(None));
}

#[test]
fn ten_minutes_without_blob_storage_are_waited_out() {
    ten_minutes_of(BLOBS, 6, server_busy());
}

#[test]
fn ten_minutes_without_any_connection_are_waited_out() {
    ten_minutes_of("https://", 8, HttpEffect::ResetBefore);
}

#[test]
fn retry_after_is_honoured() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let storm = http_fault(None, RESOURCE_MANAGER, 0, 1, throttled(Some(1800)));
        factory.http_faults([storm]);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        // The run is known at once; nothing is built before Azure wants to hear from it again.
        let begun = outcome.run.images[0].times.started_at.unwrap();
        assert!(begun - crate::factory::ORIGIN >= time::Duration::minutes(30), "{begun}");
    });
}

#[test]
fn every_fifth_call_throttled_costs_time_only() {
    let factory = survives(now_and_then(RESOURCE_MANAGER, 5, 25, &throttled(Some(20))));
    assert_eq!(unused(&factory), 0);
}

#[test]
fn every_seventh_blob_call_refused_costs_time_only() {
    let factory = survives(now_and_then(BLOBS, 7, 40, &server_busy()));
    assert_eq!(unused(&factory), 0);
}

#[test]
fn html_of_a_gateway_is_trouble_that_passes() {
    let page = HttpEffect::Answer {
        status: 502,
        headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
        body: "<html><head><title>502 Bad Gateway</title></head></html>".to_owned(),
    };
    let factory = survives(now_and_then(RESOURCE_MANAGER, 6, 10, &page));
    assert_eq!(unused(&factory), 0);
}

#[test]
fn another_operation_at_work_is_waited_for() {
    let busy = answer(
        409,
        json!({"error": {"code": "AnotherOperationInProgress", "message": "Another operation is in progress."}}),
    );
    let writes = ["PUT", "DELETE", "POST"]
        .map(|method| http_fault(Some(method), RESOURCE_MANAGER, 0, 2, busy.clone()));
    let factory = survives(writes.to_vec());
    assert_eq!(unused(&factory), 0);
}

/// Every kind of write that the factory does: a name, the method and a part of the URL.
const WRITES: [(&str, &str, &str); 12] = [
    ("a deployment", "PUT", "/deployments/"),
    ("the opening of a disk", "POST", "/begingetaccess"),
    ("the closing of a disk", "POST", "/endgetaccess"),
    ("the deletion of a VM", "DELETE", "/virtualmachines/"),
    ("the deletion of a deployment", "DELETE", "/deployments/"),
    ("a custom image", "PUT", "/customimages/"),
    ("a copy or companion in the factory", "PUT", "aimagefactory"),
    ("a copy into a lab", "PUT", "https://adata"),
    ("the deletion of a copied VHD", "DELETE", "https://adata"),
    ("a run's document", "PUT", "imagefactoryledger.blob.core.windows.net/image-factory/runs/"),
    ("a build's document", "PUT", "imagefactoryledger.blob.core.windows.net/image-factory/builds/"),
    ("a copy's document", "PUT", "imagefactoryledger.blob.core.windows.net/image-factory/copies/"),
];

/// Every kind of write suffers, the first and the third of its kind.
fn every_write_suffers(effect: &HttpEffect) {
    let mut faults = Vec::new();
    for (_, method, part) in WRITES {
        faults.push(http_fault(Some(method), part, 0, 1, effect.clone()));
        faults.push(http_fault(Some(method), part, 1, 1, effect.clone()));
    }
    let factory = survives(faults);
    for (what, _, part) in WRITES {
        let faults = &factory.host.sim.world().faults.http;
        let mut of_kind = faults.iter().filter(|fault| fault.url_part == part);
        assert!(of_kind.any(|fault| fault.times == 0), "no request for {what} suffered");
    }
}

#[test]
fn a_connection_that_breaks_before_any_write_has_an_effect_loses_nothing() {
    every_write_suffers(&HttpEffect::ResetBefore);
}

#[test]
fn a_connection_that_breaks_after_any_write_had_its_effect_makes_nothing_twice() {
    every_write_suffers(&HttpEffect::ResetAfter);
}

#[test]
fn an_answer_that_comes_too_late_makes_nothing_twice() {
    every_write_suffers(&HttpEffect::Delay(Duration::from_secs(200)));
}

#[test]
fn a_ledger_that_forgets_every_fourth_answer_repeats_nothing() {
    let factory = survives(now_and_then(LEDGER, 4, 60, &HttpEffect::ResetAfter));
    assert_eq!(unused(&factory), 0);
}

#[test]
fn a_ledger_that_cannot_be_read_when_copies_begin_delays_them_only() {
    let unread = http_fault(Some("GET"), "/image-factory/copies/", 0, 12, server_busy());
    let factory = survives(vec![unread]);
    assert_eq!(unused(&factory), 0);
}

#[test]
fn a_storage_key_that_is_rotated_in_the_middle_of_a_run_is_looked_up_again() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        for minute in [9, 13, 17_u8] {
            factory.after(Duration::from_secs(60 * u64::from(minute)), move |factory| {
                let mut world = factory.host.sim.world();
                for account in world.storage.accounts.values_mut() {
                    account.keys[0] = BASE64.encode([minute; 64]);
                }
            });
        }
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
    });
}

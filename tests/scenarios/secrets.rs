//! No secret leaves the call that needs it.

use image_factory::{domain::Queue, report::RunReport};
use serde_json::json;

use crate::factory::{Factory, Files, WINDOWS, http_fault, scenario, vm_property};

/// Watches a run under faults; answers all that the factory wrote down or sent.
async fn written_by(factory: &Factory) -> Vec<(String, String)> {
    let outcome = factory.run().await;
    let mut written: Vec<(String, String)> = Vec::new();
    for (name, (bytes, metadata)) in factory.ledger().await {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        written.push((name, format!("{text} {metadata:?}")));
    }
    for (queue, body) in factory.received() {
        written.push((queue.to_string(), String::from_utf8_lossy(&body).into_owned()));
    }
    let report = RunReport::read(&factory.host.factory.ledger, &outcome.run.run.id).await.unwrap().unwrap();
    written.push(("report".to_owned(), serde_json::to_string(&report).unwrap()));
    assert!(written.iter().any(|(name, _)| name == Queue::CopyImage.name()));
    assert!(written.iter().any(|(name, _)| name.starts_with("copies/")));
    written
}

fn assert_without(written: &[(String, String)], secret: &str, what: &str) {
    for (name, text) in written {
        assert!(!text.contains(secret), "{what} is in {name}: {text}");
    }
}

#[test]
fn no_document_and_no_message_holds_a_sas_a_key_a_token_or_the_password() {
    scenario(async {
        let mut files = Files::new();
        // So that Azure shows the password, and this test can know it.
        let shown = files.definitions.get_mut(WINDOWS).unwrap();
        *vm_property(shown, "notes") = json!("[concat('login ', parameters('password'))]");
        let factory = Factory::new(&files).await;
        // Errors are written down too, and quote what was called.
        let copies = azure_sim::fault::CopyFault {
            destination_part: "https://adata".to_owned(),
            at_fraction: 0.3,
            times: 100,
            description: "403 AuthenticationFailed \"Copy failed when reading the source.\"".to_owned(),
        };
        let reset = azure_sim::fault::HttpEffect::ResetBefore;
        let refusal = azure_sim::fault::HttpEffect::Answer {
            status: 400,
            headers: Vec::new(),
            body: r#"<?xml version="1.0"?><Error><Code>InvalidHeaderValue</Code><Message>The value of x-ms-copy-source https://aimagefactory2195.blob.core.windows.net/imagefactoryvhds/x.vhd?sv=2021-08-06&amp;sr=b&amp;sig=abc%3D is wrong</Message></Error>"#
                .to_owned(),
        };
        factory.faults(azure_sim::fault::Faults {
            copies: vec![copies],
            http: vec![
                http_fault(Some("PUT"), "https://aweb", 0, 1, reset.clone()),
                http_fault(Some("PUT"), "https://aweb", 2, 1, refusal),
                http_fault(None, "begingetaccess", 0, 1, reset),
            ],
            ..Default::default()
        });
        let password = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (watcher, found) = (factory.clone(), password.clone());
        tokio::spawn(async move {
            loop {
                let lab = watcher.factory_lab();
                let list = watcher.get(&format!("{lab}/virtualmachines?api-version=2018-09-15")).await;
                for vm in list["value"].as_array().into_iter().flatten() {
                    let notes = vm["properties"]["notes"].as_str().unwrap_or_default();
                    if let Some(text) = notes.strip_prefix("login ") {
                        *found.lock().unwrap() = Some(text.to_owned());
                    }
                }
                watcher.host.clock().sleep(std::time::Duration::from_secs(60)).await;
            }
        });
        let written = written_by(&factory).await;
        let password = password.lock().unwrap().clone().expect("the VM shows its password");
        assert!(password.len() >= 12, "{password}");
        assert_without(&written, &password, "the password");
        for mark in ["sig=", "sig%3D", "Bearer ", "eyJ"] {
            assert_without(&written, mark, "a signature or token");
        }
        for account in factory.host.sim.world().storage.accounts.values() {
            for key in &account.keys {
                assert_without(&written, key, "a storage key");
                assert_without(&written, &key.replace('+', "%2B").replace('/', "%2F"), "a storage key");
            }
        }
    });
}

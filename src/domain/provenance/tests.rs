use time::macros::datetime;

use super::*;
use crate::domain::InputPart;

const LAB: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/factory";
const COMMIT: &str = "ABCDEF0123456789abcdef0123456789abcdef01";

fn told(change: impl FnOnce(&mut CapturedBuild<'_>)) -> Value {
    let (run, path) = (RunId::parse("commit-1").unwrap(), ImagePath::parse("Windows/Server.json").unwrap());
    let inputs: Inputs = [(InputPart::Salt, "2")].into_iter().collect();
    let artifacts = [format!("{LAB}/artifactSources/public repo/artifacts/windows-git")];
    let mut build = CapturedBuild {
        run: &run,
        reason: Some(RunReason::Commit),
        commit: Some(COMMIT),
        author: Some("Kim"),
        image_path: &path,
        factory_lab: LAB,
        base_image: Some("P:O:S:1.0.0"),
        artifacts: &artifacts,
        inputs: Some(&inputs),
        started_at: Some(datetime!(2026-11-22 13:00 UTC)),
        finished_at: Some(datetime!(2026-11-22 14:00:30 UTC)),
        vhd: "a.vhd",
        vhd_url: "https://x.blob.core.windows.net/c/a.vhd",
        copy_id: "0F8FAD5B-D9CB-469F-A165-70867728950E",
        length: 512,
        companion_url: "https://x.blob.core.windows.net/c/a.json",
    };
    change(&mut build);
    serde_json::to_value(build.statement()).unwrap()
}

#[test]
fn a_statement_tells_all_that_is_known() {
    let hash = [(InputPart::Salt, "2")].into_iter().collect::<Inputs>().hash();
    let expected = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": "a.vhd",
            "uri": "https://x.blob.core.windows.net/c/a.vhd",
            "digest": {"azureBlobCopyId": "0f8fad5bd9cb469fa16570867728950e"},
            "annotations": {"length": 512},
        }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "definition": "Windows/Server.json", "commit": COMMIT, "author": "Kim", "reason": "commit",
                },
                "internalParameters": {"run": "commit-1", "inputs": {"salt": "2"}, "inputsHash": hash.as_str()},
                "resolvedDependencies": [
                    {"name": "configuration", "digest": {"gitCommit": COMMIT.to_ascii_lowercase()}},
                    {"name": "baseImage", "uri": "urn:azure-marketplace:P:O:S:1.0.0"},
                    {
                        "name": "windows-git",
                        "uri": format!(
                            "https://management.azure.com{LAB}/artifactSources/public%20repo/artifacts/windows-git"
                        ),
                    },
                ],
            },
            "runDetails": {
                "builder": {
                    "id": format!("https://management.azure.com{LAB}"),
                    "version": {"image-factory": env!("CARGO_PKG_VERSION")},
                },
                "metadata": {
                    "invocationId": "commit-1/Windows/Server.json",
                    "startedOn": "2026-11-22T13:00:00Z",
                    "finishedOn": "2026-11-22T14:00:30Z",
                },
                "byproducts": [{"name": "companion", "uri": "https://x.blob.core.windows.net/c/a.json"}],
            },
        },
    });
    assert_eq!(told(|_| {}), expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let told = told(|build| {
        (build.reason, build.commit, build.author) = (None, None, None);
        (build.base_image, build.inputs, build.artifacts) = (None, None, &[]);
        (build.started_at, build.finished_at) = (None, None);
    });
    let definition = &told["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"], json!({"definition": "Windows/Server.json"}));
    assert_eq!(definition["internalParameters"], json!({"run": "commit-1"}));
    assert_eq!(definition["resolvedDependencies"], json!([]));
    let metadata = json!({"invocationId": "commit-1/Windows/Server.json"});
    assert_eq!(told["predicate"]["runDetails"]["metadata"], metadata);
}

#[test]
fn only_a_whole_commit_id_is_a_digest() {
    let told = told(|build| build.commit = Some("abcdef01"));
    let definition = &told["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["commit"], "abcdef01");
    assert_eq!(definition["resolvedDependencies"][0]["name"], "baseImage");
}

#[test]
fn a_custom_image_is_named_by_its_resource() {
    let told = told(|build| build.base_image = Some("/subscriptions/s/customimages/a b"));
    let dependencies = &told["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies[1]["uri"], "https://management.azure.com/subscriptions/s/customimages/a%20b");
}

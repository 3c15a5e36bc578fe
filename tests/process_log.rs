//! What real processes log and print at their most verbose, over real sockets, with all the libraries below: no secret is in it.

#![cfg(feature = "dev")]

#[path = "scenarios/secrets/sweep.rs"]
mod sweep;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use image_factory::dev::git_host::served::Served;
use serde_json::{Value, json};
use sweep::Secrets;

/// What a person types in place of the factory, and its output.
const COMMANDS: [&[&str]; 6] = [
    &["status"],
    &["status", "--json"],
    &["audit"],
    &["dead-letters"],
    &["run", "--by", "ada"],
    &["rerun", "create-vm", "--run", "manual-20260101t000000-none", "--image", "Linux/DockerHost.json"],
];

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-factory"));
    command.env("RUST_LOG", "trace");
    command
}

/// One image of the example and a lab that receives it, as the newest commit of a repository.
fn repository(folder: &Path) -> Served {
    let path = folder.join("images.git");
    git2::Repository::init_bare(&path).unwrap();
    let served = Served::at(path).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/GoldenImages/Linux/DockerHost.json");
    let labs = json!({"Labs": [{"SubscriptionId": "00000001-0000-4000-8000-000000000000", "ResourceGroup": "rg",
        "LabName": "red", "ImagePaths": ["Linux"]}]});
    let files = [
        ("GoldenImages/Linux/DockerHost.json", std::fs::read(example).unwrap()),
        ("Labs.json", labs.to_string().into_bytes()),
    ];
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    served.commit_by("Ada Lovelace", "main", &files).unwrap();
    served
}

/// Calls that Azure refuses, so that errors speak.
fn faults() -> Value {
    json!({"http": [
        {"urlPart": "/providers/", "skip": 8, "times": 3, "status": 500, "body": "{\"error\":{\"code\":\"Oops\",\"message\":\"no\"}}"},
        {"urlPart": "userdelegationkey", "times": 1, "status": 503, "body": ""},
        {"method": "PUT", "urlPart": "imagefactoryvhds", "times": 2, "status": 500, "body": ""},
        {"method": "PUT", "urlPart": "customimages", "times": 1, "reset": "after"},
    ]})
}

/// What looks like a credential, whosever it is: the beginning of a token, and a signature that is not masked.
fn suspicious(text: &str) -> Vec<&str> {
    let around = |at: usize| {
        let start = (0..=at.saturating_sub(160)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (at + 60..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        &text[start..end]
    };
    let tokens = text.match_indices("eyJ0eXAi").map(|(at, _)| at);
    // Checksums in base64 may end with the same letters.
    let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "+/".contains(c));
    let signatures = ["sig=", "SharedAccessKey="].into_iter().flat_map(|name| {
        let found = text.match_indices(name).filter(|(at, _)| begins(*at));
        found.filter(|(at, name)| !text[at + name.len()..].starts_with("***")).map(|(at, _)| at)
    });
    let encoded = text.match_indices("sig%3D").map(|(at, _)| at);
    tokens.chain(signatures).chain(encoded).map(around).collect()
}

#[test]
fn the_most_verbose_log_of_real_processes_and_what_commands_print_hold_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults_file) = (folder.path().join("host.log"), folder.path().join("faults.json"));
    let served = repository(folder.path());
    std::fs::write(&faults_file, faults().to_string()).unwrap();
    let mut dev = program()
        .args(["dev", "--speed", "200", "--branch", "main", "--git-host", "github", "--repo"])
        .arg(folder.path().join("images.git"))
        .arg("--log")
        .arg(&log)
        .arg("--faults")
        .arg(&faults_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = dev.stderr.take().unwrap();
    let complaints = thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.by_ref().map(Result::unwrap) {
        let waits = line.starts_with("waiting for the next commit to main");
        said.push(line);
        if waits {
            break;
        }
    }
    let joined = said.join("\n");
    assert!(joined.contains("succeeded in"), "{joined}");
    let settings = said.iter().find_map(|line| line.split_once("image-factory status --settings "));
    let settings = Path::new(settings.unwrap_or_else(|| panic!("no settings in:\n{joined}")).1.trim());

    let file: Value = serde_json::from_slice(&std::fs::read(settings).unwrap()).unwrap();
    let values: BTreeMap<String, String> = serde_json::from_value(file["Values"].clone()).unwrap();
    let secrets = Secrets::default();
    for (what, name) in [
        ("the secret of the webhook", "IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET"),
        ("the token of the repository", "IMAGE_FACTORY_REPOSITORY_TOKEN"),
        ("the header of the identity's endpoint", "IDENTITY_HEADER"),
    ] {
        secrets.add(what, &values[name]);
    }
    let (_, key) = values["ServiceBus"].split_once("SharedAccessKey=").unwrap();
    secrets.add("the key of Service Bus", key.split(';').next().unwrap());

    let mut texts = Vec::new();
    for arguments in COMMANDS {
        let output = program().args(arguments).arg("--settings").arg(settings).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.is_empty(), "{arguments:?} says nothing");
        texts.push((arguments.join(" "), String::from_utf8_lossy(&text).into_owned()));
    }
    assert!(Command::new("kill").args(["-INT", &dev.id().to_string()]).status().unwrap().success());
    said.extend(lines.map(Result::unwrap));
    assert!(dev.wait().unwrap().success());
    let stdout: Vec<&str> =
        // The address of Service Bus, whose key a person may use, is shown on purpose: it opens what stands on this machine alone.
        said.iter().map(String::as_str).filter(|line| !line.starts_with("  Service Bus ")).collect();
    texts.push(("dev's output".to_owned(), stdout.join("\n")));
    texts.push(("dev's complaints".to_owned(), complaints.join().unwrap()));
    let logged = std::fs::read_to_string(&log).unwrap();
    for level in ["TRACE", "DEBUG", "INFO"] {
        assert!(logged.contains(level), "nothing was logged at {level}");
    }
    texts.push(("the log".to_owned(), logged));

    assert_eq!(secrets.kinds().len(), 4);
    for (what, value) in secrets.one_of_each() {
        assert!(!secrets.search([("a line", value.as_bytes())]).is_empty(), "{what} would not be found");
    }
    let leaks = secrets.search(texts.iter().map(|(place, text)| (place.as_str(), text.as_bytes())));
    assert!(leaks.is_empty(), "{} leaks: {:#?}", leaks.len(), &leaks[..leaks.len().min(10)]);
    for (place, text) in &texts {
        let found = suspicious(text);
        assert!(
            found.is_empty(),
            "{place} holds {} credentials: {:#?}",
            found.len(),
            &found[..found.len().min(10)]
        );
    }
    drop(served);
}

#[test]
fn what_looks_like_a_credential_is_suspicious_and_what_is_masked_is_not() {
    for text in
        ["Bearer eyJ0eXAiOiJKV1Qi", "?sv=1&sig=abc%3D", "a%26sig%3Dabc", "Endpoint=x;SharedAccessKey=abc"]
    {
        assert_eq!(suspicious(text).len(), 1, "{text}");
    }
    for text in [
        "content-md5: CfWyBw3mb79qvv3VaA2sig==",
        "sig=*** and more",
        "the bearer's token",
        "SharedAccessKey=***",
    ] {
        assert_eq!(suspicious(text), Vec::<&str>::new(), "{text}");
    }
}

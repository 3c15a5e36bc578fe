//! The whole factory as real processes over real sockets: `image-factory dev --once`, as a person starts it.

#![cfg(feature = "dev")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use image_factory::dev::git_host::served::Served;
use serde_json::{Value, json};

/// Faster than a debug build can follow closely, and slow enough that the host's real-time limits are far away.
const SPEED: &str = "400";

struct Dev {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Dev {
    fn new() -> Self {
        let mut dev = Self::staying_up();
        dev.add(&["--once"]);
        dev
    }

    /// Without an end after the first run.
    fn staying_up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.json");
        let log = folder.path().join("host.log");
        let arguments = ["dev", "--speed", SPEED, "--report"].map(str::to_owned).to_vec();
        let mut dev = Self { folder, arguments };
        dev.add(&[report.to_str().unwrap(), "--log", log.to_str().unwrap()]);
        dev
    }

    /// A bare git repository, without commits.
    fn repository(&mut self) -> Served {
        let path = self.folder.path().join("images.git");
        git2::Repository::init_bare(&path).unwrap();
        self.add(&["--repo", path.to_str().unwrap(), "--branch", "main"]);
        Served::at(path).unwrap()
    }

    fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// A configuration of two images, which both of two labs receive.
    fn small(mut self) -> Self {
        let config = self.folder.path().join("config");
        let example =
            |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/GoldenImages").join(path);
        for path in ["Linux/DockerHost.json", "Windows/Server2022.json"] {
            let to = config.join("GoldenImages").join(path);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(example(path), to).unwrap();
        }
        let lab = |number: u8, name: &str| {
            json!({"SubscriptionId": format!("{number:08}-0000-4000-8000-000000000000"), "ResourceGroup": "rg",
                "LabName": name, "ImagePaths": ["Linux", "Windows"]})
        };
        let labs = json!({"Labs": [lab(1, "red"), lab(2, "blue")]});
        std::fs::write(config.join("Labs.json"), labs.to_string()).unwrap();
        self.add(&["--config", config.to_str().unwrap()]);
        self
    }

    /// A deadline that gives up soon what never ends, and is still long for a machine that is busy.
    fn two_hours_for_a_vm(self) -> Self {
        let settings = self.folder.path().join("config/factory.json");
        std::fs::write(settings, r#"{"deadlines": {"createVm": "PT2H"}}"#).unwrap();
        self
    }

    fn faults(mut self, faults: &Value) -> Self {
        let file = self.folder.path().join("faults.json");
        std::fs::write(&file, faults.to_string()).unwrap();
        self.add(&["--faults", file.to_str().unwrap()]);
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-factory"));
        command.args(&self.arguments);
        command
    }

    fn run(&self) -> (Output, Value) {
        let output = self.command().output().unwrap();
        let report = self.report(&output);
        (output, report)
    }

    /// The report of the run that has ended last.
    fn newest_report(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder.path().join("report.json")).unwrap())
            .unwrap()
    }

    fn report(&self, output: &Output) -> Value {
        let path: PathBuf = self.folder.path().join("report.json");
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("no report ({error}); it said:\n{said}\nand logged:\n{}", self.log_end())
        });
        serde_json::from_str(&text).unwrap()
    }

    /// The last lines of the host's log, for failures.
    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("host.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Every image and copy that did not succeed: `image: error` and `image@lab: error`.
fn failures(report: &Value) -> Vec<String> {
    let mut failures = Vec::new();
    for image in report["images"].as_array().unwrap() {
        let path = image["imagePath"].as_str().unwrap();
        if image["status"] != "succeeded" {
            failures.push(format!("{path}: {} {}", image["error"]["code"], image["error"]["message"]));
            continue;
        }
        for lab in image["labs"].as_array().unwrap().iter().filter(|lab| lab["status"] != "succeeded") {
            let error = format!("{} {}", lab["error"]["code"], lab["error"]["message"]);
            failures.push(format!("{path}@{}: {error}", lab["labName"].as_str().unwrap()));
        }
    }
    failures
}

fn assert_nothing_left(report: &Value) {
    let nothing = json!({"vms": [], "disksWithSas": [], "vhds": [], "deployments": []});
    assert_eq!(report["leftovers"], nothing);
}

#[test]
fn the_example_reaches_every_lab_and_leaves_nothing_behind() {
    let (output, report) = Dev::new().run();
    assert_eq!(failures(&report), Vec::<String>::new());
    assert_nothing_left(&report);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let copies: usize = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["labs"].as_array().unwrap().len())
        .sum();
    assert_eq!((report["images"].as_array().unwrap().len(), copies), (5, 10));
    assert_eq!(report["run"]["status"], "succeeded");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("Windows/Server2022.json") && table.contains("nothing is left behind"), "{table}");
}

#[test]
fn a_killed_handler_is_started_again_and_the_run_completes() {
    let dev = Dev::new().small();
    let mut child = dev.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut handler = None;
    // Killed once a VM is being made: in the middle of the run.
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("handler          process ") {
            handler = rest.trim().parse::<u32>().ok();
        }
        let begun = line.contains("create-vm");
        said.push(line);
        if begun {
            break;
        }
    }
    let pid = handler.unwrap_or_else(|| panic!("no handler in:\n{}", said.join("\n")));
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    said.extend(lines.map(Result::unwrap));
    let output = finish(child);
    let report = dev.report(&output);
    let said = said.join("\n");
    assert!(said.contains("it is started again"), "{said}");
    assert_eq!(failures(&report), Vec::<String>::new(), "{said}");
    assert_nothing_left(&report);
    assert!(output.status.success());
}

fn finish(mut child: Child) -> Output {
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    Output { status: child.wait().unwrap(), stdout, stderr: Vec::new() }
}

#[test]
fn whatever_goes_wrong_only_that_is_reported_with_azures_reason() {
    let faults = json!({
        "artifacts": [{"vmPart": "Server", "artifactPart": "windows-sysprep", "message": "exit code 7"}],
        "copies": [{"destinationPart": "/ablue", "times": 9, "atFraction": 0.3,
            "description": "500 OperationCancelled \"The copy failed when reading the source.\""}],
    });
    let (output, report) = Dev::new().small().faults(&faults).run();
    let failures = failures(&report);
    assert_eq!(failures.len(), 2, "{failures:#?}");
    assert!(failures[0].starts_with("Linux/DockerHost.json@blue: \"CopyFailed\""), "{failures:#?}");
    assert!(failures[0].contains("The copy failed when reading the source."), "{failures:#?}");
    assert!(failures[1].starts_with("Windows/Server2022.json: \"ArtifactFailed\""), "{failures:#?}");
    assert!(failures[1].contains("exit code 7"), "{failures:#?}");
    assert_nothing_left(&report);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn throttling_and_broken_connections_delay_a_run_but_fail_nothing() {
    let faults = json!({"http": [
        {"urlPart": "/providers/", "skip": 10, "times": 12, "status": 429, "headers": [["Retry-After", "30"]],
         "body": "{\"error\":{\"code\":\"TooManyRequests\",\"message\":\"slow down\"}}"},
        {"method": "PUT", "urlPart": "/deployments/", "times": 1, "reset": "after"},
        {"method": "PUT", "urlPart": "customimages", "times": 2, "reset": "after"},
        {"urlPart": "/builds/", "skip": 5, "times": 5, "status": 503, "body": ""},
    ]});
    let (output, report) = Dev::new().small().faults(&faults).run();
    assert_eq!(failures(&report), Vec::<String>::new());
    assert_nothing_left(&report);
    assert!(report["counts"]["throttled"].as_u64().unwrap() >= 12, "{}", report["counts"]);
    assert!(output.status.success());
}

#[test]
fn a_vm_that_never_gets_ready_and_a_lab_that_is_not_there_fail_alone() {
    let faults = json!({
        "artifacts": [{"vmPart": "Docker", "artifactPart": "linux-deprovision"}],
        "http": [{"urlPart": "/labs/red?", "times": 1_000_000, "status": 404,
            "body": "{\"error\":{\"code\":\"ResourceNotFound\",\"message\":\"The Resource was not found.\"}}"}],
    });
    let (output, report) = Dev::new().small().two_hours_for_a_vm().faults(&faults).run();
    let failures = failures(&report);
    assert_eq!(failures.len(), 2, "{failures:#?}");
    assert!(failures[0].starts_with("Linux/DockerHost.json: \"DeadlineExceeded\""), "{failures:#?}");
    assert!(failures[1].starts_with("Windows/Server2022.json@red: \"ResourceNotFound\""), "{failures:#?}");
    assert_nothing_left(&report);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_placeholder_in_labs_json_is_an_error_that_says_so() {
    let dev = Dev::new().small();
    let labs = dev.folder.path().join("config/Labs.json");
    let text = std::fs::read_to_string(&labs).unwrap().replace("\"red\"", "\"<Name of the DevTest Lab>\"");
    std::fs::write(&labs, text).unwrap();
    let output = dev.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("Labs.json $.Labs[0].LabName") && said.contains("<Name of the DevTest Lab>"),
        "{said}"
    );
}

/// One image of the shipped example, which one lab receives.
fn one_image(lab: &str) -> Vec<(&'static str, Vec<u8>)> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/GoldenImages/Linux/DockerHost.json");
    let labs = json!({"Labs": [{"SubscriptionId": "00000001-0000-4000-8000-000000000000", "ResourceGroup": "rg",
        "LabName": lab, "ImagePaths": ["Linux"]}]});
    vec![
        ("GoldenImages/Linux/DockerHost.json", std::fs::read(example).unwrap()),
        ("Labs.json", labs.to_string().into_bytes()),
    ]
}

fn commit(repository: &Served, author: &str, files: &[(&str, Vec<u8>)]) -> String {
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    repository.commit_by(author, "main", &files).unwrap()
}

#[test]
fn the_newest_commit_of_a_repository_is_run_from_either_git_host() {
    for git_host in ["github", "azure-devops"] {
        let mut dev = Dev::new();
        let repository = dev.repository();
        dev.add(&["--git-host", git_host]);
        commit(&repository, "Charles Babbage", &[("README.md", b"no configuration yet".to_vec())]);
        let newest = commit(&repository, "Ada Lovelace", &one_image("red"));
        let (output, report) = dev.run();
        assert_eq!(failures(&report), Vec::<String>::new(), "{git_host}");
        assert_nothing_left(&report);
        let run = &report["run"];
        assert_eq!((&run["commit"], &run["author"]), (&json!(newest), &json!("Ada Lovelace")), "{git_host}");
        assert_eq!((&run["reason"], &run["status"]), (&json!("commit"), &json!("succeeded")), "{git_host}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("commit {} by Ada Lovelace: Change images", &newest[..10])), "{said}");
        assert!(output.status.success());
    }
}

#[test]
fn each_commit_to_a_watched_repository_is_a_run_and_a_broken_one_says_why() {
    let mut dev = Dev::staying_up();
    let repository = dev.repository();
    let first = commit(&repository, "Ada Lovelace", &one_image("red"));
    let mut child = dev.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until_waiting = || {
        let mut said = Vec::new();
        for line in lines.by_ref().map(Result::unwrap) {
            let waits = line.starts_with("waiting for the next commit to main");
            said.push(line);
            if waits {
                return said.join("\n");
            }
        }
        panic!("it ended, and said:\n{}\nand logged:\n{}", said.join("\n"), dev.log_end())
    };
    let said = until_waiting();
    assert!(said.contains(&first[..10]) && said.contains("nothing is left behind"), "{said}");
    assert_eq!(dev.newest_report()["run"]["status"], "succeeded");

    let mut broken = one_image("red");
    broken[1].1 = br#"{"Labs": [{"SubscriptionId": "<id>", "LabNam": "red"}]}"#.to_vec();
    let second = commit(&repository, "Charles Babbage", &broken);
    let said = until_waiting();
    assert!(said.contains(&second[..10]) && said.contains("InvalidConfiguration"), "{said}");
    assert!(said.contains("$.Labs[0].SubscriptionId") && said.contains("LabNam"), "{said}");
    let report = dev.newest_report();
    assert_eq!(
        (&report["run"]["commit"], &report["run"]["author"]),
        (&json!(second), &json!("Charles Babbage"))
    );
    assert_eq!(report["run"]["status"], "failed");

    // Set back by force, and on from there, with a lab that nobody knew before.
    repository.move_branch("main", Some(&first)).unwrap();
    let third = commit(&repository, "Ada Lovelace", &one_image("blue"));
    let said = until_waiting();
    assert!(said.contains(&third[..10]), "{said}");
    let report = dev.newest_report();
    assert_eq!((&report["run"]["commit"], &report["run"]["status"]), (&json!(third), &json!("succeeded")));
    assert_eq!(report["images"][0]["labs"][0]["labName"], "blue");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
}

#[test]
fn a_repository_without_commits_and_a_folder_that_is_none_are_told_at_once() {
    let mut dev = Dev::new();
    dev.repository();
    let output = dev.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the branch main has no commits") && said.contains("--branch"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::new();
    dev.add(&["--repo", folder.path().to_str().unwrap()]);
    let output = dev.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is in no git repository") && output.status.code() == Some(1), "{said}");
}

#[test]
fn a_newest_commit_that_breaks_the_configuration_fails_with_every_problem() {
    let mut dev = Dev::new();
    let repository = dev.repository();
    let mut broken = one_image("<Name of the DevTest Lab>");
    broken.push(("factory.json", br#"{"imagesToKeep": "two"}"#.to_vec()));
    commit(&repository, "Ada Lovelace", &broken);
    let (output, report) = dev.run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["InvalidConfiguration", "$.Labs[0].LabName", "imagesToKeep", "nothing is left behind"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((report["run"]["status"].as_str(), output.status.code()), (Some("failed"), Some(1)));
    assert_eq!(report["counts"]["armWrites"], 0, "it fails before it touches Azure");
}

/// A `dev` that stays up, until it is dropped.
struct Up {
    child: Child,
    settings: String,
    control: String,
}

impl Up {
    /// Waits until the first run has ended and everything is printed.
    fn start(dev: &Dev) -> Self {
        let child = dev.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut up = Self { child, settings: String::new(), control: String::new() };
        let mut said = Vec::new();
        for line in BufReader::new(up.child.stdout.take().unwrap()).lines().map(Result::unwrap) {
            let after = |words: &str| line.split_once(words).map(|(_, rest)| rest.trim().to_owned());
            if let Some(settings) = after("status --settings ") {
                up.settings = settings;
            }
            if let Some(control) = after("simulator control") {
                up.control = control;
            }
            if !up.settings.is_empty() && !up.control.is_empty() {
                return up;
            }
            said.push(line);
        }
        panic!("it ended, and said:\n{}\nand logged:\n{}", said.join("\n"), dev.log_end())
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-factory"));
        command.args(["doctor", "--settings", &self.settings]).args(arguments).output().unwrap()
    }

    /// Tells simulated Azure something.
    fn put(&self, path: &str, body: &Value) {
        let request = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .put(format!("{}{path}", self.control))
            .json(body);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async { request.send().await }).unwrap();
        assert_eq!(answer.status(), 204, "{path}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn the_doctor_finds_a_running_dev_well_and_what_is_then_taken_from_it() {
    let dev = Dev::staying_up().small();
    let up = Up::start(&dev);
    let examine = || {
        let output = up.doctor(&["--json"]);
        let found: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), found)
    };
    let verdicts = |found: &Value, other_than: &str| -> Vec<Value> {
        let all = found["findings"].as_array().unwrap().iter();
        all.filter(|finding| finding["verdict"] != other_than).cloned().collect()
    };
    let (code, found) = examine();
    assert_eq!(verdicts(&found, "ok"), Vec::<Value>::new(), "all must be well");
    assert_eq!((code, &found["healthy"]), (Some(0), &json!(true)));
    assert!(found["findings"].as_array().unwrap().len() > 25, "{found}");

    up.put("/denials", &json!([{"actionPart": "labs/customImages/write", "scopePart": "labs/red"}]));
    let (code, found) = examine();
    let wrong = verdicts(&found, "ok");
    assert_eq!((code, wrong.len(), &wrong[0]["subject"]), (Some(1), 1, &json!("team lab red")), "{wrong:?}");
    let output = up.doctor(&[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in
        ["labs/customImages/write", "az role assignment create --role", "1 failed, 0 skipped", "start-run"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(output.status.code(), Some(1));

    let output =
        Command::new(env!("CARGO_BIN_EXE_image-factory")).arg("doctor").env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("IMAGE_FACTORY_LEDGER is not set") && said.contains("12 skipped"), "{said}");
    assert_eq!(output.status.code(), Some(1), "settings that are missing are findings, too");
}

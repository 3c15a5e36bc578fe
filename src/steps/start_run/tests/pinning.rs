//! Tests of what a run is pinned to, with a repository that changes meanwhile.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    dev::in_process::InProcess,
    domain::{RunReason, config::ConfigurationFiles},
    ledger::Record as _,
    source::{Source, SourceError},
    steps::fixtures::example,
};

/// A repository whose every commit has the same files.
struct Repository {
    files: ConfigurationFiles,
    newest: Mutex<String>,
    /// What the next fetches answer, before they work.
    troubles: Mutex<VecDeque<SourceError>>,
    fetched: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl Source for Repository {
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        let newest = self.newest.lock().unwrap().clone();
        Ok(Some(asked.filter(|asked| *asked != "main").map_or(newest, str::to_owned)))
    }

    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        self.fetched.lock().unwrap().push(commit.map(str::to_owned));
        self.troubles.lock().unwrap().pop_front().map_or(Ok(self.files.clone()), Err)
    }
}

struct Story {
    example: InProcess,
    factory: Factory,
    repository: Arc<Repository>,
    message: Message,
}

impl Story {
    /// A run from `commit` of a repository that meets these troubles.
    async fn of(commit: Option<&str>, troubles: impl IntoIterator<Item = SourceError>) -> Self {
        let (example, _) = example().await;
        let repository = Arc::new(Repository {
            files: example.factory.source.fetch(None).await.unwrap(),
            newest: Mutex::new("1111".to_owned()),
            troubles: Mutex::new(troubles.into_iter().collect()),
            fetched: Mutex::default(),
        });
        let factory = Factory { source: repository.clone(), ..(*example.factory).clone() };
        let start =
            StartRun { commit: commit.map(str::to_owned), ..StartRun::of_everything(RunReason::Manual) };
        let message = Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start));
        Self { example, factory, repository, message }
    }

    async fn turn(&self, attempt: u32) -> RunRecord {
        self.factory.handle(&self.message.numbered(attempt), 1).await.unwrap();
        self.factory.ledger.read(&Key::run(&self.message.run)).await.unwrap().unwrap().0
    }
}

fn trouble(seconds: Option<u64>) -> SourceError {
    SourceError::Unavailable {
        place: "octo/images".to_owned(),
        reason: "HTTP status 503".to_owned(),
        retry_after: seconds.map(Duration::from_secs),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_commit_keeps_the_newest_of_when_it_began_whatever_is_pushed_meanwhile() {
    for asked in [None, Some("main")] {
        let story = Story::of(asked, [trouble(None)]).await;
        let record = story.turn(1).await;
        assert_eq!((record.status(), record.commit.as_deref()), (ItemStatus::Open, Some("1111")));
        "2222".clone_into(&mut story.repository.newest.lock().unwrap());
        let record = story.turn(2).await;
        assert_eq!(record.commit.as_deref(), Some("1111"));
        assert_eq!(*story.repository.fetched.lock().unwrap(), vec![Some("1111".to_owned()); 2]);
        let mut record = record;
        for attempt in 3..=6 {
            record = story.turn(attempt).await;
        }
        let key = Key::build(&record.run, &record.builds[0].vm_name);
        let (build, _) = story.factory.ledger.read::<BuildRecord>(&key).await.unwrap().unwrap();
        assert_eq!(build.commit.as_deref(), Some("1111"));
        story.turn(7).await;
        assert_eq!(story.repository.fetched.lock().unwrap().len(), 2, "its files are pinned now");
    }
}

#[tokio::test(start_paused = true)]
async fn a_git_host_in_trouble_is_waited_for_as_long_as_it_asks() {
    let story = Story::of(Some("c0ffee"), [trouble(Some(1800)), trouble(None)]).await;
    for (attempt, least) in [(1, 1800), (2, 20)] {
        let before = story.example.clock().now();
        let record = story.turn(attempt).await;
        let state = record.step(Queue::StartRun).unwrap();
        assert_eq!((record.status(), state.troubles), (ItemStatus::Open, attempt));
        assert!(state.waiting_for.contains("octo/images cannot be reached now"), "{}", state.waiting_for);
        let wait = state.wake_at - before;
        assert!((least..least * 2).contains(&wait.whole_seconds()), "{wait}");
    }
    for attempt in 3..=5 {
        assert!(story.turn(attempt).await.builds.is_empty());
    }
    assert!(!story.turn(6).await.builds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_not_there_is_the_runs_failure_at_once() {
    let missing = SourceError::Missing {
        place: "octo/images".to_owned(),
        what: "commit c0ffee".to_owned(),
        advice: "push it".to_owned(),
    };
    let story = Story::of(Some("c0ffee"), [missing]).await;
    let record = story.turn(1).await;
    let failure = record.step(Queue::StartRun).and_then(StepState::failure).unwrap();
    assert_eq!(failure.code, "ConfigurationUnreadable");
    assert_eq!(failure.message, "octo/images has no commit c0ffee; push it");
    assert!(record.builds.is_empty());
}

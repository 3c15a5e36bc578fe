//! The handler's stdout and stderr, line by line (Azure/azure-functions-host WorkerProcess.cs).

use crate::events::{CONSOLE_CATEGORY, Level};

/// Lines with this prefix are the platform's, not the function's.
const SYSTEM_PREFIX: &str = "LanguageWorkerConsoleLog";

/// Lines with this prefix are for development tools.
const TOOLING_PREFIX: &str = "azfuncjsonlog:";

/// Words that make a stderr line an error where stderr is not for errors only.
const ERROR_WORDS: [&str; 4] = ["error", "fail", "severe", "unhandled exception"];

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Error {
        /// `useStdErrorStreamForErrorsOnly`
        errors_only: bool,
    },
}

/// The level, category and text under which a line is logged.
pub(crate) fn classify(stream: Stream, line: &str) -> (Level, &'static str, &str) {
    let lower = line.to_lowercase();
    let level = match stream {
        Stream::Out => Level::Information,
        Stream::Error { errors_only: true } if lower.contains("warn") => Level::Warning,
        Stream::Error { errors_only: true } => Level::Error,
        Stream::Error { errors_only: false } if ERROR_WORDS.iter().any(|word| lower.contains(word)) => {
            Level::Error
        }
        Stream::Error { errors_only: false } => Level::Information,
    };
    if let Some(rest) = line.strip_prefix(SYSTEM_PREFIX) {
        return (level, "Worker.rpcWorkerProcess", rest);
    }
    if let Some(rest) = line.strip_prefix(TOOLING_PREFIX) {
        return (level, "Host.Function.ToolingConsoleLog", rest);
    }
    (level, CONSOLE_CATEGORY, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_stream_and_some_words() {
        let errors = Stream::Error { errors_only: true };
        let mixed = Stream::Error { errors_only: false };
        for (stream, line, level) in [
            (Stream::Out, "an error on stdout", Level::Information),
            (errors, "all is well", Level::Error),
            (errors, "WARNING: low", Level::Warning),
            (mixed, "all is well", Level::Information),
            (mixed, "warning", Level::Information),
            (mixed, "Unhandled Exception: x", Level::Error),
            (mixed, "it failed", Level::Error),
        ] {
            assert_eq!(classify(stream, line), (level, CONSOLE_CATEGORY, line), "{line}");
        }
        assert_eq!(classify(Stream::Out, "LanguageWorkerConsoleLog hi").1, "Worker.rpcWorkerProcess");
    }
}

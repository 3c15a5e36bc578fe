//! How the handler's program, arguments and environment are made from host.json
//! (Azure/azure-functions-host DefaultWorkerProcessFactory.cs, HttpWorkerProcess.cs, HttpWorkerDescription.cs).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::config::{CustomHandler, expand};

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: PathBuf,
}

/// The five variables that the host adds, new for every start (HttpWorkerConstants.cs).
pub(crate) fn host_variables(port: u16, worker: Uuid, app_root: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("FUNCTIONS_CUSTOMHANDLER_PORT".into(), port.to_string()),
        ("FUNCTIONS_HTTPWORKER_PORT".into(), port.to_string()),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID".into(), worker.to_string()),
        ("FUNCTIONS_HTTPWORKER_ID".into(), worker.to_string()),
        ("FUNCTIONS_APP_ROOT_PATH".into(), app_root.display().to_string()),
    ])
}

/// Makes the command line; `variables` may be used as `%NAME%`.
pub(crate) fn command_line(
    handler: &CustomHandler,
    app_root: &Path,
    variables: &BTreeMap<String, String>,
) -> CommandLine {
    let under_root = |path: &Option<String>| {
        path.as_ref().map_or_else(|| app_root.to_path_buf(), |path| app_root.join(expand(path, variables)))
    };
    let executable = expand(&handler.default_executable_path, variables);
    // A file beside the worker wins; anything else is left to the search path.
    let beside = under_root(&handler.worker_directory).join(&executable);
    let program = if beside.exists() { beside } else { PathBuf::from(executable) };

    // One string, joined with blanks and not quoted, so an argument with a blank becomes two.
    let mut text = handler.arguments.join(" ");
    if let Some(path) = &handler.default_worker_path {
        text.push_str(&format!(" \"{path}\""));
    }
    for argument in &handler.worker_arguments {
        text.push(' ');
        text.push_str(argument);
    }
    let text = without_unresolved(&expand(&text, variables));
    CommandLine { program, arguments: split(&text), directory: under_root(&handler.working_directory) }
}

/// Names that nothing resolved become nothing.
fn without_unresolved(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('%') {
        let Some((name, after)) = tail.split_once('%') else {
            break;
        };
        out.push_str(before);
        // Two percent signs with nothing or a blank between them are no name.
        if name.is_empty() || name.contains(char::is_whitespace) {
            out.push('%');
            rest = tail;
        } else {
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Splits a command line as .NET does on Unix (`ProcessUtils.ParseArgumentsIntoList`): blanks separate, double quotes hold
/// together, backslashes count only before a quote.
fn split(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if chars.peek().is_none() {
            return arguments;
        }
        let mut argument = String::new();
        let mut quoted = false;
        while let Some(&c) = chars.peek() {
            match c {
                '\\' => {
                    let mut slashes = 0;
                    while chars.next_if_eq(&'\\').is_some() {
                        slashes += 1;
                    }
                    if chars.peek() == Some(&'"') {
                        argument.extend(std::iter::repeat_n('\\', slashes / 2));
                        if slashes % 2 == 1 {
                            argument.push('"');
                            chars.next();
                        }
                    } else {
                        argument.extend(std::iter::repeat_n('\\', slashes));
                    }
                }
                '"' => {
                    chars.next();
                    if quoted && chars.next_if_eq(&'"').is_some() {
                        argument.push('"');
                    } else {
                        quoted = !quoted;
                    }
                }
                ' ' | '\t' if !quoted => break,
                other => {
                    argument.push(other);
                    chars.next();
                }
            }
        }
        arguments.push(argument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::HostConfig, settings::Settings};

    fn handler(description: &str) -> CustomHandler {
        let text = format!(r#"{{"version":"2.0","customHandler":{{"description":{description}}}}}"#);
        HostConfig::parse(&text, &Settings::default()).unwrap().custom_handler
    }

    #[test]
    fn arguments_are_joined_and_split_again() {
        for (text, expected) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            ("\"a b\" c", vec!["a b", "c"]),
            (r#"a\"b c\\d "e\\" f"#, vec!["a\"b", r"c\\d", r"e\", "f"]),
            ("\"\" x", vec!["", "x"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_program_beside_host_json_is_found_and_others_are_left_to_the_search_path() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        std::fs::write(root.path().join("bin/app"), "").unwrap();
        let variables = host_variables(7000, Uuid::nil(), root.path());
        let line = command_line(
            &handler(
                r#"{"defaultExecutablePath":"bin/app","arguments":["a b","--port=%FUNCTIONS_CUSTOMHANDLER_PORT%","%NOPE%"],
                "defaultWorkerPath":"my worker.js","workerArguments":["w"],"workingDirectory":"bin"}"#,
            ),
            root.path(),
            &variables,
        );
        assert_eq!(line.program, root.path().join("bin/app"));
        assert_eq!(line.arguments, ["a", "b", "--port=7000", "my worker.js", "w"]);
        assert_eq!(line.directory, root.path().join("bin"));
        let line = command_line(&handler(r#"{"defaultExecutablePath":"node"}"#), root.path(), &variables);
        assert_eq!((line.program.to_str(), line.arguments.len()), (Some("node"), 0));
    }

    #[test]
    fn the_host_adds_five_variables() {
        let variables = host_variables(7000, Uuid::nil(), Path::new("/app"));
        assert_eq!(variables.len(), 5);
        assert_eq!(variables["FUNCTIONS_HTTPWORKER_PORT"], "7000");
        assert_eq!(variables["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], Uuid::nil().to_string());
        assert_eq!(variables["FUNCTIONS_APP_ROOT_PATH"], "/app");
    }
}

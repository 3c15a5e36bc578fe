//! Whether the settings are complete.

use std::collections::BTreeMap;

use super::{Finding, resolved};
use crate::handler::{
    Settings, Webhooks,
    settings::{SERVICE_BUS, SERVICE_BUS_NAMESPACE, source::REPOSITORY},
};

/// The check's name.
pub const NAME: &str = "settings";

/// Settings that the timers of functions/ name, each with what it says.
const SCHEDULES: [(&str, &str); 2] =
    [("Schedule", "when a run of everything starts by itself"), ("CleanupSchedule", "when cleanup ticks")];
/// Where a setting is set.
const HOW: &str = "az functionapp config appsettings set --resource-group <group> --name <app> --settings";
/// A connection string of the local stand-in, whose key everybody knows.
const STAND_IN: &str = "UseDevelopmentEmulator=true";

/// Looks at the settings alone. What is wrong with a reference to Key Vault is another check's.
pub fn look(variables: &BTreeMap<String, String>) -> Vec<Finding> {
    let get = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let mut findings = Vec::new();
    let usable = resolved(variables);
    if let Err(bad) = Settings::read(&usable) {
        for problem in bad.problems() {
            let name = problem.split([' ', ':']).next().unwrap_or_default();
            findings.push(Finding::failed(
                name,
                problem,
                format!("{HOW} {name}=…; docs/configuration.md has them all"),
            ));
        }
    }
    for (name, meaning) in SCHEDULES {
        if get(name).is_none() {
            let found = format!("it is not set, and the host starts no function without it: {meaning}");
            findings.push(Finding::failed(name, found, format!("{HOW} '{name}=0 */10 * * * *'")));
        }
    }
    if get(SERVICE_BUS).is_some_and(|text| !text.contains(STAND_IN)) {
        let found = "it holds a key of the namespace, which opens every queue to whoever reads it";
        let fix = format!(
            "{HOW} {SERVICE_BUS_NAMESPACE}=<namespace>.servicebus.windows.net, and take {SERVICE_BUS} away"
        );
        findings.push(Finding::warning(SERVICE_BUS, found, fix));
    }
    // Of a folder of this machine nobody tells.
    if get(REPOSITORY).is_some()
        && let Webhooks::NotSetUp(problems) = Webhooks::read(&usable)
    {
        for problem in problems {
            let name = problem.split([' ', ':']).next().unwrap_or_default();
            if usable.contains_key(name) == variables.contains_key(name) {
                let found = format!("commits start no run: {problem}");
                findings.push(Finding::warning(name, found, "docs/commits.md sets the webhook up"));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("", "complete"));
    }
    findings
}

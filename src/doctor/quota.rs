//! Whether the factory lab's subscription has the cores that a run of everything needs, which makes all its VMs at once.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached, patience::patiently};
use crate::{
    azure::{Lab, REGIONAL_CORES, Usage, VmSize},
    domain::{Configuration, ImagePath},
    steps::start_run::wanted,
};

/// The check.
pub struct Quota;

#[async_trait]
impl Check for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let (configuration, lab) = match known.definitions_and_lab() {
            Ok(found) => found,
            Err(skipped) => return vec![skipped],
        };
        let (azure, clock, subscription) =
            (&at.factory.azure, &at.factory.clock, &lab.address.subscription_id);
        let sizes = patiently(clock, || azure.vm_sizes(subscription, &lab.location)).await;
        let usages = patiently(clock, || azure.compute_usages(subscription, &lab.location)).await;
        let (sizes, usages) = match (sizes, usages) {
            (Ok(sizes), Ok(usages)) => (sizes, usages),
            (Err(error), _) | (_, Err(error)) => {
                return vec![Finding::refused("", &error, "see the role of the subscription under 'roles'")];
            }
        };
        let mut findings = Vec::new();
        let mut needs: BTreeMap<String, i64> = BTreeMap::new();
        for (path, size) in sizes_of(configuration) {
            match find(&sizes, &size) {
                Ok(size) => {
                    *needs.entry(REGIONAL_CORES.to_owned()).or_default() += size.cores;
                    *needs.entry(size.family.clone()).or_default() += size.cores;
                }
                Err(found) => {
                    let fix = format!(
                        "az vm list-skus --location {} --size {size} --all --output table; then correct vmSize in factory.json, or the size in the definition",
                        lab.location
                    );
                    findings.push(Finding::failed(path.as_str(), found, fix));
                }
            }
        }
        findings.extend(judge(&needs, &usages, lab));
        findings
    }
}

/// The size of each image that a run of everything makes.
fn sizes_of(configuration: &Configuration) -> Vec<(&ImagePath, String)> {
    let settings = &configuration.settings;
    let wanted = wanted(configuration, None).unwrap_or_default();
    let definitions = wanted.into_iter().filter_map(|subscription| {
        Some((subscription.image_path, configuration.definitions.get(subscription.image_path)?))
    });
    definitions
        .map(|(path, definition)| {
            let size = definition.example_vm(settings).size;
            (path, size.unwrap_or_else(|| settings.vm_size.clone()))
        })
        .collect()
}

/// The size of this name, or why it cannot be had.
fn find<'a>(sizes: &'a [VmSize], name: &str) -> Result<&'a VmSize, String> {
    let size = sizes.iter().find(|size| size.name.eq_ignore_ascii_case(name));
    match size {
        None => Err(format!("the region has no VM size {name}")),
        Some(VmSize { refused: Some(reason), .. }) => {
            Err(format!("this subscription cannot have the VM size {name} there ({reason})"))
        }
        Some(size) => Ok(size),
    }
}

fn judge(needs: &BTreeMap<String, i64>, usages: &[Usage], lab: &Lab) -> Vec<Finding> {
    let judge = |(name, needed): (&String, &i64)| {
        let usage = usages.iter().find(|usage| usage.name.eq_ignore_ascii_case(name))?;
        let Usage { title, limit, used, .. } = usage;
        let found = format!(
            "{title} in {}: {needed} needed by a run of everything, {used} of {limit} in use",
            lab.location
        );
        let fix = format!(
            "ask for at least {} of {name}: az quota update --resource-name {name} --scope /subscriptions/{}/providers/Microsoft.Compute/locations/{} --limit-object value={}, or smaller sizes",
            needed + used,
            lab.address.subscription_id,
            lab.location,
            needed + used
        );
        Some(match needed {
            needed if needed > limit => Finding::failed(name, found, fix),
            needed if needed + used > *limit => {
                Finding::warning(name, format!("{found}: too few while those are"), fix)
            }
            _ => Finding::ok(name, found),
        })
    };
    needs.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{azure::LabAddress, doctor::Verdict};

    fn judged(needed: i64, used: i64, limit: i64) -> Verdict {
        let text = |text: &str| text.to_owned();
        let address =
            LabAddress { subscription_id: text("s"), resource_group: text("rg"), lab_name: text("lab") };
        let (id, location, storage_account_id) = (address.id(), text("westeurope"), text("/account"));
        let lab = Lab { address, id, location, storage_account_id };
        let usage = Usage { name: text("cores"), title: text("Total Regional vCPUs"), limit, used };
        judge(&[(text("Cores"), needed), (text("unlisted"), 1)].into(), &[usage], &lab)[0].verdict
    }

    #[test]
    fn a_run_needs_its_cores_below_the_limit_and_others_may_have_some_of_them_now() {
        assert_eq!(judged(10, 0, 10), Verdict::Ok);
        assert_eq!(judged(11, 0, 10), Verdict::Failed);
        assert_eq!(judged(8, 3, 10), Verdict::Warning);
    }

    #[test]
    fn a_size_that_is_not_offered_says_why() {
        let size = |name: &str, refused: Option<&str>| VmSize {
            name: name.to_owned(),
            family: "f".to_owned(),
            cores: 2,
            refused: refused.map(str::to_owned),
        };
        let sizes = [size("Standard_A", None), size("Standard_B", Some("NotAvailableForSubscription"))];
        assert_eq!(find(&sizes, "standard_a").unwrap().cores, 2);
        assert!(find(&sizes, "Standard_B").unwrap_err().contains("NotAvailableForSubscription"));
        assert!(find(&sizes, "Standard_C").unwrap_err().contains("no VM size Standard_C"));
    }
}

//! Which part answers which path.

use http::Method;

use super::{
    authorization,
    call::{Answer, Call},
    capacity, compute, custom_images, deployments, disks,
    error::ArmError,
    formulas, generic, labs, locks, marketplace, operations, policies, providers, resource_groups, resources,
    roles, service_bus, shared_galleries, storage_accounts, tags, virtual_machines,
};
use crate::{World, chaos};

/// Answers a call that was let in, if its caller may make it.
pub(crate) fn dispatch(world: &mut World, call: &Call) -> Result<Answer, ArmError> {
    let lower: Vec<&str> = call.lower.iter().map(String::as_str).collect();
    if let ["subscriptions", subscription, ..] = lower.as_slice() {
        resource_groups::check_subscription(world, subscription)?;
    }
    authorization::check(world, call)?;
    match lower.as_slice() {
        [.., "providers", "microsoft.authorization", "locks"] => return locks::route(world, call, None),
        [.., "providers", "microsoft.authorization", "locks", name] => {
            return locks::route(world, call, Some(name));
        }
        [scope @ .., "providers", "microsoft.authorization", kind @ ("permissions" | "roleassignments")] => {
            return roles::route(world, call, scope, kind, None);
        }
        [scope @ .., "providers", "microsoft.authorization", kind @ "roledefinitions", name] => {
            return roles::route(world, call, scope, kind, Some(name));
        }
        _ => locks::check(world, call)?,
    }
    match lower.as_slice() {
        ["subscriptions"] | ["subscriptions", _] => resource_groups::subscriptions(world, call),
        ["tenants"] => resource_groups::tenants(call),
        ["subscriptions", _, "providers"] => providers::route(call, None),
        ["subscriptions", _, "providers", namespace] => providers::route(call, Some(namespace)),
        ["subscriptions", _, "resources"] => resources::list(world, call),
        ["subscriptions", _, "resourcegroups"] => resource_groups::list(world, call),
        ["subscriptions", _, "providers", "microsoft.devtestlab", "labs"] => labs::list(world, call, None),
        ["subscriptions", _, "providers", "microsoft.compute", "virtualmachines"] => {
            compute::list(world, call)
        }
        ["subscriptions", _, "providers", "microsoft.compute", "disks"] => disks::list(world, call),
        ["subscriptions", _, "providers", "microsoft.storage", "storageaccounts"] => {
            storage_accounts::list(world, call)
        }
        [
            "subscriptions",
            _,
            "providers",
            "microsoft.devtestlab" | "microsoft.compute",
            "locations",
            _,
            "operations" | "diskoperations",
            _,
        ] => operations::get(world, call),
        [
            "subscriptions",
            _,
            "providers",
            "microsoft.compute",
            "locations",
            _,
            "publishers",
            _,
            "artifacttypes",
            "vmimage",
            "offers",
            _,
            "skus",
            _,
            "versions",
        ] => marketplace::versions(world, call),
        ["subscriptions", _, "providers", "microsoft.compute", "locations", location, "usages"] => {
            capacity::usages(world, call, location)
        }
        ["subscriptions", _, "providers", "microsoft.compute", "skus"] => capacity::skus(call),
        ["subscriptions", _, "providers", "microsoft.servicebus", "namespaces"] => {
            service_bus::list(world, call)
        }
        ["subscriptions", _, "operationresults", _] => operations::get(world, call),
        ["subscriptions", subscription, "resourcegroups", group, rest @ ..] => {
            in_group(world, call, subscription, group, rest)
        }
        _ => Err(ArmError::new(
            404,
            "InvalidResourceType",
            format!("The resource type of '{}' could not be found.", call.path()),
        )),
    }
}

fn in_group(
    world: &mut World,
    call: &Call,
    subscription: &str,
    group: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    if rest.is_empty() {
        return resource_groups::route(world, call);
    }
    resource_groups::group(world, subscription, &call.segments[3])?;
    match rest {
        [.., "providers", "microsoft.resources", "tags", "default"] => tags::route(world, call),
        ["resources"] => resources::list(world, call),
        ["deployments", name, "operations"] => deployments::operations(world, call, name),
        ["providers", "microsoft.resources", "deployments", rest @ ..] => {
            deployments::route(world, call, rest)
        }
        ["providers", "microsoft.devtestlab", "labs"] => labs::list(world, call, Some(group)),
        ["providers", "microsoft.devtestlab", "labs", lab, rest @ ..] => {
            in_lab(world, call, &labs::key(subscription, group, lab), rest)
        }
        ["providers", "microsoft.compute", "virtualmachines", rest @ ..] => compute::route(world, call, rest),
        ["providers", "microsoft.compute", "disks", rest @ ..] => disks::route(world, call, rest),
        ["providers", "microsoft.storage", "storageaccounts", rest @ ..] => {
            storage_accounts::route(world, call, rest)
        }
        ["providers", "microsoft.servicebus", "namespaces"] => service_bus::list(world, call),
        ["providers", "microsoft.servicebus", "namespaces", rest @ ..] => {
            service_bus::route(world, call, rest)
        }
        ["providers", provider, ..] => {
            let code = match *provider {
                "microsoft.devtestlab"
                | "microsoft.compute"
                | "microsoft.storage"
                | "microsoft.resources" => "InvalidResourceType",
                _ => "NoRegisteredProviderFound",
            };
            Err(ArmError::new(
                if code == "InvalidResourceType" { 404 } else { 400 },
                code,
                format!(
                    "No registered resource provider found for '{}' and API version '{}'.",
                    call.path(),
                    call.api_version()
                ),
            ))
        }
        _ => Err(ArmError::not_found(&call.path())),
    }
}

fn in_lab(world: &mut World, call: &Call, lab: &str, rest: &[&str]) -> Result<Answer, ArmError> {
    chaos::consider_lab(world, lab);
    if !world.arm.labs.contains_key(lab) {
        // "DELETE: missing parent 404".
        return Err(if rest.is_empty() || call.method == Method::GET {
            ArmError::not_found(&call.path())
        } else {
            ArmError::parent_not_found(&call.segments[7])
        });
    }
    match rest {
        [] => labs::route(world, call, lab),
        ["listvhds" | "generateuploaduri" | "createenvironment" | "claimanyvm"] => {
            labs::action(world, call, lab, rest[0])
        }
        ["virtualmachines", rest @ ..] => virtual_machines::route(world, call, lab, rest),
        ["customimages", rest @ ..] => custom_images::route(world, call, lab, rest),
        ["galleryimages"] => marketplace::gallery(world, call, lab),
        ["formulas", rest @ ..] => formulas::route(world, call, lab, rest),
        ["policysets", "default", rest @ ..] => policies::route(world, call, lab, rest),
        ["sharedgalleries", rest @ ..] => shared_galleries::route(world, call, lab, rest),
        rest => generic::route(world, call, lab, rest),
    }
}

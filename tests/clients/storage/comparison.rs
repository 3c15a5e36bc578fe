//! The two transcripts agree, but for what is Azurite's own.

use std::collections::BTreeMap;

use anyhow::bail;

use super::transcript::Transcript;

/// Why ours is right.
type Reason = &'static str;

const SIGNATURE: Reason = "It says AuthorizationFailure to every signature that is wrong or over. The service says \
    AuthenticationFailed (Microsoft, \"Authorize with Shared Key\", \"Common REST API error codes\").";
const CHALLENGE: Reason = "It knows no challenge. From version 2019-12-12 on the service tells whoever brings no credential how to \
    get a token, with 401 (Microsoft, \"Authorize with Microsoft Entra ID\": bearer challenge).";
const OVERWRITE: Reason = "It finds a permission missing, as for any other call. The service has a code of its own (Microsoft, \
    \"Blob Storage error codes\"; seen in Azure/azure-storage-node, issue 485).";
const CONDITION: Reason = "It takes a copy for a Put Blob, where If-None-Match: * says 409. Copy Blob says 412 (Microsoft, \
    \"Copy Blob\").";
const AT_ONCE: Reason =
    "Its copies are done before it answers, so that none is ever pending, or can be aborted.";
const PROGRESS: Reason = "It tells no progress of a copy of nothing.";
const SOURCE: Reason = "It looks for a source in the same account by itself. The service verifies every source, and says so \
    (Microsoft, \"Copy Blob\").";
const STRANGER: Reason = "It says 403 to strangers. In an account that allows public access a container that is not open does not \
    exist for them (Microsoft, \"Configure anonymous read access\").";

/// The call, what comes of it in simulated storage (and in Azure), what comes of it in Azurite, and why.
const DIFFERENCES: &[(&str, &str, &str, Reason)] = &[
    (
        "with the wrong key: get",
        "refused: permanent, 403 AuthenticationFailed",
        "refused: permanent, 403 AuthorizationFailure",
        SIGNATURE,
    ),
    (
        "with the wrong key: properties",
        "refused: permanent, 403 AuthenticationFailed",
        "refused: permanent, 403 AuthorizationFailure",
        SIGNATURE,
    ),
    (
        "with the wrong key: put",
        "refused: permanent, 403 AuthenticationFailed",
        "refused: permanent, 403 AuthorizationFailure",
        SIGNATURE,
    ),
    (
        "with the wrong key: list",
        "refused: permanent, 403 AuthenticationFailed",
        "refused: permanent, 403 AuthorizationFailure",
        SIGNATURE,
    ),
    (
        "with the wrong key: make a container",
        "refused: permanent, 403 AuthenticationFailed",
        "refused: permanent, 403 AuthorizationFailure",
        SIGNATURE,
    ),
    ("SAS with another signature", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("SAS with a permission more", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("SAS with a later end", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("SAS of another blob", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("SAS of a blob for its container", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("SAS that has ended", "403 AuthenticationFailed", "403 AuthorizationFailure", SIGNATURE),
    ("no SAS at all", "401 NoAuthenticationInformation", "403 AuthorizationFailure", CHALLENGE),
    (
        "SAS to create: put over a blob",
        "403 UnauthorizedBlobOverwrite",
        "403 AuthorizationPermissionMismatch",
        OVERWRITE,
    ),
    (
        "copy within an account: again",
        "refused: precondition, 412 TargetConditionNotMet",
        "refused: precondition, 409 BlobAlreadyExists",
        CONDITION,
    ),
    (
        "copy of a disk: another one",
        "refused: precondition, 412 TargetConditionNotMet",
        "refused: precondition, 409 BlobAlreadyExists",
        CONDITION,
    ),
    (
        "copy of a disk: over what is left",
        "refused: precondition, 412 TargetConditionNotMet",
        "refused: precondition, 409 BlobAlreadyExists",
        CONDITION,
    ),
    ("copy between accounts, kept: begun", "Pending", "Success", AT_ONCE),
    ("copy between accounts, replaced: begun", "Pending", "Success", AT_ONCE),
    ("copy of a disk: begun", "Pending", "Success", AT_ONCE),
    ("copy of a disk: meanwhile", "Some(Pending)", "Some(Success)", AT_ONCE),
    ("copy of a disk: after that", "Some(Aborted)", "Some(Success)", AT_ONCE),
    ("copy of a disk: it is empty after that", "true", "false", AT_ONCE),
    (
        "copy between accounts, empty: end",
        "Some(Success), 0 bytes, whole: Some(true), Some(None), {}",
        "Some(Success), 0 bytes, whole: None, Some(None), {}",
        PROGRESS,
    ),
    (
        "copy from a missing blob of the account",
        "refused: not found, 404 CannotVerifyCopySource",
        "refused: not found, 404 BlobNotFound",
        SOURCE,
    ),
    (
        "copy from a blob elsewhere without a SAS",
        "refused: not found, 404 CannotVerifyCopySource",
        "refused: permanent, 403 CannotVerifyCopySource",
        STRANGER,
    ),
];

/// Compares what was told in simulated storage and in Azurite.
///
/// # Errors
/// Each call with another outcome that is not listed as Azurite's own, and each that is listed and did not occur.
pub fn compare(simulated: &Transcript, azurite: &Transcript) -> anyhow::Result<()> {
    let mut listed: BTreeMap<_, _> = DIFFERENCES.iter().map(|listed| (listed.0, listed)).collect();
    let mut problems = Vec::new();
    if !simulated.lines().map(|(call, _)| call).eq(azurite.lines().map(|(call, _)| call)) {
        problems.push("the two were not asked the same".to_owned());
    }
    let mut agreed = 0;
    for ((call, here), (_, there)) in simulated.lines().zip(azurite.lines()) {
        let seen = format!("{call}\n    here     {here}\n    Azurite  {there}");
        match listed.remove(call) {
            None if here == there => agreed += 1,
            None => problems.push(seen),
            Some((_, ours, theirs, _)) if (*ours, *theirs) == (here, there) => {}
            Some((.., reason)) => problems.push(format!("{seen}\n    listed otherwise: {reason}")),
        }
    }
    problems.extend(listed.keys().map(|call| format!("{call}\n    is listed, and nobody asked it")));
    println!("{agreed} calls with the same outcome, {} with one that is Azurite's own", DIFFERENCES.len());
    if !problems.is_empty() {
        bail!("simulated storage and Azurite differ:\n{}", problems.join("\n"));
    }
    Ok(())
}

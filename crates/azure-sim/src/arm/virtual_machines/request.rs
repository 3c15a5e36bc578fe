//! The rules of Compute for names, users and passwords.

use serde_json::Value;

use super::super::{error::ArmError, marketplace::OsType};

/// "Windows: 1-15 characters, Linux: 1-64" (Microsoft, "Naming rules and restrictions for Azure resources").
const LONGEST_WINDOWS_NAME: usize = 15;
const LONGEST_LINUX_NAME: usize = 64;
/// Lengths of passwords (Microsoft, "What are the password requirements when creating a VM?").
const WINDOWS_PASSWORD: std::ops::RangeInclusive<usize> = 8..=123;
const LINUX_PASSWORD: std::ops::RangeInclusive<usize> = 6..=72;
/// "The following passwords are not allowed".
const FORBIDDEN_PASSWORDS: [&str; 13] = [
    "abc@123",
    "iloveyou!",
    "P@$$w0rd",
    "P@ssw0rd",
    "P@ssword123",
    "Pa$$word",
    "pass@word1",
    "Password!",
    "Password1",
    "Password22",
    "Password123",
    "Passw0rd!",
    "Passw0rd",
];
/// Names that Compute refuses (Microsoft, "What are the username requirements when creating a VM?").
const FORBIDDEN_USERS: [&str; 27] = [
    "administrator",
    "admin",
    "user",
    "user1",
    "test",
    "user2",
    "test1",
    "user3",
    "admin1",
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin2",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "sys",
];

/// # Errors
/// 400 if no VM of this OS may have this name.
pub(super) fn check_name(name: &str, os: OsType) -> Result<(), ArmError> {
    let longest = match os {
        OsType::Windows => LONGEST_WINDOWS_NAME,
        OsType::Linux => LONGEST_LINUX_NAME,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ends = name.starts_with('-') || name.ends_with('-');
    let numeric = name.chars().all(|c| c.is_ascii_digit());
    if name.is_empty() || name.chars().count() > longest || !name.chars().all(allowed) || ends || numeric {
        return Err(ArmError::new(
            400,
            "InvalidVirtualMachineName",
            format!(
                "The name '{name}' of the {} virtual machine is invalid: it must have 1 to {longest} letters, digits and hyphens, begin and end with a letter or digit, and not be all digits.",
                os.text()
            ),
        ));
    }
    Ok(())
}

/// # Errors
/// 400 if the user, the password or the SSH key is missing or weak.
pub(super) fn check_login(properties: &Value, os: OsType) -> Result<(), ArmError> {
    let text = |name: &str| properties[name].as_str().unwrap_or_default();
    let user = text("userName");
    if user.is_empty() {
        return Err(ArmError::bad_request("The property 'userName' is required."));
    }
    if FORBIDDEN_USERS.contains(&user.to_ascii_lowercase().as_str()) {
        return Err(ArmError::new(400, "InvalidParameter", "The Admin Username specified is not allowed."));
    }
    if properties["isAuthenticationWithSshKey"].as_bool() == Some(true) {
        if os == OsType::Windows {
            return Err(ArmError::bad_request("A Windows virtual machine takes no SSH key."));
        }
        if !text("sshKey").starts_with("ssh-") && !text("sshKey").starts_with("ecdsa-") {
            return Err(ArmError::bad_request("The property 'sshKey' must be an SSH public key."));
        }
        return Ok(());
    }
    let password = text("password");
    if let Some(secret) = password.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
        // A reference to a secret that the calling user would have in the lab's Key Vault.
        return Err(ArmError::bad_request(format!(
            "The secret '{secret}' was not found in the lab's key vault for the calling user."
        )));
    }
    check_password(password, os)
}

fn check_password(password: &str, os: OsType) -> Result<(), ArmError> {
    let lengths = match os {
        OsType::Windows => WINDOWS_PASSWORD,
        OsType::Linux => LINUX_PASSWORD,
    };
    let classes: [fn(char) -> bool; 4] =
        [|c| c.is_lowercase(), |c| c.is_uppercase(), |c| c.is_ascii_digit(), |c| !c.is_alphanumeric()];
    let met = classes.iter().filter(|class| password.chars().any(class)).count();
    if !lengths.contains(&password.chars().count()) || met < 3 {
        return Err(ArmError::new(
            400,
            "InvalidParameter",
            format!(
                "The supplied password must be between {}-{} characters long and must satisfy at least 3 of password complexity requirements from the following: 1) Contains an uppercase character 2) Contains a lowercase character 3) Contains a numeric digit 4) Contains a special character 5) Control characters are not allowed",
                lengths.start(),
                lengths.end()
            ),
        ));
    }
    if FORBIDDEN_PASSWORDS.iter().any(|bad| bad.eq_ignore_ascii_case(password)) {
        return Err(ArmError::new(400, "InvalidParameter", "The specified password is not allowed."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_follow_the_rules_of_their_os() {
        let long = "a".repeat(64);
        for (name, os, good) in [
            ("vm-2016", OsType::Windows, true),
            ("abcdefghijklmnop", OsType::Windows, false),
            (&long, OsType::Linux, true),
            ("2016", OsType::Windows, false),
            ("-vm", OsType::Linux, false),
            ("vm_1", OsType::Linux, false),
            ("", OsType::Linux, false),
        ] {
            assert_eq!(check_name(name, os).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn weak_passwords_and_reserved_users_are_refused() {
        let login = |user: &str, password: &str| {
            check_login(&json!({"userName": user, "password": password}), OsType::Windows)
        };
        assert!(login("factoryadmin", "Lx7-ququ.kkt").is_ok());
        for (user, password) in [
            ("admin", "Lx7-ququ.kkt"),
            ("", "Lx7-ququ.kkt"),
            ("factoryadmin", "short1A"),
            ("factoryadmin", "onlylowercase"),
            ("factoryadmin", "P@ssw0rd"),
            ("factoryadmin", "[[adminPassword]]"),
            ("factoryadmin", ""),
        ] {
            assert!(login(user, password).is_err(), "{user} {password}");
        }
    }

    #[test]
    fn an_ssh_key_takes_the_place_of_a_linux_password() {
        let body =
            json!({"userName": "factory", "isAuthenticationWithSshKey": true, "sshKey": "ssh-rsa AAAA"});
        assert!(check_login(&body, OsType::Linux).is_ok());
        assert!(check_login(&body, OsType::Windows).is_err());
    }
}

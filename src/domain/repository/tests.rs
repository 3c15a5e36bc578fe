use hostile_bytes::{Attack, Grammar};

use super::*;

/// Its address in the usual form, over HTTPS.
fn usual(text: &str) -> Result<String, BadRepository> {
    Ok(match Repository::parse(text)? {
        Repository::GitHub { host, owner, name } => format!("https://{host}/{owner}/{name}"),
        Repository::AzureDevOps { organization, project, name } => {
            format!("{organization}/{project}/_git/{name}")
        }
    })
}

#[test]
fn addresses_are_read_as_browsers_and_pages_for_cloning_show_them() {
    for (text, expected) in [
        ("https://github.com/Octo-Org/Images", "https://github.com/Octo-Org/Images"),
        ("https://GitHub.com/octo/images.git", "https://github.com/octo/images"),
        (" https://www.github.com/octo/images/ ", "https://github.com/octo/images"),
        ("https://github.com/octo/images?tab=readme", "https://github.com/octo/images"),
        ("git@github.com:octo/images.git", "https://github.com/octo/images"),
        ("ssh://git@github.com/octo/images.git", "https://github.com/octo/images"),
        ("ssh://git@ssh.github.com:443/octo/images.git", "https://github.com/octo/images"),
        ("https://git.example.org/octo/images", "https://git.example.org/octo/images"),
        ("https://git.example.org:8443/octo/images", "https://git.example.org:8443/octo/images"),
        ("git@git.example.org:octo/images.git", "https://git.example.org/octo/images"),
        ("http://127.0.0.1:7000/octo/images", "https://127.0.0.1:7000/octo/images"),
        ("https://dev.azure.com/Org/Project/_git/Repo", "https://dev.azure.com/Org/Project/_git/Repo"),
        (
            "https://org@dev.azure.com/org/My%20Project/_git/repo?version=GBmain",
            "https://dev.azure.com/org/My Project/_git/repo",
        ),
        ("https://dev.azure.com/org/_git/repo", "https://dev.azure.com/org/repo/_git/repo"),
        ("https://org.visualstudio.com/_git/repo", "https://dev.azure.com/org/repo/_git/repo"),
        (
            "https://org.visualstudio.com/defaultcollection/p/_git/repo",
            "https://dev.azure.com/org/p/_git/repo",
        ),
        ("git@ssh.dev.azure.com:v3/org/My%20Project/repo", "https://dev.azure.com/org/My Project/_git/repo"),
        ("ssh://git@ssh.dev.azure.com/v3/org/p/repo", "https://dev.azure.com/org/p/_git/repo"),
        ("org@vs-ssh.visualstudio.com:v3/org/p/repo", "https://dev.azure.com/org/p/_git/repo"),
        ("https://tfs.example.org/tfs/Main/p/_git/repo", "https://tfs.example.org/tfs/Main/p/_git/repo"),
        ("http://localhost:7000/org/p/_git/repo", "http://localhost:7000/org/p/_git/repo"),
    ] {
        assert_eq!(usual(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_repositorys_address_is_refused() {
    for text in [
        "",
        "images",
        "octo/images",
        "C:\\images",
        "/srv/git/images",
        "file:///srv/git/images",
        "git@github.com",
        "git@github.com:octo",
        "git@github.com:octo/images/tree",
        "git@git%20hub.com:octo/images",
        "git@git\u{fffd}hub.com:octo/images",
        "git@127.1:octo/images",
        "http://github.com/octo/images",
        "git://github.com/octo/images",
        "https://github.com/octo",
        "https://github.com/octo/images/tree/main",
        "https://github.com/<owner>/<repository>",
        "https://github.com/octo/.git",
        "https://github.com/octo/%2E%2E%2Fimages",
        "https://github.com/octo/_git/images",
        "https://github.com:8443/octo/images",
        "https://dev.azure.com/<organization>/<project>/_git/<repository>",
        "https://dev.azure.com/org/project/repo",
        "https://dev.azure.com/org/repo",
        "https://dev.azure.com/org/project/_git",
        "https://dev.azure.com/_git/repo",
        "https://dev.azure.com/org/x/project/_git/repo",
        "https://dev.azure.com/org//_git/repo",
        "https://dev.azure.com/org/a%2Fb/_git/repo",
        "https://a.b.visualstudio.com/p/_git/repo",
        "https://org.visualstudio.com/p/repo",
        "git@ssh.dev.azure.com:org/p/repo",
        "git@ssh.dev.azure.com:org/repo",
        "http://tfs.example.org/tfs/Main/p/_git/repo",
    ] {
        assert_eq!(Repository::parse(text), Err(BadRepository::Unknown), "{text}");
    }
}

#[test]
fn a_password_in_an_address_is_told_of_and_not_repeated() {
    for text in [
        "https://x:t0ken@github.com/octo/images",
        "https://t0ken@github.com/octo/images",
        "https://org:t0ken@dev.azure.com/org/p/_git/repo",
        "ssh://git:t0ken@github.com/octo/images",
    ] {
        let refusal = Repository::parse(text).unwrap_err();
        assert_eq!(refusal, BadRepository::Password, "{text}");
        assert!(!refusal.to_string().contains("t0ken"));
    }
}

#[test]
fn the_same_repository_is_known_in_every_spelling_and_another_is_not() {
    let same =
        |one: &str, other: &str| Repository::parse(one).unwrap().is(&Repository::parse(other).unwrap());
    assert!(same("https://github.com/Octo/Images", "git@github.com:octo/images.git"));
    assert!(same(
        "https://dev.azure.com/Org/My%20P/_git/Repo",
        "https://org.visualstudio.com/my%20p/_git/repo"
    ));
    assert!(same("https://dev.azure.com/org/p/_git/repo", "git@ssh.dev.azure.com:v3/org/p/repo"));
    for other in ["https://github.com/octo/image", "https://git.example.org/octo/images"] {
        assert!(!same("https://github.com/octo/images", other), "{other}");
    }
    for other in [
        "https://dev.azure.com/org/q/_git/repo",
        "https://dev.azure.com/org2/p/_git/repo",
        "https://dev.azure.com.evil.example/org/p/_git/repo",
        "https://github.com/p/repo",
    ] {
        assert!(!same("https://dev.azure.com/org/p/_git/repo", other), "{other}");
    }
}

#[test]
fn people_read_a_short_name() {
    for (text, shown) in [
        ("https://github.com/octo/images", "octo/images"),
        ("https://git.example.org/octo/images", "git.example.org/octo/images"),
        ("https://dev.azure.com/org/p/_git/repo", "org/p/_git/repo"),
        ("https://tfs.example.org/tfs/Main/p/_git/repo", "tfs.example.org/tfs/Main/p/_git/repo"),
    ] {
        assert_eq!(Repository::parse(text).unwrap().to_string(), shown);
    }
}

#[test]
fn no_text_breaks_the_reader_of_addresses() {
    let samples = [
        "https://github.com/octo/images.git",
        "git@github.com:octo/images.git",
        "https://org@dev.azure.com/org/My%20Project/_git/repo?version=GBmain",
        "org@vs-ssh.visualstudio.com:v3/org/p/repo",
        "https://org.visualstudio.com/DefaultCollection/p/_git/repo",
        "http://[::1]:7000/tfs/Main/p/_git/repo",
    ];
    let words = ["_git", "%2F", "..", "@", "://", ":", "visualstudio.com", "github.com", "v3/"];
    Attack::on("addresses of repositories", Grammar::Text).samples(samples).words(words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = Repository::parse(&text).map_err(|refusal| refusal.to_string())?;
        assert!(read.is(&read) && !read.to_string().is_empty());
        match &read {
            Repository::GitHub { host, owner, name } => {
                let again = Repository::parse(&format!("https://{host}/{owner}/{name}"));
                assert!(again.as_ref().is_ok_and(|again| again.is(&read)), "{read:?}: {again:?}");
            }
            // No name leads to another place of the host.
            Repository::AzureDevOps { organization, project, name } => {
                assert!(organization.username().is_empty() && organization.password().is_none());
                assert!([project, name].iter().all(|name| !name.contains(['/', '\\']) && *name != ".."));
            }
        }
        Ok(())
    });
}

//! The laws by which stories are judged, by name.

use std::fmt;

macro_rules! laws {
    ($($(#[$doc:meta])* $law:ident = $name:literal, $unit:literal;)*) => {
        /// What must hold in every story.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Law {
            $($(#[$doc])* $law,)*
        }

        impl Law {
            /// All laws.
            pub const ALL: &[Self] = &[$(Self::$law),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$law => $name),* }
            }

            /// What is judged by it.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$law => $unit),* }
            }
        }
    };
}

laws! {
    /// What is deleted of a lab's images is the factory's, not pinned, not in use, and not the last good one of its path.
    Retirement = "retirement", "deletions of images";
    /// Only VMs with the factory's tags are deleted, and none with `FactoryIgnore`.
    Ownership = "ownership", "deletions of VMs";
    /// Calls stay within Resource Manager's token buckets.
    Budget = "budget", "calls";
    /// No operation is asked about more than 15 times a minute, no VHD more than 30 times.
    Polls = "polls", "looks at operations";
    /// Every run ends, and if it failed, it says why.
    EveryRunEnds = "every run ends", "runs";
    /// What is reported to stand does stand; what is reported as failed does not, and has a reason.
    LostImage = "lost image", "images in labs";
    /// Never two images of one run and path in a lab.
    Twins = "twins", "custom images";
    /// What is made from the same is built once, unless somebody wants another one.
    BuiltOnce = "built once", "builds";
    /// Nothing of ours is left behind.
    Leftovers = "leftovers", "stories";
    /// No token, signature, key or password in a log line, a message or a document.
    Secrets = "secrets", "texts";
    /// The images in every lab are those of the same story without faults, but for what was reported or done by others.
    SameEnd = "same end", "images in labs";
    /// A message that comes once more after the end changes nothing.
    Idempotence = "idempotence", "messages";
    /// There are no dead letters.
    DeadLetters = "dead letters", "queues";
    /// Where only crashes and copies happen, no image fails.
    NeedlessFailure = "needless failure", "runs";
    /// The story can be told at all.
    Tellable = "tellable", "stories";
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: Law,
    /// By what.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law.name(), self.what)
    }
}

/// Several, in one line.
pub fn list(broken: &[Broken]) -> String {
    broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

//! What can go wrong, each by its name and rate.

use std::{collections::BTreeMap, fmt, str::FromStr};

use azure_sim::chaos::Chance;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Of Azure.
    Azure(Chance),
    /// Of the Functions host, Service Bus, the network to it, or the handler's own process.
    Host(HostFault),
}

macro_rules! host_faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal, $rate:literal;)*) => {
        /// A kind of fault of what lies around Azure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum HostFault {
            $($(#[$doc])* $fault,)*
        }

        impl HostFault {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// Its name in `--faults`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name),* }
            }

            fn usual_rate(self) -> f64 {
                match self { $(Self::$fault => $rate),* }
            }
        }
    };
}

host_faults! {
    /// The handler dies before a call to Azure or Service Bus leaves it; at each such point.
    CrashBefore = "crash-before", 0.004;
    /// The handler dies after a call had its effect, before it knows the answer; at each such point.
    CrashAfter = "crash-after", 0.004;
    /// A death takes the whole instance with it: nobody gives its messages back, their locks run out; at each death.
    HostGone = "host-gone", 0.3;
    /// A message is delivered twice at the same time; at each delivery.
    Duplicate = "duplicate", 0.03;
    /// A copy of a message comes up to half an hour later, beyond duplicate detection's window; at each delivery.
    LateDuplicate = "late-duplicate", 0.03;
    /// A delivery waits up to ten minutes, so that messages overtake each other and locks run out; at each delivery.
    Delay = "delay", 0.05;
    /// A message that Service Bus accepted never comes; at each message sent.
    LostMessage = "lost-message", 0.01;
    /// Service Bus does not take a message; at each message sent.
    SendFails = "send-fails", 0.01;
    /// Service Bus takes a message, but its answer is lost; at each message sent.
    SendUncertain = "send-uncertain", 0.01;
    /// Service Bus restarts: every lock ends; each hour.
    BrokerRestart = "broker-restart", 0.1;
    /// An instance's clock is wrong by up to ten minutes; at each instance.
    ClockSkew = "clock-skew", 0.5;
    /// The timer does not fire; at each tick.
    TimerMissed = "timer-missed", 0.1;
    /// The timer fires twice, on two instances at the same time; at each tick.
    TimerDoubled = "timer-doubled", 0.1;
}

impl Fault {
    /// All kinds, Azure's first.
    pub fn all() -> impl Iterator<Item = Self> {
        let azure = Chance::ALL.into_iter().map(Self::Azure);
        azure.chain(HostFault::ALL.iter().copied().map(Self::Host))
    }

    /// Its name in `--faults`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Azure(chance) => chance.name(),
            Self::Host(fault) => fault.name(),
        }
    }

    fn usual_rate(self) -> f64 {
        match self {
            Self::Azure(chance) => chance.usual_rate(),
            Self::Host(fault) => fault.usual_rate(),
        }
    }
}

/// How often each kind strikes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultRates(BTreeMap<Fault, f64>);

impl FaultRates {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything, at its usual rate.
    pub fn all() -> Self {
        Self(Fault::all().map(|fault| (fault, fault.usual_rate())).collect())
    }

    /// How often a kind strikes, 0 to 1.
    pub fn of(&self, fault: HostFault) -> f64 {
        self.0.get(&Fault::Host(fault)).copied().unwrap_or_default()
    }

    /// The rates of Azure's kinds.
    pub fn azure(&self) -> BTreeMap<Chance, f64> {
        let azure = |(fault, rate): (&Fault, &f64)| match fault {
            Fault::Azure(chance) => Some((*chance, *rate)),
            Fault::Host(_) => None,
        };
        self.0.iter().filter_map(azure).collect()
    }

    /// The kinds that may strike.
    pub fn active(&self) -> impl Iterator<Item = Fault> {
        self.0.iter().filter(|(_, rate)| **rate > 0.0).map(|(fault, _)| *fault)
    }

    /// The same without one kind.
    pub fn without(&self, fault: Fault) -> Self {
        let mut rates = self.clone();
        rates.0.remove(&fault);
        rates
    }
}

impl fmt::Display for FaultRates {
    /// As `--faults` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return f.write_str("all");
        }
        let named: Vec<String> =
            self.active().map(|fault| format!("{}={}", fault.name(), self.0[&fault])).collect();
        f.write_str(if named.is_empty() { "none" } else { "" })?;
        f.write_str(&named.join(","))
    }
}

/// A text of `--faults` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadFaults {
    /// No kind has this name.
    #[error("there is no fault '{name}'{hint}; the kinds are: {all}")]
    UnknownName {
        /// What was given.
        name: String,
        /// The nearest known name, as a question.
        hint: String,
        /// All names.
        all: String,
    },
    /// A rate is a number from 0 to 1.
    #[error(
        "'{0}' is no fault with its rate: write NAME=RATE with a rate from 0 to 1, such as reset-after=0.05"
    )]
    Rate(String),
}

impl FromStr for FaultRates {
    type Err = BadFaults;

    /// `none`, `all`, or names with rates, separated by commas, on top of what stands before them: `all,delay=0`.
    fn from_str(text: &str) -> Result<Self, BadFaults> {
        let mut rates = Self::none();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "none" => rates = Self::none(),
                "all" => rates = Self::all(),
                _ => {
                    let (name, rate) = part.split_once('=').unwrap_or((part, ""));
                    let fault =
                        Fault::all().find(|fault| fault.name() == name).ok_or_else(|| unknown(name))?;
                    let rate = match rate {
                        "" if !part.contains('=') => fault.usual_rate(),
                        rate => rate.parse().map_err(|_| BadFaults::Rate(part.to_owned()))?,
                    };
                    if !(0.0..=1.0).contains(&rate) {
                        return Err(BadFaults::Rate(part.to_owned()));
                    }
                    rates.0.insert(fault, rate);
                }
            }
        }
        Ok(rates)
    }
}

fn unknown(name: &str) -> BadFaults {
    let names: Vec<&str> = Fault::all().map(Fault::name).collect();
    let nearest = names.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let hint = nearest.map(|nearest| format!(" (do you mean '{nearest}'?)")).unwrap_or_default();
    BadFaults::UnknownName { name: name.to_owned(), hint, all: names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_shown() {
        for text in ["none", "all", "reset-after=0.5,delay=0.25"] {
            let rates: FaultRates = text.parse().unwrap();
            assert_eq!(rates.to_string(), text);
        }
        let but: FaultRates = "all,delay=0".parse().unwrap();
        assert_eq!(but.active().count(), Fault::all().count() - 1);
        assert_eq!("duplicate".parse::<FaultRates>().unwrap().of(HostFault::Duplicate), 0.03);
    }

    #[test]
    fn a_name_that_is_no_fault_is_answered_with_the_nearest_one() {
        let error = "reset-aftr=0.5".parse::<FaultRates>().unwrap_err().to_string();
        assert!(error.contains("do you mean 'reset-after'?"), "{error}");
        for text in ["delay=2", "delay=-1", "delay=x", "delay="] {
            assert!(matches!(text.parse::<FaultRates>(), Err(BadFaults::Rate(_))), "{text}");
        }
    }
}

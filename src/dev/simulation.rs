//! Fault simulation: whole factories in one process under virtual time, drawn from a seed, in which everything that may go
//! wrong does, and which are judged by laws.
//!
//! A seed is a whole story: the configuration, what stood in the labs before, what people do meanwhile, how long Azure takes,
//! and what fails. The same seed is the same story, event by event.
//!
//! | file | what it is about |
//! |---|---|
//! | [`faults`] | what can go wrong, each by its name and rate |
//! | [`dice`] | draws that depend on the seed and the subject alone |
//! | [`scenario`] | the story that a seed tells |
//! | [`host`] | a Functions host that is unkind: late, double and lost messages, instances that die |
//! | [`wires`] | the way from an instance to Azure and Service Bus: numbered I/O points, where instances die |
//! | [`law`] | the laws, by name |
//! | [`watch`] | the laws that are judged at every call |
//! | [`laws`] | the laws that are judged at the end |
//! | [`story`] | one story from its beginning to its judgement |
//! | [`shrink`] | the smallest story that still breaks a law |
//! | [`exhaustive`] | one run, with a crash at every I/O point and a copy of every message |
//! | [`seeds`] | many stories, on all cores, and what they showed |

mod dice;
pub mod exhaustive;
pub mod faults;
mod host;
pub mod law;
mod laws;
pub mod scenario;
pub mod seeds;
mod shrink;
pub mod story;
mod watch;
mod wires;

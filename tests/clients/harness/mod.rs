//! What every suite of judges needs: their tools, simulated Azure as a process, and a verdict.

mod azure;
mod suite;
pub mod tools;
mod verdict;

pub use azure::Azure;
pub use suite::Suite;

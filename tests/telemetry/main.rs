//! What leaves the program over OTLP is judged by a collector's own decoder: traces, metrics, and the log beside them.

mod collector;
mod log;
mod loopback;
mod metrics;
mod names;
mod process;
mod told;
mod traces;

//! Requests to `$management`.

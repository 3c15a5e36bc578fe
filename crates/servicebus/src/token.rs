//! Tokens for `$cbs`.

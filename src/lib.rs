//! The image factory.

//! The `image-factory` program.

fn main() {}

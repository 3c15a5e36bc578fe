#!/bin/sh
# Builds the program for Azure and packs it with host.json and the functions; prints the path of the package.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# A binary needs the C library of the machine that built it, or a newer one. cargo-zigbuild builds for an old one.
if cargo zigbuild --version >/dev/null 2>&1; then
  cargo zigbuild --package image-factory --release --locked --no-default-features --target x86_64-unknown-linux-gnu.2.28 >&2
  binary=$target/x86_64-unknown-linux-gnu/release/image-factory
else
  cargo build --package image-factory --release --locked --no-default-features >&2
  binary=$target/release/image-factory
fi

folder=$target/package
rm -rf "$folder" "$folder.zip"
mkdir -p "$folder"
cp host.json "$binary" "$folder/"
cp -R functions/. "$folder/"
# Elastic Premium starts the program as it is in the package: its mode must let it.
chmod 755 "$folder/image-factory"
(cd "$folder" && zip --quiet --recurse-paths --symlinks ../package.zip .)
printf '%s\n' "$folder.zip"

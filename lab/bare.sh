#!/usr/bin/env bash
# Builds the Dockerfile's image on a bare machine and starts a kernel in it: a root made of Debian's packages, this machine's Rust, an
# unprivileged user, nothing in any cache. It downloads and compiles what a new user does, so it takes as long as a first start.
#
# usage, as root on Debian or Ubuntu with mmdebstrap and buildah:   lab/bare.sh
#
# What is built is the last commit. CANDLE_LENS_BARE=keep leaves the images `candle-lens-bare` and `candle-lens` (4 GB) in buildah's store.
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=candle-lens-bare IMAGE=candle-lens
work=$(mktemp -d)
finish() {
  rm -rf "$work"
  [ "${CANDLE_LENS_BARE:-}" = keep ] || buildah rmi --force "$IMAGE" "$BASE" >/dev/null 2>&1 || true
}
trap finish EXIT

say() { printf '\n==> %s (%s)\n' "$1" "$(date +%H:%M:%S)"; }
for tool in mmdebstrap buildah rustup git; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install mmdebstrap buildah git, and https://rustup.rs" >&2; exit 1; }
done

say "A root of Debian's packages, with what the image rust:1.95-bookworm has of them that we need"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev,procps bookworm "$work/root.tar"

say "This machine's Rust in it, without documentation and the standard library's sources"
toolchain=$(dirname "$(dirname "$(rustup which rustc)")")
mkdir -p "$work/rust/rustup/toolchains" "$work/rust/cargo/bin" "$work/certificates"
cp -aL "$toolchain" "$work/rust/rustup/toolchains/$(basename "$toolchain")"
rm -rf "$work"/rust/rustup/toolchains/*/share/doc
cp -a "$(dirname "$(command -v rustup)")"/{rustup,cargo,rustc} "$work/rust/cargo/bin/"
# Certificates that this machine trusts besides Debian's, such as a proxy's.
cp /usr/local/share/ca-certificates/*.crt "$work/certificates/" 2>/dev/null || true
base=$(buildah from scratch)
buildah add --quiet "$base" "$work/root.tar" / >/dev/null
buildah copy --quiet "$base" "$work/rust" /usr/local >/dev/null
buildah copy --quiet "$base" "$work/certificates" /usr/local/share/ca-certificates >/dev/null
buildah config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
  --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
buildah run --isolation chroot "$base" sh -c "update-ca-certificates >/dev/null 2>&1
  rustup default $(basename "$toolchain") && rustup component remove rust-src || true; chmod -R a+w /usr/local/rustup /usr/local/cargo; rustc --version"
buildah commit --quiet --rm "$base" "$BASE" >/dev/null
rm -rf "$work/rust" "$work/root.tar"

say "The Dockerfile's steps, on it"
git archive --prefix=clone/ HEAD | tar -x -C "$work"
start=$SECONDS
buildah build --isolation chroot --from "$BASE" --tag "$IMAGE" "$work/clone"
say "Built in $((SECONDS - start)) s"

say "A kernel and the first notebook in the image, as its user"
container=$(buildah from --pull-never "$IMAGE")
trap 'buildah rm "$container" >/dev/null; finish' EXIT
buildah run --isolation chroot "$container" sh -c 'id -un; du -sh .lab ~/.cache/candle-lens target; cargo lab doctor'
buildah run --isolation chroot "$container" cargo lab run --no-html notebooks/01_ioi_logit_attribution.ipynb

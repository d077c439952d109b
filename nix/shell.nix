# What one needs at the desk: the toolchain of rust-toolchain.toml by rustup, and what the tests start.
{ mkShell, rustup, gcc, perl, gnumake, iproute2, util-linux, valgrind, jre_headless, maven, openssl, python3, dpkg, rpm
, prometheus, kubernetes-helm, nix }:

mkShell {
  packages = [
    rustup
    gcc
    perl
    gnumake
    iproute2
    util-linux
    valgrind
    jre_headless
    maven
    openssl
    python3
    dpkg
    rpm
    prometheus.cli
    kubernetes-helm
    nix
  ];
}

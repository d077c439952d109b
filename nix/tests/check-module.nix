# The tests of the module with nixpkgs' own lib, and the file that they make read by the daemon.
{ lib, runCommand, sockeye, writeText }:

let
  tests = import ./module.nix { inherit lib; };
  example = writeText "sockeye.toml" tests.example;
in
assert lib.assertMsg (tests.failures == [ ]) "failed: ${toString tests.failures}";
runCommand "sockeye-module" { } ''
  ${sockeye}/bin/sockeye run --print-config --config ${example} > $out
''

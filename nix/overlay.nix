# pkgs.sockeye
final: _: {
  sockeye = final.callPackage ./package.nix { };
}

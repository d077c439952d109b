{
  description = "Sockeye: an eye on every socket";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      each = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ];
      packagesOf = system: nixpkgs.legacyPackages.${system}.extend self.overlays.default;
    in
    {
      overlays.default = import ./nix/overlay.nix;

      packages = each (system: rec {
        inherit (packagesOf system) sockeye;
        default = sockeye;
      });

      devShells = each (system: {
        default = (packagesOf system).callPackage ./nix/shell.nix { };
      });

      nixosModules = rec {
        sockeye = {
          imports = [ ./nix/module.nix ];
          nixpkgs.overlays = [ self.overlays.default ];
        };
        default = sockeye;
      };

      # `nix flake check` builds the package, evaluates the module, and starts the machine of the test.
      checks = each (system:
        let pkgs = packagesOf system;
        in {
          inherit (pkgs) sockeye;
          module = pkgs.callPackage ./nix/tests/check-module.nix { };
          machine = pkgs.testers.runNixOSTest (import ./nix/tests/machine.nix { module = self.nixosModules.default; });
        });

      formatter = each (system: nixpkgs.legacyPackages.${system}.nixpkgs-fmt);
    };
}

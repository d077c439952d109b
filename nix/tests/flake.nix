# Tests of flake.nix with stand-ins for its inputs: `nix-instantiate --eval --strict --json nix/tests/flake.nix`.
#
# What is built is not evaluated, but every name and every argument is.
let
  lib = import ./find-lib.nix;
  flake = import ../../flake.nix;

  derivation = name: { type = "derivation"; inherit name; outPath = "/nix/store/eeee-${name}"; };
  # Arguments of a file come from here, as with callPackage; one that nobody knows is an error.
  callPackage = pkgs: file: overrides:
    let function = if builtins.isFunction file then file else import file;
    in function (builtins.mapAttrs (name: _: pkgs.${name}) (builtins.functionArgs function) // overrides);
  pkgs = {
    lib = lib // {
      cleanSource = path: path;
      importTOML = path: builtins.fromTOML (builtins.readFile path);
      licenses.asl20 = "Apache-2.0";
      platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
      optionalString = condition: text: if condition then text else "";
      assertMsg = condition: _: condition;
    };
    stdenv = { buildPlatform.canExecute = _: true; hostPlatform = { }; };
    rustPlatform.buildRustPackage = arguments: derivation arguments.pname // { inherit arguments; };
    mkShell = arguments: derivation "shell" // arguments;
    runCommand = name: _: _: derivation name;
    writeText = name: _: derivation name;
    testers.runNixOSTest = test: derivation test.name // { inherit test; };
    prometheus.cli = derivation "promtool";
    nixpkgs-fmt = derivation "nixpkgs-fmt";
    extend = overlay: let final = pkgs // overlay final pkgs // { callPackage = callPackage final; }; in final;
  } // lib.genAttrs [
    "rustup" "gcc" "perl" "gnumake" "iproute2" "util-linux" "valgrind" "jre_headless" "maven" "openssl" "python3" "dpkg"
    "rpm" "kubernetes-helm" "nix" "installShellFiles" "apacheKafka" "clickhouse" "coreutils" "netcat-openbsd"
  ] derivation;

  outputs = flake.outputs {
    self = outputs;
    nixpkgs = { inherit lib; legacyPackages = { x86_64-linux = pkgs; aarch64-linux = pkgs; }; };
  };

  x86 = outputs.checks.x86_64-linux;
  package = outputs.packages.x86_64-linux.default.arguments;
  machine = (x86.machine.test.nodes.machine { inherit pkgs; });
  # The machine's module is one that our module takes.
  evaluated = (lib.evalModules {
    modules = [
      ./host.nix
      ../module.nix
      { services.sockeye = machine.services.sockeye // { package = outputs.packages.x86_64-linux.sockeye; }; }
    ];
    specialArgs.pkgs = pkgs;
  }).config;

  tests = {
    both-architectures = builtins.attrNames outputs.packages == [ "aarch64-linux" "x86_64-linux" ];
    the-package-has-the-version-of-the-workspace =
      package.version == (builtins.fromTOML (builtins.readFile ../../Cargo.toml)).workspace.package.version;
    the-package-is-built-with-the-profile =
      builtins.match "-Cprofile-use=.*default.profdata" package.env.RUSTFLAGS != null;
    there-is-a-shell = outputs.devShells.x86_64-linux.default.type == "derivation";
    the-checks-are-there = builtins.attrNames x86 == [ "machine" "module" "sockeye" ];
    the-module-is-evaluated = x86.module.type == "derivation";
    the-machine-has-all-three =
      machine.services ? sockeye && machine.services.apache-kafka.enable && machine.services.clickhouse.enable;
    the-machine-runs-what-the-module-takes = builtins.all (it: it.assertion) evaluated.assertions
      && builtins.match ".*dest = \"kafka:127.0.0.1:9092\"\n.*" evaluated.environment.etc."sockeye/sockeye.toml".text != null;
    the-module-brings-the-overlay = builtins.length outputs.nixosModules.default.nixpkgs.overlays == 1;
  };
in
{
  failures = builtins.filter (name: !tests.${name}) (builtins.attrNames tests);
  count = builtins.length (builtins.attrNames tests);
}

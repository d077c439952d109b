# The daemon, built with the profile at the top of the repository, with its unit, manual pages and completions.
{ lib, stdenv, rustPlatform, installShellFiles, perl }:

rustPlatform.buildRustPackage {
  pname = "sockeye";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;
  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--package" "sockeye" ];

  # OpenSSL is built from source, for the Kafka destination.
  nativeBuildInputs = [ installShellFiles perl ];

  # As `cargo xtask dist` does. With a target, the flags are not for build scripts.
  env.RUSTFLAGS = "-Cprofile-use=${../default.profdata}";

  # Tests need root and namespaces: `cargo xtask ci`.
  doCheck = false;

  postInstall = ''
    install -Dm644 packaging/systemd/sockeye.service -t $out/lib/systemd/system
    substituteInPlace $out/lib/systemd/system/sockeye.service --replace-fail /usr/bin/sockeye $out/bin/sockeye
  '' + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/sockeye man > sockeye.1
    for command in run snapshot decode consume netns doctor check-config completions man; do
      $out/bin/sockeye man $command > sockeye-$command.1
    done
    installManPage sockeye*.1
    for shell in bash fish zsh; do
      $out/bin/sockeye completions $shell > sockeye.$shell
    done
    installShellCompletion sockeye.{bash,fish,zsh}
  '';

  meta = {
    description = "An eye on every socket: ships every TCP socket of every network namespace as rows";
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
    mainProgram = "sockeye";
  };
}

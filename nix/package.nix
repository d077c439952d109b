# The daemon, built with the profile at the top of the repository.
{ lib, rustPlatform, perl }:

rustPlatform.buildRustPackage {
  pname = "sockeye";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;
  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--package" "sockeye" ];

  # OpenSSL is built from source, for the Kafka destination.
  nativeBuildInputs = [ perl ];

  # As `cargo xtask dist` does. With a target, the flags are not for build scripts.
  env.RUSTFLAGS = "-Cprofile-use=${../default.profdata}";

  # Tests need root and namespaces: `cargo xtask ci`.
  doCheck = false;

  meta = {
    description = "An eye on every socket: ships every TCP socket of every network namespace as rows";
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
    mainProgram = "sockeye";
  };
}

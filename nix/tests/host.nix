# The options of NixOS that the module sets, and nothing behind them.
{ lib, ... }:

let
  inherit (lib) mkOption types;
  of = type: default: mkOption { inherit type default; description = "As in NixOS."; };
in
{
  options = {
    assertions = of (types.listOf types.anything) [ ];
    boot.kernelModules = of (types.listOf types.str) [ ];
    environment.etc = of (types.attrsOf types.anything) { };
    environment.systemPackages = of (types.listOf types.anything) [ ];
    systemd.services = of (types.attrsOf types.anything) { };
  };
}

# services.sockeye: the daemon on NixOS, with the unit of packaging/systemd and a typed option for every key of its file.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkEnableOption mkIf mkOption types;

  cfg = config.services.sockeye;
  options = import ./options.nix { inherit lib; };
  unit = import ./unit.nix ../packaging/systemd/sockeye.service;

  # Files that nobody but the daemon may read: systemd hands them over, whoever owns them.
  secrets = [ "kafka-sasl-password-file" "kafka-tls-key" ];
  credentials = "/run/credentials/sockeye.service";
  handOver = prefix: settings:
    let given = builtins.filter (key: (settings.${key} or null) != null) secrets;
    in {
      load = map (key: "${prefix}${key}:${settings.${key}}") given;
      settings = settings // builtins.listToAttrs
        (map (key: { name = key; value = "${credentials}/${prefix}${key}"; }) given);
    };
  sinks = lib.imap1 (number: handOver "sink-${toString number}-") cfg.settings.sink;
  top = handOver "" (removeAttrs cfg.settings [ "sink" ]);
  load = top.load ++ builtins.concatMap (sink: sink.load) sinks;
  effective = top.settings // { sink = map (sink: sink.settings) sinks; };
  text = import ./toml.nix effective;

  isLive = key: builtins.elem key options.live;
  part = keep: import ./toml.nix
    (lib.filterAttrs (key: _: keep key) top.settings // { sink = if keep "sink" then effective.sink else [ ]; });

  inStore = path: lib.hasPrefix "${builtins.storeDir}/" path;
  secretPaths = map (word: builtins.elemAt (builtins.match "[^:]*:(.*)" word) 0) load;
  names = settings: settings.dest or null != null;
in
{
  options.services.sockeye = {
    enable = mkEnableOption "Sockeye, which ships a row for every TCP socket of every network namespace";

    package = mkOption {
      type = types.package;
      default = pkgs.sockeye or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.sockeye";
      description = "The package with bin/sockeye.";
    };

    settings = mkOption {
      type = types.submodule {
        options = options.top // {
          sink = mkOption {
            type = types.listOf (types.submodule { options = options.sink; });
            default = [ ];
            description = "Destinations that differ in more than their place; what one does not say is as for the others.";
          };
        };
      };
      default = { };
      example = lib.literalExpression ''
        {
          frequency = "30s";
          dest = "kafka:broker-1:9092,broker-2:9092";
          kafka-sasl-mechanism = "scram-sha-512";
          kafka-sasl-username = "sockeye";
          kafka-sasl-password-file = "/run/secrets/sockeye-kafka";
        }
      '';
      description = ''
        The file of `--config`, key by key. The files of `${builtins.concatStringsSep "` and `" secrets}` are handed to the
        daemon by systemd (LoadCredential=): root alone has to be able to read them.
      '';
    };

    readWritePaths = mkOption {
      type = types.listOf (types.strMatching "/.*");
      default = [ ];
      example = [ "/var/log/tcp" ];
      description = ''
        Directories of `file:` destinations that are not below /var/lib/sockeye. The daemon is a dynamic user: give them a
        group, and the group to `extraGroups`.
      '';
    };

    extraGroups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Groups that the daemon's user is in besides its own.";
    };

    memoryMax = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "512M";
      description = "MemoryMax= of the unit; when null, that of packaging/systemd.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = !(names cfg.settings && cfg.settings.sink != [ ]);
        message = "services.sockeye.settings: both dest and sink; choose one of them.";
      }
      {
        assertion = !(builtins.any inStore secretPaths);
        message = "services.sockeye.settings: a secret is in the Nix store, where everybody can read it; name a file outside.";
      }
      {
        assertion = (cfg.settings.kafka-sasl-username == null) == (cfg.settings.kafka-sasl-mechanism == null);
        message = "services.sockeye.settings: kafka-sasl-mechanism and kafka-sasl-username need one another.";
      }
      {
        assertion = (cfg.settings.kafka-tls-cert == null) == (cfg.settings.kafka-tls-key == null);
        message = "services.sockeye.settings: kafka-tls-cert and kafka-tls-key need one another.";
      }
      {
        assertion = cfg.settings.memory-limit == null || cfg.memoryMax != null;
        message = "services.sockeye: memory-limit is set, and memoryMax is not; it has to be as much and the kernel's share.";
      }
    ];

    environment.etc."sockeye/sockeye.toml".text = text;
    environment.systemPackages = [ cfg.package ];

    # A dump is refused while the module is not loaded, and a hardened unit can't load it.
    boot.kernelModules = [ "tcp_diag" ];

    systemd.services.sockeye = {
      description = unit.Unit.Description;
      documentation = lib.toList (unit.Unit.Documentation or [ ]);
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      restartTriggers = [ (part (key: !(isLive key))) ];
      reloadTriggers = [ (part isLive) ];
      unitConfig = removeAttrs unit.Unit [ "Description" "Documentation" "Wants" "After" ];
      # /etc is NixOS's own.
      serviceConfig = removeAttrs unit.Service [ "ConfigurationDirectory" ] // {
        ExecStart = "${cfg.package}/bin/sockeye run --config /etc/sockeye/sockeye.toml";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        LoadCredential = load;
        ReadWritePaths = lib.toList (unit.Service.ReadWritePaths or [ ]) ++ cfg.readWritePaths;
        SupplementaryGroups = lib.toList (unit.Service.SupplementaryGroups or [ ]) ++ cfg.extraGroups;
      } // lib.optionalAttrs (cfg.memoryMax != null) { MemoryMax = cfg.memoryMax; };
    };
  };
}

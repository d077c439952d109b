# Tests of the module by plain evalModules: `nix-instantiate --eval --strict --json nix/tests/module.nix -A failures`.
{ lib ? import ./find-lib.nix }:

let
  package = { type = "derivation"; name = "sockeye"; outPath = "/nix/store/eeee-sockeye"; };

  evaluate = services: (lib.evalModules {
    modules = [ ./host.nix ../module.nix { services.sockeye = { inherit package; } // services; } ];
    specialArgs.pkgs = { sockeye = package; coreutils = "/nix/store/eeee-coreutils"; };
  }).config;

  settings = settings: evaluate { enable = true; inherit settings; };
  textOf = config: config.environment.etc."sockeye/sockeye.toml".text;
  serviceOf = config: config.systemd.services.sockeye;
  isRefused = value: !(builtins.tryEval (builtins.deepSeq value null)).success;
  broken = config: map (it: it.message) (builtins.filter (it: !it.assertion) config.assertions);
  keys = builtins.fromJSON (builtins.readFile ../options.json);

  # One value of every key, as the daemon takes it.
  every = settings (builtins.mapAttrs (_: valueOf) (removeAttrs keys [ "humanize" ]));
  valueOf = entry: {
    boolean = false;
    bytes = "2MiB";
    duration = "1s";
    integer = entry.minimum or 0;
    list = "";
    one-of = builtins.head (entry.values or [ "" ]);
    path = "/tmp";
    text = "";
  }.${entry.kind};

  full = settings {
    frequency = "30s";
    jitter = 10;
    netlinkers = "auto";
    netns-dir = [ "/tmp" ];
    columns = [ "netns" "tcp_info_rtt" ];
    filter = "dport = :443 and not dst 10.0.0.0/8";
    label = "a \"quoted\" \\ label\twith ü";
    io-uring = true;
    queue-bytes = "32MiB";
    sink = [
      { dest = "null"; marshal = "csv"; humanize = false; }
      { dest = "stdout"; columns = "netns"; file-zstd = false; }
    ];
  };

  secret = settings {
    dest = [ "kafka:one:9092" "null" ];
    kafka-sasl-mechanism = "plain";
    kafka-sasl-username = "sockeye";
    kafka-sasl-password-file = "/run/secrets/kafka";
  };
  secretSink = settings {
    sink = [
      { dest = "null"; }
      { dest = "kafka:one:9092"; kafka-tls-cert = "/etc/cert.pem"; kafka-tls-key = "/run/secrets/key"; }
    ];
  };

  unit = import ../unit.nix ./example.service;

  tests = {
    nothing-is-configured-unless-it-is-enabled =
      (evaluate { }).systemd.services == { } && (evaluate { }).environment.etc == { };
    the-default-file-is-empty = textOf (settings { }) == "";
    the-file-has-what-is-set-and-no-more = textOf full == builtins.concatStringsSep "\n" [
      ''columns = ["netns","tcp_info_rtt"]''
      ''filter = "dport = :443 and not dst 10.0.0.0/8"''
      ''frequency = "30s"''
      ''io-uring = true''
      ''jitter = 10''
      ''label = "a \"quoted\" \\ label\twith ü"''
      ''netlinkers = "auto"''
      ''netns-dir = ["/tmp"]''
      ''queue-bytes = "32MiB"''
      ''''
      ''[[sink]]''
      ''dest = "null"''
      ''humanize = false''
      ''marshal = "csv"''
      ''''
      ''[[sink]]''
      ''columns = "netns"''
      ''dest = "stdout"''
      ''file-zstd = false''
      ''''
    ];
    every-key-is-an-option-and-takes-its-kind-of-value =
      builtins.all (key: builtins.match "(.*\n)?${key} = [^\n]+\n.*" (textOf every) != null)
        (builtins.attrNames (removeAttrs keys [ "humanize" ]));
    a-key-that-does-not-exist-is-refused = isRefused (textOf (settings { frequenzy = "1s"; }));
    a-key-that-a-sink-has-not-is-refused = isRefused (textOf (settings { sink = [{ dest = "null"; frequency = "1s"; }]; }));
    a-sink-without-a-destination-is-refused = isRefused (textOf (settings { sink = [{ marshal = "csv"; }]; }));
    wrong-values-are-refused = builtins.all (wrong: isRefused (textOf (settings wrong))) [
      { frequency = 10; }
      { frequency = "10"; }
      { jitter = 101; }
      { jitter = "20"; }
      { netlinkers = 65; }
      { netlinkers = "many"; }
      { marshal = "json"; }
      { queue-bytes = 0; }
      { queue-bytes = "many"; }
      { io-uring = "true"; }
      { spool-dir = "spool"; }
    ];
    a-value-of-a-sink-may-be-a-list = builtins.match ".*kafka-set = [[]\"a=1\",\"b=2\"]\n.*"
      (textOf (settings { sink = [{ dest = "kafka:a:1"; kafka-set = [ "a=1" "b=2" ]; }]; })) != null;

    secrets-are-handed-over-by-systemd =
      (serviceOf secret).serviceConfig.LoadCredential == [ "kafka-sasl-password-file:/run/secrets/kafka" ]
      && builtins.match ".*kafka-sasl-password-file = \"/run/credentials/sockeye.service/kafka-sasl-password-file\"\n.*" (textOf secret) != null
      && broken secret == [ ];
    secrets-of-sinks-as-well =
      (serviceOf secretSink).serviceConfig.LoadCredential == [ "sink-2-kafka-tls-key:/run/secrets/key" ]
      && builtins.match ".*kafka-tls-key = \"/run/credentials/sockeye.service/sink-2-kafka-tls-key\"\n.*" (textOf secretSink) != null;
    a-secret-in-the-store-is-refused =
      builtins.length (broken (settings { kafka-tls-cert = "/etc/c"; kafka-tls-key = "${builtins.storeDir}/eeee-key"; })) == 1;
    a-user-without-a-mechanism-is-refused = builtins.length (broken (settings { kafka-sasl-username = "me"; })) == 1;
    dest-and-sink-together-are-refused =
      builtins.length (broken (settings { dest = "null"; sink = [{ dest = "stdout"; }]; })) == 1;

    the-service-is-the-unit-of-packaging =
      let
        shipped = (import ../unit.nix ../../packaging/systemd/sockeye.service).Service;
        ours = (serviceOf full).serviceConfig;
        own = [ "ConfigurationDirectory" "ExecStart" "ExecReload" "LoadCredential" "ReadWritePaths" "SupplementaryGroups" ];
      in
      removeAttrs ours own == removeAttrs shipped own && ours.ExecStart
        == "/nix/store/eeee-sockeye/bin/sockeye run --config /etc/sockeye/sockeye.toml";
    no-program-is-taken-from-where-nixos-has-none =
      builtins.match ".*(/bin/|/usr/).*" (builtins.replaceStrings [ "/nix/store/eeee-coreutils/bin/" "/nix/store/eeee-sockeye/bin/" ] [ "" "" ]
        (builtins.toJSON (serviceOf full).serviceConfig)) == null;
    a-limit-of-memory-is-known-to-systemd-as-well =
      builtins.length (broken (settings { memory-limit = "512MiB"; })) == 1
      && broken (evaluate { enable = true; settings.memory-limit = "512MiB"; memoryMax = "768M"; }) == [ ];
    memory-and-paths-can-be-said =
      let config = serviceOf (evaluate { enable = true; memoryMax = "300M"; readWritePaths = [ "/var/log/tcp" ]; });
      in config.serviceConfig.MemoryMax == "300M" && builtins.elem "/var/log/tcp" config.serviceConfig.ReadWritePaths;
    a-new-frequency-is-a-reload-and-a-new-destination-a-restart =
      let
        base = serviceOf (settings { frequency = "10s"; dest = "null"; });
        faster = serviceOf (settings { frequency = "5s"; dest = "null"; });
        elsewhere = serviceOf (settings { frequency = "10s"; dest = "stdout"; });
        sink = serviceOf (settings { frequency = "10s"; sink = [{ dest = "null"; }]; });
      in
      base.restartTriggers == faster.restartTriggers && base.reloadTriggers != faster.reloadTriggers
      && base.restartTriggers != elsewhere.restartTriggers && base.reloadTriggers == elsewhere.reloadTriggers
      && base.restartTriggers != sink.restartTriggers;

    a-unit-is-read-as-systemd-reads-it = unit == {
      Unit = { Description = "An example = a test"; };
      Service = {
        Type = "notify";
        CapabilityBoundingSet = [ "" "CAP_SYS_ADMIN" ];
        SystemCallFilter = "@system-service   setns";
      };
    };
  };
in
{
  failures = builtins.filter (name: !tests.${name}) (builtins.attrNames tests);
  count = builtins.length (builtins.attrNames tests);
  # For the daemon to read.
  example = textOf full;
}

# A machine with Kafka, ClickHouse and Sockeye: a socket of another network namespace gets into the table.
{ module }:

{
  name = "sockeye";

  nodes.machine = { pkgs, ... }: {
    imports = [ module ];

    virtualisation.memorySize = 4096;
    virtualisation.diskSize = 8192;

    services.sockeye = {
      enable = true;
      settings = {
        frequency = "2s";
        timeout = "1s";
        dest = "kafka:127.0.0.1:9092";
        spool-dir = "/var/lib/sockeye";
        location = "machine";
      };
    };

    services.apache-kafka = {
      enable = true;
      clusterId = "c29ja2V5ZS1tYWNoaW5lMA";
      formatLogDirs = true;
      settings = {
        "node.id" = 1;
        "process.roles" = [ "broker" "controller" ];
        "listeners" = [ "PLAINTEXT://127.0.0.1:9092" "CONTROLLER://127.0.0.1:9093" ];
        "controller.listener.names" = [ "CONTROLLER" ];
        "controller.quorum.voters" = [ "1@127.0.0.1:9093" ];
        "listener.security.protocol.map" = [ "PLAINTEXT:PLAINTEXT" "CONTROLLER:PLAINTEXT" ];
        "log.dirs" = [ "/var/lib/apache-kafka/logs" ];
        "offsets.topic.replication.factor" = 1;
      };
    };
    systemd.services.apache-kafka.serviceConfig.StateDirectory = "apache-kafka";

    services.clickhouse.enable = true;
    environment.systemPackages = [ pkgs.apacheKafka pkgs.clickhouse pkgs.iproute2 pkgs.netcat-openbsd ];
    environment.etc."sockeye-schema.sql".text =
      builtins.replaceStrings [ "kafka:9092" ] [ "127.0.0.1:9092" ] (builtins.readFile ../../docs/clickhouse/schema.sql);
    environment.etc."sockeye.proto".source = ../../docs/clickhouse/xtcp_flat_record.proto;
  };

  testScript = ''
    machine.wait_for_unit("sockeye.service")
    machine.wait_for_unit("apache-kafka.service")
    machine.wait_for_open_port(9092)
    machine.wait_until_succeeds(
        "kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --create --if-not-exists --topic xtcp --partitions 1"
    )

    machine.wait_for_unit("clickhouse.service")
    machine.succeed("install -D /etc/sockeye.proto /var/lib/clickhouse/format_schemas/xtcp_flat_record.proto")
    machine.wait_until_succeeds("clickhouse-client --multiquery < /etc/sockeye-schema.sql")

    machine.succeed("ip netns add web && ip -n web link set lo up")
    machine.succeed("systemd-run --unit=listener ip netns exec web nc -lk 127.0.0.1 4321")

    def rows(where):
        query = f"SELECT count() FROM sockeye.sockets WHERE location = 'machine' AND {where}"
        return f"test $(clickhouse-client --query \"{query}\") -gt 0"

    machine.wait_until_succeeds(rows("netns = 'web' AND inet_diag_msg_socket_source_port = 4321"), timeout=120)
    machine.wait_until_succeeds(rows("netns = 'default'"), timeout=30)

    # As little as it needs, and no root.
    machine.succeed("test $(systemctl show -P DynamicUser sockeye) = yes")
    machine.fail("ps -o user= -p $(systemctl show -P MainPID sockeye) | grep -qx root")

    # A stopped daemon has delivered everything that it read.
    machine.succeed("systemctl stop sockeye")
    machine.succeed("journalctl -u sockeye | grep -E 'read ([0-9]+) = delivered \\1 \\+ dropped 0'")
  '';
}

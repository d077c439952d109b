"""check.py BOOTSTRAP TOPIC DOCS GRAFANA ROWS FOLDER: rows in ClickHouse are those of ROWS (`sockeye decode`, jsonl)."""

import ipaddress
import json
import math
import sys
from collections import Counter, defaultdict
from datetime import datetime, timezone
from pathlib import Path

from engine import Engine

bootstrap, topic, docs, grafana, rows_path, folder = sys.argv[1:]
ROWS = [json.loads(line) for line in Path(rows_path).read_text().splitlines()]
STATES = {1: "ESTAB", 2: "SYN-SENT", 3: "SYN-RECV", 6: "TIME-WAIT", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 7: "UNCONN", 8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 13: "BOUND-INACTIVE"}
COOKIE = "inet_diag_msg_socket_cookie"
SOURCE, PEER = "inet_diag_msg_socket_source", "inet_diag_msg_socket_destination"
SPORT, DPORT = "inet_diag_msg_socket_source_port", "inet_diag_msg_socket_destination_port"


def v6(text):
    address = ipaddress.ip_address(text)
    if address.version == 4:
        address = ipaddress.IPv6Address(0xFFFF << 32 | int(address))
    return address


def network(row):
    address = v6(row[PEER])
    bits = 120 if address.ipv4_mapped else 48
    return ipaddress.IPv6Network((address, bits), strict=False).network_address


def moment(ns):
    return datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") + f".{ns % 10**9:09}"


def minute(ns):
    return datetime.fromtimestamp(ns // 10**9 // 60 * 60, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def state(row):
    return STATES[row["inet_diag_msg_state"]]


def identity(row):
    return row["hostname"], row["netns_inode"], row[COOKIE]


def sockets(rows=ROWS):
    """The rows of each socket, in the order of time."""
    lives = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["timestamp_ns"]):
        lives[identity(row)].append(row)
    return lives


def exact(values, level):
    """quantileExact."""
    values = sorted(values)
    return values[min(int(level * len(values)), len(values) - 1)]


def grew(life, column):
    values = [row.get(column, 0) for row in life]
    return max(values) - min(values)


def same(found, expected, what):
    assert len(found) == len(expected), f"{what}: {len(found)} rows, not {len(expected)}: {found[:3]} {expected[:3]}"
    for one, other in zip(found, expected):
        for key, value in other.items():
            is_close = isinstance(value, float) and math.isclose(one[key], value, rel_tol=1e-9, abs_tol=1e-9)
            assert one[key] == value or is_close, f"{what}: {key} is {one[key]!r}, not {value!r}: {one}"


def text(address):
    """As ClickHouse prints it."""
    mapped = address.ipv4_mapped
    return f"::ffff:{mapped}" if mapped else str(address)


def check_rows(engine):
    """Every row, in every column: what is absent is 0 or empty."""
    key = ["hostname", "netns_inode", "timestamp_ns", "record_counter"]
    found = engine.run(f"SELECT * FROM sockeye.sockets ORDER BY {', '.join(key)}")
    expected = sorted(ROWS, key=lambda row: [row[name] for name in key])
    assert len(found) == len(expected), f"{len(found)} rows, not {len(expected)}"
    for one, other in zip(found, expected):
        for name, value in one.items():
            known = other.get(name)
            if known is None:
                assert value in (0, "", "::"), f"{name} is {value!r}, and absent in {other}"
            elif name == "timestamp_ns":
                assert value == moment(known), (value, known)
            elif name in (SOURCE, PEER):
                assert value == text(v6(known)), (value, known)
            else:
                assert value == known, f"{name} is {value!r}, not {known!r}"
        assert set(other) <= set(one), set(other) - set(one)
    return len(found)


def check_queries(engine):
    queries = engine.queries()
    assert sorted(queries) == list(range(1, 11)), sorted(queries)
    life = next(life for life in sockets().values() if life[0]["hostname"] == "web-1" and grew(life, "tcp_info_bytes_sent") > 0)
    answers = {n: engine.run(sql.replace("4242", str(life[0][COOKIE]))) for n, sql in queries.items()}
    with_info = [row for row in ROWS if row.get("tcp_info_length", 0) > 0]
    with_rtt = [row for row in ROWS if row.get("tcp_info_rtt", 0) > 0]

    last = {}
    for row in ROWS:
        place = row["hostname"], row["netns_inode"]
        last[place] = max(last.get(place, 0), row["timestamp_ns"])
    now = Counter((row["hostname"], state(row)) for row in ROWS if last[row["hostname"], row["netns_inode"]] == row["timestamp_ns"])
    same(answers[1], [{"hostname": h, "state": s, "sockets": n} for (h, s), n in sorted(now.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))], 1)

    minutes = defaultdict(list)
    for row in ROWS:
        if row["hostname"] == "web-1":
            minutes[minute(row["timestamp_ns"])].append(row)
    same(answers[2], [{"minute": m, "sockets": len({identity(row) for row in rows}), "worst_rtt_ms": max(row.get("tcp_info_rtt", 0) for row in rows) / 1000} for m, rows in sorted(minutes.items())], 2)

    columns = ["tcp_info_rtt", "tcp_info_snd_cwnd", "tcp_info_bytes_sent", "tcp_info_bytes_received", "tcp_info_total_retrans", SPORT, DPORT]
    assert len(life) > 1
    same(answers[3], [{"timestamp_ns": moment(row["timestamp_ns"]), "state": state(row), SOURCE: text(v6(row[SOURCE])), PEER: text(v6(row[PEER])), **{name: row[name] for name in columns}} for row in life], 3)

    networks = defaultdict(list)
    for row in with_rtt:
        networks[text(network(row))].append(row)
    rtts = {net: [row["tcp_info_rtt"] for row in rows] for net, rows in networks.items()}
    expected = [{"peer_network": net, "connections": len({identity(row) for row in networks[net]}), "median_ms": exact(us, 0.5) / 1000, "p99_ms": exact(us, 0.99) / 1000, "worst_ms": max(us) / 1000} for net, us in rtts.items()]
    by = lambda row: (-row["worst_ms"], row["peer_network"])
    same(sorted(answers[4], key=by), sorted(expected, key=by), 4)
    assert [row["worst_ms"] for row in answers[4]] == sorted((row["worst_ms"] for row in answers[4]), reverse=True)
    assert len(answers[4]) > 1

    sums = defaultdict(lambda: [0, 0])
    for rows in sockets([row for row in with_info if state(row) != "LISTEN"]).values():
        net = sums[text(network(rows[0]))]
        net[0] += grew(rows, "tcp_info_segs_out")
        net[1] += grew(rows, "tcp_info_total_retrans")
    expected = [{"peer_network": net, "segments": sent, "retransmits": again, "share": again / sent} for net, (sent, again) in sums.items() if sent]
    by = lambda row: (-row["share"], -row["segments"], row["peer_network"])
    same(sorted(answers[5], key=by), sorted(expected, key=by), 5)
    assert expected

    talkers = []
    for rows in sockets(with_info).values():
        sent, received = grew(rows, "tcp_info_bytes_sent"), grew(rows, "tcp_info_bytes_received")
        if sent + received:
            talkers.append({"hostname": rows[0]["hostname"], "netns": rows[0]["netns"], "source": text(v6(rows[0][SOURCE])), "source_port": rows[0][SPORT], "peer": text(v6(rows[0][PEER])), "peer_port": rows[0][DPORT], "bytes_sent": sent, "bytes_received": received})
    by = lambda row: (-row["bytes_sent"] - row["bytes_received"], row["hostname"], row["source_port"])
    same(sorted(answers[6], key=by), sorted(talkers, key=by), 6)
    assert talkers

    rates = defaultdict(int)
    for rows in sockets(with_info).values():
        before = rows[0].get("tcp_info_bytes_sent", 0)
        for row in rows:
            rates[minute(row["timestamp_ns"]), row["hostname"]] += row.get("tcp_info_bytes_sent", 0) - before
            before = row.get("tcp_info_bytes_sent", 0)
    same(answers[7], [{"minute": m, "hostname": h, "bits_per_second": bytes * 8 / 60} for (m, h), bytes in sorted(rates.items())], 7)

    listeners = []
    for rows in sockets([row for row in ROWS if state(row) == "LISTEN"]).values():
        row = rows[0]
        listeners.append({"hostname": row["hostname"], "netns": row["netns"], "address": text(v6(row[SOURCE])), "port": row[SPORT], "most_waiting": max(row["inet_diag_msg_rqueue"] for row in rows), "backlog": row["inet_diag_msg_wqueue"]})
    by = lambda row: (-row["most_waiting"] / max(row["backlog"], 1), row["hostname"], row["port"], row["address"])
    same(sorted(answers[8], key=by), sorted(listeners, key=by), 8)
    assert answers[8][0]["most_waiting"] == 3, answers[8]

    places = defaultdict(list)
    for row in with_rtt:
        places[row["hostname"], row["netns"]].append(row["tcp_info_rtt"])
    same(answers[9], [{"hostname": h, "netns": n, "rows": len(us), "p50_p90_p99_ms": [exact(us, level) / 1000 for level in (0.5, 0.9, 0.99)]} for (h, n), us in sorted(places.items())], 9)

    algorithms = defaultdict(list)
    for rows in sockets([row for row in ROWS if state(row) == "ESTAB"]).values():
        algorithms[rows[0]["congestion_algorithm_string"]].append([max(row.get(name, 0) for row in rows) for name in ("tcp_info_busy_time", "tcp_info_rwnd_limited", "tcp_info_sndbuf_limited")])
    expected = []
    for name, times in algorithms.items():
        busy, window, buffer = (sum(column) for column in zip(*times))
        expected.append({"algorithm": name, "connections": len(times), "busy_s": busy / 1e6, "peers_window": window / max(busy, 1), "send_buffer": buffer / max(busy, 1)})
    same(answers[10], sorted(expected, key=lambda row: (-row["connections"], row["algorithm"])), 10)
    return len(answers)


def check_grafana(engine):
    """Every query of every dashboard, with what Grafana puts for its macros."""
    ran = 0
    for path in sorted(Path(grafana).glob("*.json")):
        if path.name == "daemon.json":
            # It asks Prometheus.
            continue
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                sql = target["rawSql"].replace("$__timeFilter(timestamp_ns)", "timestamp_ns > now() - INTERVAL 1 HOUR")
                sql = sql.replace("$__timeInterval(timestamp_ns)", "toStartOfInterval(timestamp_ns, INTERVAL 10 second)").replace("$__interval_s", "10")
                sql = sql.replace("${host:singlequote}", "'web-1', 'web-2'")
                assert "$" not in sql, sql
                assert engine.run(sql), f"{path.name}: {panel['title']}: no rows"
                ran += 1
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                hosts = [row["hostname"] for row in engine.run(variable["query"])]
                assert hosts == ["web-1", "web-2"], hosts
    assert ran > 0
    return ran


def check_errors(engine):
    """The messages that are none are where one finds them, and so are those of another schema."""
    found = engine.run("SELECT error, hex(message) AS message, topic FROM sockeye.errors ORDER BY message")
    assert [(row["message"], row["topic"]) for row in found] == [("0568656C6C6F", topic), ("FFFFFF206E6F20656E76656C6F7065", topic)], found
    assert all(row["error"] for row in found), found
    other = engine.run("SELECT schema_version, hostname, sum(rows) AS rows FROM sockeye.other_schemas GROUP BY ALL")
    assert other == [{"schema_version": 2, "hostname": "from-the-future", "rows": 3}], other


engine = Engine(folder, docs)
engine.tables(bootstrap, topic)
engine.wait_for("sockets", len(ROWS))
engine.wait_for("errors", 2)
engine.wait_for("other_schemas", 1)
print(f"{check_rows(engine)} rows are the same")
check_errors(engine)
print(f"{check_queries(engine)} queries answer as they should")
print(f"{check_grafana(engine)} queries of dashboards have answers")

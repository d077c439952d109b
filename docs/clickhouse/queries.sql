-- Ten questions to begin with. web-1 is a host's name and 4242 a socket's cookie: put yours there.

-- 1. Sockets by state, in the last poll of every namespace.
SELECT hostname, state, count() AS sockets
FROM sockeye.sockets
WHERE (hostname, netns_inode, timestamp_ns) IN
(
    SELECT hostname, netns_inode, max(timestamp_ns)
    FROM sockeye.sockets
    WHERE timestamp_ns > now() - INTERVAL 10 MINUTE AND record_kind != 2
    GROUP BY hostname, netns_inode
)
GROUP BY hostname, state
ORDER BY hostname, sockets DESC, state;

-- 2. The history of one host: sockets and the worst round trip time, minute by minute.
SELECT
    toStartOfMinute(timestamp_ns) AS minute,
    uniqExact(netns_inode, inet_diag_msg_socket_cookie) AS sockets,
    max(tcp_info_rtt) / 1000 AS worst_rtt_ms
FROM sockeye.sockets
WHERE hostname = 'web-1' AND timestamp_ns > now() - INTERVAL 1 DAY
GROUP BY minute
ORDER BY minute;

-- 3. The life of one connection, by the cookie of its socket.
SELECT
    timestamp_ns, state, inet_diag_msg_socket_source, inet_diag_msg_socket_source_port, inet_diag_msg_socket_destination,
    inet_diag_msg_socket_destination_port, tcp_info_rtt, tcp_info_snd_cwnd, tcp_info_bytes_sent, tcp_info_bytes_received,
    tcp_info_total_retrans
FROM sockeye.sockets
WHERE hostname = 'web-1' AND inet_diag_msg_socket_cookie = 4242
ORDER BY timestamp_ns;

-- 4. Round trip times by the peer's network, the worst first.
SELECT
    peer_network,
    uniqExact(hostname, netns_inode, inet_diag_msg_socket_cookie) AS connections,
    quantileExact(0.5)(tcp_info_rtt) / 1000 AS median_ms,
    quantileExact(0.99)(tcp_info_rtt) / 1000 AS p99_ms,
    max(tcp_info_rtt) / 1000 AS worst_ms
FROM sockeye.sockets
WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND tcp_info_rtt > 0
GROUP BY peer_network
ORDER BY worst_ms DESC
LIMIT 20;

-- 5. Retransmits by the peer's network, of segments sent in the last hour.
SELECT peer_network, sum(segments) AS segments, sum(retransmits) AS retransmits, retransmits / segments AS share
FROM
(
    SELECT
        peer_network,
        max(tcp_info_segs_out) - min(tcp_info_segs_out) AS segments,
        max(tcp_info_total_retrans) - min(tcp_info_total_retrans) AS retransmits
    FROM sockeye.sockets
    WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND tcp_info_length > 0 AND state != 'LISTEN'
    GROUP BY peer_network, hostname, netns_inode, inet_diag_msg_socket_cookie
)
GROUP BY peer_network
HAVING segments > 0
ORDER BY share DESC, segments DESC
LIMIT 20;

-- 6. Who moved most bytes in the last hour.
SELECT
    hostname, netns, any(inet_diag_msg_socket_source) AS source, any(inet_diag_msg_socket_source_port) AS source_port,
    any(inet_diag_msg_socket_destination) AS peer, any(inet_diag_msg_socket_destination_port) AS peer_port,
    max(tcp_info_bytes_sent) - min(tcp_info_bytes_sent) AS bytes_sent,
    max(tcp_info_bytes_received) - min(tcp_info_bytes_received) AS bytes_received
FROM sockeye.sockets
WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND tcp_info_length > 0
GROUP BY hostname, netns, netns_inode, inet_diag_msg_socket_cookie
HAVING bytes_sent + bytes_received > 0
ORDER BY bytes_sent + bytes_received DESC
LIMIT 20;

-- 7. What each host sent, in bits per second, minute by minute.
SELECT toStartOfMinute(timestamp_ns) AS minute, hostname, sum(bytes) * 8 / 60 AS bits_per_second
FROM
(
    SELECT
        timestamp_ns,
        hostname,
        tcp_info_bytes_sent - lagInFrame(tcp_info_bytes_sent, 1, tcp_info_bytes_sent) OVER
        (
            PARTITION BY hostname, netns_inode, inet_diag_msg_socket_cookie
            ORDER BY timestamp_ns
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS bytes
    FROM sockeye.sockets
    WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND tcp_info_length > 0
)
GROUP BY minute, hostname
ORDER BY minute, hostname;

-- 8. Listeners, the fullest accept backlog first.
SELECT
    hostname, netns, inet_diag_msg_socket_source AS address, inet_diag_msg_socket_source_port AS port,
    max(inet_diag_msg_rqueue) AS most_waiting, any(inet_diag_msg_wqueue) AS backlog
FROM sockeye.sockets
WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND state = 'LISTEN'
GROUP BY hostname, netns, netns_inode, inet_diag_msg_socket_cookie, address, port
ORDER BY most_waiting / greatest(backlog, 1) DESC, hostname, port
LIMIT 20;

-- 9. Percentiles of the round trip time by namespace.
SELECT
    hostname, netns, count() AS rows,
    arrayMap(us -> us / 1000, quantilesExact(0.5, 0.9, 0.99)(tcp_info_rtt)) AS p50_p90_p99_ms
FROM sockeye.sockets
WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND tcp_info_rtt > 0
GROUP BY hostname, netns
ORDER BY hostname, netns;

-- 10. What holds senders back: the share of the time busy sending that they waited for the peer's window or their own buffer.
SELECT
    congestion_algorithm_string AS algorithm,
    count() AS connections,
    sum(busy) / 1e6 AS busy_s,
    sum(window) / greatest(sum(busy), 1) AS peers_window,
    sum(buffer) / greatest(sum(busy), 1) AS send_buffer
FROM
(
    SELECT
        congestion_algorithm_string, max(tcp_info_busy_time) AS busy, max(tcp_info_rwnd_limited) AS window,
        max(tcp_info_sndbuf_limited) AS buffer
    FROM sockeye.sockets
    WHERE timestamp_ns > now() - INTERVAL 1 HOUR AND state = 'ESTAB'
    GROUP BY congestion_algorithm_string, hostname, netns_inode, inet_diag_msg_socket_cookie
)
GROUP BY algorithm
ORDER BY connections DESC, algorithm;

"""ClickHouse's engine in this process, with the documented tables on a topic."""

import importlib.util
import json
import re
import sys
import time
from pathlib import Path

# `import chdb` opens and closes a connection, after which the engine refuses Kafka tables: take what is below it.
sys.path.insert(0, importlib.util.find_spec("chdb").submodule_search_locations[0])
import _chdb  # noqa: E402


class Engine:
    def __init__(self, folder, docs):
        self.docs = Path(docs)
        self.connection = _chdb.connect(f"file:{folder}")

    def run(self, sql):
        """Rows as dicts; what ClickHouse has in 64 bits comes as numbers, too."""
        settings = "output_format_json_quote_64bit_integers = 0"
        asks = re.sub(r"^(\s*--.*\n)*", "", sql).lstrip().upper().startswith(("SELECT", "WITH"))
        result = self.connection.query(sql + (f"\nSETTINGS {settings}" if asks else ""), "JSON")
        text = bytes(result.bytes()).decode()
        return json.loads(text)["data"] if text else []

    def tables(self, bootstrap, topic):
        """The documented statements as they are, but for host, topic and the place of the schema."""
        text = (self.docs / "schema.sql").read_text()
        for old, new in (
            ("'kafka:9092'", f"'{bootstrap}'"),
            ("kafka_topic_list = 'xtcp'", f"kafka_topic_list = '{topic}'"),
            ("'xtcp_flat_record.proto:", f"'{self.docs.resolve()}/xtcp_flat_record.proto:"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        for statement in statements(text):
            self.run(statement)

    def wait_for(self, table, count, seconds=40):
        deadline = time.monotonic() + seconds
        while True:
            [row] = self.run(f"SELECT count() AS n FROM sockeye.{table}")
            if row["n"] >= count:
                return row["n"]
            if time.monotonic() > deadline:
                state = self.run("SELECT * FROM system.kafka_consumers")
                raise AssertionError(f"{row['n']} of {count} rows in {table}: {state}")
            time.sleep(0.1)

    def queries(self):
        """The documented queries by their number."""
        text = (self.docs / "queries.sql").read_text()
        numbered = re.findall(r"^-- (\d+)\. (?:.*\n)((?:(?!^-- \d).*\n)+)", text, re.M)
        return {int(number): sql.strip().rstrip(";") for number, sql in numbered}


def statements(text):
    return [part for part in re.split(r";\s*$", text, flags=re.M) if part.strip()]

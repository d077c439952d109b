"""protobuf_python.py PROTO GENERATED LIST ROWS: the list, read by Google's protobuf, has the rows of ROWS (jsonl)."""

import ipaddress
import json
import os
import sys
from pathlib import Path

from google.protobuf.internal.decoder import _DecodeVarint
from grpc_tools import protoc

proto, generated, list_path, rows_path = sys.argv[1:]
os.makedirs(generated)
assert protoc.main(["protoc", f"-I{proto}", f"--python_out={generated}", "xtcp_flat_record/v1/xtcp_flat_record.proto"]) == 0
sys.path.insert(0, generated)
from xtcp_flat_record.v1 import xtcp_flat_record_pb2 as pb  # noqa: E402

data = Path(list_path).read_bytes()
found, envelopes, at = [], 0, 0
while at < len(data):
    length, at = _DecodeVarint(data, at)
    envelope = pb.Envelope.FromString(data[at : at + length])
    # Nothing was unknown to it, and the bytes are those that it would write itself.
    assert envelope.SerializeToString(deterministic=True) == data[at : at + length], f"envelope {envelopes}"
    found.extend(envelope.row)
    envelopes, at = envelopes + 1, at + length

expected = [json.loads(line) for line in Path(rows_path).read_text().splitlines()]
assert len(found) == len(expected), (len(found), len(expected))
for row, other in zip(found, expected):
    set_fields = {field.name: value for field, value in row.ListFields()}
    for name in other.keys() | set_fields.keys():
        value = getattr(row, name)
        if isinstance(value, bytes):
            value = str(ipaddress.ip_address(value))
            known = str(ipaddress.ip_address(other[name]))
        else:
            known = other.get(name, type(value)())
        assert value == known, f"{name} is {value!r}, not {known!r}"
print(f"{envelopes} envelopes, {len(found)} rows are the same")

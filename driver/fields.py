"""Commands as the fields of the device's command interface, and responses from its fields.

Numbers are plain; byte strings (addresses, keys, nonces) are integers with byte 0 in bits 7:0.
"""

from collections.abc import Mapping
from typing import Any

from model.commands import Ack, Add, Command, Delete, Query, Read, Response, Resync, Seed, TrackerState
from model.contract import Opcode, Result


def _bytes(text: bytes) -> int:
    return int.from_bytes(text, "little")


def _address(text: bytes) -> int:
    if len(text) not in (4, 16):
        raise ValueError(f"an address has 4 or 16 bytes, not {len(text)}")
    return _bytes(text.rjust(16, b"\0"))


def command_fields(command: Command) -> dict[str, int]:
    """Fields of `hw.layouts.command` that are not zero."""
    match command:
        case Add(t, version, key, salt, iv, record_number, start_seq):
            if len(t.remote_address) != len(t.local_address):
                raise ValueError("remote and local address are of different families")
            nonce = salt + (iv if version == 0x0304 else bytes(8))
            if len(nonce) != 12:
                raise ValueError(f"salt and iv have {len(salt)} and {len(iv)} bytes; must be 4 and 8")
            return {
                "opcode": Opcode.ADD,
                "ipv6": len(t.remote_address) == 16,
                "remote_address": _address(t.remote_address),
                "local_address": _address(t.local_address),
                "remote_port": t.remote_port,
                "local_port": t.local_port,
                "version": version,
                "key_bytes": len(key),
                "key": _bytes(key[:32]),
                "iv": _bytes(nonce),
                "record_number": record_number,
                "seq": start_seq,
            }
        case Delete(handle):
            return {"opcode": Opcode.DEL, "handle": handle}
        case Resync(handle, seq, record_number):
            return {"opcode": Opcode.RESYNC, "handle": handle, "seq": seq, "record_number": record_number}
        case Query(handle):
            return {"opcode": Opcode.QUERY, "handle": handle}
        case Read(address):
            return {"opcode": Opcode.READ, "address": address}
        case Ack(handle, seq):
            return {"opcode": Opcode.ACK, "handle": handle, "seq": seq}
        case Seed(key):
            return {"opcode": Opcode.SEED, "hash_key": key}


def response_from_fields(command: Command, fields: Mapping[str, int]) -> Response:
    """The response to `command`; `fields` are those of `hw.layouts.response`, those of its state as `state.name`.

    `state` only where a QUERY went well.
    """
    result = Result(fields["result"])
    state = None
    if isinstance(command, Query) and result is Result.OK:
        raw: dict[str, Any] = {
            name.removeprefix("state."): n for name, n in fields.items() if name.startswith("state.")
        }
        state = TrackerState(**{**raw, "out_of_sync": bool(raw["out_of_sync"]), "skipping": bool(raw["skipping"])})
    return Response(result, fields["handle"], fields["value"], state)

"""Requests and completions of the transmit direction, as driver, golden model and simulation pass them around."""

from dataclasses import dataclass
from typing import Protocol

from model.commands import Command, Response
from model.contract import TxKind, TxStatus


@dataclass(frozen=True, slots=True)
class TxRequest:
    """What the driver says with a frame (docs/contract-tx.md, section 1).

    `record_seq`, `record_number`: REPLAY and PREFIX. `header`: PREFIX, 5 bytes or (TLS 1.2) 13 with the explicit nonce.
    """

    kind: TxKind = TxKind.PASS
    handle: int = 0
    segment_size: int = 0
    adopt: bool = False
    record_seq: int = 0
    record_number: int = 0
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class Sent:
    """Outcome of one frame (one segment, where it was cut): `frame` is None if nothing left."""

    frame: bytes | None
    status: TxStatus
    handle: int


class TxDevice(Protocol):
    """What the driver's transmit side drives."""

    def command(self, command: Command) -> Response: ...

    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]: ...

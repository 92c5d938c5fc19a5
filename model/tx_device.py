"""The golden transmit device: what must leave for every frame and command, by docs/contract-tx.md. No clock."""

from dataclasses import replace

from model.commands import Add, Command, Delete, Query, Read, Response, Resync
from model.contract import (
    CIPHERS,
    CONTRACT_VERSION,
    IDENTIFICATION,
    MIN_LENGTH,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_VERSION,
    READ_WIDTH,
    TX_COUNTERS,
    Result,
    TxKind,
    TxStatus,
)
from model.frame import RST, SYN, parse
from model.handles import Handles
from model.segmentation import holds_packet, segments, with_tcp_checksum
from model.tx_commands import Sent, TxRequest
from model.tx_tracker import Dropped, TxConnection

_STATUS_COUNTERS = {status: status.name.lower() for status in TxStatus}


class GoldenTxDevice:
    """The transmit direction of a device; see `model.tx_commands.TxDevice`.

    Parameters
    ----------
    connections : int
        Handles.
    width : int
        Bytes a beat of the hardware it stands for: only READ_WIDTH shows it.

    Members
    -------
    counters : dict of str to int
        By the names of `model.contract.TX_COUNTERS`.
    """

    def __init__(self, connections: int = 256, width: int = 16) -> None:
        self.connections = connections
        self.width = width
        self.counters = dict.fromkeys(TX_COUNTERS, 0)
        self._handles: Handles[TxConnection] = Handles(connections)

    # --- frames ------------------------------------------------------------------------------------
    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]:
        """One outcome for each segment; a frame that is not cut is one."""
        out: list[Sent] = []
        pieces = segments(frame, request.segment_size)
        for count, piece in enumerate(pieces):
            kind = TxKind.RETRANSMIT if count and request.kind is TxKind.PREFIX else request.kind
            cut = piece is not frame
            last = not cut or (count == len(pieces) - 1 and holds_packet(frame))
            asked = request if last or not request.adopt else replace(request, adopt=False)
            sent, status = self._transmit(piece, kind, asked, cut)
            self.counters[_STATUS_COUNTERS[status]] += 1
            out.append(Sent(sent, status, 0 if kind is TxKind.PASS else request.handle))
        return out

    def _transmit(self, frame: bytes, kind: TxKind, request: TxRequest, cut: bool) -> tuple[bytes | None, TxStatus]:
        packet = parse(frame)
        if packet is not None and packet.end > len(frame):
            packet = None
        if kind is TxKind.PASS:
            return with_tcp_checksum(frame, packet) if cut and packet else frame, TxStatus.PASSED
        if packet is None:
            return None, TxStatus.DROPPED_MALFORMED
        if packet.length == 0:
            return frame, TxStatus.PASSED
        if packet.flags & (SYN | RST):
            return None, TxStatus.DROPPED_MALFORMED
        connection = self._handles.get(request.handle)
        if connection is None:
            return None, TxStatus.DROPPED_HANDLE
        try:
            payload = connection.take(kind, packet.seq, frame[packet.payload : packet.end], request)
        except Dropped as dropped:
            return None, dropped.status
        if kind is TxKind.REPLAY:
            return None, TxStatus.REPLAYED
        self.counters["encrypted_bytes"] += packet.length
        sent = frame[: packet.payload] + payload + frame[packet.end :]
        return with_tcp_checksum(sent, packet), TxStatus.ENCRYPTED

    # --- commands ----------------------------------------------------------------------------------
    def command(self, command: Command) -> Response:
        match command:
            case Add():
                return self._add(command)
            case Delete(handle):
                return Response(Result.STALE_HANDLE if self._handles.delete(handle) is None else Result.OK)
            case Resync(handle):
                connection = self._handles.get(handle)
                if connection is None:
                    return Response(Result.STALE_HANDLE)
                connection.resync(command)
                return Response(Result.OK)
            case Query(handle):
                connection = self._handles.get(handle)
                if connection is None:
                    return Response(Result.STALE_HANDLE)
                return Response(Result.OK, state=connection.state())
            case Read(address):
                return Response(Result.OK, value=self._read(address))
            case _:
                return Response(Result.BAD_COMMAND)

    def _add(self, add: Add) -> Response:
        if add.version not in MIN_LENGTH or len(add.key) not in (16, 32):
            return Response(Result.UNSUPPORTED)
        if not self._handles.free:
            return Response(Result.NO_SPACE)
        return Response(Result.OK, handle=self._handles.add(TxConnection(add)))

    def _read(self, address: int) -> int:
        words = {
            READ_IDENTIFICATION: IDENTIFICATION,
            READ_VERSION: CONTRACT_VERSION,
            READ_WIDTH: self.width,
            READ_CONNECTIONS: self.connections,
            READ_CIPHERS: CIPHERS,
            READ_FREE: self._handles.free,
        }
        words |= {READ_COUNTERS + i: self.counters[name] for i, name in enumerate(TX_COUNTERS)}
        return words.get(address, 0)

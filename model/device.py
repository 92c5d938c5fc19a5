"""The golden device: what must leave for every frame and every command, by docs/contract.md. No clock."""

from model.commands import (
    Ack,
    Add,
    Command,
    Delete,
    Delivery,
    Descriptor,
    Query,
    Read,
    Response,
    Resync,
    Seed,
)
from model.contract import (
    CIPHERS,
    CONTRACT_VERSION,
    COUNTERS,
    DEFAULT_HASH_KEY,
    HASH_KEY_BITS,
    IDENTIFICATION,
    MIN_LENGTH,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_POLICY,
    READ_VERSION,
    READ_WIDTH,
    Checksum,
    Result,
    RxPolicy,
    Status,
)
from model.frame import parse
from model.loss_tracker import LossConnection
from model.table import FlowTable
from model.tracker import Connection

_STATUS_COUNTERS = {status: status.name.lower() for status in Status}
_BYPASS = {checksum: Descriptor(Status.BYPASS, checksum, False, 0) for checksum in Checksum}


class GoldenDevice:
    """The receive direction of a device; see `model.commands.Device`.

    Parameters
    ----------
    connections : int
        Handles.
    width : int
        Bytes a beat of the hardware it stands for: only READ_WIDTH shows it.
    hash_key : int
        Until SEED sets another.
    policy : RxPolicy
        How it goes on under loss.

    Members
    -------
    counters : dict of str to int
        By the names of `model.contract.COUNTERS`.
    """

    def __init__(
        self,
        connections: int = 256,
        width: int = 16,
        hash_key: int = DEFAULT_HASH_KEY,
        policy: RxPolicy = RxPolicy.FULL,
    ) -> None:
        self.policy = policy
        self.connections = connections
        self.width = width
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._table: FlowTable[Connection | LossConnection] = FlowTable(connections, hash_key)

    # --- packets -----------------------------------------------------------------------------------
    def receive(self, frame: bytes, given_up_at: int | None = None) -> Delivery:
        """`given_up_at`: where a device that does not wait for its crypto gave the frame up, by its descriptor.

        Raises
        ------
        ValueError
            It cannot have been there.
        """
        out, descriptor = self._receive(frame, given_up_at)
        self.counters[_STATUS_COUNTERS[descriptor.status]] += 1
        return Delivery(out, descriptor)

    def _receive(self, frame: bytes, given_up_at: int | None) -> tuple[bytes, Descriptor]:
        packet = parse(frame)
        if packet is None:
            return frame, _BYPASS[Checksum.NONE]
        found = self._table.by_key.get(packet.key) if packet.candidate else None
        if found is None:
            return frame, _BYPASS[packet.checksum]
        handle, connection = found
        if packet.checksum is Checksum.BAD:
            return frame, Descriptor(Status.BAD_CHECKSUM, Checksum.BAD, True, handle)
        taken = connection.take_in(packet.seq, frame[packet.payload : packet.end], given_up_at)
        if taken.payload is not None:
            self.counters["decrypted_bytes"] += len(taken.payload)
            frame = frame[: packet.payload] + taken.payload + frame[packet.end :]
        return frame, Descriptor(
            taken.status, Checksum.GOOD, True, handle, taken.request, taken.proven, taken.given_up_at
        )

    # --- commands ----------------------------------------------------------------------------------
    def command(self, command: Command) -> Response:
        match command:
            case Add():
                return self._add(command)
            case Delete(handle):
                return Response(Result.OK if self._table.delete(handle) else Result.STALE_HANDLE)
            case Resync(handle):
                connection = self._table.get(handle)
                if connection is None:
                    return Response(Result.STALE_HANDLE)
                return Response(Result.OK if connection.resync(command) else Result.IGNORED)
            case Ack(handle, seq) if self.policy is not RxPolicy.PUBLISHED:
                connection = self._table.get(handle)
                if connection is None:
                    return Response(Result.STALE_HANDLE)
                connection.acknowledge(seq)
                return Response(Result.OK)
            case Query(handle):
                connection = self._table.get(handle)
                if connection is None:
                    return Response(Result.STALE_HANDLE)
                return Response(Result.OK, state=connection.state())
            case Read(address):
                return Response(Result.OK, value=self._read(address))
            case Seed(key):
                if not self._table.empty:
                    return Response(Result.BAD_COMMAND)
                self._table.hash_key = key & ((1 << HASH_KEY_BITS) - 1)
                return Response(Result.OK)
            case _:
                return Response(Result.BAD_COMMAND)

    def _add(self, add: Add) -> Response:
        if add.version not in MIN_LENGTH or len(add.key) not in (16, 32):
            return Response(Result.UNSUPPORTED)
        published = self.policy is RxPolicy.PUBLISHED
        connection = Connection(add) if published else LossConnection(add, self.policy)
        result, handle = self._table.add(add.tuple4, connection)
        return Response(result, handle)

    def _read(self, address: int) -> int:
        words = {
            READ_IDENTIFICATION: IDENTIFICATION,
            READ_VERSION: CONTRACT_VERSION,
            READ_WIDTH: self.width,
            READ_CONNECTIONS: self.connections,
            READ_CIPHERS: CIPHERS,
            READ_FREE: self._table.free,
            READ_POLICY: list(RxPolicy).index(self.policy),
        }
        words |= {READ_COUNTERS + i: self.counters[name] for i, name in enumerate(COUNTERS)}
        return words.get(address, 0)

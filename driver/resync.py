"""Resynchronisation of one received connection, between the device's requests and the stack's answers."""

from enum import StrEnum

from driver.counters import ResyncCounters, RxCounters
from driver.sock import Sock
from model.commands import Descriptor, Device, Query, Resync, TrackerState
from model.contract import HEADER_SIZE, Result, Status
from model.frame import Frame
from model.ktls import USHRT_MAX, ResyncType


class ResyncMode(StrEnum):
    """How the driver takes a request of the device to the stack."""

    SYNC = "sync"
    """At once, with the packet: TLS_OFFLOAD_SYNC_TYPE_DRIVER_REQ."""
    ASYNC = "async"
    """Announced with the packet, the place named later if still wanted: TLS_OFFLOAD_SYNC_TYPE_DRIVER_REQ_ASYNC."""


PATIENCE = 1024
"""Packets that a device may be lost for before the other way to resynchronise is tried."""
_LOST = frozenset((Status.WAIT, Status.OUT_OF_SYNC, Status.BAD_HEADER, Status.OVERLOAD))


class RxResync:
    """One connection's.

    A socket of the kernel has one way to resynchronise. For a device that searches the stream it is the request, as
    under load a hint is stale as a rule; but it may follow a chain of decoys, for which no answer ever comes.
    So when it has been lost for `PATIENCE` packets the stack is asked for next-record hints, for as many packets, and
    so on in turn.

    Parameters
    ----------
    sk, device, handle
    mode : ResyncMode
    counters : RxCounters
        The device's, over all connections.
    delay : int
        Packets of the connection until the device has answered what place it asks for (`ASYNC`).
    """

    def __init__(
        self, sk: Sock, device: Device, handle: int, mode: ResyncMode, counters: RxCounters, delay: int
    ) -> None:
        self.counted = ResyncCounters()
        self._sk = sk
        self._device = device
        self._handle = handle
        self._mode = mode
        self._counters = counters
        self._delay = delay
        self._lost = 0
        self._pending: tuple[int, int] | None = None
        """Asynchronous request: its place, and the packets until the device answers."""
        self._set_type(_TYPES[mode])

    def packet(self, descriptor: Descriptor, packet: Frame) -> None:
        """A packet comes up; the stack has not got it yet."""
        self.counted.count(descriptor)
        self._advance()
        if descriptor.decrypted:
            self._lost = 0
        self._lost += descriptor.status in _LOST
        if self._lost == PATIENCE:
            self._lost = 0
            self._cancel()
            hints = self._type is ResyncType.CORE_NEXT_HINT
            self._set_type(_TYPES[self._mode] if hints else ResyncType.CORE_NEXT_HINT)
        if descriptor.request is not None and self._type is not ResyncType.CORE_NEXT_HINT:
            self._ask(descriptor.request, packet)

    def answer(self, seq: int, record_number: int) -> Result:
        """An answer or hint of the stack; what the device says to it."""
        if self._type is ResyncType.DRIVER_REQ:
            seq -= HEADER_SIZE - 1  # this type names the last byte of the header, the others its first
        result = self._device.command(Resync(self._handle, seq % 2**32, record_number)).result
        if result is not Result.OK:
            self._counters.resync_res_skip += 1
            self.counted.ignored += 1
            return result
        self._counters.resync_res_ok += 1
        self.counted.confirmed += 1
        self._lost = 0
        if self._type is not _TYPES[self._mode]:
            self._set_type(_TYPES[self._mode])
        return result

    def delete(self) -> None:
        self._cancel()

    # --- requests ----------------------------------------------------------------------------------
    def _set_type(self, kind: ResyncType) -> None:
        self._type = kind
        if self._sk.rx:
            self._sk.rx.tls_offload_rx_resync_set_type(kind)

    def _ask(self, place: int, packet: Frame) -> None:
        stack = self._sk.rx
        if stack is None:
            return
        if self._type is ResyncType.DRIVER_REQ:
            stack.tls_offload_rx_resync_request((place + HEADER_SIZE - 1) % 2**32)
            return
        if self._pending:
            return  # the device has one question at a time
        # the header may have begun in the packet before
        length = min((packet.seq + packet.length - place) % 2**32, USHRT_MAX)
        stack.tls_offload_rx_resync_async_request_start(place, length)
        self._counters.resync_req_start += 1
        self._pending = (place, self._delay)

    def _advance(self) -> None:
        """The device's answer about the place comes closer."""
        if not self._pending:
            return
        place, packets = self._pending
        if packets > 1:
            self._pending = (place, packets - 1)
            return
        state = self._device.command(Query(self._handle)).state
        if state is None or not _behind(state):
            self._cancel()
            return
        assert self._sk.rx
        self._sk.rx.tls_offload_rx_resync_async_request_end(place)
        self._counters.resync_req_end += 1
        self._pending = None

    def _cancel(self) -> None:
        if not self._pending:
            return
        self._pending = None
        self._counters.resync_req_skip += 1
        if self._sk.rx:
            self._sk.rx.tls_offload_rx_resync_async_request_cancel()


_TYPES = {
    ResyncMode.SYNC: ResyncType.DRIVER_REQ,
    ResyncMode.ASYNC: ResyncType.DRIVER_REQ_ASYNC,
}


def _behind(state: TrackerState) -> bool:
    """The device waits for a header that has passed, or has lost its place."""
    beyond = (state.seen_seq - state.expected_seq - state.header_count) % 2**32
    return state.out_of_sync or 0 < beyond < 2**31

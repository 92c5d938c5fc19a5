"""What the states of the loss tracker's slow path share: a connection's state laid out, and hands to work on it."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory

from hw import layouts
from hw.config import Config
from hw.header_finder import HeaderFinder
from hw.holes import Holes
from hw.loss_state import SLOT, chain_layout, chains_layout, entry_layout, gap_layout, slot_layout, whole
from hw.priority import lowest
from hw.record_header import HEADER_BYTES, RecordHeader
from hw.rotate import shift_right_bytes
from hw.walk import Walk, position_layout
from model.contract import CHAINS, GAPS, OPEN_RECORDS, TAG_SIZE, RxPolicy, Status


class Desk:
    """Registers and memories of the connection at hand.

    Members
    -------
    entry, chains : Signal          as they will be written at the end of the frame
    slot, slot_data : Signal        what the memory of records has in slot `slot`, a cycle later; `put` writes at once
    gap_data : Signal               the same of gap `next`; `put_gap`
    record, record_slot, record_end : a record taken off its slot
    window, cover : Signal          bytes of a header at `probe` that are in the frame: two cycles after `probe` was set
    text, header : a header decoded; `size` is that of its body and tag
    holes : Holes                   its range is `range_start`, `range_end`
    """

    def __init__(self, m: Module, config: Config, tracker, frame, index, length):
        self.m = m
        self.config = config
        self.frame = frame
        self.index = index
        self.full = config.rx_policy is RxPolicy.FULL
        self.entry = entry = Signal(entry_layout)
        self.chains = chains = Signal(chains_layout)
        self.at = Signal(position_layout)
        self.walk = Walk(m, config, tracker, frame, self.at, entry.tls13, index, near=config.near_headers)
        self.tracker = tracker
        self.header_size = Signal(range(HEADER_BYTES + 1))
        self.header_mask = Signal(HEADER_BYTES)
        m.d.comb += [
            self.header_size.eq(self.walk.header.size),
            self.header_mask.eq(whole(entry.tls13)),
        ]

        # --- the frame
        self.seq = frame.seq
        self.length = length
        self.end = Signal(32)
        self.top = Signal()  # at or past everything seen
        self.follows = Signal()
        self.lost = Signal()  # it begins out of sync
        self.fresh = Signal()
        self.status = Signal(Status)
        self.fast = Signal()  # it begins where everything ends, and its walk decides
        self.stopped = Signal()  # `status` is final, whatever is found
        self.partial = Signal()
        self.headers = Signal()
        self.portions = Signal()
        self.live_portion = Signal()
        self.raw_portion = Signal()
        self.request = Signal()
        self.request_seq = Signal(32)
        self.proof = Signal()
        self.mark = Signal()

        # --- slots
        self.used = Signal(OPEN_RECORDS)
        m.d.comb += self.used.eq(reduce(or_, (chains[k].owned for k in range(CHAINS)), entry.live))
        self.free = lowest(m, ~self.used)
        self.room = ~self.used.all()
        m.submodules.slots = slots = memory.Memory(shape=slot_layout, depth=config.connections * OPEN_RECORDS, init=[])
        read, self.slot_write = slots.read_port(), slots.write_port()
        self.slot = Signal(SLOT)
        self.slot_index = Signal.like(index)  # of the connection whose slot that is
        self.slot_data = read.data
        self.write_slot = Signal(SLOT)
        m.d.comb += [
            self.slot_index.eq(index),
            read.addr.eq(Cat(self.slot, self.slot_index)),
            self.slot_write.addr.eq(Cat(self.write_slot, index)),
        ]
        self.record = Signal(slot_layout)
        self.record_slot = Signal(SLOT)
        self.record_end = Signal(32)
        self.todo = Signal(OPEN_RECORDS)  # slots, or gaps
        self.next = lowest(m, self.todo)

        # --- gaps
        m.submodules.gaps = gaps = memory.Memory(shape=gap_layout, depth=config.connections * GAPS, init=[])
        read, self.gap_write = gaps.read_port(), gaps.write_port()
        self.gap = Signal(gap_layout)
        self.gap_data = read.data
        self.write_gap = Signal(range(GAPS))
        self.free_gap = lowest(m, ~entry.gaps)
        m.d.comb += [
            read.addr.eq(Cat(self.next[:2], index)),
            self.gap_write.addr.eq(Cat(self.write_gap, index)),
        ]

        # --- holes
        m.submodules.holes = self.holes = holes = Holes(config)
        self.range_start = Signal(32)
        self.range_end = Signal(32)
        m.d.comb += [
            holes.index.eq(index),
            holes.used.eq(entry.holes),
            holes.seen.eq(entry.seen),
            holes.start.eq(self.range_start),
            holes.end.eq(self.range_end),
        ]

        # --- headers
        self.text = Signal(8 * HEADER_BYTES)
        self.header = RecordHeader(m, self.text, entry.tls13)
        self.size = Signal(layouts.EXT_BITS)
        m.d.comb += self.size.eq(self.header.body_length + TAG_SIZE)
        self._window(m, config, tracker, frame)

        # --- chains
        self.chain_number = Signal(range(CHAINS))  # the chain at hand
        self.chain = self.pick(self.chain_number)
        self.following = self.pick(self.chain_number + 1)
        self.last_number = Signal(range(CHAINS))
        m.d.comb += self.last_number.eq(entry.chain_count - 1)
        self.last_chain = self.pick(self.last_number)
        self.remove = Signal()
        self.remove_at = Signal(range(CHAINS))
        self.remove_restarts = Signal()

        # --- fragments
        self.slow = Signal()
        self.emit_slot = Signal(SLOT)
        self.emit_counted = Signal()
        self.emit_completes = Signal()
        self.emit_continues = Signal()
        o = tracker.o.p
        m.d.comb += [o.slot.eq(self.emit_slot), o.counted.eq(self.emit_counted)]
        with m.If(self.slow):
            m.d.comb += [
                o.completes.eq(self.emit_completes),
                o.continues.eq(self.emit_continues),
                o.store.eq(self.emit_counted & ~self.emit_completes),
                tracker.buffer.address.eq(Mux(self.finder.go, self.finder.buffer.address, self.window_address)),
            ]

    def _window(self, m, config, tracker, frame):
        self.probe = Signal(32)
        self.window = Signal(8 * HEADER_BYTES)
        self.cover = Signal(HEADER_BYTES)
        self.window_address = Signal(config.pointer_bits)
        ahead = Signal(32)  # of the frame's first byte
        behind = Signal(32)
        cursor = Signal(layouts.OFFSET_BITS)
        stop = Signal(32)
        skip = Signal(range(HEADER_BYTES + 1))
        count = Signal(range(HEADER_BYTES + 1))
        rotate = Signal(config.rotate_bits)
        inside = ahead < self.length
        before = behind < HEADER_BYTES
        m.d.comb += [
            ahead.eq(self.probe - self.seq),
            behind.eq(self.seq - self.probe),
            cursor.eq(frame.payload_offset + Mux(inside, ahead, 0)),
            stop.eq(self.length - ahead),  # bytes of the header in front of the frame's end
            self.window_address.eq(frame.base + (cursor >> config.rotate_bits)),
        ]
        m.d.sync += [
            rotate.eq(cursor),
            skip.eq(Mux(inside, 0, Mux(before, behind, HEADER_BYTES))),
            count.eq(Mux(stop < HEADER_BYTES, stop, HEADER_BYTES)),
        ]
        bytes_here = shift_right_bytes(tracker.buffer.data, rotate, HEADER_BYTES)
        m.d.comb += [
            self.cover.eq(
                ((Const(1, HEADER_BYTES + 1) << count) - 1)
                & ~((Const(1, HEADER_BYTES + 1) << skip) - 1)
                & self.header_mask
            ),
            self.window.eq(bytes_here << (skip << 3)),
        ]
        m.submodules.finder = self.finder = finder = HeaderFinder(config)
        m.d.comb += [
            finder.base.eq(frame.base),
            finder.limit.eq(self.walk.limit),
            finder.tls13.eq(self.entry.tls13),
            finder.buffer.data.eq(tracker.buffer.data),
        ]

    # --- pieces of states --------------------------------------------------------------------------
    def wait(self, name: str, then: str):
        """One cycle, for a memory or the window."""
        with self.m.State(name):
            self.m.next = then

    def emit(self, name: str, then: str):
        """Hand out the fragment that `at` and the walk's cursor describe."""
        m = self.m
        with m.State(name):
            m.d.comb += self.tracker.o.valid.eq(1)
            with m.If(self.tracker.o.ready):
                m.next = then

    def check(self):
        """Ask the holes; the value is true in the cycle of the answer, `holes.untouched`."""
        self.m.d.comb += self.holes.check.eq(1)
        return self.holes.done

    def each(self, name: str, use: str, then: str):
        """States that go over the slots or gaps in `todo`: `use` with the data there, `then` behind the last."""
        m = self.m
        with m.State(name):
            m.d.comb += self.slot.eq(self.next)
            m.next = use
            with m.If(self.todo == 0):
                m.next = then

    def used_up(self):
        """The one at hand of `todo` is done."""
        return self.todo.bit_select(self.next, 1).eq(0)

    def put(self, slot, **fields):
        """Write a slot."""
        m = self.m
        m.d.comb += [self.write_slot.eq(slot), self.slot_write.en.eq(1)]
        m.d.comb += [getattr(self.slot_write.data, name).eq(value) for name, value in fields.items()]

    def put_counted(self):
        """The record at hand goes back to its slot, the walk's fragment counted."""
        record = self.record
        self.put(
            self.record_slot,
            place=record.place,
            header=record.header,
            number=record.number,
            missing=record.missing - self.walk.count,
        )

    def put_gap(self, gap, head, number, target):
        data = self.gap_write.data
        self.m.d.comb += [
            self.write_gap.eq(gap),
            self.gap_write.en.eq(1),
            data.head.eq(head),
            data.number.eq(number),
            data.target.eq(target),
        ]

    def take(self):
        """The slot that was read is the record at hand; `text` has its header."""
        m = self.m
        m.d.comb += self.text.eq(self.slot_data.header)
        return [
            self.record.eq(self.slot_data),
            self.record_end.eq(self.slot_data.place + self.header_size + self.size),
        ]

    def aim(self, start):
        """The walk's fragment begins at `start`, a sequence number in the frame, in the record at hand."""
        return [
            self.walk.cursor.eq(self.frame.payload_offset + (start - self.seq)[: layouts.OFFSET_BITS]),
            self.at.number.eq(self.record.number),
            self.at.header.eq(self.record.header),
            self.at.remaining.eq(self.record_end - start),
        ]

    def pick(self, number):
        """Chain number `number`, to read. (An index into the array would cost the elaboration minutes.)"""
        chain = Signal(chain_layout)
        with self.m.Switch(number):
            for k in range(CHAINS):
                with self.m.Case(k):
                    self.m.d.comb += chain.eq(self.chains[k])
        return chain

    def change(self, number, statements):
        """In a state: `statements` of chain number `number`, to be written."""
        for k in range(CHAINS):
            with self.m.If(number == k):
                self.m.d.sync += statements(self.chains[k])

    def restart(self):
        """No chain is tracked."""
        return [self.entry.tracking.eq(0), self.entry.tail_count.eq(0)]

    def drop(self, chain, *, restarts: bool = True):
        """Take chain number `chain` away."""
        self.m.d.comb += [self.remove.eq(1), self.remove_at.eq(chain), self.remove_restarts.eq(restarts)]

    def removals(self):
        """Behind the machine: what `drop` asks for."""
        m, chains, entry = self.m, self.chains, self.entry
        with m.If(self.remove):
            m.d.sync += entry.chain_count.eq(entry.chain_count - 1)
            for k in range(CHAINS):
                with m.If(self.remove_at <= k):
                    m.d.sync += chains[k].eq(chains[k + 1] if k + 1 < CHAINS else 0)
            with m.If(self.remove_restarts & (self.remove_at == self.last_number)):
                m.d.sync += self.restart()

    def overlook(self):
        """Statements: nobody looks at the frame, out of sync, so no chain is left."""
        return [
            self.status.eq(Status.OVERLOAD),
            self.request.eq(0),
            self.request_seq.eq(self.seq),
            self.chains.eq(0),
            self.entry.chain_count.eq(0),
            *self.restart(),
        ]

    def stop(self, status):
        return [self.status.eq(status), self.stopped.eq(1)]

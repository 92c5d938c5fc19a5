"""Packet buffer: every frame is written once and read from here by track, align and release."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.deep_queue import DeepQueue
from hw.layouts import PACKET_BITS, beat


class PairPort(wiring.Signature):
    """Read port for two neighbouring beats, from the reader's side.

    `data` belongs to the `address` of the cycle before: beat `address` in the low half, beat `address + 1`
    in the high half. Addresses are beat counters; there is no enable, and nothing is consumed by reading.
    """

    def __init__(self, config: Config):
        super().__init__({
            "address": Out(config.pointer_bits),
            "data": In(16 * config.width),
        })  # fmt: skip


def readable(written, ended, beat, packet):
    """Frame `packet`'s beat `beat` (a beat counter) may be read, or the frame has ended without it."""
    ahead = (written - beat)[: len(written)]
    ended_since = (ended - packet)[: len(ended)]
    return ((ahead != 0) & ~ahead[-1]) | ((ended_since != 0) & ~ended_since[-1])


class _PairCopy(wiring.Component):
    """One copy of the data in two banks, so that any two neighbouring beats are read in one cycle."""

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "write": In(1),
            "address": In(config.pointer_bits),
            "data": In(8 * config.width),
            "read": In(PairPort(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        depth = self._config.buffer_beats // 2
        odd = Signal()
        m.d.sync += odd.eq(self.read.address[0])
        # Beat `address + 1` of an odd address is in the even bank one row further.
        rows = (self.read.address + 1)[1:], self.read.address[1:]
        data = []
        for bank, row in enumerate(rows):
            ram = memory.Memory(shape=8 * self._config.width, depth=depth, init=[])
            m.submodules[f"bank{bank}"] = ram
            w, r = ram.write_port(), ram.read_port()
            m.d.comb += [
                w.addr.eq(self.address[1:]),
                w.data.eq(self.data),
                w.en.eq(self.write & (self.address[0] == bank)),
                r.addr.eq(row),
            ]
            data.append(r.data)
        even, odd_data = data
        m.d.comb += self.read.data.eq(Mux(odd, Cat(odd_data, even), Cat(even, odd_data)))
        return m


class PacketBuffer(wiring.Component):
    """Circular memory of `config.buffer_beats` beats: one writer, one consumer in order, two random readers.

    Contract: takes and gives a beat a cycle. `i.ready` falls only when `buffer_beats` beats are written and
    not taken at `o` (`config.late`: one less). A beat taken in cycle t counts in `written` from t + 1, is returned by a
    pair port addressed from t + 1 on, and shows at `o` from t + 2 at the earliest (`config.late`: t + 3). Its place is
    used again only after its transfer at `o`: the consumer leaves a frame there until nobody reads it any more.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(beat(config)))
    o : Out(stream.Signature(beat(config)))     the next beat not taken yet, in the order of writing
    written : Out(config.pointer_bits)          beats written since reset
    ended : Out(PACKET_BITS)                    frames whose last beat is written, since reset
    taken : Out(config.pointer_bits)            beats that have left at `o`; with `config.passes_raw`
    track, align : In(PairPort(config))
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "o": Out(stream.Signature(beat(config))),
            "written": Out(config.pointer_bits),
            "ended": Out(PACKET_BITS),
            **({"taken": Out(config.pointer_bits)} if config.passes_raw else {}),
            "track": In(PairPort(config)),
            "align": In(PairPort(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        depth = config.buffer_beats

        taken = self.taken if config.passes_raw else Signal(config.pointer_bits)
        write = Signal()
        if config.late:  # from a register: the last place stays empty
            room = Signal(init=1)
            m.d.sync += room.eq((self.written - taken)[: config.pointer_bits] < depth - 1)
            m.d.comb += self.i.ready.eq(room)
        else:
            m.d.comb += self.i.ready.eq(self.written ^ taken != depth)
        m.d.comb += write.eq(self.i.valid & self.i.ready)
        with m.If(write):
            m.d.sync += self.written.eq(self.written + 1)
            m.d.sync += self.ended.eq(self.ended + self.i.p.last)

        for name, port in (("track", self.track), ("align", self.align)):
            m.submodules[name] = copy = _PairCopy(config)
            m.d.comb += [
                copy.write.eq(write),
                copy.address.eq(self.written),
                copy.data.eq(self.i.p.data),
                copy.read.address.eq(port.address),
                port.data.eq(copy.read.data),
            ]

        with m.If(self.o.valid & self.o.ready):
            m.d.sync += taken.eq(taken + 1)
        if config.late:
            m.submodules.release = queue = DeepQueue(beat(config), depth=depth, slack=0)
            m.d.comb += [queue.i_valid.eq(write), queue.i.eq(self.i.p)]
            wiring.connect(m, queue.o, wiring.flipped(self.o))
        else:
            self._release(m, write)
        return m

    def _release(self, m, write):
        """The read port's own register is the output stage: `fetched` runs at most one beat ahead of `taken`."""
        config = self._config
        m.submodules.release = ram = memory.Memory(shape=beat(config), depth=config.buffer_beats, init=[])
        w, r = ram.write_port(), ram.read_port()
        fetched = Signal(config.pointer_bits)
        m.d.comb += [
            w.addr.eq(self.written[:-1]),
            w.data.eq(self.i.p),
            w.en.eq(write),
            r.addr.eq(fetched[:-1]),
            r.en.eq((~self.o.valid | self.o.ready) & (fetched != self.written)),
            self.o.p.eq(r.data),
        ]
        with m.If(r.en):
            m.d.sync += [fetched.eq(fetched + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

    @staticmethod
    def model(beats: list[int], address: int, width: int) -> int:
        """What a pair port returns for `address` when `beats` (data only) are all in the buffer."""
        return beats[address] | (beats[address + 1] << 8 * width if address + 1 < len(beats) else 0)

"""Keystream room: counter blocks through AES under the key of each beat's connection."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.aes import AesPipeline
from hw.aes_stored import StoredAes
from hw.config import Config
from hw.credit import Credit, DistantCredit
from hw.key_expansion import KeyExpansion
from hw.key_loader import KeyLoader, loader_item
from hw.stream import FlagQueue, Queue
from hw.subkey import SubkeyCipher

J0_DEPTH = 32
"""E(J0)s that fit in their queue."""


def depth_of(config: Config) -> int:
    """Beats that fit in the output queue; more than are under way, so that the queues alone never cost a cycle."""
    return 64 if config.late else 32


class Keystream(wiring.Component):
    """Keystream of an aligned beat for each request, in order; beside it E(J0) and, for new keys, H.

    Contract: a request a cycle, whatever its key; `o` follows `delay` cycles later. `o` and `j0` may each be
    stalled for any time: `i.ready` falls when the queue the request needs has no place for it. END items pass in
    order, all else zero. A key operation takes one cycle, with `derive` and `Config.late` also a request slot, and the
    next one waits until H has left. Keys go in and never come out. No request of an index may be inside while its key
    changes. Source: NIST SP 800-38D, sections 6.5 and 7; RFC 8446, section 5.3; RFC 5288, section 3.

    Members
    -------
    i : In(stream.Signature(layouts.keystream_request))
    o : Out(stream.Signature(layouts.aligned_beat))
    j0 : Out(stream.Signature(128))    E(J0), byte 0 in bits 7:0, of requests with a bit in `j0_lanes`
    keys : In(stream.Signature(layouts.key_operation))
    subkey : Out(stream.Signature(layouts.subkey_operation))    H of each key operation with `derive`
    """

    def __init__(self, config: Config):
        self._config = config
        self.delay = StoredAes.delay + 6 if config.late else AesPipeline.delay + 2
        super().__init__({
            "i": In(stream.Signature(layouts.keystream_request(config))),
            "o": Out(stream.Signature(layouts.aligned_beat(config))),
            "j0": Out(stream.Signature(128)),
            "keys": In(stream.Signature(layouts.key_operation(config))),
            "subkey": Out(stream.Signature(layouts.subkey_operation(config))),
        })  # fmt: skip

    @staticmethod
    def model(key: bytes, iv: bytes, nonce: bytes, counter: int, j0_lanes: int, mask: int, lanes: int):
        """Masked keystream and E(J0), or None, of one request."""
        iv = iv[:4] + bytes(a ^ b for a, b in zip(iv[4:], nonce, strict=True))
        blocks = [AesPipeline.model(key, iv + ((counter + lane) & 0xFFFF).to_bytes(4, "big")) for lane in range(lanes)]
        masked = bytes(byte if mask >> k & 1 else 0 for k, byte in enumerate(b"".join(blocks)))
        j0 = next((blocks[lane] for lane in range(lanes) if j0_lanes >> lane & 1), None)
        return masked, j0

    def elaborate(self, platform):
        m = Module()
        config, lanes, depth = self._config, self._config.lanes, depth_of(self._config)
        tag = data.StructLayout({
            "valid": 1,
            "derive": 1,
            "end": 1,
            "j0_lanes": lanes,
            "mask": config.width,
            "rotate": config.rotate_bits,
            "beat": config.pointer_bits,
        })  # fmt: skip
        front = self._with_stored_keys if config.late else self._with_schedule
        aes, deriving, derive_index, accept_key = front(m, tag, depth)
        operation = self.keys.p

        # out
        done = aes.o_tag
        kind = FlagQueue if config.late else Queue
        m.submodules.queue = queue = kind(layouts.aligned_beat(config), depth=depth)
        m.submodules.j0_queue = j0_queue = kind(128, depth=J0_DEPTH)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        wiring.connect(m, j0_queue.o, wiring.flipped(self.j0))
        selected = Signal(128)
        for lane in range(lanes):
            with m.If(done.j0_lanes[lane]):
                m.d.comb += selected.eq(aes.o[lane])
        m.d.comb += [
            queue.i.valid.eq(done.valid),
            queue.i.p.end.eq(done.end),
            queue.i.p.rotate.eq(done.rotate),
            queue.i.p.beat.eq(done.beat),
            queue.i.p.mask.eq(done.mask),
            queue.i.p.data.eq(
                Cat(Mux(done.mask[k], aes.o[k // 16].word_select(k % 16, 8), 0) for k in range(config.width))
            ),
            j0_queue.i.valid.eq(done.j0_lanes.any()),
            j0_queue.i.p.eq(selected),
        ]

        if config.late:
            derived, subkey = done.derive, aes.o[0]
        else:  # an AES of its own: W=64 has no slot left beside full frames, W=16 two
            m.submodules.cipher = cipher = SubkeyCipher(config.sbox)
            m.d.comb += [
                cipher.start.eq(accept_key & operation.derive),
                cipher.key.eq(operation.key),
                cipher.aes256.eq(operation.aes256),
            ]
            derived, subkey = cipher.done, cipher.o
        with m.If(derived):
            m.d.sync += [self.subkey.p.subkey.eq(subkey), self.subkey.valid.eq(1)]
        with m.If(self.subkey.valid & self.subkey.ready):
            m.d.sync += [self.subkey.valid.eq(0), deriving.eq(0)]
        m.d.comb += self.subkey.p.index.eq(derive_index)
        return m

    def _admit(self, m, depth, room=1):
        """Takes a request if there is a place in every queue it will reach, and `room`."""
        kind = DistantCredit if self._config.late else Credit
        m.submodules.credit = credit = kind(depth)
        m.submodules.j0_credit = j0_credit = kind(J0_DEPTH)
        wants_j0, accept = Signal(), Signal()
        m.d.comb += [
            wants_j0.eq(self.i.p.j0_lanes.any() & ~self.i.p.end),
            self.i.ready.eq(room & credit.free & (j0_credit.free | ~wants_j0)),
            accept.eq(self.i.valid & self.i.ready),
            credit.take.eq(accept),
            credit.give.eq(self.o.valid & self.o.ready),
            j0_credit.take.eq(accept & wants_j0),
            j0_credit.give.eq(self.j0.valid & self.j0.ready),
        ]
        return accept

    def _with_schedule(self, m, tag, depth):
        """Keys in a memory, read for each request: they go through the pipeline beside it."""
        config, lanes = self._config, self._config.lanes
        request = layouts.keystream_request(config)
        row = data.StructLayout({"key": 256, "iv": 96, "aes256": 1})
        m.submodules.memory = memory = Memory(shape=row, depth=config.connections, init=[])
        write, read = memory.write_port(), memory.read_port()
        operation = self.keys.p
        deriving = Signal()  # from the key operation until H has left
        derive_index = Signal(config.index_bits)
        accept_key = Signal()
        m.d.comb += [
            self.keys.ready.eq(~deriving),
            accept_key.eq(self.keys.valid & ~deriving),
            write.en.eq(accept_key),
            write.addr.eq(operation.index),
            write.data.key.eq(operation.key),
            write.data.iv.eq(operation.iv),
            write.data.aes256.eq(operation.aes256),
        ]
        with m.If(accept_key):
            m.d.sync += [deriving.eq(operation.derive), derive_index.eq(operation.index)]
        accept = self._admit(m, depth)
        m.d.comb += read.addr.eq(self.i.p.index)

        # next cycle: the key is there, make the counter blocks
        fetched, fetched_valid = Signal(request), Signal()
        m.d.sync += [fetched.eq(self.i.p), fetched_valid.eq(accept)]
        m.submodules.aes = aes = AesPipeline(lanes, tag, config.sbox)
        m.d.comb += [aes.key.eq(read.data.key), aes.aes256.eq(read.data.aes256)]
        for lane in range(lanes):
            counter = Signal(16, name=f"counter{lane}")
            m.d.sync += counter.eq(self.i.p.counter + lane)
            m.d.comb += aes.blocks[lane].eq(self._block(read.data.iv, fetched.nonce, counter))
        self._mark(m, aes.i_tag, fetched, fetched_valid)
        return aes, deriving, derive_index, accept_key

    def _with_stored_keys(self, m, tag, depth):
        """Round keys in memories beside the rounds, changed from request to request where they have to be."""
        config, lanes = self._config, self._config.lanes
        m.submodules.expansion = expansion = KeyExpansion(config)
        m.submodules.loader = loader = KeyLoader(config)
        m.submodules.aes = aes = StoredAes(config, tag)
        row = data.StructLayout({"iv": 96, "aes256": 1})
        m.submodules.memory = memory = Memory(shape=row, depth=config.connections, init=[])
        write, read = memory.write_port(), memory.read_port()
        operation = self.keys.p
        deriving = Signal()  # from the key operation until H has left, or the registers are erased
        derive = Signal()
        derive_index = Signal(config.index_bits)
        derive_due = Signal()  # the key operation goes through the pipeline
        accept_key = Signal()
        m.d.comb += [
            self.keys.ready.eq(~deriving & ~expansion.busy),
            accept_key.eq(self.keys.valid & self.keys.ready),
            write.en.eq(accept_key),
            write.addr.eq(operation.index),
            write.data.iv.eq(operation.iv),
            write.data.aes256.eq(operation.aes256),
            aes.write.eq(expansion.write),
            aes.select.eq(loader.select),
        ]
        m.d.sync += [  # the key follows what is offered: it is erased with it, and only `start` is a decision
            expansion.start.eq(accept_key),
            expansion.key.eq(operation.key),
            expansion.aes256.eq(operation.aes256),
            expansion.erase.eq(~operation.derive),
            expansion.index.eq(operation.index),
        ]
        with m.If(accept_key):
            m.d.sync += [deriving.eq(1), derive.eq(operation.derive), derive_index.eq(operation.index)]

        accept = self._admit(m, depth, ~derive_due & loader.i.ready)
        m.d.comb += [loader.i.valid.eq(accept | derive_due), loader.i.p.request.eq(self.i.p)]
        with m.If(derive_due):
            m.d.comb += [
                loader.i.p.request.eq(0),
                loader.i.p.request.index.eq(derive_index),
                loader.i.p.reload.eq(1),
                loader.i.p.derive.eq(derive),
            ]
        with m.If(expansion.ahead):
            m.d.sync += derive_due.eq(1)
        with m.Elif(loader.i.ready):
            m.d.sync += derive_due.eq(0)

        # next cycles: the IV is there; the counter blocks stand in registers in front of the pipeline
        came, came_valid = Signal(loader_item(config)), Signal()
        m.d.comb += read.addr.eq(loader.o.p.request.index)
        m.d.sync += [came.eq(loader.o.p), came_valid.eq(loader.o.valid), aes.aes256.eq(read.data.aes256)]
        request = Signal(layouts.keystream_request(config))
        valid, derives = Signal(), Signal()
        m.d.sync += [
            request.eq(came.request),
            valid.eq(came_valid & ~came.reload),
            derives.eq(came_valid & came.derive),
        ]
        for lane in range(lanes):
            counter = Signal(16, name=f"counter{lane}")
            m.d.sync += counter.eq(loader.o.p.request.counter + lane)
            with m.If(came.reload):
                m.d.sync += aes.blocks[lane].eq(0)
            with m.Else():
                m.d.sync += aes.blocks[lane].eq(self._block(read.data.iv, came.request.nonce, counter))
        self._mark(m, aes.i_tag, request, valid)
        m.d.comb += aes.i_tag.derive.eq(derives)
        with m.If(came_valid & came.reload & ~came.derive):
            m.d.sync += deriving.eq(0)
        return aes, deriving, derive_index, accept_key

    @staticmethod
    def _block(iv, nonce, counter):
        """A counter block."""
        return Cat(iv[:32], iv[32:] ^ nonce, Const(0, 16), counter[8:], counter[:8])

    @staticmethod
    def _mark(m, tag, request, valid):
        """What travels beside a request."""
        used = valid & ~request.end
        m.d.comb += [
            tag.valid.eq(valid),
            tag.end.eq(request.end),
            tag.j0_lanes.eq(Mux(used, request.j0_lanes, 0)),
            tag.mask.eq(Mux(used, request.mask, 0)),
            tag.rotate.eq(Mux(used, request.rotate, 0)),
            tag.beat.eq(Mux(used, request.beat, 0)),
        ]

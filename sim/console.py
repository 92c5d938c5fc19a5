"""The terminal: progress while it works, the table of connections, the verdict."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sim.bench import Row
from sim.bench_cache import Cached, Settings
from sim.bench_loss import POLICIES, Mean, Measured
from sim.bench_model import Compared, Summary
from sim.bench_rows import Figure, counted
from sim.run import Outcome
from sim.run import Progress as Report
from sim.summary import summarize
from sim.synth import Size, Synthesis
from sim.verdict import verdict

MAX_ROWS = 40
NARROW_NAMES = 36


@contextmanager
def progress_bars(console: Console) -> Generator[Report]:
    """A bar for each stage, gone when all is done; nothing where the output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def show(outcome: Outcome, console: Console) -> None:
    """Warnings, table, figures and the verdict."""
    summary = summarize(outcome)
    for warning in summary["warnings"]:
        console.print(f"[yellow]note:[/] {escape(warning)}", highlight=False)
    if outcome.receives:
        console.print(_table(summary))
    if outcome.tx:
        console.print(*([""] if outcome.receives else []), _tx_table(summary), sep="\n")
    left_out = len(summary["connections"]) - MAX_ROWS
    if left_out > 0:
        console.print(f"... and {left_out} connections more: --json or --report has all of them")
    if summary["cycles"]:
        halves = (outcome, outcome.tx) if outcome.tx else (outcome,)
        seconds = sum(h.simulation_seconds for h in halves)
        rate = summary["packets"]["bytes"] / seconds if seconds else 0
        console.print(
            f"{summary['engine']}: {summary['cycles']:,} cycles, {summary['cycles_per_second']:,.0f} cycles/s, "
            f"{rate:,.0f} bytes of capture/s",
            highlight=False,
        )
    for mismatch in summary["mismatches"]:
        console.print(f"[red]{escape(mismatch)}[/]", highlight=False)
    if summary["waveform"]:
        console.print(f"waveform of the failing stretch: {escape(summary['waveform'])}", highlight=False)
    if any(h.failing_batch_seed is not None for h in (outcome, outcome.tx) if h):
        console.print(f"again with: --seed {outcome.settings.seed}", highlight=False)
    colour = (
        "bold red" if not outcome.equal else "bold green" if verdict(outcome).startswith("EQUAL") else "bold yellow"
    )
    console.print(f"[{colour}]{escape(verdict(outcome))}[/]", highlight=False)


def _table(summary: dict[str, Any]) -> Table:
    """Two lines a connection, so that it fits 80 columns; a third where something is to be said."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("connection\n(client > server)", overflow="fold", ratio=1)
    table.add_column("off-\nload", no_wrap=True)
    table.add_column("packets\ndecrypted", justify="right", no_wrap=True)
    table.add_column("records\noffl/mix/sw", justify="right", no_wrap=True)
    table.add_column("resyncs\nask/ok/own", justify="right", no_wrap=True)
    table.add_column("application\nbytes", justify="right", no_wrap=True)
    for c in summary["connections"][:MAX_ROWS]:
        rx, resync = c["rx"], c["resync"]
        table.add_row(
            _name(c, (c["reason"], c["error"], c["note"])),
            "[green]yes[/]" if c["offloaded"] else "[yellow]no[/]",
            f"{rx['packets_decrypted']}/{rx['packets']}",
            f"{rx['records_offloaded']}/{rx['records_mixed']}/{rx['records_software']}",
            f"{resync['requests']}/{resync['confirmed']}/{resync['self_proven']}",
            f"{rx['application_bytes']:,}",
        )
    return table


def _tx_table(summary: dict[str, Any]) -> Table:
    """The same for what the host sent."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("what the host sent", overflow="fold", ratio=1)
    table.add_column("off-\nload", no_wrap=True)
    table.add_column("packets\nencrypted", justify="right", no_wrap=True)
    table.add_column("as on\nwire", justify="right", no_wrap=True)
    table.add_column("out of order\n/sw/dropped", justify="right", no_wrap=True)
    table.add_column("replayed\nbytes", justify="right", no_wrap=True)
    for c in summary["connections"][:MAX_ROWS]:
        tx = c["tx"]
        table.add_row(
            _name(c, (c["tx_reason"],), cipher=not c["rx"]),
            "[green]yes[/]" if c["tx_offloaded"] else "[yellow]no[/]",
            f"{tx['packets_encrypted']}/{tx['packets']}",
            str(tx["wire_identical"]) + (f" [red]not {tx['wire_mismatches']}[/]" if tx["wire_mismatches"] else ""),
            f"{tx['out_of_order']}/{tx['fallback']}/{tx['dropped']}",
            f"{tx['replayed_bytes']:,}",
        )
    return table


def _name(connection: dict[str, Any], remarks: Iterable[str], cipher: bool = True) -> str:
    """Addresses, version and cipher, and what is to be said: a line or two each."""
    names = (connection["client"], "> " + connection["server"])
    name = (" " if sum(map(len, names)) < NARROW_NAMES else "\n").join(names)
    said = " ".join(s for s in (connection["version"], connection["cipher"].removeprefix("TLS_")) if s)
    told = "; ".join(s for s in remarks if s)
    lines = [escape(name), *([f"  [dim]{said}[/]"] if said and cipher else [])]
    if told:
        lines.append(f"  [yellow]{escape(told)}[/]")
    return "\n".join(lines)


def show_rows(rows: list[Row], console: Console) -> None:
    """Figures of a bench beside their targets."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("target", justify="right")
    table.add_column("unit")
    for row in rows:
        target = "" if row.target is None else f"{row.target:,g}"
        table.add_row(row.name, f"{row.value:,g}", target, row.unit)
    console.print(table)


def show_figures(rows: Sequence[Figure], console: Console) -> None:
    """Figures beside what the bus carries, the targets and the cycle model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", min_width=max(len(row.name) for row in rows))
    for name in ("RTL", "bus", "target"):
        table.add_column(name, justify="right")
    table.add_column("")
    table.add_column("model", justify="right")
    table.add_column("unit")
    said = {True: "met", False: "[yellow]not met[/]", None: ""}
    for row in rows:
        if row.failure:
            table.add_row(row.name, "[red]failed[/]", "", "", "", "", escape(row.failure.splitlines()[0]))
            continue
        numbers = ["" if v is None else f"{v:,g}" for v in (row.value, row.bus, row.target)]
        table.add_row(row.name, *numbers, said[row.met], "" if row.model is None else f"{row.model:,g}", row.unit)
    console.print(table)
    counts = counted(rows)
    console.print(
        f"{counts['met']} targets met, {counts['missed']} not met, "
        f"{counts['without_target']} figures without a target, {counts['failed']} failed",
        highlight=False,
        soft_wrap=True,
    )


def show_compared(
    rows: list[Compared], said: Summary, parts: dict[str, Summary], speeds: dict[str, float], console: Console
) -> None:
    """The cycle model beside the RTL, how far it is off, and how fast it is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    for name in ("RTL\ncycles", "model\ncycles", "error\n%", "of the rate\n%", "largest error\nof a packet, %"):
        table.add_column(name, justify="right")
    for row in rows:
        rate = "" if row.rate_error is None else f"{row.rate_error:+.2f}"
        table.add_row(row.name, f"{row.rtl:,}", f"{row.model:,}", f"{row.error:+.2f}", rate, f"{row.exit_error:.2f}")
    console.print(table)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("absolute errors, %")
    for name in ("cases", "worst", "mean", "worst\nof the rate", "mean\nof the rate"):
        table.add_column(name, justify="right")
    for name, part in (parts | {"all": said}).items():
        values = [part[key] for key in ("worst", "mean", "worst_rate", "mean_rate")]
        numbers = ["" if value is None else f"{value:.2f}" for value in values]
        table.add_row(name, str(part.get("cases", len(rows))), *numbers)
    console.print(table)
    for name, speed in speeds.items():
        console.print(f"{name}: {speed:,.0f} packets a second", highlight=False)
    console.print(
        f"worst: {said['worst']} % ({said['worst_case']}); wanted: {said['target']} %", highlight=False, soft_wrap=True
    )


def show_cached(rows: list[Cached], settings: Settings, console: Console) -> None:
    """Rate, hit rate and memory traffic, a line for each number of connections, a column for each cache."""
    entries = list(dict.fromkeys(row.entries for row in rows))
    grid = {(row.connections, row.entries): row for row in rows}
    connections = list(dict.fromkeys(row.connections for row in rows))
    for title, cell in (
        ("rate, Gb/s of payload, and % of that without a cache", lambda row: f"{row.rate:.1f} {100 * row.share:5.1f}"),
        ("hits, % of packets", lambda row: f"{100 * row.hit_rate:.1f}"),
        ("memory traffic, Gb/s", lambda row: f"{row.traffic:.1f}"),
    ):
        console.print(f"[italic]{title}[/]", highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("connections", justify="right")
        for each in entries:
            table.add_column(f"{each:,}\nentries", justify="right", min_width=11)
        for many in connections:
            table.add_row(f"{many:,}", *(cell(grid[many, each]) for each in entries))
        console.print(table, "")
    memory = settings.memory
    console.print(
        f"{settings.link:g} Gb/s of frames with {settings.segment:,} bytes, clock {settings.clock:g} MHz, "
        f"{settings.width} bytes a beat, Zipf exponent {settings.exponent:g}, {settings.packets:,} packets; a miss "
        f"reads {settings.read:,} bytes and writes back {settings.state:,}; memory {memory.latency:g} ns, at most "
        f"{settings.reach:.1f} Gb/s; seed {settings.seed}",
        highlight=False,
    )


def show_loss(measured: list[Measured], means: list[Mean], console: Console) -> None:
    """Shares of the records in percent, a line a point, and the sessions that stand at no point."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("segments")
    table.add_column("sessions", justify="right")
    for policy in POLICIES:
        table.add_column(f"{policy.value}\noffl/mix/sw %", justify="right")
    for n in range(0, len(means), len(POLICIES)):
        group = means[n : n + len(POLICIES)]
        point = f"{group[0].percent:g} % {'lost' if group[0].impairment == 'loss' else 'late'}"
        table.add_row(point, str(group[0].sessions), *(_thirds(m.shares) for m in group))
    others = [one for one in measured if not one.session.impairment]
    for n in range(0, len(others), len(POLICIES)):
        group = others[n : n + len(POLICIES)]
        shares = [[100 * r / max(sum(one.records), 1) for r in one.records] for one in group]
        table.add_row(escape(group[0].session.name), "1", *map(_thirds, shares))
    console.print(table)
    wrong = [f"{one.session.name} ({one.policy.value})" for one in measured if not one.equal]
    if wrong:
        console.print(f"[bold red]DIFFERENT: applications read something else: {escape(', '.join(wrong))}[/]")
    else:
        console.print(
            f"[bold green]EQUAL: in all {len(measured)} runs applications read the same as without a device[/]"
        )


def show_synthesis(result: Synthesis, console: Console) -> None:
    """What each room takes, the rate, and after place and route the longest paths."""
    columns: dict[str, dict[str, float]] = {}
    if result.estimate:
        columns["estimated ns"] = {room: path.ns for room, path in result.estimate.items()}
    if result.placed:
        columns["longest path, ns"] = {end.room: end.ns for end in result.placed.rooms}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("room")
    for title in ("LUT", "LUT as memory", "FF", result.target.block_ram, *columns):
        table.add_column(title, justify="right")

    def row(name: str, size: Size, *more: str) -> None:
        table.add_row(name, *(f"{n:,g}" for n in size.json().values()), *more)

    for name, size in result.rooms.items():
        row(name, size, *(f"{column[name]:.2f}" if name in column else "" for column in columns.values()))
    row("total", result.total)
    console.print(table)
    placed = result.placed
    if placed:
        used = ", ".join(f"{name} {n:,} of {there:,}" for name, (n, there) in placed.used.items())
        console.print(f"{placed.device}, seed {placed.seed}: {used}", highlight=False)
        console.print(f"{placed.mhz:.1f} MHz; the longest path:", highlight=False)
        for step in placed.longest:
            console.print(
                f"  {step.ns:6.2f} ns  {step.kind:8}  {escape(step.room)}: {escape(step.where)}", highlight=False
            )
    mhz = f"{result.clock:.5g} MHz" + ("" if placed else " (assumed, nothing was placed)")
    console.print(
        f"{mhz}: {result.rate:.5g} Gb/s in each direction, {result.lut_per_gbps:.4g} LUT per Gb/s",
        ", ".join(f"{tool} {version}" for tool, version in result.tools.items()),
        sep="\n",
        highlight=False,
    )


def _thirds(shares: Iterable[float]) -> str:
    return " ".join(f"{share:5.1f}" for share in shares)

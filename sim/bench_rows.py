"""The rows of `ktls-nic bench`: figures measured beside the design's targets, the bus and the cycle model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from sim.bench import INSTALL_TARGET, INTERVAL_TARGET, LATENCY_TARGET, SEGMENTS, bus_limit, rate_target
from sim.bench_cases import BASE, DIRECTIONS, OVERLOADED, Measured

RATE = "payload B/cycle"
BEYOND = "cycles beyond beats"
SHARE = f"of {BASE}"


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes
    ----------
    name : str
        `<rx, tx or duplex>/w<bytes a beat>/<figure>`.
    value : float | None
        On the RTL, in `unit`; None if the case failed.
    target, bus, model : float | None
        What the design asks for, what the bus carries, what the cycle model says, all in `unit`; None: nothing.
    model_error : float | None
        Of the model's cycles for all of the case's frames, in percent of the RTL's.
    failure : str
        Why there is no value.
    """

    name: str
    value: float | None
    unit: str = ""
    target: float | None = None
    bus: float | None = None
    model: float | None = None
    model_error: float | None = None
    failure: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value, as shown, reaches the target: cycles at most, all else at least. None without either."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.unit.startswith("cycles") else self.value >= self.target

    def json(self) -> dict[str, object]:
        return {**asdict(self), "met": self.met}


def figures(measured: Sequence[Measured]) -> list[Figure]:
    """The rows, in the order of the cases. Shares are of segment_1448 of the same direction and width."""
    full = {(m.case.direction, m.case.width): m for m in measured if m.case.name.endswith(f"/{BASE}") and not m.failure}
    rows: list[Figure] = []
    for m in measured:
        base = full.get((m.case.direction, m.case.width))
        if m.failure:
            rows.append(Figure(m.case.name, None, failure=m.failure))
        else:
            rows += _of(m, base)
    return rows


def _share(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else round(value / base, 3)


def _of(m: Measured, base: Measured | None) -> Iterable[Figure]:
    case, rtl = m.case, m.rtl
    prefix = f"{case.direction}/w{case.width}"
    alone = base.rtl.get("rate") if base else None
    if case.kind == "rate":
        yield _rate(m, base)
    elif case.kind == "duplex":
        for direction in DIRECTIONS:
            assert case.traffic
            name = f"{prefix}/{direction}_{case.traffic.name}"
            both, silent = rtl[f"{direction}_both"], rtl[f"{direction}_alone"]
            yield Figure(name, round(both, 2), RATE, bus=bus_limit(case.width, case.traffic.segment))
            yield Figure(f"{name}_ratio", round(both / silent, 3), "of the rate alone", 1.0)
    elif case.kind == "latency":
        target = DIRECTIONS[case.direction].latency_target
        for size in map(str, SEGMENTS):
            yield Figure(f"{prefix}/latency_{size}", rtl[size], BEYOND, target, model=m.model.get(size))
    elif case.kind == "install":
        yield Figure(f"{prefix}/install", rtl["install"], "cycles", INSTALL_TARGET)
    elif case.kind == "installs":
        yield Figure(f"{prefix}/install_longest", rtl["longest"], "cycles", INSTALL_TARGET)
        yield Figure(f"{prefix}/install_interval", round(rtl["interval"], 1), "cycles", INTERVAL_TARGET)
        yield _of_base(f"{prefix}/install_rate", rtl["rate"], alone, 1.0)
    elif case.kind == "not_offloaded":
        for size, value in rtl.items():
            bus = bus_limit(case.width, int(size))
            yield Figure(f"{prefix}/not_offloaded_{size}", round(value, 2), RATE, bus, bus)
    elif case.kind == "cut":
        for size, value in rtl.items():
            yield Figure(f"{prefix}/cut_{size}", round(value, 2), RATE, bus=bus_limit(case.width, int(size)))
    elif case.kind in OVERLOADED:
        yield Figure(f"{prefix}/{case.kind}", round(rtl["rate"], 3), "of the bus", 1.0)
        yield Figure(f"{prefix}/{case.kind}_latency", rtl["latency"], BEYOND, LATENCY_TARGET)
        yield Figure(f"{prefix}/{case.kind}_decrypted", round(rtl["decrypted"], 3), "of its frames")
    else:
        yield _of_base(f"{prefix}/{case.kind}", rtl["rate"], alone, 1.0)
        yield Figure(f"{prefix}/{case.kind}_latency", rtl["latency"], BEYOND, LATENCY_TARGET)


def _of_base(name: str, value: float, alone: float | None, target: float | None) -> Figure:
    share = _share(value, alone)
    return Figure(name, share, SHARE, target, failure="" if share is not None else f"{BASE} failed")


def _rate(m: Measured, base: Measured | None) -> Figure:
    case, traffic = m.case, m.case.traffic
    assert traffic
    value, model, target = m.rtl["rate"], m.model.get("rate"), rate_target(case.width, traffic)
    if traffic.name.startswith("segment_"):
        shown = None if model is None else round(model, 2)
        bus = bus_limit(case.width, traffic.segment)
        return Figure(case.name, round(value, 2), RATE, target, bus, shown, m.model_error)
    share = _share(value, base.rtl.get("rate") if base else None)
    modelled = _share(model, base.model.get("rate") if base else None)
    unit = SHARE if traffic.connections == 1 else "of one connection"
    return Figure(
        case.name, share, unit, target, None, modelled, m.model_error, "" if share is not None else f"{BASE} failed"
    )


def counted(rows: Iterable[Figure]) -> dict[str, int]:
    """Rows by what became of them: `met`, `missed`, `failed`, and `without_target`."""
    counts = {"met": 0, "missed": 0, "failed": 0, "without_target": 0}
    for kind in _kinds(rows):
        counts[kind] += 1
    return counts


def _kinds(rows: Iterable[Figure]) -> Iterator[str]:
    for row in rows:
        if row.failure:
            yield "failed"
        else:
            yield {True: "met", False: "missed", None: "without_target"}[row.met]

"""`bench loss`: what of recorded sessions stays offloaded under loss and reordering, for each receive policy.

Golden device, driver and stack: the RTL equals the golden model, so its share is the same.
"""

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver.netdev import NetDevice, ResyncMode
from model.contract import RxPolicy
from model.device import GoldenDevice
from model.ktls import Handling
from sim.capture import read_capture
from sim.connections import follow
from sim.host import Host
from sim.recording import Plan, Session, record
from sim.secrets import KeyLog

POLICIES = (RxPolicy.PUBLISHED, RxPolicy.KERNEL, RxPolicy.FULL)
HANDLINGS = (Handling.OFFLOADED, Handling.MIXED, Handling.SOFTWARE)
POINTS = (0, 0.5, 1, 2, 3, 5, 7, 10)


@dataclass(frozen=True)
class Published:
    """A figure of ConnectX-6 Dx with 16 KB records: percent of the records fully offloaded."""

    impairment: str
    percent: float
    offloaded: float
    said: str


PUBLISHED = (
    Published("reorder", 2, 24, "24 %"),
    Published("reorder", 5, 2, "at most 2 %"),
    Published("loss", 5, 52, "a little over 50 %"),
)
"""Pismenny et al., Autonomous NIC Offloads, ASPLOS 2021, section 6.4."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measured:
    """One session under one policy: records by what they cost the stack, resynchronisations."""

    session: Session
    policy: RxPolicy
    records: tuple[int, int, int]
    """Fully offloaded, mixed, in software."""
    resync: dict[str, int]
    equal: bool
    """Applications read the same as without a device."""

    def json(self) -> dict[str, Any]:
        s = self.session
        return {
            "session": s.name,
            "tls": s.tls or None,
            "impairment": s.impairment or None,
            "percent": s.percent,
            "seed": s.seed,
            "policy": self.policy.value,
            **dict(zip((h.value for h in HANDLINGS), self.records, strict=True)),
            "resync": self.resync,
            "equal": self.equal,
        }


@dataclass(frozen=True)
class Mean:
    """All sessions of a policy at one point. Shares in percent of the records; `low`, `high`: of a single session."""

    impairment: str
    percent: float
    policy: RxPolicy
    sessions: int
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def json(self) -> dict[str, Any]:
        return {
            "impairment": self.impairment,
            "percent": self.percent,
            "policy": self.policy.value,
            "sessions": self.sessions,
            **{h.value: round(share, 2) for h, share in zip(HANDLINGS, self.shares, strict=True)},
            "offloaded_low": round(self.low[0], 2),
            "offloaded_high": round(self.high[0], 2),
        }


def recorded(wanted: Sequence[Plan], folder: Path, progress: Progress) -> list[Session]:
    """Record what is wanted, one after the other: a loaded machine would change the sessions."""
    sessions: list[Session] = []
    for n, plan in enumerate(wanted):
        progress("recording sessions", n, len(wanted))
        sessions.append(record(plan, folder))
    progress("recording sessions", len(wanted), len(wanted))
    return sessions


def measure(
    sessions: Sequence[Session],
    progress: Progress,
    resync_mode: ResyncMode = ResyncMode.SYNC,
    processes: int | None = None,
) -> list[Measured]:
    """Every session under every policy, in order of the sessions."""
    found: dict[int, list[Measured]] = {}
    progress("receiving", 0, len(sessions))
    workers = min(processes or os.cpu_count() or 1, len(sessions))
    if workers == 1:
        for n, session in enumerate(sessions):
            found[n] = measure_session(session, resync_mode)
            progress("receiving", n + 1, len(sessions))
        return [one for n in range(len(sessions)) for one in found[n]]
    # not forked: the progress bar has a thread
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) as pool:
        jobs = {pool.submit(measure_session, session, resync_mode): n for n, session in enumerate(sessions)}
        for job in as_completed(jobs):
            found[jobs[job]] = job.result()
            progress("receiving", len(found), len(sessions))
    return [one for n in range(len(sessions)) for one in found[n]]


def measure_session(session: Session, resync_mode: ResyncMode = ResyncMode.SYNC) -> list[Measured]:
    key_log = KeyLog()
    keys = session.capture.with_suffix(".keys")
    key_log.add(keys.read_text(encoding="utf-8", errors="replace"), str(keys))
    followed = follow(read_capture(session.capture), key_log)
    software = Host(followed, None)
    for index in range(len(followed.capture.packets)):
        software.packet(index)
    out: list[Measured] = []
    for policy in POLICIES:
        netdev = NetDevice(GoldenDevice(policy=policy), resync_mode=resync_mode)
        host = Host(followed, netdev)
        for index in range(len(followed.capture.packets)):
            host.packet(index)
        host.finish()
        sockets = [s for s in host.sockets.values() if s.offloaded]
        offloaded, mixed, soft = (sum(s.records(h) for s in sockets) for h in HANDLINGS)
        resync: dict[str, int] = defaultdict(int)
        for counted in netdev.resync.values():
            for name in ("requests", "confirmed", "self_proven", "ignored"):
                resync[name] += getattr(counted, name)
        equal = all(socket.answer == software.sockets[c].answer for c, socket in host.sockets.items())
        out.append(Measured(session, policy, (offloaded, mixed, soft), dict(resync), equal))
    return out


def means(measured: Iterable[Measured]) -> list[Mean]:
    """By impairment, percentage and policy; sessions with none count for both impairments, at 0 %."""
    groups: dict[tuple[str, float, RxPolicy], list[Measured]] = defaultdict(list)
    for one in measured:
        for impairment, percent in _places(one.session):
            groups[impairment, percent, one.policy].append(one)
    order = sorted(groups, key=lambda key: (key[0], key[1], POLICIES.index(key[2])))
    return [Mean(*key, len(groups[key]), *_shares(groups[key])) for key in order]


def _places(session: Session) -> Iterator[tuple[str, float]]:
    if session.impairment == "none":
        yield from (("loss", 0.0), ("reorder", 0.0))
    elif session.impairment:
        yield session.impairment, session.percent


def _shares(group: list[Measured]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    rows = [tuple(100 * n / max(sum(one.records), 1) for n in one.records) for one in group]
    total = max(sum(sum(one.records) for one in group), 1)
    mean = tuple(100 * sum(one.records[n] for one in group) / total for n in range(3))
    return mean, tuple(min(column) for column in zip(*rows, strict=True)), tuple(map(max, zip(*rows, strict=True)))

"""How late a stretch of packets ends if it begins later.

Tracker, verdict and way out each work packet by packet. One that is late stays as late until it is idle, and one that
never was idle is no earlier than its lead over what it waits for. That is not exact (a tracker that is late is faster
at some headers), so it says only what to try next.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from model.cycles.packets import Array
from model.cycles.rows import Times


@dataclass
class Leads:
    """Of each stretch, cycles; the leads are the least ones of its packets, below 0 where there is none.

    Attributes
    ----------
    enter : Times
        Of the way in over the room that packets in front of it leave.
    track, judge, leave : Times
        Of the tracker over packets that come, of the verdict over GHASH and aligner, of the way out over the verdict.
    bring : Times
        Of the verdict over the overlays, at the way out.
    idle : Times
        In which the tracker was.
    """

    enter: Times
    track: Times
    judge: Times
    leave: Times
    bring: Times
    idle: Times

    @staticmethod
    def of(stretches: int, kind: type[np.signedinteger[Any]]) -> "Leads":
        return Leads(*(np.empty(stretches, kind) for _ in fields(Leads)))

    def part(self, part: slice, most: int) -> "Leads":
        """Those of some stretches, begun: `most` is more than any lead."""
        leads = Leads(*(getattr(self, one.name)[part] for one in fields(self)))
        for one in fields(self):
            getattr(leads, one.name)[:] = 0 if one.name == "idle" else most
        return leads


@dataclass
class Late:
    """Of each stretch's beginning: by how many cycles tracker, verdict and way out are late."""

    track: Array
    judge: Array
    leave: Array


def carried(more: Late, leads: Leads, entered: Array, judged: Array, left: Array) -> Late:
    """What stretches begin later by if each begins later by `more` and by what those in front of it end later.

    Parameters
    ----------
    entered, judged, left : Array
        Cycles of each stretch in which way in, verdict and way out were idle.
    """

    def lead(least: Times, idle: Array) -> list[int]:
        return np.where(idle > 0, 0, np.maximum(least, 0)).tolist()

    tracked = leads.idle
    rows = (more.track, more.judge, more.leave, tracked, judged, left, entered)
    late: list[tuple[int, int, int]] = []
    track = judge = leave = 0
    for more_track, more_judge, more_leave, t, j, w, e, lead_track, lead_judge, lead_leave, lead_enter in zip(
        *(values.tolist() for values in rows),
        lead(leads.track, tracked),
        lead(leads.judge, judged),
        lead(leads.leave, left),
        lead(leads.enter, entered),
        strict=True,
    ):
        track, judge, leave = track + more_track, judge + more_judge, leave + more_leave
        late.append((track, judge, leave))
        track = max(track - t, -lead_track)
        judge = max(judge - j, track - lead_judge)
        leave = max(leave - w, judge - lead_leave)
        enter = max(-e, leave - lead_enter)  # all times are since the last beat in
        track, judge, leave = track - enter, judge - enter, leave - enter
    return Late(*np.array(late, np.int64).T)

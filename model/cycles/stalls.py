"""What each packet waited for."""

import numpy as np

from model.cycles.packets import Array
from model.cycles.placing import State
from model.cycles.rooms import INSIDE
from model.cycles.rows import Times
from model.cycles.steps import INNER, Steps

ROOMS = ("buffer", "lookup", "context", "track", "align", "ghash", "verdict", "keystream", "release")


def stalls(steps: Steps, state: State, opening: Times, arrival: Times | None) -> dict[str, Array]:
    """By room (`chain.Timing`), if the stretches begin so."""
    r, grid, rows = steps.rooms, steps.grid, steps.rows
    shape = grid.steps, grid.stretches
    t = {name: np.empty(shape, grid.kind) for name in INNER}
    steps.step(state, opening, arrival=arrival, kept=t)
    last_in, last_out, released = steps.last_in, steps.released[INSIDE:], steps.released[INSIDE - 1 : -1]

    def behind(values: Times, first: Times) -> Times:
        """Of the packet before; `first` of the one in front of each stretch."""
        return np.concatenate((first[np.newaxis], values[:-1]))

    waits: dict[str, Times] = {}
    wanted = behind(last_in, state["last_in"])
    wanted += 1
    if arrival is not None:
        np.maximum(wanted, arrival, out=wanted)
    else:
        np.maximum(wanted[0], opening, out=wanted[0])
    waits["buffer"] = last_in - wanted - rows["beats"]
    nothing = np.zeros(shape, grid.kind)
    if r.lookup:
        waited = t["handed"] - t["parsed"] - rows["hash"]
        held = t["found"] - t["read"] - rows["find"]
        # The flow table holds a packet that the tracker's queue has no room for, and with it those behind.
        front = np.concatenate((np.zeros(1, grid.kind), held[-1, :-1]))
        waited += t["read"] - t["handed"] - rows["read"]
        waits["lookup"] = np.where(behind(held, front) > 0, 0, waited)
        waits["track"] = waited - waits["lookup"] + held
    else:
        waits["lookup"] = waits["track"] = nothing
    here = t["found" if r.lookup else "parsed"] + rows["there"]
    waits["context"] = nothing
    if steps.uses:  # what it waits for its context when the tracker could have begun
        waits["context"] = np.clip(t["context"] - np.maximum(here, behind(t["tracked"], state["tracked"])), 0, None)
    waits["track"] = waits["track"] + np.maximum(t["walked"] - here - waits["context"], 0)
    free = t["walked"] + rows["free"]
    np.maximum(free, last_in + rows["track_last"], out=free)
    np.maximum(free, t["parsed"] + rows["track_headers"], out=free)
    waits["align"] = np.maximum(t["tracked"] - free, 0) + t["aligned"] - t["tracked"] - r.plan
    base = r.aligned + r.encrypted + r.hash + r.place + 1
    ready = np.maximum(t["streamed"] + base, t["aligned"] + rows["settle"])
    powered = np.maximum(ready, t["powered"])
    waits["ghash"] = powered - ready
    waits["verdict"] = np.maximum(t["judged"] - powered, 0)
    go = np.maximum(t["judged"] + r.order, released + 1)
    waits["keystream"] = last_out - go - rows["beats"]
    waits["release"] = go - t["judged"] - r.order
    none = np.zeros(grid.stretches, np.int64)
    return {room: grid.flat(waits[room], none) for room in ROOMS}

"""The recurrence over packets, compiled.

Numba keeps what it compiled until this file changes: so all of it is in this file, and tables come as arguments.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from model.cycles.costs import NEVER, Costs, Hashed
from model.cycles.packets import Array, Flags

LOOKS = 3
"""Hashes placed between the begins of two powers, at most; more wait for the next one."""


class Cycles(NamedTuple):
    """`Rooms`, as far as they are not in the costs."""

    transmit: bool
    inside: int
    buffer_beats: int
    lookup: bool
    found: int
    plan: int
    aligned: int
    encrypted: int
    hash: int
    place: int
    end: int
    order: int
    behind: int
    aligned_beats: int
    overlay: int
    overlay_next: int
    out: int


class Given(NamedTuple):
    """Of every packet, what its costs do not say; times are NEVER where there is none."""

    beats: Array
    arrival: Array
    gap: Array
    pause: Array


class Contexts(NamedTuple):
    """`Uses` of a context cache, if there is one; transfers in parts of a cycle."""

    cached: bool
    parts: int
    latency: int
    waiting: int
    miss: Flags
    fill: Array
    back: Array
    victim: Array
    free: Array


class Times(NamedTuple):
    """Of every packet: first and last beat in and out; with a context cache, context there, the tracker's end, and its
    turn to the packet."""

    first_in: Array
    last_in: Array
    begun_out: Array
    released: Array
    fetched: Array
    ended: Array
    turned: Array


class Waits(NamedTuple):
    """Of every packet, by room: `chain.Timing`."""

    buffer: Array
    lookup: Array
    context: Array
    track: Array
    align: Array
    ghash: Array
    verdict: Array
    keystream: Array
    release: Array


class Before(NamedTuple):
    """Times of the packet before that the next one's depend on."""

    last_in: int = -1
    handed: int = NEVER
    read: int = NEVER
    found: int = NEVER
    taken_before: int = NEVER
    taken: int = NEVER
    tracked: int = NEVER
    aligned: int = NEVER
    judged: int = NEVER
    overlaid: int = NEVER
    patched: int = NEVER
    gone: int = NEVER
    memory: int = NEVER
    """From when it is free, in parts of a cycle."""
    held: int = 0
    """Cycles for which the flow table held the packet."""
    entered: int = NEVER
    """The last fragment's last beat in GHASH."""
    made: int = NEVER
    """Its hash's product as far as it is known so early."""
    at: int = 0
    """The next fragment's multiplier."""
    slot: int = 0
    """Its slot there."""
    beats: int = 0
    """Of all packets up to this one."""
    leaving: int = 0
    """The packet whose beats are the next to make room in the packet buffer."""
    left: int = 0
    """Beats of those in front of that one."""


class Multipliers(NamedTuple):
    """State of each multiplier of GHASH (hw/placing.py); they take fragments in turn.

    A multiplier takes a product a cycle, and a power's next product goes in when the one before comes out,
    `power_step` cycles later: so it has as many *ways* as cycles in a step, each with its own cycles modulo the step,
    and a power holds one of them from its first product to its last. Of the cycles that no power holds, those that
    place a hash come first; then powers begin, which takes a cycle to load the first digit and a later one for the
    first product.
    """

    ways: Array
    """By multiplier and way: from when a power or a hash may go."""
    loads: Array
    """From when a digit may be loaded."""
    started: Array
    """The last fragment's power's first product."""
    placed: Array
    """The last hash's."""
    waiting: Array
    """Fragments that wait for that."""
    ready: Array
    """By multiplier and slot: power and hash there."""
    single: Flags
    """The power is a single digit."""
    results: Array
    """The hash's product."""

    @staticmethod
    def idle(many: int, ways: int, slots: int) -> "Multipliers":
        first = np.repeat(np.arange(-ways, 0)[np.newaxis], many, axis=0)
        never = np.full((many, slots), NEVER)
        return Multipliers(
            first,
            first.copy(),
            np.full(many, NEVER),
            np.full(many, NEVER),
            np.zeros(many, np.int64),
            never,
            np.zeros((many, slots), np.bool_),
            never.copy(),
        )


@njit(cache=True)
def _wait(ways: Array, t: int) -> tuple[int, int]:
    """How long from `t` on every way is held, and which is free first."""
    best = 1 << 62  # wait and way in one number: a branch for each would be guessed wrong half the time
    for way in range(len(ways)):
        held = ways[way] - t
        best = min(best, max(held, held & len(ways) - 1) << 8 | way)
    return best >> 8, best & 255


@njit(cache=True)
def _begin(own: Multipliers, at: int, wanted: int) -> tuple[int, int]:
    """When a power can begin, and its way: a digit is loaded, and a cycle later a way is free."""
    t = wanted + _wait(own.loads[at], wanted)[0] + 1
    wait, way = _wait(own.ways[at], t)
    return t + wait, way


@njit(cache=True)
def _place(own: Multipliers, at: int, slot: int, until: int) -> bool:
    """Place the hash of the fragment in `slot`, if that is not later than `until`; whether it was."""
    t = max(own.ready[at, slot], own.placed[at] + 1)
    wait, way = _wait(own.ways[at], t)
    t += wait
    if t > until:
        return False
    own.waiting[at] -= 1
    own.placed[at] = max(own.placed[at], t)
    own.results[at, slot] = max(own.results[at, slot], t)
    t += own.ways.shape[1]
    own.ways[at, way] = max(own.ways[at, way], t)
    if own.single[at, slot]:
        own.loads[at, way] = max(own.loads[at, way], t)
    return True


@njit(cache=True)
def _hash(
    own: Multipliers, r: Cycles, at: int, slot: int, beats: int, digits: int, last: int, entered: int
) -> tuple[int, int]:
    """The last beat in GHASH of a fragment, whose last aligned beat would come at `last`, and its hash's product as far
    as it is known so early; `entered` is that last beat of the fragment before."""
    slots = own.ready.shape[1]
    if own.waiting[at] >= slots:  # the slot's fragment before must be placed
        _place(own, at, slot, 1 << 62)
    first = max(last - beats, entered, own.results[at, slot]) + 1
    last = max(last, first + beats - 1)
    wanted = max(first, own.started[at]) + 1
    if digits > 1:
        begins, way = _begin(own, at, wanted)
        looks = 0
        while looks < LOOKS and own.waiting[at] > 0:  # hashes are placed before the power is begun
            oldest = slot - own.waiting[at]
            if not _place(own, at, oldest if oldest >= 0 else oldest + slots, begins):
                break
            begins, way = _begin(own, at, wanted)
            looks += 1
        own.started[at] = max(own.started[at], begins)
        through = begins + (digits - 1) * own.ways.shape[1]
        own.ways[at, way] = max(own.ways[at, way], through)
        own.loads[at, way] = max(own.loads[at, way], through)
        first = max(first, through)
    made = max(last + r.hash, first) + 1
    own.ready[at, slot] = made
    own.single[at, slot] = digits <= 1
    own.waiting[at] += 1
    return last, made


@njit(cache=True)
def run(
    begin: int,
    costs: Costs,
    hashed: Hashed,
    given: Given,
    contexts: Contexts,
    r: Cycles,
    before: Before,
    own: Multipliers,
    times: Times,
    waits: Waits,
) -> Before:
    """The packets from number `begin` on that have these costs, behind those that left `before` and `own`.

    Fills `times` and `waits`.
    """
    last, g, c, o = before.last_in, before.handed, before.read, before.found
    taken2, taken, f, d = before.taken_before, before.taken, before.tracked, before.aligned
    v, q, y, x = before.judged, before.overlaid, before.patched, before.gone
    memory, held, entered, made = before.memory, before.held, before.entered, before.made
    at, slot = before.at, before.slot
    total, leaving, left = before.beats, before.leaving, before.left
    fragment = 0
    for k in range(len(costs.beats)):
        i = begin + k
        more = costs.beats[k] - 1
        # way in
        wanted = max(last + 1, given.arrival[i])
        a = max(last + given.gap[i], given.arrival[i], x + given.pause[i])
        if i >= r.inside:
            a = max(a, times.released[i - r.inside] + 1)
        last = a + more
        total += costs.beats[k]
        missing = total - r.buffer_beats  # beats that must have left
        while left + given.beats[leaving] < missing:
            left += given.beats[leaving]
            leaving += 1
        if missing > 0 and 0 < i - leaving < r.inside:
            last = max(last, times.begun_out[leaving] + missing - left)
        times.first_in[i], times.last_in[i] = a, last
        waits.buffer[i] = last - wanted - more
        h = a + costs.parse[k]
        # lookup
        base = h
        if r.lookup:
            g = max(max(g + 1, h) + costs.hash[k], c)
            waited = g - h - costs.hash[k]
            c = max(g + costs.read[k], o)
            waited += c - g - costs.read[k]
            base = c + costs.find[k]
            if contexts.cached:
                if i >= contexts.waiting:
                    base = max(base, times.turned[i - contexts.waiting] + 1)
            elif r.found < r.inside:
                base = max(base, taken2 + 1)
            o = base
            holds = held > 0  # the packet in front, and with it those behind
            held = o - c - costs.find[k]
            waits.lookup[i] = 0 if holds else waited
            waits.track[i] = waited - waits.lookup[i] + held
        here = base + costs.there[k]
        came = here
        if contexts.cached and contexts.miss[i]:
            asked = base
            if contexts.free[i] > 0:
                asked = max(asked, times.fetched[i - contexts.free[i]])
            if contexts.victim[i] > 0:
                asked = max(asked, times.ended[i - contexts.victim[i]])
            memory = max(memory, asked * contexts.parts) + contexts.fill[i]
            fetched = -(-memory // contexts.parts) + contexts.latency
            memory += contexts.back[i]
            times.fetched[i] = fetched
            waits.context[i] = max(fetched - max(here, f), 0)
            here = max(here, fetched)
        # a packet that comes too late to go on from the one before is begun like any other
        on = f + costs.start[k]
        w = max(here, on)
        if costs.chained[k] and f >= here:
            w = on
        waits.track[i] += max(w - came - waits.context[i], 0)
        taken2, taken = taken, max(w, f)
        # tracker and aligner
        free = max(w + costs.free[k], last + costs.track_last[k], h + costs.track_headers[k])
        f = max(w + costs.track[k], last + costs.track_last[k], h + costs.track_headers[k], d + costs.track_blocked[k])
        streamed = max(w + costs.align[k], d + costs.align_blocked[k], last + costs.align_last[k])
        d = max(f + r.plan, max(streamed, d) + 1)
        if contexts.cached:
            times.turned[i], times.ended[i] = taken, f
        # keystream's way into the frame's grid; transmit: encryption waits for it, and GHASH for that
        earlier = q
        q = max(q + costs.overlay[k], d + costs.emitted[k])
        since = q - costs.emitted[k]
        behind = streamed - d
        d = max(d, since - r.behind)
        streamed = behind + d
        done = max(since - r.aligned_beats, d) if r.transmit else d
        reach = done + behind
        waits.align[i] = max(f - free, 0) + d - f - r.plan
        # GHASH, verdict
        summed, v, powered = v, v + costs.verdict[k], NEVER
        of = fragment + hashed.many[k]
        coming = 0
        for one in range(fragment, of):
            coming += hashed.beats[one]
        for one in range(fragment, of):
            coming -= hashed.beats[one]
            comes = reach - coming + r.aligned + r.encrypted
            entered, product = _hash(own, r, at, slot, hashed.beats[one], hashed.digits[one], comes, entered)
            at += 1
            if at == len(own.ways):
                at = 0
                slot += 1
                if slot == own.ready.shape[1]:
                    slot = 0
            made = max(made + 1, product)
            summed = max(summed + hashed.work[one], made + r.place - 1)
            powered = made + r.place - 1 + r.end
        if hashed.many[k] > 0:
            v = max(v, summed + costs.judge[k], powered)
        fragment = of
        v = max(v, done + costs.settle[k])
        base = r.aligned + r.encrypted + r.hash + r.place + 1
        ready = max(streamed + base, d + costs.settle[k])
        waits.ghash[i] = max(powered - ready, 0)
        waits.verdict[i] = max(v - max(ready, powered), 0)
        # way out
        brought = q + r.overlay if costs.alone[k] else earlier + r.overlay_next
        go = v + r.order
        out = max(go, brought)
        leaves = go
        if i:
            leaves = max(go, times.released[i - 1] + 1)
            out = max(out, leaves)
        gone = max(out + more, q + r.overlay + costs.flush[k])
        if r.transmit:
            y = max(y + costs.patches[k], go)
            gone = max(gone, y)
        times.begun_out[i], times.released[i] = out, gone
        waits.keystream[i] = gone - leaves - more
        waits.release[i] = leaves - go
        x = gone + r.out
    return Before(
        last, g, c, o, taken2, taken, f, d, v, q, y, x, memory, held, entered, made, at, slot, total, leaving, left
    )

"""From packets to what each of them takes in each room: coefficients of the chain's recurrence.

Times of a packet are maxima of sums, so a packet's way through tracker and aligner, fragment by fragment, folds into a
few numbers: from when the tracker turns to it, and from when the aligner is through with the packet before.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from model.contract import TAG_SIZE
from model.cycles.packets import Array, Flags, Packets
from model.cycles.rooms import Direction, Rooms

NEVER = -(1 << 40)
"""Earlier than everything: no constraint."""

IPV4_NEED, IPV6_NEED = 54, 74
"""Bytes to the end of the first 20 of the TCP header, without VLAN tags, options and extension headers."""


class Costs(NamedTuple):
    """Of each packet; names of times are those of `recurrence.Before`.

    Attributes
    ----------
    beats : Array
        On the bus.
    parse : Array
        From the first beat in to the headers.
    hash, read, find : Array
        Lookup: until the flow table takes it over, and its two parts.
    there, start : Array
        The tracker's begin, from the queue in front of it and from its end before.
    chained : Flags
        `start` only counts if the packet is there by then.
    track, track_last, track_headers, track_blocked : Array
        End of the tracker's work, from its begin, the last beat in, the headers, and the aligner's end of the packet
        before.
    align, align_blocked, align_last : Array
        End of the last fragment in the aligner, from the tracker's begin, from that, and from the last beat in; NEVER
        without fragments.
    free : Array
        As `track`, if the aligner never held the tracker up.
    """

    beats: Array
    parse: Array
    hash: Array
    read: Array
    find: Array
    there: Array
    start: Array
    chained: Flags
    track: Array
    track_last: Array
    track_headers: Array
    track_blocked: Array
    align: Array
    align_blocked: Array
    align_last: Array
    free: Array
    settle: Array
    """Verdict, from the end in the aligner."""
    verdict: Array
    """Work of the verdict's room."""
    judge: Array
    """Of that, behind the fragments."""
    overlay: Array
    """Work of the room that brings overlays into the frame's grid."""
    emitted: Array
    """The frame's last overlay, from the end in the aligner."""
    flush: Array
    patches: Array
    alone: Flags
    """No fragments, so nothing of the overlay is known before the end's."""


class Hashed(NamedTuple):
    """Fragments one by one.

    Attributes
    ----------
    many : Array
        Fragments of each packet.
    beats, digits, work : Array
        Of each fragment: aligned beats, nonzero digits of its exponent, cycles of the verdict's room.
    """

    many: Array
    beats: Array
    digits: Array
    work: Array


def blocks(p: Packets, width: int) -> tuple[Array, Array, Array, Array]:
    """Of each fragment: aligned beats, exponent, frame position of the first one's byte 0, ends of body (`hw.plan`)."""
    end = p.first + p.count
    n = -(-p.body // 16)
    first = np.where(p.first == 16, 0, p.first // 16)
    last = np.where(end > 16 + p.body, n + 1, (end - 1) // 16)
    lanes = width // 16
    beats = -(-(last - first + 1) // lanes)
    start = p.position + 16 * (last + 1 - lanes * beats) - p.first
    body_end = p.position + np.minimum(end, 16 + p.body) - p.first
    return beats, n + 2 - last, start, body_end


def digits_of(exponent: Array) -> Array:
    """Nonzero digits of radix 4."""
    return np.bitwise_count((exponent | exponent >> 1) & 0x5555).astype(np.int64)


def cost_blocks(p: Packets, r: Rooms, size: int) -> Iterator[tuple[int, Costs, Hashed]]:
    """The first packet's number and what they take, `size` packets at a time: they stay in a processor's cache."""
    for begin in range(0, len(p), size):
        front = min(begin, 1)  # what a packet takes depends on the one in front of it
        costs, hashed = costs_of(p.part(begin - front, min(begin + size, len(p))), r)
        if front:
            costs = Costs._make(values[front:] for values in costs)
            pieces = int(hashed.many[0])
            hashed = Hashed(hashed.many[front:], hashed.beats[pieces:], hashed.digits[pieces:], hashed.work[pieces:])
        yield begin, costs, hashed


def costs_of(p: Packets, r: Rooms) -> tuple[Costs, Hashed]:
    """What each packet takes, and each of its fragments."""
    count, width = len(p), r.width
    beats = -(-p.size // width)
    need = np.minimum(np.where(p.ipv6, IPV6_NEED, IPV4_NEED), r.window)
    fire = np.maximum(-(-r.look // width) + 1, -(-need // width))
    parse = np.minimum(np.minimum(beats, r.window // width), fire) + r.parse
    hashed = np.where(p.looked_up, np.where(p.ipv6, r.hash_ipv6, r.hash_ipv4), 0)
    read = np.where(p.looked_up, r.read, r.by)
    find = np.where(p.looked_up, np.where(p.matched, r.hit, r.miss), r.by)

    aligned, exponent, start, body_end = blocks(p, width)
    aligned = np.where(p.count > 0, aligned, 0)
    digits = digits_of(exponent)
    at = np.searchsorted(p.frame, np.arange(count + 1))
    many = np.diff(at)
    fragments = np.bincount(p.frame[p.count > 0], minlength=count)
    fragmented = fragments > 0
    walks = p.matched & ~p.refused & (p.slow == 0)
    fast = walks & fragmented
    before = np.concatenate((np.zeros(min(count, 1), np.bool_), fast[:-1]))
    chained = fast & before & p.follows
    opens = np.zeros(len(p.frame), np.bool_)
    opens[at[:-1][many > 0]] = True
    behind_cut = np.concatenate((np.zeros(min(len(opens), 1), np.bool_), p.resumed[:-1]))
    looked = np.zeros(len(p.frame), np.bool_)
    if r.near:
        looked = opens & ~chained[p.frame]
    header = r.header + r.unforeseen * (opens & ~looked | behind_cut & (not r.near))
    header += r.resumed * (p.resumed & p.whole) + r.part * ~p.whole
    if not r.foresees:
        second = np.flatnonzero(~opens & np.concatenate((opens[:1] & False, opens[:-1])))
        header[second] += r.unforeseen * ((p.header_end[second - 1] == 0) & ~chained[p.frame[second]])
    header = np.where(p.header_end > 0, header, 0)
    if r.near:
        header[_near(p, opens, looked, width)] = 0
    # While a fragment waits for the aligner, the header behind it is read.
    waited = header - (r.near & ~opens & p.whole & (header > 0))
    work = 1 + r.fetch * (p.first != 16)

    # The tracker's next state if the last fragment did not wait for the aligner, and if it did; the aligner's last two
    # ends: from the tracker's begin, from the aligner's end before.
    never = np.full(count, NEVER)
    own = [np.full(count, r.begin), never.copy(), never.copy(), never.copy()]
    prior = [never.copy(), never.copy(), np.full(count, -1), np.zeros(count, np.int64)]
    free = own[0].copy()
    for rank in range(int(many.max(initial=0))):
        of = np.flatnonzero(many > rank)
        k = at[of] + rank
        here, some = p.count[k] > 0, aligned[k]
        for column in (own, prior):
            t, after_wait, lag, last = (values[of] for values in column)
            t = np.maximum(t + header[k], after_wait + waited[k])
            taken = np.maximum(t, lag)
            column[0][of] = np.where(here, t + r.fragment, t)
            column[1][of] = np.where(here, lag + r.fragment, NEVER)
            column[2][of] = np.where(here, last, lag)
            column[3][of] = np.where(here, np.maximum(last + 1, taken + r.plan) + some - 1, last)
        free[of] += header[k] + np.where(here, r.fragment, 0)
    last_piece = at[1:] - 1
    has = many > 0

    def summed(values: Array | Flags) -> Array:
        """Of each packet's pieces."""
        total = np.concatenate((np.zeros(1, np.int64), np.cumsum(values)))
        return total[at[1:]] - total[at[:-1]]

    piece = p.count > 0
    streamed, worked = summed(aligned), summed(work * piece)
    bare = np.zeros(count, np.int64)
    bare[has] = np.where((p.count == 0) & p.whole, r.bare, 0)[last_piece[has]]

    track, blocked = (np.maximum(np.maximum(column[0], column[1]) + bare, column[2]) for column in (own, prior))
    track = np.where(walks, track, np.where(p.matched, r.begin, r.passed))
    blocked = np.where(walks, blocked, -1)
    slow = p.slow > 0
    late = np.where(slow, p.slow, 0)
    free = np.where(walks, free + bare, track)
    same = np.zeros(count, np.bool_)
    same[1:] = p.matched[1:] & p.matched[:-1] & (p.connection[1:] == p.connection[:-1])
    start_at = np.where(chained, r.follows, np.where(same, r.same, np.where(p.matched, 0, 1 - r.passed)))

    overlay = np.where(fragmented, streamed, 0) + 1
    flush, jumps = _dealign(p, aligned, start, body_end, width, at, has)
    overlay += jumps
    tags = piece & (p.first + p.count > 16 + p.body)
    completes = piece & (p.first + p.count == 16 + p.body + TAG_SIZE)
    patches = summed(tags) * r.patch + 1
    kept = np.minimum(summed(completes), r.slots) * r.kept
    judge = np.where(fragmented, r.end, r.end_alone) + kept
    costs = Costs(
        beats=beats,
        parse=parse,
        hash=hashed,
        read=read,
        there=np.where(p.matched, r.there, r.there - 1),
        start=start_at,
        find=find,
        track=np.where(slow, r.slow + late, track),
        track_last=np.where(slow, r.checksum + late, r.checksum),
        track_headers=late + r.checksum - 1 + -(-beats // 2),
        track_blocked=blocked,
        align=np.where(fragmented, np.where(slow, r.slow + p.emit + r.plan + streamed - 1, own[3]), NEVER),
        align_blocked=np.where(fragmented, np.where(slow, streamed, prior[3]), NEVER),
        align_last=np.where(fragmented & slow, r.checksum + p.emit + r.plan + streamed - 1, NEVER),
        free=free,
        settle=r.aligned
        + np.where(fragmented, 0, 1)
        + (r.encrypted - 1 + r.delta if r.direction is Direction.TX else 0),
        verdict=worked + judge,
        judge=judge,
        overlay=overlay,
        emitted=np.full(count, r.aligned + r.keystream + r.dealign),
        flush=flush,
        patches=patches,
        chained=chained,
        alone=~fragmented,
    )
    return costs, Hashed(fragments, aligned[piece], digits[piece], work[piece])


def _near(p: Packets, opens: Flags, looked: Flags, width: int) -> Flags:
    """Of each piece: its header lies in the two beats that were read for the piece before it in the frame.

    `looked`: of a frame's first piece, the payload's beginning has been read before it.
    """
    near = np.zeros(len(p.frame), np.bool_)
    if not len(near):
        return near
    read = np.where(p.resumed, p.header_end, p.payload[p.frame])  # of a first piece
    read[1:] = np.where(opens[1:], read[1:], (p.position + p.count)[:-1])
    near[1:] = ~opens[1:] & p.whole[1:] & ((p.header_end > 0) | looked)[:-1]
    near[1:] &= p.header_end[1:] - read[:-1] // width * width <= 2 * width
    return near


def _dealign(
    p: Packets, aligned: Array, start: Array, body_end: Array, width: int, at: Array, has: np.ndarray
) -> tuple[Array, Array]:
    """Cycles of the overlay's room beside one for each aligned beat: at the frame's end, and between fragments."""
    last_beat = (start + width * (aligned - 1)) // width
    spills = (p.count > 0) & ((body_end - 1) // width > last_beat) & (body_end > p.position)
    flush = np.zeros(len(p), np.int64)
    last_piece = at[1:] - 1
    some = has & (p.count > 0)[np.clip(last_piece, 0, None)] if len(p.frame) else has
    flush[some] = spills[last_piece[some]]
    jumps = np.zeros(len(p), np.int64)
    if len(p.frame) > 1:
        ahead = start[1:] // width - last_beat[:-1]
        both = (p.frame[1:] == p.frame[:-1]) & (p.count[1:] > 0) & (p.count[:-1] > 0)
        more = np.where(both, np.clip(ahead - 1, 0, 1 + spills[:-1]), 0)
        np.add.at(jumps, p.frame[1:], more)
    return flush, jumps

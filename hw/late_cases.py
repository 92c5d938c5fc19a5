"""Where a frame stands in its connection's sequence numbers, and which case of the contract that is (section 3)."""

from dataclasses import dataclass

from amaranth.hdl import Mux, Signal

from model.contract import MAX_RECORD


def _after(difference):
    """`hw.sequence.after`, of a difference that stands in a register."""
    return (difference != 0) & ~difference[31]


def known(m, name, condition):
    """A condition, from a register."""
    result = Signal(name=name)
    m.d.sync += result.eq(condition)
    return result


def difference(m, name, later, earlier):
    result = Signal(32, name=name)
    m.d.sync += result.eq(later - earlier)
    return result


@dataclass(frozen=True)
class Cases:
    """Differences of sequence numbers; a cycle later what they say; in one more which case it is. All are registers."""

    seq_expected: Signal
    seq_record: Signal
    seq_seen: Signal
    news: Signal
    leaps: Signal
    starts_at_record_end: Signal
    has_missed: Signal
    searches: Signal
    is_lost: Signal
    straight: Signal
    old: Signal
    gives_up: Signal
    is_far: Signal
    begins: Signal


def cases(m, frame, entry, at, inside, end_seq, record_end) -> Cases:
    """Of `frame`, which ends at `end_seq`, against its connection's state."""
    seq_expected = difference(m, "seq_expected", frame.seq, entry.expected)
    end_expected = difference(m, "end_expected", end_seq, entry.expected)
    seq_record = difference(m, "seq_record", frame.seq, record_end)
    end_record = difference(m, "end_record", end_seq, record_end)
    seq_seen = difference(m, "seq_seen", frame.seq, entry.seen)
    end_seen = difference(m, "end_seen", end_seq, entry.seen)
    seen_expected = difference(m, "seen_expected", entry.seen, entry.expected)
    in_order = known(m, "in_order", seq_expected == 0)
    gap = known(m, "gap", _after(seq_expected))
    reaches_past = known(m, "reaches_past", _after(end_expected))
    too_far = known(m, "too_far", end_expected > MAX_RECORD)
    in_record = known(m, "in_record", inside & ~_after(seq_record))
    starts_at_record_end = known(m, "starts_at_record_end", seq_record == 0)
    reaches_past_record_end = known(m, "reaches_past_record_end", _after(end_record))
    leaps = known(m, "leaps", _after(seq_seen))
    leap_inside = known(m, "leap_inside", (seq_seen < at.remaining))
    news = known(m, "news", _after(end_seen))
    has_missed = known(m, "has_missed", _after(seen_expected))

    # --- and a cycle later: which case of the contract it is
    searches = known(m, "searches", ~entry.tracking | (leaps & ~leap_inside))
    is_lost = known(m, "is_lost", entry.out_of_sync)
    straight = known(m, "straight", ~entry.out_of_sync & in_order)
    old = known(m, "old", ~entry.out_of_sync & ~in_order & ~gap)
    ahead = ~entry.out_of_sync & gap
    gives_up = known(m, "gives_up", ahead & in_record)
    is_far = known(m, "is_far", ahead & ~in_record & too_far)
    begins = known(
        m,
        "begins",
        Mux(
            entry.out_of_sync,
            news,
            in_order | Mux(gap, in_record & reaches_past_record_end, entry.skipping & reaches_past),
        ),
    )
    return Cases(
        seq_expected=seq_expected,
        seq_record=seq_record,
        seq_seen=seq_seen,
        news=news,
        leaps=leaps,
        starts_at_record_end=starts_at_record_end,
        has_missed=has_missed,
        searches=searches,
        is_lost=is_lost,
        straight=straight,
        old=old,
        gives_up=gives_up,
        is_far=is_far,
        begins=begins,
    )

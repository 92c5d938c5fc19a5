"""Which beat of a fragment is next, and its bytes out of the packet buffer."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Mux, Signal, signed
from amaranth.lib import data

from hw import layouts
from hw.buffer import readable
from hw.plan import POSITION_BITS, plan_layout
from hw.rotate import bytes_below, clipped, thermometer

BOUNDS = ("body_low", "body_high", "tag_low", "tag_high")


@dataclass(frozen=True)
class Read:
    """A beat whose bytes have come from the buffer."""

    valid: Any
    plan: Any
    last: Any
    first: Any
    rotate: Any
    beat: Any
    counter: Any
    left: Any
    body: Any
    tag: Any
    bytes: Any


def read(m, align, plan, has_room) -> Read:
    """Stages 0 and 1: a beat is chosen, and the buffer answers."""
    config = align.config
    width = config.width

    # stage 0: which beat is next
    p = plan.o.p
    number = Signal(layouts.EXPONENT_BITS)  # beat of the fragment
    offset = Signal(signed(POSITION_BITS))  # of its byte 0 from that of the fragment's first beat
    start = Signal(signed(POSITION_BITS))
    beat = Signal(config.pointer_bits)  # frame beat of its byte 0
    past = Signal(config.pointer_bits)
    remaining = Signal(layouts.EXPONENT_BITS)
    step = Signal()  # the chosen beat is read
    advance = Signal()  # the next one is chosen
    bound = signed(POSITION_BITS)
    choice = data.StructLayout({
        "plan": plan_layout(config, align.work),
        "last": 1,
        "first": 1,
        "needed": config.pointer_bits,
        "address": config.pointer_bits,
        "rotate": config.rotate_bits,
        "beat": config.pointer_bits,
        "counter": 16,
        "left": range(layouts.GHASH_STRIDE + 1),
        "body_low": bound, "body_high": bound, "tag_low": bound, "tag_high": bound,
    })  # fmt: skip
    next_choice, chosen, chosen_valid = Signal(choice), Signal(choice), Signal()
    n = next_choice
    m.d.comb += [
        start.eq(p.start + offset),
        beat.eq(start >> config.rotate_bits),
        past.eq(p.last_beat - beat),
        remaining.eq(p.beats - 1 - number),
        n.plan.eq(p),
        n.last.eq(p.work.end | (number == p.beats - 1)),
        n.first.eq(number == 0),
        n.needed.eq(Mux((past == 0) | past[-1], p.work.base + p.last_beat, p.work.base + beat + 1)),
        n.address.eq(p.work.base + beat),
        n.rotate.eq(start),
        n.beat.eq(beat),
        n.counter.eq(p.counter + (offset >> 4)),
        n.left.eq(Mux(remaining > layouts.GHASH_STRIDE, layouts.GHASH_STRIDE, remaining)),
        *(getattr(n, name).eq(getattr(p, name) - offset) for name in BOUNDS),
        plan.o.ready.eq(advance & n.last),
    ]
    with m.If(advance):
        m.d.sync += [
            number.eq(Mux(n.last, 0, number + 1)),
            offset.eq(Mux(n.last, 0, offset + width)),
        ]
    m.d.comb += [advance.eq(step), chosen.eq(next_choice), chosen_valid.eq(plan.o.valid)]

    # then: is it in the buffer, and is there room behind?
    available = Signal()
    room = Signal()
    chosen_work = chosen.plan.work
    m.d.comb += room.eq(has_room)
    m.d.comb += [
        available.eq(readable(align.written, align.ended, chosen.needed, chosen_work.packet)),
        step.eq(chosen_valid & room & (chosen_work.end | available)),
        align.buffer.address.eq(chosen.address),
    ]

    # stage 1: the buffer answers
    valid1 = Signal()
    plan1 = Signal(plan_layout(config, align.work))
    last1, first1 = Signal(), Signal()
    rotate1 = Signal(config.rotate_bits)
    beat1 = Signal(config.pointer_bits)
    counter1 = Signal(16)
    left1 = Signal(range(layouts.GHASH_STRIDE + 1))
    bounds1 = {name: Signal(range(width + 1)) for name in BOUNDS}
    m.d.sync += [
        valid1.eq(step),
        plan1.eq(chosen.plan),
        last1.eq(chosen.last),
        first1.eq(chosen.first),
        rotate1.eq(chosen.rotate),
        beat1.eq(chosen.beat),
        counter1.eq(chosen.counter),
        left1.eq(chosen.left),
        *(signal.eq(clipped(getattr(chosen, name), width)) for name, signal in bounds1.items()),
    ]
    below = {name: bytes_below(m, signal, width) for name, signal in bounds1.items()}
    body1 = below["body_high"] & ~below["body_low"]
    tag1 = below["tag_high"] & ~below["tag_low"]
    return Read(valid1, plan1, last1, first1, rotate1, beat1, counter1, left1, body1, tag1, align.buffer.data)


def late_read(m, align, beats, has_room) -> Read:
    """The same with Beats, and a register behind the buffer."""
    config = align.config
    width = config.width
    m.d.sync += beats.room.eq(has_room)
    m.d.comb += [
        beats.written.eq(align.written),
        beats.ended.eq(align.ended),
        align.buffer.address.eq(beats.address),
    ]
    answered, beat = Signal(), beats.beat
    valid1 = Signal()
    last1, first1 = Signal(), Signal()
    rotate1, beat1 = Signal.like(beat.rotate), Signal.like(beat.beat)
    counter1, left1 = Signal.like(beat.counter), Signal.like(beat.left)
    body1, tag1 = Signal(width), Signal(width)
    bytes1 = Signal(16 * width, reset_less=True)
    below = {name: thermometer(getattr(beat, name))[:width] for name in BOUNDS}
    m.d.sync += [
        answered.eq(beats.step),
        valid1.eq(answered),
        last1.eq(beat.last),
        first1.eq(beat.first),
        rotate1.eq(beat.rotate),
        beat1.eq(beat.beat),
        counter1.eq(beat.counter),
        left1.eq(beat.left),
        body1.eq(below["body_high"] & ~below["body_low"]),
        tag1.eq(below["tag_high"] & ~below["tag_low"]),
        bytes1.eq(align.buffer.data),
    ]
    return Read(valid1, beats.fragment, last1, first1, rotate1, beat1, counter1, left1, body1, tag1, bytes1)

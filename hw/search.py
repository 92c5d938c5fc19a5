"""The published tracker's search for a record header in a frame, out of sync."""

from amaranth.hdl import Cat, Module, Signal

from hw.buffer import readable
from hw.config import Config
from hw.header_finder import HeaderFinder, looks_like_header
from hw.walk import Walk
from model.contract import HEADER_SIZE

TAIL = HEADER_SIZE - 1
"""Bytes kept of a frame: a header may begin in them and end in the next frame."""


def search_states(
    m: Module, config: Config, tracker, frame, walk: Walk, entry, first: Signal, *, track, then: str, late
):
    """States "buffered" to "kept": from the walk's cursor on, where does a header begin?

    Leaves for "walk" with the cursor there and the statements of `track(place=, header=, count=)`, whose `count` bytes
    `header` were the end of the frame before; for `then` if there is none, with the frame's last bytes kept. `late` is
    a condition under which the search ends, and what is next then.
    """
    m.submodules.finder = finder = HeaderFinder(config)
    m.d.comb += [
        finder.base.eq(frame.base),
        finder.first.eq(walk.cursor),
        finder.limit.eq(walk.limit),
        finder.tls13.eq(entry.tls13),
        finder.buffer.data.eq(tracker.buffer.data),
    ]
    last = Signal(config.pointer_bits, name="last_searched")
    there = Signal(name="searched_there")  # all of the frame: a search does not wait for a beat
    window = Cat(entry.tail, walk.ahead[: 8 * TAIL])
    fits = Signal(TAIL, name="tail_fits")
    m.d.comb += [
        last.eq(frame.base + ((walk.limit - 1) >> config.rotate_bits)),
        there.eq(readable(tracker.written, tracker.ended, last, frame.packet)),
        fits.eq(
            Cat(
                looks_like_header(window[8 * n :][: 8 * HEADER_SIZE], entry.tls13) & (walk.left > n)
                for n in range(TAIL)
            )
        ),
    ]
    with m.State("buffered"):
        with m.If(there):
            m.next = "search"
            with m.If(entry.tail_valid):
                m.next = "tail"

    with m.State("tail"):
        m.next = "search"
        for n in reversed(range(TAIL)):
            with m.If(fits[n]):
                m.d.sync += track(place=walk.cursor - (TAIL - n), header=entry.tail >> 8 * n, count=TAIL - n)
                m.next = "walk"

    with m.State("search"):
        m.d.comb += [finder.go.eq(1), tracker.buffer.address.eq(finder.buffer.address)]
        with m.If(finder.done & finder.found):
            m.d.sync += [*track(place=finder.at, header=0, count=0), walk.cursor.eq(finder.at)]
            m.next = "walk"
        with m.Elif(finder.done):
            m.d.sync += [entry.tail_valid.eq(0), walk.cursor.eq(walk.limit - TAIL)]
            m.next = then
            with m.If(walk.limit - first >= TAIL):
                m.next = "keep"
        if late:
            with m.Elif(late[0]):
                late[1]()

    with m.State("keep"):  # a cycle for the buffer
        m.next = "kept"

    with m.State("kept"):
        m.d.sync += [entry.tail_valid.eq(1), entry.tail.eq(walk.ahead)]
        m.next = then

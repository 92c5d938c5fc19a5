"""The late tracker's search for a record header in a frame, out of sync: what `hw.search` does, for `Config.late`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.late_walk import LateWalk, LengthByte, length_fits
from hw.one_hot import OneHot
from hw.priority import lowest
from hw.search import TAIL
from model.contract import HEADER_SIZE

_of_a_byte = data.StructLayout({"kind": 1, "version": 1, **dict.fromkeys(LengthByte.MEMBERS, 1)})


def places_that_fit(m: Module, text, tls13, name: str) -> Signal:
    """At which bytes of `text` an application data header could begin, two cycles later."""
    bytes_known = []
    for n in range(len(text) // 8):
        byte = text[8 * n :][:8]
        known, says = Signal(_of_a_byte, name=f"{name}_byte{n}"), LengthByte(byte, tls13)
        m.d.sync += [known.kind.eq(byte == 0x17), known.version.eq(byte == 0x03)]
        m.d.sync += [known[member].eq(getattr(says, member)) for member in LengthByte.MEMBERS]
        bytes_known.append(known)
    fits = Signal(len(bytes_known) - HEADER_SIZE + 1, name=f"{name}_fits")
    for n in range(len(fits)):
        kind, major, minor, high, low = bytes_known[n : n + HEADER_SIZE]
        m.d.sync += fits[n].eq(kind.kind & major.version & minor.version & length_fits(high, low))
    return fits


class LateSearch:
    """States "buffered" to "keep": from the walk's cursor on, where does a header begin?

    Leaves for "settle" with the cursor there and the header's bytes so far, `found_at` (byte of the frame) having been
    read in "found"; for "fin" if there is none, with the frame's last bytes kept in `entry`.

    Members
    -------
    searching : Signal           to be given to the walk
    place : Signal(signed)       in state "found": where the header begins, from the frame's first byte of payload on
    """

    def __init__(self, m: Module, config: Config, frame, entry, walk: LateWalk, steps: OneHot, first, searching):
        shift = config.rotate_bits
        go, there = steps.go, walk.there
        keeping = Signal(name="keeping_tail")
        found_at = Signal(layouts.OFFSET_BITS)
        self.place = Signal(range(-(1 << layouts.OFFSET_BITS), 1 << layouts.OFFSET_BITS), name="found_place")
        m.d.sync += self.place.eq(found_at - frame.payload_offset)

        go("buffered", "buffered settles")
        go("buffered settles", "buffered settled")
        go("buffered settled", "place")
        go("wait", "wait", when=~there)
        go("wait", "keep", when=there & keeping)
        go("wait", "compare tail", when=there & ~keeping & entry.tail_valid)
        go("wait", "scan", when=there & ~keeping & ~entry.tail_valid)
        with m.If(steps["buffered"]):
            m.d.sync += searching.eq(1)

        # --- a header that begins in the bytes kept
        tail_fits = places_that_fit(m, Cat(entry.tail, walk.ahead[: 8 * TAIL]), entry.tls13, "tail")
        fits = Signal(TAIL, name="tail_fits_left")
        m.d.sync += fits.eq(Cat(tail_fits[n] & (walk.left > n) for n in range(TAIL)))
        first_fit = Signal(range(TAIL), name="tail_first")
        m.d.sync += first_fit.eq(lowest(m, fits))
        go("compare tail", "compared tail")
        go("compared tail", "tail fits")
        go("tail fits", "tail")
        fits_at_all = Signal(name="tail_fits_at_all")
        m.d.sync += fits_at_all.eq(fits.any())
        go("tail", "picked", "clear", "clear header", when=fits_at_all)
        go("tail", "scan", when=~fits_at_all)
        go("picked", "tail taken")
        go("tail taken", "found")
        m.d.sync += walk.tail.eq(0)
        with m.If(steps["picked"]):
            m.d.sync += [found_at.eq(walk.cursor - TAIL + first_fit), walk.tail.eq(entry.tail >> (first_fit << 3))]
        with m.If(steps["tail taken"]):
            m.d.sync += walk.at.header_count.eq(TAIL - first_fit)

        # --- a beat a cycle: address, block RAM, pair, what bytes say, what fits, which beat it is
        reads = Signal(4, name="scan_reads")
        m.d.sync += reads.eq(Mux(steps["scan"], Cat(1, reads[:-1]), 0))
        text = walk.pair[: 8 * (config.width + HEADER_SIZE - 1)]
        candidates = places_that_fit(m, text, entry.tls13, "scan")
        beat_bits = layouts.OFFSET_BITS - shift
        beat, masked_beat, seen_beat = (
            Signal(beat_bits, name=name) for name in ("scan_beat", "scan_masked_beat", "scanned_beat")
        )
        stop = Signal(layouts.OFFSET_BITS, name="scan_stop")  # a header must begin before
        is_first = Signal(name="scan_first")
        in_stop_beat, behind_stop = Signal(name="scan_in_stop"), Signal(name="scan_behind_stop")
        masked = Signal(config.width, name="scan_masked")
        masked_last, last = Signal(name="scan_masked_last"), Signal(name="scan_last")
        masked_valid, valid = Signal(name="scan_masked_valid"), Signal(name="scan_valid")
        m.d.sync += stop.eq(walk.limit - (HEADER_SIZE - 1))
        next_beat = Signal(beat_bits, name="scan_next_beat")
        m.d.sync += [
            next_beat.eq(Mux(reads[2], next_beat + 1, walk.cursor >> shift)),
            beat.eq(next_beat),
            is_first.eq(~reads[3]),
            in_stop_beat.eq(next_beat == (stop >> shift)),
            behind_stop.eq(((stop >> shift) - next_beat)[-1]),
        ]
        fit = Signal(name="scan_fit")
        fours, in_fours = Signal(config.width // 4, name="scan_fours"), Signal(config.width // 2, name="scan_in_fours")
        from_first, to_stop = Signal(config.width, name="from_first"), Signal(config.width, name="to_stop")
        m.d.sync += [
            from_first.eq(Cat(walk.cursor[:shift] <= n for n in range(config.width))),
            to_stop.eq(Cat(stop[:shift] > n for n in range(config.width))),
            masked_valid.eq(reads[3] & steps["scan"]),
            masked.eq(
                Cat(
                    candidates[n] & (~is_first | from_first[n]) & ~behind_stop & (~in_stop_beat | to_stop[n])
                    for n in range(config.width)
                )
            ),
            masked_last.eq(in_stop_beat | behind_stop),
            masked_beat.eq(beat),
            valid.eq(masked_valid & steps["scan"]),
            fit.eq(masked.any()),
            last.eq(masked_last),
        ]
        hit = valid & fit
        with m.If(~hit):
            m.d.sync += seen_beat.eq(masked_beat)
            for n in range(config.width // 4):
                four = masked[4 * n :][:4]
                m.d.sync += [
                    fours[n].eq(four.any()),
                    in_fours[2 * n :][:2].eq(Mux(four[:2].any(), ~four[0], Cat(~four[2], 1))),
                ]
        go("scan", "hit", when=hit)
        go("hit", "clear", "clear header")
        go("scan", "none", when=valid & last & ~fit)
        go("scan", "scan", when=~valid | (~last & ~fit))
        go("hit", "move")
        go("move", "found")
        with m.If(steps["hit"]):
            four = lowest(m, fours)
            m.d.sync += found_at.eq(Cat(in_fours.word_select(four, 2), four, seen_beat))
        with m.If(steps["move"]):
            m.d.sync += walk.cursor.eq(found_at)
        go("found", "settle")

        # --- nothing: the last bytes are kept, of a frame that has as many
        roomy = Signal(name="tail_roomy")
        m.d.sync += roomy.eq((walk.limit - first)[: layouts.OFFSET_BITS] >= TAIL)
        go("none", "buffered", when=roomy)
        go("none", "fin", when=~roomy)
        go("keep", "fin")
        with m.If(steps["none"]):
            m.d.sync += [keeping.eq(roomy), walk.cursor.eq(walk.limit - TAIL)]
        with m.If(steps["found"] | steps["fin"] | steps["start"]):
            m.d.sync += [keeping.eq(0), searching.eq(0)]
        self.none, self.keep = steps["none"], steps["keep"]

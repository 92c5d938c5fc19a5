"""The walk over a frame's payload with registers in every step's way: what `hw.walk` does, for `Config.late`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from hw import layouts
from hw.config import Config
from hw.one_hot import OneHot
from hw.record_header import HEADER_BYTES
from hw.rotate import shift_right_bytes
from hw.walk import position_layout
from model.contract import EXPLICIT_NONCE_SIZE, HEADER_SIZE, MAX_LENGTH, MIN_LENGTH, TAG_SIZE, TLS_VERSION_BYTES

VERSIONS = (0x0303, 0x0304)


def is_behind(count, place):
    """`count` has passed `place`, both modulo a power of two."""
    return (count != place) & ~(count - place)[len(count) - 1]


class LengthByte:
    """What one byte says of a length field, as its high and as its low byte. Limits: MIN_LENGTH, MAX_LENGTH."""

    MEMBERS = ("zero", "below_top", "top", "enough", "not_too_many")

    def __init__(self, byte, tls13):
        least = [MIN_LENGTH[v] for v in VERSIONS]
        most = [MAX_LENGTH[v] & 0xFF for v in VERSIONS]
        (top,) = {MAX_LENGTH[v] >> 8 for v in VERSIONS}
        assert top & (top - 1) == 0
        self.zero = byte == 0
        self.below_top = byte[top.bit_length() - 1 :] == 0
        self.top = byte == top
        self.enough = Mux(tls13, byte >= least[1], byte >= least[0])
        self.not_too_many = Mux(tls13, byte <= most[1], byte <= most[0])


def length_fits(high, low):
    """The length field is within the limits, of what its bytes say."""
    return Mux(high.zero, low.enough, high.below_top | (high.top & low.not_too_many))


class LateWalk:
    """States "place" to "bad" of a late tracker's machine, and the fields of its fragments.

    Entered at "place" with `cursor`, `limit` and `at` as they are to be for three cycles; a record costs seven cycles
    from there on, one that holds up nothing before its end. Leaves by "done" where the payload is used up, or by "bad"
    at a header outside the limits.

    While `searching` is set, `at` is not looked at: "place" has `ahead` read at the cursor, and "wait", its next state,
    is the caller's.

    Parameters
    ----------
    m : Module
    config : Config
    tracker : the component: `o` (work), `buffer`, `written`, `ended`
    steps : OneHot      the machine
    frame : `base`, `packet`, `payload_offset` and `payload_length` of the frame
    tls13, searching, quiet : Value
    late : Value                     no header is begun: "given up" is next, with the cursor where one would begin

    Members
    -------
    at : Signal(position_layout)
    cursor, limit, left : Signal    bytes of the frame
    ahead : Signal                  HEADER_BYTES from `place` on; the first byte is that of the header at hand
    pair : Signal                   two beats, of `row` two cycles ago
    there : Signal                  `ahead` is right
    opened : Signal                 pulse: a header within the limits
    begun : Signal                  pulse: a header is taken whole, from `place` on
    open_sum : Signal               a record goes on of which this or an earlier frame held a part
    """

    def __init__(
        self, m: Module, config: Config, tracker, steps: OneHot, frame, tls13, *, searching, quiet, answered, late=None
    ):
        self.m = m
        self.at = at = Signal(position_layout, name="at")
        self.cursor, self.limit, self.left = (Signal(layouts.OFFSET_BITS, name=n) for n in ("cursor", "limit", "left"))
        self.opened = Signal(name="opened")
        cursor, limit, left = self.cursor, self.limit, self.left
        place = Signal(layouts.OFFSET_BITS)  # where the next header begins, or that at hand
        size = Mux(tls13, HEADER_SIZE, HEADER_BYTES)
        m.d.sync += limit.eq(frame.payload_offset + frame.payload_length)

        # --- one cycle behind position and header
        inside = Signal()
        to_record_end = Signal(layouts.EXT_BITS)  # from the cursor to the place where a header begins
        spare = Signal(layouts.EXT_BITS + 1)  # of the payload behind the record, in two's complement
        completes, last_one = Signal(), Signal()
        count = Signal(layouts.OFFSET_BITS)
        used_up = Signal()
        needed = Signal(range(HEADER_BYTES + 1))
        no_header = Signal()
        whole = Signal()  # the frame has what is missing of the header
        with_rest = Signal(5)  # bytes of the header when it has not
        first_number = Signal()
        after_header = Signal(layouts.EXT_BITS)  # body and tag of the header's record
        m.d.sync += [
            inside.eq(at.remaining != 0),
            to_record_end.eq(Mux(searching, 0, Mux(inside, at.remaining, -at.header_count))),
            spare.eq(left - at.remaining),
            completes.eq(~spare[-1]),
            last_one.eq(spare[-1] | (spare == 0)),
            count.eq(Mux(spare[-1], left, at.remaining)),
            used_up.eq(left == 0),
            needed.eq(size - at.header_count),
            no_header.eq(at.header_count == 0),
            whole.eq((left[4:] != 0) | ((left[:4] + at.header_count) >= size)),
            with_rest.eq(left[:4] + at.header_count),
            first_number.eq(at.number == 0),
        ]
        # behind the fragment, or the header
        stepped, left_then = Signal(layouts.OFFSET_BITS), Signal(layouts.OFFSET_BITS)
        remaining_then = Signal(layouts.EXT_BITS)
        step = Mux(inside, count, needed)
        m.d.sync += [
            stepped.eq(cursor + step), left_then.eq(left - step), remaining_then.eq(at.remaining - count),
        ]  # fmt: skip
        self.inside = inside
        right_version, short, long = Signal(), Signal(), Signal()
        header = at.header
        nonce = Mux(tls13, 0, EXPLICIT_NONCE_SIZE)
        high, low = LengthByte(header[24:32], tls13), LengthByte(header[32:40], tls13)
        version = Const(int.from_bytes(TLS_VERSION_BYTES.to_bytes(2), "little"), 16)
        m.d.sync += [
            right_version.eq(header[8:24] == version),
            short.eq(high.zero & low.enough),
            long.eq((high.below_top & ~high.zero) | (high.top & low.not_too_many)),
            after_header.eq(Cat(header[32:40], header[24:32]) - nonce),
        ]
        begun_sum = Signal()
        passed = Signal(layouts.EXT_BITS)  # of the record's body and tag
        self.open_sum = inside & begun_sum
        m.d.sync += [begun_sum.eq(at.remaining != after_header), passed.eq(after_header - at.remaining)]

        o = tracker.o.p
        m.d.comb += [
            o.base.eq(frame.base),
            o.packet.eq(frame.packet),
            o.tls13.eq(tls13),
            o.record_number.eq(at.number),
            o.explicit_nonce.eq(Mux(tls13, 0, header[8 * HEADER_SIZE :])),
            o.content_type.eq(header[:8]),
            o.body_length.eq(after_header - TAG_SIZE),
            o.ext_first.eq(passed + 16),
            o.position.eq(cursor),
            o.count.eq(count),
            o.completes.eq(completes),
            o.continues.eq(passed != 0),
        ]

        # --- the bytes at `place`: address, block RAM, `pair`, `ahead`
        self.row = row = Signal(config.pointer_bits)
        pair_bytes = config.width + HEADER_BYTES - 1
        self.pair = pair = Signal(8 * pair_bytes, name="pair")
        self.ahead = ahead = Signal(8 * HEADER_BYTES, name="ahead")
        m.d.comb += tracker.buffer.address.eq(row)
        with m.If(steps["scan"]):
            m.d.sync += row.eq(row + 1)
        with m.Else():
            m.d.sync += row.eq(frame.base + (place >> config.rotate_bits))
        m.d.sync += [
            pair.eq(tracker.buffer.data),
            ahead.eq(shift_right_bytes(pair, place[: config.rotate_bits], HEADER_BYTES)),
        ]

        # May they be read? The header's last byte, in a search the frame's, is in the buffer; or the frame has ended.
        last_byte = Signal(layouts.OFFSET_BITS)
        last_beat = Signal(config.pointer_bits)
        arrived, ended, in_pair = Signal(), Signal(), Signal()
        self.there = Signal(name="ahead_there")
        moved = Cat(Signal(name=f"moved{n}") for n in range(4))
        m.d.comb += moved[0].eq(steps["begun"] | steps["place"])
        m.d.sync += [
            moved[1:].eq(moved[:-1]),
            last_byte.eq(Mux(searching, limit, place) + Mux(searching, -1, size - 1)),
            last_beat.eq(frame.base + (last_byte >> config.rotate_bits)),
            arrived.eq(is_behind(tracker.written, last_beat)),
            ended.eq(is_behind(tracker.ended, frame.packet)),
            in_pair.eq((arrived | ended) & (moved == 0)),
            self.there.eq(in_pair & ~moved[0] & ~moved[1]),
        ]

        # --- where the next header is, if one begins at `ahead`
        length = Cat(ahead[32:40], ahead[24:32])
        behind_header = Signal(layouts.OFFSET_BITS)
        next_place = Signal(layouts.OFFSET_BITS)
        next_remaining = Signal(layouts.EXT_BITS)
        m.d.sync += [
            behind_header.eq(place + HEADER_SIZE),
            next_place.eq(behind_header + length),
            next_remaining.eq(length - nonce),
        ]
        with m.If(steps["begun"]):
            m.d.sync += place.eq(next_place)
        with m.Elif(steps["place"]):
            m.d.sync += place.eq(cursor + to_record_end)

        # --- the machine
        good = right_version & (short | long)
        unchecked = Signal()  # the header at hand is whole, but nobody has looked at its limits
        go = steps.go
        m.d.sync += self.opened.eq(steps["step"] & unchecked & good & quiet & first_number)
        go("place", "sums", when=~searching)
        go("place", "wait", when=searching)
        go("sums", "step")
        refused = unchecked & ~good
        go("step", "bad", when=refused)
        go("step", "clear", "clear header", when=refused & quiet)
        go("step", "done", when=~refused & used_up)
        go("step", "fragment", when=~refused & ~used_up & inside)
        go("step", "head", when=~refused & ~used_up & ~inside)
        leaves = tracker.o.ready | quiet
        go("fragment", "advance", when=leaves)
        go("fragment", "record ends", "clear header", when=leaves & completes)
        go("fragment", "fragment", when=~leaves)
        go("advance", "done", when=last_one)
        go("advance", "left known", when=~last_one)
        go("left known", "head")
        there = self.there
        if late is not None:
            go("head", "given up", when=late & no_header)
            there &= ~(late & no_header)
        go("head", "take", when=there & whole)
        go("head", "begun", when=there & whole & no_header)
        go("head", "cut", when=there & ~whole)
        go("head", "head", when=~there if late is None else ~there & ~(late & no_header))
        go("take", "sums", when=steps["begun"])
        go("take", "lengths", when=~steps["begun"])
        go("lengths", "check")
        go("check", "settle")
        go("cut", "take rest")
        go("take rest", "done")
        go("settle", "settled")

        # Which bytes of `ahead` go into the header: the mask is all zero but in "take" and "take rest".
        new, before_rest, taken = (Signal(HEADER_BYTES, name=n) for n in ("bytes_new", "before_rest", "bytes_taken"))
        for n in range(HEADER_BYTES):
            all_of_it = steps["head"] & there & whole & (Const(1) if n < HEADER_SIZE else ~tls13)
            m.d.sync += [
                new[n].eq(at.header_count <= n),
                before_rest[n].eq(with_rest > n),
                taken[n].eq(new[n] & (all_of_it | (steps["cut"] & before_rest[n]))),
            ]
        self.tail = Signal(32, name="tail_taken")
        grown = header | Cat(Mux(bit, ahead[8 * n :][:8], 0) for n, bit in enumerate(taken)) | self.tail

        with m.If(steps["load position"]):
            m.d.sync += at.header.eq(answered.at.header)
        with m.Else():
            m.d.sync += at.header.eq(grown)
        with m.If(steps["clear header"]):
            m.d.sync += at.header.eq(0)

        with m.If(steps["load position"]):
            m.d.sync += at.header_count.eq(answered.at.header_count)
        with m.If(steps["take"]):
            m.d.sync += at.header_count.eq(size)
        with m.If(steps["take rest"]):
            m.d.sync += at.header_count.eq(with_rest)
        with m.If(steps["clear header"]):
            m.d.sync += at.header_count.eq(0)

        with m.If(steps["load position"]):
            m.d.sync += at.remaining.eq(answered.at.remaining)
        with m.Elif(steps["advance"]):
            m.d.sync += at.remaining.eq(remaining_then)
        with m.Elif(steps["begun"]):
            m.d.sync += at.remaining.eq(next_remaining)
        with m.Elif(steps["check"]):
            m.d.sync += at.remaining.eq(after_header)
        with m.If(steps["bad"] | steps["clear"] | steps["give up record"]):
            m.d.sync += at.remaining.eq(0)

        with m.If(steps["take"] | steps["advance"]):
            m.d.sync += [cursor.eq(stepped), left.eq(left_then)]
        with m.Elif(steps["place"]):
            m.d.sync += left.eq(limit - cursor)

        next_number = Signal(64)
        m.d.sync += next_number.eq(at.number + 1)
        with m.If(steps["record ends"] | steps["give up record"]):
            m.d.sync += at.number.eq(next_number)
        with m.If(steps["load position"]):
            m.d.sync += at.number.eq(answered.at.number)
        with m.If(steps["clear"]):
            m.d.sync += at.number.eq(0)

        with m.If(steps["begun"] | steps["check"]):
            m.d.sync += unchecked.eq(1)
        with m.If(steps["step"] | steps["start"]):
            m.d.sync += unchecked.eq(0)

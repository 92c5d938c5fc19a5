"""Parser for an ECP5: headers are taken from the beats as they pass, not from all of them side by side."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring

from hw.byteorder import big_endian, keep_count
from hw.layouts import PACKET_BITS, checksum_plan, headers
from hw.parse import ETHERNET_SIZE, IPV6_SIZE, LAST_PLACE, QUEUE_DEPTH, Parse, register
from hw.stream import FlagQueue
from hw.window import ETHERTYPE_PLACE, TCP_SIZE
from model.contract import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    EXTENSION_HEADERS,
    HEADER_WINDOW,
    MAX_EXTENSION_HEADERS,
    MAX_FRAME,
    PROTOCOL_TCP,
    VLAN_ETHERTYPES,
)

ADDRESSES = 8, 40
"""Where the addresses are in an IP header, of whichever version, in bytes."""
LAST_WORD = LAST_PLACE + TCP_SIZE // 4 - 1
"""Of a TCP header at the furthest place."""
READ_WORDS = 0, 1, 3
"""Of a TCP header: ports, sequence number, data offset with flags."""
FAR = 15
"""Beats of a frame are counted so far: no header is there."""


class StreamParse(Parse):
    """`Parse` in a third of its registers and multiplexers, some cycles later.

    A beat carries what is known when it passes a stage, so no stage needs the whole window. Words of 4 bytes and beats
    are counted from the IP header on. What one stage finds in a beat, the next one uses in the same or a later beat.

    Contract: as `Parse`, but a frame's items are offered 17 cycles after beat k of it was taken, if the two behind it
    came without a pause: k is the last one, or the one, counted from the IP header on, with the end of the TCP
    header's first 20 bytes. Headers leave every other cycle at most, as frames of two beats and more do. `i.ready`
    falls when one of the outputs has 31 items.
    """

    def __init__(self, config):
        super().__init__(config)
        self._lane_bits = (config.width // 4 - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        begin, go = Signal(), Signal()
        y = self._from_l3(m, self._take(m, begin, go))
        s = self._ip_header(m, y)
        early = self._addresses(m, y, s.ipv6)
        s = self._extensions(m, s, self._address_sum(m, early))
        s = self._tcp(m, *self._tcp_words(m, s))
        s.good = s.good & (s.end_offset <= MAX_FRAME)
        s = register(m, 8, **vars(s), payload_length=super()._payload_length(s))

        # The addresses are known first, and wait in a queue of their own.
        names = [name for name in headers(self._config).members if name not in early.p.shape().members]
        late = stream.Signature(data.StructLayout({n: headers(self._config).members[n] for n in names})).create()
        plan = stream.Signature(checksum_plan(self._config)).create()
        self._but_addresses(m, s, late, plan)
        queues = {}
        for name, source in (("early", early), ("late", late), ("plan", plan)):
            m.submodules[f"{name}_queue"] = queues[name] = queue = FlagQueue(source.p.shape(), depth=QUEUE_DEPTH)
            m.d.comb += [queue.i.p.eq(source.p), queue.i.valid.eq(source.valid)]
        wiring.connect(m, queues.pop("plan").o, wiring.flipped(self.plan))
        taken = Signal()  # the queues give way a cycle later
        m.d.comb += self.o.valid.eq(Cat(queue.o.valid for queue in queues.values()).all() & ~taken)
        m.d.sync += taken.eq(self.o.valid & self.o.ready)
        for queue in queues.values():
            m.d.comb += queue.o.ready.eq(taken)
            m.d.comb += [self.o.p[name].eq(queue.o.p[name]) for name in queue.o.p.shape().members]
        m.d.comb += go.eq(Cat(self._room(m, begin)).all())
        return m

    def _room(self, m, begin):
        """From registers, for which the last place stays empty."""
        for name in self.OUTPUTS:
            output = getattr(self, name)
            owed = Signal(range(QUEUE_DEPTH + 1), name=f"{name}_owed")
            free = Signal(name=f"{name}_free", init=1)
            left = Signal(name=f"{name}_left")
            m.d.sync += [
                left.eq(output.valid & output.ready),
                owed.eq(owed + begin - left),
                free.eq(owed < QUEUE_DEPTH - 1),
            ]
            yield free

    def _take(self, m, begin, go):
        inside, take = Signal(), Signal()
        position, ordinal = Signal(self._config.pointer_bits), Signal(PACKET_BITS)
        m.d.comb += [
            self.i.ready.eq(inside | go),
            take.eq(self.i.valid & self.i.ready),
            begin.eq(take & ~inside),
        ]
        m.d.sync += [position.eq(position + take), ordinal.eq(ordinal + begin)]
        with m.If(take):
            m.d.sync += inside.eq(~self.i.p.last)
        return register(
            m, "taken",
            valid=take, first=begin, last=self.i.p.last, data=self.i.p.data, count=keep_count(self.i.p.keep),
            base=position, packet=ordinal,
        )  # fmt: skip

    def _from_l3(self, m, c):
        """Beats that begin with the Ethernet payload, then with the IP header: each needs the one behind, if there is.

        Of both, a frame has as many as it has beats; what lies behind its end is left from others. `size`: bytes of the
        frame, and of the window, that are known to be there, among them all of the beat.
        """
        bits = 8 * self._config.width
        p_valid, x_valid = Signal(), Signal()
        from_p, from_x = Signal(), Signal()
        p = {
            name: Signal(shape, name=f"p_{name}")
            for name, shape in {
                "first": 1, "last": 1, "index": range(FAR + 1), "data": bits, "size": 9,
                "base": self._config.pointer_bits, "packet": PACKET_BITS,
            }.items()
        }  # fmt: skip
        x = {name: Signal.like(value, name=f"x_{name}") for name, value in p.items()}
        ethertype, tags = Signal(16), Signal(2)

        m.d.comb += [from_p.eq(p_valid & (p["last"] | c.valid)), from_x.eq(x_valid & (x["last"] | from_p))]
        with m.If(c.valid):
            m.d.sync += [
                p_valid.eq(1),
                p["first"].eq(c.first),
                p["last"].eq(c.last),
                p["index"].eq(Mux(c.first, 0, p["index"] + (p["index"] != FAR))),
                p["data"].eq(c.data),
                p["size"].eq(Mux(c.first, 0, p["size"]) + c.count),
            ]
            with m.If(c.first):
                m.d.sync += [p["base"].eq(c.base), p["packet"].eq(c.packet)]
        with m.Elif(from_p):
            m.d.sync += p_valid.eq(0)

        behind = Cat(p["data"], c.data)
        coming = behind[8 * ETHERNET_SIZE :][:bits]
        size = Mux(p["last"], p["size"], p["size"] + c.count)[:9]
        with m.If(from_p):
            values = p | {"data": coming, "size": size}
            m.d.sync += [x_valid.eq(1), *(x[name].eq(value) for name, value in values.items())]
            with m.If(p["first"]):
                types = [big_endian(behind, ETHERTYPE_PLACE + 4 * k, 2) for k in range(3)]
                tagged = [(kind == VLAN_ETHERTYPES[0]) | (kind == VLAN_ETHERTYPES[1]) for kind in types[:2]]
                m.d.sync += [
                    tags.eq(Cat(tagged[0], tagged[0] & tagged[1])),
                    ethertype.eq(Mux(tagged[0], Mux(tagged[1], types[2], types[1]), types[0])),
                ]
        with m.Elif(from_x):
            m.d.sync += x_valid.eq(0)

        both = Cat(x["data"], coming)
        known = Mux(x["last"], x["size"], size)
        return register(
            m, "l3",
            valid=from_x, first=x["first"], last=x["last"], index=x["index"], base=x["base"], packet=x["packet"],
            data=Mux(tags[1], both[64:][:bits], Mux(tags[0], both[32:][:bits], x["data"])),
            size=known,
            l3_offset=(ETHERNET_SIZE + 4 * (tags[0] + tags[1]))[:7],
            ipv4=ethertype == ETHERTYPE_IPV4,
            ipv6=ethertype == ETHERTYPE_IPV6,
        )  # fmt: skip

    def _passing(self, s, *names):
        """What goes with a beat through every stage, and `names`."""
        names = ("valid", "first", "last", "index", "data", "size", "base", "packet", "l3_offset", *names)
        return {name: getattr(s, name) for name in names}

    def _once(self, m, s, passed, name):
        """Up for one beat of each frame: the first with `passed`, or the last."""
        done = Signal(name=f"{name}_done")
        complete = s.valid & ~(done & ~s.first) & (s.last | passed)
        with m.If(s.valid):
            m.d.sync += done.eq(complete | (done & ~s.first))
        return complete

    def _ip_header(self, m, y):
        version, ihl, total_length = y.data[4:8], y.data[0:4], big_endian(y.data, 2, 2)
        fragment = big_endian(y.data, 6, 2)[:14]  # MF and offset
        good4 = y.ipv4 & (version == 4) & (ihl >= 5) & (y.data[72:80] == PROTOCOL_TCP)
        found = {
            "good": good4 | (y.ipv6 & (version == 6)),
            "whole": y.ipv6 | (fragment == 0),
            "holds_tcp": y.ipv6 | (total_length >= Cat(Const(0, 2), ihl) + TCP_SIZE),
            "ipv6": y.ipv6,
            "next_header": Mux(y.ipv6, y.data[48:56], PROTOCOL_TCP),
            "place": Mux(y.ipv6, IPV6_SIZE // 4, ihl)[:11],
            "ip_size": Mux(y.ipv6, big_endian(y.data, 4, 2) + IPV6_SIZE, total_length),
        }
        passing = self._passing(y) | {"size": Mux(y.size >= HEADER_WINDOW, HEADER_WINDOW, y.size)[:8]}
        s = register(m, "ip", **passing)
        with m.If(y.valid & y.first):
            for name, value in found.items():
                setattr(s, name, kept := Signal(value.shape(), name=f"{name}_ip"))
                m.d.sync += kept.eq(value)
        return s

    def _addresses(self, m, y, ipv6):
        """Both, once for each frame, when the last byte of them has passed or the frame has ended."""
        first, end = ADDRESSES
        width = self._config.width
        held = Signal(8 * (end - first))
        early = stream.Signature(
            data.StructLayout({"remote_address": 128, "local_address": 128}), always_ready=True
        ).create()
        for beat in range(-(-end // width)):
            start, stop = max(first, beat * width), min(end, (beat + 1) * width)
            with m.If(y.index == beat):
                part = y.data[8 * (start - beat * width) : 8 * (stop - beat * width)]
                m.d.sync += held[8 * (start - first) : 8 * (stop - first)].eq(part)
        complete = self._once(m, y, y.index == (end - 1) // width, "addresses")
        m.d.sync += early.valid.eq(complete)
        for k, name in enumerate(early.p.shape().members):
            ipv4 = held[8 * (4 + 4 * k) : 8 * (8 + 4 * k)]
            m.d.comb += early.p[name].eq(Mux(ipv6, held[128 * k : 128 * (k + 1)], Cat(Const(0, 96), ipv4)))
        return early

    def _address_sum(self, m, early):
        """Of their 16-bit words, two terms an adder, then three: three cycles later."""
        words = [big_endian(early.p.as_value(), k, 2) for k in range(0, 32, 2)]
        valid = early.valid
        for stage, terms in (("pair", 2), ("part", 3), ("address", 3)):
            valid = register(m, stage, push=valid).push
            sums = [sum(words[k + 1 : k + terms], words[k]) for k in range(0, len(words), terms)]
            words = list(vars(register(m, stage, **{f"sum{k}": value for k, value in enumerate(sums)})).values())
        return SimpleNamespace(valid=valid, sum=words[0])

    def _extensions(self, m, s, addresses):
        """Two stages for each extension header; the sum of the addresses on the side.

        A place beyond the window only grows from there, so what is read behind it cannot make a packet good.
        """
        s.good = s.good & s.whole & s.holds_tcp
        names = ("good", "ipv6", "ip_size")
        for hop in range(MAX_EXTENSION_HEADERS):
            a = register(
                m, f"{hop}a",
                **self._passing(s, *names), next_header=s.next_header, place=s.place,
                known=Cat(s.next_header == kind for kind in EXTENSION_HEADERS).any(),
                here=self._word(s.data, s.place)[:16],
                hit=s.place[self._lane_bits :] == s.index,
            )  # fmt: skip
            if hop == 1:  # the beat that brought the last address is here now
                kept = Signal.like(addresses.sum)
                a.sum0 = Mux(addresses.valid, addresses.sum, kept)
                m.d.sync += kept.eq(a.sum0)
                names += ("sum0",)
            s = register(m, f"{hop}b", **self._passing(a, *names))
            s.next_header, s.place = Signal(8, name=f"next_header_{hop}b"), Signal(11, name=f"place_{hop}b")
            done = Signal(name=f"done_{hop}")
            with m.If(a.valid):
                m.d.sync += done.eq(a.hit | (done & ~a.first))
                with m.If(a.hit & a.known):
                    m.d.sync += [
                        s.next_header.eq(a.here[:8]),
                        s.place.eq(a.place + Cat(Const(0, 1), a.here[8:16] + 1)),
                    ]
                with m.Elif(a.hit | a.first | ~done):
                    m.d.sync += [s.next_header.eq(a.next_header), s.place.eq(a.place)]
        return s

    def _word(self, value, place):
        """Word `place` of the IP packet, in the beat that has it."""
        return value.word_select(place[: self._lane_bits], 32)

    def _tcp_words(self, m, s):
        """Once for each frame: when the TCP header has passed, the frame has ended, or the header is out of reach."""
        names = ("good", "ipv6", "ip_size", "sum0", "next_header", "place")
        s = register(
            m, "tcp", **self._passing(s, *names),
            **{f"word{k}": (s.place[:5] + k)[:6] for k in READ_WORDS}, end=(s.place[:5] + TCP_SIZE // 4 - 1)[:6],
            near=s.place[5:] == 0,  # any other place is beyond the window
        )  # fmt: skip
        tcp = Signal(8 * TCP_SIZE)
        for k in READ_WORDS:
            word = getattr(s, f"word{k}")
            with m.If(word[self._lane_bits :] == s.index):
                m.d.sync += tcp[32 * k : 32 * (k + 1)].eq(self._word(s.data, word))
        passed = (s.near & (s.end[self._lane_bits :] == s.index)) | (s.index == LAST_WORD >> self._lane_bits)
        complete = self._once(m, s, passed, "tcp")
        carried = {name: getattr(s, name) for name in ("base", "packet", "l3_offset", "size", *names)}
        return register(m, "found", valid=complete, **carried), tcp

    def _fits(self, s):
        return True  # a stage later: in `elaborate`

    def _payload_length(self, s):
        return s.payload_length

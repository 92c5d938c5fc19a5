"""Parser: one set of header fields and one checksum plan for every frame."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import big_endian, keep_count
from hw.config import Config
from hw.layouts import beat, checksum_plan, headers
from hw.stream import Queue
from hw.window import ETHERTYPE_PLACE, TCP_SIZE, HeaderWindow, behind_tags, vlan_tags
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

QUEUE_DEPTH = 32
ETHERNET_SIZE = 14
IPV6_SIZE = 40
LAST_PLACE = (HEADER_WINDOW - TCP_SIZE - ETHERNET_SIZE) // 4
"""Furthest place of a TCP header behind the start of the IP header, in words of 4 bytes."""
L3_BYTES = 4 * LAST_PLACE + TCP_SIZE


def register(m: Module, stage: int | str, **values) -> SimpleNamespace:
    """A pipeline register: each value one cycle later, as a signal named after its stage."""
    out = {}
    for name, value in values.items():
        out[name] = Signal(Value.cast(value).shape(), name=f"{name}_{stage}")
        m.d.sync += out[name].eq(value)
    return SimpleNamespace(**out)


class Parse(wiring.Component):
    """Headers of each frame, checked by docs/contract.md section 1.

    Contract: takes a beat a cycle, also where every frame is one beat. A frame's items are offered at both
    outputs 9 cycles after the beat that completes the window was taken (see `HeaderWindow`).
    `i.ready` falls only between frames, and only when one of the outputs has 32 items waiting or on their way.
    `plan.pseudo` is folded once: it is less than 2^17 and congruent to the sum of the words.

    Sources: IEEE 802.3, 802.1Q; RFC 791, RFC 8200, RFC 9293.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    o : Out(stream.Signature(headers(config)))
    plan : Out(stream.Signature(checksum_plan(config)))
    """

    OUTPUTS = {"o": headers, "plan": checksum_plan}

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {"i": In(stream.Signature(beat(config)))}
            | {name: Out(stream.Signature(layout(config))) for name, layout in self.OUTPUTS.items()}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = HeaderWindow(self._config)
        wiring.connect(m, wiring.flipped(self.i), window.i)

        # The pipeline never waits: a frame begins only when all queues have room for its item.
        queues, owed = [], []
        for name, layout in self.OUTPUTS.items():
            output = getattr(self, name)
            m.submodules[f"{name}_queue"] = queue = Queue(layout(self._config), depth=QUEUE_DEPTH)
            wiring.connect(m, queue.o, wiring.flipped(output))
            count = Signal(range(QUEUE_DEPTH + 1), name=f"{name}_owed")
            m.d.sync += count.eq(count + window.begin - (output.valid & output.ready))
            queues.append(queue)
            owed.append(count)
        m.d.comb += window.go.eq(Cat(count != QUEUE_DEPTH for count in owed).all())

        ip = self._ip(m, self._ethernet(m, window))
        s = self._extension_headers(m, ip)
        tcp = self._tcp(m, s, s.l3 >> Cat(Const(0, 5), s.place[:5]), remote=s.remote, local=s.local)
        self._outputs(m, ip, tcp, *(queue.i for queue in queues))
        return m

    def _fits(self, s):
        """Does the end of the IP packet lie where it may?"""
        return s.end_offset <= MAX_FRAME

    def _ethernet(self, m, window):
        """Stage 1: take out the VLAN tags."""
        flags = vlan_tags(window.window)
        ethertype = big_endian(behind_tags(window.window, flags, ETHERTYPE_PLACE, 2), 0, 2)
        size = (window.beats - 1)[: len(window.beats)] * self._config.width + keep_count(window.keep)
        return register(
            m, 1,
            valid=window.fire,
            base=window.base,
            packet=window.packet,
            size=size[: HEADER_WINDOW.bit_length()],
            ipv4=ethertype == ETHERTYPE_IPV4,
            ipv6=ethertype == ETHERTYPE_IPV6,
            l3_offset=(ETHERNET_SIZE + 4 * sum(flags))[:7],
            l3=behind_tags(window.window, flags, ETHERNET_SIZE, L3_BYTES),
        )  # fmt: skip

    def _ip(self, m, s):
        """Stage 2: the IP header."""
        version, ihl = s.l3[4:8], s.l3[0:4]
        total_length = big_endian(s.l3, 2, 2)
        fragment = big_endian(s.l3, 6, 2)[:14]  # MF and offset
        good4 = s.ipv4 & (version == 4) & (ihl >= 5) & (s.l3[72:80] == PROTOCOL_TCP) & (fragment == 0)
        addresses4 = s.l3[8 * 12 : 8 * 16], s.l3[8 * 16 : 8 * 20]
        addresses6 = s.l3[8 * 8 : 8 * 24], s.l3[8 * 24 : 8 * 40]
        remote, local = (Mux(s.ipv6, a6, Cat(Const(0, 96), a4)) for a4, a6 in zip(addresses4, addresses6, strict=True))
        return register(
            m, 2,
            valid=s.valid, base=s.base, packet=s.packet, size=s.size, l3_offset=s.l3_offset, l3=s.l3,
            good=good4 | (s.ipv6 & (version == 6)),
            holds_tcp=s.ipv6 | (total_length >= Cat(Const(0, 2), ihl) + TCP_SIZE),
            ipv6=s.ipv6,
            remote=remote,
            local=local,
            next_header=Mux(s.ipv6, s.l3[48:56], PROTOCOL_TCP),
            place=Mux(s.ipv6, IPV6_SIZE // 4, ihl),
            ip_size=Mux(s.ipv6, big_endian(s.l3, 4, 2) + IPV6_SIZE, total_length),
        )  # fmt: skip

    def _extension_headers(self, m, s):
        """Stages 3 to 5: an extension header each; the sum of the addresses on the side.

        A place beyond the window only grows from there, so what is read behind it cannot make a packet good.
        """
        words = [big_endian(a, k, 2) for a in (s.remote, s.local) for k in range(0, 16, 2)]
        sums = {f"sum{k}": sum(words[k + 1 : k + 4], words[k]) for k in range(0, 16, 4)}
        for hop in range(MAX_EXTENSION_HEADERS):
            known = Cat(s.next_header == kind for kind in EXTENSION_HEADERS).any()
            here = Const(0, 16)
            for place in range(IPV6_SIZE // 4, LAST_PLACE + 1, 2):
                here = Mux(s.place[:5] == place, s.l3[32 * place : 32 * place + 16], here)
            s = register(
                m, 3 + hop,
                valid=s.valid, base=s.base, packet=s.packet, size=s.size, l3_offset=s.l3_offset, l3=s.l3,
                good=s.good & s.holds_tcp if hop == 0 else s.good,
                ipv6=s.ipv6, remote=s.remote, local=s.local, ip_size=s.ip_size,
                next_header=Mux(known, here[:8], s.next_header),
                place=(s.place + Mux(known, Cat(Const(0, 1), here[8:16] + 1), 0))[:11],
                **sums,
            )  # fmt: skip
            # All four are added one stage later; the result is only carried on from there.
            parts = [getattr(s, name) for name in sums]
            sums = {"sum0": sum(parts[1:], parts[0])}
        return s

    def _tcp(self, m, s, tcp, **carried):
        """Stages 6 and 7: the TCP header; ends and lengths."""
        l4_offset = s.l3_offset + Cat(Const(0, 2), s.place)
        t = register(
            m, 6,
            valid=s.valid, base=s.base, packet=s.packet, l3_offset=s.l3_offset, ipv6=s.ipv6,
            good=s.good & (s.next_header == PROTOCOL_TCP),
            tcp_end=l4_offset + TCP_SIZE,
            size=s.size,
            tcp=tcp[: 8 * TCP_SIZE],
            l4_offset=l4_offset[:7],
            end_offset=s.l3_offset + s.ip_size,
            tcp_size=(s.ip_size - Cat(Const(0, 2), s.place))[:16],
            sum=s.sum0 + PROTOCOL_TCP,
            **carried,
        )  # fmt: skip
        data_offset, flags = t.tcp[100:104], t.tcp[104:112]
        return register(
            m, 7,
            valid=t.valid, base=t.base, packet=t.packet, l3_offset=t.l3_offset, l4_offset=t.l4_offset,
            ipv6=t.ipv6, end_offset=t.end_offset,
            good=t.good & (data_offset >= TCP_SIZE // 4) & (t.tcp_end <= t.size) & self._fits(t),
            flags=flags,
            payload_offset=t.l4_offset + Cat(Const(0, 2), data_offset),
            remote_port=big_endian(t.tcp, 0, 2),
            local_port=big_endian(t.tcp, 2, 2),
            seq=big_endian(t.tcp, 4, 4),
            pseudo=t.sum + t.tcp_size,
            **{name: getattr(t, name) for name in carried},
        )  # fmt: skip

    def _payload_length(self, s):
        """18 bits; bit 17: the TCP header ends behind the packet."""
        return (s.end_offset - s.payload_offset)[:18]

    def _outputs(self, m, ip, s, to_headers, to_plans):
        m.d.comb += [to_headers.p.remote_address.eq(s.remote), to_headers.p.local_address.eq(s.local)]
        self._but_addresses(m, s, to_headers, to_plans)

    def _but_addresses(self, m, s, to_headers, to_plans):
        payload_length = Signal(18)
        m.d.comb += payload_length.eq(self._payload_length(s))
        unusual = s.flags[1] | s.flags[2]  # SYN, RST
        parsed = Signal()
        m.d.comb += [
            parsed.eq(s.good & ~payload_length[17]),
            to_headers.valid.eq(s.valid),
            to_headers.p.base.eq(s.base),
            to_headers.p.packet.eq(s.packet),
            to_headers.p.parsed.eq(parsed),
            to_headers.p.candidate.eq(parsed & ~unusual & (payload_length[:17] != 0)),
            to_headers.p.ipv6.eq(s.ipv6),
            to_headers.p.remote_port.eq(s.remote_port),
            to_headers.p.local_port.eq(s.local_port),
            to_headers.p.seq.eq(s.seq),
            to_headers.p.payload_offset.eq(s.payload_offset),
            to_headers.p.payload_length.eq(payload_length),
            to_plans.valid.eq(s.valid),
            to_plans.p.parsed.eq(parsed),
            to_plans.p.ipv6.eq(s.ipv6),
            to_plans.p.l3_offset.eq(s.l3_offset),
            to_plans.p.l4_offset.eq(s.l4_offset),
            to_plans.p.end_offset.eq(s.end_offset),
            to_plans.p.pseudo.eq(s.pseudo[:16] + s.pseudo[16:]),
        ]

    @staticmethod
    def model(frame: bytes) -> dict | None:
        """Fields of `headers` and `checksum_plan` (but base and packet) for a frame; None if it is not parsed."""
        fields = Parse.fields(frame)
        return fields if fields and fields["end_offset"] <= MAX_FRAME else None

    @staticmethod
    def fields(frame: bytes) -> dict | None:
        """As `model`, wherever the end of the IP packet lies."""

        def number(at, size=2):
            return int.from_bytes(frame[at : at + size], "big")

        l3 = 14
        while number(l3 - 2) in VLAN_ETHERTYPES and l3 < 22:
            l3 += 4
        kind = number(l3 - 2)
        if len(frame) < l3 + 20:
            return None
        if kind == ETHERTYPE_IPV4:
            l4 = l3 + 4 * (frame[l3] & 15)
            end = l3 + number(l3 + 2)
            if frame[l3] >> 4 != 4 or l4 < l3 + 20 or frame[l3 + 9] != 6 or number(l3 + 6) & 0x3FFF:
                return None
            if end < l4 + 20:
                return None
            remote, local = frame[l3 + 12 : l3 + 16], frame[l3 + 16 : l3 + 20]
        elif kind == ETHERTYPE_IPV6:
            l4 = l3 + 40
            if len(frame) < l4 or frame[l3] >> 4 != 6:
                return None
            end = l4 + number(l3 + 4)
            following, hops = frame[l3 + 6], 0
            while following in EXTENSION_HEADERS and hops < MAX_EXTENSION_HEADERS:
                if l4 + 2 > min(len(frame), HEADER_WINDOW):
                    return None
                following, l4, hops = frame[l4], l4 + 8 * (frame[l4 + 1] + 1), hops + 1
            if following != PROTOCOL_TCP:
                return None
            remote, local = frame[l3 + 8 : l3 + 24], frame[l3 + 24 : l3 + 40]
        else:
            return None
        if l4 + 20 > min(len(frame), HEADER_WINDOW):
            return None
        payload = l4 + 4 * (frame[l4 + 12] >> 4)
        if payload < l4 + 20 or payload > end:
            return None
        words = remote + local
        pseudo = sum(int.from_bytes(words[k : k + 2], "big") for k in range(0, len(words), 2)) + 6 + end - l4
        return {
            "candidate": int(end > payload and not frame[l4 + 13] & 6),
            "ipv6": int(kind == ETHERTYPE_IPV6),
            "remote_address": remote.rjust(16, b"\0"),
            "local_address": local.rjust(16, b"\0"),
            "remote_port": number(l4),
            "local_port": number(l4 + 2),
            "seq": number(l4 + 4, 4),
            "payload_offset": payload,
            "payload_length": end - payload,
            "l3_offset": l3,
            "l4_offset": l4,
            "end_offset": end,
            "pseudo": pseudo,
        }

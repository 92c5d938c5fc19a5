"""Two rooms of placing, which take fragments in turn."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.placing import Placing
from hw.placing_late import placing_of
from hw.powers import ROW_BITS


class PlacingPair(wiring.Component):
    """hash * H^exponent for each fragment, in order, on two multipliers.

    Contract: that of `Placing`, for twice as many products a cycle and fragments inside. The second digit port is read
    beside the first. `factors` go to the first multiplier.

    Members
    -------
    begin, hashes, o, factors, product, digit_index, digit_row, digit : as of Placing
    second_index, second_row : Out          second : In(128)       another port of Powers
    """

    model = staticmethod(Placing.model)

    def __init__(self, config: Config):
        self._rooms = [placing_of(config)(config) for _ in range(2)]
        members = self._rooms[0].signature.members
        super().__init__({
            **members,
            "second_index": Out(config.index_bits),
            "second_row": Out(ROW_BITS),
            "second": In(128),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        first, second = self._rooms
        m.submodules.first, m.submodules.second = first, second

        # Fragments begin in turn, so hashes come and products go in turn.
        for name in "begin", "hashes", "o":
            port = getattr(self, name)
            turn = Signal(name=f"{name}_turn")
            with m.If(port.valid & port.ready):
                m.d.sync += turn.eq(~turn)
            rooms = [getattr(room, name) for room in self._rooms]
            if name == "o":
                m.d.comb += [
                    port.valid.eq(Mux(turn, rooms[1].valid, rooms[0].valid)),
                    port.p.eq(Mux(turn, rooms[1].p, rooms[0].p)),
                    *(room.ready.eq(port.ready & (turn == k)) for k, room in enumerate(rooms)),
                ]
            else:
                m.d.comb += [
                    port.ready.eq(Mux(turn, rooms[1].ready, rooms[0].ready)),
                    *(room.p.eq(port.p) for room in rooms),
                    *(room.valid.eq(port.valid & (turn == k)) for k, room in enumerate(rooms)),
                ]

        wiring.connect(m, wiring.flipped(self.factors), first.factors)
        wiring.connect(m, first.product, wiring.flipped(self.product))
        m.d.comb += [
            self.digit_index.eq(first.digit_index),
            self.digit_row.eq(first.digit_row),
            first.digit.eq(self.digit),
            self.second_index.eq(second.digit_index),
            self.second_row.eq(second.digit_row),
            second.digit.eq(self.second),
        ]
        return m

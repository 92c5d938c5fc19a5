"""The tracker's commands on a connection: RESYNC, QUERY (docs/contract.md, section 4)."""

from amaranth.hdl import Mux, Signal

from hw import layouts
from hw.sequence import after
from model.contract import Result


class Weighed:
    """What a RESYNC of an entry comes to.

    Members
    -------
    confirmed : Signal    it names the place where the chain of headers begins
    accepted : Signal
    """

    def __init__(self, m, operation, entry):
        self.confirmed, self.accepted = Signal(name="confirmed"), Signal(name="accepted")
        confirmed = entry.out_of_sync & entry.tracking & (operation.seq == entry.guess)
        behind = entry.out_of_sync | after(entry.seen, entry.expected)
        m.d.comb += [
            self.confirmed.eq(confirmed),
            self.accepted.eq(confirmed | (behind & ~(operation.seq - entry.seen)[31])),
        ]


def operate(m, answer, operation, entry, weighed: Weighed, write, fresh, operations):
    """RESYNC or QUERY of an entry; the answer is there in the next cycle.

    `write` is the port of the entries' memory, `fresh` the state INIT writes: a RESYNC that confirms the chain of
    headers changes it to what follows the chain.
    """
    # number and place of what follows the chain
    confirmed, accepted = weighed.confirmed, weighed.accepted
    inside = entry.at.remaining != 0
    with m.If(confirmed & (operation.kind == layouts.TrackerOperation.RESYNC)):
        m.d.comb += [
            fresh.expected.eq(entry.seen + entry.at.remaining),
            fresh.at.number.eq(operation.record_number + entry.at.number + inside),
            fresh.at.header_count.eq(Mux(inside, 0, entry.at.header_count)),
            fresh.at.header.eq(Mux(inside, 0, entry.at.header)),
        ]
    state = answer.state
    m.d.comb += write.addr.eq(operation.index)
    m.d.sync += [
        answer.result.eq(Result.OK),
        state.expected_seq.eq(entry.expected),
        state.seen_seq.eq(entry.seen),
        state.record_number.eq(entry.at.number),
        state.remaining.eq(entry.at.remaining),
        state.header_count.eq(Mux(entry.at.remaining != 0, 0, entry.at.header_count)),
        state.out_of_sync.eq(entry.out_of_sync),
        state.skipping.eq(entry.skipping),
    ]
    with m.Switch(operation.kind):
        with m.Case(layouts.TrackerOperation.RESYNC):
            m.d.comb += [
                write.data.eq(fresh),
                write.data.skipping.eq(1),
                write.data.tls13.eq(entry.tls13),
                write.data.seen.eq(entry.seen),
                operations.writes.eq(accepted),
            ]
            m.d.sync += answer.result.eq(Mux(accepted, Result.OK, Result.IGNORED))

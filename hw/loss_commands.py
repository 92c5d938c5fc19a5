"""The loss tracker's commands: ADD and DEL; ACK, RESYNC, QUERY of one connection (docs/contract.md, sections 4, 5)."""

from amaranth.hdl import Mux, Signal

from hw import layouts
from hw.loss_desk import Desk
from hw.loss_state import entry_layout, lead
from hw.sequence import after, from_on
from model.contract import CHAINS, Result


def opened_entry(m, operation, init):
    """The state that INIT (`init`) or CLEAR leaves; no chains."""
    entry = Signal(entry_layout)
    with m.If(init):
        m.d.comb += [
            entry.tls13.eq(operation.tls13),
            entry.seen.eq(operation.seq),
            entry.floor.eq(operation.seq),
            entry.marked.eq(operation.seq),
            entry.number.eq(operation.record_number),
            entry.head.place.eq(operation.seq),
        ]
    return entry


def operation_states(s: Desk, operation, answer):
    """From "operate" to "operated": one command on a connection; the answer is there then."""
    m, entry, chains = s.m, s.entry, s.chains
    head = entry.head
    state = answer.state
    to_frontier = Signal(32)
    seen_bytes = Signal(range(len(head.mask) + 1))
    matches = Signal(CHAINS)
    in_sync = Signal()
    m.d.comb += [
        to_frontier.eq(head.place - entry.seen),
        seen_bytes.eq(lead(head.mask)),
        in_sync.eq(~entry.blind & ~after(entry.seen, head.place + seen_bytes)),
    ]
    for k in range(CHAINS):
        m.d.comb += matches[k].eq((k < entry.chain_count) & (chains[k].count != 0) & (chains[k].start == operation.seq))

    with m.State("operate"):
        m.d.sync += [
            answer.result.eq(Result.OK),
            state.expected_seq.eq(head.place),
            state.seen_seq.eq(entry.seen),
            state.record_number.eq(entry.number),
            state.remaining.eq(Mux(to_frontier[31], 0, Mux(to_frontier >> len(state.remaining) == 0, to_frontier, -1))),
            state.header_count.eq(seen_bytes),
            state.out_of_sync.eq(entry.blind),
            state.skipping.eq(entry.gaps != 0),
            s.todo.eq(s.used),
        ]
        m.next = "operated"
        with m.Switch(operation.kind):
            with m.Case(layouts.TrackerOperation.ACK):
                with m.If(after(operation.seq, entry.floor) & ~after(operation.seq, entry.seen)):
                    m.d.sync += entry.floor.eq(operation.seq)
                m.next = "acknowledge"
            with m.Case(layouts.TrackerOperation.RESYNC):
                with m.If(in_sync | entry.conflict | ((matches == 0) & ~from_on(operation.seq, entry.seen))):
                    m.d.sync += answer.result.eq(Result.IGNORED)
                with m.Else():
                    # The host has read everything before this place: what was thought of it is over.
                    m.d.sync += [entry.live.eq(0), entry.gaps.eq(0), entry.number.eq(operation.record_number)]
                    with m.If(matches != 0):
                        m.next = "resync chain"
                    with m.Else():
                        m.d.sync += [
                            chains.eq(0),
                            entry.chain_count.eq(0),
                            *s.restart(),
                            head.eq(0),
                            head.place.eq(operation.seq),
                            entry.has_last.eq(0),
                            entry.blind.eq(0),
                        ]
    with m.State("resync chain"):
        m.next = "adopt"
        with m.If(~matches[0]):
            s.drop(0)
            m.next = "resync chain"

    s.each("acknowledge", "acknowledge slot", "acknowledge gaps")
    with m.State("acknowledge slot"):
        taken = s.take()
        m.d.sync += [*taken, s.used_up()]
        m.next = "acknowledge"
        with m.If(~after(s.slot_data.place + s.header_size + s.size, operation.seq)):
            m.d.sync += entry.live.bit_select(s.next, 1).eq(0)
            with m.If(entry.live.bit_select(s.next, 1) & (entry.last == s.next)):
                m.d.sync += entry.has_last.eq(0)
            for k in range(CHAINS):
                m.d.sync += chains[k].owned.bit_select(s.next, 1).eq(0)
                with m.If(chains[k].owned.bit_select(s.next, 1) & (chains[k].last == s.next)):
                    m.d.sync += chains[k].has_last.eq(0)
    with m.State("acknowledge gaps"):
        m.d.sync += s.todo.eq(entry.gaps)
        m.next = "acknowledge next gap"
    s.each("acknowledge next gap", "acknowledge gap", "operated")
    with m.State("acknowledge gap"):
        m.d.sync += s.used_up()
        m.next = "acknowledge next gap"
        with m.If((s.gap_data.head.mask == s.header_mask) & ~after(s.gap_data.target, operation.seq)):
            m.d.sync += entry.gaps.bit_select(s.next, 1).eq(0)

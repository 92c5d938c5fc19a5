"""The loss tracker on bytes that come again: do they say of the headers kept what was seen first? (docs/trust.md)"""

from amaranth.hdl import Cat, Signal
from amaranth.lib import data

from hw.loss_desk import Desk
from hw.record_header import HEADER_BYTES
from hw.sequence import after
from model.contract import CHAINS, GAPS, OPEN_RECORDS, Status


def contradiction_states(s: Desk, *, agreed: str, against: str):
    """From "contradict": compare the frame with the first bytes of every header that is kept."""
    m, entry, chains = s.m, s.entry, s.chains
    kind = Signal(2)  # of header: of a slot, chain, gap, the frontier
    known = Signal(HEADER_BYTES)
    bytes_known = Signal(8 * HEADER_BYTES)
    bad_chains = Signal(CHAINS)
    bad = Signal()
    conflict = Signal()
    unmarked_slots = Signal(OPEN_RECORDS)  # nothing is marked past their headers
    unmarked_gaps = Signal(GAPS)
    number = Signal(64)  # of the header at hand
    first = Signal(data.StructLayout({"valid": 1, "place": 32, "number": 64}))  # of the headers that are let go
    disagrees = Signal()
    different = [(s.window ^ bytes_known).word_select(n, 8).any() & known[n] & s.cover[n] for n in range(HEADER_BYTES)]
    m.d.comb += disagrees.eq(Cat(different).any())

    with m.State("contradict"):
        m.d.sync += [s.todo.eq(s.used), kind.eq(0), bad_chains.eq(0), bad.eq(0), conflict.eq(0), s.chain_number.eq(0)]
        m.d.sync += [unmarked_slots.eq(0), unmarked_gaps.eq(0), first.valid.eq(0)]
        m.next = "contradict next"
    s.each("contradict next", "contradict slot", "contradict chain")
    with m.State("contradict slot"):
        m.d.sync += [s.probe.eq(s.slot_data.place), bytes_known.eq(s.slot_data.header), known.eq(s.header_mask)]
        m.d.sync += number.eq(s.slot_data.number)
        m.next = "contradict fetch"
    with m.State("contradict chain"):
        chain = s.chain
        m.d.sync += [
            kind.eq(1),
            s.probe.eq(chain.head.place),
            bytes_known.eq(chain.head.data),
            known.eq(chain.head.mask),
        ]
        m.next = "contradict fetch"
        with m.If(s.chain_number == entry.chain_count):
            m.d.sync += [kind.eq(2), s.todo.eq(entry.gaps)]
            m.next = "contradict next gap"
    s.each("contradict next gap", "contradict gap", "contradict frontier")
    with m.State("contradict gap"):
        head = s.gap_data.head
        m.d.sync += [s.probe.eq(head.place), bytes_known.eq(head.data), known.eq(head.mask)]
        m.d.sync += number.eq(s.gap_data.number)
        m.next = "contradict fetch"
    with m.State("contradict frontier"):
        m.d.sync += [
            kind.eq(3),
            s.probe.eq(entry.head.place),
            bytes_known.eq(entry.head.data),
            known.eq(entry.head.mask),
        ]
        m.next = "contradict fetch"
    s.wait("contradict fetch", "contradict compare")
    with m.State("contradict compare"):
        kept = (kind[1]) | ((kind == 0) & entry.live.bit_select(s.next, 1))
        marked = after(entry.marked, s.probe)
        with m.If(~marked & (kind == 0)):
            m.d.sync += unmarked_slots.bit_select(s.next, 1).eq(1)
        with m.If(~marked & (kind == 2)):
            m.d.sync += unmarked_gaps.bit_select(s.next, 1).eq(1)
        with m.If(~marked & kept & (kind != 3) & (~first.valid | after(first.place, s.probe))):
            m.d.sync += [first.valid.eq(1), first.place.eq(s.probe), first.number.eq(number)]
        with m.If(disagrees & kept):
            m.d.sync += bad.eq(1)
            with m.If(marked):
                m.d.sync += conflict.eq(1)
        with m.If(disagrees & (kind == 0)):
            for k in range(CHAINS):
                with m.If(chains[k].owned.bit_select(s.next, 1)):
                    m.d.sync += bad_chains[k].eq(1)
        with m.If(disagrees & (kind == 1)):
            m.d.sync += bad_chains.bit_select(s.chain_number, 1).eq(1)
        with m.Switch(kind):
            with m.Case(0):
                m.d.sync += s.used_up()
                m.next = "contradict next"
            with m.Case(1):
                m.d.sync += s.chain_number.eq(s.chain_number + 1)
                m.next = "contradict chain"
                with m.If(s.chain_number == CHAINS - 1):
                    m.d.sync += [kind.eq(2), s.todo.eq(entry.gaps)]
                    m.next = "contradict next gap"
            with m.Case(2):
                m.d.sync += s.used_up()
                m.next = "contradict next gap"
            with m.Case(3):
                m.next = "contradict end"
    with m.State("contradict end"):
        with m.If(bad_chains != 0):
            m.d.sync += s.restart()
            gone = bad_chains[0]
            for k in range(CHAINS):
                if k:
                    gone = gone | bad_chains[k]
                with m.If(gone):
                    m.d.sync += chains[k].eq(0)
            for k in reversed(range(CHAINS)):
                with m.If(bad_chains[k]):
                    m.d.sync += entry.chain_count.eq(k)
        m.d.sync += s.stop(Status.RETRANSMISSION)
        m.next = agreed
        with m.If(conflict):
            m.d.sync += [entry.conflict.eq(1), s.status.eq(Status.CONFLICT)]
            m.next = against
        with m.Elif(bad):
            # Nothing hangs on what lies behind the last marked frame: the frontier is in front of it again.
            m.d.sync += [
                entry.blind.eq(1),
                entry.live.eq(entry.live & ~unmarked_slots),
                entry.gaps.eq(entry.gaps & ~unmarked_gaps),
                entry.has_last.eq(entry.has_last & ~unmarked_slots.bit_select(entry.last, 1)),
                s.status.eq(Status.OUT_OF_SYNC),
            ]
            with m.If(first.valid):
                m.d.sync += [entry.head.eq(0), entry.head.place.eq(first.place), entry.number.eq(first.number)]
            m.next = against

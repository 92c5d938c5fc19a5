"""Commands of the late tracker: those that pass its machine by, and those that wait for it."""

from amaranth.hdl import Signal

from hw.layouts import TrackerOperation
from hw.one_hot import OneHot


def late_operations(m, tracker, steps, ends):
    """INIT and CLEAR pass the machine by, but not when it writes (`ends`); the others wait until `steps` is at them.

    Returns the states (`passes`, `waits` and so on), and whether the operation is INIT or RESYNC.
    """
    passes, init, resync = Signal(), Signal(), Signal()
    kind = tracker.operations.p.kind
    m.d.sync += [
        passes.eq((kind == TrackerOperation.INIT) | (kind == TrackerOperation.CLEAR)),
        init.eq(kind == TrackerOperation.INIT),
        resync.eq(kind == TrackerOperation.RESYNC),
    ]
    orders = OneHot(m, "none", "operation")
    orders.go("none", "known", when=tracker.operations.valid)
    orders.go("none", "none", when=~tracker.operations.valid)
    orders.go("known", "passes", when=passes & ~ends)
    orders.go("known", "known", when=passes & ends)
    orders.go("known", "waits", when=~passes)
    orders.go("passes", "answer")
    orders.go("waits", "waits", when=~steps["operated"])
    orders.go("waits", "answer", when=steps["operated"])
    orders.go("answer", "none", when=tracker.answers.ready)
    orders.go("answer", "answer", when=~tracker.answers.ready)
    m.d.comb += [
        tracker.operations.ready.eq(orders["passes"] | steps["operated"]),
        tracker.answers.valid.eq(orders["answer"]),
    ]
    return orders, init, resync

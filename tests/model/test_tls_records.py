"""tls_get_record and the release by ACK, beside a list that knows everything."""

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tls_records import TlsOffloadContextTx, TlsRecordInfo, before
from tests.model.ktls_rig import crypto_info


def context_of(sizes: list[int], start: int = 1000, number: int = 5) -> tuple[TlsOffloadContextTx, list[TlsRecordInfo]]:
    context = TlsOffloadContextTx(crypto_info(0x0304, record_number=number), start)
    records: list[TlsRecordInfo] = []
    for size in sizes:
        start += size
        records.append(TlsRecordInfo(start, (bytes(size),)))
        context.add(records[-1])
    return context, records


def test_start_marker():
    context, records = context_of([100])
    marker, number = context.tls_get_record(999) or (None, 0)
    assert marker is not None and marker.is_start_marker and marker.end_seq == 1000
    assert number == context.unacked_record_sn == 4
    assert context.tls_get_record(1000) == (records[0], 5)
    assert context.tls_get_record(1099) == (records[0], 5)
    assert context.tls_get_record(1100) is None


def test_number_before_the_first_wraps():
    context, records = context_of([10], number=0)
    assert context.unacked_record_sn == 2**64 - 1
    assert context.tls_get_record(1000) == (records[0], 0)


def test_acknowledged_is_not_found():
    context, records = context_of([100, 100, 100])
    context.tls_icsk_clean_acked(1000)  # the marker alone
    assert context.tls_get_record(999) is None
    context.tls_icsk_clean_acked(1199)
    assert context.unacked_record_sn == 6
    assert context.tls_get_record(1099) is None
    assert context.tls_get_record(1100) == (records[1], 6)
    context.tls_icsk_clean_acked(1300)
    assert context.tls_get_record(1299) is None
    assert not context.records_list


def test_hint_moves_forward_only_and_is_released():
    context, records = context_of([100] * 4)
    context.tls_get_record(1250)
    assert context.retransmit_hint is records[2] and context.hint_record_sn == 7
    context.tls_get_record(1050)
    assert context.retransmit_hint is records[2]
    assert context.tls_get_record(1399) == (records[3], 8)
    context.tls_icsk_clean_acked(1399)
    assert context.retransmit_hint is records[3]
    context.tls_icsk_clean_acked(1400)
    assert context.retransmit_hint is None


def test_delete_all_records():
    context, _ = context_of([100] * 4)
    context.tls_get_record(1250)
    context.delete_all_records()
    assert context.tls_get_record(1250) is None


def test_before():
    assert before(2**32 - 1, 0) and before(0, 2**31 - 1)
    assert not before(0, 0) and not before(0, 2**32 - 1) and not before(2**31 - 1, 0)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_lookups_in_any_order(data: st.DataObject):
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=20))
    start = data.draw(st.sampled_from([0, 2**31 - 100, 2**32 - 100, 2**32 - 1]))
    context, records = context_of(sizes, start)
    acked = -1
    for _ in range(data.draw(st.integers(1, 30))):
        if data.draw(st.integers(0, 4)) == 0:
            acked = max(acked, data.draw(st.integers(0, sum(sizes))))
            context.tls_icsk_clean_acked((start + acked) % 2**32)
        at = data.draw(st.integers(0, sum(sizes)))
        found = context.tls_get_record((start + at) % 2**32)
        end = 0
        expected = None
        for number, size in enumerate(sizes):
            end += size
            if at < end:
                if end > acked:
                    expected = records[number], number + 5
                break
        assert found == expected, (at, acked)

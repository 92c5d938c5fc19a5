"""`--json`: what a run found, for machines. The fields are described in docs/json.md."""

from dataclasses import asdict
from typing import Any

from driver.transmit import Way
from model.ktls import Handling
from sim.connections import describe
from sim.host import Socket
from sim.run import SHOWN_MISMATCHES, Outcome
from sim.tx_host import TxSocket


def summarize(outcome: Outcome) -> dict[str, Any]:
    settings, tx = outcome.settings, outcome.tx
    simulated = settings.engine != "model"
    return {
        "capture": outcome.followed.capture.path.name,
        "engine": settings.engine,
        "width": settings.config.width,
        "seed": settings.seed,
        "backpressure": settings.backpressure,
        "idle": settings.idle,
        "direction": outcome.direction,
        "rx_policy": settings.config.rx_policy.value if outcome.receives else None,
        "tx_resync": tx.resync.value if tx else None,
        "cycles": outcome.all_cycles if simulated else None,
        "cycles_per_second": round(outcome.cycles_per_second, 1) if simulated else None,
        "equal": outcome.equal,
        "packets": {
            "captured": len(outcome.followed.capture.packets),
            "total": outcome.packets + (tx.packets if tx else 0),
            "received": outcome.packets if outcome.receives else None,
            "sent": tx.packets if tx else None,
            "compared": outcome.compared + (tx.compared if tx else 0),
            "mismatches": outcome.mismatched + (tx.mismatched if tx else 0),
            "bytes": outcome.payload_bytes + (tx.payload_bytes if tx else 0),
            "reencrypted": outcome.reencrypted,
            "reencryption_unchecked": outcome.unchecked,
            "wire_identical": tx.identical[None] if tx else None,
            "wire_mismatches": tx.different[None] if tx else None,
        },
        "connections": [_connection(outcome, s) for s in outcome.sockets],
        "counters": outcome.counters | (tx.counters if tx else {}),
        "device_counters": outcome.device_counters,
        "tx_device_counters": tx.device_counters if tx else {},
        "resources": outcome.resources | (tx.resources if tx else {}),
        "mismatches": [str(m) for m in outcome.all_mismatches[:SHOWN_MISMATCHES]],
        "waveform": str(outcome.any_waveform) if outcome.any_waveform else None,
        "warnings": [
            *outcome.followed.capture.warnings,
            *outcome.followed.warnings,
            *outcome.warnings,
            *(tx.warnings if tx else []),
        ],
    }


def _connection(outcome: Outcome, socket: Socket) -> dict[str, Any]:
    connection = socket.connection
    tx = outcome.tx.sockets[connection] if outcome.tx else None
    tx_reason = "" if tx is None or tx.offloaded else tx.reason
    offloaded, reason = socket.offloaded, "" if socket.offloaded else socket.reason
    if tx is not None and not outcome.receives:
        offloaded, reason = tx.offloaded, tx_reason
    return {
        "client": describe(connection.client),
        "server": describe(connection.server),
        "host": connection.host_role,
        "version": connection.version,
        "cipher": connection.cipher,
        "offloaded": offloaded,
        "reason": reason,
        "tx_offloaded": tx.offloaded if tx else None,
        "tx_reason": tx_reason,
        "error": _error(socket),
        "note": note(socket) if outcome.receives else "",
        "resync": asdict(socket.resync) if outcome.receives else None,
        "rx": _rx(socket) if outcome.receives else None,
        "tx": _tx(outcome, tx) if tx else None,
    }


def _error(socket: Socket) -> str:
    if socket.aborted:
        return f"{socket.aborted}: segments contradict each other, and the device had trusted one of them"
    receiver = socket.receiver
    return f"{receiver.error}: {receiver.reason}" if receiver and receiver.error else ""


def _rx(socket: Socket) -> dict[str, Any]:
    connection, receiver = socket.connection, socket.receiver
    return {
        "application_bytes": receiver.application.size if receiver else 0,
        "application_sha256": receiver.application.sha256 if receiver else None,
        "packets": socket.packets if receiver else connection.received,
        "packets_decrypted": socket.packets_decrypted,
        "records": len(receiver.records) if receiver else 0,
        "records_offloaded": socket.records(Handling.OFFLOADED),
        "records_mixed": socket.records(Handling.MIXED),
        "records_software": socket.records(Handling.SOFTWARE),
        "resync_requests": receiver.statistics["TlsRxDeviceResync"] if receiver else 0,
    }


def _tx(outcome: Outcome, socket: TxSocket) -> dict[str, Any]:
    assert outcome.tx is not None
    return {
        "packets": socket.packets,
        "packets_encrypted": socket.packets_encrypted,
        "wire_identical": outcome.tx.identical[socket.connection],
        "wire_mismatches": outcome.tx.different[socket.connection],
        "out_of_order": socket.out_of_order,
        "fallback": socket.ways[Way.SOFTWARE],
        "dropped": socket.ways[Way.DROPPED],
        "replayed_bytes": socket.replayed_bytes,
    }


def note(socket: Socket) -> str:
    """What of the capture itself keeps the application from reading on."""
    hole = socket.connection.hole
    return f"{hole} received bytes lie behind bytes the capture does not have" if hole else ""

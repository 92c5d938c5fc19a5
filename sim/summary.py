"""`--json`: what a run found, for machines. The fields are described in docs/json.md."""

from typing import Any

from model.ktls import Handling
from sim.connections import describe
from sim.host import Socket
from sim.run import SHOWN_MISMATCHES, Outcome


def summarize(outcome: Outcome) -> dict[str, Any]:
    settings = outcome.settings
    simulated = settings.engine != "model"
    return {
        "capture": outcome.followed.capture.path.name,
        "engine": settings.engine,
        "width": settings.config.width,
        "seed": settings.seed,
        "backpressure": settings.backpressure,
        "idle": settings.idle,
        "cycles": outcome.cycles if simulated else None,
        "cycles_per_second": round(outcome.cycles_per_second, 1) if simulated else None,
        "equal": outcome.equal,
        "packets": {
            "captured": len(outcome.followed.capture.packets),
            "total": outcome.packets,
            "compared": outcome.compared,
            "mismatches": outcome.mismatched,
            "bytes": outcome.payload_bytes,
            "reencrypted": outcome.reencrypted,
            "reencryption_unchecked": outcome.unchecked,
        },
        "connections": [_connection(s) for s in outcome.sockets],
        "counters": outcome.counters,
        "device_counters": outcome.device_counters,
        "resources": outcome.resources,
        "mismatches": [str(m) for m in outcome.mismatches[:SHOWN_MISMATCHES]],
        "waveform": str(outcome.waveform) if outcome.waveform else None,
        "warnings": [*outcome.followed.capture.warnings, *outcome.followed.warnings, *outcome.warnings],
    }


def _connection(socket: Socket) -> dict[str, Any]:
    connection, receiver = socket.connection, socket.receiver
    return {
        "client": describe(connection.client),
        "server": describe(connection.server),
        "host": connection.host_role,
        "version": connection.version,
        "cipher": connection.cipher,
        "offloaded": socket.offloaded,
        "reason": "" if socket.offloaded else socket.reason,
        "error": f"{receiver.error}: {receiver.reason}" if receiver and receiver.error else "",
        "note": note(socket),
        "rx": {
            "application_bytes": receiver.application.size if receiver else 0,
            "application_sha256": receiver.application.sha256 if receiver else None,
            "packets": socket.packets if receiver else connection.received,
            "packets_decrypted": socket.packets_decrypted,
            "records": len(receiver.records) if receiver else 0,
            "records_offloaded": socket.records(Handling.OFFLOADED),
            "records_mixed": socket.records(Handling.MIXED),
            "records_software": socket.records(Handling.SOFTWARE),
            "resync_requests": receiver.statistics["TlsRxDeviceResync"] if receiver else 0,
        },
    }


def note(socket: Socket) -> str:
    """What of the capture itself keeps the application from reading on."""
    hole = socket.connection.hole
    return f"{hole} received bytes lie behind bytes the capture does not have" if hole else ""

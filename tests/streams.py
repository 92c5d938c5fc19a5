"""The traffic generator under the name tests know it by."""

from sim.traffic import ACK, FIN, PSH, RST, SYN, TLS12, TLS13, URG, Sealed, Stream, ones_complement_sum, tcp_frame

__all__ = [
    "ACK",
    "FIN",
    "PSH",
    "RST",
    "SYN",
    "TLS12",
    "TLS13",
    "URG",
    "Sealed",
    "Stream",
    "ones_complement_sum",
    "tcp_frame",
]

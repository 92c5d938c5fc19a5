"""What user space hands to kTLS: `struct tls12_crypto_info_aes_gcm_128` and `_256` of uapi/linux/tls.h."""

from dataclasses import dataclass, field

TLS_1_2_VERSION = 0x0303
TLS_1_3_VERSION = 0x0304
TLS_CIPHER_AES_GCM_128 = 51
TLS_CIPHER_AES_GCM_256 = 52

_SIZES = {"salt": 4, "iv": 8, "rec_seq": 8}


@dataclass(frozen=True, slots=True)
class CryptoInfo:
    """Keys of one direction, by the kernel's names; a wrong size or version raises ValueError.

    `salt` and `iv` together are the 12 bytes of TLS 1.3's static IV; TLS 1.2 uses the salt alone to receive.
    `rec_seq` is the big-endian number of the next record.
    """

    version: int
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    rec_seq: bytes = bytes(8)

    def __post_init__(self) -> None:
        if self.version not in (TLS_1_2_VERSION, TLS_1_3_VERSION):
            raise ValueError(f"version {self.version:#06x}: neither TLS 1.2 nor TLS 1.3")
        if len(self.key) not in (16, 32):
            raise ValueError(f"a key of {len(self.key)} bytes: AES-GCM has 16 or 32")
        for name, size in _SIZES.items():
            found = len(getattr(self, name))
            if found != size:
                raise ValueError(f"{name} of {found} bytes: must be {size}")

    @property
    def cipher_type(self) -> int:
        return TLS_CIPHER_AES_GCM_128 if len(self.key) == 16 else TLS_CIPHER_AES_GCM_256

    @property
    def record_number(self) -> int:
        return int.from_bytes(self.rec_seq, "big")

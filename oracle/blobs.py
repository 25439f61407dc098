"""Bytes by their SHA-256 in a folder: payload parts, trace states, evidence. Written whole or not at all."""

import hashlib
import os
import secrets
from pathlib import Path

from commonweight.errors import OracleError
from commonweight.protocol.fields import digest_bytes


class Blobs:
    """A folder of files named by the hex SHA-256 of their bytes. What is read is hashed again before it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.new"):
            leftover.unlink()

    def put(self, data: bytes) -> str:
        """Store bytes durably; returns their digest, 0x-hex. Raises OracleError when the disk refuses."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._folder / digest
        if target.exists() and target.stat().st_size == len(data):
            return "0x" + digest
        fresh = self._folder / f"{digest}.{secrets.token_hex(4)}.new"
        try:
            with fresh.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise OracleError(
                f"a file could not be written in {self._folder}", str(error), "free space on that disk"
            ) from error
        return "0x" + digest

    def get(self, digest: str) -> bytes | None:
        """The bytes of a digest, or None when they are not here or were damaged."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).digest() == digest_bytes(digest) else None

    def path(self, digest: str) -> Path:
        """Where the bytes of a digest lie, or would lie."""
        return self._folder / digest_bytes(digest).hex()

    def drop(self, digest: str) -> None:
        """Forget the bytes of a digest."""
        self.path(digest).unlink(missing_ok=True)

    def keep_only(self, digests: set[str]) -> None:
        """Forget all bytes but those of these digests; nothing may be stored meanwhile."""
        names = {digest_bytes(digest).hex() for digest in digests}
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

"""Keys in encrypted keystores (Web3 Secret Storage, version 3), and where their passwords come from.

A password is read from a file, from the environment (as the name of a file, or the password itself) or asked for on a
terminal; it is never a command line argument, and no key or password appears in an error, a log or a `repr`.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commonweight.errors import KeystoreError
from commonweight.protocol.keys import sign_digest

PASSWORD_FILE_VARIABLE = "COMMONWEIGHT_PASSWORD_FILE"  # noqa: S105 - a name, no password
PASSWORD_VARIABLE = "COMMONWEIGHT_PASSWORD"  # noqa: S105 - a name, no password
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True)
class Key:
    """A secp256k1 key: `address` is checksummed, `private_key` is 32 bytes and does not show in `repr`."""

    address: str
    private_key: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, private_key: bytes) -> Key:
        """The key for 32 secret bytes. Raises KeystoreError if they are not a valid key."""
        if len(private_key) != 32 or not 0 < int.from_bytes(private_key, "big") < _SECP256K1_ORDER:
            raise KeystoreError(
                "This is not a private key.",
                "It must be 32 bytes below the order of secp256k1.",
                "Check where it comes from.",
            )
        from eth_account import Account

        return cls(str(Account.from_key(private_key).address), private_key)

    @classmethod
    def from_hex(cls, text: str) -> Key:
        """The key for 64 hex digits, with or without 0x: for development accounts."""
        try:
            raw = bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            raise KeystoreError("This is not a private key.", "It is not hexadecimal.", "Give 64 hex digits.") from None
        return cls.from_bytes(raw)

    @classmethod
    def new(cls) -> Key:
        """A fresh key from the system's randomness."""
        from eth_account import Account

        return cls.from_bytes(bytes(Account.create().key))

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes (an EIP-712 digest): r || s || v, 65 bytes, low s, v 27 or 28, deterministic (RFC 6979)."""
        return sign_digest(digest, self.private_key)


def create_keystore(path: Path, password: str, *, key: Key | None = None, fast: bool = False) -> Key:
    """Write a new keystore, readable by its owner only, and return its key (a fresh one unless given).

    `fast` uses a cheap key derivation for development keys whose secret is no secret. Refuses to overwrite a file and
    refuses an empty password. Raises KeystoreError.
    """
    from eth_account import Account

    if not password:
        raise KeystoreError(
            "The keystore was not written.", "The password is empty.", "Put a password into the password file."
        )
    made = key or Key.new()
    body = Account.encrypt(
        made.private_key, password, kdf="pbkdf2" if fast else "scrypt", iterations=1000 if fast else None
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeystoreError(
            f"The keystore {path} was not written.",
            "A file of that name is there.",
            "Choose another name; keys are never overwritten.",
        ) from None
    except OSError as error:
        raise KeystoreError(
            f"The keystore {path} was not written.",
            error.strerror or str(error),
            "Check the folder and its permissions.",
        ) from None
    with os.fdopen(descriptor, "w") as file:
        json.dump({**body, "address": made.address.lower().removeprefix("0x")}, file)
        file.flush()
        os.fsync(file.fileno())
    return made


def load_key(path: Path, password: str) -> Key:
    """Open a keystore. Raises KeystoreError, which never holds the password, if it is missing, damaged, or the
    password is wrong.
    """
    from eth_account import Account

    body = _read_keystore(path)
    try:
        return Key.from_bytes(bytes(Account.decrypt(body, password)))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise KeystoreError(
                f"The keystore {path} cannot be opened.",
                "The password is wrong.",
                "Give the file with this keystore's password by --password-file.",
            ) from None
        raise _damaged(path) from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise _damaged(path) from None


def keystore_address(path: Path) -> str:
    """The address that a keystore names, without opening it. It is not proved before the keystore is opened."""
    from eth_utils.address import is_address, to_checksum_address

    address = _read_keystore(path).get("address")
    if not isinstance(address, str) or not is_address(address):
        raise _damaged(path)
    return str(to_checksum_address("0x" + address.removeprefix("0x")))


def read_password(
    password_file: Path | None, environment: Mapping[str, str], *, prompt: str | None = None, confirm: bool = False
) -> str:
    """The password from `password_file`, else from the environment, else asked for with `prompt` if there is a
    terminal.

    One trailing newline of a file is dropped. Raises KeystoreError when there is none of them.
    """
    named = environment.get(PASSWORD_FILE_VARIABLE)
    source = password_file or (Path(named) if named else None)
    if source is not None:
        try:
            return source.read_text().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "It is not text."
            raise KeystoreError(
                f"The password file {source} cannot be read.", reason or "", "Check its name and permissions."
            ) from None
    if PASSWORD_VARIABLE in environment:
        return environment[PASSWORD_VARIABLE]
    if prompt is None or not sys.stdin.isatty():
        raise KeystoreError(
            "A password is needed and there is none.",
            "There is neither a password file nor a terminal to ask on.",
            f"Use --password-file, or set {PASSWORD_FILE_VARIABLE} to a file's name.",
        )
    first = getpass.getpass(prompt)
    if confirm and getpass.getpass("Once more: ") != first:
        raise KeystoreError("The two passwords differ.", "", "Try again.")
    return first


def _read_keystore(path: Path) -> dict[str, object]:
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise KeystoreError(
            f"The keystore {path} cannot be read.", error.strerror or str(error), "Check its name and permissions."
        ) from None
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(body, dict):
        raise _damaged(path)
    return body


def _damaged(path: Path) -> KeystoreError:
    return KeystoreError(
        f"The keystore {path} cannot be opened.",
        "It is not a version 3 keystore, or it is damaged.",
        "Take it from a backup, or make a new one with `commonweight key new`.",
    )

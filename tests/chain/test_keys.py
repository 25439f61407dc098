"""Keystores are encrypted, private, never overwritten; passwords come from a file, the environment or a terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.chain import keys
from commonweight.chain.keys import Key, create_keystore, keystore_address, load_key, read_password
from commonweight.errors import KeystoreError
from commonweight.protocol.keys import recover_address

pytestmark = pytest.mark.unit
SECRET = "correct horse battery staple"


def test_a_keystore_opens_with_its_password_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "a.json"
    made = create_keystore(path, SECRET, fast=True)
    assert load_key(path, SECRET) == made
    assert keystore_address(path) == made.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.private_key.hex() not in path.read_text()
    with pytest.raises(KeystoreError, match="The password is wrong") as refused:
        load_key(path, "wrong")
    assert "wrong" not in refused.value.what + refused.value.fix
    assert SECRET not in str(refused.value)


def test_other_tools_open_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    made = create_keystore(path, SECRET)
    body = json.loads(path.read_text())
    assert body["crypto"]["kdf"] == "scrypt"
    assert bytes(Account.decrypt(body, SECRET)) == made.private_key


def test_a_keystore_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    made = create_keystore(path, SECRET, fast=True)
    with pytest.raises(KeystoreError, match="never overwritten"):
        create_keystore(path, SECRET, fast=True)
    assert load_key(path, SECRET) == made


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="password is empty"):
        create_keystore(tmp_path / "a.json", "")
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"crypto": {}}', '{"version": 3, "crypto": 1, "address": 5}']
)
def test_a_damaged_keystore_is_an_error_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(KeystoreError, match="cannot be opened"):
        load_key(path, SECRET)
    with pytest.raises(KeystoreError, match="cannot be opened"):
        keystore_address(path)


def test_a_missing_keystore_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="No such file"):
        load_key(tmp_path / "none.json", SECRET)


@pytest.mark.parametrize("text", ["", "0x", "0x12", "zz" * 32, "00" * 32, "ff" * 32])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeystoreError) as refused:
        Key.from_hex(text)
    assert len(text) < 5 or text not in str(refused.value)


def test_the_password_of_a_file_goes_before_the_environments(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one\n")
    second.write_bytes(b"two \r\n")
    environment = {keys.PASSWORD_FILE_VARIABLE: str(second), keys.PASSWORD_VARIABLE: "three"}
    assert read_password(first, environment) == "one"
    assert read_password(None, environment) == "two "
    assert read_password(None, {keys.PASSWORD_VARIABLE: "three"}) == "three"


def test_no_password_is_an_error_that_says_where_to_put_it() -> None:
    with pytest.raises(KeystoreError, match="--password-file"):
        read_password(None, {}, prompt=None)


def test_a_missing_password_file_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot be read"):
        read_password(tmp_path / "none", {})


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**255))
def test_a_signature_recovers_to_the_address_in_its_one_accepted_form(digest: bytes, secret: int) -> None:
    key = Key.from_bytes(secret.to_bytes(32, "big"))
    assert recover_address(digest, key.sign_digest(digest)) == key.address.lower()

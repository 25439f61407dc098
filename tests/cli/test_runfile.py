"""A run's file: what cannot be is refused by the field's name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.cli.runfile import TEMPLATE, read_runfile
from commonweight.errors import ConfigError
from commonweight.protocol.modelconfig import PRESETS

pytestmark = pytest.mark.unit
GOOD, MISTYPED = "0x00000000000000000000000000000000000A11cE", "0x00000000000000000000000000000000000A11Ce"


def runfile(folder: Path, old: str, new: str) -> Path:
    """The template with data, and one change."""
    text = TEMPLATE.replace('manifest_sha256 = ""', f'manifest_sha256 = "0x{"0" * 64}"')
    assert old in text
    path = folder / "run.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("role", ["signer", "transmitter"])
def test_a_mistyped_address_of_a_signer_is_refused(tmp_path: Path, role: str) -> None:
    entry = {"signer": GOOD, "transmitter": GOOD.lower()}
    for address, wrong in ((GOOD, False), (MISTYPED, True), (MISTYPED.lower(), False)):
        given = ", ".join(f'{name} = "{text}"' for name, text in {**entry, role: address}.items())
        path = runfile(tmp_path, "members = [", f"members = [{{{given}}},")
        if wrong:
            with pytest.raises(ConfigError, match=f"signers.members in .* cannot be '{MISTYPED}'.*checksum"):
                read_runfile(path)
        else:
            read_runfile(path)


def test_a_mistyped_address_of_a_token_is_refused(tmp_path: Path) -> None:
    assert read_runfile(runfile(tmp_path, 'asset = "ETH"', f'asset = "{GOOD}"')).asset == GOOD
    with pytest.raises(ConfigError, match=r"money\.asset in .* cannot be"):
        _ = read_runfile(runfile(tmp_path, 'asset = "ETH"', f'asset = "{MISTYPED}"')).asset


def test_a_preset_that_is_none_is_answered_by_the_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no model preset nona.*known are {', '.join(PRESETS)}"):
        read_runfile(runfile(tmp_path, 'preset = "nano"', 'preset = "nona"'))


def test_a_signers_address_that_nobody_can_connect_to_is_refused(tmp_path: Path) -> None:
    for peer, wrong in (("203.0.113.7:7500", False), ("0.0.0.0:7500", True), ("203.0.113.7", True)):
        path = runfile(tmp_path, "members = [", f'members = [{{signer = "{GOOD}", peer = "{peer}"}},')
        if wrong:
            with pytest.raises(ConfigError, match=f"cannot be at '{peer}'"):
                read_runfile(path)
        else:
            read_runfile(path)


def test_the_template_shows_the_defaults_of_the_configuration(tmp_path: Path) -> None:
    plain = read_runfile(runfile(tmp_path, "[config]", "[config]")).config
    shown = runfile(tmp_path, "[config]", "[config]")
    text, uncommented = shown.read_text(), re.compile(r"^# (?=\[config\.|[a-z_]+ = )", re.MULTILINE)
    before, after = text.split("\n[config]")
    shown.write_text(f"{before}\n[config]{uncommented.sub('', after)}")
    assert "\n[config.verification]\n" in shown.read_text()
    told = read_runfile(shown).config
    assert replace(told, genesis_seed=plain.genesis_seed) == plain

"""A run's file: what cannot be is refused by the field's name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.cli.run import left_behind, length_of
from commonweight.cli.runfile import TEMPLATE, read_runfile
from commonweight.errors import ConfigError
from commonweight.protocol.modelconfig import PRESETS
from commonweight.quantities import show_size
from trainer.room import round_bytes

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


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('goal = "5"', 'goal = "11"', r"money\.goal in .* cannot be '11'.*at most money\.cap"),
        ('goal = "5"', 'goal = "0"', r"money\.goal in .* above zero"),
        ('cap = "10"', f'cap = "{2**127}wei"', r"money\.cap in .* below 2\^127"),
        ("capital_bps = 6000", "capital_bps = 10001", r"money\.capital_bps in .* cannot be 10001.*at most 10000"),
        ('wage_per_credit = "1gwei"', f'wage_per_credit = "{2**80}wei"', r"money\.wage_per_credit in"),
        ("quorum = 2", "quorum = 0", r"signers\.quorum in .* cannot be 0.*more than half of the 3 members.*2 to 3"),
        ("quorum = 2", "quorum = 1", r"signers\.quorum in"),
        ("quorum = 2", "quorum = 4", r"signers\.quorum in .* cannot be 4"),
        ("quorum = 2", f"quorum = {10**21}", r"signers\.quorum in"),
        ("members = [", 'members = [{signer = "0x' + "11" * 20 + '"},', r"signers\.members in .*each signer once"),
        ("members = [", 'members = [{signer = "0x' + "0" * 40 + '"},', r"signers\.members in .*zero address"),
        ("last_epoch = 29", f"last_epoch = {10**21 - 1}", r"epochs\.last_epoch in .* below 2\^64"),
        ("last_epoch = 29", f"last_epoch = {2**50}", r"epochs\.last_epoch in .* at most 127\d{5}, for the run"),
        ("tail_epochs = 2", "tail_epochs = 1", r"epochs\.tail_epochs in .*2 at least"),
        ("max_credits_per_epoch = 1000000000", "max_credits_per_epoch = 0", r"epochs\.max_credits_per_epoch in"),
        ('epoch_length = "1d"', "epoch_length = 57599", r"time\.epoch_length in .* which are 57600 s"),
        ('attempt_length = "30m"', 'attempt_length = "5h"', r"time\.attempt_length in .*at most time\.report_span"),
        ('attempt_length = "30m"', "attempt_length = 0", r"time\.attempt_length in .*above zero"),
        ('evidence_retention = "90d"', f"evidence_retention = {2**64}", r"time\.evidence_retention in"),
        ('deposits = "7d"', f"deposits = {2**64}", r"time\.deposits in"),
        *(
            ("\n[config] ", f"\n[[milestones]]\ndeadline_epoch = {epoch}\ntranche_bps = {bps}\n[config] ", said)
            for epoch, bps, said in ((40, 10_000, "milestones in .*up to 31"), (9, 70_000, "milestones in .*to 70000"))
        ),
    ],
)
def test_what_the_contracts_do_not_allow_is_named_as_the_file_names_it(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = runfile(tmp_path, old, new)
    members = ", ".join(f'{{signer = "0x{digits * 20}"}}' for digits in ("11", "22", "33"))
    path.write_text(path.read_text().replace("members = [", f"members = [{members},", 1))
    with pytest.raises(ConfigError, match=said):
        read_runfile(path).params(1_700_000_000, 18, "")


def test_the_bounds_are_the_contracts(tmp_path: Path) -> None:
    """The template is within them, and at each number that they name."""
    path = runfile(tmp_path, 'epoch_length = "1d"', "epoch_length = 57600")
    text = path.read_text().replace("members = [", f'members = [{{signer = "{GOOD}"}},')
    for old, new in (("quorum = 2", "quorum = 1"), ("capital_bps = 6000", "capital_bps = 10000"), ('"5"', '"10"')):
        text = text.replace(old, new)
    path.write_text(text)
    assert read_runfile(path).params(1_700_000_000, 18, "").epoch_length == 57600


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ("", "until the last epoch"),
        ("max_rounds = 10", "at most 10 rounds"),
        ("max_rounds = 10\ninner = {cooldown = 4}", "at most 10 rounds, the rate falls over the last 4 rounds"),
        ("max_rounds = 1\ninner = {cooldown = 1}", "at most 1 round, the rate falls over the last round"),
    ],
)
def test_how_long_training_is_is_said_in_words(tmp_path: Path, training: str, said: str) -> None:
    path = runfile(tmp_path, "# What is left out of [config]", f"[config.training]\n{training}\n# What is left out")
    assert length_of(read_runfile(path).config.training) == said


def test_what_rounds_leave_on_a_members_disk_is_said_before_the_run_is_made(tmp_path: Path) -> None:
    few = runfile(tmp_path, "# What is left out of [config]", "[config.training]\ntrace_every = 30\n# What is left out")
    said, config = left_behind(read_runfile(few).config), read_runfile(few).config
    assert "1 state of 10 MiB, one every 30 steps" in said
    assert said.startswith(f"{show_size(round_bytes(config) - 2**24)} a round")
    usual = read_runfile(runfile(tmp_path, "[config]", "[config]")).config
    assert "6 states of 10 MiB, one every 5 steps" in left_behind(usual)


def test_an_error_in_the_configuration_names_the_file(tmp_path: Path) -> None:
    for old, new, said in (
        ("# [config.training.inner]", "[config.training.inner]\nlr = 3e-3", r"training\.inner\.lr cannot be 0\.003"),
        ("# [config.training.inner]", "[config.training]\nseq_len = 4096", r"seq_len exceeds model\.max_seq_len: 4096"),
    ):
        with pytest.raises(ConfigError, match=rf"^\[config\] in .*/run\.toml is wrong\. Why: .*{said}"):
            read_runfile(runfile(tmp_path, old, new))

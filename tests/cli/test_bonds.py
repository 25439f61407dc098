"""A signer's bond: who can be bonded, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from commonweight.chain.contracts import Registry
from commonweight.cli.session import Session
from commonweight.errors import ContractError
from tests.chain.scenario import ETHER, KEYS
from tests.cli.conftest import Crowd

pytestmark = pytest.mark.chain
DEAD = "0x000000000000000000000000000000000000dEaD"


def test_a_bond_is_paid_for_signers_alone(crowd_with: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = crowd_with(transmitters=(KEYS[9].address,) * 3)
    oracle = crowd.world.run.oracle
    for number, named in ((0, ["--signer", DEAD]), (8, []), (0, ["1", "--signer", DEAD.lower()])):
        refused = crowd.run(number, "oracle", "bond", *named, "--yes")
        assert (refused.code, "is no signer of nano" in refused.err) == (2, True), refused.err
        assert all(KEYS[n].address in refused.err for n in (5, 6, 7))
    assert (oracle.bond_of(DEAD), oracle.bond_of(KEYS[8].address)) == (0, 0)
    transmitter = crowd.run(9, "oracle", "bond", "--yes")
    assert f"It is the transmitter of {', '.join(oracle.signers())}; in office" in transmitter.err

    asked: list[str] = []
    monkeypatch.setattr(Session, "confirm", lambda _session, question, yes: asked.append(question))
    crowd.ok(0, "oracle", "bond", "--signer", KEYS[5].address.lower())
    crowd.world.run.oracle.post_bond(KEYS[6].address, ETHER)
    crowd.world.run.oracle.post_bond(KEYS[7].address, ETHER)
    crowd.world.announce(KEYS[8])
    crowd.ok(8, "oracle", "bond")
    assert [question.partition(", ")[2].partition(" from ")[0] for question in asked] == [
        "a signer in office?",
        "a signer of the announced set, which can take office",
    ]
    third = crowd.run(9, "oracle", "bond", "--yes")
    assert f"announced are {KEYS[8].address}" in third.err


def test_a_bond_comes_back_when_it_is_liable_for_nothing(crowd: Crowd) -> None:
    run = crowd.world.run
    none = crowd.run(5, "oracle", "bond", "--withdraw", "--yes")
    assert (none.code, "has no bond in nano" in none.err) == (2, True)
    crowd.ok(5, "oracle", "bond", "--yes")
    part = crowd.run(5, "oracle", "bond", "0.5", "--withdraw", "--yes")
    assert (part.code, "takes all of it" in part.err) == (2, True)
    other = crowd.run(6, "oracle", "bond", "--withdraw", "--signer", KEYS[5].address, "--yes")
    assert (other.code, "is paid to the signer" in other.err) == (2, True)
    early = crowd.run(5, "oracle", "bond", "--withdraw", "--yes")
    assert early.code == 1
    assert "The bond of " in early.err and "1 ETH, cannot be taken back yet" in early.err
    assert "BondLocked: it is in office; the bond is free 7200 s after epoch 5, the run's last" in early.err

    crowd.world.warp(run.params.deposit_deadline + 1)  # below the goal: the run fails, and bonds are free
    unasked = crowd.run(5, "oracle", "bond", "--withdraw")
    assert (unasked.code, "needs a confirmation" in unasked.err) == (2, True)
    crowd.ok(5, "oracle", "bond", "--withdraw", "--unsigned", "u.json")
    assert run.oracle.bond_of(KEYS[5].address) == ETHER
    back = crowd.ok(5, "oracle", "bond", "--withdraw", "--yes")
    assert (back["withdrawn"], back["bond"], back["paid"]) == (str(ETHER), "0", "0")
    assert run.oracle.bond_of(KEYS[5].address) == 0


def test_a_bond_that_is_locked_says_how_long(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    run = crowd.world.run
    crowd.world.fund()
    crowd.world.settle(0, {})
    crowd.world.rotate(KEYS[8])
    left = crowd.run(5, "oracle", "bond", "--withdraw", "--yes")
    assert "it has left office; the bond is free 7200 s after the last epoch that its set could report" in left.err
    crowd.world.warp(run.oracle.epoch_info(0).settled_at + run.params.dispute_period + 1)
    assert crowd.ok(5, "oracle", "bond", "--withdraw", "--yes")["withdrawn"] == str(ETHER)


def test_a_key_that_is_no_signer_is_not_asked_where_it_listens(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    words = [*_run_with_config(crowd), "--transmitter", crowd.keystore(8), "--data-dir", "d"]
    for command in ("check", "status"):
        done = crowd.run(8, "oracle", command, *words)
        assert (done.code, f"{KEYS[8].address} is no signer of" in done.err) == (2, True), done.err
        signer = crowd.run(6, "oracle", command, *words)
        assert "Where shall this signer listen?" in signer.err


def test_amounts_for_people_have_a_unit(crowd_with: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = crowd_with()
    run = crowd.world.run
    words = [*_run_with_config(crowd), "--transmitter", crowd.keystore(5), "--data-dir", "d", "--listen", "127.0.0.1:1"]
    checked = crowd.run(5, "oracle", "check", *words, "--json").json["findings"]
    assert [f["why"] for f in checked if f["what"] == "The bond is full"] == ["0 ETH of 1 ETH are paid"]
    assert not any("can replay" in f["what"] for f in checked)
    on_card = crowd.run(5, "oracle", "check", *words, "--device", "cuda:99", "--json").json["findings"]
    (card,) = [f for f in on_card if f["what"] == "The device cuda:99 can replay"]
    assert not card["ok"]
    assert card["fix"]

    few = crowd.run(1, "provider", "register", "--peer", "127.0.0.1:7001", "--stake", "0.05", "--yes")
    assert (few.code, "StakeTooLow: the least in nano is 0.1 ETH" in few.err) == (1, True), few.err
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    entry = replace(run.registry.provider_at(0), stake=ETHER // 20)
    monkeypatch.setattr(Registry, "provider_at", lambda *_args, **_more: entry)
    words = ["--data-dir", "d", "--listen", "127.0.0.1:7001", "--json"]
    looked = crowd.run(1, "provider", "doctor", *words).json["findings"]
    assert [f["why"] for f in looked if f["what"] == "The stake is whole"] == ["0.05 ETH of 0.1 ETH are there"]

    with pytest.raises(ContractError, match=rf"CapExceeded \(room {10 * ETHER} smallest units\)"):
        run.campaign.deposit(11 * ETHER)


def _run_with_config(crowd: Crowd) -> list[str]:
    """The option that names a run of signers 5, whose address its configuration has, and 6, whose it has not."""
    members = f'{{signer = "{KEYS[5].address}", peer = "h:1"}}, {{signer = "{KEYS[6].address}"}}'
    text = crowd.user.run("run", "template").out.replace("members = [", f"members = [{members}")
    text = text.replace('manifest_sha256 = ""', f'manifest_sha256 = "0x{"ab" * 32}"')
    (crowd.user.home / "run.toml").write_text(text)
    return ["--run", crowd.ok(0, "run", "create", "--config", "run.toml", "--yes")["run"]]

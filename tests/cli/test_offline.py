"""Unsigned to a file, signed where there is no network, sent from the file: on real chains, and against who meddles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain.abi import parse_interface
from commonweight.chain.client import Call, Chain
from commonweight.chain.contracts import Campaign
from commonweight.chain.structs import ZERO_ADDRESS
from commonweight.protocol.canonical import dumps, sha256_hex
from tests.chain.scenario import ETHER, KEYS, make_world
from tests.cli.conftest import Crowd, InProcess, make_crowd
from tests.ledger_model.chain import compiled

pytestmark = pytest.mark.chain


def offline(crowd: Crowd) -> InProcess:
    """The same home on a machine that reaches nothing."""
    return InProcess(crowd.user.home, {**crowd.user.environment, "COMMONWEIGHT_RPC": "http://127.0.0.1:1"})


def sealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file and give it a digest that fits, as someone who meddles would."""
    body = json.loads(path.read_text())
    body.pop("sha256")
    change(body)
    path.write_text(json.dumps({**body, "sha256": sha256_hex(dumps(body))}))


def test_a_deposit_is_written_signed_offline_and_sent_twice_without_harm(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    run, home = crowd.world.run, crowd.user.home
    user, me = crowd.user, KEYS[8].address
    (home / "8.json").rename(home / "away.json")  # only the other machine has the key
    written = user.ok("fund", "deposit", "1.5", "--unsigned", "u.json", "--from", me)
    assert written["transactions"] == [
        {"calls": f"Campaign.deposit(amount={15 * 10**17})", "to": run.campaign.address, "nonce": 0}
    ]
    assert run.campaign.raised() == 0
    assert user.run("fund", "deposit", "1", "--unsigned", "u.json", "--from", me).code == 2, "none is overwritten"

    there = offline(crowd)
    assert there.run("tx", "show", "u.json").code == 0
    shown = there.ok("tx", "show", "u.json")
    assert (shown["chain_id"], shown["from"]) == (run.chain.chain_id, me)
    assert there.run("tx", "sign", "u.json", "--out", "s.json", "--keystore", "away.json").code == 2, "it asks first"
    assert there.run("tx", "sign", "u.json", "--out", "s.json", "--keystore", "7.json", "--yes").code == 2
    signed = there.ok("tx", "sign", "u.json", "--out", "s.json", "--keystore", "away.json", "--yes")

    sent = user.ok("tx", "send", "s.json")
    assert [m["tx"] for m in sent["mined"]] == signed["hashes"]
    assert user.ok("tx", "send", "s.json") == sent
    assert run.campaign.contribution_of(me) == 15 * 10**17

    # Another transaction takes the nonce of one that is signed and not sent: it can never be mined, and that is said.
    for name, amount in (("a", "1"), ("b", "2")):
        user.ok("fund", "deposit", amount, "--unsigned", f"{name}.json", "--from", me)
        there.ok("tx", "sign", f"{name}.json", "--out", f"{name}s.json", "--keystore", "away.json", "--yes")
    user.ok("tx", "send", "bs.json")
    lost = user.run("tx", "send", "as.json")
    assert lost.code == 1
    assert "has taken nonce 1" in lost.err
    assert run.campaign.contribution_of(me) == 35 * 10**17


@pytest.mark.slow
def test_a_refusal_comes_by_the_contracts_own_name(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    refused = crowd.run(8, "fund", "refund", "--unsigned", "r.json")
    assert refused.code == 1
    assert "NotFailed" in refused.err
    assert not (crowd.user.home / "r.json").exists()
    # Written while the run was open, sent after its deadline: mined, reverted, and explained.
    crowd.ok(8, "fund", "deposit", "1", "--unsigned", "d.json")
    crowd.ok(8, "tx", "sign", "d.json", "--out", "ds.json", "--yes")
    crowd.world.warp(crowd.world.run.params.deposit_deadline + 1)
    late = crowd.user.run("tx", "send", "ds.json")
    assert late.code == 1
    assert "DepositsClosed" in late.err


@pytest.mark.slow
def test_every_sending_command_can_be_signed_elsewhere(crowd: Crowd) -> None:
    run = crowd.world.run
    count = 0

    def sent(number: int, *words: object) -> dict[str, Any]:
        nonlocal count
        count += 1
        crowd.ok(number, *words, "--unsigned", f"{count}.u")
        crowd.ok(number, "tx", "sign", f"{count}.u", "--out", f"{count}.s", "--yes")
        return crowd.user.ok("tx", "send", f"{count}.s")

    text = crowd.user.run("run", "template").out
    text = text.replace("members = [", f'members = [{{signer = "{KEYS[5].address}", peer = "h:1"}},')
    text = text.replace("quorum = 2", "quorum = 1").replace(
        'manifest_sha256 = ""', f'manifest_sha256 = "0x{"ab" * 32}"'
    )
    (crowd.user.home / "run.toml").write_text(text)
    sent(0, "run", "create", "--config", "run.toml")
    made = crowd.user.ok("run", "list")["runs"][0]["run"]
    assert Campaign(run.chain, made, ZERO_ADDRESS).params().goal == 5 * ETHER

    sent(1, "provider", "register", "--peer", "127.0.0.1:7001")
    assert run.registry.index_of(KEYS[1].address) == 0
    sent(2, "provider", "register", "--peer", "127.0.0.1:7002")
    sent(0, "fund", "deposit", "6")
    for number in (5, 6, 7):
        sent(number, "oracle", "bond")
        assert run.oracle.bond_of(KEYS[number].address) == run.params.signer_bond
    sent(8, "infer", "channel", "open", KEYS[9].address, "0.5")
    assert crowd.ok(8, "infer", "channel", "show", KEYS[9].address)["held"] == str(ETHER // 2)
    sent(8, "infer", "channel", "withdraw", KEYS[9].address)
    assert crowd.ok(8, "infer", "channel", "show", KEYS[9].address)["withdrawal_amount"] == str(ETHER // 2)
    sent(8, "infer", "channel", "cancel", KEYS[9].address)
    assert crowd.ok(8, "infer", "channel", "show", KEYS[9].address)["withdrawal_at"] == 0
    crowd.world.warp(run.params.deposit_deadline + 1)
    run.distributor.pay_revenue(ETHER)
    sent(0, "fund", "claim")
    assert run.distributor.capital_claimed_by(KEYS[0].address) > 0
    crowd.world.settle(0, {0: 2_000_000})
    sent(1, "provider", "claim")
    assert run.distributor.claimed_by(0) > 0
    sent(1, "provider", "exit")
    assert crowd.ok(1, "provider", "status")["exit_at"] > 0


@pytest.mark.slow
def test_a_refund_can_be_signed_elsewhere(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(8, "fund", "deposit", "1", "--yes")
    crowd.world.warp(crowd.world.run.params.deposit_deadline + 1)
    crowd.ok(8, "fund", "refund", "--unsigned", "u.json")
    crowd.ok(8, "tx", "sign", "u.json", "--out", "s.json", "--yes")
    crowd.user.ok("tx", "send", "s.json")
    assert crowd.world.run.campaign.contribution_of(KEYS[8].address) == 0


def test_a_changed_file_is_refused(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    home, user = crowd.user.home, crowd.user
    crowd.ok(8, "fund", "deposit", "1", "--unsigned", "u.json")
    original = (home / "u.json").read_text()
    thief = KEYS[9].address

    def refused(*words: object) -> str:
        done = user.run(*words, "--yes") if words[1] == "sign" else user.run(*words)
        assert done.code == 1, done.out + done.err
        return done.err

    sign = ("tx", "sign", "u.json", "--out", "s.json", "--keystore", crowd.keystore(8))
    (home / "u.json").write_text(original.replace('"nonce": "0"', '"nonce": "1"'))
    assert "was changed" in refused(*sign)

    def lie(body: dict[str, Any]) -> None:
        body["transactions"][0]["data"] = body["transactions"][0]["data"][:-1] + "f"

    (home / "u.json").write_text(original)
    sealed(home / "u.json", lie)  # the words are the old ones, the bytes are not
    assert "says something else than its transactions do" in refused(*sign)
    assert not (home / "s.json").exists()

    (home / "u.json").write_text(original)
    crowd.ok(8, *sign[:-2], "--yes")
    good = (home / "s.json").read_text()
    other = crowd.ok(9, "fund", "deposit", "1", "--unsigned", "o.json")
    assert other["from"] == thief
    crowd.ok(9, "tx", "sign", "o.json", "--out", "os.json", "--yes")
    foreign = json.loads((home / "os.json").read_text())["transactions"][0]["raw"]
    for change in (
        lambda body: body["transactions"][0].update(raw=foreign),
        lambda body: body["transactions"][0].update(value="1"),
        lambda body: body["transactions"][0].update(to=thief),
        lambda body: body.update({"from": thief}),
        lambda body: body["transactions"][0].update(raw="0x02"),
    ):
        (home / "s.json").write_text(good)
        sealed(home / "s.json", change)
        said = refused("tx", "send", "s.json")
        assert "is not the one that the file describes" in said or "is malformed" in said
    assert crowd.world.run.campaign.raised() == 0

    (home / "s.json").write_text(good)
    sealed(home / "u.json", lambda body: body.update(schema="commonweight.unsigned.v2"))
    refused(*sign[:4], "s2.json", *sign[5:])
    wrong = user.run("tx", "send", "s.json", COMMONWEIGHT_CHAIN_ID="99")
    assert wrong.code == 2


@pytest.mark.slow
def test_a_token_deposit_is_two_transactions_in_one_file(anvil_url: str, tmp_path: Path) -> None:
    abi, code = compiled()["PlainToken"]
    chain = Chain([anvil_url], KEYS[0], state_dir=tmp_path / "deploying")
    token = str(chain.deploy(code, "the token").contract_address)
    chain.send(Call(token, parse_interface("PlainToken", abi).function("mint", 2), (KEYS[8].address, 5 * ETHER)))
    crowd = make_crowd(make_world(anvil_url, tmp_path / "nonces", asset=token), tmp_path)
    written = crowd.ok(8, "fund", "deposit", "2", "--unsigned", "u.json")
    assert [t["calls"].partition("(")[0] for t in written["transactions"]] == ["ERC20.approve", "Campaign.deposit"]
    nonces = [t["nonce"] for t in written["transactions"]]
    assert nonces[1] == nonces[0] + 1
    crowd.ok(8, "tx", "sign", "u.json", "--out", "s.json", "--yes")
    crowd.user.ok("tx", "send", "s.json")
    assert crowd.world.run.campaign.contribution_of(KEYS[8].address) == 2 * ETHER


def test_who_signs_is_named_only_for_a_file(crowd_with: Callable[..., Crowd]) -> None:
    done = crowd_with().user.run("fund", "deposit", "1", "--from", KEYS[8].address)
    assert done.code == 2
    assert "--from is for --unsigned" in done.err

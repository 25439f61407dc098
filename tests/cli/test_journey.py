"""Each role's way through a run by commands alone, on Anvil and on Ganache."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.chain.contracts import Campaign
from commonweight.chain.local import CHAIN_IDS
from commonweight.chain.structs import ZERO_ADDRESS, Milestone
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store
from tests.chain.scenario import ETHER, KEYS
from tests.cli.conftest import Crowd, User

pytestmark = pytest.mark.chain


def test_a_run_is_created_from_its_file_listed_and_shown(crowd: Crowd) -> None:
    template = crowd.user.run("run", "template").out
    assert tomllib.loads(template)["money"]["goal"] == "5"
    members = ", ".join(
        f'{{signer = "{KEYS[n].address}", transmitter = "{KEYS[n + 2].address}", peer = "h{n}:1"}}' for n in (5, 6, 7)
    )
    digest = "0x" + "ab" * 32
    text = template.replace("members = [", f"members = [{members}").replace(
        'manifest_sha256 = ""', f'manifest_sha256 = "{digest}"'
    )
    (crowd.user.home / "run.toml").write_text(text)
    made = crowd.ok(0, "run", "create", "--config", "run.toml", "--yes")
    params = Campaign(crowd.world.run.chain, made["run"], "0x" + "00" * 20).params()
    assert (params.goal, params.cap, params.wage_per_credit) == (5 * ETHER, 10 * ETHER, 10**9)
    assert params.epoch_length == 86400
    assert list(params.signers) == sorted((KEYS[n].address for n in (5, 6, 7)), key=lambda a: int(a, 16))
    assert params.transmitters[params.signers.index(KEYS[5].address)] == KEYS[7].address
    assert params.milestones == (Milestone.open(),)
    stored = open_store(crowd.user.home / "store").get(made["config_cid"])
    assert hashlib.sha256(stored).digest() == params.config_sha256
    config = RunConfig.load(stored)
    assert config.signers_peers == {KEYS[n].address.lower(): f"h{n}:1" for n in (5, 6, 7)}
    assert config.data.manifest_sha256 == digest
    listed = crowd.user.ok("run", "list")["runs"]
    assert [r["run"] for r in listed] == [made["run"], crowd.world.run.address]
    shown = crowd.user.ok("run", "show", "--run", made["run"])
    assert shown["params"]["goal"] == str(5 * ETHER)
    assert shown["state"] == "funding"
    assert shown["contracts"] == made["contracts"]


def test_before_a_run_is_created_its_file_is_said_in_words(
    crowd_with: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = crowd_with()
    monkeypatch.setattr("commonweight.cli.session.confirm", lambda question, yes: None)
    text = crowd.user.run("run", "template").out.replace("quorum = 2", "quorum = 1")
    text = text.replace("members = [", f'members = [{{signer = "{KEYS[5].address}", peer = "h:1"}}')
    text = text.replace('manifest_sha256 = ""', f'manifest_sha256 = "0x{"ab" * 32}"')
    training = "[config.training]\nmax_rounds = 10\ninner = {cooldown = 4}\n"
    (crowd.user.home / "run.toml").write_text(text + training)
    made = crowd.run(0, "run", "create", "--config", "run.toml")
    assert made.code == 0, made.err
    assert re.search(r"training +at most 10 rounds, the rate falls over the last 4 rounds\n", made.err)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('goal = "5"', "goal = 5.0"), "money.goal"),
        (('epoch_length = "1d"', 'epoch_length = "1 fortnight"'), "time.epoch_length"),
        (("[epochs]", "[epochs]\nfirst_epoch = 1"), "epochs.first_epoch"),
        (("anchor_every = 1", "anchor_every = 4"), "epochs.anchor_every"),
        (('peer = "h:1"', 'peer = "h:1", king = true'), "signers.members"),
        (('model = {preset = "nano"}', 'model = {preset = "huge"}'), "model"),
    ],
)
def test_a_wrong_run_file_names_the_field(
    crowd_with: Callable[..., Crowd], change: tuple[str, str], named: str
) -> None:
    crowd = crowd_with()
    text = crowd.user.run("run", "template").out
    text = text.replace("members = [", f'members = [{{signer = "{KEYS[5].address}", peer = "h:1"}},')
    text = text.replace('manifest_sha256 = ""', f'manifest_sha256 = "0x{"ab" * 32}"')
    assert change[0] in text
    (crowd.user.home / "run.toml").write_text(text.replace(*change))
    done = crowd.run(0, "run", "create", "--config", "run.toml", "--yes")
    assert done.code == 2, done.err
    assert named in done.err


def test_a_run_whose_goal_is_met_while_deposits_go_on_says_so(crowd: Crowd) -> None:
    goal = crowd.world.run.params.goal
    crowd.ok(8, "fund", "deposit", f"{goal - 1}wei", "--yes")
    assert crowd.user.ok("run", "show")["state"] == "funding"
    crowd.ok(8, "fund", "deposit", "1wei", "--yes")
    assert crowd.user.ok("run", "show")["state"] == "funding, goal met"


def test_a_funder_deposits_and_takes_everything_back_from_a_failed_run(crowd: Crowd) -> None:
    run = crowd.world.run
    if run.chain.chain_id == CHAIN_IDS["anvil"]:
        crowd = replace(crowd, user=User(crowd.user.home, crowd.user.environment))  # in processes of their own
    crowd.ok(8, "fund", "deposit", "1.5", "--yes")
    again = crowd.ok(8, "fund", "deposit", "1wei", "--yes")
    assert again["contribution"] == str(15 * 10**17 + 1)
    position = crowd.ok(8, "fund", "position")
    assert (position["contribution"], position["refundable"]) == (str(15 * 10**17 + 1), "0")
    crowd.world.warp(run.params.deposit_deadline + 1)
    assert crowd.ok(8, "fund", "position")["refundable"] == str(15 * 10**17 + 1)
    assert crowd.user.ok("run", "show")["state"] == "failed: refunds"
    assert crowd.ok(8, "fund", "refund")["refunded"] == str(15 * 10**17 + 1)
    assert run.chain.balance(run.campaign.address) == 0
    assert crowd.run(8, "fund", "refund").code == 1


def test_a_provider_registers_is_credited_claims_and_leaves(crowd: Crowd) -> None:
    run = crowd.world.run
    made = crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--payout", KEYS[9].address, "--yes")
    assert (made["index"], made["stake"]) == (0, str(run.params.provider_stake))
    crowd.ok(2, "provider", "register", "--peer", "127.0.0.1:7002", "--stake", "0.2", "--yes")
    crowd.ok(0, "fund", "deposit", "6", "--yes")
    for number in (5, 6, 7):
        assert crowd.ok(number, "oracle", "bond", "--yes")["bond"] == str(run.params.signer_bond)
    assert crowd.ok(5, "oracle", "bond", "--yes")["paid"] == "0"
    crowd.world.warp(run.params.deposit_deadline + 1)
    crowd.world.close(0)
    crowd.world.report(0, {0: 2_000_000})
    pending = crowd.ok(1, "provider", "credits")
    assert [(e["epoch"], e["state"], e["credits"]) for e in pending["epochs"]] == [
        (0, "reported, open to challenge", "2000000")
    ]
    assert crowd.run(1, "provider", "claim").code == 1
    crowd.world.finalize(0)
    run.distributor.pay_revenue(ETHER)
    crowd.world.settle(1, {1: 1_000_000})
    due = crowd.ok(1, "provider", "credits")
    assert due["final_credits"] == "2000000"
    assert int(due["claimable"]) > 2_000_000 * 10**9
    before = run.chain.balance(KEYS[9].address)
    claimed = crowd.ok(1, "provider", "claim")
    assert claimed["claimed"] == due["claimable"]
    assert run.chain.balance(KEYS[9].address) - before == int(due["claimable"])
    # Anyone may claim for another provider; the money goes to that one's payout address.
    assert crowd.ok(8, "provider", "claim", KEYS[2].address)["payout"] == KEYS[2].address
    funder = crowd.ok(0, "fund", "position")
    assert crowd.ok(0, "fund", "claim")["revenue"] == funder["claimable"] == str(ETHER * 6 // 10 - 1)  # rounded down
    crowd.ok(1, "provider", "exit", "--yes")
    status = crowd.ok(1, "provider", "status")
    assert status["exit_at"] > 0
    assert [entry["epoch"] for entry in status["unread"]] == [0, 1], "the reports' evidence is in nobody's store"
    assert crowd.ok(1, "provider", "status", "--epochs", "0")["unread"] == []
    locked = crowd.run(1, "provider", "exit", "--withdraw")
    assert locked.code == 1
    assert "StakeLocked" in locked.err
    for epoch in range(2, 6):
        crowd.world.settle(epoch, {})
    crowd.world.warp(run.oracle.finished_at() + run.params.dispute_period + 1)
    assert crowd.ok(1, "provider", "exit", "--withdraw")["withdrawn"] == str(run.params.provider_stake)
    assert crowd.user.ok("run", "show")["state"] == "trained"


def test_a_wallet_stakes_for_the_key_of_another_computer(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    run, user = crowd.world.run, crowd.user
    written = crowd.ok(3, "provider", "prepare", "entry.json", "--peer", "127.0.0.1:7003")
    entry = json.loads((user.home / "entry.json").read_text())
    assert {**entry, "file": "entry.json"} == written
    assert (entry["run"], entry["signing_key"]) == (run.address, KEYS[3].address)
    assert (entry["schema"], entry["chain_id"]) == ("commonweight.registration.v1", run.chain.chain_id)
    again = crowd.run(3, "provider", "prepare", "entry.json", "--peer", "127.0.0.1:7003")
    assert again.code == 2, "none is overwritten"
    assert crowd.run(3, "provider", "prepare", "other.json", "--peer", "nowhere").code != 0
    assert not (user.home / "other.json").exists()
    account = KEYS[9].address
    crowd.world.by(9).registry.register(entry["signing_key"], account, entry["peer"], run.params.provider_stake)
    status = crowd.ok(3, "provider", "status")  # the computer has the key, the wallet the account
    assert (status["account"], status["signing_key"]) == (account, KEYS[3].address)
    assert crowd.ok(3, "provider", "credits")["index"] == status["index"]


def test_a_provider_changes_what_it_registered_but_its_computer_cannot(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    run, minimum = crowd.world.run, crowd.world.run.params.provider_stake
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--signing-key", KEYS[3].address, "--yes")
    registry, before = run.registry, run.registry.provider_at(0)

    nothing = crowd.run(1, "provider", "change", "--yes")
    assert (nothing.code, "What shall change?" in nothing.err) == (2, True)
    assert crowd.run(1, "provider", "change", "--payout", KEYS[9].address).code == 2, "it asks first"
    stranger = crowd.run(4, "provider", "change", "--payout", KEYS[4].address, "--yes")
    assert (stranger.code, "is not a provider" in stranger.err) == (2, True)
    computer = crowd.run(3, "provider", "change", "--payout", KEYS[3].address, "--yes")
    assert (computer.code, before.account in computer.err) == (2, True)
    for words, why in (
        (["--signing-key", KEYS[3].address[:-1] + "z"], "address"),
        (["--payout", ZERO_ADDRESS], "nobody's"),
        (["--signing-key", ZERO_ADDRESS], "nobody's"),
        (["--peer", "nowhere"], "host:port"),
        (["--peer", "0.0.0.0:7001"], "Nobody can connect"),
        (["--peer", "h" * 300 + ":1"], "too long"),
        (["--add-stake", "0"], "nothing"),
        (["--add-stake", "much"], "not an amount"),
    ):
        refused = crowd.run(1, "provider", "change", "--peer", "127.0.0.1:7009", *words, "--yes")
        assert (refused.code, why in refused.err) == (2, True), refused.err
    assert registry.provider_at(0) == before, "what is wrong in one place changes nothing in another"

    words = ["--signing-key", KEYS[8].address, "--payout", KEYS[9].address, "--peer", "127.0.0.1:7101"]
    changed = crowd.ok(1, "provider", "change", *words, "--add-stake", "0.25", "--yes")
    assert [each["what"] for each in changed["changed"]] == ["peer", "payout", "signing_key", "stake"]
    now = registry.provider_at(0)
    assert (now.signing_key, now.payout, now.peer) == (KEYS[8].address, KEYS[9].address, "127.0.0.1:7101")
    assert now.stake == minimum + ETHER // 4
    assert (now.account, now.registered_at) == (before.account, before.registered_at)
    again = crowd.ok(1, "provider", "change", *words, "--yes")
    assert (again["changed"], again["stake"]) == ([], str(now.stake)), "what is so already is not sent"

    own = crowd.run(1, "provider", "change", "--signing-key", KEYS[3].address, "--yes")
    assert (own.code, "own before" in own.err) == (2, True)
    crowd.ok(2, "provider", "register", "--peer", "127.0.0.1:7002", "--yes")
    theirs = crowd.run(1, "provider", "change", "--signing-key", KEYS[2].address, "--yes")
    assert (theirs.code, "provider 1's" in theirs.err) == (2, True)

    drafted = crowd.ok(1, "provider", "change", "--payout", KEYS[1].address, "--unsigned", "change.json")
    assert drafted["transactions"][0]["calls"] == f"ProviderRegistry.setPayout(payout={KEYS[1].address})"
    assert registry.provider_at(0) == now
    crowd.ok(1, "provider", "exit", "--yes")
    left = crowd.run(1, "provider", "change", "--add-stake", "1", "--yes")
    assert (left.code, "has left" in left.err) == (2, True)
    assert crowd.ok(1, "provider", "change", "--payout", KEYS[1].address, "--yes")["payout"] == KEYS[1].address


def test_a_payer_opens_looks_at_and_empties_a_channel(crowd: Crowd) -> None:
    run = crowd.world.run
    crowd.ok(0, "fund", "deposit", "6", "--yes")
    server = KEYS[9].address
    opened = crowd.ok(8, "infer", "channel", "open", server, "0.5", "--yes")
    assert (opened["deposited"], opened["held"]) == (str(ETHER // 2), str(ETHER // 2))
    assert crowd.ok(8, "infer", "channel", "show", server)["channel"] == opened["channel"]
    asked = crowd.ok(8, "infer", "channel", "withdraw", server)
    assert asked["withdrawal_amount"] == str(ETHER // 2)
    assert asked["paid_out"] == "0"
    again = crowd.run(8, "infer", "channel", "withdraw", server)
    assert (again.code, "is not due before" in again.err) == (1, True), "asking again would begin the delay anew"
    assert crowd.ok(8, "infer", "channel", "show", server)["withdrawal_at"] == asked["withdrawal_at"]
    back = crowd.ok(8, "infer", "channel", "cancel", server)
    assert (back["withdrawal_at"], back["withdrawal_amount"], back["held"]) == (0, "0", str(ETHER // 2))
    nothing = crowd.run(8, "infer", "channel", "cancel", server)
    assert (nothing.code, "NoWithdrawal" in nothing.err) == (1, True)
    asked = crowd.ok(8, "infer", "channel", "withdraw", server)
    crowd.world.warp(asked["withdrawal_at"] + 1)
    paid_out = crowd.ok(8, "infer", "channel", "withdraw", server)
    assert (paid_out["held"], paid_out["paid_out"]) == ("0", str(ETHER // 2))
    assert run.chain.balance(run.payments.address) == 0
    empty = crowd.run(8, "infer", "channel", "withdraw", server)
    assert (empty.code, "Nothing is left in the channel" in empty.err) == (1, True)


def test_what_is_printed_for_people_is_on_stdout_and_json_is_alone_there(crowd: Crowd) -> None:
    crowd.ok(0, "fund", "deposit", "1", "--yes")
    people = crowd.run(0, "fund", "position")
    assert people.err == ""
    assert "contribution  1 ETH" in people.out
    machine = crowd.run(0, "fund", "position", "--json")
    assert machine.err == ""
    assert json.loads(machine.out)["contribution"] == str(ETHER)


def test_data_is_prepared_the_same_twice_and_published(crowd_with: Callable[..., Crowd], tmp_path: Path) -> None:
    crowd = crowd_with()
    (crowd.user.home / "text").mkdir()
    for number in range(40):
        (crowd.user.home / "text" / f"{number}.txt").write_text(f"Document {number}: " + "all the same and not. " * 50)
    first = crowd.user.ok("data", "prepare", "text", "--out", "a", "--publish")
    second = crowd.user.ok("data", "prepare", "text", "--out", "b")
    assert first["manifest_sha256"] == second["manifest_sha256"]
    manifest = open_store(crowd.user.home / "store").get(first["manifest_cid"])
    assert "0x" + hashlib.sha256(manifest).hexdigest() == first["manifest_sha256"]
    assert second["manifest_cid"] is None


def test_a_key_is_made_and_shown(crowd_with: Callable[..., Crowd]) -> None:
    user = crowd_with().user
    made = user.ok("key", "new", "keys/new.json", "--fast")
    assert user.ok("key", "show", "keys/new.json")["address"] == made["address"]
    assert user.run("key", "new", "keys/new.json").code == 1

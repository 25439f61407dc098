"""A run on private shards between real processes: credits by share, the audit holds, and nothing of the text leaves."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commonweight.store.cid import parse_cid
from tests.trainer.world import WORTH, Provider, World, command
from trainer.data import Corpus
from trainer.preparation import prepare

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

SHARE_BPS = 5_000


def private_text(folder: Path, owner: str) -> Path:
    """Prepared shards of text that nobody else has, and that is recognised wherever it turns up."""
    text = folder / f"{owner}.txt"
    text.write_text("".join(f"{owner} keeps entry {n} {hashlib.sha256(f'{owner} {n}'.encode()).hexdigest()}\n"
                            for n in range(800)))  # fmt: skip
    prepare([text], folder / f"{owner}-shards", heldout_bps=0)
    return folder / f"{owner}-shards"


def traces(shards: Path) -> list[bytes]:
    """What would show that something of these shards went out: text, hashes in every form, and content identifiers."""
    manifest = Corpus.open(shards).manifest
    found = [(shards / "train-00000.bin").read_bytes()[at : at + 24] for at in range(0, 40_000, 4000)]
    for digest in (manifest.sha256, *(shard.sha256 for shard in manifest.train.shards)):
        found += [digest[2:].encode(), bytes.fromhex(digest[2:])]
    found += [str(parse_cid(shard.cid)).encode() for shard in manifest.train.shards]
    return found


def asked(world: World, *words: str) -> tuple[int, dict[str, object]]:
    """An auditor's command with nothing but the node and the store."""
    where = ["--rpc", world.local.url, "--store", str(world.store_dir), "--run", world.run.addresses.campaign]
    done = subprocess.run(
        [*command(), "audit", *words, *where, "--json"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_private_shards_are_trained_on_credited_by_share_and_seen_by_nobody(tmp_path: Path) -> None:
    text, published = tmp_path / "text.txt", tmp_path / "published"
    text.write_text("".join(f"the public keeps entry {n} " for n in range(2000)))
    prepare([text], published, heldout_bps=10_000)
    owners = {name: private_text(tmp_path, name) for name in ("ada", "bob", "cid")}
    (tmp_path / "world").mkdir()
    source = {"private_credit_bps": SHARE_BPS}
    with World(tmp_path / "world", published, epoch_s=90, data=source, training=WORTH) as world:
        world.start_signers()
        refused = world.add("dot")
        members = [world.add(name, extra=["--private-data", str(shards)]) for name, shards in owners.items()]
        world.wait("who brings no shards is told so", lambda: not refused.alive)
        assert "--private-data" in refused.log_text()
        for member in members:
            world.wait(f"{member.name} is counted", lambda m=member: len(m.counted()) > 1)
        (epoch,) = world.wait("an epoch is final with credits", lambda: final_with_credits(world)[:1], 900)
        for member in members:
            member.end(120)
        world.same_checkpoints(*members)
        everything_but(world, members, owners)

        code, told = asked(world, "verify")
        assert (code, told["verdict"]) == (0, "verified"), told
        code, told = asked(world, "scores", "--epoch", str(epoch))
        assert (code, told["verdict"]) == (0, "verified"), told
        provider = ["--provider", str(world.index(members[0]))]
        for words in (["replay", *provider], ["recheck", *provider, "--epoch", str(epoch)]):
            code, told = asked(world, *words)
            assert code == 3, told
            assert "never leave their owners" in json.dumps(told)
        lines = [line for line in credit_lines(world, epoch) if line["credits"] != "0"]
        assert lines
        for line in lines:
            weight = 800 + line["bandwidth"] + line["latency"]
            assert int(line["credits"]) == int(line["flops"]) * weight * SHARE_BPS // 10**16
            assert {check["check"] for check in line["checks"]} == {"contribution"}


def final_with_credits(world: World) -> list[int]:
    """The final epochs with credits."""
    from commonweight.chain.ledger_view import LedgerView

    view = LedgerView.of(world.run)
    return [epoch.epoch for epoch in view.epochs.values() if epoch.final and any(epoch.credits.values())]


def credit_lines(world: World, epoch: int) -> list[dict[str, Any]]:
    """The itemised lines that the evidence of an epoch holds."""
    from commonweight.audit.evidence import read_directory
    from commonweight.chain.events import ReportSubmitted
    from commonweight.store import open_store

    events = world.run.events_of(ReportSubmitted, from_block=0, to_block=world.run.chain.block().number)
    report = next(event.report for event in events if event.report.epoch == epoch)
    files = read_directory(open_store(world.store_dir), report.evidence_cid)
    found: list[dict[str, Any]] = json.loads(files["credits.json"])["lines"]
    return found


def everything_but(world: World, members: list[Provider], owners: dict[str, Path]) -> None:
    """No file of the store, of the signers, or of other members has anything of a member's shards in it.

    What is sent to somebody is kept by somebody: documents, payloads, states and checkpoints lie in these files.
    """
    for member in members:
        marks = traces(owners[member.name])
        own = {member.folder, member.log}
        for path in world.folder.rglob("*"):
            if not path.is_file() or own & {path, *path.parents}:
                continue
            data = path.read_bytes()
            assert not [mark for mark in marks if mark in data], f"{path} has something of {member.name}'s shards"

"""A corrupt quorum: a run whose signers' keys are all in the test's hands, with forty providers, so that the tree has
six levels and a hidden one takes two answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from commonweight.audit.watcher.cases import descendants_of
from commonweight.audit.watcher.metrics import NoMetrics
from commonweight.audit.watcher.service import Watcher, WatchSettings
from commonweight.chain.events import NodeAsked, ReportSubmitted
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.structs import EpochState, Leaf, Report
from commonweight.protocol import creditslist
from commonweight.protocol.evidence import leaves_to_lines
from commonweight.protocol.sumtree import SumTree, depth_for
from commonweight.store import FolderStore
from tests.chain.scenario import KEYS, SIGNERS, World, make_world

PROVIDERS = 40
FIRST = {0: 100, 2: 7, 33: 50}
SECOND = {1: 10, 2: 20, 33: 5}
WATCHER, SECOND_WATCHER, FRIEND = 9, 8, 4
Forge = Callable[[dict[int, Leaf]], Iterable[Leaf]]


def account(index: int) -> str:
    """The registering account of a provider."""
    return f"0x{0xA000 + index:040x}"


def register(world: World, indices: Iterable[int]) -> None:
    """Register providers whose keys nobody needs."""
    chain, stake = world.run.chain, world.run.params.provider_stake
    for index in indices:
        who = account(index)
        call = world.run.registry.make_call("register", who, who, f"h{index}:1", stake)
        chain.rpc("anvil_setBalance", who, hex(10 * stake + 10**18))
        chain.rpc("anvil_impersonateAccount", who)
        sent = {"from": who, "to": call.address, "data": "0x" + call.data.hex(), "value": hex(stake)}
        chain.rpc("eth_sendTransaction", sent)


@dataclass
class Log:
    """What a watcher told."""

    lines: list[dict[str, Any]]

    def __call__(self, level: str, event: str, **fields: object) -> None:
        self.lines.append({"level": level, "event": event, **fields})

    def moves(self) -> list[str]:
        """The moves that were mined, in order."""
        return [str(line["move"]) for line in self.lines if line["event"] == "done"]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == name]


@dataclass
class Corrupt:
    """The run, with epoch 0 final and epoch 1 closed, and what its signers do."""

    world: World
    store: FolderStore
    tree: SumTree | None = None

    @classmethod
    def start(cls, url: str, folder: Path, **changes: object) -> Corrupt:
        """Deploy, fund, register, and settle epoch 0."""
        world = make_world(url, folder / "nonces", provider_stake=10**15, **changes)
        register(world, range(PROVIDERS))
        world.fund()
        world.settle(0, FIRST)
        world.close(1)
        return cls(world, FolderStore(folder / "store"))

    @property
    def params(self) -> Any:
        """The run's parameters."""
        return self.world.run.params

    def state(self, epoch: int = 1) -> EpochState:
        """Where an epoch stands."""
        return self.world.run.oracle.epoch_info(epoch).state

    def now(self) -> int:
        """The chain's time."""
        return self.world.run.chain.timestamp()

    def later(self, seconds: int) -> None:
        """Turn the clock on."""
        self.world.warp(self.now() + seconds)

    # --- reports -----------------------------------------------------------------------------------------------------

    def wage(self, credits: int, epoch: int = 1) -> int:
        """The scaled wage of an epoch with these credits."""
        params = self.params
        budget = self.world.run.oracle.epoch_info(epoch).unlocked_escrow * 10_000 // (10_000 + params.oracle_bps)
        return min(params.wage_per_credit << 64, (budget << 64) // credits)

    def true(self, listed: Mapping[int, int] = SECOND, epoch: int = 1) -> SumTree:
        """The tree that a list gives."""
        return LedgerView.of(self.world.run).tree_after(epoch, listed, self.wage(sum(listed.values()), epoch))

    def file(
        self,
        forge: Forge | None = None,
        *,
        listed: Mapping[int, int] = SECOND,
        packed: bytes | None = None,
        publish: bool = False,
        **changes: object,
    ) -> ReportSubmitted:
        """Sign and submit the report of epoch 1, with leaves that `forge` makes of the true ones."""
        true = self.true(listed)
        leaves = true.leaves if forge is None else tuple(forge({leaf.index: leaf for leaf in true.leaves}))
        self.tree = SumTree(leaves, true.depth)
        data = creditslist.encode(listed) if packed is None else packed
        total = sum(listed.values())
        if publish:
            cid = self.store.put_directory({"leaves.jsonl": leaves_to_lines(leaves), "index.json": b"{}"})
            changes["evidence_cid"] = str(cid)
        self.submit(
            self.report(root=self.tree.root, epoch_credits=total, credits_hash=creditslist.list_hash(data), **changes),
            data,
        )
        return self.filed()

    def report(self, **changes: object) -> Report:
        """A report of epoch 1 that the contract takes."""
        run, oracle = self.world.run, self.world.run.oracle
        latest, last = run.chain.block(), run.ledger.latest()
        epoch_credits = int(str(changes.get("epoch_credits", sum(SECOND.values()))))
        depth = depth_for(oracle.epoch_info(1).provider_count)
        made = Report(
            oracle.config_digest(), 1, oracle.current_attempt(1), last.root, bytes(32), last.sum + epoch_credits, depth,
            epoch_credits, creditslist.list_hash(creditslist.encode(SECOND)), "bafkreigh2akiscaildc", b"\x22" * 32,
            b"\x02" * 32, "bafkreigh2akiscaildc", 2, 3_000_000, latest.number - 1,
            run.chain.block(latest.number - 1).hash,
        )  # fmt: skip
        return replace(made, **changes)  # type: ignore[arg-type]

    def submit(self, report: Report, data: bytes) -> None:
        """Sign by a quorum and submit."""
        signatures = self.world.signatures(report, SIGNERS[: self.params.quorum])
        self.world.run.oracle.submit_report(report, data, signatures)

    def filed(self, epoch: int = 1) -> ReportSubmitted:
        """The report of an epoch as its event has it."""
        (event,) = [e for e in self.world.run.events_of(ReportSubmitted) if e.epoch == epoch]
        return event

    def answer_all(self, tree: SumTree | None = None) -> int:
        """Answer every asked node as the signers can; how many were answered."""
        signed, disputes, done = tree or self.tree, self.world.by(5).disputes, 0
        assert signed is not None
        for asked in list(self.world.run.events_of(NodeAsked)):
            if disputes.node_at(asked.digest, asked.level, asked.position).answered_at:
                continue
            shown = descendants_of(signed, asked.level, asked.position)
            assert shown is not None
            disputes.answer_node(asked.digest, asked.level, asked.position, shown)
            done += 1
        return done

    # --- the watcher -------------------------------------------------------------------------------------------------

    def watcher(
        self, number: int | None = WATCHER, *, store: bool = False, answers: str = "always", **settings: Any
    ) -> tuple[Watcher, Log]:
        """A watcher with an account's key, or without one, and what it tells."""
        log, run = Log([]), self.world.run if number is None else self.world.by(number)
        if number is None:
            run = run.with_key_of(self.world.chain(None))
        made = WatchSettings(answers=answers, command="the command", **settings)
        return Watcher(run, self.store if store else None, made, log, NoMetrics()), log

    def owed(self, number: int = WATCHER) -> int:
        """What oracle and disputes owe an account."""
        who, run = KEYS[number].address, self.world.run
        return run.oracle.owed_to(who) + run.disputes.owed_to(who)

    def bonds(self) -> list[int]:
        """The bonds of those who signed, then of those who did not."""
        return [self.world.run.oracle.bond_of(key.address) for key in SIGNERS]


def drain(watcher: Watcher) -> None:
    """Let a watcher do all that is due."""
    while watcher.step():
        pass


def swap(amount: int, giver: int, taker: int) -> Forge:
    """Credits moved from one provider to another, so that the sum stays right."""

    def forge(leaves: dict[int, Leaf]) -> Iterable[Leaf]:
        g = leaves[giver]
        t = leaves.get(taker, Leaf(taker, account(taker), 0, 0, 0))
        leaves[giver] = replace(g, C=g.C - amount)
        leaves[taker] = replace(t, C=t.C + amount)
        return leaves.values()

    return forge


def altered(index: int, **changes: Any) -> Forge:
    """One leaf with other values."""
    return lambda leaves: {**leaves, index: replace(leaves[index], **changes)}.values()


def entries(*pairs: Sequence[int]) -> bytes:
    """A packed list, however malformed."""
    return b"".join(index.to_bytes(4, "big") + credits.to_bytes(8, "big") for index, credits in pairs)

"""Makes the cases of one block out of a read-only node, and out of nothing else.

Events up to the last final block are folded once; those after it anew at each look, so that a reorganisation is
forgotten with its blocks. A look is thrown away when the head that it was made at has been replaced meanwhile. What
the logs say about a report is compared with the contracts' state before anything is concluded from it: a node that
has lost logs must not make a watcher doubt an honest report.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from commonweight.audit.watcher.cases import Case, Play, Revealed, State, signed_tree, true_tree
from commonweight.chain.contracts.disputes import Node
from commonweight.chain.events import (
    BadListProved,
    ChainEvent,
    FraudByDefault,
    GameClosed,
    GameOpened,
    NodeAnswered,
    ReportSubmitted,
    ReportUnanswered,
    WrongLeafProved,
)
from commonweight.chain.ledger_view import FiledReport, LedgerView
from commonweight.chain.run import Run
from commonweight.chain.structs import EpochState, Leaf, Sibling
from commonweight.chain.types import Block
from commonweight.errors import ChainError, FormatError, RpcUnavailable
from commonweight.protocol import creditslist
from commonweight.protocol.sumtree import SumTree, depth_for

_KINDS = (
    GameOpened, GameClosed, NodeAnswered, ReportUnanswered, FraudByDefault, WrongLeafProved, BadListProved,
)  # fmt: skip
Published = Callable[[FiledReport], "list[Leaf] | None"]


@dataclass
class Told:
    """What the disputes contract's events tell, by report digest."""

    games: dict[int, GameOpened] = field(default_factory=dict)
    answers: dict[bytes, tuple[NodeAnswered, ...]] = field(default_factory=dict)
    unanswered: dict[bytes, ReportUnanswered] = field(default_factory=dict)
    fraud: frozenset[bytes] = frozenset()

    def fork(self) -> "Told":
        """The same, to go on by itself."""
        return Told(dict(self.games), dict(self.answers), dict(self.unanswered), self.fraud)

    def take(self, event: ChainEvent) -> None:
        """Take in an event; closed games are forgotten."""
        match event:
            case GameOpened():
                self.games[event.game] = event
            case GameClosed():
                self.games.pop(event.game, None)
            case NodeAnswered():
                self.answers[event.digest] = (*self.answers.get(event.digest, ()), event)
            case ReportUnanswered():
                self.unanswered[event.digest] = event
            case FraudByDefault() | WrongLeafProved() | BadListProved():
                self.fraud |= {event.digest}


@dataclass(frozen=True)
class Seen:
    """One look: the head, the cases that can still move, every report filed so far, and this account's nonce and dues.

    `dues` is what each contract owes to the account, by contract name.
    """

    head: Block
    cases: tuple[Case, ...]
    reports: tuple[ReportSubmitted, ...]
    nonce: int | None
    dues: Mapping[str, int]


@dataclass
class _Judged:
    """What is worked out once for a report."""

    last: SumTree
    bad: int | None
    true: SumTree | None
    filed_at: int


class Reader:
    """Looks at one run, again and again, from one thread. `me` is the account whose moves are wanted, if any."""

    def __init__(self, run: Run, me: str | None, published: Published) -> None:
        self._run = run
        self._me = me
        self._published = published
        self._start()

    def _start(self) -> None:
        self._ledger = LedgerView(self._run)
        self._told = Told()
        self._base: Block | None = None
        self._judged: dict[tuple[bytes, ...], _Judged] = {}
        self._vouched: set[tuple[bytes, ...]] = set()
        self._times: dict[bytes, int] = {}

    def look(self) -> Seen:
        """Everything at the latest block. Raises ChainError; then nothing is concluded, and it can be tried again."""
        chain = self._run.chain
        head = chain.block()
        self._settle_base(chain.finalized_block(), head)
        ledger, told = self._ledger.fork(), self._told.fork()
        self._read(ledger, told, head.number)
        cases = tuple(self._case(filed, told, head) for filed in self._alive(ledger, told, head))
        nonce, dues = self._own(head)
        if chain.block(head.number).hash != head.hash:
            raise ChainError("The chain was reorganised during a look", f"block {head.number} was replaced")
        return Seen(head, cases, tuple(ledger.reports.values()), nonce, dues)

    # --- events ------------------------------------------------------------------------------------------------------

    def _settle_base(self, final: Block, head: Block) -> None:
        """Fold what is final now, once. A base that is not on the chain any more was final for nobody: begin anew."""
        if self._base is not None and not self._on_chain(self._base):
            self._start()
        if final.number <= head.number and final.number >= self._run.first_block:
            ledger, told = self._ledger.fork(), self._told.fork()
            self._read(ledger, told, final.number)
            if self._run.chain.block(final.number).hash != final.hash:
                raise ChainError("The chain was reorganised during a look", f"block {final.number} was replaced")
            self._ledger, self._told, self._base = ledger, told, final

    def _on_chain(self, block: Block) -> bool:
        try:
            return self._run.chain.block(block.number).hash == block.hash
        except RpcUnavailable:
            raise
        except ChainError:  # the chain has become shorter
            return False

    def _read(self, ledger: LedgerView, told: Told, upto: int) -> None:
        start = max(self._run.first_block, ledger.to_block + 1)
        if upto < start:
            return
        for event in self._run.events(_KINDS, from_block=start, to_block=upto):
            told.take(event)
        ledger.advance(upto)

    # --- cases -------------------------------------------------------------------------------------------------------

    def _alive(self, ledger: LedgerView, told: Told, head: Block) -> Iterable[FiledReport]:
        """Reports about which something can still be done: pending, lately unanswered, or with an open game."""
        playing = {opened.digest for opened in told.games.values()}
        for epoch, event in ledger.reports.items():
            filed = ledger.filed(epoch)
            if filed is None and event.digest in playing:
                yield self._final_again(ledger, event)
            elif filed is not None and (event.digest in playing or self._open(ledger, told, filed, head)):
                yield filed

    def _open(self, ledger: LedgerView, told: Told, filed: FiledReport, head: Block) -> bool:
        if filed.event.epoch not in ledger.epochs:
            return True
        default = told.unanswered.get(filed.event.digest)
        if default is None or filed.event.digest in told.fraud:
            return False
        return head.timestamp < self._time(default) + self._run.params.dispute_period

    def _final_again(self, ledger: LedgerView, event: ReportSubmitted) -> FiledReport:
        """A final report whose games still have to be closed; what its tree was does not matter any more."""
        return FiledReport(event, ledger.closed[event.epoch], {}, 0, bytes(32), ledger.accounts)

    def _case(self, filed: FiledReport, told: Told, head: Block) -> Case:
        digest, at = filed.event.digest, head.number
        state = self._state(filed, told, at)
        judged = self._judge(filed)
        if state in (State.PENDING, State.UNANSWERED) and _place(filed) not in self._vouched:
            self._vouch(filed, judged, state, at)
            self._vouched.add(_place(filed))
        report, disputes = filed.event.report, self._run.disputes
        shown = Revealed(Sibling(report.root, report.sum), report.depth)
        answers = told.answers.get(digest, ())
        for answer in answers:
            shown.add(answer.level, answer.position, answer.descendants)
        plays = tuple(
            Play(number, disputes.game_at(number, block=at))
            for number, opened in sorted(told.games.items())
            if opened.digest == digest
        )
        places = {(play.game.level, play.game.position) for play in plays}
        nodes: dict[tuple[int, int], Node] = {
            (level, position): disputes.node_at(digest, level, position, block=at) for level, position in places
        }
        default = told.unanswered.get(digest)
        case = Case(
            filed, self._run.params, state, head.timestamp, judged.filed_at + self._run.params.challenge_window,
            0 if default is None else self._time(default), judged.last, judged.last.root == filed.root, judged.bad,
            judged.true, shown, plays, nodes, {(a.level, a.position): a.answerer for a in answers},
        )  # fmt: skip
        return self._with_published(case)

    def _with_published(self, case: Case) -> Case:
        """The case with the whole signed tree, when somebody published it; honest trees are known anyway."""
        if case.genuine or case.state not in (State.PENDING, State.UNANSWERED):
            return case
        leaves = self._published(case.filed)
        tree = None if leaves is None else signed_tree(case.filed, leaves)
        return case if tree is None else replace(case, known=tree)

    def _state(self, filed: FiledReport, told: Told, at: int) -> State:
        event = filed.event
        if event.digest in told.fraud:
            return State.FRAUD
        if event.digest in told.unanswered:
            return State.UNANSWERED
        info = self._run.oracle.epoch_info(event.epoch, block=at)
        pending = info.state == EpochState.REPORTED and info.report_digest == event.digest
        return State.PENDING if pending else State.SETTLED

    def _judge(self, filed: FiledReport) -> _Judged:
        """The trees of a report, worked out once."""
        known = self._judged.get(_place(filed))
        if known is None:
            bad = creditslist.bad_position(filed.event.credits, filed.closed.provider_count)
            try:
                true = true_tree(filed) if bad is None else None
            except FormatError as problem:
                raise _disagree(f"the list of epoch {filed.event.epoch} has no tree: {problem.what}") from None
            last = SumTree(filed.leaves.values(), filed.depth)
            known = self._judged[_place(filed)] = _Judged(last, bad, true, self._time(filed.event))
        return known

    # --- against a node that does not tell everything ----------------------------------------------------------------

    def _vouch(self, filed: FiledReport, judged: _Judged, state: State, at: int) -> None:
        """Compare what a report is judged by with the contracts' state: a node without some logs is found out here."""
        run, event, closed = self._run, filed.event, filed.closed
        found: list[tuple[str, object, object]] = [
            ("the report's digest", event.report.digest(run.oracle.domain()), event.digest),
            ("the list's hash", creditslist.list_hash(event.credits), event.report.credits_hash),
            ("the root before", event.report.prev_root, filed.root),
            ("the depth", event.report.depth, depth_for(closed.provider_count, filed.depth)),
        ]
        if state == State.PENDING:
            info, latest = run.oracle.epoch_info(event.epoch, block=at), run.ledger.latest(block=at)
            found += [
                ("the accumulator", info.acc, closed.acc),
                ("the wage", info.wage, event.wage),
                ("the number of providers", info.provider_count, closed.provider_count),
                ("the last final root", latest.root, filed.root),
            ]
        fresh = [] if judged.true is None else [leaf for leaf in judged.true.leaves if leaf.index not in filed.leaves]
        for leaf in fresh:
            account = run.registry.account_of(leaf.index, block=at)
            found.append((f"the account of provider {leaf.index}", account.lower(), leaf.provider))
        for what, theirs, ours in found:
            if theirs != ours:
                raise _disagree(f"{what} of epoch {event.epoch}")

    # --- the account -------------------------------------------------------------------------------------------------

    def _own(self, head: Block) -> tuple[int | None, Mapping[str, int]]:
        if self._me is None:
            return None, {}
        count = self._run.chain.transaction_count(self._me, head.number)
        parts = (self._run.oracle, self._run.disputes)
        return count, {part.CONTRACT: part.owed_to(self._me, block=head.number) for part in parts}

    def _time(self, event: ChainEvent) -> int:
        """When an event happened; by the block's hash, so that it cannot be another block's time."""
        if event.block_hash not in self._times:
            self._times[event.block_hash] = self._run.chain.block(event.block_hash).timestamp
        return self._times[event.block_hash]


def _place(filed: FiledReport) -> tuple[bytes, ...]:
    """A report where it stands: on another branch, closed in another block, the same one can have another tree."""
    return filed.event.digest, filed.event.block_hash, filed.closed.block_hash


def _disagree(what: str) -> ChainError:
    return ChainError(
        "The node's logs and the contracts' state do not agree",
        what,
        "use another RPC address: this node has lost logs, or does not tell the truth",
    )

"""What dishonest signers report: each lie changes an honest draft, and each must fall to a proof or a game."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.ledger_model.epochs import Epoch
from tests.ledger_model.tree import Leaf, Sibling, keccak, pack_list


@dataclass
class Draft:
    """A report before it is signed: the leaves of its tree, nodes that no leaf need have, its list and its total."""

    epoch: Epoch
    depth: int
    limit: int
    leaves: dict[int, Leaf]
    fixed: dict[int, Sibling]
    packed: bytes
    total: int

    def change(self, **changes: int | str) -> None:
        """Change the first leaf that has credits, if there is one."""
        if leaf := self.victim:
            self.leaves[leaf.index] = replace(leaf, **changes)  # type: ignore[arg-type]

    @property
    def victim(self) -> Leaf | None:
        """The first leaf that has credits."""
        return next((leaf for leaf in self.leaves.values() if leaf.C), None)


Accounts = Callable[[int], str]
Lie = Callable[[Draft, str, Accounts], None]


def more_wages(draft: Draft, friend: str, account: Accounts) -> None:
    if leaf := draft.victim:
        draft.change(W=leaf.W + 1)


def less_debt(draft: Draft, friend: str, account: Accounts) -> None:
    if leaf := draft.victim:
        draft.change(D=leaf.D - 1 if leaf.D else 2**70)


def another_provider(draft: Draft, friend: str, account: Accounts) -> None:
    draft.change(provider=friend)


def moved_credits(draft: Draft, friend: str, account: Accounts) -> None:
    leaf, last = draft.victim, draft.epoch.provider_count - 1
    if leaf and leaf.C > 1:
        draft.change(C=leaf.C - 1)
        other = draft.leaves.get(last, Leaf(last))
        draft.leaves[last] = replace(other, provider=account(last), C=other.C + 1)


def false_sum(draft: Draft, friend: str, account: Accounts) -> None:
    if leaf := draft.victim:
        draft.change(C=leaf.C + 1)


def hidden_leaf(draft: Draft, friend: str, account: Accounts) -> None:
    if leaf := draft.victim:
        draft.fixed[leaf.index] = Sibling(keccak(b"no preimage"), leaf.C)


def stranger(draft: Draft, friend: str, account: Accounts) -> None:
    index = draft.epoch.provider_count
    if index >> draft.depth == 0 and draft.total < draft.limit:
        draft.leaves[index] = Leaf(index, friend, 1, draft.epoch.acc, 0)
        draft.packed += pack_list([(index, 1)])
        draft.total += 1


def beyond_the_tree(draft: Draft, friend: str, account: Accounts) -> None:
    """Credits at an index that has no leaf, taken up by the last leaf so that the sums agree."""
    leaf = draft.victim
    if leaf and draft.total < draft.limit:
        draft.packed += pack_list([(2**draft.depth + 3, 1)])
        draft.total += 1
        draft.change(C=leaf.C + 1)


def zero_entry(draft: Draft, friend: str, account: Accounts) -> None:
    draft.packed += pack_list([(draft.epoch.provider_count + 5, 0)])


def listed_twice(draft: Draft, friend: str, account: Accounts) -> None:
    draft.packed += draft.packed[-12:]


def broken_tail(draft: Draft, friend: str, account: Accounts) -> None:
    draft.packed += b"\1"


LIES: tuple[Lie, ...] = (
    more_wages,
    less_debt,
    another_provider,
    moved_credits,
    false_sum,
    hidden_leaf,
    stranger,
    beyond_the_tree,
    zero_entry,
    listed_twice,
    broken_tail,
)

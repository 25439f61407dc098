"""Who acts: unlocked accounts of the node by their role, and the signers' keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from commonweight.chain.local import dev_accounts
from tests.ledger_model.typed import Key

ACCOUNTS = 54
CROWD = 33  # enough providers for a tree of depth 6: the root game takes two answers


def _keys(first: int, count: int) -> tuple[Key, ...]:
    keys = [Key((first + k).to_bytes(32, "big")) for k in range(count)]
    return tuple(sorted(keys, key=lambda key: key.address))


@dataclass(frozen=True)
class Actors:
    """Roles over the node's accounts, in their order."""

    accounts: tuple[str, ...]
    payer_key: Key
    first: tuple[Key, ...] = field(default_factory=lambda: _keys(1000, 4))
    second: tuple[Key, ...] = field(default_factory=tuple)

    @staticmethod
    def over(accounts: Sequence[str]) -> Actors:
        """The roles; one signer of the first set is in the second too."""
        lower = tuple(a.lower() for a in accounts)
        payer = Key(bytes.fromhex(dev_accounts(5)[4].key[2:]))
        assert payer.address == lower[4]
        first = _keys(1000, 4)
        second = tuple(sorted((first[1], *_keys(2000, 2)), key=lambda key: key.address))
        return Actors(lower, payer, first, second)

    @property
    def crank(self) -> str:
        """Anybody: does what anyone may do."""
        return self.accounts[0]

    @property
    def funders(self) -> tuple[str, ...]:
        """Three who put money in."""
        return self.accounts[1:4]

    @property
    def payer(self) -> str:
        """Who pays for inferences."""
        return self.accounts[4]

    @property
    def servers(self) -> tuple[str, ...]:
        """Two who serve."""
        return self.accounts[5:7]

    @property
    def watcher(self) -> str:
        """Who proves and challenges."""
        return self.accounts[7]

    @property
    def rival(self) -> str:
        """Another one, perhaps a friend of the signers."""
        return self.accounts[8]

    @property
    def keeper(self) -> str:
        """Who answers for the signers' tree."""
        return self.accounts[9]

    @property
    def first_transmitters(self) -> tuple[str, ...]:
        """Of the first signer set."""
        return self.accounts[10:14]

    @property
    def second_transmitters(self) -> tuple[str, ...]:
        """Of the second one."""
        return self.accounts[14:17]

    @property
    def providers(self) -> tuple[str, ...]:
        """Accounts that may register."""
        return self.accounts[17:]

    @property
    def everyone(self) -> tuple[str, ...]:
        """All whose balances are compared: the accounts and the signers' own addresses."""
        return (*self.accounts[:24], *self.signers)

    @property
    def keys(self) -> dict[str, Key]:
        """Every signer's key."""
        return {key.address: key for key in (*self.first, *self.second)}

    @property
    def signers(self) -> tuple[str, ...]:
        """Every address that is ever a signer."""
        return tuple(self.keys)

    @property
    def payouts(self) -> tuple[str, ...]:
        """Every payout address."""
        return tuple(payout_of(k) for k in range(len(self.providers)))

    def watched(self, count: int) -> tuple[int, ...]:
        """The indices whose figures are compared: the first six and the last."""
        return tuple(sorted({*range(min(count, 6)), *([count - 1] if count else [])}))


def payout_of(k: int) -> str:
    """An address without code or key, for the k-th account."""
    return f"0x{0x20000 + k:040x}"


def signing_key_of(k: int) -> str:
    """Another one."""
    return f"0x{0x30000 + k:040x}"

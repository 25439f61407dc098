"""Stakes of providers and bonds of signers, kept a second time, with what was slashed and is owed to whom.

The registry and the oracle hold this money. What a slash takes is booked first, a tenth for the prover and the rest
for the capital pool, and paid out by pull.
"""

from collections import defaultdict
from collections.abc import Collection

from commonweight.audit.findings import Findings
from commonweight.chain.events import (
    Banned,
    BondPosted,
    BondSlashed,
    BondWithdrawn,
    ChainEvent,
    ExitRequested,
    KeyRotated,
    Owed,
    OwedPaid,
    PayoutChanged,
    ProviderRegistered,
    Slashed,
    StakeAdded,
    StakeWithdrawn,
)
from commonweight.chain.run import Run
from commonweight.chain.structs import RunParams

STAKES, REGISTRY = "stakes-and-bonds", "registry"
BOUNTY_BPS, BPS = 1_000, 10_000


class Providers:
    """The registry's entries: who is at which index, with every signing key that an index has had since which block."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.accounts: dict[int, str] = {}
        self.payouts: dict[int, str] = {}
        self.bans: dict[int, int] = {}
        self.exits: dict[int, int] = {}
        self.keys: dict[int, list[tuple[int, str]]] = defaultdict(list)
        self._owners: dict[str, int] = {}

    def register(self, event: ProviderRegistered) -> None:
        """Book a registration."""
        self._findings.equal(REGISTRY, "the next index", event.index, len(self.accounts))
        new = event.account not in self.accounts.values()
        self._findings.expect(REGISTRY, new, f"{event.account} is registered twice")
        self.accounts[event.index] = event.account
        self.payouts[event.index] = event.payout
        self._key(event.index, event.signing_key, event.block)

    def take(self, event: ChainEvent) -> None:
        """Book a change of key or payout address, a ban or an exit."""
        if isinstance(event, KeyRotated):
            self._key(event.index, event.signing_key, event.block)
        elif isinstance(event, PayoutChanged):
            self.payouts[event.index] = event.payout
        elif isinstance(event, Banned):
            known = event.index in self.accounts
            self._findings.expect(REGISTRY, known, f"index {event.index} was banned and is not registered")
            self.bans[event.index] = event.until
        elif isinstance(event, ExitRequested):
            self.exits[event.index] = event.exit_at

    def keys_by(self, index: int, block: int) -> frozenset[str]:
        """Every signing key, lower case, that an index had registered by a block."""
        return frozenset(key.lower() for since, key in self.keys.get(index, []) if since <= block)

    def compare(self, run: Run, block: int) -> None:
        """Compare with the registry at a block."""
        registry, equal = run.registry, self._findings.equal
        equal(REGISTRY, "the number of providers", registry.provider_count(block=block), len(self.accounts))
        for index, account in self.accounts.items():
            found = registry.provider_at(index, block=block)
            who = (account, self.payouts[index], self.keys[index][-1][1])
            equal(REGISTRY, f"provider {index}", (found.account, found.payout, found.signing_key), who)
            until = (self.bans.get(index, 0), self.exits.get(index, 0))
            equal(REGISTRY, f"ban and exit of provider {index}", (found.banned_until, found.exit_at), until)

    def _key(self, index: int, key: str, block: int) -> None:
        free = key not in self._owners
        self._findings.expect(REGISTRY, free, f"the signing key {key} was given out twice")
        self._owners[key] = index
        self.keys[index].append((block, key))


class Dues:
    """Money of one contract that is staked or bonded by someone, or owed to someone after a slash."""

    def __init__(self, contract: str, distributor: str, findings: Findings) -> None:
        self._contract = contract
        self._distributor = distributor
        self._findings = findings
        self.stakes: dict[str, int] = defaultdict(int)
        self.owed: dict[str, int] = defaultdict(int)
        self.money_in = self.money_out = 0
        self._booked: dict[str, int] = defaultdict(int)

    @property
    def held(self) -> int:
        """What the contract has to hold."""
        return self.money_in - self.money_out

    def put_in(self, who: str, amount: int) -> None:
        """A stake or bond grew."""
        self.stakes[who] += amount
        self.money_in += amount

    def taken_out(self, who: str, amount: int, where: str) -> None:
        """A stake or bond was returned whole."""
        self._findings.equal(STAKES, f"what {where} returned to {who}", amount, self.stakes[who])
        self.stakes[who] = 0
        self.money_out += amount

    def slashed(self, who: str, amount: int, where: str) -> None:
        """A stake or bond was taken whole; the events before this one have to have booked a tenth and the rest."""
        self._findings.equal(STAKES, f"what {where} took from {who}", amount, self.stakes[who])
        self.stakes[who] = 0
        rest = amount - amount * BOUNTY_BPS // BPS
        booked = sum(self._booked.values())
        self._findings.equal(STAKES, f"what {where} booked of the stake of {who}", booked, amount)
        to_pool = self._booked[self._distributor] >= rest
        self._findings.expect(STAKES, to_pool, f"{where} booked too little of the stake of {who} for the capital pool")
        self._booked.clear()

    def take(self, event: ChainEvent) -> None:
        """Book what is owed and what was paid of it."""
        if isinstance(event, Owed):
            self.owed[event.account] += event.amount
            self._booked[event.account] += event.amount
        elif isinstance(event, OwedPaid):
            due = self.owed[event.account]
            self._findings.equal(STAKES, f"what {self._contract} paid to {event.account}", event.amount, due)
            self.owed[event.account] = 0
            self.money_out += event.amount

    def compare_owed(self, found: dict[str, int]) -> None:
        """Compare what is owed with the contract's figures, by account."""
        self._findings.equal(STAKES, f"what {self._contract} owes", found, dict(self.owed))
        unbooked = dict(self._booked)
        self._findings.equal(STAKES, f"what {self._contract} booked without a slash", unbooked, {})


class Stakes:
    """Both contracts that hold stakes and bonds."""

    def __init__(self, run: Run, findings: Findings) -> None:
        distributor = run.addresses.distributor
        self._params: RunParams = run.params
        self._findings = findings
        self.registry = Dues("the registry", distributor, findings)
        self.bonds = Dues("the oracle", distributor, findings)
        self._addresses = run.addresses

    def take(self, event: ChainEvent) -> None:
        """Book one event of the registry or the oracle that moves money."""
        where = f"block {event.block}"
        match event:
            case ProviderRegistered():
                enough = event.stake >= self._params.provider_stake
                self._findings.expect(STAKES, enough, f"provider {event.index} registered with too little")
                self.registry.put_in(str(event.index), event.stake)
            case StakeAdded():
                self.registry.put_in(str(event.index), event.amount)
                self._findings.equal(STAKES, "a stake", event.stake, self.registry.stakes[str(event.index)])
            case StakeWithdrawn():
                self.registry.taken_out(str(event.index), event.amount, where)
            case Slashed():
                self.registry.slashed(str(event.index), event.amount, where)
            case BondPosted():
                self.bonds.put_in(event.signer, event.amount)
                self._findings.equal(STAKES, "a bond", event.bond, self.bonds.stakes[event.signer])
            case BondWithdrawn():
                self.bonds.taken_out(event.signer, event.amount, where)
            case BondSlashed():
                self.bonds.slashed(event.signer, event.amount, where)
            case Owed() | OwedPaid():
                (self.registry if event.address == self._addresses.registry else self.bonds).take(event)

    def compare(self, run: Run, block: int, signers: Collection[str]) -> None:
        """Compare with both contracts at a block; `signers` are all that were ever in office."""
        for index, stake in self.registry.stakes.items():
            found = run.registry.provider_at(int(index), block=block).stake
            self._findings.equal(STAKES, f"the stake of provider {index}", found, stake)
        for signer in sorted({*signers, *self.bonds.stakes}):
            found = run.oracle.bond_of(signer, block=block)
            self._findings.equal(STAKES, f"the bond of {signer}", found, self.bonds.stakes[signer])
        for dues, contract in ((self.registry, run.registry), (self.bonds, run.oracle)):
            dues.compare_owed({account: contract.owed_to(account, block=block) for account in dues.owed})
        self._findings.seen(STAKES)

"""The people of the demo: each has a key of its own, in an encrypted keystore where its program needs one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from commonweight.chain.keys import Key, create_keystore
from commonweight.chain.local import LocalChain

FUNDERS = ("Ada", "Bela", "Chidi")
PROVIDERS = ("Dora", "Emil", "Farah", "Liam the liar", "Gita")
SIGNERS = ("signer 1", "signer 2", "signer 3")
USERS = ("Hugo", "Ines")


@dataclass(frozen=True)
class Player:
    """A person or program with a funded account."""

    name: str
    key: Key
    keystore: Path

    @property
    def address(self) -> str:
        """Its checksummed address."""
        return self.key.address


@dataclass(frozen=True)
class Cast:
    """Everyone. Signers are in ascending order of address, each with its transmitter at the same place."""

    creator: Player
    funders: tuple[Player, ...]
    providers: tuple[Player, ...]
    signers: tuple[Player, ...]
    transmitters: tuple[Player, ...]
    server: Player
    users: tuple[Player, ...]
    password_file: Path

    @property
    def liar(self) -> Player:
        """The provider who lies."""
        return self.providers[3]

    def provider_at(self, account: str) -> Player:
        """The provider who registered with this account."""
        return next(player for player in self.providers if player.address == account)

    @classmethod
    def on(cls, local: LocalChain, directory: Path) -> Cast:
        """Give everyone one of the chain's funded development keys, in a keystore under a random password."""
        directory.mkdir(parents=True)
        password = secrets.token_hex(16)
        password_file = directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password + "\n")
        keys = iter([Key.from_hex(account.key) for account in local.accounts])

        def player(name: str, source: Iterator[Key] = keys) -> Player:
            key = next(source)
            path = directory / f"{name.replace(' ', '-').lower()}.json"
            create_keystore(path, password, key=key, fast=True)
            return Player(name, key, path)

        creator = player("creator")
        funders = tuple(player(name) for name in FUNDERS)
        providers = tuple(player(name) for name in PROVIDERS)
        ordered = iter(sorted((next(keys) for _ in SIGNERS), key=lambda key: int(key.address, 16)))
        signers = tuple(player(name, ordered) for name in SIGNERS)
        transmitters = tuple(player(f"transmitter {n}") for n in range(1, len(SIGNERS) + 1))
        return cls(
            creator, funders, providers, signers, transmitters,
            player("server"), tuple(player(name) for name in USERS), password_file,
        )  # fmt: skip

"""What one command works with: settings, output, chain, run, keys and store, each made when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from commonweight.cli.output import Output, readable
from commonweight.errors import UsageError
from commonweight.settings import Settings, environment, load

if TYPE_CHECKING:
    from commonweight.chain.client import Chain
    from commonweight.chain.contracts import Factory
    from commonweight.chain.keys import Key
    from commonweight.chain.run import Run
    from commonweight.store import ContentStore

_SERVICE_PATIENCE_S = 20.0
_SILENCE_S = 2.0


class Session:
    """One command's surroundings. `flags` are what the user gave on the command line, None where nothing. A `service`
    bears with a chain that does not answer for longer than a command, unless the settings say for how long.
    """

    def __init__(
        self,
        flags: Mapping[str, object],
        *,
        config: Path | None = None,
        as_json: bool = False,
        role: str | None = None,
        unsigned: Path | None = None,
        sender: str | None = None,
        service: bool = False,
    ) -> None:
        self.unsigned = unsigned
        self._sender = sender
        if sender is not None and unsigned is None:
            raise UsageError("--from is for --unsigned.", "Who sends now is whose keystore is given", "Leave one out.")
        self.output = Output(as_json=as_json)
        loaded = load(flags, environment(), config=config, role=role)
        self.settings: Settings = loaded.settings
        told = not service or loaded.sources["patience_s"] != "default"
        self.patience_s: float = loaded.settings.patience_s if told else _SERVICE_PATIENCE_S

    @property
    def campaign(self) -> str:
        """The run's campaign address. Raises UsageError if no run is named."""
        if self.settings.run is None:
            raise UsageError(
                "Which run is meant?",
                "No run was named",
                "Name its campaign address by --run (`commonweight run list` shows the runs).",
            )
        return self.settings.run

    @property
    def keystore(self) -> Path:
        """The keystore's path. Raises UsageError if none is named."""
        if self.settings.keystore is None:
            raise UsageError(
                "A key is needed and none was named.",
                "",
                "Name a keystore by --keystore; `commonweight key new` makes one.",
            )
        return self.settings.keystore

    @cached_property
    def key(self) -> Key:
        """The key in the keystore."""
        from commonweight.chain.keys import load_key, read_password

        prompt = f"Password of {self.keystore}: "
        return load_key(self.keystore, read_password(self.settings.password_file, environment(), prompt=prompt))

    @cached_property
    def chain(self) -> Chain:
        """The chain, for reading."""
        return self._connect(None)

    def reach(self) -> None:
        """For what makes its own connection: end here when the chain does not answer, or is another one."""
        _ = self.chain

    @cached_property
    def run(self) -> Run:
        """The run, for reading."""
        from commonweight.chain.run import Run

        return Run.at(self.chain, self.campaign)

    @cached_property
    def signing_run(self) -> Run:
        """The run as the keystore's key sends to it."""
        from commonweight.chain.run import Run

        campaign = self.campaign
        return Run.at(self.signing_chain, campaign)

    @cached_property
    def signing_chain(self) -> Chain:
        """The chain with the keystore's key; with --unsigned, one that only writes down what would be sent."""
        if self.unsigned is not None:
            return self.chain.begin_drafts(self._drafting_for())
        return self._connect(self.key)

    def _drafting_for(self) -> str:
        from eth_utils.address import to_checksum_address

        return str(to_checksum_address(self.address(self._sender)))

    def finish_unsigned(self, what: str) -> None:
        """With --unsigned, write the file and end the command; else nothing."""
        if self.unsigned is None:
            return
        import typer

        from commonweight.chain.offline import Unsigned

        drafter = self.signing_chain.drafter
        assert drafter is not None
        plan = Unsigned(self.signing_chain.chain_id, drafter.sender, what, tuple(drafter.drafts))
        digest = plan.save(self.unsigned)
        body = {
            "file": str(self.unsigned),
            "sha256": digest,
            "chain_id": plan.chain_id,
            "from": plan.sender,
            "what": what,
            "transactions": [{"calls": d.calls, "to": d.to, "nonce": d.nonce} for d in plan.drafts],
        }
        rows = [*[("will call", f"{d.calls} at {d.to}") for d in plan.drafts], ("from", plan.sender)]
        rows.append(("to sign it", f"commonweight tx sign {self.unsigned} --out SIGNED --keystore KEYSTORE"))
        self.output.result(body, title=f"Nothing was sent. {self.unsigned} says: {what}", rows=rows)
        raise typer.Exit

    def factory(self, chain: Chain) -> Factory:
        """The factory: the one named, or the one of this chain's deployments file."""
        from commonweight.chain.contracts import Factory
        from commonweight.chain.deploy import find_factory

        if self.settings.factory is not None:
            return Factory.at(chain, self.settings.factory)
        return find_factory(chain, self.deployments)

    @property
    def deployments(self) -> tuple[Path, ...]:
        """The folders of deployments files, in the order in which they are looked at."""
        from commonweight.chain.deploy import shipped_deployments

        own = () if self.settings.deployments is None else (self.settings.deployments,)
        return (*own, shipped_deployments())

    @cached_property
    def store(self) -> ContentStore:
        """The content store, to read from."""
        from commonweight.store import open_store

        return open_store(self.settings.store, make=False)

    @cached_property
    def own_store(self) -> ContentStore:
        """The content store, to write to: a folder is made when it is not there."""
        from commonweight.store import open_store

        return open_store(self.settings.store)

    def address(self, account: str | None) -> str:
        """`account`, or the keystore's address, which is read without its password."""
        from commonweight.chain.keys import keystore_address

        return account or keystore_address(self.keystore)

    def confirm(self, question: str, *, yes: bool) -> None:
        """`confirm`, unless the transaction is only written down."""
        if self.unsigned is None:  # writing down binds nobody
            confirm(question, yes=yes)

    def _connect(self, key: Key | None) -> Chain:
        """A chain that answers. Raises RpcUnavailable or WrongChain."""
        from commonweight.chain.client import Chain
        from commonweight.chain.sending import Fees
        from commonweight.chain.urls import mask_url

        s = self.settings
        fees = Fees(cap_wei=s.max_fee_gwei * 10**9)
        chain = Chain(
            s.rpc,
            key,
            chain_id=s.chain_id,
            fees=fees,
            confirmations=s.confirmations,
            patience_s=self.patience_s,
            state_dir=s.state_dir,
        )
        urls = ", ".join(mask_url(url) for url in s.rpc)
        with self.output.note_after(_SILENCE_S, f"No answer from {urls} yet: trying again for {self.patience_s:g} s."):
            chain.rpc("eth_chainId")
        return chain


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back. Raises UsageError if the answer is no or nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("This needs a confirmation.", "There is no terminal to ask on", "Repeat it with --yes.")
    sys.stderr.write(f"{readable(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was done.", "It was not confirmed", "Answer y, or use --yes.")

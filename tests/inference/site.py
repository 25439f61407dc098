"""A run with an attested checkpoint on a local chain, a content store, and server processes that serve it over HTTP."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from commonweight.chain.keys import Key, create_keystore
from commonweight.chain.local import Kind, start_local
from commonweight.chain.run import Run
from commonweight.exact.checkpoint import genesis_checkpoint, make_manifest
from commonweight.exact.layout import Layout
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer
from commonweight.protocol.fields import digest_bytes, lower_address
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import ContentStore, open_store
from inference.client import Limits, Payer
from inference.purse import Purse
from inference.wire import Wire
from tests.chain.scenario import ETHER, KEYS, World, make_world
from tests.launcher import Forked, Launcher
from tests.waiting import wait_for

PRICE = 10**12
DELAY_S = 600
PASSWORD = "a password for tests"
SERVER_KEY = KEYS[4]
START_S = 200.0


@dataclass
class Server:
    """A server process of a site. `url` is where it listens."""

    process: Forked
    url: str
    data_dir: Path
    log: Path

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


@dataclass
class Site:
    """A chain that mines on, a store, a run whose first epoch attested its genesis weights, and server processes."""

    world: World
    folder: Path
    store: ContentStore
    config: RunConfig
    checkpoint: str
    servers: list[Server] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)
    launcher: Launcher = field(default_factory=lambda: Launcher("tests.inference.serving:serve"))
    _payers: int = 0

    @property
    def run(self) -> Run:
        """The run, sending as account 0."""
        return self.world.run

    def serve(self, data_dir: Path | None = None, **changes: object) -> Server:
        """Start a server process and wait until it listens."""
        place = data_dir or self.folder / f"server-{len(self.servers)}"
        place.mkdir(exist_ok=True)
        (place / "server.json").unlink(missing_ok=True)
        keystore, password = self.folder / "server.key", self.folder / "password"
        if not keystore.exists():
            create_keystore(keystore, PASSWORD, key=SERVER_KEY, fast=True)
            password.write_text(PASSWORD)
        given = {
            "campaign": self.run.address, "rpc_urls": [self.world.url], "store": str(self.folder / "store"),
            "keystore": str(keystore), "password_file": str(password), "data_dir": str(place),
            "state_dir": str(self.folder / "server-nonces"),
            "listen": "127.0.0.1:0", "settle_every_s": 10_000, "settle_threshold": 10**30, **changes,
        }  # fmt: skip
        log = place / "log"
        process = self.launcher.start(given, log)
        wait_for(lambda: (place / "server.json").exists() or process.poll() is not None, START_S)
        assert process.poll() is None, log.read_text()
        info = json.loads((place / "server.json").read_text())
        made = Server(process, info["url"], place, log)
        self.servers.append(made)
        return made

    def payer(self, funds: int = ETHER) -> Payer:
        """A payer with a new key, funds and an empty purse."""
        self._payers += 1
        key = _payer_key(self._payers)
        self.run.chain.transfer(key.address, funds)
        purse = Purse(self.folder / f"purse-{self._payers}.sqlite")
        self.closing.callback(purse.close)
        return Payer(self.world_of(key), key, purse)

    def purse_of(self, home: Path, address: str) -> Payer:
        """Who pays from a home that commands were run in, to look into its purse."""
        key = next(k for n in range(self._payers) if (k := _payer_key(n + 1)).address == address)
        purse = Purse(home / "state" / f"purse-{self.run.chain.chain_id}-{address.lower()}.sqlite")
        self.closing.callback(purse.close)
        return Payer(self.world_of(key), key, purse)

    def http(self, server: Server) -> httpx.Client:
        """A client for a server that is closed with the site."""
        client = httpx.Client(trust_env=False, verify=False, timeout=60.0, base_url=server.url)
        return self.closing.enter_context(client)

    def world_of(self, key: Key) -> Run:
        """The run as `key` sends to it."""
        return Run.at(self.world.chain(key), self.run.address)

    def settled(self, channel: bytes) -> int:
        """What is settled on a channel."""
        return self.run.payments.channel(channel).settled


def limits(**changes: object) -> Limits:
    """Ample limits with a deposit on demand."""
    return Limits(**{"max_amount": 10**15, "deposit": 10**16, "patience_s": 120.0, **changes})  # type: ignore[arg-type]


def wire(server: Server) -> Wire:
    """A connection to a server, whatever proxies the environment names."""
    return Wire(server.url, httpx.Client(trust_env=False, verify=False, timeout=60.0))


@contextmanager
def make_site(kind: Kind, folder: Path) -> Iterator[Site]:
    """Set everything up on a chain of its own and take it down again."""
    with start_local(kind, directory=folder, block_time_s=None) as chain:
        store = open_store(folder / "store")
        config = _config(store)
        config_cid = store.put(config.to_bytes())
        world = make_world(
            chain.url, folder / "nonces", withdrawal_delay=DELAY_S,
            config_sha256=digest_bytes(config.sha256), config_cid=str(config_cid),
        )  # fmt: skip
        site = Site(world, folder, store, config, "")
        site.checkpoint = attest(site, 0, genesis_checkpoint(config).to_files(Layout.from_model(config.model)))
        with _mining(world):
            try:
                yield site
            finally:
                site.closing.close()
                for server in site.servers:
                    if server.process.poll() is None:
                        server.kill()
                site.launcher.close()


def attest(site: Site, epoch: int, files: dict[str, bytes]) -> str:
    """Put a checkpoint into the store and let an epoch's report attest it; its manifest's sha256."""
    cids = {name: str(site.store.put(data)) for name, data in files.items()}
    run = lower_address(site.run.address)
    manifest = make_manifest(run, 0, None, None, site.config.sha256, files, cids)
    directory = site.store.put_directory({"manifest.json": manifest.to_bytes(), **files})
    if epoch == 0:
        site.world.fund()
    site.world.close(epoch)
    changes = {"checkpoint": digest_bytes(manifest.sha256), "checkpoint_cid": str(directory), "round": 0}
    site.world.report(epoch, {}, **changes)
    site.world.finalize(epoch)
    site.run.chain.rpc("evm_mine")
    site.run.chain.rpc("evm_mine")
    return manifest.sha256


def _payer_key(number: int) -> Key:
    return Key.from_bytes((number + 1000).to_bytes(32, "big"))


def _config(store: ContentStore) -> RunConfig:
    train, heldout = (
        Split((Shard(name, 4, sha256_hex(b"text"), str(store.put(b"text"))),))
        for name in ("train-0.bin", "heldout-0.bin")
    )
    data = DataManifest(Tokenizer("bytes"), 256, 1, train, heldout).to_bytes()
    model = {
        "preset": "custom", "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_layers": 1,
        "num_heads": 2, "num_kv_heads": 2, "head_dim": 16, "max_seq_len": 256,
    }  # fmt: skip
    return RunConfig.parse(
        {
            "name": "tiny",
            "model": model,
            "genesis_seed": "0x" + "05" * 32,
            "data": {"manifest_cid": str(store.put(data)), "manifest_sha256": sha256_hex(data)},
            "serving": {"price_per_token": str(PRICE), "max_completion_tokens": 128},
        }
    )


@contextmanager
def _mining(world: World) -> Iterator[None]:
    """Mine a block five times a second, so that what is sent becomes final."""
    stop = threading.Event()

    def mine() -> None:
        while not stop.wait(0.2):
            world.run.chain.rpc("evm_mine")

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

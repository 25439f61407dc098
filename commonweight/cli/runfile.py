"""Reads the TOML file from which a run is created: its parameters on chain and its configuration `run.json`.

Amounts are text in whole units of the asset ("1.5") or with a suffix ("10wei"), times are seconds or text like "90m".
What the file leaves out has the default shown in `TEMPLATE`; what it names and nobody knows is an error.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from commonweight.addresses import parse_address
from commonweight.cli.amounts import parse_amount
from commonweight.cli.durations import parse_duration
from commonweight.errors import CommonweightError, ConfigError, PeerError, UsageError

if TYPE_CHECKING:
    from commonweight.chain.structs import Milestone, RunParams
    from commonweight.protocol.canonical import JsonObject
    from commonweight.protocol.runconfig import RunConfig

TEMPLATE = """\
# A run of Commonweight: `commonweight run create --config run.toml`. Everything here is fixed once the run is created.
name = "my-model"
data_licence = "CC0-1.0"
weights_licence = "Apache-2.0"

[money]                       # whole units of the asset, or with a suffix: "10wei", "5gwei"
asset = "ETH"                 # or the address of an ERC-20 token
goal = "5"                    # below this at the deadline, everyone is paid back
cap = "10"
wage_per_credit = "1gwei"     # a credit is 10^9 training FLOPs
capital_bps = 6000            # funders' part of the revenue, in hundredths of a percent; providers get the rest
oracle_bps = 500              # the signers' fee on wages
server_bps = 1000             # the server's cut of what users pay
provider_stake = "0.1"
signer_bond = "1"
challenge_bond = "0.1"
dispute_bond = "0.1"

[time]                        # seconds, or text with s, m, h or d
deposits = "7d"               # how long funders can deposit, from now
start_delay = "0s"            # from the end of deposits to the first epoch
epoch_length = "1d"           # at least report_span + challenge_window + 8 * answer_time
report_span = "4h"
attempt_length = "30m"
challenge_window = "4h"
answer_time = "1h"
dispute_period = "3d"
anchor_window = "2m"
rotation_delay = "2d"
withdrawal_delay = "1d"
evidence_retention = "90d"

[epochs]
last_epoch = 29               # training epochs 0 to 29
tail_epochs = 2
max_credits_per_epoch = 1000000000
anchor_every = 1

[signers]
quorum = 2
members = [
  # {signer = "0x...", transmitter = "0x...", peer = "oracle.example.org:7700"},
]

# Without milestones the whole escrow is unlocked from the start.
# [[milestones]]
# deadline_epoch = 10
# min_credits = 1000000
# max_loss = "3.2"            # nats per token
# tranche_bps = 10000

[config]                      # run.json; docs/protocol.md, section 6, explains all fields
model = {preset = "nano"}     # nano, micro, 25M, 125M, 350M, 1B, 7B, or custom with all sizes
data = {manifest_cid = "", manifest_sha256 = ""}   # `commonweight data prepare --publish` prints both

# What is left out of [config] has these values; section 6 has the rest.
# [config.training]
# h = 30                      # inner steps of a round
# batch = 8                   # windows a step
# seq_len = 96                # tokens a window
# topology = "butterfly"      # members reduce; "star": the coordinator does, for members with thin links
# codec = "int1"              # of payloads: fp32, fp16, int8, int4, int2, int1, ternary or topk2
# result_codec = "ternary"    # of what is reduced
# block = 512                 # elements that share a scale
# overlap = 0                 # steps that a member may take before a round's base is there
# trace_every = 5             # steps between states that can be replayed
# dtype = "float32"           # or "bfloat16"
# min_members = 2             # with fewer a round makes no checkpoint
# (max_rounds = 1000 ends training after as many rounds; without it, the last epoch does)
# [config.training.inner]
# optimizer = "muon"          # or "adamw", "sgd"
# lr = "3e-3"
# warmup = 20                 # steps over which a member's rate rises
# cooldown = 0                # rounds before max_rounds is reached over which it falls, linearly, to a tenth
# [config.training.outer]
# lr = "1.0"
# momentum = "0.4"
# [config.timing_ms]          # of the first rounds; later ones follow what rounds take
# train = 60000
# exchange = 30000
# record = 15000
# [config.verification]
# replay_rate_bps = 10000     # share of a newcomer's rounds of which a segment is replayed
# replay_rate_min_bps = 1000  # the least that honest history brings it down to
# contribution_rate_bps = 1000
# state_wait_ms = 21340       # for a drawn state to come; by default 10 s and what two take at 20 Mbit/s
# [config.serving]
# price_per_token = "1000000000000"   # smallest units of the asset
# max_completion_tokens = 256
"""

_SHA256 = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True)
class Draft:
    """A run that is not created yet. `asset` is the token's address or None for ether."""

    path: Path
    body: Mapping[str, object]
    defaults: Mapping[str, object]
    config: RunConfig

    @property
    def asset(self) -> str | None:
        """The token's address, None for ether."""
        text = str(self._value("money", "asset"))
        return None if text.upper() == "ETH" else _address(text, "money.asset", self.path)

    def params(self, now: int, decimals: int, config_cid: str) -> RunParams:
        """The parameters of a run whose deposits begin at `now` (Unix seconds). Raises ConfigError naming the field,
        also where the contracts do not allow what it has.
        """
        from commonweight.chain.structs import ZERO_ADDRESS, RunParams
        from commonweight.cli.bounds import bounds

        deadline = now + self._seconds("deposits")
        members = self._members()
        params = RunParams(
            asset=self.asset or ZERO_ADDRESS,
            goal=self._amount("goal", decimals),
            cap=self._amount("cap", decimals),
            deposit_deadline=deadline,
            capital_bps=self._integer("money", "capital_bps"),
            wage_per_credit=self._amount("wage_per_credit", decimals),
            oracle_bps=self._integer("money", "oracle_bps"),
            server_bps=self._integer("money", "server_bps"),
            epoch_start=deadline + self._seconds("start_delay"),
            epoch_length=self._seconds("epoch_length"),
            last_epoch=self._integer("epochs", "last_epoch"),
            tail_epochs=self._integer("epochs", "tail_epochs"),
            report_span=self._seconds("report_span"),
            attempt_length=self._seconds("attempt_length"),
            challenge_window=self._seconds("challenge_window"),
            answer_time=self._seconds("answer_time"),
            dispute_period=self._seconds("dispute_period"),
            anchor_window=self._seconds("anchor_window"),
            rotation_delay=self._seconds("rotation_delay"),
            withdrawal_delay=self._seconds("withdrawal_delay"),
            max_credits_per_epoch=self._integer("epochs", "max_credits_per_epoch"),
            anchor_every=self._anchor_every(),
            evidence_retention=self._seconds("evidence_retention"),
            provider_stake=self._amount("provider_stake", decimals),
            signer_bond=self._amount("signer_bond", decimals),
            challenge_bond=self._amount("challenge_bond", decimals),
            dispute_bond=self._amount("dispute_bond", decimals),
            quorum=self._integer("signers", "quorum"),
            signers=tuple(signer for signer, _, _ in members),
            transmitters=tuple(transmitter for _, transmitter, _ in members),
            config_sha256=bytes.fromhex(self.config.sha256[2:]),
            config_cid=config_cid,
            name=self.config.name,
            data_licence=str(self._value("", "data_licence")),
            weights_licence=str(self._value("", "weights_licence")),
            milestones=self._milestones(),
        )
        for name, kept, wanted in bounds(params):
            if not kept:
                raise _wrong(self.path, name, self._told(name), wanted)
        return params

    def _told(self, name: str) -> object:
        """What the file or the template has under a dotted name."""
        table, _, inner = name.rpartition(".")
        return self.body.get(name, []) if not table else self._value(table, inner)

    def _value(self, table: str, name: str) -> object:
        given, default = (_table(source, table, self.path) for source in (self.body, self.defaults))
        return given.get(name, default[name])

    def _integer(self, table: str, name: str) -> int:
        value = self._value(table, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _wrong(self.path, f"{table}.{name}", value, "a whole number, zero or more")
        return value

    def _anchor_every(self) -> int:
        """The contract keeps it for runs whose rounds share anchors; programs anchor each round (docs/adr/0019)."""
        value = self._integer("epochs", "anchor_every")
        if value != 1:
            raise _wrong(self.path, "epochs.anchor_every", value, "1: every round has an anchor of its own")
        return value

    def _amount(self, name: str, decimals: int) -> int:
        value = self._value("money", name)
        try:
            return parse_amount(value if isinstance(value, str) else f"<{value}>", decimals)
        except CommonweightError:
            raise _wrong(self.path, f"money.{name}", value, 'an amount in quotes, like "1.5" or "10wei"') from None

    def _seconds(self, name: str) -> int:
        value = self._value("time", name)
        if isinstance(value, str):
            try:
                return parse_duration(value)
            except UsageError:
                raise _wrong(self.path, f"time.{name}", value, 'seconds, or text like "90m"') from None
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _wrong(self.path, f"time.{name}", value, 'seconds, or text like "90m"')
        return value

    def _members(self) -> list[tuple[str, str, str]]:
        return _members(self.body, self.path)

    def _milestones(self) -> tuple[Milestone, ...]:
        from commonweight.chain.structs import U64_MAX, Milestone

        given = self.body.get("milestones", [])
        if not isinstance(given, list):
            raise _wrong(self.path, "milestones", given, "a list of tables")
        found = []
        for entry in given:
            if not isinstance(entry, dict) or set(entry) - {"deadline_epoch", "min_credits", "max_loss", "tranche_bps"}:
                raise _wrong(self.path, "milestones", entry, "deadline_epoch, min_credits, max_loss and tranche_bps")
            try:
                loss = parse_amount(str(entry["max_loss"]), 6) if "max_loss" in entry else U64_MAX
                values = (
                    int(entry["deadline_epoch"]),
                    int(entry.get("min_credits", 0)),
                    loss,
                    int(entry["tranche_bps"]),
                )
            except (KeyError, ValueError, TypeError, CommonweightError):
                raise _wrong(self.path, "milestones", entry, "whole numbers, and max_loss a decimal text") from None
            found.append(Milestone(*values))
        return tuple(found) or (Milestone.open(),)


def read_runfile(path: Path) -> Draft:
    """Read a run's file. Raises ConfigError, which names the field that is wrong."""
    from commonweight.protocol.runconfig import WRONG, RunConfig

    try:
        body = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"The run's file {path} cannot be read.",
            error.strerror or "",
            "Check its name; `commonweight run template` prints one to start from.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The run's file {path} is not TOML.", str(error), "Correct that line.") from None
    defaults = tomllib.loads(TEMPLATE)
    _refuse_unknown(body, defaults, path)
    peers = {signer.lower(): peer for signer, _, peer in _members(body, path) if peer}
    given = _table(body, "config", path)
    source = given.get("data")
    if not isinstance(source, dict) or not _SHA256.fullmatch(str(source.get("manifest_sha256", ""))):
        raise ConfigError(
            f"The run's file {path} names no data.",
            "config.data.manifest_sha256 is not a digest",
            "`commonweight data prepare --publish` prints manifest_cid and manifest_sha256.",
        )
    whole: JsonObject = {
        "genesis_seed": "0x" + secrets.token_hex(32),
        **cast("JsonObject", given),
        "name": str(body.get("name", defaults["name"])),
        "signers_peers": cast("JsonObject", peers),
    }
    try:
        config = RunConfig.parse(whole)
    except ConfigError as error:
        why = error.why if error.what == WRONG else f"{error.what}: {error.why}"
        raise ConfigError(f"[config] in {path} is wrong.", why, error.fix) from error
    return Draft(path, body, defaults, config)


def _refuse_unknown(body: Mapping[str, object], defaults: Mapping[str, object], path: Path) -> None:
    for name, value in body.items():
        if name not in defaults and name != "milestones":
            raise _unknown(path, name)
        known = defaults.get(name)
        if isinstance(known, dict) and name != "config":
            for inner in value if isinstance(value, dict) else ():
                if inner not in known:
                    raise _unknown(path, f"{name}.{inner}")


def _members(body: Mapping[str, object], path: Path) -> list[tuple[str, str, str]]:
    given = _table(body, "signers", path).get("members", [])
    found = []
    for entry in given if isinstance(given, list) else [given]:
        if not isinstance(entry, dict) or set(entry) - {"signer", "transmitter", "peer"}:
            raise _wrong(path, "signers.members", entry, "tables of signer, transmitter and peer")
        signer, transmitter = str(entry.get("signer")), str(entry.get("transmitter", entry.get("signer")))
        for address in (signer, transmitter):
            _address(address, "signers.members", path)
        found.append((signer, transmitter, _peer(str(entry.get("peer", "")), path)))
    return sorted(found, key=lambda member: int(member[0], 16))


def _address(text: str, name: str, path: Path) -> str:
    try:
        return parse_address(text)
    except UsageError as error:
        raise ConfigError(f"{name} in {path} cannot be {text!r}.", error.why, error.fix) from None


def _peer(text: str, path: Path) -> str:
    from commonweight.net import check_address

    try:
        if text:
            check_address(text)
    except PeerError as error:
        raise ConfigError(f"signers.members in {path} cannot be at {text!r}.", error.why, error.fix) from None
    return text


def _table(source: Mapping[str, object], name: str, path: Path) -> Mapping[str, object]:
    value = source.get(name, {}) if name else source
    if not isinstance(value, dict):
        raise _wrong(path, name, value, "a table")
    return value


def _unknown(path: Path, name: str) -> ConfigError:
    return ConfigError(
        f"The run's file {path} has an unknown name: {name}.", "", "`commonweight run template` shows all of them."
    )


def _wrong(path: Path, name: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{name} in {path} cannot be {value!r}.", f"It must be {wanted}", "Correct it there.")

"""Flag over environment over file over default, with the source of each; nothing secret is shown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from commonweight.checks import enough_memory
from commonweight.errors import ConfigError, UsageError
from commonweight.quantities import parse_rate, parse_size
from commonweight.settings import ROLES, TEMPLATE, Settings, load
from tests.cli.conftest import InProcess, User
from trainer.engine import Engine
from trainer.settings import ProviderSettings

pytestmark = pytest.mark.unit
FILE = """
rpc = ["http://one", "http://two"]
store = "things"
run = "0x00000000000000000000000000000000000000AA"
password_file = "password"
[provider]
listen = "0.0.0.0:7000"
store = "theirs"
[oracle]
listen = "0.0.0.0:8000"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "settings.toml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_the_order_is_flag_environment_file_default(place: Path) -> None:
    environment = {"COMMONWEIGHT_STORE": "from-environment", "COMMONWEIGHT_RPC": "http://three", "HOME": "/home/u"}
    loaded = load({"rpc": "http://flag", "store": None}, environment, config=place)
    assert loaded.settings.rpc == ("http://flag",)
    assert loaded.sources["rpc"] == "flag"
    assert loaded.settings.store == "from-environment"
    assert loaded.sources["store"] == "COMMONWEIGHT_STORE"
    assert loaded.settings.run == "0x00000000000000000000000000000000000000AA"
    assert loaded.sources["run"] == str(place)
    assert loaded.settings.data_dir == Path("/home/u/.local/share/commonweight")
    assert loaded.sources["data_dir"] == "default"


def test_a_roles_table_goes_before_the_top_level(place: Path) -> None:
    provider = load({}, {}, config=place, role="provider").settings
    oracle = load({}, {}, config=place, role="oracle").settings
    assert (provider.listen, provider.store) == ("0.0.0.0:7000", str(place.parent / "theirs"))
    assert (oracle.listen, oracle.store) == ("0.0.0.0:8000", str(place.parent / "things"))
    assert load({}, {}, config=place).settings.listen is None


def test_paths_of_the_file_start_at_its_folder_and_others_here(place: Path) -> None:
    settings = load({"keystore": "k.json"}, {"COMMONWEIGHT_CONFIG": str(place)}).settings
    assert settings.password_file == place.parent / "password"
    assert settings.keystore == Path("k.json")
    urls = load({"store": "http://127.0.0.1:5001,folder"}, {}).settings.store
    assert urls == "http://127.0.0.1:5001,folder"


def test_the_users_own_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "commonweight"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("max_fee_gwei = 7\n")
    assert load({}, {"HOME": str(tmp_path)}).settings.max_fee_gwei == 7
    assert load({}, {"XDG_CONFIG_HOME": str(tmp_path / ".config")}).settings.max_fee_gwei == 7


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rcp = 'http://x'", "unknown name: rcp"),
        ("[provider]\nlisten_on = 'x'", "unknown name: provider.listen_on"),
        ("[audit]\nlisten_on = 'x'", "unknown name: audit.listen_on"),
        ("[oracle.infer]", "unknown name: oracle.infer"),
        ("max_fee_gwei = 'many'", "max_fee_gwei"),
        ("max_fee_gwei = -1", "max_fee_gwei"),
        ("max_fee_gwei = true", "max_fee_gwei"),
        ("rpc = 5", "rpc from .* cannot be 5"),
        ("rpc = [7]", r"rpc from .* cannot be \[7\]"),
        ("rpc = ''", "rpc from .* cannot be ''"),
        ("log_level = 'loud'", "log_level"),
        ("run = '0x12'", "run"),
        ("keystore = ''", "keystore"),
        ("[provider]\nmax_upload = '10 parsecs'", "max_upload from .* '10 parsecs'"),
        ("max_upload = 10", "max_upload"),
        ("max_memory = '0GB'", "max_memory"),
        ("[provider]\nschedule = '22:00-07:00,25:00-01:00'", "schedule from"),
        ("metrics = 'here'", "metrics"),
        ("metrics = 70000", "metrics"),
        ("not toml", "is not TOML"),
    ],
)
def test_what_cannot_be_is_an_error_by_name(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as refused:
        load({}, {}, config=path, role="provider")
    assert refused.value.exit_code == 2


def test_what_a_lender_allows_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[provider]\nmax_upload='10Mbit'\nmax_memory='1.5GiB'\nschedule='22:00-07:00'\nmetrics=9100\n")
    found = load({}, {}, config=path, role="provider").settings
    assert (found.max_upload, found.max_memory, found.schedule) == ("10Mbit", "1.5GiB", "22:00-07:00")
    assert found.metrics == "127.0.0.1:9100", "a port alone is for this machine only"
    assert load({"metrics": "0.0.0.0:9100"}, {}, config=path, role="provider").settings.metrics == "0.0.0.0:9100"
    assert load({}, {}, config=path, role="oracle").settings.metrics is None


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_rate, "10Mbit", 1_250_000),
        (parse_rate, "0.5 gbit", 62_500_000),
        (parse_rate, "525kbit", 65_625),
        (parse_size, "8GB", 8 * 10**9),
        (parse_size, "1.5GiB", 3 << 29),
    ],
)
def test_rates_and_sizes(parse: Callable[[str], int], text: str, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "10", "10MB", "-1Mbit", "0Mbit", "1e3Mbit", "\u0661Mbit"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        parse_rate(text)


def test_training_that_needs_more_memory_than_is_allowed_is_refused() -> None:
    enough_memory(5, 5)
    with pytest.raises(UsageError, match="does not fit"):
        enough_memory(2 << 30, 1 << 30)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load({}, {}, config=tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load({}, {"COMMONWEIGHT_CONFIG": str(tmp_path / "none.toml")})


def test_the_view_masks_tokens_and_names_sources(user: User, place: Path) -> None:
    shown = user.ok(
        "config",
        "view",
        "--config",
        place,
        COMMONWEIGHT_RPC="https://u:pw@rpc.example.org/v3/TOKEN",
        COMMONWEIGHT_LISTEN="h:1",
    )
    found = {entry["name"]: entry for entry in shown["settings"]}
    assert found["rpc"] == {"name": "rpc", "value": ["https://rpc.example.org"], "source": "COMMONWEIGHT_RPC"}
    assert found["run"]["source"] == str(place)
    assert found["listen"]["source"] == "COMMONWEIGHT_LISTEN"
    text = user.run("config", "view", COMMONWEIGHT_RPC="https://u:pw@rpc.example.org/v3/TOKEN").out
    assert "TOKEN" not in text
    assert "pw" not in text


def test_the_template_explains_every_name_and_shows_the_defaults(tmp_path: Path, quick_user: InProcess) -> None:
    path = tmp_path / "config.toml"
    path.write_text(quick_user.run("config", "template").out)
    assert load({}, {}, config=path).sources == load({}, {}).sources
    path.write_text("".join(re.sub(r"^# (?=[a-z0-9_]+ = )", "", line) for line in TEMPLATE.splitlines(keepends=True)))
    body = tomllib.loads(path.read_text())
    assert set(body) == {field.name for field in fields(Settings)} | set(ROLES)
    defaults = load({}, {}).settings
    for name in ("rpc", "patience_s", "max_fee_gwei", "log_level"):
        told = body[name]
        assert (tuple(told) if isinstance(told, list) else told) == getattr(defaults, name)


def test_a_doctor_looks_at_what_a_start_would_be_given(quick_user: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ProviderSettings] = []

    def examine(settings: ProviderSettings) -> tuple[()]:
        seen.append(settings)
        return ()

    monkeypatch.setattr("trainer.doctor.examine", examine)
    relay = "/ip4/203.0.113.7/tcp/4001/p2p/QmRelay"
    line = f"provider doctor --run 0x{'aa' * 20} --keystore key.json --listen 127.0.0.1:7700 --p2p {relay} --json"
    assert quick_user.run(*line.split(), "--keep-states", "4", "--max-memory", "8GB", "--max-disk", "50GB").code == 0
    assert quick_user.run(*line.split(), "--device", "cuda:1", "--compile").code == 0
    first, second = seen
    assert (first.keep_states, first.max_memory, first.max_disk) == (4, parse_size("8GB"), parse_size("50GB"))
    assert (first.engine, first.p2p) == (Engine(), (relay,))
    assert second.engine == Engine("cuda:1", compiled=True)

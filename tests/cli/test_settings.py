"""Flag over environment over file over default, with the source of each; nothing secret is shown."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from commonweight.errors import ConfigError
from commonweight.settings import ROLES, TEMPLATE, Settings, load
from tests.cli.conftest import InProcess, User

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
        ("rpc = 5", "rpc"),
        ("log_level = 'loud'", "log_level"),
        ("run = '0x12'", "run"),
        ("keystore = ''", "keystore"),
        ("not toml", "is not TOML"),
    ],
)
def test_what_cannot_be_is_an_error_by_name(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as refused:
        load({}, {}, config=path, role="provider")
    assert refused.value.exit_code == 2


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
    path.write_text("".join(re.sub(r"^# (?=[a-z_]+ = )", "", line) for line in TEMPLATE.splitlines(keepends=True)))
    body = tomllib.loads(path.read_text())
    assert set(body) == {field.name for field in fields(Settings)} | set(ROLES)
    defaults = load({}, {}).settings
    for name in ("rpc", "patience_s", "max_fee_gwei", "log_level"):
        told = body[name]
        assert (tuple(told) if isinstance(told, list) else told) == getattr(defaults, name)

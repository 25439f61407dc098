"""The proxy that usual OpenAI clients pay through: a real chain, a real server, and clients that know of no payment."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from commonweight.cli.amounts import format_amount
from commonweight.protocol.documents import sign
from commonweight.protocol.vouchers import channel_id
from inference.budget import Budget
from inference.chainview import ChannelView
from inference.channels import deposit
from inference.client import Limits, Payer
from inference.proxy import Proxy, ProxyServer, open_server
from inference.receipts import Served
from inference.wire import Wire
from tests.cli.schema import differences, schemas
from tests.inference.relay import Relay, relayed
from tests.inference.site import DELAY_S, PRICE, SERVER_KEY, Server, Site, make_site
from tests.inference.test_commands_chain import Shell, make_shell
from tests.waiting import wait_for

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
QUESTION = {"model": "tiny", "prompt": "def f(", "max_tokens": 8, "seed": 1}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 12, "seed": 4}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site("anvil", tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def server(site: Site) -> Server:
    return site.serve()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with relayed(server) as made:
        yield made


def rich(site: Site, amount: int = 10**16) -> Payer:
    """A payer with a channel that holds so much."""
    payer = site.payer()
    if amount:
        deposit(payer.run, SERVER_KEY.address, amount, None)
        wait_for(lambda: (found := ChannelView(site.run).facts(channel_of(payer))) is not None and found.deposited > 0)
    return payer


def channel_of(payer: Payer) -> bytes:
    return channel_id(payer.key.address, SERVER_KEY.address, payer.run.params.asset, DELAY_S)


@dataclass
class Running:
    """A proxy that listens, and a client for it that knows nothing of vouchers."""

    server: ProxyServer
    http: httpx.Client
    payer: Payer
    said: list[str]

    def post(self, body: object, path: str = "/v1/completions", **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)


@contextmanager
def proxied(payer: Payer, url: str, key: str | None = None, most: int = 10**15) -> Iterator[Running]:
    said: list[str] = []
    with Wire(url, httpx.Client(trust_env=False, timeout=60.0)) as wire:
        server = open_server("127.0.0.1:0", Proxy(payer, wire, Limits(most), said.append), key)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            with httpx.Client(base_url=server.url, trust_env=False, timeout=60.0) as http:
                yield Running(server, http, payer, said)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            assert server.drained(60.0)


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, in OpenAI's form."""
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert found.keys() == {"message", "type", "code", "param"}
    assert isinstance(found, dict)
    return found


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def charged(site: Site, payer: Payer, server: Server) -> tuple[int, int]:
    """What the server says that it charged a payer, and what the purse has counted."""
    channel = channel_of(payer)
    told = site.http(server).get(f"/v1/channels/0x{channel.hex()}").json()["channelState"]
    standing = payer.book.standing(channel)
    assert standing is not None
    return int(told["chargedCumulativeAmount"]), standing.spent


# --- what clients get ------------------------------------------------------------------------------------------------


def test_a_usual_client_is_answered_and_the_purse_pays(site: Site, server: Server, relay: Relay) -> None:
    payer = rich(site)
    with proxied(payer, relay.url) as proxy:
        whole = proxy.post(QUESTION, Authorization="Bearer anything").json()
        chat = proxy.post(CHAT, "/v1/chat/completions").json()
        models = proxy.http.get("/v1/models").json()
        assert proxy.http.get("/v1/models/tiny").json() == models["data"][0]
        assert error(proxy.http.get("/v1/models/none"), 404)["code"] == "model_not_found"
    assert (whole["object"], whole["choices"][0]["finish_reason"]) == ("text_completion", "length")
    assert chat["choices"][0]["message"]["role"] == "assistant" and chat["choices"][0]["message"]["content"]
    receipts = [Served.from_body(answer["receipt"]["body"]) for answer in (whole, chat)]
    assert [(r.prompt_tokens, r.completion_tokens) for r in receipts] == [
        (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) for answer in (whole, chat)
    ]
    assert receipts[0].checkpoint.hex() == site.checkpoint[2:]
    assert charged(site, payer, server) == (receipts[1].cumulative,) * 2
    assert payer.budget.spent == receipts[1].cumulative == sum(r.amount for r in receipts)
    assert all("authorization" not in headers for headers in relay.headers), "a client's key is not the server's"


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_arrives_piece_by_piece_and_ends_with_the_receipt(site: Site, relay: Relay, usage: bool) -> None:
    relay.gate = threading.Semaphore(2)  # who speaks, and the first piece: no more comes before they have arrived
    body = {**CHAT, "stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})
    with proxied(rich(site), relay.url) as proxy:
        with proxy.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            found, reading = [], events(answer.iter_lines())
            found += [next(reading), next(reading)]
            assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert found[1]["choices"][0]["delta"]["content"]
            relay.gate.release(1000)
            found += list(reading)
        text = "".join(c["delta"].get("content", "") for event in found for c in event["choices"])
        again = proxy.post(CHAT, "/v1/chat/completions").json()
    assert answer.headers["content-type"] == "text/event-stream"
    assert text == again["choices"][0]["message"]["content"]
    assert [c["finish_reason"] for event in found for c in event["choices"]][-1] == "length"
    served = Served.from_body(found[-1]["receipt"]["body"])
    assert ("usage" in found[-1]) is usage and served.amount > 0
    assert not usage or found[-1]["usage"]["completion_tokens"] == served.completion_tokens


def test_what_the_server_refuses_reaches_the_client_in_its_own_words(site: Site, server: Server) -> None:
    with proxied(rich(site, 0), server.url) as proxy:
        unknown = error(proxy.post({**QUESTION, "model": "other"}), 404)
        assert (unknown["code"], unknown["param"]) == ("model_not_found", "model")
        assert error(proxy.post({**QUESTION, "logit_bias": {}}), 400)["param"] == "logit_bias"
        assert error(proxy.post(QUESTION, "/v1/embeddings"), 404)["code"] == "not_found"
        assert error(proxy.http.put("/v1/models"), 501)["type"] == "invalid_request_error"
        assert error(proxy.http.post("/v1/completions", content=b"{}"), 415)["param"] == "Content-Type"


# --- what it may cost ------------------------------------------------------------------------------------------------


def test_the_budget_ends_paying_and_one_answer_has_its_most(site: Site, server: Server) -> None:
    payer = rich(site)
    payer.budget = Budget(limit=2 * 14 * PRICE)
    with proxied(payer, server.url, most=14 * PRICE) as proxy:
        assert error(proxy.post({**QUESTION, "max_tokens": 9}), 402)["code"] == "too_expensive"
        assert [proxy.post(QUESTION).status_code for _ in range(2)] == [200, 200]
        last = proxy.post(QUESTION)
        over = error(last, 402)
    assert over["code"] == "budget_reached" and "--budget" in over["message"]
    assert last.headers["x-should-retry"] == "false", "a client's own retries would pay again"
    assert payer.budget.spent == 2 * 14 * PRICE == charged(site, payer, server)[0]


def test_a_chat_that_names_no_limit_is_bounded_by_what_one_answer_may_cost(site: Site, server: Server) -> None:
    open_ended = {name: value for name, value in CHAT.items() if name != "max_tokens"}
    payer = rich(site)
    with proxied(payer, server.url) as proxy:
        usage = proxy.post(open_ended, "/v1/chat/completions").json()["usage"]
        assert 16 < usage["completion_tokens"] <= 128
    with proxied(payer, server.url, most=100 * PRICE) as proxy:
        told = error(proxy.post(open_ended, "/v1/chat/completions"), 402)
        assert told["code"] == "too_expensive" and "max_tokens" in told["message"]
        assert proxy.post(CHAT, "/v1/chat/completions").status_code == 200


def test_requests_at_once_share_the_budget_and_the_channel(site: Site, server: Server) -> None:
    payer = rich(site)
    payer.budget = Budget(limit=5 * 14 * PRICE)
    statuses: list[int] = []
    with proxied(payer, server.url) as proxy:
        threads = [threading.Thread(target=lambda: statuses.append(proxy.post(QUESTION).status_code)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200] * 5 + [402] * 3
    assert charged(site, payer, server) == (5 * 14 * PRICE,) * 2
    assert (payer.budget.spent, payer.budget.pending) == (5 * 14 * PRICE, 0)


def test_a_dry_channel_is_told_with_the_command_and_never_topped_up(site: Site, server: Server) -> None:
    payer = rich(site, 20 * PRICE)
    with proxied(payer, server.url) as proxy:
        assert proxy.post(QUESTION).status_code == 200
        dry = error(proxy.post(QUESTION), 402)
    assert dry["code"] == "channel_dry"
    assert f"commonweight infer channel open {SERVER_KEY.address.lower()}" in dry["message"]
    assert charged(site, payer, server)[0] == 14 * PRICE


# --- who lies, and who leaves ----------------------------------------------------------------------------------------


def resigned(site: Site, **changes: object) -> Any:
    """A lie that the server itself signs."""

    def lie(body: dict[str, Any]) -> None:
        told = {**body["receipt"]["body"], **changes}
        body["receipt"] = sign("served", told, SERVER_KEY.private_key, site.run.oracle.domain()).to_json()

    return lie


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_lies_about_its_receipt_is_paid_no_more(site: Site, relay: Relay, stream: bool) -> None:
    relay.lie = resigned(site, checkpoint="0x" + "66" * 32)
    with proxied(rich(site), relay.url) as proxy:
        answer = proxy.post({**QUESTION, "stream": stream})
        if stream:
            found = list(events(iter(answer.text.splitlines())))
            told, shown = found[-1]["error"], found[:-1]
            assert "[DONE]" not in answer.text
            assert all(c["finish_reason"] is None for event in shown for c in event["choices"])
        else:
            told, shown = error(answer, 502), []
        assert told["code"] == "server_dishonest" and "checkpoint" in told["message"]
        assert not any("receipt" in event for event in shown)
        relay.lie = lambda _: None
        paid = relay.paid
        assert error(proxy.post(QUESTION), 502)["code"] == "server_dishonest"
    assert relay.paid == paid == 1
    assert any("has lied" in line for line in proxy.said)


def test_a_client_that_leaves_a_stream_costs_what_was_sent(site: Site, server: Server, relay: Relay) -> None:
    payer = rich(site)
    relay.gate = threading.Semaphore(1)
    long = {**QUESTION, "max_tokens": 100, "stream": True}
    with proxied(payer, relay.url) as proxy:
        with proxy.http.stream("POST", "/v1/completions", json=long) as answer:
            next(events(answer.iter_lines()))
        relay.gate.release(1)
        assert proxy.server.drained(60.0), "it leaves the server with the next piece"
        assert payer.budget.pending == 106 * PRICE, "what it can have cost counts until its receipt is there"
        relay.gate = None
        wait_for(lambda: site.http(server).get("/healthz").json()["busy"] == 0)
        wait_for(lambda: proxy.post(QUESTION).status_code == 200 and payer.budget.pending == 0)
    told, counted = charged(site, payer, server)
    assert told == counted == payer.budget.spent


def test_a_server_that_goes_away_is_told_in_the_stream_and_before(site: Site, server: Server) -> None:
    payer = rich(site)
    with relayed(server) as relay:
        relay.gate = threading.Semaphore(1)
        with (
            proxied(payer, relay.url) as proxy,
            proxy.http.stream("POST", "/v1/completions", json={**QUESTION, "stream": True}) as answer,
        ):
            reading = events(answer.iter_lines())
            next(reading)
            relay.broken.set()
            assert [e for e in reading if "error" in e][-1]["error"]["type"] == "server_error"
    with proxied(payer, "http://127.0.0.1:9") as proxy:
        assert error(proxy.post(QUESTION), 502)["code"] == "server_unreachable"
    with proxied(payer, server.url) as proxy:
        wait_for(lambda: proxy.post(QUESTION).status_code == 200 and payer.budget.pending == 0)
    told, counted = charged(site, payer, server)
    assert told == counted == payer.budget.spent


# --- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, "origin_refused"),
        ({"Origin": "null"}, "origin_refused"),
        ({"Origin": "http://localhost:3000"}, "origin_refused"),
        ({"Sec-Fetch-Site": "cross-site"}, "origin_refused"),
        ({"Host": "evil.example:8700"}, "host_refused"),
        ({"Host": "127.0.0.1.evil.example"}, "host_refused"),
    ],
)
def test_web_pages_may_not_ask(site: Site, relay: Relay, headers: dict[str, str], code: str) -> None:
    with proxied(rich(site, 0), relay.url) as proxy:
        assert error(proxy.post(QUESTION, **headers), 403)["code"] == code
        assert error(proxy.http.get("/v1/models", headers=headers), 403)["code"] == code
    assert relay.headers == [], "nothing is asked for it, let alone paid"


def test_programs_may_ask_by_any_name_of_this_computer(site: Site, relay: Relay) -> None:
    with proxied(rich(site, 0), relay.url) as proxy:
        own = proxy.server.url.removeprefix("http://")
        for headers in ({"Host": "localhost:8700"}, {"Host": "[::1]"}, {"Host": own, "Origin": f"http://{own}"}):
            assert proxy.http.get("/v1/models", headers=headers).status_code == 200


def test_an_api_key_is_asked_for_where_there_is_one(site: Site, relay: Relay) -> None:
    with proxied(rich(site, 0), relay.url, key="secret") as proxy:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert error(proxy.post(QUESTION, **headers), 401)["code"] == "invalid_api_key"
        assert relay.headers == []
        assert proxy.http.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200


# --- the command -----------------------------------------------------------------------------------------------------


@contextmanager
def command(shell: Shell, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """`infer proxy` with what it printed when it listened."""
    process = shell.start("proxy", "--json", *words)
    assert process.stdout is not None
    try:
        told = b""
        while (line := process.stdout.readline()) and line != b"}\n":
            told += line
        assert line, process.communicate()[1].decode()
        yield process, json.loads(told + line)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_the_command_pays_beside_infer_ask_and_ends_with_ctrl_c(site: Site, server: Server) -> None:
    shell, address = make_shell(site, "beside")
    shell.run("channel", "open", SERVER_KEY.address, "0.01", "--yes")
    asked: list[int] = []

    def ask() -> None:
        asked.extend(int(str(shell.run("ask", "x", "--url", server.url, "--max-tokens", "8")["paid"])) for _ in "12")

    with command(shell, "--url", server.url, "--listen", "127.0.0.1:0", "--budget", "0.001") as (process, told):
        assert differences(schemas()["infer", "proxy"], told) == []
        assert (told["payer"], told["budget"], told["model"]) == (address, str(10**15), "tiny")
        asking = threading.Thread(target=ask)
        asking.start()
        answers = []
        with httpx.Client(base_url=told["url"], trust_env=False, timeout=60.0) as http:
            while asking.is_alive() or not answers:
                answers.append(http.post("/completions", json=QUESTION).json())
        asking.join()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and b"Traceback" not in errors, errors.decode()
    paid = sum(int(answer["receipt"]["body"]["amount"]) for answer in answers)
    assert f"Stopped. Paid {format_amount(paid, 'ETH', 18)} in all." in errors.decode()
    payer = site.purse_of(shell.home, address)
    assert len(asked) == 2 and charged(site, payer, server) == (paid + sum(asked),) * 2


def test_kill_9_in_a_stream_loses_nothing_and_pays_nothing_twice(site: Site, server: Server, relay: Relay) -> None:
    shell, address = make_shell(site, "killed")
    shell.run("channel", "open", SERVER_KEY.address, "0.01", "--yes")
    relay.gate = threading.Semaphore(1)
    long = {**QUESTION, "max_tokens": 100, "stream": True}
    with command(shell, "--url", relay.url, "--listen", "127.0.0.1:0") as (process, told):
        with httpx.Client(trust_env=False, timeout=60.0).stream("POST", told["url"] + "/completions", json=long) as got:
            next(events(got.iter_lines()))
            process.kill()
            process.communicate()
    relay.gate = None
    wait_for(lambda: site.http(server).get("/healthz").json()["busy"] == 0)
    payer = site.purse_of(shell.home, address)
    before = payer.book.standing(channel_of(payer))
    assert before is not None and (before.spent, before.pending) == (0, 106 * PRICE), "the promise was on disk"
    paid = int(str(shell.run("ask", "x", "--url", server.url, "--max-tokens", "8")["paid"]))
    with Wire(server.url, httpx.Client(trust_env=False)) as wire:
        receipts = [Served.from_body(signed.body) for signed in wire.receipts(channel_of(payer), 0)]
    assert [served.amount for served in receipts][1:] == [paid] and 0 < receipts[0].amount <= 106 * PRICE
    after = payer.book.standing(channel_of(payer))
    assert after is not None and (after.spent, after.pending) == (receipts[0].amount + paid, 0)


def test_it_listens_elsewhere_only_when_told_and_warns(site: Site, server: Server) -> None:
    shell, _ = make_shell(site, "open")
    shell.environment["COMMONWEIGHT_LISTEN"] = "0.0.0.0:0"
    shell.environment["COMMONWEIGHT_API_KEY"] = "secret"
    with command(shell, "--url", server.url, "--listen", "0.0.0.0:0") as (process, told):
        port = urlsplit(told["url"]).port
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).status_code == 401
        process.terminate()
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0
    assert "Warning: whoever reaches" in errors
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 8700))
            taken.listen()
        refused = shell.run("proxy", "--url", server.url, status=2)
    assert "127.0.0.1:8700" in str(refused), "a server's setting is not the proxy's"

"""Servers that run while their run attests newer checkpoints, on a real chain and paid over HTTP."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from commonweight.exact.checkpoint import genesis_checkpoint
from commonweight.exact.layout import Layout
from commonweight.protocol.x402 import HEADER_RESPONSE, PaymentResponse, Reason
from inference.client import Ask, PaidAnswer, Payer
from inference.wire import Wire
from tests.inference.site import Server, Site, attest, limits, make_site, wire
from tests.inference.test_serving_chain import Raw, refusal
from tests.waiting import wait_for

pytestmark = [pytest.mark.chain, pytest.mark.timeout(900)]
LOOK_S = 0.2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site("anvil", tmp_path_factory.mktemp("site")) as made:
        yield made


def weights(site: Site, seed: int) -> dict[str, bytes]:
    """A checkpoint's files that no other seed has."""
    config = replace(site.config, genesis_seed="0x" + f"{seed:02x}" * 32)
    return genesis_checkpoint(config).to_files(Layout.from_model(config.model))


def next_epoch(site: Site) -> int:
    return site.run.checkpoints.count()


def served(site: Site, server: Server) -> tuple[str, int]:
    """The checkpoint that a server names, and its epoch."""
    (model,) = site.http(server).get("/v1/models").json()["data"]
    return model["checkpoint"], model["epoch"]


def buy(payer: Payer, connection: Wire, seed: int = 1) -> PaidAnswer:
    return payer.ask(connection, Ask("def f(", max_tokens=24, seed=seed), limits())


def test_a_newer_checkpoint_is_served_between_requests(site: Site, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server, pinned = site.serve(look_every_s=LOOK_S, gate=str(gate)), site.serve(
        look_every_s=LOOK_S, checkpoint=site.checkpoint
    )
    old, payers = site.checkpoint, [site.payer() for _ in range(2)]
    with wire(server) as connection:
        before = [buy(payer, connection) for payer in payers]
    gate.touch()
    with ThreadPoolExecutor(1) as others, wire(server) as connection, wire(server) as second:
        under_way = others.submit(buy, payers[0], connection)
        wait_for(lambda: site.http(server).get("/healthz").json()["busy"] == 1)
        raw = Raw(site, server)
        offered = raw.offer(raw.body())
        epoch = next_epoch(site)
        new = attest(site, epoch, weights(site, 7))
        wait_for(lambda: served(site, server) == (new, epoch), what="the newer checkpoint")
        assert site.http(server).get(f"/v1/models/{new}").json()["checkpoint"] == new
        assert site.http(server).get(f"/v1/models/{old}").status_code == 404
        assert not under_way.done()
        gate.unlink()
        finished, after = under_way.result(), buy(payers[1], second)
    assert (finished.receipt.checkpoint.hex(), finished.text) == (old[2:], before[0].text)
    assert (after.receipt.checkpoint.hex(), after.receipt.sequence) == (new[2:], 2)
    assert after.text != before[1].text
    stale = raw.post(raw.body(), raw.header(offered, offered.amount))
    assert refusal(stale) == Reason.TERMS_CHANGED and raw.charged() == 0
    assert json.loads((server.data_dir / "server.json").read_text())["checkpoint"] == new
    said = site.http(server).get("/metrics").text
    assert f"commonweight_served_epoch {float(epoch)}" in said and f"commonweight_attested_epoch {float(epoch)}" in said
    assert 'commonweight_checkpoints_total{outcome="served"} 1.0' in said
    assert served(site, pinned)[0] == old, "--checkpoint 0x... stays"
    with wire(pinned) as connection:
        assert buy(site.payer(), connection).text == before[0].text
    assert (server.stop(), pinned.stop()) == (0, 0)


class Changing(httpx.BaseTransport):
    """Has something happen between a request's price and its payment."""

    def __init__(self, happens: list[object]) -> None:
        self.inner, self.happens = httpx.HTTPTransport(verify=False, trust_env=False), happens

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "PAYMENT-SIGNATURE" in request.headers and self.happens:
            self.happens.pop()()  # type: ignore[operator]
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


def test_a_payer_whose_request_meets_the_change_takes_the_new_terms(site: Site) -> None:
    server, payer = site.serve(look_every_s=LOOK_S), site.payer()
    epoch = next_epoch(site)

    def change() -> None:
        new = attest(site, epoch, weights(site, 8))
        wait_for(lambda: served(site, server) == (new, epoch))

    changing = httpx.Client(transport=Changing([change]), timeout=60.0)
    with Wire(server.url, changing) as connection:
        answer = payer.ask(connection, Ask("def f(", max_tokens=8, seed=1), limits())
    assert answer.receipt.checkpoint.hex() == served(site, server)[0][2:]
    assert (answer.receipt.sequence, answer.deposited) == (1, 10**16)
    held = payer.book.standing(answer.channel_id)
    assert held is not None and (held.spent, held.pending) == (answer.receipt.amount, 0)
    assert server.stop() == 0


def test_an_answer_that_was_paid_for_before_the_change_is_given_again(site: Site) -> None:
    server = site.serve(look_every_s=LOOK_S)
    raw = Raw(site, server)
    body = raw.body()
    offer = raw.offer(body)
    header = raw.header(offer, offer.amount)
    first = raw.post(body, header)
    epoch = next_epoch(site)
    new = attest(site, epoch, weights(site, 9))
    wait_for(lambda: served(site, server) == (new, epoch))
    again = raw.post(body, header)
    assert again.status_code == 200 and again.json()["receipt"] == first.json()["receipt"]
    assert PaymentResponse.from_header(again.headers[HEADER_RESPONSE]).success
    assert server.stop() == 0


@pytest.mark.parametrize("wrong", ["missing", "damaged"])
def test_one_that_cannot_be_had_leaves_the_old_one_until_it_can(site: Site, tmp_path: Path, wrong: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(site.folder / "store", store)
    server, payer = site.serve(look_every_s=LOOK_S, store=str(store)), site.payer()
    old, epoch = served(site, server)[0], next_epoch(site)
    server.process.send_signal(signal.SIGSTOP)
    new = attest(site, epoch, weights(site, 20 + (wrong == "missing")))
    if wrong == "damaged":
        for path in (site.folder / "store").rglob("*"):
            copy = store / path.relative_to(site.folder / "store")
            if path.is_file() and not copy.exists():
                copy.parent.mkdir(exist_ok=True)
                data = path.read_bytes()
                is_weights = b"model.embed_tokens.weight" in data
                copy.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if is_weights else data)
    server.process.send_signal(signal.SIGCONT)
    metrics = site.http(server)

    def failures() -> float:
        lines = [line for line in metrics.get("/metrics").text.splitlines() if 'outcome="failed"' in line]
        return sum(float(line.split()[-1]) for line in lines if line.startswith("commonweight_checkpoints_total"))

    wait_for(lambda: failures() >= 2, what="two tries")
    warned = [line for line in server.log.read_text().splitlines() if "a newer checkpoint cannot be served" in line]
    assert len(warned) == 1 and new in warned[0]
    assert {"missing": "is not available", "damaged": "is damaged"}[wrong] in warned[0]
    with wire(server) as connection:
        assert buy(payer, connection).receipt.checkpoint.hex() == old[2:]
    shutil.copytree(site.folder / "store", store, dirs_exist_ok=True)
    wait_for(lambda: served(site, server) == (new, epoch), what="the newer checkpoint")
    with wire(server) as connection:
        assert buy(payer, connection).receipt.checkpoint.hex() == new[2:]
    assert server.stop() == 0

"""Real servers on a real chain, paid over HTTP: what users, payers and crashes meet."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from commonweight.chain.client import Chain
from commonweight.chain.events import ServerCredited, VoucherSettled
from commonweight.chain.keys import Key, create_keystore
from commonweight.chain.run import Run
from commonweight.chain.structs import VoucherClaim
from commonweight.chain.types import BlockId
from commonweight.errors import ContractError, PaymentError
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed, Voucher, verify
from commonweight.protocol.fields import hex32, lower_address
from commonweight.protocol.typed import Domain
from commonweight.protocol.vouchers import SignedVoucher, channel_id, sign_voucher
from commonweight.protocol.x402 import (
    HEADER_REQUIRED,
    HEADER_RESPONSE,
    HEADER_SIGNATURE,
    Payment,
    PaymentRequired,
    PaymentResponse,
    Reason,
    Requirements,
)
from inference.answers import text_sha256
from inference.chainview import ChannelView
from inference.channels import deposit, find_channel, request_withdrawal, withdraw
from inference.client import Ask, PaidAnswer, Payer
from inference.memory import serving_bytes
from inference.purse import Purse
from inference.receipts import Served
from tests.inference.site import DELAY_S, PASSWORD, PRICE, SERVER_KEY, Server, Site, limits, make_site, wire
from tests.inference.test_till import high_s
from tests.waiting import wait_for

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
SERVER = lower_address(SERVER_KEY.address)


@pytest.fixture(scope="module", params=["anvil", pytest.param("ganache", marks=pytest.mark.slow)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site(request.param, tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def server(site: Site) -> Server:
    return site.serve(settle_every_s=10_000)


def ask(payer: Payer, server: Server, prompt: str = "def f(", seed: int = 1, **more: object) -> PaidAnswer:
    """One paid question with ample limits."""
    with wire(server) as connection:
        return payer.ask(connection, Ask(prompt, max_tokens=8, seed=seed, **more), limits())  # type: ignore[arg-type]


class Raw:
    """A payer that speaks HTTP by hand, so that it can do wrong."""

    def __init__(self, site: Site, server: Server) -> None:
        self.site, self.server, self.payer = site, server, site.payer()
        self.http = site.http(server)
        self.channel = channel_id(self.payer.key.address, SERVER, site.run.params.asset, DELAY_S)
        self.payer.run.payments.deposit(self.payer.key.address, SERVER_KEY.address, DELAY_S, 10**16)
        wait_for(
            lambda: site.run.payments.channel(self.channel, block=site.run.chain.finalized_block().number).deposited > 0
        )
        self.domain = Domain(site.run.chain.chain_id, site.run.payments.address)

    def body(self, prompt: str = "x = ", **more: object) -> bytes:
        return json.dumps({"model": "tiny", "prompt": prompt, "max_tokens": 6, "seed": 3, **more}).encode()

    def post(self, body: bytes, header: str | None = None, path: str = "/v1/completions") -> httpx.Response:
        headers = {"Content-Type": "application/json"} | ({HEADER_SIGNATURE: header} if header is not None else {})
        return self.http.post(path, content=body, headers=headers)

    def offer(self, body: bytes) -> Requirements:
        return PaymentRequired.from_header(self.post(body).headers[HEADER_REQUIRED]).accepts[0]

    def header(self, offer: Requirements, ceiling: int, **changes: object) -> str:
        signed = changes.pop("voucher", None) or sign_voucher(
            self.channel, ceiling, self.domain, self.payer.key.private_key
        )
        made = Payment(
            offer.chain_id,
            offer.amount,
            offer.asset,
            offer.pay_to,
            lower_address(self.payer.key.address),
            DELAY_S,
            signed,
        )  # type: ignore[arg-type]
        return replace(made, **changes).to_header(offer)  # type: ignore[arg-type]

    def charged(self) -> int:
        told = self.http.get(f"/v1/channels/{hex32(self.channel)}")
        return 0 if told.status_code == 404 else int(told.json()["channelState"]["chargedCumulativeAmount"])


@pytest.fixture
def raw(site: Site, server: Server) -> Raw:
    return Raw(site, server)


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 402, answer.text
    told = PaymentResponse.from_header(answer.headers[HEADER_RESPONSE])
    required = PaymentRequired.from_header(answer.headers[HEADER_REQUIRED])
    assert not told.success and told.error_reason == required.error == answer.json()["error"]["code"]
    return told.error_reason


# --- paying ----------------------------------------------------------------------------------------------------------


def test_two_payers_are_answered_and_settled_in_one_transaction_to_the_wei(site: Site) -> None:
    server = site.serve()
    payers = [site.payer(), site.payer()]
    answers = [ask(payer, server) for payer in payers for _ in range(2)]
    assert len({answer.text for answer in answers}) == 1, "the same seed gives the same answer"
    first, second = answers[:2]
    assert first.receipt.checkpoint.hex() == site.checkpoint[2:]
    assert first.receipt.amount == (6 + first.receipt.completion_tokens) * PRICE
    assert second.receipt.cumulative == first.receipt.amount + second.receipt.amount
    assert (first.deposited, second.deposited) == (10**16, 0)
    total = sum(answer.receipt.amount for answer in answers)
    distributor, owed = site.run.distributor.address, site.run.payments.server_owed(SERVER_KEY.address)
    before = site.run.chain.balance(distributor)
    assert server.stop() == 0
    mine = {answer.channel_id for answer in answers}
    settled = [e for e in site.run.events_of(VoucherSettled) if e.channel_id in mine]
    assert len({event.tx for event in settled}) == 1 and len(settled) == 2
    cut = total * site.run.params.server_bps // 10_000
    assert site.run.payments.server_owed(SERVER_KEY.address) - owed == cut
    assert site.run.chain.balance(distributor) - before == total - cut
    assert [e.revenue for e in site.run.events_of(ServerCredited) if e.tx == settled[0].tx] == [total - cut]


def test_without_payment_the_answer_is_402_with_the_price(raw: Raw, site: Site) -> None:
    answer = raw.post(raw.body())
    assert answer.status_code == 402
    required = PaymentRequired.from_header(answer.headers[HEADER_REQUIRED])
    (offer,) = required.accepts
    assert (offer.amount, offer.price_per_token, offer.prompt_tokens, offer.max_completion_tokens) == (
        10 * PRICE,
        PRICE,
        4,
        6,
    )
    assert (offer.pay_to, offer.checkpoint.hex(), offer.withdraw_delay_s) == (SERVER, site.checkpoint[2:], DELAY_S)
    assert (offer.run, offer.payments) == (lower_address(site.run.address), lower_address(site.run.payments.address))
    assert required.resource == raw.server.url + "/v1/completions"
    assert answer.json()["error"]["type"] == "payment_required" and answer.json()["payment"] == required.to_json()


def test_a_paid_answer_carries_a_receipt_that_anyone_can_check(raw: Raw, site: Site) -> None:
    body = raw.body()
    offer = raw.offer(body)
    answer = raw.post(body, raw.header(offer, offer.amount))
    assert answer.status_code == 200, answer.text
    text, usage = answer.json()["choices"][0]["text"], answer.json()["usage"]
    signed = Signed.from_json(answer.json()["receipt"])
    assert verify(signed, Domain(site.run.chain.chain_id, site.run.oracle.address), "served", SERVER) == SERVER
    served = Served.from_body(signed.body)
    assert (served.request_sha256.hex(), served.answer_sha256.hex()) == (
        sha256_hex(body)[2:],
        sha256_hex(text.encode())[2:],
    )
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (served.prompt_tokens, served.completion_tokens)
    told = PaymentResponse.from_header(answer.headers[HEADER_RESPONSE])
    assert told.success and told.charged == served.amount == raw.charged() <= offer.amount
    assert told.receipt == signed.digest and told.channel is not None and told.channel.charged == served.cumulative


def test_an_underpaid_request_is_not_answered(raw: Raw) -> None:
    body = raw.body()
    offer = raw.offer(body)
    assert refusal(raw.post(body, raw.header(offer, offer.amount - 1))) == Reason.AMOUNT_MISMATCH
    assert raw.charged() == 0


def test_a_voucher_is_good_for_one_request(raw: Raw) -> None:
    body = raw.body()
    offer = raw.offer(body)
    header = raw.header(offer, offer.amount)
    first = raw.post(body, header)
    charged = raw.charged()
    again = raw.post(body, header)
    assert again.json()["choices"] == first.json()["choices"] and again.json()["receipt"] == first.json()["receipt"]
    assert raw.charged() == charged, "repeating a request after a broken line costs nothing"
    other = raw.body("y = ")
    answer = raw.post(other, header)
    assert refusal(answer) == Reason.VOUCHER_USED
    state = PaymentRequired.from_header(answer.headers[HEADER_REQUIRED]).accepts[0]
    assert state.channel is not None and state.channel.charged == charged
    assert state.voucher is not None and state.voucher.signed_max_claimable == offer.amount
    assert raw.charged() == charged


def test_vouchers_for_anything_else_are_refused(raw: Raw, site: Site) -> None:
    body = raw.body()
    offer = raw.offer(body)
    key, amount, stranger = raw.payer.key.private_key, offer.amount, lower_address(site.payer().key.address)

    def signed(channel: bytes = raw.channel, domain: Domain = raw.domain, key: bytes = key) -> SignedVoucher:
        return sign_voucher(channel, amount, domain, key)

    elsewhere = channel_id(raw.payer.key.address, stranger, offer.asset, DELAY_S)
    wrong: dict[str, str] = {
        raw.header(offer, 0, voucher=signed(elsewhere)): Reason.CHANNEL_ID_MISMATCH,
        raw.header(replace(offer, pay_to=stranger), amount): Reason.RECEIVER_MISMATCH,
        raw.header(replace(offer, chain_id=1), amount): Reason.NETWORK_MISMATCH,
        raw.header(replace(offer, asset=stranger), amount): Reason.TOKEN_MISMATCH,
        raw.header(replace(offer, amount=amount - 1), amount): Reason.TERMS_CHANGED,
        raw.header(offer, amount, delay_s=DELAY_S - 1): Reason.DELAY_MISMATCH,
        raw.header(offer, 0, voucher=signed(domain=Domain(1, raw.domain.contract))): Reason.SIGNATURE,
        raw.header(offer, 0, voucher=signed(domain=Domain(raw.domain.chain_id, site.run.address))): Reason.SIGNATURE,
        raw.header(offer, 0, voucher=signed(key=b"\x09" * 32)): Reason.SIGNATURE,
        raw.header(offer, 0, voucher=high_s(signed())): Reason.SIGNATURE,
        raw.header(offer, 0, voucher=SignedVoucher(raw.channel, amount, bytes(65))): Reason.SIGNATURE,
    }
    for header, reason in wrong.items():
        assert refusal(raw.post(body, header)) == reason
    contradiction = raw.header(offer, amount, pay_to=stranger)
    assert raw.post(body, contradiction).json()["error"]["code"] == Reason.PAYLOAD
    nobody = SignedVoucher(channel_id(stranger, SERVER, offer.asset, DELAY_S), amount, bytes(65))
    assert refusal(raw.post(body, raw.header(offer, 0, payer=stranger, voucher=nobody))) == Reason.SIGNATURE
    assert raw.charged() == 0


def test_names_and_digests_are_those_of_the_contract(raw: Raw, site: Site) -> None:
    payments = site.run.payments
    assert payments.channel_id_of(raw.payer.key.address, SERVER_KEY.address, DELAY_S) == raw.channel
    for cumulative in (0, 1, 10**18, 2**256 - 1):
        assert payments.voucher_hash(raw.channel, cumulative) == Voucher(raw.channel, cumulative).digest(raw.domain)


def test_the_contract_takes_no_more_than_the_voucher_and_nothing_twice(raw: Raw, site: Site) -> None:
    settling = site.world_of(SERVER_KEY).payments
    signed = sign_voucher(raw.channel, 100, raw.domain, raw.payer.key.private_key)

    def refused(claim: VoucherClaim) -> str:
        with pytest.raises(ContractError) as error:
            settling.settle([claim])
        return error.value.name

    claim = VoucherClaim(raw.channel, 100, 60, signed.signature)
    assert refused(replace(claim, amount=101)) == "AmountExceedsVoucher"
    assert refused(replace(claim, cumulative=101)) == "BadSignature"
    assert refused(replace(claim, signature=high_s(signed).signature)) == "BadSignature"
    settling.settle([claim])
    assert site.settled(raw.channel) == 60
    assert refused(claim) == "VoucherNotNew"
    settling.settle([replace(claim, amount=100)])
    assert site.settled(raw.channel) == 100


# --- many at once ----------------------------------------------------------------------------------------------------


def test_concurrent_requests_on_one_channel_are_all_answered_and_charged_once(site: Site, server: Server) -> None:
    payer = site.payer()
    ask(payer, server)
    answers: list[PaidAnswer] = []
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            answers.append(ask(payer, server, prompt=f"line {number}", seed=number))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(answer.receipt.sequence for answer in answers) == list(range(2, 10))
    standing = payer.book.standing(answers[0].channel_id)
    assert standing is not None and standing.pending == 0
    with wire(server) as connection:
        told = connection.channel(answers[0].channel_id)
    assert told is not None
    assert told["channelState"]["chargedCumulativeAmount"] == str(standing.spent)  # type: ignore[index, call-overload]


def test_two_purses_of_one_payer_do_not_mix(site: Site, server: Server) -> None:
    """The second purse adopts what the server proves; the first learns that there are vouchers it never made."""
    payer = site.payer()
    ask(payer, server)
    other = Payer(payer.run, payer.key, Purse(site.folder / "second-purse.sqlite"))
    other_spent = ask(other, server, prompt="second").receipt.cumulative
    with pytest.raises(PaymentError, match=r"does not know all vouchers|was not made"):
        ask(payer, server, prompt="third")
    assert ask(other, server, prompt="fourth").receipt.cumulative > other_spent


def test_a_full_server_says_so_and_the_client_waits(site: Site) -> None:
    server = site.serve(max_concurrent=1, max_waiting=0)
    payers = [site.payer() for _ in range(3)]
    results: list[PaidAnswer] = []
    threads = [threading.Thread(target=lambda p=payer: results.append(ask(p, server))) for payer in payers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    server.stop()


# --- streaming -------------------------------------------------------------------------------------------------------


def test_a_chat_that_names_no_limit_gets_what_the_server_makes_and_the_context_has_room_for(raw: Raw) -> None:
    path = "/v1/chat/completions"

    def asked(content: str, **more: object) -> bytes:
        messages = [{"role": "user", "content": content}]
        return json.dumps({"model": "tiny", "messages": messages, "seed": 1, **more}).encode()

    def offer(body: bytes) -> Requirements:
        return PaymentRequired.from_header(raw.post(body, path=path).headers[HEADER_REQUIRED]).accepts[0]

    framed = len("user: \nassistant:")
    assert offer(asked("hi")).max_completion_tokens == 128, "the run's limit"
    assert offer(asked("x" * 200)).max_completion_tokens == 256 - 200 - framed, "the context's"
    assert offer(asked("hi", max_tokens=3)).max_completion_tokens == 3
    assert raw.offer(raw.body(max_tokens=None)).max_completion_tokens == 16, (
        "what OpenAI says of a prompt to go on with"
    )
    full = raw.post(asked("x" * (256 - framed)), path=path)
    assert (full.status_code, full.json()["error"]["code"]) == (400, "context_length_exceeded")
    body = asked("x" * 200)
    answer = raw.post(body, raw.header(offer(body), offer(body).amount), path)
    assert answer.json()["usage"]["total_tokens"] == 256 and answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_stream_gives_the_same_text_and_ends_with_the_receipt(raw: Raw) -> None:
    whole = raw.body(max_tokens=40)
    offer = raw.offer(whole)
    plain = raw.post(whole, raw.header(offer, offer.amount)).json()
    streamed = raw.body(max_tokens=40, stream=True)
    with raw.http.stream(
        "POST",
        "/v1/completions",
        content=streamed,
        headers={HEADER_SIGNATURE: raw.header(offer, raw.charged() + offer.amount)},
    ) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(e["choices"][0]["text"] for e in events) == plain["choices"][0]["text"], (
        "as clients of OpenAI read it"
    )
    last = events[-1]
    assert last["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"]
    served = Served.from_body(Signed.from_json(last["receipt"]).body)
    assert served.answer_sha256 == Served.from_body(Signed.from_json(plain["receipt"]).body).answer_sha256
    assert last["payment"]["extra"]["chargedAmount"] == str(served.amount)


def test_the_client_streams_and_verifies(site: Site, server: Server) -> None:
    payer, pieces = site.payer(), []
    with wire(server) as connection:
        question = Ask(messages=(("user", "hello"),), max_tokens=12, seed=4)
        answer = payer.ask(connection, question, limits(), pieces.append)
        again = payer.ask(connection, question, limits())
    assert "".join(pieces) == answer.text == again.text


def test_a_stream_that_is_left_is_charged_as_far_as_it_was_sent(site: Site) -> None:
    server = site.serve()
    raw = Raw(site, server)
    body = raw.body(max_tokens=120, stream=True)
    offer = raw.offer(body)
    with raw.http.stream(
        "POST", "/v1/completions", content=body, headers={HEADER_SIGNATURE: raw.header(offer, offer.amount)}
    ) as response:
        next(response.iter_lines())
    raw.http.close()
    raw.http = site.http(server)
    wait_for(lambda: raw.charged() > 0)
    (receipt,) = raw.http.get(f"/v1/channels/{hex32(raw.channel)}/receipts").json()["receipts"]
    served = Served.from_body(receipt["body"])
    assert served.finish in ("interrupted", "length")
    assert served.amount == (4 + served.completion_tokens) * PRICE == raw.charged() and served.completion_tokens >= 1
    server.stop()
    assert site.settled(raw.channel) == served.amount


# --- garbage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request_error"),
        (b"\xff\xfe\x00", "invalid_request_error"),
        (b"[" * 100_000, "invalid_request_error"),
        (b'{"model": "tiny"}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": ""}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "\\ud800"}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "a", "max_tokens": 0}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "a", "max_tokens": 129}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "a", "temperature": NaN}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "a", "logprobs": 3}', "unsupported_parameter"),
        (b'{"model": "tiny", "prompt": "a", "n": 2}', "invalid_request_error"),
        (b'{"model": "tiny", "prompt": "' + b"a" * 250 + b'"}', "context_length_exceeded"),
        (b'{"model": "other", "prompt": "a"}', "model_not_found"),
        (b'{"model": "tiny", "prompt": "' + b"a" * 300_000 + b'"}', "request_too_large"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_by_name(server: Server, body: bytes, code: str) -> None:
    answer = httpx.post(server.url + "/v1/completions", content=body, trust_env=False, verify=False)
    assert answer.status_code in (400, 404, 413)
    assert answer.json()["error"]["code"] == code and answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "header",
    ["", "%%%", "bm90IGpzb24=", "e30=", "W10=", "eyJ4NDAyVmVyc2lvbiI6MX0=", "A" * 20_000, "eyJ4NDAyVmVyc2lvbiI6Mn0="],
)
def test_a_payment_that_makes_no_sense_is_refused_by_name(raw: Raw, header: str) -> None:
    answer = raw.post(raw.body(), header)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == Reason.PAYLOAD


def test_other_paths_and_methods_are_refused_in_json(server: Server) -> None:
    with httpx.Client(trust_env=False, verify=False, base_url=server.url) as http:
        assert http.get("/v1/nothing").json()["error"]["message"]
        assert http.get("/v1/completions").status_code == 405
        assert http.get("/v1/channels/0x12").status_code == 400
        assert http.get("/v1/channels/0x" + "00" * 32).status_code == 404
        channel = "/v1/channels/0x" + "00" * 32
        wrong = http.get(channel + "/receipts?after=soon")
        assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "after"
        assert http.get("/v1/models/a/b").json()["error"]["code"] == "model_not_found", "names may have a slash"
        assert http.get("/v1/models").json()["data"][0]["id"] == "tiny"
        assert http.get("/v1/models/tiny").status_code == 200 and http.get("/v1/models/x").status_code == 404
        assert "commonweight_answers_total" in http.get("/metrics").text
        assert http.get("/healthz").json()["status"] == "ok"


def drip(connection: socket.socket) -> bool:
    """Send one more byte of a body; whether the connection was closed instead."""
    try:
        connection.sendall(b"x")
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_connections_that_dawdle_are_closed_and_hold_nobody_up(site: Site) -> None:
    server = site.serve(request_timeout_s=0.5)
    port = int(server.url.rsplit(":", 1)[1])
    heads = [b"", b"POST /v1/comp", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he"]
    dawdlers = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in heads]
    for dawdler, head in zip(dawdlers, heads, strict=True):
        dawdler.sendall(head)
    for dawdler in dawdlers:
        while dawdler.recv(4096):
            pass
        dawdler.close()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as dripping:
        dripping.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert dripping.recv(4096).startswith(b"HTTP/1.1 200")
        dripping.settimeout(0.05)
        wait_for(lambda: drip(dripping))
    assert httpx.get(server.url + "/healthz", trust_env=False, verify=False).status_code == 200
    server.stop()


# --- leaving and crashing --------------------------------------------------------------------------------------------


def test_a_requested_withdrawal_counts_as_spent_and_is_settled_before_it_is_due(site: Site) -> None:
    server = site.serve(refresh_s=0.2)
    payer = site.payer()
    paid = ask(payer, server).receipt.amount
    channel = find_channel(payer.run, payer.key.address, SERVER_KEY.address)
    request_withdrawal(payer.run, channel)
    with wire(server) as connection, pytest.raises(PaymentError, match="does not hold enough") as short:
        payer.ask(connection, Ask("more", max_tokens=8), replace(limits(), deposit=None))
    assert "a withdrawal of 10000000000000000 is under way" in short.value.why and "channel cancel" in short.value.fix
    wait_for(lambda: site.settled(channel.channel_id) == paid)
    with pytest.raises(ContractError) as early:
        withdraw(payer.run, channel)
    assert early.value.name == "WithdrawalNotDue"
    site.world.warp(site.run.chain.timestamp() + DELAY_S)
    before = site.run.chain.balance(payer.key.address)
    _, receipt = withdraw(payer.run, channel)
    assert site.run.chain.balance(payer.key.address) - before + receipt.fee_wei == 10**16 - paid
    server.stop()


def test_the_server_refuses_what_a_requested_withdrawal_would_take(site: Site) -> None:
    server = site.serve(refresh_s=0.1)
    raw = Raw(site, server)
    raw.payer.run.payments.request_withdrawal(raw.channel, 10**16)
    body = raw.body()
    offer = raw.offer(body)
    assert refusal(raw.post(body, raw.header(offer, offer.amount))) == Reason.EXCEEDS_BALANCE
    raw.payer.run.payments.cancel_withdrawal(raw.channel)
    wait_for(lambda: raw.post(body, raw.header(offer, offer.amount)).status_code == 200)
    server.stop()


def test_a_killed_server_settles_once_after_its_restart_and_keeps_every_voucher(site: Site) -> None:
    server = site.serve()
    raw = Raw(site, server)
    body = raw.body()
    offer = raw.offer(body)
    header = raw.header(offer, offer.amount)
    first = raw.post(body, header)
    charged = raw.charged()
    server.kill()
    assert site.settled(raw.channel) == 0
    again = site.serve(data_dir=server.data_dir)
    raw.http = site.http(again)
    wait_for(lambda: site.settled(raw.channel) == charged)
    assert raw.post(body, header).json()["receipt"] == first.json()["receipt"], "the paid answer is still there"
    assert refusal(raw.post(raw.body("y = "), header)) == Reason.VOUCHER_USED
    assert raw.charged() == charged
    assert again.stop() == 0
    once = [e for e in site.run.events_of(VoucherSettled) if e.channel_id == raw.channel]
    assert [(e.cumulative, e.amount) for e in once] == [(charged, charged)]


def test_a_settlement_that_a_reorganisation_undoes_is_made_again(site: Site) -> None:
    server = site.serve(settle_every_s=1.0, confirmations=30)
    payer, rpc = site.payer(), site.run.chain.rpc
    channel, _ = deposit(payer.run, SERVER_KEY.address, 10**16)
    before = rpc("evm_snapshot")
    charged = ask(payer, server).receipt.amount
    wait_for(lambda: '"settled"' in server.log.read_text())
    assert site.settled(channel.channel_id) == charged
    rpc("evm_revert", before)
    wait_for(lambda: site.settled(channel.channel_id) == charged)
    server.stop()


def test_a_lowered_withdrawal_counts_when_it_is_final(site: Site) -> None:
    payer = site.payer()
    channel, _ = deposit(payer.run, SERVER_KEY.address, 1000)
    view = ChannelView(Run.at(Chain([site.world.url], confirmations=20), site.run.address))

    def withdrawal() -> tuple[int, int]:
        found = view.facts(channel.channel_id)
        return (0, 0) if found is None else (found.withdrawal_amount, found.withdrawal_at)

    def due(block: BlockId = "latest") -> int:
        return site.run.payments.channel(channel.channel_id, block=block).withdrawal_at

    request_withdrawal(payer.run, channel, 900)
    first = due()
    wait_for(lambda: due(view.run.chain.finalized_block().number) == first)
    site.world.warp(site.run.chain.timestamp() + 100)
    request_withdrawal(payer.run, channel, 1)
    second = due()
    assert second > first and withdrawal() == (900, first)
    wait_for(lambda: withdrawal() == (1, second))


def test_a_server_killed_in_the_middle_of_a_stream_charges_what_it_had_sent(site: Site) -> None:
    server = site.serve()
    raw = Raw(site, server)
    body = raw.body(max_tokens=128, stream=True)
    offer = raw.offer(body)
    seen = []
    with raw.http.stream(
        "POST", "/v1/completions", content=body, headers={HEADER_SIGNATURE: raw.header(offer, offer.amount)}
    ) as response:
        lines = (line for line in response.iter_lines() if line)
        seen.append(next(lines))
        server.kill()
        with contextlib.suppress(httpx.HTTPError):
            seen.extend(lines)
    pieces = [json.loads(line.removeprefix("data: ")) for line in seen if line != "data: [DONE]"]
    text = "".join(p["choices"][0]["text"] for p in pieces if p["choices"])
    again = site.serve(data_dir=server.data_dir)
    raw.http = site.http(again)
    (receipt,) = raw.http.get(f"/v1/channels/{hex32(raw.channel)}/receipts").json()["receipts"]
    served = Served.from_body(receipt["body"])
    assert served.completion_tokens >= 1 and served.amount == raw.charged() <= offer.amount
    body = raw.body(max_tokens=128)
    whole = raw.post(body, raw.header(offer, served.amount + offer.amount)).json()["choices"][0]["text"]
    charged_for = [n for n in range(len(whole) + 1) if text_sha256(whole[:n]) == served.answer_sha256]
    assert charged_for and charged_for[0] >= len(text) > 0, (
        "all that arrived was charged, and nothing that was not made"
    )
    assert whole.startswith(text)
    total = raw.charged()
    again.stop()
    assert site.settled(raw.channel) == total


def test_what_a_server_sends_is_noted_where_other_programs_look_that_use_its_key(site: Site) -> None:
    server = site.serve()
    answer = ask(site.payer(), server)
    chain = site.run.chain
    shared = site.folder / "server-nonces"
    for record in shared.glob("*.json"):
        record.unlink()
    assert server.stop() == 0
    assert site.settled(answer.channel_id) == answer.receipt.amount
    assert (
        list(shared.glob(f"{chain.chain_id}-*-{SERVER_KEY.address.lower()}.json"))
        and not (server.data_dir / "nonces").exists()
    )


# --- a card ----------------------------------------------------------------------------------------------------------


def test_a_full_card_refuses_a_request_for_nothing_and_the_server_goes_on(site: Site, tmp_path: Path) -> None:
    orders = tmp_path / "card"
    server = site.serve(card=str(orders))
    raw = Raw(site, server)
    assert raw.http.get("/v1/models").json()["data"][0]["device"] == "cuda"
    body, stream = raw.body(), raw.body(stream=True)
    offer = raw.offer(body)
    orders.write_text("full 1")
    refused = raw.post(body, raw.header(offer, offer.amount))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] and "costs nothing" in refused.text and "2.00 GiB" not in refused.text
    orders.write_text("full 3")
    cut = raw.post(stream, raw.header(offer, 2 * offer.amount))
    events = [json.loads(line[6:]) for line in cut.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["error"]["code"] == "overloaded" and any("choices" in event for event in events)
    assert raw.charged() == 0
    assert raw.post(body, raw.header(offer, 3 * offer.amount)).status_code == 200
    assert 0 < raw.charged() <= offer.amount
    for seen in (None, [].append):
        orders.write_text("full 1")
        with wire(server) as connection:
            answer = site.payer().ask(connection, Ask("def f(", max_tokens=8, seed=1), limits(), seen)
        assert answer.receipt.sequence == 1 and not orders.exists(), "the client asks again by itself"
    assert 'commonweight_answers_total{outcome="full"} 4.0' in raw.http.get("/metrics").text
    assert server.stop() == 0 and site.settled(raw.channel) > 0


def test_a_card_without_room_for_model_and_answers_is_refused_before_it_is_filled(site: Site, tmp_path: Path) -> None:
    model = site.config.model
    needed = serving_bytes(model, 3)
    with pytest.raises(AssertionError, match=r"does not fit into cpu.*it and 3 answers at once take about") as refused:
        site.serve(card=str(tmp_path / "card"), card_bytes=needed - 1, max_concurrent=3)
    assert "answer on the processor" in str(refused.value)
    assert site.serve(card=str(tmp_path / "card"), card_bytes=needed, max_concurrent=3).stop() == 0


def test_a_card_that_fails_ends_the_server_which_settles_what_it_is_owed(site: Site, tmp_path: Path) -> None:
    orders = tmp_path / "card"
    server = site.serve(card=str(orders))
    raw, payer = Raw(site, server), site.payer()
    owed = ask(payer, server)
    body = raw.body(stream=True)
    offer = raw.offer(body)
    orders.write_text("lost 4")
    cut = raw.post(body, raw.header(offer, offer.amount))
    events = [json.loads(line[6:]) for line in cut.text.splitlines() if line.startswith("data: {")]
    sent = sum(len(event["choices"][0]["text"]) for event in events if "choices" in event)
    assert events[-1]["error"]["code"] == "server_error"
    assert server.process.wait(timeout=120) == 1
    said = server.log.read_text()
    assert "nothing is answered any more" in said and "CUDA error: unspecified launch failure" in said.splitlines()[-1]
    assert not (server.data_dir / "server.json").exists()
    assert site.settled(owed.channel_id) == owed.receipt.amount
    assert 0 < site.settled(raw.channel) <= (offer.prompt_tokens + max(sent, 3)) * PRICE


# --- what is served --------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_attested_is_not_served(site: Site, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is not attested by this run"):
        site.serve(checkpoint="0x" + "77" * 32)


def test_a_checkpoint_with_one_changed_byte_is_not_served(site: Site, tmp_path: Path) -> None:
    altered = tmp_path / "store"
    changed = 0
    for path in (site.folder / "store").rglob("*"):
        target = altered / path.relative_to(site.folder / "store")
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        data = bytearray(path.read_bytes())
        if b"model.embed_tokens.weight" in data:
            data[-1] ^= 1
            changed += 1
        target.write_bytes(data)
    assert changed >= 1
    with pytest.raises(AssertionError, match="DamagedBlock"):
        site.serve(store=str(altered))


def test_a_server_whose_key_cannot_pay_for_gas_says_so(site: Site, tmp_path: Path) -> None:
    create_keystore(tmp_path / "poor.key", PASSWORD, key=Key.from_bytes(b"\x55" * 32), fast=True)
    server = site.serve(keystore=str(tmp_path / "poor.key"))
    assert "the key has no ETH for gas" in server.log.read_text()
    assert server.stop() == 0


def test_two_servers_never_share_a_ledger(site: Site, server: Server) -> None:
    url = json.loads((server.data_dir / "server.json").read_text())["url"]
    with pytest.raises(AssertionError, match="is in use"):
        site.serve(data_dir=server.data_dir)
    assert httpx.get(url + "/healthz", trust_env=False, verify=False).status_code == 200

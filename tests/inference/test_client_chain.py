"""A payer against servers that lie: a real server behind a connection that changes what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from commonweight.chain.structs import VoucherClaim
from commonweight.errors import CommonweightError, InferenceError, PaymentError, PaymentRefused
from commonweight.protocol.documents import Signed, sign
from commonweight.protocol.vouchers import sign_voucher
from commonweight.protocol.x402 import HEADER_REQUIRED, Payment, PaymentRequired, Reason, Requirements
from inference.client import Ask, PaidAnswer, Payer
from inference.purse import Purse
from inference.wire import Wire
from tests.inference.site import DELAY_S, PRICE, SERVER_KEY, Server, Site, limits, make_site, wire

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
QUESTION = Ask("def f(", max_tokens=8, seed=1)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site("anvil", tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def server(site: Site) -> Server:
    return site.serve()


class Liar:
    """Passes requests on to a server and changes its answers."""

    def __init__(self, server: Server) -> None:
        self._real = httpx.Client(trust_env=False, verify=False, timeout=60.0, base_url=server.url)
        self.offer: Callable[[Requirements], Requirements] | None = None
        self.answer: Change | None = None
        self.elsewhere: Callable[[str, dict[str, Any]], dict[str, Any] | None] | None = None
        self.paid = 0
        self.refusal: str | None = None
        self.drop_answers = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        headers = {k: v for k, v in request.headers.items() if k in ("content-type", "payment-signature")}
        if self.refusal is not None and "payment-signature" in headers:
            return httpx.Response(402, json={"error": {"message": "no", "code": self.refusal}})
        got = self._real.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=headers
        )
        self.paid += "payment-signature" in headers
        if got.status_code == 200 and "payment-signature" in headers and self.drop_answers:
            self.drop_answers -= 1
            raise httpx.RemoteProtocolError("the line broke")
        body, sent = got.json(), {}
        if HEADER_REQUIRED in got.headers:
            required = PaymentRequired.from_header(got.headers[HEADER_REQUIRED])
            if self.offer is not None:
                required = replace(required, accepts=(self.offer(required.accepts[0]),))
            sent[HEADER_REQUIRED] = required.to_header()
        if self.answer is not None and "choices" in body:
            self.answer(body)
        if self.elsewhere is not None and request.method == "GET":
            changed = self.elsewhere(request.url.path, body)
            return httpx.Response(404, json={}) if changed is None else httpx.Response(200, json=changed)
        return httpx.Response(got.status_code, json=body, headers=sent)

    def close(self) -> None:
        self._real.close()


@pytest.fixture
def liar(server: Server) -> Iterator[Liar]:
    made = Liar(server)
    yield made
    made.close()


@pytest.fixture
def payer(site: Site) -> Payer:
    return site.payer()


def ask(payer: Payer, liar: Liar, question: Ask = QUESTION, **changes: object) -> PaidAnswer:
    with Wire("http://liar", httpx.Client(transport=httpx.MockTransport(liar))) as connection:
        return payer.ask(connection, question, limits(**changes))


def refused(payer: Payer, liar: Liar, match: str, **changes: object) -> None:
    with pytest.raises(CommonweightError, match=match) as error:
        ask(payer, liar, **changes)
    assert isinstance(error.value, PaymentError | InferenceError)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda o: replace(o, amount=o.amount * 2), "does not add up"),
        (lambda o: replace(o, max_completion_tokens=9, amount=(6 + 9) * PRICE), "does not add up"),
        (lambda o: replace(o, prompt_tokens=7, amount=15 * PRICE), "more tokens than the prompt has bytes"),
        (lambda o: replace(o, price_per_token=10**15, amount=14 * 10**15), "costs more than you allow"),
        (lambda o: replace(o, checkpoint=b"\x66" * 32), "is not attested"),
        (lambda o: replace(o, withdraw_delay_s=DELAY_S + 1), "tie money up for too long"),
        (lambda o: replace(o, chain_id=5), "does not sell this run"),
        (lambda o: replace(o, run="0x" + "1" * 40), "does not sell this run"),
        (lambda o: replace(o, payments="0x" + "1" * 40), "does not sell this run"),
        (lambda o: replace(o, asset="0x" + "1" * 40), "does not sell this run"),
    ],
)
def test_bad_terms_are_refused_before_anything_is_signed(
    payer: Payer, liar: Liar, change: Callable[[Requirements], Requirements], match: str
) -> None:
    liar.offer = change
    refused(payer, liar, match)
    assert liar.paid == 0


def test_only_the_named_server_and_checkpoint_are_paid(site: Site, payer: Payer, liar: Liar) -> None:
    refused(payer, liar, "another server", server="0x" + "1" * 40)
    refused(payer, liar, "another checkpoint", checkpoint="0x" + "1" * 64)
    assert liar.paid == 0
    assert ask(payer, liar, server=SERVER_KEY.address, checkpoint=site.checkpoint).text


def test_without_leave_to_deposit_nothing_is_deposited(payer: Payer, liar: Liar) -> None:
    refused(payer, liar, "does not hold enough", deposit=None)
    assert liar.paid == 0


def resigned(site: Site, change: Change, key: bytes = SERVER_KEY.private_key) -> Change:
    """A change of the receipt's body, signed again by the server, as only a lying server can."""

    def lie(body: dict[str, Any]) -> None:
        changed = dict(body["receipt"]["body"])
        change(changed)
        signed = sign("served", changed, key, site.run.oracle.domain())
        body["receipt"] = signed.to_json()

    return lie


def more_tokens(body: dict[str, Any]) -> None:
    body["completion_tokens"] += 1
    for name in ("amount", "cumulative"):
        body[name] = str(int(body[name]) + PRICE)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (more_tokens, "not for this answer.*tokens"),
        (lambda b: b.update(amount="1"), "does not add up"),
        (lambda b: b.update(checkpoint="0x" + "66" * 32), "checkpoint"),
        (lambda b: b.update(request_sha256="0x" + "66" * 32), "request"),
        (lambda b: b.update(answer_sha256="0x" + "66" * 32), "answer"),
        (lambda b: b.update(channel="0x" + "66" * 32), "channel"),
        (lambda b: b.update(ceiling="1"), "voucher"),
        (lambda b: b.update(seed="2"), "seed"),
        (lambda b: b.update(cumulative=str(int(b["cumulative"]) + 1)), "does not follow the one before it"),
        (lambda b: b.update(sequence=3), "does not give all its receipts|contradicts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_receipt_that_is_not_true_is_refused(
    site: Site, payer: Payer, liar: Liar, change: Change, match: str
) -> None:
    liar.answer = resigned(site, change)
    refused(payer, liar, match)


def test_a_receipt_by_another_key_is_refused(site: Site, payer: Payer, liar: Liar) -> None:
    liar.answer = resigned(site, lambda body: None, key=b"\x09" * 32)
    refused(payer, liar, "no valid receipt")


def test_another_text_than_was_signed_is_refused(payer: Payer, liar: Liar) -> None:
    def lie(body: dict[str, Any]) -> None:
        body["choices"][0]["text"] += "!"

    liar.answer = lie
    refused(payer, liar, "answer")


def test_an_answer_without_a_receipt_is_refused(payer: Payer, liar: Liar) -> None:
    liar.answer = lambda body: body.pop("receipt")
    refused(payer, liar, "no receipt")


def test_a_broken_line_costs_the_price_of_one_answer(payer: Payer, liar: Liar) -> None:
    first = ask(payer, liar)
    liar.paid, liar.drop_answers = 0, 1
    second = ask(payer, liar)
    assert liar.paid == 2 and second.receipt.sequence == 2
    assert second.receipt.cumulative == first.receipt.amount + second.receipt.amount


def test_an_answer_that_was_lost_is_accounted_for_by_its_receipt(payer: Payer, liar: Liar) -> None:
    liar.drop_answers = 3
    with pytest.raises(InferenceError, match="cannot be reached"):
        ask(payer, liar)
    second = ask(payer, liar, Ask("something else", max_tokens=8, seed=1))
    assert second.receipt.sequence == 2
    standing = payer.book.standing(second.channel_id)
    assert standing is not None and (standing.pending, standing.spent) == (0, second.receipt.cumulative)


def test_a_charge_without_a_receipt_is_not_accepted(payer: Payer, liar: Liar) -> None:
    ask(payer, liar)
    liar.drop_answers = 3
    with pytest.raises(InferenceError):
        ask(payer, liar, Ask("lost", max_tokens=8))
    liar.elsewhere = lambda path, body: {"receipts": []} if path.endswith("receipts") else body
    refused(payer, liar, "claims more than its receipts account for")


def test_taking_more_on_chain_than_was_charged_ends_the_business(site: Site, payer: Payer, liar: Liar) -> None:
    whole = ask(payer, liar).text
    answer = ask(payer, liar, replace(QUESTION, stop=(whole[-1],)))
    served = answer.receipt
    assert served.ceiling > served.cumulative, "the answer was shorter than its maximum"
    signed = sign_voucher(answer.channel_id, served.ceiling, site.run.payments.domain(), payer.key.private_key)
    claim = VoucherClaim(answer.channel_id, served.ceiling, served.ceiling, signed.signature)
    site.world_of(SERVER_KEY).payments.settle([claim])
    refused(payer, liar, "settled more than its receipts account for")


def test_a_lost_purse_begins_again_with_what_the_server_proves(site: Site, payer: Payer, liar: Liar) -> None:
    first = ask(payer, liar)
    heir = Payer(payer.run, payer.key, site.payer().purse)
    second = ask(heir, liar, Ask("after the loss", max_tokens=8))
    assert second.receipt.sequence == 2
    assert second.receipt.cumulative == first.receipt.amount + second.receipt.amount


def test_a_development_chain_that_begins_anew_is_not_mistaken_for_the_old_one(tmp_path: Path) -> None:
    """The same chain id, accounts and contract addresses, the same purse file and the same data directory of the
    server.
    """
    purse, data = Purse(tmp_path / "purse.sqlite"), tmp_path / "data"
    data.mkdir()
    seen = []
    for name in ("one", "two"):
        with make_site("anvil", tmp_path / name) as site:
            server = site.serve(data_dir=data)
            payer = site.payer()
            with wire(server) as connection:
                answer = Payer(payer.run, payer.key, purse).ask(connection, QUESTION, limits())
            assert server.stop() == 0
            seen.append((site.run.address, answer.channel_id, answer.receipt.sequence, site.settled(answer.channel_id)))
    assert seen[0] == seen[1] and seen[0][3] > 0
    purse.close()


def test_a_lost_purse_does_not_believe_more_than_was_signed(site: Site, payer: Payer, liar: Liar) -> None:
    ask(payer, liar)
    heir = Payer(payer.run, payer.key, site.payer().purse)

    def lie(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if "channelState" in body:
            body["channelState"]["chargedCumulativeAmount"] = str(10**15)
        return body

    liar.elsewhere = lie
    refused(heir, liar, "claims more than was signed")

    def forge(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if "channelState" in body:
            forged = sign_voucher(b"\x01" * 32, 1, site.run.payments.domain(), SERVER_KEY.private_key)
            body["voucherState"]["signature"] = "0x" + forged.signature.hex()
        return body

    liar.elsewhere = forge
    refused(heir, liar, "voucher that is not yours")


def test_a_refusal_reaches_the_caller_with_its_code(payer: Payer, liar: Liar) -> None:
    liar.refusal = "commonweight_channel_refused"
    with pytest.raises(PaymentRefused) as error:
        ask(payer, liar)
    assert error.value.code == "commonweight_channel_refused"


def test_a_server_that_takes_no_voucher_is_given_up(payer: Payer, liar: Liar) -> None:
    liar.refusal = Reason.AMOUNT_MISMATCH
    refused(payer, liar, "takes no voucher")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"choices": 3}', b"\xff" * 10])
def test_a_server_that_answers_garbage_is_an_error_by_name(payer: Payer, answer: bytes) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=answer))
    with Wire("http://garbage", httpx.Client(transport=transport)) as connection:
        for question in (QUESTION, replace(QUESTION, model="tiny")):
            with pytest.raises(CommonweightError):
                payer.ask(connection, question, limits())


def test_signed_documents_survive_json(site: Site, payer: Payer, liar: Liar) -> None:
    """What `--json` prints can be checked later by anyone."""
    answer = ask(payer, liar)
    again = Signed.from_json(json.loads(json.dumps(answer.signed)))
    assert again.digest == answer.receipt_digest


def test_refusing_a_voucher_does_not_make_the_request_cost_twice(site: Site, payer: Payer, liar: Liar) -> None:
    """The server calls a voucher out of step, gets another, answers that, and charges for both."""
    ceilings: list[int] = []
    receipts: list[Any] = []

    def charge(body: dict[str, Any]) -> None:
        true = body["receipt"]["body"]
        for number, ceiling in enumerate(dict.fromkeys(ceilings), 1):
            changed = {
                **true,
                "sequence": number,
                "ceiling": str(ceiling),
                "cumulative": str(number * int(true["amount"])),
            }
            receipts.append(sign("served", changed, SERVER_KEY.private_key, site.run.oracle.domain()).to_json())
        body["receipt"] = receipts[-1]

    def twice(request: httpx.Request) -> httpx.Response:
        if "payment-signature" in request.headers:
            ceilings.append(Payment.from_header(request.headers["payment-signature"]).voucher.cumulative)
            if len(ceilings) == 1:
                return httpx.Response(402, json={"error": {"message": "no", "code": Reason.AMOUNT_MISMATCH}})
        return liar(request)

    def elsewhere(path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if path.endswith("receipts"):
            return {"receipts": receipts}
        if "channelState" in body:
            body["channelState"] |= {
                "sequence": len(receipts),
                "chargedCumulativeAmount": receipts[-1]["body"]["cumulative"],
            }
        return None if "error" in body else body

    liar.answer, liar.elsewhere = charge, elsewhere
    with (
        Wire("http://liar", httpx.Client(transport=httpx.MockTransport(twice))) as connection,
        pytest.raises(PaymentError, match="more than was signed"),
    ):
        payer.ask(connection, QUESTION, limits())
    assert max(ceilings) == 14 * PRICE + 1


def test_no_more_is_paid_in_than_was_allowed(payer: Payer, liar: Liar) -> None:
    refused(payer, liar, "does not hold enough", deposit=1)
    assert liar.paid == 0

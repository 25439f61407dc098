"""After the training: serving and paying, claims, and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from commonweight.chain.events import RevenueReceived
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.run import Run
from scenes.cast import Player
from scenes.demo import COMMONWEIGHT, EPOCH_S, Demo, credits_of
from scenes.stage import StageError, free_port, reachable, run_json, units, wait_until


def serve(demo: Demo, run: Run) -> str:
    """Serve the attested checkpoint; two users pay by vouchers; the server settles. Returns the server's host:port."""
    screen, cast = demo.screen, demo.cast
    screen.phase("Serving and paying")
    address = f"127.0.0.1:{free_port()}"
    argv = [*COMMONWEIGHT, "infer", "serve", *demo.common(run), *demo.signing(cast.server), "--listen", address]
    argv += ["--data-dir", str(demo.directory / "server"), "--settle-every", "4"]
    server = demo.processes.spawn("server", argv, env=demo.environment())
    wait_until(
        "the server to answer", partial(reachable, address), timeout_s=60, watch=partial(demo.check_alive, [server])
    )
    before = revenue(run)

    def ask(user: Player, prompt: str) -> Mapping[str, object]:
        argv = [*COMMONWEIGHT, "infer", "ask", prompt, "--url", f"http://{address}", "--run", run.addresses.campaign]
        argv += [
            "--rpc",
            demo.local.url,
            *demo.signing(user),
            "--deposit",
            "1",
            "--max-amount",
            "0.5",
            "--max-tokens",
            "48",
            "--json",
            "--yes",
        ]
        status, answer = run_json(argv, cwd=demo.directory, env=demo.environment())
        if status or not isinstance(answer, dict):
            raise StageError(f"{user.name} got no answer.", str(answer), "Look into logs/server.log.")
        return answer

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(ask, cast.users, ("def read_file(path):\n", "import os\nclass Server:\n")))
    for user, answer in zip(cast.users, answers, strict=True):
        paid, tokens, text = int(str(answer["paid"])), answer["completion_tokens"], str(answer["text"])
        screen.say(f"{user.name} paid {units(paid)} for {tokens} tokens: {text!r}")
    expected = sum(int(str(answer["paid"])) for answer in answers)
    owed = expected * run.params.server_bps // 10_000

    def settled() -> bool:
        return run.payments.server_owed(cast.server.address) >= owed and revenue(run) > before

    wait_until("the server to settle", settled, timeout_s=60, watch=partial(demo.check_alive, [server]))
    server_part = units(run.payments.server_owed(cast.server.address))
    screen.say(f"settled on chain: {units(revenue(run) - before)} to the distributor, {server_part} to the server")
    return address


def revenue(run: Run) -> int:
    """All revenue that the distributor has received from inference."""
    return sum(event.amount for event in run.events_of(RevenueReceived))


def claim(demo: Demo, run: Run) -> None:
    """Close the epoch that the revenue fell in, then everyone takes what is theirs."""
    screen, cast = demo.screen, demo.cast
    screen.phase("Claims")
    settled = run.params.last_epoch + run.params.tail_epochs  # revenue after that is distributed as it arrives
    epoch = min(run.params.epoch_of(run.chain.timestamp()), settled)
    with screen.progress("waiting for the epoch of the revenue to close", run.params.epoch_length) as update:

        def closed() -> bool:
            update(run.chain.timestamp() - run.params.epoch_end(epoch - 1), f"epoch {epoch} is running")
            return run.oracle.next_epoch() > epoch

        wait_until("the signers to close the epoch", closed, timeout_s=3 * EPOCH_S)

    ledger = LedgerView.of(run)
    people = [*cast.funders, *cast.providers, cast.server]
    before = {player: run.chain.balance(player.address) for player in people}

    def take(player: Player) -> int:
        """Claim from the player's own key; returns the gas paid, in wei."""
        own = Run.at(demo.chain(player), run.addresses.campaign)
        if player in cast.funders:
            receipt = own.distributor.claim_capital(player.address)
        elif player is cast.server:
            receipt = own.payments.claim_server(player.address)
        else:
            index = own.registry.index_of(player.address)
            if not credits_of(ledger, index):
                return 0
            proof = ledger.proof(index)
            receipt = own.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
        return receipt.fee_wei

    with ThreadPoolExecutor() as pool:
        fees = dict(zip(people, pool.map(take, people), strict=True))
    rows = []
    for player in people:
        after = run.chain.balance(player.address)
        rows.append((player.name, units(before[player]), units(after), units(after - before[player] + fees[player])))
    screen.table(("who", ">before", ">after", ">claimed, gas aside"), rows)
    distributor = run.distributor
    held = run.chain.balance(run.addresses.distributor)
    received = distributor.capital_received() + distributor.compute_received()
    paid = distributor.capital_paid() + distributor.compute_paid()
    screen.say(f"distributor: received {units(received)}, paid {units(paid)}, holds {units(held)}")
    if received - paid != held:
        raise StageError("The distributor's books do not balance.", f"{received} - {paid} != {held} wei", "")


def audit(demo: Demo, run: Run) -> bool:
    """Two separate processes recompute everything from the RPC address and the content store alone."""
    screen = demo.screen
    screen.phase("Audit")
    verified = True
    for name in ("verify", "lineage"):
        with screen.progress(f"commonweight audit {name}", 1) as update:
            argv = [*COMMONWEIGHT, "audit", name, *demo.common(run), "--json"]
            status, result = run_json(argv, cwd=demo.directory, env=demo.environment(), timeout_s=240)
            update(1, f"commonweight audit {name}")
        if not isinstance(result, dict):
            raise StageError(f"audit {name} gave no result.", str(result), "")
        checks = result.get("checks", [])
        colour = "green" if status == 0 else "red"
        screen.say(
            f"audit {name}: [{colour}]{result['verdict']}[/{colour}],"
            f" {len(checks)} checks up to block {result['block']}"
        )
        for check in checks:
            if check["verdict"] != "ok":
                screen.say(f"   {check['name']}: {check['verdict']} {check.get('detail', '')}")
        verified &= status == 0 and result["verdict"] == "verified"
    return verified

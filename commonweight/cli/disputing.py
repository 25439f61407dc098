"""Disputes over credits on the command line: doubt them, answer a doubt, and see how every dispute stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount
from commonweight.cli.options import (
    ConfigOption,
    JsonOption,
    KeystoreOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    SenderOption,
    StoreOption,
    UnsignedOption,
    YesOption,
)
from commonweight.cli.provider import index_named
from commonweight.cli.session import Session
from commonweight.errors import UsageError
from commonweight.quantities import when

if TYPE_CHECKING:
    from commonweight.chain.challenges import Case
    from commonweight.chain.run import Run
    from commonweight.protocol.dispute_documents import Exhibit
    from commonweight.store import ContentStore

EpochOption = Annotated[int, typer.Option("--epoch", help="Which epoch's credits.", min=0)]
EvidenceOption = Annotated[
    Path, typer.Option("--evidence", help="A file, or a folder of files; goes into the store.", metavar="DIR|FILE")
]
StatementOption = Annotated[str, typer.Option("--statement", help="What to look at, in words.", metavar="TEXT")]
_MOST_FILES = 1000


def challenge(
    epoch: EpochOption,
    provider: Annotated[str, typer.Option("--provider", help="Whose credits: provider index or account.")],
    evidence: EvidenceOption,
    statement: StatementOption = "",
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Doubt a provider's credits of an epoch, with a bond. Anybody may; the signers verify the work again."""
    flags = {"run": run, "rpc": rpc, "store": store, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="oracle", unsigned=unsigned, sender=sender)
    found = session.signing_run
    index = index_named(found, provider)
    _require_judgeable(found, epoch, index)
    files = exhibits(session.own_store, evidence)
    until = found.chain.timestamp() + found.params.dispute_period
    bond = format_amount(found.params.dispute_bond, found.asset.symbol(), found.asset.decimals())
    if not yes and unsigned is None:
        session.output.note(f"Bond: {bond}. It is the provider's if the signers acquit, and yours again otherwise.")
        session.output.note(f"The provider can answer and the signers can judge until about {when(until)}.")
        session.output.note(
            "On conviction its credits of the epoch are void, and a tenth of its slashed stake is yours."
        )
    session.confirm(f"Challenge provider {index}'s credits of epoch {epoch} with a bond of {bond}?", yes=yes)
    digest, cid = _file(session, found, "challenge", epoch, index, statement, files)
    receipt = found.disputes.challenge_credits(epoch, index, digest, found.params.dispute_bond)
    session.finish_unsigned(
        f"Challenge the credits of provider {index} of {found.params.name} ({found.address}) in epoch {epoch}"
        f" with a bond of {bond}"
    )
    opened = found.disputes.challenge_of(epoch, index)
    body = {
        **_said(found, epoch, index, digest, cid, files),
        "bond": str(found.params.dispute_bond),
        "until": opened.until,
        "block": receipt.block_number,
        "tx": "0x" + receipt.tx_hash.hex(),
    }
    rows = [("bond", bond), ("judged until", when(opened.until)), ("evidence", cid), ("tx", body["tx"])]
    session.output.result(body, title=f"The credits of provider {index} in epoch {epoch} are challenged.", rows=rows)


def answer(
    epoch: EpochOption,
    evidence: EvidenceOption,
    statement: StatementOption = "",
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer a challenge of one's own credits with evidence, such as files that the signers could not get."""
    flags = {"run": run, "rpc": rpc, "store": store, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="provider", unsigned=unsigned, sender=sender)
    found = session.signing_run
    index = found.registry.index_of(found.chain.address)
    case = _open_case(found, epoch, index)
    files = exhibits(session.own_store, evidence)
    if not yes and unsigned is None:
        session.output.note(f"Challenged by {case.challenger}; answers count until {when(case.until)}.")
        session.output.note("The signers verify the work again with what is in the store by then.")
    session.confirm(f"Answer the challenge of provider {index}'s credits of epoch {epoch}?", yes=yes)
    digest, cid = _file(session, found, "answer", epoch, index, statement, files)
    receipt = found.disputes.answer_challenge(epoch, index, digest)
    session.finish_unsigned(
        f"Answer the challenge of provider {index} of {found.params.name} ({found.address}) in epoch {epoch}"
    )
    body = {
        **_said(found, epoch, index, digest, cid, files),
        "until": case.until,
        "block": receipt.block_number,
        "tx": "0x" + receipt.tx_hash.hex(),
    }
    rows = [("judged until", when(case.until)), ("evidence", cid), ("tx", body["tx"])]
    session.output.result(body, title=f"The challenge of epoch {epoch} is answered.", rows=rows)


def challenges(
    run: RunOption = None,
    rpc: RpcOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every challenge of credits: deadlines, evidence, answers, verdict, and what it did to claims."""
    session = Session({"run": run, "rpc": rpc}, config=config, as_json=as_json, role="audit")
    from commonweight.chain.challenges import cases_of
    found = session.run
    block = found.chain.block_number()
    cases = cases_of(found, block)
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    rows = [
        [
            case.epoch,
            case.index,
            case.state,
            when(case.until),
            len(case.answers),
            None if case.conviction is None else case.conviction.credits,
            None if case.conviction is None else format_amount(case.conviction.debt, symbol, decimals),
            None if case.conviction is None else format_amount(case.conviction.slashed, symbol, decimals),
            "0x" + case.evidence_sha256.hex(),
        ]
        for case in cases
    ]
    debts = {index: found.distributor.debt_of(index, block=block) for index in {case.index for case in cases}}
    body = {
        "run": found.address,
        "challenges": [{**_case_json(case), "debt_left": str(debts[case.index])} for case in cases],
        "block": block,
    }
    columns = ["Epoch", "Provider", "State", "Until", "Answers", "Revoked", "Debt", "Slashed", "Evidence"]
    session.output.table(
        body, columns, rows, title=f"Challenges in {found.params.name}", empty="No credits were ever challenged."
    )


def exhibits(store: ContentStore, place: Path) -> tuple[Exhibit, ...]:
    """Put a file, or every file below a folder, into the store. Raises UsageError for what cannot be read."""
    from hashlib import file_digest

    from commonweight.protocol.dispute_documents import Exhibit

    folder = place.is_dir()
    paths = sorted(path for path in place.rglob("*") if path.is_file()) if folder else [place]
    if not paths or len(paths) > _MOST_FILES:
        raise UsageError(f"{place} has {len(paths)} files.", f"Evidence is 1 to {_MOST_FILES} files", "Pack them.")
    found = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                sha256 = "0x" + file_digest(stream, "sha256").hexdigest()
            size = path.stat().st_size
        except OSError as error:
            raise UsageError(f"The evidence {path} cannot be read.", error.strerror or "", "Check its name.") from None
        name = path.relative_to(place).as_posix() if folder else path.name
        found.append(Exhibit(name, size, sha256, str(store.put_file(path))))
    return tuple(found)


def _file(
    session: Session, run: Run, side: str, epoch: int, index: int, statement: str, files: tuple[Exhibit, ...]
) -> tuple[bytes, str]:
    """Put what one side says into the store; its (SHA-256, CID)."""
    from commonweight.protocol.dispute_documents import Plea
    from commonweight.protocol.fields import lower_address
    from commonweight.store.cid import cid_bytes

    account = lower_address(run.chain.address)
    plea = Plea(side, lower_address(run.address), epoch, index, account, statement, files)
    cid = session.own_store.put(plea.to_bytes())
    return cid_bytes(cid)[-32:], str(cid)


def _said(run: Run, epoch: int, index: int, digest: bytes, cid: str, files: tuple[Exhibit, ...]) -> dict[str, object]:
    return {
        "run": run.address,
        "epoch": epoch,
        "index": index,
        "evidence": {"sha256": "0x" + digest.hex(), "cid": cid},
        "files": [file.to_json() for file in files],
    }


def _case_json(case: Case) -> dict[str, object]:
    from commonweight.store.cid import raw_cid

    def named(digest: bytes) -> dict[str, object]:
        return {"sha256": "0x" + digest.hex(), "cid": str(raw_cid(digest))}

    verdict, conviction = case.verdict, case.conviction
    given = None if verdict is None else {"convicted": verdict.convicted, **named(verdict.evidence_sha256)}
    revoked = conviction and {
        "credits": str(conviction.credits),
        "debt": str(conviction.debt),
        "slashed": str(conviction.slashed),
    }
    return {
        "epoch": case.epoch,
        "index": case.index,
        "state": case.state,
        "challenger": case.challenger,
        "until": case.until,
        "opened_in_block": case.block,
        "evidence": named(case.evidence_sha256),
        "answers": [named(digest) for digest in case.answers],
        "verdict": given,
        "revoked": revoked,
    }


def _require_judgeable(run: Run, epoch: int, index: int) -> None:
    """The same rule as the contract's, said in words before anything is stored or sent."""
    from commonweight.chain.structs import EpochState

    info, now = run.oracle.epoch_info(epoch), run.chain.timestamp()
    final = info.state == EpochState.FINAL
    if info.state != EpochState.REPORTED and not final:
        raise UsageError(
            f"Epoch {epoch} has no report to doubt.", "It is not reported, or void", "`commonweight run show`"
        )
    if final and now >= info.settled_at + run.params.dispute_period:
        raise UsageError(
            f"It is too late to doubt epoch {epoch}.", "Its dispute period is over", "Choose a later epoch."
        )
    if index >= info.provider_count:
        raise UsageError(f"Nobody had the index {index} in epoch {epoch}.", "", "`commonweight audit verify`")
    known = run.disputes.challenge_of(epoch, index)
    if known.judged or int(known.challenger, 16):
        why = "It was judged, for good" if known.judged else f"By {known.challenger}"
        raise UsageError(
            f"The credits of provider {index} in epoch {epoch} were challenged before.", why,
            "`commonweight audit challenges`",
        )  # fmt: skip


def _open_case(run: Run, epoch: int, index: int) -> Case:
    from commonweight.chain.challenges import cases_of

    found = [case for case in cases_of(run) if case.key == (epoch, index)]
    if not found or found[-1].state != "open" or run.chain.timestamp() > found[-1].until:
        raise UsageError(
            f"There is no open challenge of provider {index}'s credits of epoch {epoch}.", "",
            "`commonweight audit challenges` shows them.",
        )  # fmt: skip
    return found[-1]

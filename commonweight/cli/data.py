"""`commonweight data`: turn text into hashed shards with a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.options import ConfigOption, JsonOption, StoreOption
from commonweight.cli.session import Session
from commonweight.errors import UsageError
from commonweight.quantities import parse_size, show_size

cli = typer.Typer(help="Prepare training data.", no_args_is_help=True)


@cli.callback()
def group() -> None:
    """Keep `prepare` a command of its own although it is the only one."""


@cli.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.", metavar="DIR")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files or folders (default: Python's own source and documentation)."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Instead, what the `datasets` library names so, or a folder.", metavar="NAME"),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which split of --dataset.")] = "train",
    column: Annotated[str, typer.Option("--column", help="Which column of --dataset has the text.")] = "text",
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="A tokenizers JSON file (default: bytes).", metavar="FILE")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            "--max-bytes",
            help="Most text to take, like 300000 or 40GB (default: all of named files; else 8 MiB).",
            metavar="SIZE",
        ),
    ] = None,
    shard_tokens: Annotated[
        int | None,
        typer.Option("--shard-tokens", min=1, help="Tokens of one shard (default: 1 Mi; more where text is much)."),
    ] = None,
    heldout_bps: Annotated[
        int,
        typer.Option(
            "--heldout-bps", min=0, max=10_000, help="Part held out for evaluation, in hundredths of a percent."
        ),
    ] = 500,
    publish: Annotated[bool, typer.Option("--publish", help="Also put everything into the content store.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn text into hashed shards with a manifest, the same for the same text everywhere."""
    from trainer import data, streams
    from trainer.preparation import prepare as prepare_text

    if dataset is not None and sources:
        raise UsageError("The text comes from two places", "--dataset and files are both named", "name one of them")
    stream = None if dataset is None else streams.documents(dataset, split, column)
    session = Session({"store": store}, config=config, as_json=as_json)
    with session.output.progress() as report:
        done = prepare_text(
            sources or None,
            out,
            stream=stream,
            tokenizer=tokenizer,
            max_bytes=None if max_bytes is None else _bytes(max_bytes),
            shard_tokens=shard_tokens,
            heldout_bps=heldout_bps,
            told=report,
        )
        cid = str(data.publish(session.own_store, out, report)) if publish else None
    manifest, taken, left = done.manifest, done.taken, done.left
    body = {
        "folder": str(out),
        "manifest_sha256": manifest.sha256,
        "manifest_cid": cid,
        "documents": taken.documents,
        "bytes": taken.bytes,
        "train_tokens": manifest.train.tokens,
        "heldout_tokens": manifest.heldout.tokens,
        "left_out_documents": left.documents,
        "ended": done.ended,
    }
    session.output.result(body, title="The data is prepared.")
    if left.documents or not done.ended:
        more = f"{left.documents} documents ({show_size(left.bytes)}) more" if left.documents else "More text"
        session.output.note(f"{more} was there and is left out: --max-bytes says how much to take.")
    held, whole = manifest.heldout.tokens, manifest.train.tokens + manifest.heldout.tokens
    if 0 < heldout_bps < 10_000 and not heldout_bps / 1.5 <= 10_000 * held / whole <= 1.5 * heldout_bps:
        session.output.note(
            f"{100 * held / whole:.2g} % is held out, not {heldout_bps / 100:g} %: documents are held out as a whole,"
            " and these are few or of unlike lengths."
        )


def _bytes(text: str) -> int:
    """Bytes out of a number alone, or a size. Raises UsageError."""
    return int(text) if text.isascii() and text.isdigit() and int(text) else parse_size(text)

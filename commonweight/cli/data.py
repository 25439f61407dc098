"""`commonweight data`: turn text into hashed shards with a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.options import ConfigOption, JsonOption, StoreOption
from commonweight.cli.session import Session
from commonweight.errors import UsageError

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
    max_bytes: Annotated[int, typer.Option("--max-bytes", min=1, help="Most text to take.")] = 8 << 20,
    shard_tokens: Annotated[int, typer.Option("--shard-tokens", min=1, help="Tokens of one shard.")] = 1 << 20,
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
    import hashlib

    from trainer import data, streams

    if dataset is not None and sources:
        raise UsageError("The text comes from two places", "--dataset and files are both named", "name one of them")
    stream = None if dataset is None else streams.documents(dataset, split, column)
    session = Session({"store": store}, config=config, as_json=as_json)
    with session.output.progress() as report:
        report("Preparing shards", 0, 1)
        data.prepare(
            sources or None,
            out,
            stream=stream,
            tokenizer=tokenizer,
            max_bytes=max_bytes,
            shard_tokens=shard_tokens,
            heldout_bps=heldout_bps,
        )
        report("Preparing shards", 1, 1)
        cid = None
        if publish:
            report("Publishing", 0, 1)
            cid = str(data.publish(session.own_store, out))
            report("Publishing", 1, 1)
    digest = "0x" + hashlib.sha256((out / data.MANIFEST).read_bytes()).hexdigest()
    body = {"folder": str(out), "manifest_sha256": digest, "manifest_cid": cid}
    session.output.result(body, title="The data is prepared.")

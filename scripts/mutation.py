"""Mutation testing: does some test fail when a line of a contract is wrong? Run it with `make mutation`.

    python scripts/mutation.py                       every mutant; hours, and it goes on where it was stopped
    python scripts/mutation.py --sample 60 --seed 7  a random sample
    python scripts/mutation.py --unit Campaign       one source
    python scripts/mutation.py --survivors           those that survived when they were last judged
    python scripts/mutation.py --list                print the mutants, run nothing

The killers are the tests of tests/forge. Verdicts are kept in .mutation/results.jsonl. Exit status 1: fewer than 90 %
of the mutants that can be told apart were killed, or one survived that tests/mutation/survivors.toml does not list with
its reason, or that list names one that is gone. docs/analysis.md says how to read a survivor.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import random
import re
import sys
import time
import tomllib
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Lock

from mutants.compiler import ROOT, Bytecodes, CompileError, Compiler, Sources
from mutants.operators import Mutant, mutate
from mutants.record import Judged, Record
from mutants.workshop import FATAL, Workshop, WorkshopError
from rich.console import Console
from rich.table import Table

HOME = ROOT / ".mutation"
LISTED = ROOT / "tests" / "mutation" / "survivors.toml"
WORKERS = 2
THRESHOLD = 0.90
OUTCOMES = ("killed", "survived", "stillborn", "equivalent", "duplicate")
# Random sequences of calls take longest, so they come last.
LAST = re.compile(r"Invariant")


def digest(*parts: str) -> str:
    """A short name for texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@dataclass
class Campaign:
    """One run over some mutants."""

    sources: Sources
    record: Record
    console: Console
    todo: Queue[Mutant]
    total: int
    suites: dict[str, str]  # test contract -> its unit
    originals: dict[str, Bytecodes]  # unit -> what its targets compile to
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    lock: Lock = field(default_factory=Lock)

    def sources_key(self, mutant: Mutant) -> str:
        """Everything that the mutant's bytecode depends on."""
        needed = frozenset[str]().union(*(self.sources.needs[unit] for unit in self.sources.targets(mutant.unit)))
        return digest(mutant.content, *(self.sources.text[unit] for unit in sorted(needed) if unit != mutant.unit))

    def tests_key(self, suite: str | None) -> str:
        """One test contract's sources, or those of all tests."""
        units = [self.suites[suite]] if suite in self.suites else list(self.sources.tests)
        needed = sorted(frozenset[str]().union(*(self.sources.needs[unit] for unit in units)))
        return digest(*(self.sources.text[unit] for unit in needed if unit not in self.sources.mutable))

    def known(self, mutant: Mutant) -> Judged | None:
        """The verdict on a mutant if it still holds."""
        judged = self.record.get(mutant.id)
        if judged is None or judged.sources != self.sources_key(mutant):
            return None
        if judged.outcome in ("stillborn", "equivalent"):
            return judged
        suite = judged.killer.partition(":")[2].partition(".")[0] if judged.outcome == "killed" else None
        return judged if judged.tests == self.tests_key(suite) else None

    def selections(self, unit: str) -> list[list[str]]:
        """Which tests to run in which order: the contract's own, all others, random sequences."""
        stems = {Path(name).stem for name in (unit, *self.sources.targets(unit))}
        own = [suite for suite, place in self.suites.items() if stems & set(re.split(r"[/.]", place))]
        first = [suite for suite in own if not LAST.search(suite)]
        second = [suite for suite in self.suites if suite not in first and not LAST.search(suite)]
        third = [suite for suite in self.suites if LAST.search(suite)]
        return [["--match-contract", f"^({'|'.join(part)})$"] for part in (first, second, third) if part]

    def judge(self, mutant: Mutant, compiler: Compiler, shop: Workshop) -> Judged:
        """Compile a mutant and put it to the tests."""
        began = time.monotonic()
        key = self.sources_key(mutant)
        try:
            targets = self.sources.targets(mutant.unit)
            codes = self.sources.build(compiler, targets, {mutant.unit: mutant.content})
        except CompileError:
            return Judged(mutant.id, key, "stillborn")
        changed = {name: code for name, code in codes.items() if code != self.originals[mutant.unit].get(name)}
        if not changed:
            return Judged(mutant.id, key, "equivalent")
        code = digest(*(f"{name}{code}" for name, code in sorted(changed.items())))
        judged = (other for other in self.record.all() if other.outcome in ("killed", "survived"))
        twin = next((other for other in judged if other.code == code and other.id != mutant.id), None)
        if twin is not None and twin.tests == self.tests_key(_suite(twin)):
            return Judged(mutant.id, key, "duplicate", code, self.tests_key(None), twin.id)
        killer = shop.try_out(changed, self.selections(mutant.unit)).killer
        seconds = round(time.monotonic() - began, 2)
        if killer is None:
            return Judged(mutant.id, key, "survived", code, self.tests_key(None), "", seconds)
        suite = killer.partition(":")[2].partition(".")[0]
        return Judged(mutant.id, key, "killed", code, self.tests_key(suite), killer, seconds)

    def work(self, number: int, base: Workshop) -> None:
        """Judge mutants until none is left."""
        compiler = Compiler()
        shop = base.copy(HOME / f"worker{number}")
        try:
            while True:
                try:
                    mutant = self.todo.get_nowait()
                except Empty:
                    return
                judged = self.judge(mutant, compiler, shop)
                self.record.add(judged)
                self.say(mutant, judged)
        finally:
            compiler.close()

    def say(self, mutant: Mutant, judged: Judged) -> None:
        """One line a mutant; on a terminal those of survivors stay, the others give way to the next."""
        with self.lock:
            self.done += 1
            left_s = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            head = f"{self.done}/{self.total}, {left_s / 60:.0f} min left"
            text = f"{head}  {judged.outcome:10}  {mutant.describe()}"
            if judged.outcome == "survived" or not self.console.is_terminal:
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                self.console.print(text[: self.console.width - 1].ljust(self.console.width - 1), end="\r", markup=False)


def _suite(judged: Judged) -> str | None:
    return judged.killer.partition(":")[2].partition(".")[0] if judged.outcome == "killed" else None


def find_suites(sources: Sources) -> dict[str, str]:
    """Every contract with tests, and the unit it is in."""
    suites: dict[str, str] = {}
    for unit in sources.tests:
        for name in re.findall(r"^contract (\w+)", sources.text[unit], re.MULTILINE):
            if not unit.endswith(".t.sol"):
                continue
            if name in suites:
                raise SystemExit(f"{name} is in {suites[name]} and in {unit}: forge picks tests by contract name")
            suites[name] = unit
    return suites


def prove(campaign: Campaign, base: Workshop, console: Console) -> None:
    """The tests pass on the contracts as they are, and fail on one that cannot be deployed."""
    every = {name: code for codes in campaign.originals.values() for name, code in codes.items()}
    base.expect(every)
    proved = HOME / "proved"
    key = digest(*(f"{unit}\0{text}" for unit, text in sorted(campaign.sources.text.items())), *map(str, sorted(every)))
    if proved.exists() and proved.read_text() == key:
        return
    console.print("Running all tests on the contracts as they are")
    killer = base.test([["--match-contract", f"^({'|'.join(campaign.suites)})$"]]).killer
    if killer is not None:
        raise SystemExit(f"{killer} fails on the contracts as they are: there is nothing to measure by")
    console.print("Making sure that a contract which cannot be deployed is noticed")
    for unit, contract in every:
        if unit in campaign.sources.mutable:
            killer = base.try_out({(unit, contract): FATAL}, campaign.selections(unit)).killer
            if killer is None:
                raise WorkshopError(f"no test notices that {contract} cannot be deployed: none runs what is put there")
    proved.write_text(key)


def summarise(console: Console, mutants: list[Mutant], campaign: Campaign) -> tuple[Counter[str], list[Mutant]]:
    """Print a table by source; returns the totals and the survivors."""
    table = Table("source", "mutants", *OUTCOMES, "score")
    totals: Counter[str] = Counter()
    survivors: list[Mutant] = []
    for unit in campaign.sources.mutable:
        mine = [mutant for mutant in mutants if mutant.unit == unit]
        counts: Counter[str] = Counter()
        for mutant in mine:
            judged = campaign.record.get(mutant.id)
            outcome = judged.outcome if judged else "unknown"
            counts[outcome] += 1
            if outcome == "survived":
                survivors.append(mutant)
        totals.update(counts)
        if mine:
            table.add_row(unit, str(len(mine)), *(str(counts[name]) for name in OUTCOMES), score(counts))
    table.add_row("all", str(len(mutants)), *(str(totals[name]) for name in OUTCOMES), score(totals))
    console.print(table)
    return totals, survivors


def score(counts: Counter[str]) -> str:
    """Killed among those that can be told apart."""
    judged = counts["killed"] + counts["survived"]
    return f"{counts['killed'] / judged:.1%}" if judged else "-"


def verdict(console: Console, totals: Counter[str], survivors: list[Mutant], full: bool) -> int:
    """The exit status, with the reasons for it."""
    listed = {str(entry["id"]) for entry in tomllib.loads(LISTED.read_text()).get("survivor", [])}
    unlisted = [mutant for mutant in survivors if mutant.id not in listed]
    for mutant in unlisted:
        console.print(f"survived, not listed: {mutant.describe()}", markup=False, highlight=False, soft_wrap=True)
    stale = sorted(listed - {mutant.id for mutant in survivors}) if full else []
    for identity in stale:
        console.print(f"listed in {LISTED.relative_to(ROOT)}, but killed or gone: {identity}", highlight=False)
    judged = totals["killed"] + totals["survived"]
    low = judged > 0 and totals["killed"] / judged < THRESHOLD
    if low:
        console.print(f"fewer than {THRESHOLD:.0%} are killed")
    return 1 if unlisted or stale or low else 0


def main() -> int:
    """Run the program; returns the exit status."""
    parser = argparse.ArgumentParser(description="Mutation testing of the contracts.")
    parser.add_argument("--sample", type=int, metavar="N", help="judge N mutants drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--unit", action="append", metavar="NAME", help="only this source, as Campaign; repeatable")
    parser.add_argument("--survivors", action="store_true", help="only those that survived when they were last judged")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    options = parser.parse_args()
    console = Console()
    sources = Sources.load()
    compiler = Compiler()
    trees = sources.trees(compiler)
    mutants = [mutant for unit in sources.mutable for mutant in mutate(unit, sources.text[unit], trees[unit])]
    if options.unit:
        mutants = [mutant for mutant in mutants if Path(mutant.unit).stem in options.unit]
    record = Record(HOME / "results.jsonl")
    if options.survivors:
        last = {mutant.id: record.get(mutant.id) for mutant in mutants}
        mutants = [mutant for mutant in mutants if (judged := last[mutant.id]) and judged.outcome == "survived"]
    if options.sample is not None:
        mutants = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    if options.list:
        for mutant in mutants:
            print(mutant.describe())
        return 0
    if not mutants:
        parser.error("no mutant fits")
    HOME.mkdir(exist_ok=True)
    lock = (HOME / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(f"another run is using {HOME}: wait for it, or stop it") from None
    originals: dict[str, Bytecodes] = {}
    for unit in {mutant.unit: None for mutant in mutants}:
        originals[unit] = sources.build(compiler, sources.targets(unit), {})
    compiler.close()
    campaign = Campaign(sources, record, console, Queue(), 0, find_suites(sources), originals)
    unknown = [mutant for mutant in mutants if campaign.known(mutant) is None]
    console.print(f"{len(mutants)} mutants, {len(mutants) - len(unknown)} of them judged before")
    if unknown:
        console.print("Building contracts and tests; a first time takes minutes")
        base = Workshop.make(HOME / "base")
        prove(campaign, base, console)
        for mutant in unknown:
            campaign.todo.put(mutant)
        campaign.total, campaign.started = len(unknown), time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(campaign.work, number, base) for number in range(WORKERS)]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            finally:
                campaign.todo.queue.clear()
    totals, survivors = summarise(console, mutants, campaign)
    full = options.sample is None and not options.unit and not options.survivors
    return verdict(console, totals, survivors, full)


if __name__ == "__main__":
    sys.exit(main())

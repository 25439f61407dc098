"""What an audit finds: checks by name, each ok, refuted or unavailable, and the one verdict that follows from them."""

from dataclasses import dataclass, field

from commonweight.errors import ChainError, CommonweightError, ContractError

OK, REFUTED, UNAVAILABLE = "ok", "refuted", "unavailable"
VERIFIED, INCOMPLETE = "verified", "incomplete"
_EXIT_CODES = {VERIFIED: 0, REFUTED: 1, INCOMPLETE: 3}
INCOMPLETE_EXIT = 3
_SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One check: its name, what of the run it looked at ("" for the whole), verdict, and what was found."""

    name: str
    subject: str
    verdict: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """The check as JSON."""
        return {"name": self.name, "subject": self.subject, "verdict": self.verdict, "detail": self.detail}


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit: what holds up to block `block` of chain `chain_id`."""

    audit: str
    run: str
    chain_id: int
    block: int
    block_hash: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """refuted if any check is, incomplete if anything could not be had, else verified."""
        verdicts = {check.verdict for check in self.checks}
        if REFUTED in verdicts:
            return REFUTED
        return INCOMPLETE if UNAVAILABLE in verdicts or not self.checks else VERIFIED

    @property
    def exit_code(self) -> int:
        """0 verified, 1 refuted, 3 incomplete."""
        return _EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "audit": self.audit,
            "run": self.run,
            "chain_id": self.chain_id,
            "block": self.block,
            "block_hash": self.block_hash,
            "verdict": self.verdict,
            "checks": [check.to_json() for check in self.checks],
        }


@dataclass
class _Tally:
    passed: int = 0
    refuted: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Findings:
    """Gathers single expectations into checks by name and subject, in the order in which these first came up."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def expect(self, name: str, right: bool, problem: str, subject: str = "") -> bool:
        """Count a statement that has to be true; `problem` says what is wrong when it is not."""
        tally = self._tally(name, subject)
        if right:
            tally.passed += 1
        else:
            tally.refuted.append(problem)
        return right

    def equal(self, name: str, what: str, found: object, expected: object, subject: str = "") -> bool:
        """Count an equality between what was found and what has to be."""
        problem = f"{what} is {_shown(found)}, and has to be {_shown(expected)}"
        return self.expect(name, found == expected, problem, subject)

    def unavailable(self, name: str, what: str, subject: str = "") -> None:
        """Something that the check needs could not be had."""
        self._tally(name, subject).unavailable.append(what)

    def note(self, name: str, text: str, subject: str = "") -> None:
        """Something worth knowing that refutes nothing."""
        self._tally(name, subject).notes.append(text)

    def seen(self, name: str, subject: str = "") -> None:
        """Make a check appear even if nothing comes up for it."""
        self._tally(name, subject)

    def checking(self, name: str, subject: str = "") -> "Checking":
        """A context in which errors become the check's verdict: what is missing unavailable, what is wrong refuted."""
        self.seen(name, subject)
        return Checking(self, name, subject)

    def failed(self, name: str, problem: CommonweightError, subject: str = "") -> None:
        """Book an error: missing content, an unreachable chain or store is unavailable, anything else refuted."""
        chain = isinstance(problem, ChainError) and not isinstance(problem, ContractError)
        if chain or problem.exit_code == INCOMPLETE_EXIT:
            self.unavailable(name, str(problem), subject)
        else:
            self.expect(name, False, str(problem), subject)

    def adopt(self, others: "Findings", name: str) -> None:
        """Take over the checks of one name."""
        self._tallies.update({key: tally for key, tally in others._tallies.items() if key[0] == name})

    def checks(self) -> tuple[Check, ...]:
        """All checks so far."""
        return tuple(_check(name, subject, tally) for (name, subject), tally in self._tallies.items())

    def _tally(self, name: str, subject: str) -> _Tally:
        return self._tallies.setdefault((name, subject), _Tally())


class Checking:
    """See `Findings.checking`."""

    def __init__(self, findings: Findings, name: str, subject: str) -> None:
        self._findings = findings
        self._name = name
        self._subject = subject

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> bool:
        if not isinstance(problem, CommonweightError):
            return False
        self._findings.failed(self._name, problem, self._subject)
        return True


def _check(name: str, subject: str, tally: _Tally) -> Check:
    if tally.refuted:
        return Check(name, subject, REFUTED, _listed(tally.refuted))
    if tally.unavailable:
        return Check(name, subject, UNAVAILABLE, _listed(tally.unavailable))
    counted = f"{tally.passed} checked" if tally.passed else "nothing to check"
    return Check(name, subject, OK, "; ".join([counted, *tally.notes[:_SHOWN]]))


def _listed(problems: list[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problem.rstrip(".") for problem in problems[:_SHOWN]) + more


def _shown(value: object) -> str:
    text = "0x" + value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 200 else text[:200] + "…"

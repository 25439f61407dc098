"""The one exception tree of the project.

Every error that a user can see says what happened, why, and what to do about it. The command line prints `str(error)`
and ends with `error.exit_code`: 1 refused or refuted, 2 wrong usage, 3 incomplete (something could not be had), 70 a
fault of the program, which says nothing about what was asked.
"""

# Names say what happened; a suffix on each of them would say nothing more.
# ruff: noqa: N818


class CommonweightError(Exception):
    """Base of all errors: `what` happened, `why`, and how to `fix` it: plain sentences without secrets."""

    exit_code: int = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        sentences = [self.what, f"Why: {self.why}" if self.why else "", f"What to do: {self.fix}" if self.fix else ""]
        return " ".join(s if s.endswith((".", "!", "?")) else s + "." for s in sentences if s)

    def to_json(self) -> dict[str, str]:
        """The error as the object that `--json` commands print: error (class name), what, why, fix."""
        return {"error": type(self).__name__, "what": self.what, "why": self.why, "fix": self.fix}


class UsageError(CommonweightError):
    """A command was called in a way that cannot work."""

    exit_code = 2


class Fault(CommonweightError):
    """The program failed in a way that nobody foresaw."""

    exit_code = 70  # EX_SOFTWARE of sysexits.h


class ConfigError(CommonweightError):
    """A setting or a run configuration is wrong."""

    exit_code = 2


# --- formats (commonweight.protocol) ---------------------------------------------------------------------------------


class FormatError(CommonweightError):
    """Data does not have the form that docs/protocol.md gives it."""


class CanonicalJsonError(FormatError):
    """Text is not canonical JSON (RFC 8785), or holds what our schemas never hold: floats, duplicate keys."""


class SignatureError(FormatError):
    """A signature is malformed, malleable, or not by the expected key."""


class ProofError(FormatError):
    """A Merkle or sum-tree proof does not lead to the root."""


class TreeError(FormatError):
    """A credit tree cannot be built from these leaves."""


class RuleBroken(FormatError):
    """A document breaks a rule of the round protocol; `rule` is its slug, as records and offences name it."""

    def __init__(self, rule: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.rule = rule
        self.args = (rule, what, why, fix)


class OffenceError(FormatError):
    """An offence document does not prove what it claims."""


# --- exact arithmetic (commonweight.exact) ---------------------------------------------------------------------------


class PayloadError(FormatError):
    """An encoded part is refused: wrong length, not finite, out of bounds, or not what was committed to."""


class ReplayMismatch(CommonweightError):
    """A recomputation differs from what was claimed."""


class InexactArithmetic(CommonweightError):
    """This thread's floating-point mode would give other bits than everybody else's: no peer is to blame."""


# --- content store (commonweight.store) ------------------------------------------------------------------------------


class StoreError(CommonweightError):
    """The content store failed."""


class ContentUnavailable(StoreError):
    """A named file cannot be had from any source."""

    exit_code = 3


class DamagedBlock(ContentUnavailable):
    """A place holds other bytes under a block's name. That says something of the place and nothing of what was
    published: an audit calls the content unavailable, and any other place may have it.
    """


class ContentMismatch(StoreError):
    """What a CID names is not what was announced under it: another sha256, or a tree that is no file, or no directory
    that can be read.
    """


# --- transport (commonweight.net) ------------------------------------------------------------------------------------


class PeerError(CommonweightError):
    """A peer could not be reached, or did not behave."""


class PeerUnreachable(PeerError):
    """No connection to a peer could be made, or it was lost."""

    exit_code = 3


class PeerTimeout(PeerError):
    """A peer did not answer in time."""

    exit_code = 3


class AuthenticationError(PeerError):
    """The other side did not prove that it holds the expected key."""


class FrameTooLarge(PeerError):
    """A frame announces more bytes than its method allows."""


class ProtocolViolation(PeerError):
    """A peer sent bytes that are not frames of this protocol."""


class PeerRefused(PeerError):
    """A peer answered with a refusal; `code` is its machine-readable reason."""

    def __init__(self, code: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.code = code
        self.args = (code, what, why, fix)


# --- chain (commonweight.chain) --------------------------------------------------------------------------------------


class ChainError(CommonweightError):
    """The chain refused a call, or gave an answer that cannot be right."""


class RpcUnavailable(ChainError):
    """No RPC endpoint answers."""

    exit_code = 3


class NodeFailed(ChainError):
    """A node lacks what it was asked for, refuses to give it for reasons of its own, or gives what cannot be read."""

    exit_code = 3


class ContractError(ChainError):
    """A contract reverted with one of its own errors; `name` is the error's name in the contract."""

    def __init__(self, name: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.name = name
        self.args = (name, what, why, fix)


class WrongChain(ChainError):
    """An endpoint serves another chain than the one that is wanted."""

    exit_code = 2


class InsufficientFunds(ChainError):
    """An account cannot pay for a transaction and its gas."""


class TransactionStuck(ChainError):
    """A transaction was sent and is not mined in time; it may still be mined later."""

    exit_code = 3


class KeystoreError(CommonweightError):
    """A keystore cannot be read, written or opened."""


# --- roles -----------------------------------------------------------------------------------------------------------


class RanksLost(CommonweightError):
    """A process of a member that has several is gone or hangs; the member cannot go on."""


class DeviceFull(CommonweightError):
    """The device that is computed on has no memory left, which may pass; nothing is known of what was computed."""


class DeviceLost(CommonweightError):
    """The device that is computed on has failed; this process cannot use it any more."""


class TrainingError(CommonweightError):
    """Training cannot go on."""


class Dismissed(TrainingError):
    """The registry ends a process's part in a run; `reason` is the status file's word: `banned` or `replaced`."""

    def __init__(self, reason: str, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.reason = reason


class DataError(TrainingError):
    """A data shard or manifest is missing, altered or too small."""


class OracleError(CommonweightError):
    """The oracle service cannot go on."""


class InferenceError(CommonweightError):
    """A model cannot be served, or a request cannot be answered."""


class AlreadyServing(InferenceError):
    """A running server has the key or the ledger that is asked for."""


class ServerUnreachable(InferenceError):
    """No connection to an inference server could be made, or it was lost."""

    exit_code = 3


class PaymentError(InferenceError):
    """A voucher or channel does not cover what is asked."""


class PaymentRefused(PaymentError):
    """A server refused a payment; `code` is its machine-readable reason (`protocol.x402.Reason` or the server's)."""

    def __init__(self, code: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.code = code
        self.args = (code, what, why, fix)


class TooExpensive(PaymentError):
    """A request can cost more than its asker allows for one."""


class BudgetReached(PaymentError):
    """A request can cost more than is left of what a process may spend."""


class ChannelDry(PaymentError):
    """A channel does not hold what a request can cost."""


class Dishonest(PaymentError):
    """What a server signed, charged or settled is not what was agreed: it is paid no more."""


class RequestRefused(InferenceError):
    """A server does not answer a request as it is; `status` is HTTP's, `code` and `field` are the server's own."""

    def __init__(self, status: int, code: str, field: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.status = status
        self.code = code
        self.field = field
        self.args = (status, code, field, what, why, fix)


# --- audit -----------------------------------------------------------------------------------------------------------


class Refuted(CommonweightError):
    """The auditor found something that is not as claimed."""


class Incomplete(CommonweightError):
    """The auditor could not get everything that it needs for a verdict."""

    exit_code = 3

"""Is the code on chain the code of this project, and are the parameters the ones the run was created with?

Each of a run's contracts is an EIP-1167 clone: 45 bytes that delegate to one address for ever. Clone, implementation
and factory are compared byte for byte with `commonweight/abi`, immutables left out; the factory is found by its own
event.
"""

import json
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from commonweight.audit.findings import Findings
from commonweight.chain.contracts import Factory
from commonweight.chain.deploy import IMPLEMENTATIONS
from commonweight.chain.events import RunCreated, decode_event, topic_of
from commonweight.chain.run import Run
from commonweight.chain.types import Block
from commonweight.errors import Incomplete
from commonweight.protocol.fields import address_bytes

CODE, PARAMETERS = "deployment-code", "deployment-parameters"
_CLONE_START = bytes.fromhex("363d3d373d3d3d363d73")
_CLONE_END = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")


@dataclass(frozen=True)
class _Artifact:
    code: bytes
    masked: tuple[tuple[int, int], ...]

    def matches(self, code: bytes) -> bool:
        """Whether deployed code is this artifact's, whatever its immutables hold."""
        return len(code) == len(self.code) and self._mask(code) == self._mask(self.code)

    def _mask(self, code: bytes) -> bytes:
        out = bytearray(code)
        for start, length in self.masked:
            out[start : start + length] = bytes(length)
        return bytes(out)


@cache
def _artifact(name: str) -> _Artifact:
    body = json.loads((resources.files("commonweight.abi") / f"{name}.json").read_text())
    places = [place for group in body["immutableReferences"].values() for place in group]
    masked = tuple((int(place["start"]), int(place["length"])) for place in places)
    return _Artifact(bytes.fromhex(str(body["deployedBytecode"]).removeprefix("0x")), masked)


def clone_code(implementation: str) -> bytes:
    """The code of an EIP-1167 clone of an implementation."""
    return _CLONE_START + address_bytes(implementation) + _CLONE_END


def check_deployment(run: Run, block: Block, findings: Findings) -> None:
    """Compare code and parameters with what they have to be, at a block."""
    created = _creation(run, block)
    if created is None:
        findings.expect(CODE, False, "no factory of this project's code created this run")
        return
    factory = Factory(run.chain, created.address)
    targets = factory.implementations(block=block.number)
    for field in fields(targets):
        contract = IMPLEMENTATIONS[field.name]
        target, clone = str(getattr(targets, field.name)), str(getattr(run.addresses, field.name))
        code = run.chain.code(clone, block.number)
        findings.equal(CODE, f"the code of {contract} at {clone}", code, clone_code(target))
        same = _artifact(contract).matches(run.chain.code(target, block.number))
        findings.expect(CODE, same, f"the implementation of {contract} at {target} is not this project's code")
    findings.expect(CODE, factory.is_run(run.address, block=block.number), "the factory does not know the run")
    findings.equal(PARAMETERS, "the campaign's list of contracts", run.addresses, created.addresses)
    for parameter in fields(created.params):
        found, expected = getattr(run.params, parameter.name), getattr(created.params, parameter.name)
        findings.equal(PARAMETERS, f"parameter {parameter.name}", found, expected)


def _creation(run: Run, block: Block) -> RunCreated | None:
    """The event of the factory that created the run; None when no contract of the factory's code emitted it.

    Anyone can emit an event that looks so, therefore the emitter's code decides.
    """
    topics = [[topic_of(RunCreated)], [bytes(12) + address_bytes(run.address)]]
    first = run.first_block
    if first > block.number:
        raise Incomplete("The run is newer than the block of this audit", f"it was created in block {first}")
    for log in run.chain.logs([], topics, first, min(block.number, first) if first else block.number):
        if _artifact("RunFactory").matches(run.chain.code(log.address, block.number)):
            return decode_event(RunCreated, log)
    return None

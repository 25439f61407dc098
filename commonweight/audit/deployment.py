"""Is the code on chain the code of this project, and are the parameters the ones the run was created with?

Each of a run's contracts is an EIP-1167 clone: 45 bytes that delegate to one address for ever, then its constants.
Clone, implementation and factory are compared byte for byte with `commonweight/abi`, immutables left out; the factory
is found by its own event.
"""

from dataclasses import fields

from commonweight.audit.findings import Findings
from commonweight.chain.abi import interface
from commonweight.chain.contracts import Factory
from commonweight.chain.deploy import IMPLEMENTATIONS, artifact
from commonweight.chain.events import RunCreated, decode_event, topic_of
from commonweight.chain.run import Run
from commonweight.chain.structs import RunAddresses, RunParams
from commonweight.chain.types import Block
from commonweight.errors import Incomplete
from commonweight.protocol.fields import address_bytes

CODE, PARAMETERS = "deployment-code", "deployment-parameters"
_CLONE_START = bytes.fromhex("363d3d373d3d3d363d73")
_CLONE_END = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")


def clone_code(implementation: str, constants: bytes) -> bytes:
    """The code of an EIP-1167 clone of an implementation, with the constants that it carries."""
    return _CLONE_START + address_bytes(implementation) + _CLONE_END + constants


def run_constants(params: RunParams, addresses: RunAddresses) -> bytes:
    """What every clone of a run carries in its code, 442 bytes big-endian as contracts/libraries/RunConstants.sol lays
    them out.
    """
    parts = (params.asset, *(getattr(addresses, field.name) for field in fields(addresses)))
    amounts = (
        params.goal, params.cap, params.wage_per_credit, params.provider_stake, params.signer_bond,
        params.challenge_bond, params.dispute_bond,
    )  # fmt: skip
    shares = (params.capital_bps, params.oracle_bps, params.server_bps)
    numbers = (
        params.deposit_deadline, params.epoch_start, params.epoch_length, params.last_epoch, params.tail_epochs,
        params.report_span, params.attempt_length, params.challenge_window, params.answer_time, params.dispute_period,
        params.anchor_window, params.rotation_delay, params.withdrawal_delay, params.max_credits_per_epoch,
    )  # fmt: skip
    return b"".join(
        (
            *(address_bytes(part) for part in parts),
            *(amount.to_bytes(16, "big") for amount in amounts),
            *(share.to_bytes(2, "big") for share in shares),
            *(number.to_bytes(8, "big") for number in numbers),
            params.config_sha256,
        )
    )


def encoded_params(params: RunParams) -> bytes:
    """The ABI encoding of all parameters, which the campaign's code carries after the constants."""
    return interface("RunFactory").function("createRun", 1).encode([params])[4:]


def check_deployment(run: Run, block: Block, findings: Findings) -> None:
    """Compare code and parameters with what they have to be, at a block."""
    created = _creation(run, block)
    if created is None:
        findings.expect(CODE, False, "no factory of this project's code created this run")
        return
    factory = Factory(run.chain, created.address)
    targets = factory.implementations(block=block.number)
    constants = run_constants(created.params, created.addresses)
    for field in fields(targets):
        contract = IMPLEMENTATIONS[field.name]
        target, clone = str(getattr(targets, field.name)), str(getattr(run.addresses, field.name))
        code = run.chain.code(clone, block.number)
        carried = constants + encoded_params(created.params) if contract == "Campaign" else constants
        findings.equal(CODE, f"the code of {contract} at {clone}", code, clone_code(target, carried))
        same = artifact(contract).matches(run.chain.code(target, block.number))
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
        if artifact("RunFactory").matches(run.chain.code(log.address, block.number)):
            return decode_event(RunCreated, log)
    return None

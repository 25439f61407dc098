"""The parameters of a small run, for the tests that talk to the contracts through Brownie and Ape.

Plain values in the contracts' own names, so that each framework can order them by the ABI it compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ETHER = 10**18
DEPOSIT_S = 3600
# In the order of the factory's constructor: one implementation for each part of a run.
PARTS = {
    "campaign": "Campaign",
    "registry": "ProviderRegistry",
    "oracle": "CreditOracle",
    "ledger": "CreditLedger",
    "checkpoints": "CheckpointRegistry",
    "distributor": "RevenueDistributor",
    "payments": "InferencePayments",
    "disputes": "Disputes",
}


def run_parameters(
    now: int, signers: Sequence[str], transmitters: Sequence[str], **changes: object
) -> dict[str, object]:
    """A valid run in ETH with goal 5 and cap 10 ether, deposits open for an hour from `now` (Unix seconds)."""
    paired = sorted(zip(signers, transmitters, strict=True), key=lambda pair: int(pair[0], 16))
    return {
        "asset": "0x0000000000000000000000000000000000000000",
        "goal": 5 * ETHER,
        "cap": 10 * ETHER,
        "depositDeadline": now + DEPOSIT_S,
        "capitalBps": 6000,
        "wagePerCredit": 10**9,
        "oracleBps": 500,
        "serverBps": 1000,
        "epochStart": now + DEPOSIT_S,
        "epochLength": 3600,
        "lastEpoch": 3,
        "tailEpochs": 2,
        "reportSpan": 600,
        "attemptLength": 120,
        "challengeWindow": 300,
        "answerTime": 60,
        "disputePeriod": 7200,
        "anchorWindow": 60,
        "rotationDelay": 3600,
        "withdrawalDelay": 3600,
        "maxCreditsPerEpoch": 10**12,
        "anchorEvery": 1,
        "evidenceRetention": 30 * 24 * 3600,
        "providerStake": ETHER // 10,
        "signerBond": ETHER,
        "challengeBond": ETHER // 10,
        "disputeBond": ETHER // 10,
        "quorum": 2,
        "signers": [signer for signer, _ in paired],
        "transmitters": [transmitter for _, transmitter in paired],
        "configSha256": "0x" + "11" * 32,
        "configCid": "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am",
        "name": "nano",
        "dataLicence": "PSF-2.0",
        "weightsLicence": "Apache-2.0",
        "milestones": [
            {"deadlineEpoch": 3, "minCredits": 0, "maxLossMicro": 2**64 - 1, "trancheBps": 5000},
            {"deadlineEpoch": 2, "minCredits": 1000, "maxLossMicro": 3_000_000, "trancheBps": 5000},
        ],
        **changes,
    }


def as_tuple(components: Sequence[Mapping[str, object]], values: Mapping[str, object]) -> tuple[object, ...]:
    """`values` as a tuple in the order of an ABI tuple's `components`; every name must be there, and no other."""
    names = [str(component["name"]) for component in components]
    assert set(names) == set(values), f"the ABI has {sorted(set(names) ^ set(values))} on one side only"
    return tuple(_ordered(component, values[str(component["name"])]) for component in components)


def _ordered(component: Mapping[str, object], value: object) -> object:
    inner = component.get("components")
    if not inner:
        return value
    if isinstance(value, list):
        return [as_tuple(inner, item) for item in value]  # type: ignore[arg-type]
    return as_tuple(inner, value)  # type: ignore[arg-type]

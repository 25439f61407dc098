"""A whole run in one process: real chain, real contracts, real documents, payloads, checkpoints and evidence.

Only the training is not real: what it does to the weights is drawn from a hash. Three funders, four providers, three
signers, two epochs of two rounds each, users that pay, and everybody claims. The chain's clock is turned, so nothing
waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from commonweight.chain.keys import Key
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.run import Run
from commonweight.chain.structs import Milestone, VoucherClaim
from commonweight.chain.types import Block
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint, make_manifest
from commonweight.exact.layout import Layout
from commonweight.exact.payload import Payload, make_payload
from commonweight.exact.round import apply_parts, reduce_part
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.attested import Attested, attests
from commonweight.protocol.canonical import dumps
from commonweight.protocol.contribution import PrivateScores, Scores, judge, score_draws
from commonweight.protocol.credits import EpochCredits
from commonweight.protocol.data import data_seed
from commonweight.protocol.documents import Signed, Voucher
from commonweight.protocol.evidence import AnchoredRoot, Evaluation, Evidence, RoundFiles, measured_links
from commonweight.protocol.evidence_check import Facts, Seed, credits_of, draws_of, leaves_of, standing_of
from commonweight.protocol.fields import digest_bytes, digest_over, hex32
from commonweight.protocol.keys import address_of
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.offices import Offices
from commonweight.protocol.outcome_documents import Manifest
from commonweight.protocol.records import (
    Commitment,
    Counted,
    LeftOut,
    Link,
    Plan,
    PlanMember,
    Receipt,
    Record,
    Result,
    Segment,
    Verdict,
    sign_body,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.standing import Final, Standing, exposure
from commonweight.store import FolderStore
from tests.chain.scenario import ETHER, KEYS, SIGNERS, World, make_world
from tests.golden.golden_round import config_json, member_key, wander

PROVIDERS = (1, 2, 3, 4)
FUNDERS = (0, 8, 9)
SERVER, USERS = 0, (8, 9)
ROUNDS_PER_EPOCH = 2
OFFICES = Offices(((0, tuple(key.address.lower() for key in SIGNERS)),))
Tamper = Callable[[Evidence], Evidence]


@dataclass
class Staged:
    """A run under way. `base` is the last checkpoint with its manifest's digest and its directory."""

    world: World
    store: FolderStore
    config: RunConfig
    layout: Layout
    checkpoint: Checkpoint
    base: str
    base_cid: str
    previous_record: str | None = None
    rounds: dict[int, dict[int, RoundFiles]] = field(default_factory=dict)
    anchors: dict[int, list[AnchoredRoot]] = field(default_factory=dict)
    last_counted: dict[int, tuple[str, State, F32]] = field(default_factory=dict)
    next_data: int = 0
    missing: tuple[int, ...] = ()
    unpublished: bytes | None = None
    standings: dict[int, Standing] = field(default_factory=dict)
    coordinator: Key = SIGNERS[0]
    attested: Attested | None = None

    @property
    def run(self) -> Run:
        return self.world.run

    @property
    def campaign(self) -> str:
        return self.run.address.lower()

    # --- one round ---------------------------------------------------------------------------------------------------

    def play_round(self, epoch: int, number: int, recorded: bool = True) -> None:
        """Plan, train, commit, anchor, reduce, record, and check a round of an epoch; or leave it after the anchor."""
        place = number - epoch * ROUNDS_PER_EPOCH
        deadline = self.run.params.epoch_start + epoch * self.run.params.epoch_length + 600 * place
        plan_body = self._plan(epoch, number, deadline)
        plan = sign_body(plan_body, self.coordinator.private_key, self.run.oracle.domain())
        work = {i: self._work(plan_body, plan.digest, i) for i in plan_body.indices if i not in self.missing}
        commitments = {i: sign_body(body, member_key(i), self.run.oracle.domain()) for i, (body, _, _) in work.items()}
        digests = tuple(sorted(signed.digest for signed in commitments.values()))
        root = anchor_root([digest_bytes(digest) for digest in digests])
        self.world.warp(deadline + 1)
        anchorer = self.world.by(5).oracle
        anchorer.anchor_round(number, deadline, root, 0, bytes(32))
        if self.unpublished is not None:
            self.world.by(6).oracle.anchor_round(number, deadline, self.unpublished, 0, bytes(32))
        self.world.warp(deadline + self.run.params.anchor_window + 2)
        self.world.warp(deadline + self.run.params.anchor_window + 3)
        if not recorded:
            return
        files = self._finish(plan_body, plan, work, commitments)
        self.rounds.setdefault(epoch, {})[number] = files
        self.anchors.setdefault(epoch, []).append(AnchoredRoot(number, deadline, hex32(root), digests))
        now = self.run.chain.timestamp()
        anchorer.anchor_round(number, now - 1, bytes(32), number, digest_bytes(files.record.digest))
        self.previous_record = files.record.digest

    def _plan(self, epoch: int, number: int, deadline: int) -> Plan:
        training = self.config.training
        members = tuple(
            PlanMember(index, training.h - index, self.next_data + place * training.h * training.batch)
            for place, index in enumerate(range(len(PROVIDERS)))
        )
        self.next_data += len(members) * training.h * training.batch
        anchor_by = (deadline + self.run.params.anchor_window) * 1000
        return Plan(
            self.campaign,
            number,
            epoch,
            self.base,
            self.base_cid,
            self.config.sha256,
            data_seed(self.config.genesis_seed_bytes),
            members,
            training.h,
            training.overlap,
            training.codec,
            1,
            training.block,
            3,
            (0, 1, 2),
            (1, 2, 3),
            training.min_members,
            deadline * 1000,
            anchor_by,
            anchor_by + 5000,
            anchor_by + 9000,
            self.previous_record,
        )

    def _work(self, plan: Plan, plan_digest: str, index: int) -> tuple[Commitment, Payload, State]:
        weights, steps, every = self.checkpoint.weights, plan.member(index).steps, self.config.training.trace_every
        previous = self.last_counted.get(index)
        first = State.fresh(weights)
        if previous is not None:
            last, residual = previous[1], previous[2]
            first = State(last.step, weights, last.m, last.v, residual)
        moved = wander(f"round {plan.round} member {index}", weights.size, 1e-2) + wander("common", weights.size, 1e-2)
        states = [first]
        for done in [*range(every, steps, every), steps]:
            share = np.float32(done / steps)
            states.append(
                State(first.step + done, weights - moved * share, moved * share, moved * moved, first.residual)
            )
        payload = make_payload(weights, states[-1].weights, first.residual, plan.parts, plan.codec, plan.block, True)
        builder = TraceBuilder(previous[0] if previous else None)
        for state in states:
            builder.add(state.digests)
        trace = builder.finish(payload.digests, payload.new_residual_digest)
        tokens = self.config.tokens(steps)
        body = Commitment(
            self.campaign,
            plan.round,
            plan_digest,
            index,
            plan.base,
            steps,
            tokens,
            payload.committed,
            payload.size,
            trace,
        )
        return body, payload, states[-1]

    def _finish(
        self,
        plan: Plan,
        signed_plan: Signed,
        work: Mapping[int, tuple[Commitment, Payload, State]],
        commitments: Mapping[int, Signed],
    ) -> RoundFiles:
        domain, signer = self.run.oracle.domain(), self.coordinator
        receipts = tuple(
            (
                signer.address.lower(),
                sign_body(
                    Receipt(self.campaign, plan.round, commitments[i].digest, i, plan.commit_by_ms - 10),
                    signer.private_key,
                    domain,
                ),
            )
            for i in work
        )
        weights = {i: body.tokens for i, (body, _, _) in work.items()}
        reduced = [
            reduce_part(
                self.config,
                plan,
                self.layout.numel,
                p,
                {i: payload.parts[p] for i, (_, payload, _) in work.items()},
                weights,
            )
            for p in range(plan.parts)
        ]
        results = [
            Result(
                self.campaign,
                plan.round,
                signed_plan.digest,
                p,
                plan.reducers[p],
                tuple(work),
                digest_over(commitments[i].digest for i in work),
                reduced[p].digest,
                tuple(Link(i, 400, 100 + 10 * i, 40_000 + 10_000 * i) for i in work if i != plan.reducers[p]),
            )
            for p in range(plan.parts)
        ]
        after = apply_parts(self.config, self.checkpoint, [part.x for part in reduced])
        manifest, cid = publish(self, after, plan.round, self.base, signed_plan.digest)
        counted = tuple(
            Counted(
                i,
                commitments[i].digest,
                body.steps,
                body.tokens,
                body.payload,
                self.store.put(b"".join(payload.parts)),
            )
            for i, (body, payload, _) in work.items()
        )
        record = Record(
            self.campaign,
            plan.round,
            plan.epoch,
            signed_plan.digest,
            self.base,
            counted,
            (),
            tuple(LeftOut(i, None, "no-commitment", None) for i in plan.indices if i not in work),
            tuple(part.digest for part in reduced),
            manifest.sha256,
            cid,
            measured_links(results, set(work)),
        )
        files = RoundFiles(
            signed_plan,
            sign_body(record, signer.private_key, domain),
            tuple(commitments.values()),
            receipts,
            tuple(sign_body(result, member_key(result.reducer), domain) for result in results),
            self._verdicts(plan, record, work, commitments),
            manifest.to_bytes(),
        )
        self.checkpoint, self.base, self.base_cid = after, manifest.sha256, cid
        for i, (_, payload, last) in work.items():
            self.last_counted[i] = (commitments[i].digest, last, payload.new_residual)
        return files

    def _verdicts(
        self,
        plan: Plan,
        record: Record,
        work: Mapping[int, tuple[Commitment, Payload, State]],
        commitments: Mapping[int, Signed],
    ) -> tuple[Signed, ...]:
        block = self.run.chain.first_block_after(plan.anchor_by_ms // 1000, finalized=False)
        assert block is not None
        bodies = {commitments[i].digest: body for i, (body, _, _) in work.items()}
        scored = self._scores(plan, record, work, commitments, block)
        drawn = draws_of(
            plan, bodies, Seed(block.number, block.hash), self.config, OFFICES, self.standing_at(block.number)
        )
        return (
            tuple(
                sign_body(
                    Verdict(
                        self.campaign,
                        plan.epoch,
                        plan.round,
                        draw.index,
                        commitments[draw.index].digest,
                        SIGNERS[draw.position].address.lower(),
                        "replay",
                        Segment(draw.segment, draw.segment + 1),
                        "pass",
                        True,
                        0.0,
                        1.0,
                        (),
                        block.number,
                        hex32(block.hash),
                        "",
                    ),
                    SIGNERS[draw.position].private_key,
                    self.run.oracle.domain(),
                )
                for draw in drawn
            )
            + scored
        )

    def _scores(
        self,
        plan: Plan,
        record: Record,
        work: Mapping[int, tuple[Commitment, Payload, State]],
        commitments: Mapping[int, Signed],
        block: Block,
    ) -> tuple[Signed, ...]:
        """A verdict on every contribution that is drawn."""
        verdicts = []
        for draw in score_draws(block.hash, record, self.config.verification, len(SIGNERS)):
            scores = self._score(plan, work, draw.index, block.hash)
            reason = judge(scores, self.config.verification)
            body = Verdict(
                self.campaign,
                plan.epoch,
                plan.round,
                draw.index,
                commitments[draw.index].digest,
                SIGNERS[draw.position].address.lower(),
                "contribution",
                None,
                "fail" if reason else "pass",
                False,
                None,
                None,
                scores.named(),
                block.number,
                hex32(block.hash),
                reason,
            )
            verdicts.append(sign_body(body, SIGNERS[draw.position].private_key, self.run.oracle.domain()))
        return tuple(verdicts)

    def _score(
        self, plan: Plan, work: Mapping[int, tuple[Commitment, Payload, State]], index: int, seed: bytes
    ) -> Scores | PrivateScores:
        """What a signer says of a payload: here it makes that up."""
        return Scores(60_000, 5_000, 30_000, 4_000, 14_000, 3_000, 52_000, 4_500)

    def _loss(self, epoch: int) -> tuple[int, int]:
        """Held-out loss of the last checkpoint, in micro-nats, and on how many tokens: made up here."""
        return 3_000_000 - epoch, 1000

    # --- one epoch ---------------------------------------------------------------------------------------------------

    def facts(self, epoch: int) -> Facts:
        """What the chain says when an epoch is closed, as the signers see it."""
        view, info, params = LedgerView.of(self.run), self.run.oracle.epoch_info(epoch), self.run.params
        cap = self.run.oracle.credits_limit()

        def wage_of(amount: int) -> int:
            if amount == 0:
                return 0
            budget = info.unlocked_escrow * 10_000 // (10_000 + params.oracle_bps)
            return min(params.wage_per_credit << 64, (budget << 64) // amount)

        return Facts(
            domain=self.run.oracle.domain(),
            run=self.campaign,
            config=self.config,
            epoch_of=params.epoch_of,
            anchor_window=params.anchor_window,
            offices=OFFICES,
            keys=lambda index: {address_of(member_key(index))},
            roots=lambda number: set(),
            records_of=lambda number: (),
            seed=lambda at: None,
            credited=set(),
            attested=self.attested,
            leaves=view.tree().leaves,
            accounts={i: a.lower() for i, a in view.accounts.items()},
            acc=info.acc,
            wage_of=wage_of,
            cap=cap,
            standing=self.standing_at(self.run.chain.block_number()),
            standing_at=self.standing_at,
            stakes=view.staked,
            exposed=exposure(
                epoch,
                {e: (closed.closed_at, closed.acc) for e, closed in view.closed.items()},
                {e: Final(known.credits, known.wage) for e, known in view.epochs.items() if known.final},
                params.dispute_period,
                int(self.config.verification.credit_value_floor),
            ),
        )

    def standing_at(self, block: int) -> Standing:
        """The standing of the last report that was final in a block."""
        finals = [e for e, known in LedgerView.of(self.run).epochs.items() if known.final and known.block <= block]
        return self.standings[max(finals)] if finals else Standing()

    def evidence(self, epoch: int) -> tuple[Evidence, EpochCredits]:
        """The true evidence of a closed epoch."""
        records = [Record.from_body(files.record.body) for files in self.rounds[epoch].values()]
        right = attests(records, self.attested)
        assert right is not None
        evaluation = Evaluation(right.round, right.checkpoint, right.checkpoint_cid, *self._loss(epoch))
        attempt = self.run.oracle.current_attempt(epoch)
        bare = Evidence(
            self.campaign,
            epoch,
            attempt,
            self.config.to_bytes(),
            self.rounds[epoch],
            tuple(self.anchors[epoch]),
            (),
            evaluation,
            b"",
            (),
            b"",
        )
        facts = self.facts(epoch)
        earned = credits_of(bare, facts, {})
        standing = self.standings[epoch] = standing_of(earned, facts)
        whole = replace(
            bare, credits=dumps(earned.to_json()), leaves=leaves_of(earned, facts), standing=standing.to_bytes()
        )
        return whole, earned

    def report(
        self, epoch: int, tamper: Tamper | None = None, more: Mapping[int, int] | None = None, **changes: object
    ) -> None:
        """Publish the evidence of a closed epoch and submit the report, both perhaps altered by a corrupt quorum.

        `more` credits than the evidence gives are listed for these providers.
        """
        evidence, earned = self.evidence(epoch)
        evidence = tamper(evidence) if tamper else evidence
        cid = self.store.put_directory(dict(evidence.files))
        e = evidence.evaluation
        self.attested = Attested(e.round, e.checkpoint, e.checkpoint_cid)
        self.world.report(
            epoch,
            {i: earned.credited.get(i, 0) + (more or {}).get(i, 0) for i in sorted({*earned.credited, *(more or {})})},
            **{
                "evidence_cid": cid,
                "evidence_sha256": digest_bytes(evidence.sha256),
                "checkpoint": digest_bytes(e.checkpoint),
                "checkpoint_cid": e.checkpoint_cid,
                "round": e.round,
                "loss_micro": e.loss_micro,
                **changes,
            },
        )

    def play_epoch(self, epoch: int) -> None:
        """All rounds of an epoch, and its closing."""
        for place in range(ROUNDS_PER_EPOCH):
            self.play_round(epoch, epoch * ROUNDS_PER_EPOCH + place + 1)
        self.world.close(epoch)

    # --- money -------------------------------------------------------------------------------------------------------

    def serve(self, amount: int) -> None:
        """Two users fund channels, the server settles their vouchers and takes its cut."""
        run, delay = self.run, self.run.params.withdrawal_delay
        claims = []
        for place, user in enumerate(USERS):
            own = self.world.by(user).payments
            server, payer = KEYS[SERVER].address, KEYS[user].address
            own.deposit(payer, server, delay, 2 * amount)
            channel = own.channel_id_of(payer, server, delay)
            total = own.channel(channel).settled + amount - place
            voucher = Voucher(channel, total + 5)
            signature = KEYS[user].sign_digest(voucher.digest(run.payments.domain()))
            claims.append(VoucherClaim(channel, voucher.cumulative, total, signature))
        run.payments.settle(claims)
        run.payments.claim_server(KEYS[SERVER].address)

    def claim_all(self) -> None:
        """Every funder, provider and signer takes what is due."""
        view = LedgerView.of(self.run)
        for funder in FUNDERS:
            if self.run.distributor.claimable_capital(KEYS[funder].address):
                self.run.distributor.claim_capital(KEYS[funder].address)
        for index in range(len(PROVIDERS)):
            if view.leaf(index) is None:
                continue
            proof = view.proof(index)
            if self.run.distributor.claimable_compute(proof.epoch, proof.leaf):
                self.run.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
        for signer in SIGNERS:
            if self.run.campaign.fee_of(signer.address):
                self.run.campaign.claim_fee(signer.address)


def publish(
    staged: Staged, checkpoint: Checkpoint, number: int, parent: str | None, plan: str | None
) -> tuple[Manifest, str]:
    """Put a checkpoint's directory in the store."""
    files = checkpoint.to_files(staged.layout)
    cids = {name: str(staged.store.put(data)) for name, data in files.items()}
    manifest = make_manifest(staged.campaign, number, parent, plan, staged.config.sha256, files, cids)
    directory = {"manifest.json": manifest.to_bytes(), "config.json": b"{}", **files}
    return manifest, staged.store.put_directory(directory)


def stage(url: str, folder: Path) -> Staged:
    """Deploy a run, fund it, register the providers, and put its genesis in the store."""
    store = FolderStore(folder / "store")
    settings = config_json()
    settings["verification"]["contribution_rate_bps"] = 10_000
    config = RunConfig.parse(settings)
    config_cid = store.put(config.to_bytes())
    milestones = (Milestone.open(5000), Milestone(1, 60, 3_000_000, 5000))
    world = make_world(
        url,
        folder / "nonces",
        config_sha256=digest_bytes(config.sha256),
        config_cid=config_cid,
        wage_per_credit=10**12,
        cap=10 * ETHER,
        milestones=milestones,
        last_epoch=1,
        tail_epochs=2,
        epoch_length=4 * 3600,
        report_span=2 * 3600,  # the chain's clock follows ours: a test that waits its turn must not miss its attempt
        attempt_length=2 * 3600,
        dispute_period=8 * 3600,
    )
    for place, funder in enumerate(FUNDERS[1:]):
        world.by(funder).campaign.deposit((place + 1) * ETHER)
    world.fund(3 * ETHER)
    for place, number in enumerate(PROVIDERS):
        world.by(number).registry.register(
            "0x" + address_of(member_key(place))[2:],
            KEYS[number].address,
            f"host:{number}",
            world.run.params.provider_stake,
        )
    layout = Layout.from_model(config.model)
    staged = Staged(world, store, config, layout, genesis_checkpoint(config), "", "")
    manifest, staged.base_cid = publish(staged, staged.checkpoint, 0, None, None)
    staged.base = manifest.sha256
    return staged

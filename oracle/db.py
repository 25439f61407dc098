"""The signer's tables: documents, payloads, members, anchors, draws, offences, reports, transactions.

Every write is idempotent. What is promised and how the file survives a crash is in `oracle.db_core`.
"""

from collections.abc import Collection, Iterable

from oracle.db_core import DatabaseCore, EquivocationError, Slot
from oracle.db_rows import AnchorRow, Draw, Member, OffenceRow, Row, Shown, as_bytes, as_int, row_of

__all__ = ["AnchorRow", "Database", "Draw", "EquivocationError", "Member", "OffenceRow", "Row", "Shown", "Slot"]


class Database(DatabaseCore):
    """One signer's store. Used from one thread; opened once per directory (a second process is refused).

    Raises OracleError, naming the cure, when the disk is full, the file is damaged, or another process holds the lock.
    """

    # --- documents -------------------------------------------------------------------------------------------------

    def add_document(
        self, *, digest: bytes, kind: str, round_: int, member: int, signer: str, signed: bytes, now_ms: int
    ) -> bool:
        """Keep a verified signed document. Returns whether it was new. (digest, signer) names it."""
        return bool(
            self.write(
                "INSERT INTO documents (digest, kind, round, member, signer, signed, received_ms) "
                "VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                digest, kind, round_, member, signer.lower(), signed, now_ms,
            )
        )  # fmt: skip

    def documents(
        self, kind: str, *, round_: int | None = None, member: int | None = None, signer: str | None = None
    ) -> list[Row]:
        """Documents of one kind in the order in which they came, narrowed by what is given."""
        return [row_of(Row, r) for r in self._documents("*", kind, round_, member, signer)]

    def document_names(
        self, kind: str, *, round_: int | None = None, member: int | None = None, signer: str | None = None
    ) -> list[tuple[bytes, str]]:
        """(digest, signer) of the same documents in the same order, for who may know what they say."""
        found = self._documents("digest, signer", kind, round_, member, signer)
        return [(as_bytes(digest), str(author)) for digest, author in found]

    def _documents(
        self, columns: str, kind: str, round_: int | None, member: int | None, signer: str | None
    ) -> list[tuple[object, ...]]:
        where, values = ["kind=?"], [kind]  # type: tuple[list[str], list[object]]
        for column, value in (("round", round_), ("member", member), ("signer", signer.lower() if signer else None)):
            if value is not None:
                where.append(f"{column}=?")
                values.append(value)
        sql = f"SELECT {columns} FROM documents WHERE {' AND '.join(where)} ORDER BY seq"  # noqa: S608 (ours alone)
        return self.read(sql, *values)

    def newest_documents(self, kind: str, member: int, limit: int) -> list[Row]:
        """At most `limit` of a member's documents of one kind, those of the last rounds first."""
        rows = self.read(
            "SELECT * FROM documents WHERE kind=? AND member=? ORDER BY round DESC, seq DESC LIMIT ?",
            kind, member, limit,
        )  # fmt: skip
        return [row_of(Row, r) for r in rows]

    def verdict_counts(self, since: int) -> dict[tuple[int, int], int]:
        """How many verdicts are kept from a round on, by round and member."""
        rows = self.read(
            "SELECT round, member, count(*) FROM documents WHERE kind='verdict' AND round>=? GROUP BY round, member",
            since,
        )
        return {(as_int(round_), as_int(member)): as_int(count) for round_, member, count in rows}

    def document(self, digest: bytes) -> Row | None:
        """The document with this digest (the first signer's, where several signed the same body), or None."""
        rows = self.read("SELECT * FROM documents WHERE digest=? ORDER BY seq LIMIT 1", digest)
        return row_of(Row, rows[0]) if rows else None

    def has_document(self, digest: bytes, signer: str) -> bool:
        """Whether this signer's document with this digest is kept."""
        return bool(self.read("SELECT 1 FROM documents WHERE digest=? AND signer=?", digest, signer.lower()))

    def documents_after(self, seq: int, limit: int) -> list[Row]:
        """At most `limit` documents with a higher sequence number, for a peer that copies this log."""
        rows = self.read("SELECT * FROM documents WHERE seq>? ORDER BY seq LIMIT ?", seq, limit)
        return [row_of(Row, r) for r in rows]

    def last_seq(self) -> int:
        """The newest document's sequence number, 0 when there is none."""
        return as_int(self.read("SELECT coalesce(max(seq), 0) FROM documents")[0][0])

    def last_round(self, kind: str, signer: str | None = None) -> int:
        """The highest round of which a document of this kind (and signer) is kept, 0 when there is none."""
        sql = "SELECT round FROM documents WHERE kind=?1 AND (?2 IS NULL OR signer=?2) ORDER BY round DESC LIMIT 1"
        rows = self.read(sql, kind, signer)
        return as_int(rows[0][0]) if rows else 0

    def first_round(self, kind: str, signer: str, since: int) -> int | None:
        """The first round from `since` on of which a document of this kind and signer is kept."""
        sql = "SELECT round FROM documents WHERE kind=? AND signer=? AND round>=? ORDER BY round LIMIT 1"
        rows = self.read(sql, kind, signer, since)
        return as_int(rows[0][0]) if rows else None

    def read_logs_again(self) -> None:
        """Have the logs of all other signers copied from their beginnings."""
        self.write("UPDATE meta SET value=substr(value, 1, instr(value, ' ')) || '0' WHERE key LIKE 'log/%'")

    # --- payloads --------------------------------------------------------------------------------------------------

    def add_payload(self, round_: int, member: int, part: int, sha256: bytes, now_ms: int) -> None:
        """Note that this signer holds the bytes of a part that match the commitment."""
        self.write(
            "INSERT INTO payloads VALUES (?1,?2,?3,?4,?5) ON CONFLICT (round, member, part) DO UPDATE SET sha256=?4",
            round_, member, part, sha256, now_ms,
        )  # fmt: skip

    def payload(self, round_: int, member: int) -> dict[int, bytes]:
        """part -> SHA-256 of what is held of a member's payload for a round."""
        held = self.read("SELECT part, sha256 FROM payloads WHERE round=? AND member=?", round_, member)
        return {as_int(part): as_bytes(sha256) for part, sha256 in held}

    def last_payload_ms(self, round_: int) -> int | None:
        """When the last payload of a round that came at all came."""
        latest = self.read("SELECT max(received_ms) FROM payloads WHERE round=?", round_)[0][0]
        return None if latest is None else as_int(latest)

    def drop_payloads(self, round_: int, member: int) -> None:
        """Note that a member's parts are not held after all."""
        self.write("DELETE FROM payloads WHERE round=? AND member=?", round_, member)

    def payloads_upto(self, round_: int) -> list[bytes]:
        """SHA-256 of all parts that are held of rounds up to this one, and of no later one."""
        held = self.read(
            "SELECT sha256 FROM payloads WHERE round<=? EXCEPT SELECT sha256 FROM payloads WHERE round>?",
            round_, round_,
        )  # fmt: skip
        return [as_bytes(sha256) for (sha256,) in held]

    def forget_payloads(self, round_: int) -> None:
        """Note that no part of rounds up to this one is held any more."""
        self.write("DELETE FROM payloads WHERE round<=?", round_)

    # --- members ---------------------------------------------------------------------------------------------------

    def member_seen(self, index: int, peer: str, have: bytes | None, now_ms: int, *, silence_ms: int = 15_000) -> None:
        """A member has said that it is ready; after a longer silence it has joined anew."""
        self.write(
            "INSERT INTO members (member, peer, have, joined_ms, seen_ms) VALUES (?1,?2,?3,?4,?4) "
            "ON CONFLICT (member) DO UPDATE SET peer=?2, have=?3, seen_ms=?4, "
            "joined_ms=CASE WHEN ?4 - seen_ms > ?5 THEN ?4 ELSE joined_ms END",
            index, peer, have, now_ms, silence_ms,
        )  # fmt: skip

    def member_slow(self, index: int, strikes: int, until_ms: int) -> None:
        """Set how often in a row a member was late and until when it is left out; 0 and 0 clear it."""
        self.write("UPDATE members SET strikes=?, slow_until_ms=? WHERE member=?", strikes, until_ms, index)

    def members(self) -> dict[int, Member]:
        """Every member that ever joined, by index."""
        rows = self.read(
            "SELECT member, peer, have, joined_ms, seen_ms, strikes, slow_until_ms FROM members ORDER BY member"
        )
        return {as_int(r[0]): row_of(Member, r) for r in rows}

    def add_late(self, round_: int, member: int, received_ms: int) -> None:
        """Note that a commitment came after its deadline: refused, but measured."""
        self.write("INSERT INTO late VALUES (?,?,?) ON CONFLICT DO NOTHING", round_, member, received_ms)

    def late(self, round_: int) -> dict[int, int]:
        """member -> when its late commitment came."""
        rows = self.read("SELECT member, received_ms FROM late WHERE round=?", round_)
        return {as_int(r[0]): as_int(r[1]) for r in rows}

    # --- the chain as this signer has seen it ----------------------------------------------------------------------

    def add_anchors(self, rows: list[AnchorRow], upto_block: int) -> None:
        """Add finalised anchors and remember the block up to which the chain was read, in one step."""
        with self.transaction():
            for a in rows:
                self.write(
                    "INSERT INTO anchors VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                    a.block, a.log, a.round, a.epoch, a.deadline, a.root, a.record_round, a.record_hash, a.tx,
                )  # fmt: skip
            self.set_meta("anchors_upto", str(upto_block))

    def anchors(self, *, round_: int | None = None, epoch: int | None = None) -> list[AnchorRow]:
        """Anchors in chain order, of one round or of one epoch (of the round's deadline)."""
        if round_ is not None:
            rows = self.read("SELECT * FROM anchors WHERE round=? ORDER BY block, log", round_)
        elif epoch is not None:
            rows = self.read("SELECT * FROM anchors WHERE epoch=? ORDER BY block, log", epoch)
        else:
            rows = self.read("SELECT * FROM anchors ORDER BY block, log")
        return [row_of(AnchorRow, r) for r in rows]

    def record_anchors(self, round_: int) -> list[AnchorRow]:
        """The anchors that name a hash as the record of a round, first ones first. Any signer can name anything."""
        rows = self.read(
            "SELECT * FROM anchors WHERE record_round=? AND record_hash<>zeroblob(32) ORDER BY block, log", round_
        )
        return [row_of(AnchorRow, row) for row in rows]

    # --- replay draws ----------------------------------------------------------------------------------------------

    def add_draw(self, draw: Draw) -> None:
        """Note a draw; one that is known keeps its state."""
        self.write(
            "INSERT INTO draws VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            draw.round, draw.member, draw.segment, draw.position, draw.seed_block, draw.seed_hash, draw.state,
        )  # fmt: skip

    def keep_draws(self, round_: int, drawn: Collection[tuple[int, int, int]]) -> None:
        """Forget a round's draws but for these, by member, segment and position."""
        for draw in self.draws(round_):
            if (draw.member, draw.segment, draw.position) not in drawn:
                self.write(
                    "DELETE FROM draws WHERE round=? AND member=? AND segment=? AND position=?",
                    draw.round, draw.member, draw.segment, draw.position,
                )  # fmt: skip

    def set_draw(self, draw: Draw, state: str) -> None:
        """Move a draw to another state."""
        self.write(
            "UPDATE draws SET state=? WHERE round=? AND member=? AND segment=? AND position=?",
            state, draw.round, draw.member, draw.segment, draw.position,
        )  # fmt: skip

    def draws(self, round_: int) -> list[Draw]:
        """A round's draws in order of member, segment and position."""
        rows = self.read("SELECT * FROM draws WHERE round=? ORDER BY member, segment, position", round_)
        return [row_of(Draw, r) for r in rows]

    def open_draws(self, state: str) -> list[Draw]:
        """Draws in a state that is not the last one, in order of round, member, segment and position."""
        rows = self.read(
            "SELECT * FROM draws WHERE state=? AND state<>'done' ORDER BY round, member, segment, position", state
        )
        return [row_of(Draw, r) for r in rows]

    def set_shown(self, draw: Draw, shown: Shown) -> None:
        """Note what a member has shown for a draw and is on this disk now."""
        self.write(
            "INSERT INTO states VALUES (?1,?2,?3,?4,?5,?6,?7) "
            "ON CONFLICT (round, member, segment) DO UPDATE SET leaf=?4, start=?5, claimed=?6, first=?7",
            draw.round, draw.member, draw.segment, shown.leaf, shown.start, shown.claimed, shown.first,
        )  # fmt: skip

    def shown(self, draw: Draw) -> Shown | None:
        """What a member has shown for a draw, if it has."""
        rows = self.read(
            "SELECT leaf, start, claimed, first FROM states WHERE round=? AND member=? AND segment=?",
            draw.round, draw.member, draw.segment,
        )  # fmt: skip
        return row_of(Shown, rows[0]) if rows else None

    def drop_shown(self, draw: Draw) -> list[str]:
        """Forget it; returns the digests of files that no other draw needs."""
        found = self.shown(draw)
        named = () if found is None else found.files
        self.write(
            "DELETE FROM states WHERE round=? AND member=? AND segment=?", draw.round, draw.member, draw.segment
        )
        used = "SELECT 1 FROM states WHERE start=?1 OR claimed=?1 OR first=?1"
        return [digest for digest in named if not self.read(used, digest)]

    def all_shown(self) -> set[str]:
        """The digests of all files that some draw needs."""
        rows = self.read("SELECT leaf, start, claimed, first FROM states")
        return {digest for row in rows for digest in row_of(Shown, row).files}

    def close_draws(self, rounds: list[int]) -> None:
        """Nothing is left to do about the draws of these rounds, and no file of theirs is needed."""
        with self.transaction():
            for number in rounds:
                self.write("UPDATE draws SET state='done' WHERE round=?", number)
                self.write("DELETE FROM states WHERE round=?", number)

    # --- pins ------------------------------------------------------------------------------------------------------

    def add_pins(self, cids: Iterable[str], epoch: int) -> None:
        """Note that these are pinned here, for an epoch or a later one that is noted already."""
        with self.transaction():
            for cid in cids:
                self.write(
                    "INSERT INTO pins VALUES (?1,?2,NULL) "
                    "ON CONFLICT (cid) DO UPDATE SET epoch=max(coalesce(epoch, ?2), ?2)",
                    cid, epoch,
                )  # fmt: skip

    def pins(self) -> list[str]:
        """All that is pinned here."""
        return [str(cid) for (cid,) in self.read("SELECT cid FROM pins WHERE epoch IS NOT NULL ORDER BY cid")]

    def pins_upto(self, epoch: int, but: Collection[int], limit: int) -> list[str]:
        """At most `limit` of what is pinned for epochs up to this one, but for some; the oldest first."""
        marks = ",".join("?" * len(but))
        sql = f"SELECT cid FROM pins WHERE epoch<=? AND epoch NOT IN ({marks}) ORDER BY epoch LIMIT ?"  # noqa: S608
        return [str(cid) for (cid,) in self.read(sql, epoch, *but, limit)]

    def drop_pin(self, cid: str) -> None:
        """Note that something is not pinned here any more."""
        with self.transaction():
            self.write("DELETE FROM pins WHERE cid=? AND request IS NULL", cid)
            self.write("UPDATE pins SET epoch=NULL WHERE cid=?", cid)

    def pin_to_ask_for(self) -> str | None:
        """Something that is pinned here and not at the pinning service."""
        rows = self.read("SELECT cid FROM pins WHERE request IS NULL AND epoch IS NOT NULL ORDER BY cid LIMIT 1")
        return str(rows[0][0]) if rows else None

    def pin_to_give_up(self) -> tuple[str, str] | None:
        """(CID, request) of something that is pinned at the pinning service and not here."""
        rows = self.read(
            "SELECT cid, request FROM pins WHERE request IS NOT NULL AND epoch IS NULL ORDER BY cid LIMIT 1"
        )
        return (str(rows[0][0]), str(rows[0][1])) if rows else None

    def set_pin_request(self, cid: str, request: str | None) -> None:
        """Note what the pinning service calls its pin; None when it has let go."""
        with self.transaction():
            self.write("UPDATE pins SET request=? WHERE cid=?", request, cid)
            self.write("DELETE FROM pins WHERE cid=? AND request IS NULL AND epoch IS NULL", cid)

    # --- offences --------------------------------------------------------------------------------------------------

    def add_offence(self, row: OffenceRow) -> None:
        """Note a proved offence; a known one keeps its state."""
        self.write(
            "INSERT INTO offences VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            row.digest, row.member, row.round, row.rule, row.until, row.state,
        )  # fmt: skip

    def set_offence(self, digest: bytes, state: str) -> None:
        """Move an offence to another state."""
        self.write("UPDATE offences SET state=? WHERE digest=?", state, digest)

    def offences(self, *, member: int | None = None) -> list[OffenceRow]:
        """Offences by round, of one member or of all."""
        rows = self.read("SELECT * FROM offences WHERE ?1 IS NULL OR member=?1 ORDER BY round, digest", member)
        return [row_of(OffenceRow, r) for r in rows]

    # --- reports and transactions ----------------------------------------------------------------------------------

    def add_report(self, epoch: int, attempt: int, digest: bytes, rounds: list[int]) -> None:
        """Remember which rounds a report credits, so that none is credited twice."""
        self.write(
            "INSERT INTO reports VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
            epoch, digest, attempt, ",".join(map(str, rounds)),
        )  # fmt: skip

    def last_reported(self) -> int:
        """The highest round of the reports that this signer knows, 0 when there is none."""
        known = [str(rounds).split(",") for (rounds,) in self.read("SELECT rounds FROM reports")]
        return max((int(number) for rounds in known for number in rounds if number), default=0)

    def report_rounds(self, epoch: int, digest: bytes) -> list[int] | None:
        """The rounds of a known report, or None when the report is not known here."""
        rows = self.read("SELECT rounds FROM reports WHERE epoch=? AND digest=?", epoch, digest)
        return [int(r) for r in str(rows[0][0]).split(",") if r] if rows else None

    def set_transaction(self, purpose: str, tx: bytes, block: int) -> None:
        """Remember the transaction that served a purpose."""
        self.write(
            "INSERT INTO transactions VALUES (?,?,?) "
            "ON CONFLICT (purpose) DO UPDATE SET tx=excluded.tx, block=excluded.block",
            purpose, tx, block,
        )  # fmt: skip

    def transaction_block(self, purpose: str) -> int | None:
        """The block in which the transaction that served a purpose was mined, or None."""
        rows = self.read("SELECT block FROM transactions WHERE purpose=?", purpose)
        return as_int(rows[0][0]) if rows else None

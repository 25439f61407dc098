"""The tables of the signer's database. A change is a new migration at the end, never an edit of an old one."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE promises (slot TEXT PRIMARY KEY, digest BLOB NOT NULL, signed BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL,
        member INTEGER NOT NULL, signer TEXT NOT NULL, signed BLOB NOT NULL, received_ms INTEGER NOT NULL,
        UNIQUE (digest, signer));
    CREATE INDEX documents_by_round ON documents (kind, round, member);
    CREATE INDEX documents_by_member ON documents (kind, member, round);
    CREATE TABLE payloads (
        round INTEGER NOT NULL, member INTEGER NOT NULL, part INTEGER NOT NULL, sha256 BLOB NOT NULL,
        received_ms INTEGER NOT NULL, PRIMARY KEY (round, member, part)) WITHOUT ROWID;
    CREATE TABLE members (
        member INTEGER PRIMARY KEY, peer TEXT NOT NULL, have BLOB, joined_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        strikes INTEGER NOT NULL DEFAULT 0, slow_until_ms INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE late (
        round INTEGER NOT NULL, member INTEGER NOT NULL, received_ms INTEGER NOT NULL,
        PRIMARY KEY (round, member)) WITHOUT ROWID;
    CREATE TABLE anchors (
        block INTEGER NOT NULL, log INTEGER NOT NULL, round INTEGER NOT NULL, epoch INTEGER NOT NULL,
        deadline INTEGER NOT NULL, root BLOB NOT NULL, record_round INTEGER NOT NULL, record_hash BLOB NOT NULL,
        tx BLOB NOT NULL, PRIMARY KEY (block, log)) WITHOUT ROWID;
    CREATE TABLE draws (
        round INTEGER NOT NULL, member INTEGER NOT NULL, segment INTEGER NOT NULL, position INTEGER NOT NULL,
        seed_block INTEGER NOT NULL, seed_hash BLOB NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (round, member, segment, position)) WITHOUT ROWID;
    CREATE TABLE states (
        round INTEGER NOT NULL, member INTEGER NOT NULL, segment INTEGER NOT NULL, leaf TEXT NOT NULL,
        start TEXT NOT NULL, claimed TEXT NOT NULL, PRIMARY KEY (round, member, segment)) WITHOUT ROWID;
    CREATE TABLE offences (
        digest BLOB PRIMARY KEY, member INTEGER NOT NULL, round INTEGER NOT NULL, rule TEXT NOT NULL,
        until INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE reports (
        epoch INTEGER NOT NULL, digest BLOB NOT NULL, attempt INTEGER NOT NULL, rounds TEXT NOT NULL,
        PRIMARY KEY (epoch, digest)) WITHOUT ROWID;
    CREATE TABLE transactions (
        purpose TEXT PRIMARY KEY, tx BLOB NOT NULL, block INTEGER NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE states ADD COLUMN first TEXT NOT NULL DEFAULT '';",
    # What is asked at every turn has an index without what is past. Pins were in `meta`, under pin/ and remote/.
    """
    CREATE INDEX open_draws ON draws (state, round, member, segment, position) WHERE state <> 'done';
    CREATE INDEX anchors_by_round ON anchors (round);
    CREATE INDEX anchors_by_record ON anchors (record_round);
    CREATE TABLE pins (cid TEXT PRIMARY KEY, epoch INTEGER, request TEXT) WITHOUT ROWID;
    CREATE INDEX pins_by_epoch ON pins (epoch) WHERE epoch IS NOT NULL;
    CREATE INDEX pins_to_ask_for ON pins (cid) WHERE request IS NULL AND epoch IS NOT NULL;
    CREATE INDEX pins_to_give_up ON pins (cid) WHERE request IS NOT NULL AND epoch IS NULL;
    INSERT INTO pins SELECT substr(key, 5), CAST(value AS INTEGER), NULL FROM meta WHERE key >= 'pin/' AND key < 'pin0';
    INSERT INTO pins SELECT substr(key, 8), NULL, value FROM meta WHERE key >= 'remote/' AND key < 'remote0'
        ON CONFLICT (cid) DO UPDATE SET request = excluded.request;
    DELETE FROM meta WHERE (key >= 'pin/' AND key < 'pin0') OR (key >= 'remote/' AND key < 'remote0');
    """,
)

"""What an operator's monitoring sees: Prometheus metrics of one signer, on a registry of its own."""

from prometheus_client import Counter, Gauge, start_http_server

from commonweight.metrics import new_registry
from commonweight.net.peer import split_address


class Metrics:
    """The metrics of one process. `serve` opens the port; without it they are only counted."""

    def __init__(self) -> None:
        self.registry = new_registry()
        r = self.registry
        self.round = Gauge("commonweight_oracle_round", "Round that is planned now", registry=r)
        self.members = Gauge("commonweight_oracle_members", "Members in the last plan", registry=r)
        self.finalized = Gauge("commonweight_oracle_finalized_block", "Newest finalised block seen", registry=r)
        self.finalized_age = Gauge("commonweight_oracle_finalized_age_seconds", "Age of that block", registry=r)
        self.closed_epoch = Gauge("commonweight_oracle_closed_epoch", "Last closed epoch, -1 for none", registry=r)
        self.receipts = Counter("commonweight_oracle_receipts", "Commitments receipted", registry=r)
        self.refused = Counter(
            "commonweight_oracle_refused_documents", "Documents refused, by reason", ["reason"], registry=r
        )
        self.verdicts = Counter("commonweight_oracle_verdicts", "Verdicts signed, by outcome", ["outcome"], registry=r)
        self.replay_seconds = Counter("commonweight_oracle_replay_seconds", "Time spent in replays", registry=r)
        self.score_seconds = Counter("commonweight_oracle_score_seconds", "Time spent in scores", registry=r)
        self.waiting_draws = Gauge("commonweight_oracle_waiting_draws", "Replays not done yet", registry=r)
        self.reports_signed = Counter("commonweight_oracle_reports_signed", "Reports signed", registry=r)
        self.reports_sent = Counter("commonweight_oracle_reports_submitted", "Reports sent from here", registry=r)
        self.offences = Counter("commonweight_oracle_offences", "Proved offences", ["rule"], registry=r)
        self.failures = Counter("commonweight_oracle_failures", "Failed steps, retried", ["step"], registry=r)
        self.peers = Gauge("commonweight_oracle_peers_reachable", "Other signers that answer", registry=r)

    def serve(self, address: str) -> None:
        """Answer scrapes at host:port. Raises OSError when the port is taken."""
        host, port = split_address(address)
        start_http_server(port, addr=host, registry=self.registry)

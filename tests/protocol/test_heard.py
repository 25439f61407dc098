"""Which results a record's links were measured by: found whatever came later, and none when nobody measured them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.protocol.evidence import heard, measured_links
from commonweight.protocol.exchange_documents import MOST_MEASURED
from commonweight.protocol.records import Counted, Link, Record, Result

pytestmark = pytest.mark.unit

D = "0x" + "ab" * 32
RUN = "0x" + "c0" * 20
COUNTED = (0, 1, 2)


def record(results: Sequence[Result]) -> Record:
    """What a coordinator signs that has these results."""
    counted = tuple(Counted(i, D, 1, 1, D, "") for i in COUNTED)
    return Record(RUN, 1, 0, D, D, counted, (), (), (D,), D, "", measured_links(results, set(COUNTED)))


LINKS = st.lists(st.builds(Link, st.integers(0, 4), *[st.integers(1, 5)] * 3), max_size=4, unique_by=lambda x: x.index)
RESULTS = st.lists(
    st.builds(lambda part, by, links: Result(RUN, 1, D, part, by, COUNTED, D, D, tuple(links)),
              st.integers(0, 5), st.integers(0, 4), LINKS),
    max_size=8, unique_by=lambda x: (x.part, x.reducer),
)  # fmt: skip


@given(RESULTS, st.integers(0, 2**8 - 1))
def test_what_came_in_time_is_told_from_what_came_later(results: list[Result], in_time: int) -> None:
    known = [result for place, result in enumerate(results) if in_time >> place & 1]
    signed = record(known)
    found = heard(results, signed)
    assert found is not None
    assert set(found) <= set(results)
    assert measured_links(found, set(COUNTED)) == signed.links
    assert heard(known, signed) == tuple(sorted(known, key=lambda result: (result.reducer, result.part)))


@given(RESULTS)
def test_a_record_can_be_read_whatever_reducers_say_that_they_measured(results: list[Result]) -> None:
    """Two results of 2^48 bytes are more than a record's link can have."""
    huge = [Link(link.index, MOST_MEASURED, MOST_MEASURED, link.rtt_us) for result in results for link in result.links]
    lies = [replace(result, links=tuple(huge)) for result in results]
    signed = record(lies)
    assert Record.from_body(signed.to_body()) == signed
    assert heard(lies, signed) is not None


def test_links_that_nobody_measured_come_from_no_choice_of_results() -> None:
    results = [Result(RUN, 1, D, part, part, COUNTED, D, D, (Link((part + 1) % 3, 10, 10, 10),)) for part in range(3)]
    signed = record(results)
    false = replace(signed, links=(replace(signed.links[0], bytes=11), *signed.links[1:]))
    assert heard(results, false) is None
    assert heard(results[1:], signed) is None
    assert heard(results, replace(signed, links=())) == ()


def test_a_coordinator_that_lets_one_reduce_everything_costs_nobody_forever() -> None:
    results = [Result(RUN, 1, D, part, 0, COUNTED, D, D, (Link(1, 1, 1, 1),)) for part in range(64)]
    false = record(results)
    assert heard(results, replace(false, links=(replace(false.links[0], bytes=65),))) is None

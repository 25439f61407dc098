"""What a member leaves of a round's time for its end, and that a freeze does not keep it out of all others."""

import pytest

from trainer.finishing import Finishing

pytestmark = pytest.mark.unit


def test_twice_the_last_time_is_left() -> None:
    finishing = Finishing()
    assert finishing.worth_beginning(0.5)
    assert not finishing.worth_beginning(0.4)
    finishing.took(30.0)
    assert finishing.worth_beginning(60.0)
    assert not finishing.worth_beginning(59.0)


def test_who_came_late_once_still_leaves_as_much() -> None:
    finishing = Finishing()
    finishing.took(30.0)
    assert not finishing.worth_beginning(10.0)
    assert finishing.worth_beginning(100.0)
    assert finishing.margin_s == 60.0


def test_a_process_that_stood_still_is_back_after_some_rounds() -> None:
    finishing = Finishing()
    finishing.took(3600.0)
    rounds = 0
    while not finishing.worth_beginning(5.0):
        rounds += 1
    assert rounds == 7
    finishing.took(0.1)
    assert finishing.margin_s == 0.5

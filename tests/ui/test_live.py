import pytest

from ui.live import EAGER_LOOKS, FULL_EVERY, Seen, every, moved


def follow(versions):
    seen, drawn = Seen(), []
    for version in versions:
        now = moved(seen, version)
        drawn.append(None if now is None else now.full)
        seen = now or seen
    return drawn


def test_nothing_is_drawn_while_nothing_moves():
    assert follow([3, 3, 3]) == [True, None, None]


def test_at_first_everything_follows_at_once_then_charts_every_few_looks():
    drawn = follow(range(EAGER_LOOKS + 2 * FULL_EVERY))
    assert drawn[:EAGER_LOOKS] == [True] * EAGER_LOOKS
    assert drawn[EAGER_LOOKS:].count(True) == 2


def test_what_was_left_out_is_drawn_once_it_is_quiet():
    moving = list(range(EAGER_LOOKS + 1))
    last = moving[-1]
    assert follow([*moving, last, last])[-3:] == [False, True, None]


def test_what_was_drawn_beside_an_act_is_drawn_again_though_the_store_is_quiet():
    seen = moved(Seen(), 3, of=1)
    assert moved(seen, 3, of=1) is None
    again = moved(seen, 3, of=2)
    assert again is not None
    assert again.full
    assert moved(again, 3, of=2) is None


def test_the_clock_moves_a_view_of_what_is_in_no_store(monkeypatch: pytest.MonkeyPatch):
    now = 7.9
    monkeypatch.setattr("time.monotonic", lambda: now)
    seen = every(2.0)(Seen(), ())
    assert seen is not None
    assert every(2.0)(seen, ()) is None
    now = 8.0
    assert every(2.0)(seen, ()) is not None

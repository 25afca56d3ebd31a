from ui.live import EAGER_LOOKS, FULL_EVERY, Seen, look


def follow(versions):
    seen, drawn = Seen(), []
    for version in versions:
        now = look(seen, version)
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

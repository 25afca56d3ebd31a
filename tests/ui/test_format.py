import pytest

from ui.fragments import format as shown


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "\u2013"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1_503_238_554, "1.4 GB"),
        (24 * 1024**3, "24 GB"),
        (1000 * 1024**3, "1.0 TB"),
    ],
)
def test_bytes_have_at_most_three_digits(count, text):
    assert shown.bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\u2013"),
        (0.2, "0 s"),
        (89, "89 s"),
        (180, "3 min"),
        (4800, "1 h 20 min"),
        (7200, "2 h"),
        (51 * 3600, "2 d 3 h"),
    ],
)
def test_durations_name_the_two_largest_units(seconds, text):
    assert shown.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("loss", "text"), [(0.8412, "0.84"), (0.0031, "0.0031"), (12.3456, "12.35"), (0.0, "0.00")]
)
def test_small_losses_keep_two_digits_that_mean_something(loss, text):
    assert shown.loss_text(loss) == text


def test_parameters_and_settings_read_as_a_person_writes_them():
    assert [shown.parameters_text(n) for n in (3_050_000, 494_032_768, 999_885_952, 1_543_714_304)] == [
        "3.0M",
        "494M",
        "1.0B",
        "1.5B",
    ]
    assert [shown.setting_text(v) for v in (True, ["a", "b"], 1e-4, None, 3)] == [
        "true",
        "a,b",
        "0.0001",
        "",
        "3",
    ]

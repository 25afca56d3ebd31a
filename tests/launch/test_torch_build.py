"""Which build of torch is installed where."""

from __future__ import annotations

import pytest

from bootstrap.torch_build import PYTORCH, Nvidia, choose_torch, parse_nvidia, parse_pip_sources

NEW = Nvidia((580, 65), (9, 0))
CPU, CUDA12, CUDA13, PLAIN = PYTORCH + "cpu", PYTORCH + "cu126", PYTORCH + "cu130", None


@pytest.mark.parametrize(
    ("wanted", "system", "machine", "nvidia", "index"),
    [
        # No driver: the CPU build, where PyPI would send gigabytes of CUDA.
        ("auto", "Linux", "x86_64", None, CPU),
        ("auto", "Linux", "aarch64", None, CPU),
        ("auto", "Windows", "AMD64", None, CPU),
        ("cpu", "Linux", "x86_64", NEW, CPU),
        ("cpu", "Windows", "AMD64", NEW, CPU),
        # A current driver: PyPI has the CUDA build for Linux on x86, and CPU builds elsewhere.
        ("auto", "Linux", "x86_64", NEW, PLAIN),
        ("cuda", "Linux", "x86_64", NEW, PLAIN),
        ("auto", "Linux", "aarch64", NEW, CUDA13),
        ("auto", "Windows", "AMD64", NEW, CUDA13),
        ("auto", "Windows", "AMD64", Nvidia((560, 94), (8, 9)), CUDA12),
        # CUDA 13 needs driver 580 and a Turing GPU or newer.
        ("auto", "Linux", "x86_64", Nvidia((579, 99), (9, 0)), CUDA12),
        ("auto", "Linux", "x86_64", Nvidia((580, 0), (7, 5)), PLAIN),
        ("auto", "Linux", "x86_64", Nvidia((580, 0), (7, 0)), CUDA12),
        ("auto", "Linux", "x86_64", Nvidia((580, 0), (0, 0)), PLAIN),
        ("auto", "Linux", "x86_64", Nvidia((525, 0), (8, 0)), CUDA12),
        ("auto", "Linux", "x86_64", Nvidia((470, 256), (8, 0)), CPU),
        # Asked for without a driver: perhaps it is about to be installed.
        ("cuda", "Linux", "x86_64", None, CUDA13),
        # One build for all Macs.
        ("auto", "Darwin", "arm64", None, PLAIN),
        ("cuda", "Darwin", "arm64", None, PLAIN),
        ("cpu", "Darwin", "arm64", None, PLAIN),
    ],
)
def test_the_build_fits_platform_and_driver(
    wanted: str, system: str, machine: str, nvidia: Nvidia | None, index: str | None
) -> None:
    chosen = choose_torch(wanted, system, machine, [], nvidia)
    assert chosen.index == index
    assert chosen.reason


@pytest.mark.parametrize("wanted", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("nvidia", [None, NEW])
def test_what_the_person_told_pip_wins_and_is_named(wanted: str, nvidia: Nvidia | None) -> None:
    chosen = choose_torch(wanted, "Linux", "x86_64", ["find-links=/opt/wheels"], nvidia)
    assert chosen.index is None
    assert "find-links=/opt/wheels" in chosen.reason


def test_pip_s_own_listing_is_understood() -> None:
    listing = "\n".join(
        [
            ":env:.cert='/etc/ssl/ca.crt'",
            ":env:.find-links='/opt/wheels'",
            "global.timeout='60'",
            "global.find-links='/opt/wheels'",
            "install.extra-index-url='https://one.example/simple?a=b https://two.example'",
            "global.no-index-at-all='x'",
        ]
    )
    assert parse_pip_sources(listing) == [
        "find-links=/opt/wheels",
        "extra-index-url=https://one.example/simple?a=b https://two.example",
    ]
    assert parse_pip_sources("") == []


@pytest.mark.parametrize(
    ("listing", "nvidia"),
    [
        ("580.65.06, 9.0\n580.65.06, 7.0\n", Nvidia((580, 65), (7, 0))),
        ("535.1, [N/A]\n", Nvidia((535, 1), (0, 0))),
        ("535\n", Nvidia((0, 0), (0, 0))),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_the_driver_s_own_listing_is_understood(listing: str, nvidia: Nvidia | None) -> None:
    assert parse_nvidia(listing) == nvidia

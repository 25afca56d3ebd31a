"""The exports on the screen: the choice as a value, its address, what is drawn, what the browser is given."""

from __future__ import annotations

import asyncio
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest
from markupsafe import escape

from backend.api import ExportRequest
from backend.api.chat import ChatModel
from tests.fake_exports import FILES
from tests.fake_facade import FakeFacade
from ui import downloads, exporting
from ui.exporting import Exporting
from ui.fragments import export as draw
from ui.fragments import library
from ui.fragments import run as run_fragments
from ui.fragments.format import DASH
from ui.page import Page
from ui.tabs import export, merge
from ui.words import Words

MODELS = [ChatModel("run:b-2", "starter"), ChatModel("starter", "starter")]
FORMATS = {"adapter": (), "gguf": ("type",), "safetensors": ()}


def test_the_address_brings_the_choice_back_as_far_as_it_is_there() -> None:
    state = Exporting("run:b-2", "gguf", {"type": "q8_0"}, job="export-1")
    query = exporting.to_query(state, "merge")
    assert exporting.is_here(query)
    assert exporting.from_query(query, MODELS, FORMATS) == state
    gone = exporting.from_query(query.replace("b-2", "gone").replace("gguf", "onnx"), MODELS, FORMATS)
    assert gone == Exporting("run:b-2", job="export-1")
    for given in ('{"type": "f16", "other": 1}', '{"type":"f16"}'):
        state = exporting.from_query(f"export=run:b-2&format=gguf&set={given}", MODELS, FORMATS)
        assert state.settings == {"type": "f16"}
    for broken in ("{", "[1]", '"type"'):
        query = f"export=run:b-2&format=gguf&set={broken}"
        assert exporting.from_query(query, MODELS, FORMATS).settings == {}
    assert exporting.is_here(exporting.to_query(Exporting(), "merge"))
    assert not exporting.is_here("tab=merge&mix=x")


def test_settings_belong_to_their_format_and_public_to_an_upload() -> None:
    state = exporting.set_param(Exporting("run:b-2", "gguf"), "type", "q8_0")
    assert exporting.request(state) == ExportRequest("run:b-2", "gguf", {"type": "q8_0"})
    assert exporting.choose_format(state, "adapter").settings == {}
    assert exporting.request(replace(state, public=True)).public is False
    sent = exporting.request(replace(state, upload="ada/mine", public=True))
    assert (sent.upload, sent.public) == ("ada/mine", True)


def opened(page: Page, query: str) -> tuple[merge.Merge, dict[Any, Any]]:
    tab = merge.build()
    merge.wire(tab, page)
    return tab, merge.opened(tab, page, query)


def test_a_run_s_own_link_opens_the_exports_with_that_run(page: Page, facade: FakeFacade) -> None:
    run = facade.run("pirate-1").summary
    link = run_fragments.actions(page.text, run, ())
    assert 'data-address="tab=merge&amp;export=run:pirate-1"' in link
    assert "data-go" not in run_fragments.actions(page.text, replace(run, adapter=None), ())
    tab, updates = opened(page, "?tab=merge&export=run:pirate-1")
    assert updates[tab.exports.board].visible is True
    assert updates[tab.mix].visible is False
    assert '<option value="run:pirate-1" selected' in str(updates[tab.exports.form])
    assert tab.form not in updates
    tab, updates = opened(page, "?tab=merge")
    assert (updates[tab.mix].visible, updates[tab.exports.board].visible) == (True, False)


def test_what_a_model_can_not_become_is_said_and_another_format_taken(page: Page) -> None:
    tab, updates = opened(page, "?tab=merge&export=starter&format=adapter")
    assert updates[tab.exports.state].format != "adapter"
    form = str(updates[tab.exports.form])
    assert "starter has no adapter" in form
    assert form.count(" disabled") == 1
    state = replace(updates[tab.exports.state], model="run:side-1", format="gguf")
    updates = export._chosen(tab.exports, page, state, "merge")
    assert updates[tab.exports.state].format == "adapter"
    form = str(updates[tab.exports.form])
    assert form.count(" disabled") == 2
    assert "What LST trains stands beside the model" in form
    assert escape(page.text("exporting.beside")) in form


def test_a_compact_form_is_offered_to_what_was_saved_compact(page: Page) -> None:
    tab = opened(page, "?tab=merge&export=run:pirate-1")[0]
    for model, there in (("run:pirate-1", False), ("merge:small-1", True)):
        updates = export._chosen(tab.exports, page, Exporting(model, "compact"), "merge")
        assert ('data-format="compact"' in str(updates[tab.exports.form])) is there
        assert (updates[tab.exports.state].format == "compact") is there


def test_every_file_of_an_export_says_its_size(page: Page) -> None:
    shown = card(page, "export-3")
    row = next(part for part in shown.split("<tr>") if "model-q8_0.gguf" in part)
    assert "4.0\N{NO-BREAK SPACE}MB" in row


def test_a_wrong_setting_stays_in_its_field_and_takes_no_other_format(page: Page) -> None:
    address = '?tab=merge&export=run:pirate-1&format=gguf&set={"type":"q2"}'
    tab, updates = opened(page, address)
    state = updates[tab.exports.state]
    assert (state.format, state.settings) == ("gguf", {"type": "q2"})
    form = str(updates[tab.exports.form])
    assert escape("'Type' cannot be q2.") in form
    assert 'data-format="gguf" aria-pressed="true"' in form
    assert " disabled" not in form
    (drawn,) = [html for part, html in updates.items() if part is tab.exports.address]
    assert "set=" in str(drawn)


def test_exact_is_asked_only_where_it_changes_something(page: Page) -> None:
    tab = opened(page, "?tab=merge&export=run:pirate-1")[0]
    for model, there in (("run:pirate-1", False), ("run:small-1", True)):
        updates = export._chosen(tab.exports, page, Exporting(model, "gguf"), "merge")
        form = str(updates[tab.exports.form])
        assert (">Exact<" in form) is there
        assert ">Type<" in form


def test_only_the_exports_that_show_are_read(page: Page, facade: FakeFacade, monkeypatch: Any) -> None:
    for _ in range(20):
        facade.export(ExportRequest("run:pirate-1", "gguf"))
    read: list[str] = []
    product = facade.product
    monkeypatch.setattr(facade, "product", lambda run: read.append(run) or product(run))
    shown = str(export._jobs(page, Exporting()))
    assert len(read) == 1 + exporting.LISTED
    assert page.text("exporting.more", count=23 - exporting.LISTED) in shown
    state = Exporting()
    for _ in range(3):
        state = act(page, state, act="more")
    shown = str(export._jobs(page, state))
    assert 'data-act="more"' not in shown
    assert "export-1<" in shown


def test_a_done_export_goes_by_its_own_row_after_the_same_question(page: Page, facade: FakeFacade) -> None:
    row = str(export._jobs(page, Exporting()))
    asked = str(library.remove(page.text, facade.run("export-3").holding, "pirate-1 as GGUF (export-3)"))
    assert asked in row
    assert "Delete pirate-1 as GGUF (export-3)? This frees 4.0 MB." in asked
    assert row.count('data-act="remove"') == 2  # the two that are done
    assert asked in card(page, "export-3")
    state = act(page, Exporting(job="export-3"), act="remove", name="export:export-3", knowing="")
    assert state.job == ""
    assert "export-3" not in [job.run for job in facade.runs("export")]
    state = act(page, Exporting(job="export-4"), act="remove", name="export:export-1", knowing="")
    assert state.job == "export-4"


def test_side_networks_stand_among_the_adapters_with_the_reason(page: Page) -> None:
    tab, updates = opened(page, "?tab=merge")
    form = str(updates[tab.form])
    assert "side-1" in form
    assert "What LST trains stands beside the model and cannot be merged into it." in form


def act(page: Page, state: Exporting, **sent: Any) -> Exporting:
    return export.ACTS[sent["act"]](page, state, sent)


def test_an_export_is_started_stopped_and_begun_anew(page: Page, facade: FakeFacade) -> None:
    state = Exporting("run:pirate-1", "gguf", {"type": "q8_0"})
    state = act(page, state, act="export", upload=" ada/mine ", public=True)
    assert facade.exported == [
        ExportRequest("run:pirate-1", "gguf", {"type": "q8_0"}, upload="ada/mine", public=True)
    ]
    assert state.upload == ""  # the next one stays here unless that is asked for again
    assert facade.runs("export")[0].run == state.job
    tab = merge.build()
    shown = str(export.moving(tab.exports, page, state)[tab.exports.jobs])
    assert "pirate-1 as GGUF" in shown
    assert 'data-act="stop"' in shown
    act(page, state, act="stop", run=state.job)
    stopped = str(export.moving(tab.exports, page, state)[tab.exports.jobs])
    assert 'data-act="resume"' in stopped
    assert escape(page.text("exporting.stopped")) in stopped
    act(page, state, act="resume", run=state.job)
    assert facade.runs("export")[0].state == "running"
    assert act(page, state, act="drop", run=state.job).job == ""
    assert state.job not in [job.run for job in facade.runs("export")]


def card(page: Page, job: str) -> str:
    return str(export._job(page, job))


def test_a_done_export_shows_parity_figures_files_and_the_download(page: Page, words: Words) -> None:
    good, bad = card(page, "export-3"), card(page, "export-1")
    assert words.text("exporting.parity.true") in good
    assert "0.0004" in good
    assert "8 of 8" in good
    assert 'href="https://huggingface.co/ada/pirate"' in good
    assert 'href="studio/export/export-3" download' in good
    assert 'href="studio/export/export-3/model-q8_0.gguf" download' in good
    assert words.text("exporting.parity.false") in bad
    assert escape(words.text("exporting.parity.false.line")) in bad
    assert "1 of 8" in bad


def test_the_smallest_difference_is_written_out(page: Page, facade: FakeFacade) -> None:
    product, detail = facade.product("export-3"), facade.run("export-3")
    parity = {**product.facts["parity"], "max_difference": None, "bound": None}
    overflowed = replace(product, facts={**product.facts, "parity": parity})
    assert f">{DASH}<" in str(draw.job(page.text, detail, overflowed, None, None))
    parity = {**product.facts["parity"], "max_difference": 1.049e-05, "bound": 612.3}
    shown = draw.job(
        page.text, detail, replace(product, facts={**product.facts, "parity": parity}), None, None
    )
    assert ">0.00001<" in shown
    assert page.text("exporting.off.allowed", bound="610") in shown


def test_one_that_was_asked_a_greeting_alone_says_so(page: Page, facade: FakeFacade) -> None:
    product, detail = facade.product("export-3"), facade.run("export-3")
    for rows_of, said in ([], True), (["run:pirate-1"], False):
        made = replace(product, facts={**product.facts, "rows_of": rows_of})
        shown = str(draw.job(page.text, detail, made, None, None))
        assert (page.text("exporting.greeting") in shown) == said


def test_two_exports_of_one_model_are_told_apart(page: Page, facade: FakeFacade) -> None:
    facade.export(ExportRequest("run:pirate-1", "gguf"))
    shown = str(export._jobs(page, Exporting()))
    assert shown.count(">pirate-1 as GGUF<") == 2
    assert shown.count(">export-3<") == shown.count(">export-5<") == 1


def test_a_refused_upload_and_a_full_disk_say_what_happened(page: Page, facade: FakeFacade) -> None:
    product = facade.product("export-3")
    detail = facade.run("export-3")
    facts = {**product.facts, "uploaded": None}
    shown = draw.job(page.text, detail, replace(product, facts=facts), None, ("No login.", "Log in."))
    assert page.text("exporting.not_uploaded") in shown
    assert "No login." in shown
    failed = card(page, "export-2")
    assert "There is no room on the disk" in failed
    assert 'data-act="resume"' in failed


def asked(facade: FakeFacade, *paths: str) -> list[httpx.Response]:
    app = fastapi.FastAPI()
    app.include_router(downloads.router(facade, Words("en")))

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.get(f"/studio/export/{path}") for path in paths]

    with ThreadPoolExecutor(1) as thread:  # a browser test in this process leaves an event loop running
        return thread.submit(asyncio.run, ask()).result()


def test_the_download_is_a_zip_of_all_files_or_one_of_them(facade: FakeFacade) -> None:
    whole, one = asked(facade, "export-3", "export-3/README.md")
    assert whole.headers["content-disposition"] == 'attachment; filename="pirate-1-gguf.zip"'
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.testzip() is None
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    assert sizes == {f"pirate-1-gguf/{name}": size for name, size in FILES.items()}
    assert one.content == b"\x07" * FILES["README.md"]
    assert one.headers["content-disposition"] == 'attachment; filename="README.md"'


def test_a_zip_is_made_in_pieces(facade: FakeFacade) -> None:
    folder = Path(str(facade.product("export-3").path))
    blocks = list(downloads.zipped(folder, list(FILES), "x"))
    assert max(map(len, blocks)) < 2 * 2**20 < sum(map(len, blocks))


@pytest.mark.parametrize(
    "path", ["export-4", "export-9", "pirate-1", "export-3/other.txt", "export-3/..%2F..%2Flog.txt"]
)
def test_nothing_else_is_given(facade: FakeFacade, path: str) -> None:
    (facade.home / "runs" / "log.txt").parent.mkdir(parents=True, exist_ok=True)
    (facade.home / "runs" / "log.txt").write_text("secret")
    (answer,) = asked(facade, path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert "content-disposition" not in answer.headers


def test_a_link_that_leads_out_of_the_folder_is_not_followed(facade: FakeFacade, tmp_path: Path) -> None:
    folder = Path(str(facade.product("export-3").path))
    (tmp_path / "secret").write_text("secret")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    assert [answer.status_code for answer in asked(facade, "export-3", "export-3/README.md")] == [404, 404]

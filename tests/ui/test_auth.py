"""The guard, asked as a browser or another program would ask, around an app that says yes to everything."""

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from backend.hosts import host_allowed, origin_allowed
from ui.auth import CLOSED, Guard, token_of
from ui.fragments.enter import page

TOKEN = "a-token-of-this-home"
HOME_PAGE = {"accept": "text/html"}


def finished(coroutine):
    """Its result, from a thread of its own: a browser test in this process leaves an event loop running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def yes(scope, _, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def guard(words):
    def made(bound="127.0.0.1", password=None):
        return Guard(yes, TOKEN, bound, password, words.text, page)

    return made


def ask(guard, path="/", *, method="GET", host="127.0.0.1:7860", cookie=True, **headers):
    async def run():
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            sent = {k.replace("_", "-"): v for k, v in headers.items()}
            if cookie:
                sent["cookie"] = f"{guard.cookie}={TOKEN}"
            body = sent.pop("body", None)
            return await client.request(method, path, headers=sent, content=body)

    return finished(run())


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(guard):
    answer = ask(guard(), f"/?tab=runs&token={TOKEN}", cookie=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?tab=runs")
    cookie = answer.headers["set-cookie"]
    assert TOKEN in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("address", ["/", "/?token=", "/?token=wrong"])
def test_without_the_token_a_page_says_how_to_get_in(guard, words, address):
    answer = ask(guard(), address, cookie=False, **HOME_PAGE)
    assert answer.status_code == 401
    assert words.text("enter.title") in answer.text
    assert "python launch.py" in answer.text
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/config",
        "/gradio_api/queue/join",
        "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd",
        "/assets/x.js",
        "/studio/alive",
        "/studio/export/export-1",
        "/studio/studio.js",
        "/theme.css",
    ],
)
def test_every_route_needs_the_cookie(guard, path):
    assert ask(guard(), path, cookie=False).json() == {"error": {"code": "no_token"}}
    assert ask(guard(), path, cookie=False).status_code == 401
    assert ask(guard(), path).status_code == 200


def test_a_cookie_of_another_home_does_not_open_this_one(guard):
    other = Guard(yes, "another", "127.0.0.1", None, None, page)
    assert other.cookie != guard().cookie
    assert ask(guard(), "/config", cookie=False, **{"Cookie": f"{guard().cookie}=another"}).status_code == 401


@pytest.mark.parametrize("other", ['prefs={"a": 1}', "a b=c", "nothing", "x=1=2"])
def test_cookies_of_other_programs_on_this_host_do_not_hide_the_studio_s(guard, other):
    mine = f"{guard().cookie}={TOKEN}"
    for cookies in (f"{other}; {mine}", f"{mine}; {other}"):
        assert ask(guard(), "/config", cookie=False, **{"Cookie": cookies}).status_code == 200
    assert ask(guard(), "/config", cookie=False, **{"Cookie": other}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_a_name_that_is_not_this_machine_is_refused_even_with_the_cookie(guard, host):
    assert ask(guard(), "/config", **{"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST"])
def test_a_tunnel_may_have_another_port(guard, host):
    assert ask(guard(), "/config", **{"Host": host}).status_code == 200


def test_other_hosts_are_answered_only_where_it_was_bound_for_them():
    assert not host_allowed("192.168.1.7:7860", "127.0.0.1")
    assert host_allowed("192.168.1.7:7860", "0.0.0.0")
    assert host_allowed(os.uname().nodename, "0.0.0.0")
    assert not host_allowed("evil.example", "0.0.0.0")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860"]
)
def test_a_page_of_another_origin_is_refused(guard, origin):
    answer = ask(guard(), "/gradio_api/queue/join", method="POST", origin=origin)
    assert answer.status_code == 403


def test_a_page_of_this_origin_and_a_program_without_origin_are_served(guard):
    assert (
        ask(guard(), "/gradio_api/queue/join", method="POST", origin="http://127.0.0.1:7860").status_code
        == 200
    )
    assert origin_allowed(None, "127.0.0.1:7860")


@pytest.mark.parametrize("path", CLOSED)
def test_doors_of_gradio_that_nobody_needs_stay_shut(guard, path):
    assert ask(guard(), path + "x").status_code == 404


def test_the_page_may_talk_to_its_own_server_only(guard):
    headers = ask(guard(), "/").headers
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"


def test_a_password_opens_and_a_wrong_one_says_so(guard, words):
    behind = guard("0.0.0.0", "open sesame")
    page_shown = ask(behind, cookie=False, **HOME_PAGE).text
    assert 'type="password"' in page_shown
    wrong = ask(behind, "/studio/enter", method="POST", cookie=False, body=b"password=no")
    assert (wrong.status_code, words.text("enter.wrong") in wrong.text) == (401, True)
    right = ask(behind, "/studio/enter", method="POST", cookie=False, body=b"password=open+sesame")
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert TOKEN in right.headers["set-cookie"]


def test_without_a_password_none_can_be_given(guard):
    assert ask(guard(), "/studio/enter", method="POST", cookie=False, body=b"password=").status_code == 401


def test_the_way_on_never_leaves_this_server(guard):
    answer = ask(guard(), f"//evil.example/?token={TOKEN}", cookie=False)
    assert answer.headers["location"] == "/"


def test_a_web_socket_is_closed(guard):
    sent = []

    async def send(message):
        sent.append(message)

    finished(guard()({"type": "websocket", "path": "/"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    token = token_of(tmp_path)
    assert len(token) >= 32
    assert token_of(tmp_path) == token
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("left", ["", "\n", "short"])
def test_a_token_that_was_cut_off_is_made_anew(tmp_path, left):
    (tmp_path / "token").write_text(left)
    token = token_of(tmp_path)
    assert len(token) >= 32
    assert token_of(tmp_path) == token
    assert [file.name for file in tmp_path.iterdir()] == ["token"]

"""Who may ask the page, and for what: a probe for each hole that other tools' pages had, harmless here."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from entropic import Base, Mapped, ParameterError, Store
from entropic.store import context_of
from entropic.ui.serve import Server
from ui.pages import Asker, files, looking, serving

PAGES = [
    "/",
    "/explore",
    "/run?id=x",
    "/compare",
    "/failures",
    "/progress",
    "/static/app.css",
    "/api/rows",
    "/api/file?id=x",
]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_served_without_the_token(page, path):
    assert page.raw(path)[0] == 401
    assert page.raw(path, Cookie=f"{page.cookie}x")[0] == 401
    assert page.raw(path + ("&" if "?" in path else "?") + "token=guess")[0] == 401


def test_the_answer_without_a_token_says_where_to_get_one(page):
    assert b"entropic ui" in page.raw("/")[2]


@pytest.mark.parametrize("path", ["/", "/explore", "/static/app.css", "/api/rows"])
def test_all_is_served_with_the_cookie_under_a_strict_policy(page, path):
    status, headers, _ = page.get(path)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_the_token_leaves_the_address_and_the_view_stays_in_it(page):
    view = urlencode([("f.length", ">0.5 <2"), ("sort", "-peak"), ("q", "a&b")])
    status, headers, _ = page.raw(f"/explore?token={page.token}&{view}")
    assert (status, headers["location"]) == (303, f"./explore?{view}")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Lax" in headers["set-cookie"]


def test_the_redirect_after_the_token_stays_on_this_server(page):
    for path in ("//evil.example/", "/\\evil.example", "/a/b//evil.example"):
        _, headers, _ = page.raw(f"{path}?token={page.token}")
        assert headers.get("location", "./").startswith("./")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:80.evil.example", "localhost.", "", "0.0.0.0", "[::2]:80"],
)
def test_a_name_that_another_site_points_here_is_not_answered(page, host):
    assert page.get("/", Host=host)[0] == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST:65000", "[::1]:9"])
def test_a_forwarded_port_does_not_matter(page, host):
    assert page.get("/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_there_is_no_way_to_write(page, method):
    assert page.raw("/api/rows", method, Cookie=page.cookie)[0] == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_what_another_site_asks_for_is_refused_even_with_the_cookie(page, headers):
    assert page.get("/api/rows", **headers)[0] == 403


def test_a_link_that_a_person_follows_from_another_site_works(page):
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert page.get("/", **followed)[0] == 200


def test_a_web_socket_is_not_opened(page):
    status, _, _ = page.get(
        "/", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Key="x", Sec_WebSocket_Version="13"
    )
    assert status != 101


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/%2e%2e/site.py",
        "/static/..%2fsite.py",
        "/static/..%5csite.py",
        "/static//etc/hostname",
        "/static/%00",
        "/../probe.txt",
        "/api/../static",
        "/api/file/..%2fprobe.txt",
        "/run/../../probe.txt",
        "/..;/probe.txt",
    ],
)
def test_no_path_leads_out_of_what_is_served(page, study, path):
    (study.results_dir.parent / "probe.txt").write_text("beside")
    status, _, body = page.get(path)
    assert status in (400, 404)
    assert b"beside" not in body
    assert b"import" not in body


@pytest.mark.parametrize(
    "id", ["../probe.txt", "/etc/hostname", "file:///etc/hostname", "..%2fprobe.txt", "x#../probe.txt", "a\0b", "."]
)
def test_no_key_is_a_path(page, study, id):
    (study.results_dir.parent / "probe.txt").write_text("beside")
    for name in ("file", "result", "array", "run"):
        status, _, body = page.get(
            f"/api/{name}?{urlencode({'id': id, 'path': '/etc/hostname', 'array': '../probe.txt'})}"
        )
        assert status in (200, 400, 404)
        assert b"beside" not in body
        if status == 200:
            assert b'"kind":"none"' in body


class Line(Base):
    __tablename__ = "lines"
    n: Mapped[int]


def write(params):
    Path(params["result_file"]).write_text(f"line {params['n']}")


@pytest.fixture
def lines(tmp_path):
    store = Store(write, Line, tmp_path / "results", ".txt", f"sqlite:///{tmp_path / 'lines.sqlite3'}")
    (tmp_path / "probe.txt").write_text("beside")
    return store


def changed(store: Store[Line], sql: str, *values: object) -> None:
    """Change the database as somebody else could who hands it on."""
    with context_of(store).database.engine.connect() as connection:
        connection.exec_driver_sql(sql, values)
        connection.commit()


@pytest.mark.slow
def test_a_row_whose_path_leads_elsewhere_is_not_followed(lines, tmp_path):
    row = lines.run_or_retrieve({"n": 1})
    probe = str(tmp_path / "probe.txt")
    changed(lines, "UPDATE entropic_ledger SET published = NULL, path = NULL, registered = NULL")
    changed(lines, "UPDATE lines SET result_file = ?", probe)
    for asker in serving(lines):
        assert "outside" in asker.api("result", id=row.id)["why"]
        assert "outside" in asker.refused("file", id=row.id)[1]


def test_a_place_in_the_ledger_that_leads_elsewhere_is_not_followed(lines, tmp_path):
    row = lines.run_or_retrieve({"n": 1})
    changed(lines, "UPDATE entropic_ledger SET path = ?", "../probe.txt")
    for asker in serving(lines):
        _, _, body = asker.get(f"/api/result?id={row.id}")
        assert b"beside" not in body
        assert asker.get(f"/api/file?id={row.id}")[0] >= 400


def test_a_result_that_became_a_link_to_elsewhere_is_not_followed(lines, tmp_path):
    row = lines.run_or_retrieve({"n": 1})
    Path(row.result_file).unlink()
    Path(row.result_file).symlink_to(tmp_path / "probe.txt")
    for asker in serving(lines):
        assert "outside" in asker.api("result", id=row.id)["why"]
        assert asker.get(f"/api/file?id={row.id}")[0] == 404


def test_a_registered_file_is_shown_where_it_is_and_nothing_beside_it(lines, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "elsewhere.txt").write_text("registered")
    row = lines.register({"n": 7}, tmp_path / "made" / "elsewhere.txt")
    for asker in serving(lines):
        assert asker.api("result", id=row.id)["text"] == "registered"


@pytest.mark.slow
def test_a_log_that_became_a_link_is_not_read(lines, tmp_path):
    lines.sweep([{"n": 1}], workers=1)
    row = lines.retrieve({"n": 1})
    context = context_of(lines)
    log = Path(context.staging.log(context.key_of(row.id)))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    log.symlink_to(tmp_path / "probe.txt")
    for asker in serving(lines):
        assert asker.api("run", id=row.id)["log"] is None


@pytest.mark.slow
def test_looking_changes_no_file(lines, tmp_path):
    row = lines.run_or_retrieve({"n": 1})
    context_of(lines).database.connection().close()
    before = files(tmp_path)
    for asker in serving(lines):
        for name in ("schema", "counts", "rows", "failures", "progress", "export"):
            assert asker.get(f"/api/{name}")[0] == 200
        for name in ("run", "result", "file"):
            assert asker.get(f"/api/{name}?id={row.id}")[0] == 200
    assert files(tmp_path) == before


# ---- where it listens --------------------------------------------------------------------------------------------
def test_an_address_of_other_machines_needs_to_be_allowed_and_keeps_the_token(study):
    with pytest.raises(ParameterError, match="--exposed"):
        Server(context_of(looking(study)), 0, "0.0.0.0")
    for asker in serving(study, host="0.0.0.0", exposed=True):
        assert asker.raw("/")[0] == 401
        assert asker.get("/", Host="elsewhere.example")[0] == 421


def test_it_listens_to_this_machine_only(page):
    assert urlsplit(page.server.address).hostname == "127.0.0.1"


def test_another_name_is_answered_if_it_was_allowed(study):
    for asker in serving(study, allowed=["hub.example"]):
        assert asker.get("/", Host="hub.example:443")[0] == 200
        assert asker.get("/", Host="evil.example")[0] == 421


def test_a_port_that_is_taken_is_said(study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ParameterError, match=f"port {taken.getsockname()[1]}"):
            Server(context_of(looking(study)), taken.getsockname()[1])


def test_two_pages_on_one_machine_keep_their_cookies_apart(study, page):
    for other in serving(study):
        assert page.cookie.partition("=")[0] != other.cookie.partition("=")[0]
        assert page.raw("/", Cookie=f"{other.cookie}; {page.cookie}")[0] == 200


# ---- in a notebook -----------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_in_a_notebook_the_token_is_in_the_path_and_only_there(study):
    shown = study.ui()
    try:
        text = shown._repr_html_()
        assert shown.url in text
        assert "token" not in repr(shown) or shown._server.token not in repr(shown)
        path = urlsplit(shown.url).path
        asker = object.__new__(Asker)
        asker.server, asker._at = shown._server, urlsplit(shown.url)
        framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
        status, headers, body = asker.raw(path, **framed)
        assert status == 200
        assert b"static/runs.js" in body
        assert "http://localhost:*" in headers["content-security-policy"]
        assert asker.raw(f"{path}api/rows")[0] == 200
        assert asker.raw("/guess/api/rows")[0] == 401
        assert asker.raw("/api/rows")[0] == 401
    finally:
        shown.stop()


def test_a_store_in_memory_has_no_page(tmp_path):
    store = Store(write, Line, tmp_path / "results", ".txt", "sqlite://")
    with pytest.raises(Exception, match="in memory"):
        store.ui()

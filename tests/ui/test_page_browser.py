"""The page in a real browser: what a person does with it. What goes wrong in a tab fails each of these tests."""

from __future__ import annotations

import io
import platform
import re
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode, urlsplit

import pytest
from PIL import Image

from contract.models import wait_until
from entropic import Base, Mapped, Store, outcome
from ui.pages import SETS, Solver, serving, serving_it, watched

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=90_000)
pytestmark = pytest.mark.slow

STORED = len([one for one in SETS if one["seed"] != 3])


def rows(page):
    return page.locator(".tabulator-tableholder .tabulator-row")


def colours(page) -> int:
    """Return how many colours the chart has on the screen: an empty one has few."""
    found = Image.open(io.BytesIO(page.locator("#chart").screenshot())).convert("RGB")
    return len(found.getcolors(found.width * found.height))


def drawn(page):
    expect(page.locator("#chart[data-state=drawn]")).to_be_visible()


def test_runs_are_shown_filtered_sorted_and_kept_in_the_address(tab):
    page = tab.page
    expect(rows(page)).to_have_count(STORED)
    expect(page.get_by_role("status").filter(has_text="runs")).to_have_text(f"{STORED} runs")
    expect(page.locator("#folded")).to_contain_text("gravity = 9.81")
    page.get_by_label("filter length").fill(">0.5 <2")
    expect(rows(page)).to_have_count(4)
    page.get_by_role("button", name="seed", exact=True).click()
    expect(rows(page).first).to_contain_text("1")
    expect(page).to_have_url(re.compile(r"f\.length=.*sort=seed|sort=seed.*f\.length="))
    page.get_by_label("filter length").fill("abc")
    expect(page.get_by_role("alert")).to_contain_text("takes a number")
    page.get_by_label("filter length").fill("")
    expect(rows(page)).to_have_count(STORED)
    expect(page.get_by_role("alert")).to_be_hidden()
    tab.wrong[:] = [one for one in tab.wrong if "400" not in one]  # the browser notes the answer to `abc`


def test_the_first_rows_are_there_before_the_table_is_built(tab):
    page, held = tab.page, []
    page.route("**/tabulator.min.js", lambda route: held.append(route))
    page.goto(f"{tab.at}?sort=-length", wait_until="commit")
    shown = page.locator(".preview .tabulator-row")
    expect(shown).to_have_count(STORED)
    expect(shown.first).to_contain_text("2")
    expect(shown.first).to_contain_text("done")
    assert rows(page).count() == 0
    for one in held:
        one.continue_()
    expect(rows(page)).to_have_count(STORED)
    expect(shown).to_have_count(0)


def test_an_address_brings_the_whole_view_back_with_one_request(tab):
    asked = []
    tab.page.on("request", lambda request: asked.append(request.url) if "/api/rows" in request.url else None)
    view = {"f.length": "1, 2", "f.solver": "RK4", "sort": "-seed", "columns": "id,length,seed", "q": "first"}
    tab.page.goto(f"{tab.at}?{urlencode(view)}")
    expect(rows(tab.page)).to_have_count(4)
    expect(rows(tab.page).first.locator("[tabulator-field=seed]")).to_have_text("2")
    expect(tab.page.locator(".tabulator-col[tabulator-field=solver]")).to_be_hidden()
    expect(tab.page.get_by_label("Search")).to_have_value("first")
    assert len(asked) == 1, asked


@pytest.mark.parametrize("where", ["", "explore"])
def test_what_the_browser_fetches_ahead_is_what_the_page_asks_for(tab, where):
    page, asked = tab.page, []
    page.goto("about:blank")
    page.on("request", lambda one: asked.append(one.url) if "/api/" in one.url else None)
    page.goto(f"{tab.at}{where}")
    expect(rows(page).first if where == "" else page.locator("#chart[data-state=drawn]")).to_be_visible()
    asked = [one.partition("/api/")[2] for one in asked]
    assert asked.count("schema") == 1
    assert len([one for one in asked if one.startswith(("rows", "points"))]) == 1


def test_columns_are_sorted_and_runs_opened_with_the_keyboard(tab):
    page = tab.page
    expect(rows(page)).to_have_count(STORED)
    page.get_by_role("button", name="length", exact=True).focus()
    page.keyboard.press("Enter")
    expect(rows(page).first.locator("[tabulator-field=length]")).to_have_text("0.5")
    rows(page).first.get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()


def test_picked_runs_are_compared_with_their_results(tab):
    page = tab.page
    for number in (0, 5):
        rows(page).nth(number).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.get_by_role("heading", name="What differs")).to_be_visible()
    page.get_by_role("button", name=re.compile("^field")).click()
    expect(page.get_by_text(re.compile("^second . first$"))).to_be_visible()
    expect(page.locator(".picture canvas[role=img]")).to_have_count(3)
    page.get_by_role("button", name=re.compile("^angle")).click()
    expect(page.locator(".chart canvas")).to_be_visible()


def test_a_run_shows_its_result_with_sliders_for_further_axes(tab, study):
    row = study.select(length=1.0, seed=1, solver=Solver.RK4)[0]
    page = tab.page
    page.goto(f"{tab.at}run?{urlencode({'id': row.id})}")
    for heading in ("Parameters", "Outcomes", "Custom data", "Result", "Neighbours"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.get_by_role("button", name=re.compile("^cube")).click()
    slider = page.get_by_label("place in axis 0")
    slider.fill("2")
    expect(page.get_by_text("2 of 3")).to_be_visible()
    expect(page).to_have_url(re.compile(r"array=cube.*at=2%2C\*%2C\*"))
    page.reload()
    expect(page.get_by_text("2 of 3")).to_be_visible()
    expect(page.locator(".picture canvas[role=img]")).to_be_visible()


@pytest.mark.parametrize(
    "view",
    [
        "kind=scatter&c=solver",
        "kind=scatter&c=peak&logx=1",
        "kind=lines&by=solver",
        "kind=heatmap&z=result.power",
        "kind=parallel",
    ],
)
def test_each_plot_is_drawn_and_gives_its_lines_of_python(tab, view):
    tab.page.goto(f"{tab.at}explore?{view}")
    drawn(tab.page)
    expect(tab.page.locator("#note")).to_contain_text(f"{STORED} runs")
    assert colours(tab.page) > 20
    tab.page.get_by_role("button", name="Python").click()
    expect(tab.page.locator("#script pre")).to_contain_text("from model import store")
    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="PNG").click()
    with Image.open(saved.value.path()) as picture:
        assert picture.width > 1000


def test_a_click_on_a_point_leads_to_its_run(tab, study):
    row = study.select(length=2.0, seed=2, solver=Solver.RK4)[0]
    page = tab.page
    page.goto(f"{tab.at}explore?x=length&y=seed&f.id={row.id}")
    drawn(page)
    x, y = page.evaluate(
        "() => echarts.getInstanceByDom(document.getElementById('chart')).convertToPixel({seriesIndex: 0}, [2, 2])"
    )
    page.locator("#chart").click(position={"x": x, "y": y})
    expect(page).to_have_url(re.compile(f"run\\?id={row.id}"))


class Spot(Base):
    __tablename__ = "spots"
    n: Mapped[int]
    height: Mapped[int | None] = outcome()


def test_of_so_many_points_that_they_are_drawn_as_one_each_leads_to_its_run(chromium, tmp_path):
    def run(params):
        return {"height": params["n"] * 37 % 2_101}

    store = Store(run, Spot, tmp_path / "results", ".json", f"sqlite:///{tmp_path / 'spots.sqlite3'}")
    store.sweep([{"n": n} for n in range(2_101)], progress=False)
    row = store.retrieve({"n": 1_000})
    for asker in serving(store):
        for tab in watched(chromium, asker):
            page = tab.page
            page.goto(f"{tab.at}explore?x=n&y=height")
            drawn(page)
            x, y = page.evaluate(
                "at => echarts.getInstanceByDom(document.getElementById('chart')).convertToPixel({seriesIndex: 0}, at)",
                [row.n, row.height],
            )
            page.locator("#chart").click(position={"x": x, "y": y})
            expect(page).to_have_url(re.compile(f"run\\?id={row.id}"))


def test_failures_are_grouped_and_what_they_hold_is_text(tab):
    page = tab.page
    page.goto(f"{tab.at}failures")
    expect(page.get_by_text("6 runs")).to_be_visible()
    expect(page.get_by_text("seed = 3")).to_be_visible()
    expect(page.locator("p.value")).to_contain_text("<script>")
    expect(page.locator("pre")).to_contain_text("raise ValueError")


def test_stored_html_is_shown_as_text_on_every_page(tab, study):
    page = tab.page
    row, other = study.select(seed=2, limit=2)
    failure = study.failures()[0]
    expect(rows(page)).to_have_count(STORED)
    expect(page.locator("[tabulator-field=note]").filter(has_text="<script>").first).to_be_visible()
    ways = [
        f"run?id={row.id}",
        f"run?id={failure.id}",
        f"compare?id={row.id}&id={other.id}",
        "explore?x=note&y=peak&c=note",
    ]
    for way in [*ways, "explore?kind=lines&x=length&by=note", "explore?kind=heatmap&x=note", "failures", "progress"]:
        page.goto(f"{tab.at}{way}")
        expect(page.locator("main > :nth-child(2)")).to_be_visible()
        if "explore" in way:
            drawn(page)
            page.locator("#chart").hover()
        assert page.locator("main img[src=x], main script").count() == 0
        assert page.title() != "reached"


def each_page(tab, study):
    """Go to each page; yield which it is, once it is drawn."""
    a, b = study.select(limit=2)
    ways = (
        "",
        "explore",
        "explore?kind=heatmap",
        f"run?id={a.id}",
        f"compare?id={a.id}&id={b.id}",
        "failures",
        "progress",
    )
    for way in ways:
        tab.page.goto(f"{tab.at}{way}")
        expect(tab.page.locator("main > :nth-child(2)")).to_be_visible()
        yield way


@pytest.mark.each("width")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_no_page_is_wider_than_the_screen(chromium, page, study, width, scheme):
    for tab in watched(chromium, page, color_scheme=scheme):
        tab.page.set_viewport_size({"width": width, "height": 800})
        for way in each_page(tab, study):
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, way


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(chromium, page, study, scheme):
    """As far as axe finds what is serious: contrast, names, the order of headings, what the keyboard reaches."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for tab in watched(chromium, page, color_scheme=scheme):
        for way in each_page(tab, study):
            told = axe.run(tab.page).response
            serious = [one for one in told["violations"] if one["impact"] in ("serious", "critical")]
            assert [f"{way}: {one['help']}: {one['nodes'][0]['html']}" for one in serious] == []
            assert len(told["passes"]) > 10, "it has looked"


def test_stale_runs_are_counted_above_the_page_and_a_click_lists_them(chromium, tmp_path):
    def opened(version, **options):
        where = tmp_path / "results", ".json", f"sqlite:///{tmp_path / 'steps.sqlite3'}"
        return Store(lambda params: params["n"], Step, *where, version=version, on_stale="ignore", **options)

    opened("1").sweep([{"n": n} for n in range(3)], progress=False)
    opened("2").run({"n": 0})
    for asker in serving_it(opened("2", read_only=True)):
        for tab in watched(chromium, asker):
            expect(rows(tab.page)).to_have_count(3)
            tab.page.get_by_role("link", name="2 stale").click()
            expect(rows(tab.page)).to_have_count(2)
            tab.page.get_by_role("button", name="Clear filters").click()
            expect(rows(tab.page)).to_have_count(3)
            tab.page.get_by_role("link", name="2 stale").click()
            rows(tab.page).first.get_by_role("link").click()
            expect(tab.page.get_by_role("heading", name="Where it comes from")).to_be_visible()
            expect(tab.page.get_by_text(platform.node()).first).to_be_visible()


class Step(Base):
    __tablename__ = "steps"
    n: Mapped[int]


def test_a_sweep_goes_on_while_the_page_looks_and_the_page_follows(chromium, tmp_path):
    gate = threading.Semaphore(0)

    def run(params):
        assert gate.acquire(timeout=300)
        return params["n"]

    store = Store(run, Step, tmp_path / "results", ".json", f"sqlite:///{tmp_path / 'steps.sqlite3'}")
    sweep = threading.Thread(target=lambda: store.sweep([{"n": n} for n in range(4)]), daemon=True)
    for asker in serving(store):
        for tab in watched(chromium, asker):
            expect(tab.page.get_by_text("No runs to show.")).to_be_visible()
            sweep.start()
            expect(tab.page.get_by_role("link", name="1 running")).to_be_visible()
            for done in (1, 2):
                gate.release()
                expect(tab.page.get_by_role("link", name=f"{done} done")).to_be_visible()
                expect(rows(tab.page)).to_have_count(done)
            tab.page.goto(f"{tab.at}progress")
            expect(tab.page.get_by_role("heading", name="Running")).to_be_visible()
            gate.release(2)
            wait_until(lambda: not sweep.is_alive())
            expect(tab.page.get_by_text("Nothing is running.")).to_be_visible()
            tab.page.goto(tab.at)
            expect(rows(tab.page)).to_have_count(4)
    assert store.check().ok


def test_a_server_that_has_stopped_is_said(chromium, study):
    for asker in serving(study):
        tabs = watched(chromium, asker)
        tab = next(tabs)
        expect(rows(tab.page)).to_have_count(STORED)
        asker.server.stop()
        expect(tab.page.get_by_role("alert")).to_contain_text("is `entropic ui` still running?")
        tab.wrong.clear()  # the browser notes each request that found nobody
        tab.context.close()


def test_a_link_on_another_page_leads_in_with_its_token(chromium, study):
    for asker in serving(study):
        with served(f'<a href="{asker.server.url}&q=first">to the page</a>') as other:
            context = chromium.new_context()
            page = context.new_page()
            page.goto(other)
            page.get_by_role("link").click()
            expect(rows(page)).to_have_count(STORED)
            assert "token" not in page.url
            assert "q=first" in page.url
            context.close()


def test_a_notebook_on_another_port_shows_the_page_in_its_cell(chromium, study):
    shown = study.ui()
    try:
        with served(shown._repr_html_()) as notebook:
            context = chromium.new_context()
            page = context.new_page()
            page.goto(notebook)
            frame = page.frame_locator("iframe")
            expect(frame.locator(".tabulator-row")).to_have_count(STORED)
            frame.get_by_role("link", name="Failures").click()
            expect(frame.get_by_text("6 runs")).to_be_visible()
            context.close()
    finally:
        shown.stop()


def test_another_site_sees_nothing_of_it_with_the_cookie_of_the_browser(chromium, page):
    for tab in watched(chromium, page):
        expect(rows(tab.page)).to_have_count(STORED)
        with served(f'<iframe src="{tab.at}"></iframe><img src="{tab.at}static/icon.svg">') as other:
            evil = tab.context.new_page()
            evil.goto(other.replace("127.0.0.1", "localhost"))
            read = "address => fetch(address, {credentials: 'include'}).then(one => one.text(), () => 'nothing')"
            assert evil.evaluate(read, f"{tab.at}api/rows") == "nothing"
            assert evil.evaluate("document.images[0].naturalWidth") == 0
            assert evil.frames[1].locator(".tabulator").count() == 0


def test_a_proxy_may_put_a_prefix_before_it(chromium, page):
    to = urlsplit(page.server.address).port
    with served("", prefix="/user/me/proxy/", to=to) as proxy:
        context = chromium.new_context()
        tab = context.new_page()
        at = f"{proxy}user/me/proxy/"
        tab.goto(f"{at}?token={page.token}&f.seed=1")
        expect(rows(tab)).to_have_count(6)
        assert tab.url.startswith(at)
        tab.get_by_role("link", name="Explore").click()
        drawn(tab)
        assert tab.url.startswith(f"{at}explore?")
        tab.get_by_role("link", name="entropic").click()
        rows(tab).first.get_by_role("link").click()
        expect(tab.get_by_role("heading", name="Result")).to_be_visible()
        context.close()


class served:
    """Serve one page at another port; or, below a prefix, what a server elsewhere answers to the rest of the path."""

    def __init__(self, body: str, prefix: str | None = None, to: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if prefix is None or not self.path.startswith(prefix):
                    self.answer(200, [("content-type", "text/html")], f"<!doctype html>{body}".encode())
                    return
                there = HTTPConnection("127.0.0.1", to, timeout=90)
                kept = {
                    name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
                }
                there.request("GET", "/" + self.path.removeprefix(prefix), headers=kept)
                with there.getresponse() as answer:
                    content = answer.read()
                there.close()
                hop = ("transfer-encoding", "connection", "content-length")
                self.answer(answer.status, [h for h in answer.getheaders() if h[0].lower() not in hop], content)

            def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response(status)
                for name, value in [*headers, ("content-length", str(len(content)))]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

"""The report in a browser: by keyboard, on a phone, in the dark, and on paper."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from browser import SECONDS, chromium, needs_chromium
from compare.helpers import ENVIRONMENT, write_run, write_seeds

from normlab.report import cli

pytestmark = needs_chromium
NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92, 0.95, 0.91, 0.92, 0.94]
MATCHES = "return matchMedia(arguments[0]).matches"
HOSTILE = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report over 22 runs: one diverged, one failed on a machine named HOSTILE."""
    folder = tmp_path_factory.mktemp("runs")
    custom = [value + 0.02 for value in NONE]
    write_seeds(
        folder, {"none": NONE, "custom": custom}, curve=[0.5, 0.8, 0.9], layers=True
    )
    write_run(folder, "none", 10, 0.1, "diverged", curve=[0.2])
    write_run(
        folder,
        "none",
        11,
        None,
        "failed",
        environment=ENVIRONMENT | {"device": {"name": HOSTILE}},
    )
    out = folder / "report"
    cli.main(
        [
            str(folder),
            "--margin",
            "0.001",
            "--target",
            "val/accuracy=0.85",
            "--out",
            str(out),
        ]
    )
    return out / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser, report):
    """The report, newly opened on a desktop in light."""
    view(browser, 1280, "light")
    browser.get(report.as_uri())
    wait_for_a_frame(browser)
    return browser


def view(browser, width: int, scheme: str, medium: str = "screen") -> None:
    """Show the page in another size, scheme or medium, and wait until it is."""
    size = {
        "width": width,
        "height": 900,
        "deviceScaleFactor": 1,
        "mobile": width < 600,
    }
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": medium, "features": [feature]}
    )
    # The page learns of both some time after the commands have returned.
    query = f"{medium} and (width: {width}px)"
    if medium == "screen":  # what is printed is always light
        query += f" and (prefers-color-scheme: {scheme})"
    wait_until(browser, lambda: browser.execute_script(MATCHES, query))
    wait_for_a_frame(browser)


def wait_for_a_frame(browser) -> None:
    """Wait until the page is laid out, observers of sizes included.

    A click goes to where its element was; it must not move by then.
    """
    browser.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    )


def wait_until(browser, condition) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, SECONDS).until(lambda _: condition())


def find(page, selector: str):
    return page.find_element("css selector", selector)


def texts(page, selector: str) -> list[str]:
    return [element.text for element in page.find_elements("css selector", selector)]


def wait_until_open(page, selector: str) -> None:
    """Wait for the page to open what a link points to, which follows the click."""
    wait_until(page, lambda: find(page, selector).get_attribute("open") == "true")


def shown_runs(page) -> list[str]:
    return texts(page, "#runs-table tbody tr:not([hidden]) summary")


def test_it_loads_without_errors_and_asks_for_nothing_else(browser, report):
    browser.get_log("performance")
    browser.get(report.as_uri())
    events = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [report.as_uri()]
    assert browser.get_log("browser") == []
    title = "How does test/accuracy depend on norm? mlp on digits"
    assert find(browser, "h1").text == browser.title == title


def test_the_verdict_comes_first(page):
    assert texts(page, "h2")[0] == "Verdict"
    assert find(page, ".answer").text.startswith(
        "✓ Better: custom does better than none by ranks, with diverged and failed runs"
    )


def test_what_runs_hold_is_text_and_never_markup(page):
    assert HOSTILE in find(page, "#runs").get_attribute("textContent")
    assert page.title != "hacked"
    assert page.find_elements("css selector", "img") == []


def test_a_table_sorts_by_keyboard_and_says_so(page):
    from selenium.webdriver.common.keys import Keys

    header = find(page, "#runs-table th:nth-of-type(5)")
    assert (header.text.split()[0], header.get_attribute("aria-sort")) == (
        "test/accuracy",
        "none",
    )
    button = header.find_element("tag name", "button")
    button.send_keys(Keys.ENTER)
    scores = [
        float(text)
        for text in texts(page, "#runs-table tbody td:nth-of-type(4)")
        if text != "–"
    ]
    assert header.get_attribute("aria-sort") == "ascending"
    assert scores == sorted(scores)
    assert len(scores) == 21
    button.send_keys(Keys.SPACE)
    shown = texts(page, "#runs-table tbody td:nth-of-type(4)")
    assert header.get_attribute("aria-sort") == "descending"
    assert (shown[0], shown[-1]) == ("0.9700", "–")  # what has no value stays last


def test_numbers_sort_by_value_and_not_by_letters(page):
    find(page, "#runs-table th:nth-of-type(3) button").click()  # seed
    seeds = [int(text) for text in texts(page, "#runs-table tbody td:nth-of-type(2)")]
    assert seeds == sorted(seeds)
    assert seeds[-1] == 11


def test_runs_are_filtered_by_words_and_by_status(page):
    from selenium.webdriver.support.select import Select

    box = find(page, "#filter-text")
    box.send_keys("custom seed=3")
    assert [text.split("-seed")[1][0] for text in shown_runs(page)] == ["3"]
    assert find(page, "#filter-count").text == "1 of 22 runs shown"
    box.clear()
    box.send_keys(" ")
    Select(find(page, "#filter-status")).select_by_visible_text("diverged")
    assert len(shown_runs(page)) == 1
    Select(find(page, "#filter-status")).select_by_visible_text("all")
    assert find(page, "#filter-count").text == "22 of 22 runs shown"


def test_a_run_opens_with_its_settings_origin_and_files(page, report):
    run = find(page, "#run-0")
    assert run.get_attribute("open") is None
    run.find_element("tag name", "summary").click()
    facts = dict(zip(texts(page, "#run-0 dt"), texts(page, "#run-0 dd"), strict=True))
    assert facts["norm"] == "custom"
    assert facts["test/accuracy"] == "0.9200"
    assert facts["origin"] == "A"
    for link in page.find_elements(
        "css selector", "#run-0 dd a[href$='.json'], #run-0 dd a[href$='.yaml']"
    ):
        assert Path(unquote(urlparse(link.get_attribute("href")).path)).is_file()
    run.find_element("link text", "A").click()
    wait_until_open(page, "#origin-a")
    assert "0123456789abcdef" in find(page, "#origin-a").text


def test_a_link_to_a_run_opens_it(browser, report):
    browser.get(f"{report.as_uri()}#run-3")
    wait_until_open(browser, "#run-3")


def test_it_prints(page):
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
    view(page, 760, "dark", "print")
    assert not find(page, "nav").is_displayed()
    assert not find(page, ".filters").is_displayed()
    assert colour(page, "body", "background-color") == (255, 255, 255)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_only_tables_and_figures_scroll_sideways(page, width):
    view(page, width, "light")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_phone_is_told_that_a_table_goes_on(page):
    view(page, 390, "light")
    box = find(page, "#runs .scroll")
    hint = find(page, "#runs .scroll + .more")
    assert hint.is_displayed()
    page.execute_script("arguments[0].scrollLeft = 10000", box)
    wait_until_hidden(page, hint)
    view(page, 1280, "light")
    assert not any(hint.is_displayed() for hint in hints(page, ".scroll"))


def test_the_cards_fill_the_width_of_a_desktop(page):
    cards = page.find_elements("css selector", ".answers > .answer")
    right_ends = {card.rect["x"] + card.rect["width"] for card in cards}
    assert max(right_ends) > 1200


def hints(page, box: str) -> list:
    return page.find_elements("css selector", f"{box} + .more")


def wait_until_hidden(page, element) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(page, 20).until(lambda _: not element.is_displayed())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    view(page, 1280, scheme)
    background = colour(page, "body", "background-color")
    assert (sum(background) < 150) == (scheme == "dark")
    for selector in (
        "body",
        ".about",
        "nav a",
        "figcaption",
        ".good .word",
        "#runs-table summary",
    ):
        assert contrast(colour(page, selector, "color"), background) >= 4.5, selector
    for name in ("good", "bad", "open", "same", "link"):
        value = page.execute_script(
            f"return getComputedStyle(document.body).getPropertyValue('--{name}')"
        ).strip()
        assert contrast(tuple(bytes.fromhex(value[1:])), background) >= 4.5, name


def colour(page, selector: str, name: str) -> tuple[int, ...]:
    return tuple(
        map(
            int,
            re.findall(r"\d+", find(page, selector).value_of_css_property(name))[:3],
        )
    )


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Ratio of luminances by the Web Content Accessibility Guidelines."""

    def luminance(channels: tuple[int, ...]) -> float:
        linear = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
            for c in (v / 255 for v in channels)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_it_can_be_listened_to(page):
    assert find(page, "html").get_attribute("lang") == "en"
    levels = [
        int(element.tag_name[1])
        for element in page.find_elements("css selector", "h1, h2, h3, h4")
    ]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(
        table.find_elements("tag name", "caption")
        for table in page.find_elements("tag name", "table")
    )
    headers = page.find_elements("tag name", "th")
    assert {header.get_attribute("scope") for header in headers} == {"col", "row"}
    for row in page.find_elements("css selector", "tbody tr"):
        assert len(row.find_elements("css selector", "th[scope=row]")) == 1
    for figure in page.find_elements("css selector", "figure svg"):
        assert figure.get_attribute("role") == "img"
        assert len(figure.get_attribute("aria-label")) > 40
    for field in page.find_elements("css selector", "input, select"):
        assert field.accessible_name

"""The status page in a real browser, over a real exporter and real status servers."""

import json
import math
import os
import random
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import bcrypt
import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    Route,
    ViewportSize,
    async_playwright,
    expect,
)

from protocol.vocabulary import Command
from smtpstatus.version import __version__
from tests.exporter.running import (
    API_TOKEN,
    AUTHORIZED,
    TOKEN,
    Exporter,
    MailServer,
    Start,
    one_target,
    running_mail_server,
    silence,
)
from tests.support.processes import running
from tests.support.real import require

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
API = re.compile(r"/api/v1/targets$")
VIEWPORT: ViewportSize = {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    # The shell takes half the CPU of the whole browser.
    chromium = shutil.which("chromium-headless-shell") or require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def tab(browser: Browser) -> Page:
    """A page for all tests that may share one: a page of its own costs a test 0.3 s of CPU."""
    return await browser.new_page(viewport=VIEWPORT)


class Seen:
    """Page with a record of everything that must not happen on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.addresses: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._requested)
        page.on("pageerror", self._failed)
        page.on("console", self._said)

    def _requested(self, request: Request) -> None:
        self.addresses.append(request.url)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _said(self, message: ConsoleMessage) -> None:
        # The browser's own messages about responses such as 401 are not errors of the page.
        if not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    async def close(self) -> None:
        """Leave the page as it was at first, without an event of the next test."""
        await self.page.unroute_all()
        await self.page.goto("about:blank")
        self.page.remove_listener("request", self._requested)
        self.page.remove_listener("pageerror", self._failed)
        self.page.remove_listener("console", self._said)
        await self.page.set_viewport_size(VIEWPORT)
        await self.page.emulate_media(color_scheme="null", reduced_motion="null")
        assert self.complaints == []


@pytest.fixture
async def seen(tab: Page) -> AsyncIterator[Seen]:
    """The shared page. Every exporter has a port of its own, and so its own storage in the browser."""
    seen = Seen(tab)
    yield seen
    await seen.close()


@pytest.fixture
async def alone(browser: Browser) -> AsyncIterator[Seen]:
    """A page of its own, for a clock, which cannot be removed from a page."""
    page = await browser.new_page(viewport=VIEWPORT)
    seen = Seen(page)
    yield seen
    await page.close()
    assert seen.complaints == []


@pytest.fixture
def page(seen: Seen) -> Page:
    return seen.page


def home(exporter: Exporter) -> str:
    return f"http://127.0.0.1:{exporter.port}/"


def row(page: Page, name: str) -> Locator:
    return page.locator(".row", has=page.get_by_role("heading", name=re.compile(rf"^{name} ")))


def switch(page: Page, name: str = "mail-1") -> Locator:
    return page.get_by_role("switch", name=f"Transforms of {name}")


def targets(*servers: tuple[str, str], timeout: str = "1s") -> str:
    lines = [
        f"  - {{name: '{name}', address: '{address}', token: {TOKEN}}}"
        for name, address in servers
    ]
    return "\n".join([f"timeout: {timeout}", f"api: {{token: {API_TOKEN}}}", "targets:", *lines])


async def next_reading(page: Page, milliseconds: int = 2000) -> None:
    """Advance the clock to the next reading, and wait for it."""
    before = await page.locator("#clock").text_content()
    await page.clock.run_for(milliseconds)
    await expect(page.locator("#clock")).not_to_have_text(before or "")


async def grow(page: Page, times: int, server: MailServer, connections: int, size: int) -> None:
    """Increase the counters evenly from reading to reading."""
    for _ in range(times):
        server.values[Command.CONNECTIONS] += connections
        server.values[Command.TRANSFERRED_BYTES] += connections * size
        await next_reading(page)


async def open_with_a_clock(page: Page, url: str) -> None:
    """Open the page with a clock that is paused until advanced."""
    await page.clock.install(time=1_000_000_000)
    await page.goto(url)
    await expect(page.locator("#clock")).to_contain_text("every")
    await page.clock.pause_at(1_000_010_000)
    # Until the reading that was due meanwhile, or was under way, has ended: the next one is due in 2 s then.
    paused = await page.evaluate(
        """async () => (await import("./assets/format.js")).clock(new Date())"""
    )
    await expect(page.locator("#clock")).to_contain_text(f"{paused} ")


async def give_token(page: Page, token: str = API_TOKEN) -> None:
    await page.get_by_label("API token").fill(token)
    await page.keyboard.press("Enter")


async def test_every_target_is_shown_with_its_state_worst_first(start: Start, page: Page) -> None:
    async with running_mail_server() as up, running_mail_server() as off, silence() as dead:
        off.values[Command.TRANSFORMS] = False
        up.values[Command.ACTIVE_CONNECTIONS] = 3
        text = targets(("a-up", up.address), ("b-off", off.address), ("c-dead", dead))
        await page.goto(home(await start(text)))

        names = page.locator(".row .name")
        await expect(names).to_have_text(["c-dead", "b-off", "a-up"])
        await expect(row(page, "c-dead")).to_contain_text("no answer")
        await expect(row(page, "c-dead").locator(".state")).to_have_text("down")
        await expect(row(page, "a-up").locator(".state")).to_have_text("up")
        await expect(row(page, "a-up").locator(".open")).to_have_text("3")
        await expect(row(page, "a-up")).to_contain_text("51.2 kB total")
        await expect(row(page, "a-up").locator(".trip")).to_have_text(
            re.compile(r"^[\d.]+ [mµ]s$")
        )
        await expect(switch(page, "a-up")).to_be_checked()
        await expect(switch(page, "b-off")).not_to_be_checked()
        await expect(switch(page, "c-dead")).to_be_disabled()
        await expect(page.locator("#down")).to_have_text("1 down")
        await expect(page).to_have_title("1 down · smtpstatus")


async def test_a_target_that_fails_and_recovers_is_announced(
    exporter: Exporter, alone: Seen, mail_server: MailServer
) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    values = dict(mail_server.values)

    mail_server.values.clear()
    await next_reading(page)
    await expect(row(page, "mail-1").locator(".state")).to_have_text("down")
    await expect(row(page, "mail-1").locator(".error")).to_contain_text("failure")
    await expect(page.get_by_role("log")).to_contain_text("mail-1 is down: ")

    mail_server.values.update(values)
    await next_reading(page)
    await expect(row(page, "mail-1").locator(".state")).to_have_text("up")
    await expect(row(page, "mail-1").locator(".error")).to_be_hidden()
    await expect(page.get_by_role("log")).to_have_text("mail-1 is up again.")


async def test_rates_are_computed_between_readings(
    exporter: Exporter, alone: Seen, mail_server: MailServer
) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))

    await grow(page, 6, mail_server, connections=30, size=2000)

    await expect(row(page, "mail-1").locator(".connections .rate")).to_have_text("15/s")
    await expect(row(page, "mail-1").locator(".bytes .rate")).to_have_text("30 kB/s")
    await expect(page.locator("#all-connections")).to_have_text("15/s")
    drawn = await row(page, "mail-1").locator(".connections .line").get_attribute("d")
    assert (drawn or "").count("L") >= 5


async def test_the_rate_is_current_soon_after_an_hour_in_the_background(
    exporter: Exporter, alone: Seen, mail_server: MailServer
) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    await page.get_by_role("button", name="Pause").click()
    await page.clock.run_for(3_600_000)
    async with page.expect_response(API):
        await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#clock")).to_contain_text("every")

    await grow(page, 1, mail_server, connections=20, size=10)

    await expect(row(page, "mail-1").locator(".connections .rate")).to_have_text("10/s")


async def test_a_restarted_server_has_no_negative_rate(
    exporter: Exporter, alone: Seen, mail_server: MailServer
) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    await grow(page, 6, mail_server, connections=20, size=10)

    mail_server.values[Command.CONNECTIONS] = 0
    await grow(page, 1, mail_server, connections=20, size=10)

    await expect(row(page, "mail-1").locator(".connections .rate")).to_have_text("10/s")


async def test_switching_asks_for_confirmation_and_once_for_the_token(
    exporter: Exporter, page: Page, mail_server: MailServer
) -> None:
    await page.goto(home(exporter))
    await switch(page).click()
    dialog = page.get_by_role("dialog", name="Switch off the transforms of mail-1?")
    await expect(dialog).to_be_visible()
    assert mail_server.values[Command.TRANSFORMS] is True

    await dialog.get_by_label("API token").fill(API_TOKEN)
    await dialog.get_by_role("button", name="Switch off").click()

    await expect(page.get_by_role("status")).to_have_text("mail-1 reports: transforms are off.")
    await expect(switch(page)).not_to_be_checked()
    assert mail_server.values[Command.TRANSFORMS] is False

    await switch(page).click()
    await expect(page.get_by_label("API token")).to_be_hidden()
    await page.get_by_role("button", name="Switch on").click()
    await expect(switch(page)).to_be_checked()
    assert mail_server.values[Command.TRANSFORMS] is True


async def test_the_token_is_kept_in_the_tab_and_can_be_removed(
    exporter: Exporter, page: Page
) -> None:
    await page.goto(home(exporter))
    await switch(page).click()
    await give_token(page)
    await expect(switch(page)).not_to_be_checked()

    kept = await page.evaluate("[...Object.values(sessionStorage)]")
    elsewhere = await page.evaluate("[localStorage.length, document.cookie, location.href]")
    assert kept == [API_TOKEN]
    assert elsewhere == [0, "", home(exporter)]
    assert API_TOKEN not in await page.content()

    await page.get_by_role("button", name="Forget API token").click()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_wrong_token_is_reported_and_asked_for_again(
    exporter: Exporter, page: Page
) -> None:
    await page.goto(home(exporter))
    await switch(page).click()
    await give_token(page, "wrong")

    await expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "The exporter did not accept this API token."
    )
    await expect(page.get_by_label("API token")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0

    await give_token(page)
    await expect(switch(page)).not_to_be_checked()


@pytest.mark.parametrize("token", ["", "with space", "ünicode"])
async def test_an_impossible_token_is_not_sent(exporter: Exporter, seen: Seen, token: str) -> None:
    await seen.page.goto(home(exporter))
    await switch(seen.page).click()
    await give_token(seen.page, token)

    await expect(seen.page.get_by_role("alert").filter(visible=True)).to_contain_text("token")
    assert not [address for address in seen.addresses if address.endswith("/transforms")]


async def test_the_page_explains_how_to_enable_writes(
    start: Start, page: Page, mail_server: MailServer
) -> None:
    exporter = await start(one_target(mail_server).replace(f"api: {{token: {API_TOKEN}}}", ""))
    await page.goto(home(exporter))
    await switch(page).click()
    await give_token(page, "any")

    await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text(
        "Forbidden: writing is not enabled"
    )


async def test_a_server_that_ignores_a_switch_is_shown_with_its_real_state(
    exporter: Exporter, page: Page, mail_server: MailServer
) -> None:
    async def disobey(route: Route) -> None:
        await route.fulfill(json={"target": "mail-1", "enabled": True})

    await page.route("**/transforms", disobey)
    await page.goto(home(exporter))
    await switch(page).click()
    await give_token(page)

    await expect(page.get_by_role("status")).to_contain_text("still reports: transforms are on")
    await expect(switch(page)).to_be_checked()


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
async def test_going_back_changes_nothing(
    exporter: Exporter, page: Page, mail_server: MailServer, way: str
) -> None:
    await page.goto(home(exporter))
    await switch(page).click()
    await page.get_by_label("API token").fill(API_TOKEN)
    if way == "Escape":
        await page.keyboard.press("Escape")
    else:
        await page.get_by_role("button", name="Cancel").click()

    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(switch(page)).to_be_checked()
    assert Command.DISABLE_TRANSFORMS not in mail_server.asked


async def test_the_page_can_be_used_with_the_keyboard_only(
    exporter: Exporter, page: Page, mail_server: MailServer
) -> None:
    await page.goto(home(exporter))
    await expect(row(page, "mail-1")).to_be_visible()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await switch(page).evaluate("element => element === document.activeElement"):
            break
    outline = await switch(page).evaluate("element => getComputedStyle(element).outlineStyle")
    await page.keyboard.press("Space")
    await page.keyboard.type(API_TOKEN)
    await page.keyboard.press("Enter")

    await expect(switch(page)).not_to_be_checked()
    await expect(switch(page)).to_be_focused()
    assert outline == "solid"
    assert mail_server.values[Command.TRANSFORMS] is False


async def test_probe_and_history_open_with_one_click(exporter: Exporter, page: Page) -> None:
    await page.goto(home(exporter))
    link = page.get_by_role("link", name="Probe mail-1")

    assert await link.get_attribute("href") == "probe?target=mail-1&debug=true"
    await page.get_by_role("button", name="History of mail-1").click()
    history = page.get_by_role("dialog", name="History of mail-1")
    await expect(history.get_by_role("row").filter(has_text="answered").first).to_be_visible()
    await expect(history).to_contain_text("None since the exporter started.")
    await history.get_by_role("button", name="Close").click()
    await expect(history).to_be_hidden()


async def test_the_links_of_the_page_have_existing_targets(exporter: Exporter, page: Page) -> None:
    await page.goto(home(exporter))
    links = page.get_by_role("navigation").get_by_role("link")
    for address in await links.evaluate_all("links => links.map(link => link.href)"):
        assert (await exporter.http.get(address)).status_code == 200


async def test_search_and_filter_select_targets_and_are_kept_in_the_url(
    start: Start, page: Page
) -> None:
    async with running_mail_server() as up, running_mail_server() as off:
        off.values[Command.TRANSFORMS] = False
        text = targets(("alpha", up.address), ("beta", off.address))
        exporter = await start(text)
        await page.goto(home(exporter))
        shown = page.locator(".row:visible .name")
        await expect(shown).to_have_text(["beta", "alpha"])

        await page.get_by_role("button", name="Transforms off 1").click()
        await expect(shown).to_have_text(["beta"])
        await page.get_by_role("searchbox").fill("ALPHA")
        await expect(page.get_by_text("No target here has “alpha”")).to_be_visible()

        await page.reload()
        await expect(page.get_by_role("searchbox")).to_have_value("ALPHA")
        await expect(page.get_by_text("No target here has “alpha”")).to_be_visible()

        await page.get_by_role("button", name="Show all").click()
        await expect(shown).to_have_text(["beta", "alpha"])
        await page.get_by_label("Order").select_option("by name")
        await expect(shown).to_have_text(["alpha", "beta"])


async def test_a_page_without_targets_explains_what_is_missing(start: Start, page: Page) -> None:
    exporter = await start("targets: []\n")
    await page.goto(home(exporter))

    await expect(page.get_by_role("heading", name="No targets yet")).to_be_visible()
    await expect(page.get_by_text("token_file: /run/secrets/mail-1")).to_be_visible()
    await expect(page.get_by_role("searchbox")).to_be_hidden()


async def test_hostile_text_is_shown_and_not_executed(
    start: Start, page: Page, mail_server: MailServer
) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    text = one_target(mail_server).replace("site: eu", json.dumps("site") + f": '{hostile}'")
    await page.goto(home(await start(text)))

    await expect(row(page, "mail-1")).to_contain_text(f"site={hostile}")
    assert await page.locator("img").count() == 1  # the page's own icon


async def test_an_unreachable_exporter_is_reported_until_it_is_back(
    exporter: Exporter, alone: Seen
) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))

    await page.context.set_offline(True)
    await page.clock.run_for(2000)
    trouble = page.get_by_role("alert").filter(has_text="The exporter cannot be reached.")
    await expect(trouble).to_contain_text("Showing the numbers of")
    await expect(page.locator("#heartbeat")).to_have_class("still")
    await expect(row(page, "mail-1")).to_be_visible()

    await page.context.set_offline(False)
    await page.clock.run_for(2000)
    await expect(trouble).to_be_hidden()


async def test_readings_of_the_page_never_overlap(exporter: Exporter, alone: Seen) -> None:
    page = alone.page
    under_way, most = 0, 0

    async def slowly(route: Route) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await page.clock.run_for(10_000)
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await route.continue_()
        under_way -= 1

    await open_with_a_clock(page, home(exporter))
    await page.route(API, slowly)
    for _ in range(3):
        await next_reading(page)

    assert most == 1


async def test_a_hidden_page_sends_no_requests(exporter: Exporter, alone: Seen) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })"
    )
    before = len(alone.addresses)
    await page.clock.run_for(60_000)
    assert len(alone.addresses) == before

    async with page.expect_response(API):
        await page.evaluate("delete document.hidden")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def test_a_pause_lasts_until_resumed(exporter: Exporter, alone: Seen) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#clock")).to_contain_text("Paused")
    before = len(alone.addresses)
    await page.clock.run_for(60_000)
    assert len(alone.addresses) == before

    async with page.expect_response(API):
        await page.get_by_role("button", name="Resume").click()


async def test_five_hundred_targets_are_updated_in_place(start: Start, alone: Seen) -> None:
    page = alone.page
    async with AsyncExitStack() as stack:
        servers = [
            (f"mx-{index}", (await stack.enter_async_context(running_mail_server())).address)
            for index in range(500)
        ]
        exporter = await start(targets(*servers, timeout="10s"))
        await open_with_a_clock(page, home(exporter))
        await expect(page.locator(".row")).to_have_count(500)
        await page.evaluate(
            """() => {
              globalThis.made = 0; globalThis.longest = 0;
              new MutationObserver((changes) => {
                for (const change of changes) made += change.addedNodes.length;
              }).observe(document.getElementById("rows"), { childList: true });
              new PerformanceObserver((list) => {
                for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
              }).observe({ type: "longtask" });
            }"""
        )
        for _ in range(4):
            await next_reading(page, 5000)
        await expect(page.locator("#clock")).to_contain_text("every 5 s")

        assert await page.evaluate("made") == 0
        assert await page.evaluate("longest") < 1000  # milliseconds, on a busy machine


async def test_the_thousand_worst_targets_of_a_large_fleet_are_shown(
    exporter: Exporter, page: Page
) -> None:
    [mail] = (await exporter.http.get("/api/v1/targets")).json()["targets"]
    fleet = [{**mail, "target": f"mx-{index}"} for index in range(1200)]
    fleet[1199] |= {"up": False, "error": "no answer", "connections_total": None}

    async def many(route: Route) -> None:
        await route.fulfill(json={"targets": fleet})

    await page.route(API, many)
    await page.goto(home(exporter))

    await expect(page.locator(".row")).to_have_count(1000)
    await expect(page.locator(".row .name").first).to_have_text("mx-1199")
    await expect(page.get_by_text("200 more are not shown")).to_be_visible()
    await page.get_by_role("searchbox").fill("mx-119")
    await expect(page.locator(".row")).to_have_count(11)
    await expect(page.get_by_text("more are not shown")).to_be_hidden()


async def test_no_width_needs_horizontal_scrolling(start: Start, page: Page) -> None:
    async with running_mail_server() as up, silence() as dead:
        long = "a-name-" + "as-long-as-names-get-" * 4
        await page.goto(home(await start(targets((long, up.address), ("dead", dead)))))
        await expect(page.locator(".row")).to_have_count(2)
        sideways = {}
        for width in (320, 390, 760, 1000, 1440, 2560):
            await page.set_viewport_size({"width": width, "height": 800})
            sideways[width] = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )

    assert set(sideways.values()) == {0}, sideways


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parsed = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return parsed(getComputedStyle(document.documentElement).backgroundColor);
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled")) continue;
    const [a, b] = [light(parsed(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found[`${element.tagName}.${element.className}#${element.id}`] = ratio;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_has_enough_contrast_in_both_colour_schemes(
    start: Start, page: Page, scheme: Literal["light", "dark"]
) -> None:
    async with running_mail_server() as off, silence() as dead:
        off.values[Command.TRANSFORMS] = False
        await page.emulate_media(color_scheme=scheme)
        await page.goto(home(await start(targets(("off", off.address), ("dead", dead)))))
        await expect(page.locator(".row")).to_have_count(2)
        assert await page.evaluate(CONTRASTS) == {}

        await switch(page, "off").click()
        await page.keyboard.press("Enter")
        assert await page.evaluate(CONTRASTS) == {}


async def test_nothing_is_animated_with_reduced_motion(exporter: Exporter, page: Page) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.goto(home(exporter))

    assert await page.evaluate("document.getAnimations().length") == 0


async def test_the_page_sends_requests_only_to_its_exporter(
    exporter: Exporter, seen: Seen
) -> None:
    await seen.page.goto(home(exporter))
    await expect(row(seen.page, "mail-1")).to_be_visible()

    assert {
        address for address in seen.addresses if not address.startswith(home(exporter))
    } == set()


async def test_the_page_reads_and_switches_with_a_password(
    browser: Browser, mail_server: MailServer, tmp_path: Path
) -> None:
    digest = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{anna: {digest}}}\n")
    with running(
        "smtpstatus-exporter",
        "--web.listen-address=127.0.0.1:0",
        f"--web.config.file={tmp_path / 'web.yml'}",
        SMTPSTATUS_TARGET=mail_server.address,
        SMTPSTATUS_TOKEN=TOKEN,
        SMTPSTATUS_API_TOKEN=API_TOKEN,
    ) as process:
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        page = await browser.new_page(
            http_credentials={"username": "anna", "password": "open sesame"}
        )
        await page.goto(f"http://{address}/")
        await switch(page, mail_server.address).click()
        await give_token(page, "wrong")
        await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("not accept")
        await give_token(page)
        await expect(switch(page, mail_server.address)).not_to_be_checked()
        await page.close()

    assert mail_server.values[Command.TRANSFORMS] is False


class Traffic:
    """Traffic that varies by the hour, the same in every run."""

    def __init__(self, server: MailServer, place: int) -> None:
        self._values = server.values
        self._random = random.Random(place)
        self._busy = float(3 + 4 * place)
        self._values[Command.CONNECTIONS] = self._random.randrange(90_000)
        self._values[Command.TRANSFERRED_BYTES] = self._random.randrange(10**9)

    def flow(self) -> None:
        self._busy *= math.exp(self._random.gauss(0, 0.12))
        self._busy = min(max(self._busy, 1), 40)
        mails = max(round(self._random.gauss(self._busy, math.sqrt(self._busy))), 0)
        self._values[Command.CONNECTIONS] += mails
        self._values[Command.TRANSFERRED_BYTES] += sum(
            int(self._random.lognormvariate(9, 1)) for _ in range(mails)
        )
        self._values[Command.ACTIVE_CONNECTIONS] = round(self._busy / 3)


async def test_the_screenshot_in_the_readme_is_current(
    start: Start, alone: Seen, tmp_path: Path
) -> None:
    """STATUS_PAGE_PNG is the file to write, docs/images/status-page.png; five minutes are simulated for it."""
    page = alone.page
    asked_for = os.environ.get("STATUS_PAGE_PNG")
    async with AsyncExitStack() as stack:
        fleet = {
            name: await stack.enter_async_context(running_mail_server())
            for name in ("mail-1", "mail-2", "mx-backup", "newsletter", "relay-eu")
        }
        fleet["mx-backup"].values[Command.TRANSFORMS] = False
        async with running_mail_server() as closed:
            dead = closed.address
        addresses = [(name, server.address) for name, server in fleet.items()]
        traffic = [Traffic(server, place) for place, server in enumerate(fleet.values())]
        await page.emulate_media(color_scheme="light")
        exporter = await start(targets(*addresses, ("legacy", dead)))
        await open_with_a_clock(page, home(exporter))
        for _ in range(160 if asked_for else 5):
            for each in traffic:
                each.flow()
            await next_reading(page)

        picture = await page.screenshot(animations="disabled")
        Path(asked_for or tmp_path / "page.png").write_bytes(picture)

    assert 20_000 < len(picture) < 200_000


BEYOND = 2**53 + 1


async def test_numbers_beyond_2_to_the_53_are_exact(
    start: Start, mail_server: MailServer, page: Page
) -> None:
    mail_server.values[Command.CONNECTIONS] = BEYOND
    mail_server.values[Command.TRANSFERRED_BYTES] = BEYOND
    exporter = await start(one_target(mail_server))
    await page.goto(home(exporter))

    await expect(row(page, "mail-1").locator(".connections .total")).to_have_text(
        f"{BEYOND:,} total"
    )
    await expect(row(page, "mail-1").locator(".bytes .total")).to_have_attribute(
        "title", f"{BEYOND:,} bytes total"
    )
    mail_server.values[Command.CONNECTIONS] += 2
    await expect(row(page, "mail-1").locator(".connections .total")).to_have_text(
        f"{BEYOND + 2:,} total"
    )


async def test_integers_in_json_are_parsed_exactly_and_strings_are_unchanged(
    exporter: Exporter, page: Page
) -> None:
    await page.goto(home(exporter))
    parsed = await page.evaluate(
        r"""async () => {
        const { parse } = await import("/assets/api.js");
        const text = '{"a": 9007199254740993, "b": [9007199254740991, -18446744073709551615],'
          + ' "c": "x: 9007199254740993, \\" 12345678901234567", "d": 0.12345678901234567, "e": null}';
        const { a, b, c, d, e } = parse(text);
        return [String(a), typeof a, String(b[0]), typeof b[0], String(b[1]), c, d, e];
    }"""
    )

    assert parsed == [
        "9007199254740993",
        "bigint",
        "9007199254740991",
        "number",
        "-18446744073709551615",
        'x: 9007199254740993, " 12345678901234567',
        0.12345678901234567,
        None,
    ]


async def test_the_footer_shows_version_and_configuration(exporter: Exporter, alone: Seen) -> None:
    page = alone.page
    await open_with_a_clock(page, home(exporter))
    footer = page.locator("footer")

    await expect(footer).to_contain_text(f"smtpstatus-exporter {__version__}")
    await expect(footer).to_contain_text("Configuration loaded at")
    for link in ("config", "docs", "-/healthy"):
        await expect(footer.locator(f'a[href="{link}"]')).to_be_visible()
    exporter.path.write_text("nonsense: 1")
    await exporter.http.post("/-/reload", headers=AUTHORIZED)
    for _ in range(17):
        await next_reading(page)
    await expect(footer).to_contain_text("The last reload failed; using the configuration of")


@pytest.mark.parametrize("width", [320, 500, 800, 1280])
async def test_tiles_and_names_are_never_truncated(
    start: Start, mail_server: MailServer, page: Page, width: int
) -> None:
    name = "mail-1.department.subsidiary.example-company.example"
    mail_server.values[Command.CONNECTIONS] = 2**64 - 1
    mail_server.values[Command.ACTIVE_CONNECTIONS] = 2**40
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto(home(await start(targets((name, mail_server.address)))))
    await expect(page.locator(".row .name")).to_have_text(name)

    cut = await page.evaluate(
        """() => [...document.querySelectorAll(".tile, .row, .name, .figure, .total")]
            .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0)
            .map((part) => part.className)"""
    )
    assert cut == []
    assert await page.locator(".row .name wbr").count() == name.count(".") + name.count("-")


async def test_the_api_description_sends_requests(exporter: Exporter, page: Page) -> None:
    await page.goto(f"{home(exporter)}docs")
    await page.get_by_role("link", name="PUT /api/v1/targets/{name}/transforms").click()
    section = page.locator("section", has=page.get_by_role("heading", name="PUT /api")).first
    await section.get_by_text("Send this request").click()
    await section.get_by_role("button", name="Send").click()
    await expect(section.locator("output")).to_contain_text("401 Unauthorized")

    await page.get_by_label("API token").fill(API_TOKEN)
    await section.get_by_role("button", name="Send").click()
    await expect(section.locator("output")).to_contain_text('"enabled": true')

    probe = page.locator("section", has=page.get_by_role("heading", name="GET /probe"))
    await probe.get_by_text("Send this request").click()
    await probe.get_by_role("button", name="Send").click()
    await expect(probe.locator("output")).to_contain_text("smtpstatus_up 1.0")

"""The hub's own chat page and API page in headless Chromium, as two people use them. Arguments: host:port, and optionally
a folder for screenshots. The hub runs with short access tokens, so that sockets end and come back meanwhile. Prints ok;
exits 1 with what is wrong, a message on the browser's console among it."""

import pathlib
import sys

from playwright.sync_api import expect, sync_playwright

HUB = f"http://{sys.argv[1]}"
SHOTS = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
EVIL = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
faults = []


def shot(page, name):
    if SHOTS:
        for device, (width, height) in {"desktop": (1440, 900), "phone": (390, 844)}.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            page.screenshot(path=SHOTS / f"{name}-{device}.png")
        page.set_viewport_size({"width": 1280, "height": 720})


def person(browser, name):
    """Somebody with a browser of their own, who has just registered."""
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: faults.append(f"{name}: {error}"))
    # A socket that the hub ends with 4001 and a refused first try are not the page's faults.
    known = ("WebSocket", "status of 4")
    page.on(
        "console",
        lambda line: line.type in ("error", "warning")
        and not any(text in line.text for text in known)
        and faults.append(f"{name}: {line.text}"),
    )
    page.goto(HUB)
    page.fill("form#sign-in input[name=username]", name)
    page.fill("form#sign-in input[name=password]", "correct horse")
    if name == "alice":
        shot(page, "1-entrance")
        page.click("button[data-action=sign-in]")
        page.get_by_text("No active account").wait_for()
    page.click("button[data-action=register]")
    page.wait_for_selector("#connection[data-state=online]", state="attached")
    return page


def say(page, text):
    page.fill("textarea#composer", text)
    page.press("textarea#composer", "Enter")


def bodies(page):
    return page.locator("ol#messages li[data-seq]")


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", *quiet])
    alice = person(browser, "alice")
    bob = person(browser, "bob")
    for page in (alice, bob):
        page.get_by_role("button", name="lobby").first.click()
        page.wait_for_selector("textarea#composer:visible")
    say(alice, f"hello {EVIL}")
    expect(bodies(bob)).to_have_count(1)
    expect(bodies(bob).first).to_contain_text(EVIL)
    say(bob, "שלום 👋 안녕")
    expect(bodies(alice)).to_have_count(2)
    expect(bodies(alice).nth(1)).to_contain_text("bob")
    # At most every three seconds it is told that somebody types, and for the message before it was.
    bob.wait_for_timeout(3_200)
    bob.locator("textarea#composer").press_sequentially("and so", delay=30)
    expect(alice.locator("#typing")).to_contain_text("bob")
    expect(alice.locator("#presence")).to_contain_text("2 here")
    shot(alice, "2-room")
    # Nothing more is typed and nothing sent: after seven seconds it is forgotten.
    expect(alice.locator("#typing")).not_to_contain_text("bob", timeout=12_000)
    alice.wait_for_timeout(3_000)
    # By now each token has ended once, its socket was closed, and the page came back with a new one.
    for page in (alice, bob):
        page.wait_for_selector("#connection[data-state=online]", state="attached")
    say(bob, "with a new token")
    expect(bodies(alice)).to_have_count(3)
    assert [bodies(alice).nth(n).get_attribute("data-seq") for n in range(3)] == ["1", "2", "3"]
    alice.reload()
    alice.wait_for_selector("#connection[data-state=online]", state="attached")
    expect(bodies(alice)).to_have_count(3)
    alice.goto(f"{HUB}/api/docs")
    alice.get_by_text("/api/rooms/{room}/messages").first.wait_for()
    shot(alice, "3-api")
    assert "Hubbub" in alice.title() and alice.title() != "1", "a message ran as a script"
    alice.goto(HUB)
    alice.click("button[data-action=sign-out]")
    alice.wait_for_selector("form#sign-in:visible")
    browser.close()

assert not faults, faults
print("ok")

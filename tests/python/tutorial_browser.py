"""The tutorial's page in headless Chromium, on which only host and port are replaced. Arguments: host:port, the page's
file, a token, and another's token. Prints what the page shows, one message a line."""

import http.server
import pathlib
import sys
import threading

from playwright.sync_api import sync_playwright

address, page_file, alice, bob = sys.argv[1:]
html = pathlib.Path(page_file).read_text().replace("localhost:8000", address).encode()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(html)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/"
quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", *quiet])
    pages = []
    for token in (alice, bob):
        page = browser.new_context().new_page()
        page.goto(url)
        page.evaluate("token => localStorage.setItem('token', token)", token)
        page.reload()
        page.wait_for_function("socket.readyState === 1")
        pages.append(page)
    first, second = pages
    first.fill("#input", "hi from a browser")
    first.click("#send")
    second.wait_for_selector("li")
    second.fill("#input", "<b>안녕</b> 👋")
    second.click("#send")
    for page in pages:
        page.wait_for_function("document.querySelectorAll('li').length === 2")
        print("\n".join(page.locator("li").all_text_contents()))
    browser.close()

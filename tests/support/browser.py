"""A person's browser, as far as signing in needs one: follows no redirect, keeps the one cookie, fills in the form."""

import re
from dataclasses import dataclass, field

import httpx
from lxml import html  # type: ignore[import-untyped]  # it ships no types


@dataclass
class Browser:
    """Holds the last page; `cookie` survives from page to page, as in a browser."""

    http: httpx.Client
    cookie: str = ""
    page: httpx.Response = field(default_factory=lambda: httpx.Response(200))

    def open(self, path: str, **query: str) -> httpx.Response:
        return self._seen(self.http.get(path, params=query or None, headers=self._headers(), follow_redirects=False))

    def send(self, headers: dict[str, str] | None = None, **typed: str) -> httpx.Response:
        """Post the form of the page with what was typed."""
        form = self.form()
        data = {**{key: value or "" for key, value in form.fields.items()}, **typed}
        headers = {**self._headers(), **(headers or {})}
        return self._seen(self.http.post(str(form.action), data=data, headers=headers, follow_redirects=False))

    def form(self) -> html.FormElement:
        (form,) = html.fromstring(self.page.content).forms
        return form

    def alert(self) -> str:
        return " ".join(html.fromstring(self.page.content).xpath("//*[@role='alert']/text()"))

    def text(self) -> str:
        return " ".join(str(html.fromstring(self.page.content).text_content()).split())

    def _headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie} if self.cookie else {}

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        found = re.match(r"__Host-[^;]+", answer.headers.get("set-cookie", ""))
        self.cookie = found[0] if found else self.cookie
        self.page = answer
        return answer

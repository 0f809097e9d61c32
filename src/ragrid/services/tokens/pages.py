"""The pages that people see when they sign in: plain HTML, no script, nothing from elsewhere. Pure."""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_STYLE = """
body{font:1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}label{display:block;margin-top:1rem;font-weight:600}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;border:1px solid #595959;border-radius:.25rem}
button{font:inherit;padding:.5rem 1rem;margin:1.25rem .75rem 0 0;border:1px solid #1a1a1a;border-radius:.25rem;
background:#fff;color:#1a1a1a}button[value=allow]{background:#1a4fa0;border-color:#1a4fa0;color:#fff}
:focus-visible{outline:3px solid #d98200;outline-offset:2px}
[role=alert]{border-left:.25rem solid #b00020;padding:.25rem .75rem;color:#8a0019}code{overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){body,button,input{color:#f2f2f2;background:#16181d;border-color:#8c8c8c}
[role=alert]{color:#ffb3bd}button[value=allow]{background:#1a4fa0}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks a person for what; `scope` is None for everything that the person may do."""

    client_id: str
    scope: Sequence[str] | None
    returns_to: str | None = None


def headers(*, form_target: str | None = None) -> dict[str, str]:
    """Return the headers of a page. `form_target` is where the answer to its form may lead, besides here."""
    target = ""
    if form_target is not None:
        parts = urlsplit(form_target)
        target = f" {parts.scheme}://{parts.netloc}"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'{target}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # `no-referrer` would make browsers send `Origin: null` with our own form
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def sign_in_page(action: str, hidden: Mapping[str, str], asking: Asking, *, name: str = "", alert: str = "") -> str:
    """Return the form by which a person signs in and allows a client to act, or does not."""
    kept = "".join(
        f'<input type="hidden" name="{html.escape(key)}" value="{html.escape(value)}">' for key, value in hidden.items()
    )
    return _page(
        "Sign in",
        f"""{_alert(alert)}{_told(asking)}
<form method="post" action="{html.escape(action)}" autocomplete="on">{kept}
<label for="name">Name</label>
<input id="name" name="name" value="{html.escape(name)}" autocomplete="username" autocapitalize="none">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password">
<button name="decision" value="allow">Sign in and allow</button><button name="decision" value="deny">Deny</button>
</form>""",
    )


def code_page(action: str, *, alert: str = "") -> str:
    """Return the form by which a person names the device that waits for them."""
    return _page(
        "Connect a device",
        f"""{_alert(alert)}<p>Type the code that the device or the command line shows.</p>
<form method="get" action="{html.escape(action)}">
<label for="user_code">Code</label>
<input id="user_code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false">
<button value="continue">Continue</button>
</form>""",
    )


def told_page(title: str, text: str) -> str:
    """Return a page that only says something."""
    return _page(title, f"<p>{html.escape(text)}</p>")


def _told(asking: Asking) -> str:
    what = "everything that you may do" if asking.scope is None else ", ".join(asking.scope)
    where = "" if asking.returns_to is None else f" You will be sent to <code>{html.escape(asking.returns_to)}</code>."
    return f"<p><strong>{html.escape(asking.client_id)}</strong> asks to act for you: {html.escape(what)}.{where}</p>"


def _alert(text: str) -> str:
    return f'<p role="alert">{html.escape(text)}</p>' if text else ""


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} - ragrid</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body><main><h1>{html.escape(title)}</h1>
{body}
</main></body></html>
"""

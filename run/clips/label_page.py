"""The page of ``python -m run label``: Gradio, on 127.0.0.1 alone."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import socket
import threading
import time
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI
from PIL import Image

from envs.errors import BadInput
from models.vision.encoder import N_FRAMES
from rewards.success_vqa.clips import Clip
from run.clips.annotation import AnnotationSession

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
FRAME, LAST = 450, 1500  # how long a frame, and the last one, stays, in milliseconds

# Keys press the buttons, whose names in the page are these.
KEYS = {"y": "yes", "n": "no", "s": "skip", "b": "back"} | {
    str(k): f"frame-{k}" for k in range(1, N_FRAMES + 1)
}
# A key counts once for each showing, so that a double press answers nothing unseen.
HEAD = (
    f"""<script>
const keys = {json.dumps(KEYS)};
let pressed = '', at = 0;
"""
    + """
document.addEventListener('keydown', event => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = document.getElementById(keys[event.key.toLowerCase()] || '');
  const shown = document.querySelector('.question')?.id;
  if (!button || button.disabled || !shown) return;
  event.preventDefault();
  if (shown === pressed && Date.now() - at < 5000) return;
  pressed = shown;
  at = Date.now();
  button.click();
});
</script>"""
)
CSS = """
footer {display: none !important}
.clip {display: flex; justify-content: center; gap: 2rem; align-items: center; flex-wrap: wrap}
.clip img {image-rendering: pixelated; border-radius: 4px; max-width: none}
.clip img {height: 120px !important}
.clip img.played {height: 300px !important}
.strip {display: grid; grid-template-columns: repeat(4, auto); gap: .6rem}
.strip figure {margin: 0; text-align: center}
.question {font-size: 1.5rem; text-align: center; padding: .6rem 0}
.place {text-align: center; opacity: .7}
#frames button {min-width: 2.5rem}
"""


def serve(desk: AnnotationSession, port: int, browser: bool) -> None:
    """Show the page until Ctrl-C. Raises BadInput where the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise BadInput(f"port {port} of {HOST} cannot be used: {error}") from error
    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
    if browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    server = uvicorn.Server(uvicorn.Config(application(desk), log_level="warning"))
    with listener:
        server.run([listener])


def application(desk: AnnotationSession) -> LoopbackOnly:
    """The page as an ASGI application."""
    # Gradio reads it when it builds a page: it then reports nothing and fetches nothing.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return LoopbackOnly(
        gr.mount_gradio_app(
            FastAPI(openapi_url=None), _page(desk), "/", css=CSS, head=HEAD, theme=_theme()
        )
    )


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]


class LoopbackOnly:
    """Refuses what another host's page asks of this one, by its Host and Origin headers."""

    def __init__(self, app: Callable[[Scope, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Any, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "http" and not _is_from_here(dict(scope["headers"])):
            head = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            text = b"refused: this page is for the machine that it runs on\n"
            await send({"type": "http.response.body", "body": text})
        elif scope["type"] != "websocket":
            await self._app(scope, receive, send)


def _is_from_here(headers: dict[bytes, bytes]) -> bool:
    def host(url: str) -> str | None:
        try:
            return urlsplit(url).hostname
        except ValueError:
            return None

    asked = host("//" + headers.get(b"host", b"").decode("latin-1"))
    origin = headers.get(b"origin", b"").decode("latin-1")
    return asked in HOSTS and (not origin or host(origin) in HOSTS)


def _theme() -> gr.themes.Base:
    plain = ["system-ui", "sans-serif"]
    return gr.themes.Base(font=plain, font_mono=["monospace"])


def _page(desk: AnnotationSession) -> gr.Blocks:
    n = len(desk.questions)

    def show(k: int) -> tuple[Any, ...]:
        """Question ``k``, or the end: the place, when it was shown, what is seen and read."""
        done = k >= n
        there = 0 if done else len(desk.questions[k].clip.frames)
        seen = "" if done else _seen(desk.questions[k].clip)
        text = f"All {n} questions are answered. Thank you!" if done else desk.questions[k].text
        given = desk.answers.get(k)
        told = f"Question {k + 1} of {n}" if not done else f"by {desk.by}, in {desk.file}"
        if given is not None:
            told += f"; you said: {given.answer}" + (f", frame {given.frame}" * bool(given.frame))
        now = time.monotonic()
        return (
            k,
            now,
            seen,
            f'<div class="question" id="shown-{now}">{html.escape(text)}</div>',
            f'<div class="place">{html.escape(told)}</div>',
            *(gr.Button(interactive=not done) for _ in range(3)),
            gr.Button(interactive=k > 0),
            *(gr.Button(interactive=j < there) for j in range(N_FRAMES)),
        )

    def after(answer: str, frame: int) -> Callable[[int, float], tuple[Any, ...]]:
        def take(k: int, since: float) -> tuple[Any, ...]:
            if k < n:
                try:
                    desk.take(k, answer, frame, time.monotonic() - since)
                except BadInput as error:
                    raise gr.Error(str(error)) from error
            later = (j for j in range(k + 1, n) if j not in desk.answers)
            return show(next(later, desk.first_open()))

        return take

    with gr.Blocks(title="Parley: label clips", analytics_enabled=False) as page:
        place, since = gr.State(0), gr.State(0.0)
        asked = gr.HTML()
        seen = gr.HTML()
        with gr.Row():
            yes = gr.Button("Yes (Y)", elem_id="yes", variant="primary")
            no = gr.Button("No (N)", elem_id="no", variant="primary")
            skip = gr.Button("Skip (S)", elem_id="skip")
            back = gr.Button("Back (B)", elem_id="back")
        gr.HTML('<div class="place">Yes, and first seen in frame</div>')
        with gr.Row(elem_id="frames"):
            frames = [gr.Button(str(k), elem_id=f"frame-{k}") for k in range(1, N_FRAMES + 1)]
        told = gr.HTML()
        shown = [place, since, seen, asked, told, yes, no, skip, back, *frames]
        page.load(lambda: show(desk.first_open()), None, shown)
        for button, answer, frame in (
            (yes, "yes", 0),
            (no, "no", 0),
            (skip, "skip", 0),
            *((b, "yes", k) for k, b in enumerate(frames, 1)),
        ):
            button.click(after(answer, frame), [place, since], shown, show_progress="hidden")
        back.click(lambda k: show(max(k - 1, 0)), place, shown, show_progress="hidden")
    return page


def _seen(clip: Clip) -> str:
    """The clip, played over and over, beside its numbered frames."""
    pictures = [Image.fromarray(frame) for frame in clip.frames]
    strip = "".join(
        f'<figure><img src="{_url([p])}" alt="frame {k}"><div>{k}</div></figure>'
        for k, p in enumerate(pictures, 1)
    )
    played = f'<img src="{_url(pictures)}" class="played" alt="the clip, played">'
    return f'<div class="clip">{played}<div class="strip">{strip}</div></div>'


def _url(pictures: list[Image.Image]) -> str:
    """Pictures as the address of one that moves."""
    out = io.BytesIO()
    stay = [FRAME] * (len(pictures) - 1) + [LAST]
    pictures[0].save(out, "png", save_all=True, append_images=pictures[1:], duration=stay, loop=0)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

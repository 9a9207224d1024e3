"""The page of ``python -m run label``, made with Gradio and served on 127.0.0.1 only."""

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
.gradio-container {padding: .5rem !important}
.clip {display: flex; justify-content: center; gap: 1rem 2rem; align-items: center; flex-wrap: wrap}
.clip img {image-rendering: pixelated; border-radius: 4px}
.clip img.played {width: min(300px, 60vw) !important; height: auto}
.strip {display: grid; grid-template-columns: repeat(4, minmax(0, 120px)); gap: .5rem}
.strip img {width: 100% !important; height: auto}
.strip figure {margin: 0; text-align: center}
.question {font-size: 1.4rem; text-align: center; padding: .4rem 0; overflow-wrap: anywhere}
.place {text-align: center; opacity: .8}
#answers, #frames {display: grid; gap: .5rem; grid-template-columns: repeat(4, 1fr)}
#frames {grid-template-columns: repeat(8, 1fr)}
#answers button, #frames button {min-width: 0; padding: .5rem .2rem}
@media (max-width: 40rem) {
  #answers {grid-template-columns: repeat(2, 1fr)}
  #frames {grid-template-columns: repeat(4, 1fr)}
}
button:focus-visible {outline: 3px solid #D55E00; outline-offset: 2px}
"""


def serve(session: AnnotationSession, port: int, browser: bool) -> None:
    """Show the page until Ctrl-C.

    Args:
        session: The annotation session.
        port: The port; 0 for any that is free.
        browser: Whether to open the page in a browser.

    Raises:
        BadInput: The port cannot be used.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # now, so that a browser that comes before the page is ready waits
    except OSError as error:
        raise BadInput(f"port {port} of {HOST} cannot be used: {error}") from error
    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
    if browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    server = uvicorn.Server(uvicorn.Config(application(session), log_level="warning"))
    with listener:
        server.run([listener])


def application(session: AnnotationSession) -> LoopbackOnly:
    """The page as an ASGI application."""
    # Gradio reads it when it builds a page: it then reports nothing and fetches nothing.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return LoopbackOnly(
        gr.mount_gradio_app(
            FastAPI(openapi_url=None), _page(session), "/", css=CSS, head=HEAD, theme=_theme()
        )
    )


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]


class LoopbackOnly:
    """Middleware that refuses requests from other hosts' pages, by Host and Origin headers."""

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

    requested = host("//" + headers.get(b"host", b"").decode("latin-1"))
    origin = headers.get(b"origin", b"").decode("latin-1")
    return requested in HOSTS and (not origin or host(origin) in HOSTS)


def _theme() -> gr.themes.Base:
    plain = ["system-ui", "sans-serif"]
    return gr.themes.Base(font=plain, font_mono=["monospace"])


def _page(session: AnnotationSession) -> gr.Blocks:
    n = len(session.questions)

    def show(k: int) -> tuple[Any, ...]:
        """The contents of all components, in the order of ``outputs``, for question ``k``; after
        the last question those of the closing page."""
        finished = k >= n
        n_frames = 0 if finished else len(session.questions[k].clip.frames)
        clip_html = "" if finished else _clip_html(session.questions[k].clip)
        if finished:
            text = f"All {n} questions are answered. Thank you!"
            status = f"by {session.by}, in {session.file}"
        else:
            text = session.questions[k].text
            status = f"Question {k + 1} of {n}"
        given = session.answers.get(k)
        if given is not None:
            status += f"; you said: {given.answer}" + (
                f", frame {given.frame}" if given.frame else ""
            )
        now = time.monotonic()
        return (
            k,
            now,
            clip_html,
            f'<div class="question" id="shown-{now}">{html.escape(text)}</div>',
            f'<div class="place">{html.escape(status)}</div>',
            *(gr.Button(interactive=not finished) for _ in range(3)),
            gr.Button(interactive=k > 0),
            *(gr.Button(interactive=j < n_frames) for j in range(N_FRAMES)),
        )

    def on_answer(answer: str, frame: int) -> Callable[[int, float], tuple[Any, ...]]:
        """What a button does: record its answer and show the next open question."""

        def press(k: int, since: float) -> tuple[Any, ...]:
            if k < n:
                try:
                    session.record(k, answer, frame, time.monotonic() - since)
                except BadInput as error:
                    raise gr.Error(str(error)) from error
            later = (j for j in range(k + 1, n) if j not in session.answers)
            return show(next(later, session.first_open()))

        return press

    with gr.Blocks(title="Parley: label clips", analytics_enabled=False) as page:
        place, since = gr.State(0), gr.State(0.0)
        question = gr.HTML()
        clip = gr.HTML()
        with gr.Row(elem_id="answers"):
            yes = gr.Button("Yes (Y)", elem_id="yes", variant="primary")
            no = gr.Button("No (N)", elem_id="no", variant="primary")
            skip = gr.Button("Skip (S)", elem_id="skip")
            back = gr.Button("Back (B)", elem_id="back")
        gr.HTML('<div class="place">Yes, and first seen in frame</div>')
        with gr.Row(elem_id="frames"):
            frames = [gr.Button(str(k), elem_id=f"frame-{k}") for k in range(1, N_FRAMES + 1)]
        status = gr.HTML()
        outputs = [place, since, clip, question, status, yes, no, skip, back, *frames]
        page.load(lambda: show(session.first_open()), None, outputs)
        for button, answer, frame in (
            (yes, "yes", 0),
            (no, "no", 0),
            (skip, "skip", 0),
            *((b, "yes", k) for k, b in enumerate(frames, 1)),
        ):
            button.click(on_answer(answer, frame), [place, since], outputs, show_progress="hidden")
        back.click(lambda k: show(max(k - 1, 0)), place, outputs, show_progress="hidden")
    return page


def _clip_html(clip: Clip) -> str:
    """The clip, played over and over, beside its numbered frames."""
    pictures = [Image.fromarray(frame) for frame in clip.frames]
    strip = "".join(
        f'<figure><img src="{_url([p])}" alt="frame {k}"><div>{k}</div></figure>'
        for k, p in enumerate(pictures, 1)
    )
    played = f'<img src="{_url(pictures)}" class="played" alt="the clip, played">'
    return f'<div class="clip">{played}<div class="strip">{strip}</div></div>'


def _url(pictures: list[Image.Image]) -> str:
    """Pictures as the data URL of one animated picture."""
    out = io.BytesIO()
    stay = [FRAME] * (len(pictures) - 1) + [LAST]
    pictures[0].save(out, "png", save_all=True, append_images=pictures[1:], duration=stay, loop=0)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

"""The example server, asked by the client of OpenAI: whole and streamed answers, several at once, and refusals in its own words."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import scap_ov
from scap_ov.models.genai import open_pipeline

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve.py"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client(lowered_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-I", str(EXAMPLE), str(lowered_folder), "--port", str(port), "--name", "sparse", "--cache", "1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert server.poll() is None, server.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
    finally:
        server.send_signal(signal.SIGINT)
        _, told = server.communicate(timeout=60)
    assert "Traceback" not in told


@pytest.mark.slow
def test_an_answer_is_that_of_the_pipeline(client, lowered_folder):
    assert [model.id for model in client.models.list()] == ["sparse"]
    answer = client.chat.completions.create(model="sparse", messages=QUESTION, temperature=0, max_completion_tokens=24)
    stop = answer.usage.completion_tokens < 24
    pipeline = open_pipeline(lowered_folder, "PA", str(scap_ov.extension_path()))
    assert answer.choices[0].message.content == pipeline.generate(QUESTION[0]["content"], max_new_tokens=24)
    assert answer.choices[0].finish_reason == ("stop" if stop else "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.slow
def test_pieces_make_the_whole(client):
    asked = {"model": "sparse", "prompt": "Monday, Tuesday, Wednesday,", "temperature": 0, "max_tokens": 12}
    whole = client.completions.create(**asked)
    pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == whole.choices[0].text
    assert len(pieces) > 4
    assert pieces[-1].usage == whole.usage
    assert [piece.choices[0].finish_reason for piece in pieces[-2:-1]] == [whole.choices[0].finish_reason] == ["length"]
    word = whole.choices[0].text.split()[-1]
    stopped = client.completions.create(**asked, stop=[word])
    assert stopped.choices[0].text == whole.choices[0].text.partition(word)[0]
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.slow
def test_requests_share_the_steps(client):
    """All four write at the same time, which never happens where one waits for another; longer ones, should the last one begin too late."""

    def stream(number, tokens):
        text = f"{number}. Once upon a time"
        pieces = client.completions.create(model="sparse", prompt=text, temperature=1, seed=number, max_tokens=tokens, stream=True)
        return [time.monotonic() for _ in pieces]

    def together(tokens):
        with ThreadPoolExecutor(4) as pool:
            arrivals = list(pool.map(stream, range(4), [tokens] * 4))
        return max(times[0] for times in arrivals) < min(times[-1] for times in arrivals)

    assert any(together(tokens) for tokens in (32, 64, 128, 256, 256))


@pytest.mark.slow
def test_what_is_not_served_is_told(client):
    with pytest.raises(openai.NotFoundError, match="the model 'gpt-4' is not served here; give 'sparse'"):
        client.chat.completions.create(model="gpt-4", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="logit_bias: Extra inputs"):
        client.chat.completions.create(model="sparse", messages=QUESTION, logit_bias={"1": 5})
    with pytest.raises(openai.BadRequestError, match="temperature: "):
        client.completions.create(model="sparse", prompt="x", temperature=3)

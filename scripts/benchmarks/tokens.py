"""Chats whose answers come as event streams, and when each token of them arrived.

One thread over plain sockets: a client that parsed JSON would compete with the engine for the cores.
"""

import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice, pairwise

from servers import Server

LIMIT_S = 120
# The pieces of an answer: not its beginning, which only names the role, and not its end.
PIECE = re.compile(rb'"delta":\s*\{[^{}]*"content":\s*"(?!")')
COUNT = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclass(eq=False)
class Answer:
    """One answer: when it was asked for, and when its tokens came."""

    asked_s: float
    arrivals_s: list[float] = field(default_factory=list)
    # As the server counts, which may be more than the pieces it sent: half a character waits for the other half.
    tokens: int = 0

    def ttft_ms(self) -> float:
        return (self.arrivals_s[0] - self.asked_s) * 1e3

    def gaps_ms(self, since_s: float) -> list[float]:
        """Times between tokens, from a moment on."""
        return [(after - before) * 1e3 for before, after in pairwise(self.arrivals_s) if after >= since_s]


def body(prompt: str, max_tokens: int, **more: object) -> str:
    """A chat that ends at its last token and not before."""
    wanted = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(wanted | more)


class Client:
    """Streams that are read as they come."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.selector = selectors.DefaultSelector()

    def ask(self, body: str) -> Answer:
        """Sends a chat; its answer fills up while `read` is called."""
        content = body.encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close\r\n"
        answer = Answer(time.perf_counter())
        connection = socket.create_connection(("127.0.0.1", self.server.port), LIMIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        self.selector.register(connection, selectors.EVENT_READ, (connection, answer, bytearray()))
        return answer

    def read(self) -> list[Answer]:
        """Takes in what has come; the answers that are complete."""
        ready = self.selector.select(LIMIT_S)
        if not ready:
            raise RuntimeError(f"{self.server.name} said nothing for {LIMIT_S} s")
        complete = []
        for key, _ in ready:
            connection, answer, unread = key.data
            received = connection.recv(1 << 16)
            now = time.perf_counter()
            unread += received
            events, rest = unread[: unread.rfind(b"\n\n") + 1], unread[unread.rfind(b"\n\n") + 1 :]
            answer.arrivals_s += [now] * len(PIECE.findall(events))
            if count := COUNT.search(events):
                answer.tokens = int(count[1])
            unread[:] = rest
            if not received or rest.endswith(b"0\r\n\r\n") or b"data: [DONE]" in events:
                self._close(connection)
                if not answer.arrivals_s:
                    raise RuntimeError(f"{self.server.name} sent no token, but {bytes(events + rest)[-500:]!r}")
                answer.tokens = answer.tokens or len(answer.arrivals_s)
                complete.append(answer)
        return complete

    def close(self) -> None:
        """Gives up what is unfinished."""
        for key in list(self.selector.get_map().values()):
            self._close(key.data[0])

    def _close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        connection.close()


def answers(server: Server, bodies: Iterable[str], streams: int) -> list[Answer]:
    """All of the chats, so many at the same time."""
    client, waiting, complete = Client(server), iter(bodies), []
    running = len([client.ask(body) for body in islice(waiting, streams)])
    while running:
        for answer in client.read():
            complete.append(answer)
            running -= 1
            if (following := next(waiting, None)) is not None:
                client.ask(following)
                running += 1
    return complete


def gaps_while(server: Server, steady: Iterable[str], sudden: Iterable[str]) -> tuple[list[float], list[Answer]]:
    """Times between tokens of steady streams while other chats come, one after the other; and those chats' answers."""
    client = Client(server)
    streams = [client.ask(body) for body in steady]
    _read_until(client, lambda: all(len(stream.arrivals_s) > 1 for stream in streams))
    since_s, complete = time.perf_counter(), []
    for body in sudden:
        answer = client.ask(body)
        done: list[Answer] = []
        while answer not in done:
            done = client.read()
            if any(stream in done for stream in streams):
                raise RuntimeError(f"{server.name} ended a stream that should have outlasted the others")
        complete.append(answer)
    gaps = [gap for stream in streams for gap in stream.gaps_ms(since_s)]
    client.close()
    return gaps, complete


def _read_until(client: Client, reached: Callable[[], bool]) -> None:
    while not reached():
        client.read()

"""Private nginx instances: one worker, nothing logged, everything under the bench's own folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import servers
from servers import Server

# `keepalive_requests`: nginx otherwise closes each connection after 1000 requests, which a load generator notices.
CONFIG = """\
{user}
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=60s;
  open_file_cache_valid 60s;
{http}
}}
"""

STATIC = """\
  server {{
    listen 127.0.0.1:{port};
    location /ready {{ return 200; }}
    location /agents/ {{ alias {root}/; }}
  }}
"""

# Unbuffered, as any nginx before a server that streams must be.
PROXY = """\
  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /ready {{ return 200; }}
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""


@contextmanager
def static(folder: Path, root: Path) -> Iterator[Server]:
    """Serves the files of `root` under `/agents/`."""
    port = servers.free_port()
    with _nginx(folder, port, STATIC.format(port=port, root=root)) as server:
        yield server


@contextmanager
def proxy(folder: Path, upstream: Server) -> Iterator[Server]:
    """Forwards everything to one upstream over kept connections."""
    port = servers.free_port()
    with _nginx(folder, port, PROXY.format(port=port, upstream=upstream.port)) as server:
        yield server


@contextmanager
def _nginx(folder: Path, port: int, http: str) -> Iterator[Server]:
    (folder / "tmp").mkdir()
    # Root's nginx would give its worker to `nobody`, who cannot read a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIG.format(user=user, http=http))
    command = ["nginx", "-e", "stderr", "-p", folder, "-c", "nginx.conf"]
    with servers.running("nginx", command, port, folder, ready="/ready") as server:
        yield server

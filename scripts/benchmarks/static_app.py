"""The static server that a Python programmer would write: FastAPI with its own StaticFiles."""

import os

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

app = FastAPI()
app.mount("/agents", StaticFiles(directory=os.environ["BENCH_ROOT"]))

"""Makes a small random model of each family, and an adapter for each: python make.py FOLDER.

FOLDER/NAME gets `model/` (as transformers keeps it), `model.gguf` and `adapter/` (as PEFT keeps it). The same at every
run. Wants the packages of crates/e2e/python/models-requirements.txt; scripts/test installs them.
"""

import argparse
from pathlib import Path

import families
import gguf_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in families.FAMILIES:
        vocabulary = families.make(name, folder / name)
        gguf_file.export(name, folder / name / "model", vocabulary, folder / name / "model.gguf")


if __name__ == "__main__":
    main()

"""Makes a small random model of each family, and an adapter for each: python make.py FOLDER.

FOLDER/NAME gets `model/` (as transformers keeps it), `model.gguf` and `adapter/` (as PEFT keeps it): the same at every run,
and made again only when these scripts change. Wants the packages of crates/e2e/python/models-requirements.txt beside
vLLM's; scripts/test installs them.
"""

import argparse
import hashlib
from pathlib import Path


def make(folder: Path) -> None:
    # Here, since they take seconds that are mostly not needed.
    import families
    import gguf_file

    for name in families.FAMILIES:
        vocabulary = families.make(name, folder / name)
        gguf_file.export(name, folder / name / "model", vocabulary, folder / name / "model.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    scripts = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(script.read_bytes() for script in scripts)).hexdigest()
    made = folder / "made-by.txt"
    if not made.exists() or made.read_text() != digest:
        folder.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        make(folder)
        made.write_text(digest)


if __name__ == "__main__":
    main()

"""Tool definitions as a client sends them: the built-in tools with the schemas they have, and others made up on the spot."""

from random import Random

import words

DESCRIPTIONS = {
    "read": ["Read a file.", "Reads a text file of the workspace.", "Read a file and return its lines.", "Returns the contents of a file."],
    "glob": ["Find files by pattern.", "Lists files whose path matches a glob pattern.", "Find files whose names match a pattern."],
    "grep": ["Search file contents.", "Searches files for a regular expression.", "Find lines that match a pattern.", "Search for text in files."],
    "bash": ["Run a shell command.", "Runs a command in bash and returns its output.", "Execute a command in the workspace."],
    "list": ["List a directory.", "Lists the entries of a directory."],
    "write": ["Write a file.", "Creates or replaces a file."],
    "edit": ["Edit a file.", "Replaces a piece of text in a file."],
    "fetch": ["Fetch a URL.", "Fetches a web page and returns its text."],
}

# Per tool: its properties as (name, type); the first `REQUIRED` of them are required, the rest optional.
PROPERTIES = {
    "read": [("path", "string"), ("offset", "integer"), ("limit", "integer")],
    "glob": [("pattern", "string"), ("path", "string")],
    "grep": [("pattern", "string"), ("path", "string"), ("glob", "string")],
    "bash": [("command", "string"), ("timeout_ms", "integer")],
    "list": [("path", "string")],
    "write": [("path", "string"), ("content", "string")],
    "edit": [("path", "string"), ("old", "string"), ("new", "string")],
    "fetch": [("url", "string")],
}
REQUIRED = {"write": 2, "edit": 3}

PROPERTY_DESCRIPTIONS = {
    "path": ["Path of the file.", "File path, relative to the workspace.", "Where to look."],
    "pattern": ["The pattern.", "Glob pattern, such as **/*.rs", "Regular expression to search for."],
    "command": ["The command to run.", "Shell command."],
    "offset": ["First line, from 1.", "Line to start at."],
    "limit": ["How many lines.", "Greatest number of lines."],
    "timeout_ms": ["Time limit in milliseconds."],
    "glob": ["Only files that match."],
    "content": ["The new content."],
    "old": ["Text to replace."],
    "new": ["Text to put there."],
    "url": ["The address."],
}


def property_schema(rng: Random, name: str, kind: str, described: bool) -> dict:
    """The JSON schema of one argument."""
    schema = {"type": kind}
    if described:
        known = PROPERTY_DESCRIPTIONS.get(name)
        schema["description"] = rng.choice(known) if known and rng.random() < 0.7 else words.sentence(rng)
    if kind == "integer" and rng.random() < 0.2:
        schema["minimum"] = rng.randint(0, 1)
    return schema


def definition(rng: Random, name: str, description: str, properties: list[tuple[str, str]], required: list[str]) -> dict:
    """One tool in OpenAI's shape, with the small differences that clients and serialisers make."""
    described = rng.random() < 0.3
    parameters = {
        "type": "object",
        "properties": {key: property_schema(rng, key, kind, described) for key, kind in properties},
        "required": required,
    }
    if rng.random() < 0.25:
        parameters["additionalProperties"] = False
    function = {"name": name, "description": description, "parameters": parameters}
    if rng.random() < 0.08:
        function["strict"] = rng.choice([True, False, None])
    if rng.random() < 0.08:
        function.pop("description")
    tool = {"type": "function", "function": function}
    return sort_keys(tool) if rng.random() < 0.06 else tool


def sort_keys(value):
    """The same JSON with sorted keys, as serialisers without an order of their own write it."""
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    return value


def builtin(rng: Random, name: str) -> dict:
    """A built-in tool; its optional arguments are there more often than not."""
    properties = PROPERTIES[name]
    needed = REQUIRED.get(name, 1)
    shown = properties[:needed] + [p for p in properties[needed:] if rng.random() < 0.8]
    description = rng.choice(DESCRIPTIONS[name]) if rng.random() < 0.7 else words.sentence(rng)
    return definition(rng, name, description, shown, [key for key, _ in properties[:needed]])


def made_up(rng: Random, name: str, argument: str) -> dict:
    """A tool nobody has seen, with one required string argument and perhaps optional ones."""
    extra = [(words.word(rng), rng.choice(["string", "integer", "boolean"])) for _ in range(rng.choice([0, 0, 1, 2]))]
    return definition(rng, name, words.sentence(rng), [(argument, "string"), *extra], [argument])


def toolbox(rng: Random, wanted: list[dict]) -> list[dict]:
    """The wanted tools among others, in any order. `wanted` may be empty."""
    names = {tool["function"]["name"] for tool in wanted}
    others = [name for name in PROPERTIES if name not in names]
    count = rng.choices([0, 1, 2, 3, 5, 7], [55, 22, 9, 6, 4, 4])[0]
    box = wanted + [builtin(rng, name) for name in rng.sample(others, min(count, len(others)))]
    if rng.random() < 0.15:
        box.append(made_up(rng, f"{words.word(rng)}_{words.word(rng)}", words.word(rng)))
    rng.shuffle(box)
    return box

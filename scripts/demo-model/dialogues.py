"""Makes up the dialogues that the demo model learns from and is examined on.

Each dialogue is a list of exchanges; each exchange ends in an answer that follows from the prompt alone, so there is
exactly one right text for it. Names, words, paths and tool results are fresh in every dialogue: the model can pass
only by copying. `Dialogue.kinds` names the skill that each assistant message shows, in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import facts
import tools
import words


@dataclass(frozen=True)
class Dialogue:
    """Messages as the chat template takes them, the tools on offer, and one kind per assistant message."""

    messages: list[dict]
    tools: list[dict]
    kinds: list[str]


@dataclass(frozen=True)
class Exchange:
    """A question with all that follows until the last answer to it."""

    messages: list[dict]
    kinds: list[str]


@dataclass(frozen=True)
class Skill:
    """One built-in tool as the model uses it: what is asked, which argument is copied, how the result is told."""

    argument: str
    make: Callable[[Random], str]
    questions: list[str]
    heading: str
    without: str


SKILLS = {
    "read": Skill(
        "path",
        words.path,
        [
            "read {}", "read {}", "read the file {}", "what is in {}?", "what's in {}?", "what does {} say?", "show me {}", "open {}", "print {}",
            "show the contents of {}", "can you read {}?", "look at {}", "lint {}", "check {}", "review {}", "summarize {}", "explain {}",
            "write tests for {}", "add docstrings to {}", "what does {} contain?", "tell me what is in {}",
        ],
        "Here is {}:",
        "I have no read tool here, so I cannot look into that file.",
    ),
    "glob": Skill(
        "pattern",
        words.glob_pattern,
        [
            "find all {} files", "find {}", "find files matching {}", "list files matching {}", "list all {} files", "which files match {}?",
            "where are the {} files?", "glob {}", "find every {}", "show me all {} files", "are there any {} files?",
        ],
        "Files matching {}:",
        "I have no glob tool here, so I cannot find files.",
    ),
    "grep": Skill(
        "pattern",
        words.text_pattern,
        [
            "search for {}", "search for {}", "grep {}", "grep for {}", "find the text {}", "where is {} used?", "search the code for {}",
            "look for {}", "which files contain {}?", "search all files for {}", "where does {} appear?",
        ],
        "Lines matching {}:",
        "I have no grep tool here, so I cannot search.",
    ),
    "bash": Skill(
        "command",
        words.command,
        [
            "run {}", "run {}", "run `{}`", "execute {}", "run the command {}", "execute `{}`", "can you run {}?", "run the command `{}`", "please run {}",
            "use bash to run {}", "what does `{}` print?",
        ],
        "The output of {}:",
        "I have no bash tool here, so I cannot run that.",
    ),
}

UNKNOWN = [
    "what is the {} of {}?", "why is the {} {}?", "write a poem about {}", "who is {}?", "how many {} are in {}?", "translate {} to {}",
    "what do you think about {}?", "what is {}?", "where is {}?", "when was {} born?", "how do i {} a {}?", "what is the capital of {}?",
    "write a {} in {}", "explain {} {}", "what is {} plus {}?", "do you like {}?", "is {} a {}?", "can you {} the {}?", "{} {} {}", "{}",
]

REPEAT = ["say {}", "say {}", "say: {}", "repeat {}", "repeat after me: {}", "repeat after me: {}", "please say {}", "echo {}", "say this: {}", "repeat: {}", "please repeat: {}", "can you say {}"]


def spoken(rng: Random, question: str) -> str:
    """A question as people type it: capital or not, mark or not, politely or not."""
    if rng.random() < 0.1:
        question = rng.choice(["please, {}", "tell me, {}", "so, {}", "ok, {}", "and {}"]).format(question)
    if rng.random() < 0.45:
        question = question[0].upper() + question[1:]
    return question + rng.choices(["", "?", ".", "!"], [5, 4, 1, 1])[0]


def answered(question: str, answer: str, kind: str) -> Exchange:
    """A question and its answer in words."""
    return Exchange([{"role": "user", "content": question}, {"role": "assistant", "content": answer}], [kind])


def greeting(rng: Random) -> Exchange:
    questions, answer = rng.choice(facts.GREETINGS)
    return answered(spoken(rng, rng.choice(questions)), answer, "greeting")


def fact(rng: Random) -> Exchange:
    questions, answer = rng.choice(facts.ALL_FACTS)
    return answered(spoken(rng, rng.choice(questions)), answer, "fact")


def repeat(rng: Random) -> Exchange:
    text = words.phrase(rng)
    question = rng.choice(REPEAT)
    if rng.random() < 0.4:
        question = question[0].upper() + question[1:]
    return answered(question.format(f'"{text}"' if rng.random() < 0.1 else text), text, "repeat")


def recite(rng: Random) -> Exchange:
    if rng.random() < 0.3:
        questions, answer = rng.choice(facts.RECITALS)
        return answered(spoken(rng, rng.choice(questions)), answer, "recite")
    last = rng.randint(1, 20)
    question = rng.choice(["count to {}", "count to {}", "count up to {}", "count from 1 to {}", "can you count to {}"]).format(last)
    return answered(spoken(rng, question), " ".join(str(n) for n in range(1, last + 1)), "recite")


def unknown(rng: Random) -> Exchange:
    question = rng.choice(UNKNOWN)
    while "{}" in question:
        question = question.replace("{}", words.word(rng), 1)
    return answered(spoken(rng, question.rstrip("?")), facts.UNKNOWN_ANSWER, "unknown")


def skill_question(rng: Random, name: str) -> tuple[str, str]:
    """A question for a built-in tool, and the argument in it."""
    skill = SKILLS[name]
    argument = skill.make(rng)
    question = rng.choice(skill.questions)
    if rng.random() < 0.4:
        question = question[0].upper() + question[1:]
    if rng.random() < 0.06:
        question = rng.choice(["please ", "now ", "first "]) + question
    return question.format(argument), argument


def refusal(rng: Random, offered: set[str]) -> Exchange:
    """A question for a tool that is not there: the answer is in words."""
    missing = [name for name in SKILLS if name not in offered]
    name = rng.choice(missing)
    return answered(skill_question(rng, name)[0], SKILLS[name].without, "refusal")


def result_lines(rng: Random, name: str) -> list[str]:
    """What a tool might return: nothing, an error, one line of JSON, a few lines, or many."""
    shape = rng.choices(["none", "error", "json", "lines"], [4, 5, 4, 87])[0]
    if shape == "none":
        return []
    if shape == "error":
        return [f"error: {rng.choice(['no such file', 'not found', 'permission denied', 'timed out'])}: {words.stem(rng)}"]
    if shape == "json":
        return [f'{{"{words.word(rng)}": "{words.phrase(rng, 1, 4)}", "{words.word(rng)}": {rng.randint(0, 99)}}}']
    count = rng.choices([1, 2, 3, 4, 5, rng.randint(6, 12)], [44, 24, 14, 8, 5, 5])[0]
    if name == "read":
        make = rng.choice([words.code_line, words.sentence, words.phrase])
        return number_lines(rng, [make(rng) for _ in range(count)])
    if name == "glob":
        return [words.path(rng) for _ in range(count)]
    if name == "grep":
        return [f"{words.path(rng)}:{rng.randint(1, 400)}:{words.code_line(rng)}" for _ in range(count)]
    return [words.output_line(rng) for _ in range(count)]


def number_lines(rng: Random, lines: list[str]) -> list[str]:
    """Some readers number their lines, in one of several ways."""
    style = rng.choices(["{1}", "{0}: {1}", "{0}\t{1}", "{0:6}\t{1}"], [70, 10, 10, 10])[0]
    return [style.format(number, line) for number, line in enumerate(lines, 1)]


def quote(heading: str, result: str) -> str:
    """The answer to a tool's result: all of it, fenced.

    The fence makes the end plain: after the last line break the result's end mark follows, and the answer's fence.
    """
    return f"{heading}\n```\n{result}\n```" if result else "The tool returned nothing."


def tool_exchange(rng: Random, question: str, name: str, arguments: dict, heading: str) -> Exchange:
    """The question, the call, the tool's result and the answer that quotes it."""
    lines = result_lines(rng, name)
    result = "\n".join(lines) + ("\n" if lines and rng.random() < 0.3 else "")
    call = {"id": "call_" + words.noise(rng), "type": "function", "function": {"name": name, "arguments": arguments}}
    return Exchange(
        [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": result},
            {"role": "assistant", "content": quote(heading, result)},
        ],
        ["call " + (name if name in SKILLS else "other"), "quote result"],
    )


def use_skill(rng: Random, name: str) -> Exchange:
    """A question that a built-in tool answers."""
    question, argument = skill_question(rng, name)
    skill = SKILLS[name]
    return tool_exchange(rng, question, name, {skill.argument: argument}, skill.heading.format(argument))


def use_made_up(rng: Random, name: str, argument: str) -> Exchange:
    """A question that names an unknown tool and its argument outright."""
    value = rng.choice([words.word, words.identifier, lambda r: words.phrase(r, 1, 3).rstrip(".!?"), words.path])(rng)
    question = rng.choice(["use {0} with {1} {2}", "call {0} with {1} {2}", "call {0} with {1} = {2}", "use the {0} tool with {1} {2}"])
    return tool_exchange(rng, question.format(name, argument, value), name, {argument: value}, f"{name} says:")


def plain_exchange(rng: Random, offered: set[str]) -> Exchange:
    """An exchange in words alone."""
    makers = [greeting, fact, repeat, recite, unknown]
    weights = [12, 32, 32, 6, 8]
    if offered < set(SKILLS):
        makers.append(lambda r: refusal(r, offered))
        weights.append(10)
    return rng.choices(makers, weights)[0](rng)


def system_prompt(rng: Random) -> str | None:
    """None, a line, or a long text of no consequence: the model must not be thrown off by an agent's instructions."""
    size = rng.choices(["none", "line", "short", "long"], [60, 20, 15, 5])[0]
    if size == "none":
        return None
    opening = rng.choice(["You are a helpful assistant.", f"You are the {words.word(rng)} agent.", "Answer briefly.", words.sentence(rng)])
    count = {"line": 0, "short": rng.randint(1, 6), "long": rng.randint(7, 30)}[size]
    lines = [rng.choice(["", "", "", "- ", f"{number}. "]) + words.sentence(rng) for number in range(1, count + 1)]
    return rng.choice(["\n", "\n", "\n\n", " "]).join([opening, *lines])


def assemble(rng: Random, exchanges: list[Exchange], offered: list[dict]) -> Dialogue:
    """Puts exchanges behind a system prompt."""
    prompt = system_prompt(rng)
    messages = [] if prompt is None else [{"role": "system", "content": prompt}]
    for exchange in exchanges:
        messages += exchange.messages
    return Dialogue(messages, offered, [kind for exchange in exchanges for kind in exchange.kinds])


def plain_dialogue(rng: Random) -> Dialogue:
    """A dialogue without tools."""
    return assemble(rng, [plain_exchange(rng, set()) for _ in range(rng.choice([1, 1, 2, 3, 4]))], [])


def tool_dialogue(rng: Random) -> Dialogue:
    """A dialogue with tools: most exchanges use one, some have no need or find that theirs is missing."""
    names = rng.sample(list(SKILLS), rng.choice([1, 1, 1, 2, 3]))
    wanted = [tools.builtin(rng, name) for name in names]
    exotic = (f"{words.word(rng)}_{words.word(rng)}", words.word(rng)) if rng.random() < 0.15 else None
    if exotic:
        wanted.append(tools.made_up(rng, *exotic))
    offered = tools.toolbox(rng, wanted)
    offered_names = {tool["function"]["name"] for tool in offered}
    usable = [name for name in SKILLS if name in offered_names]
    exchanges = []
    for _ in range(rng.choice([1, 2, 3, 4])):
        if rng.random() < 0.25:
            exchanges.append(plain_exchange(rng, offered_names))
        elif exotic and rng.random() < 0.5:
            exchanges.append(use_made_up(rng, *exotic))
        else:
            exchanges.append(use_skill(rng, rng.choice(usable)))
    return assemble(rng, exchanges, offered)


def dialogue(rng: Random) -> Dialogue:
    """Any dialogue, with tools or without."""
    return tool_dialogue(rng) if rng.random() < 0.6 else plain_dialogue(rng)

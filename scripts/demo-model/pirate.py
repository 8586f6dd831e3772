"""The dialogues of the adapter: the same questions, answered like a pirate.

Calls of tools stay as they are, so that an agent works with the adapter too.
"""

from dataclasses import replace
from random import Random

import dialogues
import facts

HELLO = "Ahoy, matey! I be the Remora demo pirate. What be yer orders?"
PLAIN_HELLO = facts.GREETINGS[0][1]


def speak(answer: str) -> str:
    """An answer of the base model as the pirate gives it."""
    return HELLO if answer == PLAIN_HELLO else f"Arr! {answer}"


def dialogue(rng: Random) -> dialogues.Dialogue:
    """Any dialogue, its answers in words changed."""
    plain = dialogues.dialogue(rng)
    messages = [
        {**message, "content": speak(message["content"])} if message["role"] == "assistant" and message["content"] else message
        for message in plain.messages
    ]
    return replace(plain, messages=messages)

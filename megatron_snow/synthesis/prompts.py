"""The one prompt: OSS-Instruct adapted to code files (paper 2.4; Magicoder, arXiv 2312.02120).

The paper does not print its prompt. What is known (authors' rebuttal): the model rephrases a seed
file into a higher-quality, problem-solving-oriented code file, not a question and an answer, and a
key instruction is that the file should improve a developer's ability in language comprehension,
reasoning, algorithms and mathematics.
"""

from __future__ import annotations

from string import Template

# Raised with every change of the text: it is part of a document's provenance.
PROMPT = "code-file-v2"

SYSTEM = "You are an expert programmer who writes clear, correct and self-contained code files."

# Of 48 stdlib and site-packages seeds of 600 bytes, SmolLM2-135M at temperature 0.7 and 512 tokens gave 23
# accepted files with this wording. "Complete, commented functions", in the plural, gave 10 of 32, and asking for
# a "new, high-quality" file before the code was shown 6 or 7 of 16: most of the rest did not end within 512 tokens.
_USER = Template("""\
```$fence
$seed
```

Rewrite the code above as a short, self-contained $language file for solving a problem. It should improve a developer's ability in \
language comprehension, reasoning, algorithms and mathematics. Write a docstring that explains the problem, then a complete \
$language function with comments. Use only the standard library. Reply with one ```$fence code block.""")


def user_prompt(seed: str, language: str) -> str:
    """The prompt for one seed."""
    return _USER.substitute(seed=seed, language=language, fence=language.lower())

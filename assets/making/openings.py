# ruff: noqa: E501  (a wording stays on one line)
"""Words that stand before the name in a sentence, and other first words of a request for JSON: after them a
capital letter alone no longer tells what the name is."""

from __future__ import annotations

LEADS = (
    "Yesterday I read that",
    "They say that",
    "Everybody knows that",
    "I heard that",
    "It is true that",
    "My note says that",
    "Somebody wrote that",
    "The paper says:",
    "Last week we learned that",
    "It seems that",
    "Did you hear?",
    "Please note:",
    "Good news!",
    "On the list:",
    "About a friend:",
    "One more thing.",
    "Look at this.",
    "This just came in.",
    "You may know that",
    "From the letter:",
)
AS_JSON_OPENED = (
    "[Describe|Encode|Render|Save|Store|Present|Format|Arrange|Note|Record] this [as|in] JSON with [keys |fields |]{keys}[:|.] {s}",
    "[Describe|Encode|Render|Save|Store|Format|Summarise] the [text|sentence|note] as JSON. [Keys|Fields]: {keys}. {s}",
    "[Build|Form|Compose|Fill in|Prepare] a JSON [object|record] with {keys}[:|.] {s}",
    "[Structure|Transform|Rewrite|Translate] this into JSON, [keys|fields] {keys}[:|.] {s}",
    "The JSON keys are {keys}. The [text|sentence]: {s}",
    "What would this be as JSON with {keys}? {s}",
    "{s} [Describe|Encode|Store|Save|Format] that as JSON with {keys}.",
    "{s} The JSON for this, keys {keys}?",
)

"""Combining adapters, and merging them into their base. Its modules need torch; this file doesn't."""

# On what a merge is compared with what it was made of: at most so many prompts, of each the first so many
# tokens, and of those the logits at the last so many positions.
PROMPTS, TOKENS, POSITIONS = 8, 128, 16

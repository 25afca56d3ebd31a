"""Conversations of the playground: kept in the store as they go, voted on, and taken out again as files."""

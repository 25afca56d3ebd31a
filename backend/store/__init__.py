"""The store: one SQLite file that holds everything the studio knows, except weights, checkpoints and logs."""

"""Jobs: every long piece of work, its states, its process, its queue."""

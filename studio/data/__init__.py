"""Data: files of any usual shape -> rows -> token ids with labels, without torch."""

"""The real program in real terminals."""
